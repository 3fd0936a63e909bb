"""The command on the shipped policy and demonstrations of its own: good, in other units, in another order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.tabletop.expert import Noise
from policies.runtime.collection import Collection, Collector
from policies.runtime.world import World
from scripts import replay
from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import EpisodeWriter

EPISODES = 8


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replay") / "data"
    list(Collector(Collection(World(skills=("lift", "put_into"))), root, EPISODES, Noise).run(1))
    return root


def rewritten(root: Path, out: Path, change: Any, names: dict[str, str] | None = None, fps: int = 20) -> Path:
    """The same episodes with other numbers; `names` maps cameras to those whose pictures they get."""
    from policies.runtime.replay.draw import FrameReader

    dataset = EpisodeDataset(root)
    names = names or {camera: camera for camera in dataset.cameras}
    kept = ("observation.state", "action", "annotation.valid")
    bookkeeping = ("timestamp", "frame_index", "episode_index", "index", "task_index")
    features = {k: v for k, v in dataset.features.items() if k not in bookkeeping}
    features = {k: v for k, v in features.items() if not k.startswith("observation.images.")}
    image = {"dtype": "image", "shape": [96, 96, 3], "names": ["height", "width", "channels"]}
    features |= {f"observation.images.{name}": image for name in names}
    writer = EpisodeWriter(out, fps=fps, features=features, robot_type="so101_follower")
    columns = dataset.columns([*kept, "annotation.points", "task_index"])
    readers = {name: FrameReader(dataset, camera) for name, camera in names.items()}
    for episode, (first, end) in enumerate(dataset.episode_bounds):
        own = range(first, end)
        frames: dict[str, Any] = {
            name: list(change(columns[name][first:end]).astype(np.float32)) for name in kept[:2]
        }
        frames["annotation.valid"] = [float(x) for x in columns["annotation.valid"][first:end]]
        frames["annotation.points"] = list(columns["annotation.points"][first:end])
        frames["subtask"] = ["reach"] * len(own)
        for name, reader in readers.items():
            frames[f"observation.images.{name}"] = [reader.read(frame) for frame in own]
        writer.write_episode(episode, frames, dataset.tasks[columns["task_index"][first]], {"skill": "lift"})
    writer.finalize()
    return out


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = 0
    try:
        replay.main(["frames=120", *arguments])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        status = stop.code
    told = capsys.readouterr()
    return status, told.out, told.err


def test_the_shipped_policy_on_its_own_table(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, f"data={demonstrations}", f"out={tmp_path}")
    assert status == 0 and "OK: nothing looks wrong." in out and "WARNING" not in out
    found = json.loads((tmp_path / "replay.json").read_text())
    assert found["verdict"] == "ok" and found["skill"] < 0.4 and found["grippers"] == [5]
    assert found["measures"]["fit"][5] > 0.8 and len(found["frames"]) >= 60
    assert (tmp_path / "replay.png").read_bytes()[:4] == b"\x89PNG"
    assert "| shoulder_pan |" in (tmp_path / "replay.md").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.deg2rad, "degrees against radians"),
        pytest.param(
            lambda x: x[:, [3, 4, 2, 0, 1, 5]],
            "joints are in another order than the checkpoint's",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_data_that_the_checkpoint_was_not_fitted_to(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    root = rewritten(demonstrations, tmp_path / "data", change)
    status, out, _ = run(capsys, f"data={root}", f"out={tmp_path / 'out'}", "cameras=false", "frames=40")
    assert status == 1 and words in out
    assert json.loads((tmp_path / "out" / "replay.json").read_text())["verdict"] == "warning"


@pytest.mark.slow
def test_cameras_exchanged_in_the_recording(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchanged = {"front": "wrist", "wrist": "front"}
    root = rewritten(demonstrations, tmp_path / "data", lambda x: x, exchanged)
    status, out, _ = run(capsys, f"data={root}", f"out={tmp_path / 'out'}")
    assert status == 1 and "the cameras 'front' and 'wrist' look exchanged" in out


@pytest.mark.slow
def test_a_missing_camera_and_another_rate_are_told(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = rewritten(
        demonstrations, tmp_path / "data", lambda x: x, {"front": "front", "wrists": "wrist"}, fps=30
    )
    status, out, _ = run(capsys, f"data={root}", f"out={tmp_path / 'out'}", "frames=20")
    assert status == 1 and "camera 'wrist' is not in the data (did you mean 'wrists'?)" in out
    assert "made for 20 control steps a second, the data have 30" in out
    blind = rewritten(demonstrations, tmp_path / "blind", lambda x: x, {"top": "front"})
    status, _, err = run(capsys, f"data={blind}", f"out={tmp_path / 'out'}")
    assert status == 2 and "has the cameras top, the policy looks through front, wrist" in err


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("policy=tabletop-smal", "did you mean 'tabletop-small'"),
        ("policy=expert", "acts on a simulated scene"),
        ("data=/nowhere", "dataset folder does not exist"),
        ("frames=0", "frames=0: at least 1"),
        ("gripper=9", "gripper=9: the data's action has 6 numbers"),
        ("seed=-1", "seed=-1"),
        ("frame=3", "did you mean 'frames'"),
    ],
)
def test_mistakes_are_one_line(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, line: str
) -> None:
    status, _, err = run(capsys, f"data={demonstrations}", f"out={tmp_path / 'x'}", override)
    assert status == 2 and line in err and "Traceback" not in err
    assert not list(tmp_path.rglob("replay.json"))
