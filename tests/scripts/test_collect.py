"""Collecting on the real world: killed outright and run again equals never stopped."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from envs.tabletop.expert import Noise
from policies.runtime.collection import Collection, Collector
from policies.runtime.world import World
from scripts import collect
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput
from vla.folders import output_folder

ROOT = Path(__file__).resolve().parents[2]
WORLD = World(image_size=32, skills=("touch", "lift"))
FEW = ["env.image_size=32", "env.skills=[touch,lift]", "noise=1.0", "max_driven=20"]


def contents(root: Path) -> dict[str, str]:
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def gather(root: Path, episodes: int, workers: int = 1, seed: int = 0, policy: str | None = None) -> None:
    what = Collection(WORLD, seed=seed, noise=1.0, policy=policy, max_driven=20)
    list(Collector(what, root, episodes, Noise).run(workers))


def command(root: Path, episodes: int) -> list[str]:
    script = str(ROOT / "scripts" / "collect.py")
    return [sys.executable, script, f"episodes={episodes}", f"out={root}", "workers=2", *FEW]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_run_again_equals_never_stopped(tmp_path: Path, how: signal.Signals) -> None:
    gather(tmp_path / "whole", 10)
    root = tmp_path / "stopped"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        command(root, 10),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that a shell runs in the background hands down a SIGINT that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 120
    while len(list((root / ".staging").glob("episode-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(how)
    _, errors = running.communicate(timeout=60)
    assert not (root / "meta").exists(), "it was already finished: the test is void"
    if how == signal.SIGINT:
        assert running.returncode == 130 and "run the same again to go on" in errors
    subprocess.run(command(root, 10), env=environment, check=True, capture_output=True, timeout=120)
    assert contents(root) == contents(tmp_path / "whole")


def test_processes_and_additions_do_not_change_an_episode(tmp_path: Path) -> None:
    gather(tmp_path / "a", 4)
    gather(tmp_path / "b", 2)
    gather(tmp_path / "b", 4)
    a, b = EpisodeDataset(tmp_path / "a"), EpisodeDataset(tmp_path / "b")
    for name in ("action", "observation.state", "annotation.points", "task_index"):
        np.testing.assert_array_equal(a.columns([name])[name], b.columns([name])[name])


def test_what_is_recorded(tmp_path: Path) -> None:
    gather(tmp_path, 3)
    data = EpisodeDataset(tmp_path)
    assert (data.num_episodes, data.fps) == (3, 20)
    columns = data.columns(["action", "annotation.points", "annotation.valid", "subtask_index"])
    assert columns["action"].shape == (data.num_frames, 6)
    assert (columns["annotation.valid"] == 1).all()
    points = columns["annotation.points"].reshape(-1, 4, 3)
    assert points.min() >= 0 and points.max() <= 1 and set(np.unique(points[..., 2])) <= {0.0, 1.0}
    subtasks = pq.read_table(tmp_path / "meta/subtasks.parquet")["subtask"].to_pylist()
    assert set(subtasks) <= {"reach", "grasp", "lift", "carry", "release", "touch", "push", "retreat"}
    episodes = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet")
    assert set(episodes["skill"].to_pylist()) <= {"touch", "lift"}
    assert len(set(episodes["seed"].to_pylist())) == 3


def test_frames_that_a_policy_drove_are_not_to_be_imitated(tmp_path: Path) -> None:
    gather(tmp_path, 4, policy="random")
    data = EpisodeDataset(tmp_path)
    valid = data.columns(["annotation.valid"])["annotation.valid"].reshape(-1)
    driven = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-000.parquet")["driven"].to_pylist()
    assert any(driven)
    for (start, stop), count in zip(data.episode_bounds, driven, strict=True):
        expected = (np.arange(stop - start) >= count).astype(np.float32)
        np.testing.assert_array_equal(valid[start:stop], expected)
        assert valid[stop - 1] == 1


def test_other_settings_are_refused_for_a_folder_that_was_begun(tmp_path: Path) -> None:
    gather(tmp_path, 1)
    before = contents(tmp_path)
    with pytest.raises(BadInput, match="begun with seed=0, now it is 1"):
        gather(tmp_path, 2, seed=1)
    with pytest.raises(BadInput, match=r"env.image_size=32, now it is 96"):
        Collector(Collection(World(skills=("touch", "lift")), noise=1.0, max_driven=20), tmp_path, 2)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("env.image_sise=64", "did you mean 'env.image_size'"),
        ("env.skills=[lft]", "unknown skill 'lft'"),
        ("episodes=0", "episodes=0: at least 1"),
        ("policy=nobody", "no policy 'nobody'"),
        ("seed=-1", "seed=-1: at least 0"),
        ("noise=nan", "noise=nan: at least 0"),
        ("max_driven=-1", "max_driven=-1: at least 0"),
        ("env.image_size=4", "image_size=4 is out of range"),
        ("out=", "'out' must be a path, not ''"),
        ("out=/dev/null/x", "cannot make the folder"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        collect.main([f"out={tmp_path / 'x'}", "workers=1", *FEW, override])
    errors = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2 and line in errors[-1] and "Traceback" not in "\n".join(errors)
    assert not (tmp_path / "x").exists()


META = ("info.json", "stats.json", "tasks.parquet", "subtasks.parquet", "episodes/chunk-000/file-000.parquet")
FILES = ["collection.json", "data/chunk-000/file-000.parquet", *(f"meta/{name}" for name in META)]


@pytest.mark.parametrize("cut", [False, True], ids=["missing", "truncated"])
def test_a_damaged_dataset_is_never_added_to(tmp_path: Path, cut: bool) -> None:
    gather(tmp_path, 2)
    for name in FILES:
        path = tmp_path / name
        raw = path.read_bytes()
        if cut:
            path.write_bytes(raw[: len(raw) // 2])
        elif name == "collection.json":  # other datasets do not have it
            continue
        else:
            path.unlink()
        before = contents(tmp_path)
        with pytest.raises(BadInput, match=path.name):
            gather(tmp_path, 3)
        assert contents(tmp_path) == before
        path.write_bytes(raw)
    gather(tmp_path, 3)
    assert EpisodeDataset(tmp_path).num_episodes == 3


def test_two_collections_at_once_are_refused(tmp_path: Path) -> None:
    with output_folder(tmp_path), pytest.raises(BadInput, match="another run is writing into"):
        gather(tmp_path, 1)
    gather(tmp_path, 1)
