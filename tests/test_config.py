"""The gate between what a user writes and what a component gets: all that is right passes, nothing else."""

import dataclasses
import enum
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import vla.config
from vla.config import command, compose, load_config, to_dataclass
from vla.errors import BadInput


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Lion(Optim):
    sign: bool = True


@dataclass(frozen=True)
class Job:
    episodes: int
    out: Path = Path("data")
    optim: Optim = field(default_factory=Optim)
    split: Literal["seen", "held_out"] = "seen"
    mode: Mode = Mode.FAST
    limit: int | None = None
    skills: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.episodes < 0:
            raise ValueError(f"episodes must not be negative, not {self.episodes}")


@given(
    st.builds(
        Job,
        episodes=st.integers(0, 10**6),
        out=st.text("abc/", min_size=1).map(Path),
        optim=st.builds(
            Optim, lr=st.floats(allow_nan=False), betas=st.tuples(st.floats(0, 1), st.floats(0, 1))
        ),
        split=st.sampled_from(["seen", "held_out"]),
        mode=st.sampled_from(Mode),
        limit=st.none() | st.integers(-5, 5),
        skills=st.lists(st.text("xyz", min_size=1)),
    )
)
def test_what_a_dataclass_says_is_read_back_the_same(job: Job) -> None:
    plain = dataclasses.asdict(job) | {"out": str(job.out), "mode": job.mode.value}
    assert to_dataclass(plain, Job) == job
    assert to_dataclass(OmegaConf.create(plain), Job) == job


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "'episodes' has no value"),
    ({"episodes": "???"}, "'episodes' has no value"),
    ({"episodes": "many"}, "'episodes' must be a whole number, not 'many'"),
    ({"episodes": 1.5}, "'episodes' must be a whole number"),
    ({"episodes": True}, "'episodes' must be a whole number"),
    ({"episodes": 1, "epsiodes": 2}, "unknown config key 'epsiodes' (did you mean 'episodes'?)"),
    ({"episodes": 1, "optim": {"lrr": 1}}, "unknown config key 'lrr' in 'optim' (did you mean 'lr'?)"),
    ({"episodes": 1, "optim": {"lr": "fast"}}, "'optim.lr' must be a number, not 'fast'"),
    ({"episodes": 1, "optim": {"betas": [1]}}, "'optim.betas' must be a list of 2"),
    ({"episodes": 1, "optim": {"betas": [1, "x"]}}, "'optim.betas[1]' must be a number"),
    ({"episodes": 1, "optim": 3}, "'optim' must be a mapping with the keys of Optim"),
    ({"episodes": 1, "split": "sen"}, "'split' cannot be 'sen' (did you mean 'seen'?)"),
    ({"episodes": 1, "mode": "fsat"}, "'mode' cannot be 'fsat' (did you mean 'fast'?)"),
    ({"episodes": 1, "skills": "touch"}, "'skills' must be a list, not 'touch'"),
    ({"episodes": 1, "limit": "no"}, "'limit' must be a whole number"),
    ({"episodes": -1}, "episodes must not be negative"),
    ({"episodes": 1, "optim": {"_target_": "nowhere.Optim"}}, "there is no 'nowhere.Optim'"),
    ({"episodes": 1, "optim": {"_target_": "pathlib.Path"}}, "'pathlib.Path' is not a Optim"),
]


@pytest.mark.parametrize(("given_config", "line"), WRONG, ids=[line for _, line in WRONG])
def test_every_mistake_is_one_line_with_its_place(given_config: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        to_dataclass(given_config, Job)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_target_chooses_the_component() -> None:
    job = to_dataclass({"episodes": 1, "optim": {"_target_": f"{__name__}.Lion", "sign": False}}, Job)
    assert job.optim == Lion(sign=False)


def test_numbers_are_converted_only_without_loss() -> None:
    job = to_dataclass({"episodes": 1e3, "optim": {"lr": 1}, "out": "2000"}, Job)
    assert (job.episodes, type(job.episodes)) == (1000, int)
    assert (job.optim.lr, type(job.optim.lr)) == (1.0, float)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small config folder in place of the project's."""
    folder = tmp_path / "conf"
    (folder / "optim").mkdir(parents=True)
    (folder / "job.yaml").write_text(
        "defaults: [_self_, {optim: adam}]\nepisodes: ???\nlimit: ${optim.steps}\n"
    )
    (folder / "optim" / "adam.yaml").write_text("lr: 0.1\nsteps: 3\n")
    (folder / "optim" / "sgd.yaml").write_text("lr: 0.2\nsteps: 4\n")
    monkeypatch.setattr(vla.config, "config_dir", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


@dataclass(frozen=True)
class Stepped(Optim):
    steps: int = 0


@dataclass(frozen=True)
class SmallJob:
    episodes: int
    limit: int
    optim: Stepped


def test_load_config_composes_and_checks(conf: Path) -> None:
    job = load_config("job", ["episodes=7", "optim=sgd"], SmallJob)
    assert job == SmallJob(7, 4, Stepped(lr=0.2, steps=4))


COMMAND_LINES: list[tuple[list[str], str]] = [
    ([], "'episodes' has no value: give one with episodes=..."),
    (["episodes=x"], "'episodes' must be a whole number, not 'x'"),
    (["episode=3"], "unknown config key 'episode' (did you mean 'episodes'?)"),
    (["lr=3"], "unknown config key 'lr' (did you mean 'optim.lr'?)"),
    (["optim.lrr=3"], "unknown config key 'optim.lrr' (did you mean 'optim.lr'?)"),
    (["optim=agd"], "config group 'optim' has no option 'agd' (did you mean 'sgd'?)"),
    (["+episodez=3", "episodes=1"], "unknown config key 'episodez' (did you mean 'episodes'?)"),
    (["episodes=[1"], "cannot read the override 'episodes=[1'"),
    (["episodes=${nothing}"], "nothing"),
    (["--config-dir", "nowhere", "episodes=1"], "nowhere"),
]


def _main(body: Callable[[SmallJob], None]) -> Callable[..., None]:
    return command("job", SmallJob)(body)


@pytest.mark.parametrize(
    ("argv", "line"), COMMAND_LINES, ids=[" ".join(a) or "(empty)" for a, _ in COMMAND_LINES]
)
def test_a_command_answers_a_mistake_with_one_line_and_status_2(
    conf: Path, capsys: pytest.CaptureFixture[str], argv: list[str], line: str
) -> None:
    ran: list[SmallJob] = []
    with pytest.raises(SystemExit) as left:
        _main(ran.append)(argv)
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert line in error
    assert error.count("\n") == 1
    assert not ran


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (BadInput("the sentence is empty"), 2, "job: the sentence is empty"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x/y"),
            2,
            "no space left on the disk (writing 'x/y')",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "no space left on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "not allowed to open 'x'"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x/y"), 2, "cannot use 'x/y': Not a directory"),
        (KeyboardInterrupt(), 130, "job: interrupted"),
    ],
    ids=["bad input", "disk full", "disk full, told by a library", "forbidden", "wrong place", "interrupt"],
)
def test_a_command_answers_what_goes_wrong_in_the_job(
    conf: Path, capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    def fail(_: SmallJob) -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        _main(fail)(["episodes=1"])
    said = capsys.readouterr().err.strip()
    assert left.value.code == status
    assert line in said
    assert "Traceback" not in said


def test_a_key_where_a_list_wants_a_number_is_one_line(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (conf / "job.yaml").write_text("episodes: 1\nlimit: 2\noptim: {lr: 0.1, steps: [1, 2]}\n")
    with pytest.raises(SystemExit) as left:
        _main(print)(["episodes=2", "optim.steps.first=3"])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("job: cannot apply optim.steps.first=3: ")


def test_a_fault_of_the_program_keeps_its_traceback(conf: Path) -> None:
    def fail(_: SmallJob) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        _main(fail)(["episodes=1"])


def test_multirun_runs_each(conf: Path) -> None:
    seen: list[SmallJob] = []
    _main(seen.append)(["-m", "episodes=1,2", "optim=adam,sgd"])
    assert [(job.episodes, job.optim.lr) for job in seen] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]


def test_a_users_own_config_folder_is_found(conf: Path, tmp_path: Path) -> None:
    own = tmp_path / "own" / "optim"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("lr: 9\nsteps: 5\n")
    seen: list[SmallJob] = []
    _main(seen.append)(["--config-dir", str(own.parent), "optim=mine", "episodes=1"])
    _main(seen.append)([f"hydra.searchpath=[file://{own.parent}]", "optim=mine", "episodes=1"])
    assert [job.optim.lr for job in seen] == [9, 9]


def test_help_lists_the_config_and_leaves_with_0(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        _main(lambda _: None)(["--help"])
    assert left.value.code == 0
    assert "optim: adam, sgd" in capsys.readouterr().out


def test_arguments_are_put_back(conf: Path) -> None:
    before = list(sys.argv)
    _main(lambda _: None)(["episodes=1"])
    assert sys.argv == before


def test_composing_inside_a_job_leaves_the_job_alone(conf: Path) -> None:
    from hydra.core.global_hydra import GlobalHydra

    found: list[bool] = []

    def body(_: SmallJob) -> None:
        compose("job", ["optim=sgd"])
        found.append(GlobalHydra.instance().is_initialized())

    _main(body)(["episodes=1"])
    assert found == [True]


def test_sigterm_ends_a_command_as_an_interrupt_does(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned: list[bool] = []

    def body(_: SmallJob) -> None:
        try:
            for _ in range(50):  # an interrupt inside a garbage collection's callback is lost
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.1)
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as left:
        _main(body)(["episodes=1"])
    assert signal.getsignal(signal.SIGTERM) == before
    assert (left.value.code, cleaned) == (130, [True])
    assert "job: terminated" in capsys.readouterr().err


def test_a_launcher_that_is_not_installed_names_its_extra() -> None:
    from hydra.errors import MissingConfigException

    from vla.mistakes import one_line

    missing = MissingConfigException("missing", "hydra/launcher/submitit_slurm", options=["basic"])
    line = one_line(missing, lambda rest: compose("train", rest), [])
    assert line is not None and "vla[cluster]" in line
