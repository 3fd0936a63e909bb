"""Two real processes (gloo) train a toy model, some of whose weights get no gradient in some of the
portions."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import apart, curve, finish, start, torchrun, train
from safetensors.torch import load_file

from vla.training.shards import Saved

pytestmark = pytest.mark.slow

CUT = {"samples": 96, "fail": (-1, 64)}
"""A run that ends at sample 64 of 96, where all processes find bad input; its last checkpoint is of sample 64
or 32, as the batches are made ahead."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by one process, never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train([{"out": str(out)}], 1)
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "policy" / "model.safetensors")


def assert_equal_run(one: Path, two: Path) -> None:
    assert apart(one, two) < 1e-5
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    assert max((first[name] - second[name]).abs().max().item() for name in first) < 1e-5


def checkpoint_files(out: Path, step: int) -> list[str]:
    folder = out / "checkpoints" / f"step-{step:09d}"
    return sorted(file.name for file in folder.iterdir() if file.suffix == ".safetensors")


@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_same_curve_as_one_process(whole: Path, tmp_path: Path, engine: str) -> None:
    jobs: list[dict[str, Any]] = [
        {"out": str(tmp_path / "two"), "engine": engine},
        {"out": str(tmp_path / "eight"), "engine": engine, "accumulate": 4},
        {"out": str(tmp_path / "empty"), "engine": engine, "accumulate": 4, "model": "front"},
    ]
    printed = train(jobs, 2)
    assert "validation/loss" in printed[0] and not printed[1], "the first process alone speaks"
    for job in jobs:
        assert_equal_run(whole, Path(job["out"]))
    sharded = [f"training-0000{part}-of-00002.safetensors" for part in (1, 2)]
    assert checkpoint_files(tmp_path / "two", 12) == (
        ["training.safetensors"] if engine == "ddp" else sharded
    )


def stopped(job: dict[str, Any], count: int) -> None:
    """Train until all processes find bad input; only one of them says so."""
    ended = finish(start([{**job, **CUT}], count))
    assert all(status == 2 for status, _, _ in ended), ended
    told = [line for _, _, errors in ended for line in errors.splitlines() if "is bad" in line]
    assert told == ["sample 64 is bad"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, {"engine": "fsdp"}), (1, {})),
        ((1, {}), (2, {"engine": "fsdp"})),
        ((2, {"engine": "fsdp"}), (3, {"engine": "fsdp", "accumulate": 2})),
        ((2, {"engine": "ddp"}), (2, {"engine": "fsdp"})),
        ((2, {"engine": "fsdp"}), (2, {"engine": "ddp"})),
    ],
    ids=["fsdp-one", "one-fsdp", "two-three", "ddp-fsdp", "fsdp-ddp"],
)
def test_goes_on_with_other_processes(
    whole: Path, tmp_path: Path, before: tuple[int, dict[str, Any]], after: tuple[int, dict[str, Any]]
) -> None:
    batch = 24 if after[0] == 3 else 8
    if batch == 24:
        whole = tmp_path / "whole"
        train([{"out": str(whole), "batch": batch, "samples": 288}], 1)
    more = {"out": str(tmp_path / "run"), "batch": batch}
    for number, (count, how) in enumerate((before, after)):
        job = {**more, **how, **({"samples": 288} if batch == 24 else {})}
        if number:
            train([job], count)
        else:
            status = {x[0] for x in finish(start([{**job, "fail": (-1, 8 * batch)}], count))}
            assert status == {2}
    assert_equal_run(whole, tmp_path / "run")


def test_one_line_is_told_and_the_run_goes_on(whole: Path, tmp_path: Path) -> None:
    stopped({"out": str(tmp_path), "engine": "fsdp"}, 2)
    train([{"out": str(tmp_path), "engine": "fsdp"}], 2)
    assert_equal_run(whole, tmp_path)


@pytest.mark.parametrize("bad", [0, 1])
def test_bad_input_of_one_process_ends_all_with_one_line(tmp_path: Path, bad: int) -> None:
    ended = finish(start([{"out": str(tmp_path), "engine": "ddp", "fail": (bad, 40)}], 2))
    assert all(status != 0 for status, _, _ in ended)
    lines = [line for _, _, errors in ended for line in errors.splitlines() if "[W" not in line]
    assert [line for line in lines if "is bad" in line] == ["sample 40 is bad"]
    assert not any("Traceback" in line for line in lines), lines


@pytest.mark.parametrize(("engine", "hit"), [("ddp", 1), ("fsdp", 0), ("fsdp", 1)])
def test_a_signal_to_one_stops_all_with_a_whole_checkpoint(tmp_path: Path, engine: str, hit: int) -> None:
    job = {"out": str(tmp_path), "engine": engine, "samples": 100_000, "slow_from": 40, "save_every": 0}
    processes = start([job], 2)
    errors = processes[hit].stderr
    assert errors is not None
    while "there" not in (line := errors.readline()):
        assert line, "it ended too early"
    processes[hit].send_signal(signal.SIGTERM)
    ended = finish(processes, 60)
    assert [status for status, _, _ in ended] == [130, 130], ended
    said = [line for _, _, errors in ended for line in errors.splitlines() if "stopped" in line]
    assert len(said) == 1 and "stopped by SIGTERM at step" in said[0]
    (folder,) = (tmp_path / "checkpoints").iterdir()
    step = json.loads((folder / "state.json").read_text())["step"]
    assert step > 0 and f"step {step};" in said[0] and folder.name.endswith(f"{step:09d}")
    with Saved(folder) as saved:
        assert {"model/heads.web_batch.weight", "exp_avg/heads.web_batch.weight"} <= set(saved)
    assert (folder / "policy" / "model.safetensors").is_file()


def test_one_process_that_is_killed_does_not_hang_the_other(tmp_path: Path) -> None:
    job = {"out": str(tmp_path), "engine": "ddp", "samples": 100_000, "slow_from": 40}
    processes = start([job], 2)
    errors = processes[1].stderr
    assert errors is not None
    while "there" not in (line := errors.readline()):
        assert line, "it ended too early"
    processes[1].kill()
    status, _, said = finish(processes, 60)[0]
    assert status == 2 and "process 0 of 2 lost another one" in said and "Traceback" not in said


def test_started_by_torchrun(whole: Path, tmp_path: Path) -> None:
    ((status, _, errors),) = finish([torchrun([{"out": str(tmp_path), "engine": "fsdp"}], 2)])
    assert status == 0, errors[-2000:]
    assert_equal_run(whole, tmp_path)


def test_layers_are_cut_by_themselves(whole: Path, tmp_path: Path) -> None:
    fair = {"model": "fair", "engine": "fsdp", "shard": "layers"}
    train([{"out": str(tmp_path / "one"), "model": "fair"}], 1)
    train(
        [{"out": str(tmp_path / "two"), **fair}, {"out": str(tmp_path / "four"), "accumulate": 2, **fair}], 2
    )
    assert_equal_run(tmp_path / "one", tmp_path / "two")
    assert_equal_run(tmp_path / "one", tmp_path / "four")
    uneven = finish(start([{"out": str(tmp_path / "uneven"), "engine": "fsdp", "shard": "layers"}], 2))
    said = [line for _, _, errors in uneven for line in errors.splitlines() if "shard" in line]
    assert len(said) == 1 and "needs every kind of row in every portion" in said[0]


@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_other_options_under_many(tmp_path: Path, engine: str) -> None:
    """No average, cosine, bf16, a budget of time that the first process's clock measures."""
    options = {"bf16": True, "schedule": "cosine", "ema": 0.0, "log_every": 800}
    timed = {**options, "samples": 10_000_000, "max_minutes": 0.05, "validate_every": 0, "save_every": 0}
    train([{"out": str(tmp_path / "one"), **options}], 1)
    two, clock = str(tmp_path / "two"), str(tmp_path / "clock")
    train([{"out": two, "engine": engine, **options}, {"out": clock, "engine": engine, **timed}], 2)
    one = curve(tmp_path / "one")[-1]["validation/loss"]
    assert abs(one - curve(tmp_path / "two")[-1]["validation/loss"]) < 0.02 * one
    assert curve(tmp_path / "clock")[-1]["samples"] < 10_000_000


def test_compiled(tmp_path: Path) -> None:
    one = {"model": "fair", "samples": 24}
    train([{**one, "out": str(tmp_path / "one")}], 1)
    jobs = [{**one, "engine": e, "compile": True, "out": str(tmp_path / e)} for e in ("ddp", "fsdp")]
    train(jobs, 2)
    for job in jobs:
        assert_equal_run(tmp_path / "one", Path(str(job["out"])))
