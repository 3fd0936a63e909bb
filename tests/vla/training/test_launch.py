"""Which process this is, as launchers tell it, and the mistakes that show before anything starts."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranks import finish, start

from vla.errors import BadInput
from vla.training.config import TrainerConfig
from vla.training.launch import Place, place

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_ID", "SUBMITIT_LOCAL_GLOBALID")


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@given(st.integers(1, 64), st.data())
def test_what_is_told_is_read_again(processes: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, processes - 1))
    told = Place(rank, processes, rank % 8, "node7", data.draw(st.integers(1, 65_535)), launched=True)
    assert place(told.variables()) == told


def test_nobody_launched() -> None:
    assert place({}) == Place() and not place({}).launched


def test_slurm_steps_are_ranks() -> None:
    step = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "0"}
    found = place({**step, "SLURM_JOB_NODELIST": "gpu[03-05,7],x1", "SLURM_JOB_ID": "1234567"})
    assert found == Place(5, 8, 1, "gpu03", 20_000 + 1_234_567 % 10_000, launched=True)
    assert place({**step, "SLURM_JOB_NODELIST": "login1,login2"}).host == "login1"
    assert place({**step, "MASTER_ADDR": "boss", "MASTER_PORT": "99"}).host == "boss"


def test_a_shell_within_an_allocation_is_one_process() -> None:
    assert place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Place()
    shell = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "1"}
    assert place(shell).processes == 1


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"RANK": "0"}, "WORLD_SIZE is not set"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', no number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 of WORLD_SIZE=2 processes: ranks are 0 to 1"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}, "SLURM_NTASKS is not set"),
    ],
)
def test_an_environment_that_contradicts_itself(told: dict[str, str], line: str) -> None:
    with pytest.raises(BadInput, match=line) as caught:
        place(told)
    assert "\n" not in str(caught.value)


def test_engines_fit_the_processes(ranks: pytest.MonkeyPatch) -> None:
    assert TrainerConfig(1).used_engine() == "none"
    for engine in ("fsdp", "ddp"):
        with pytest.raises(BadInput, match=f"engine={engine} shares work .* torchrun --nproc-per-node"):
            TrainerConfig(1, engine=engine).used_engine()  # type: ignore[arg-type]
    ranks.setenv("RANK", "0"), ranks.setenv("WORLD_SIZE", "2")
    assert TrainerConfig(1).used_engine() == "ddp"
    assert TrainerConfig(1, engine="fsdp").used_engine() == "fsdp"
    with pytest.raises(BadInput, match="engine=none is for one process, and there are 2"):
        TrainerConfig(1, engine="none").used_engine()


@pytest.mark.parametrize(("batch", "near"), [(10, 12), (13, 12), (2, 4), (15, 16)])
def test_a_batch_that_cannot_be_cut(ranks: pytest.MonkeyPatch, batch: int, near: int) -> None:
    ranks.setenv("RANK", "0"), ranks.setenv("WORLD_SIZE", "2")
    line = rf"batch={batch} cannot be cut in 4 equal parts \(2 processes x trainer.accumulate=2\): use {near}"
    with pytest.raises(BadInput, match=line):
        TrainerConfig(1, batch=batch, accumulate=2).parts()


@pytest.mark.slow
def test_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        first, second = start([{"out": "nowhere"}], 2, port)
        second.kill()  # it would wait for the first, which opens the port
        status, _, errors = finish([first, second])[0]
    last = errors.strip().splitlines()[-1]
    assert status == 2 and last.startswith(f"port {port} of 127.0.0.1 is taken") and "MASTER_PORT" in last
