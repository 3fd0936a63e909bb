"""HDF5 demos of LIBERO and robomimic become LeRobot v3 folders."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla.data.convert import Hdf5Settings, convert_hdf5
from vla.data.convert.hdf5 import instruction_of
from vla.data.episodes import EpisodeDataset
from vla.data.lerobot_writer import EpisodeWriter
from vla.data.pictures_source import open_pictures
from vla.errors import BadInput

h5py = pytest.importorskip("h5py")
TASK = "put the black bowl on the plate"
NAME = "KITCHEN_SCENE1_put_the_black_bowl_on_the_plate_demo.hdf5"
LENGTHS = {"demo_0": 4, "demo_1": 1, "demo_10": 5, "demo_2": 3}
ORDER = ["demo_0", "demo_1", "demo_2", "demo_10"]


def _libero(path: Path, seed: int = 0, joints: int = 7) -> Path:
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"problem_name": "x", "language_instruction": TASK})
        for name, length in LENGTHS.items():
            group = data.create_group(name)
            group["actions"] = rng.normal(size=(length, joints))
            obs = group.create_group("obs")
            obs["agentview_rgb"] = rng.integers(0, 255, (length, 16, 16, 3), np.uint8)
            obs["eye_in_hand_rgb"] = rng.integers(0, 255, (length, 16, 16, 3), np.uint8)
            obs["ee_states"], obs["gripper_states"] = (
                rng.normal(size=(length, 6)),
                rng.normal(size=(length, 2)),
            )
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _libero(tmp_path / NAME)


def _held(file: Path, key: str) -> np.ndarray:
    with h5py.File(file) as stored:
        return np.concatenate([stored[f"data/{name}/{key}"][()] for name in ORDER])


@pytest.mark.parametrize("orientation", ["as_is", "flip", "rotate"])
def test_all_of_it_is_there(file: Path, orientation: Any) -> None:
    data = convert_hdf5([file], file.with_name("out"), Hdf5Settings(orientation=orientation))
    data.check_meta()
    assert (data.tasks, data.cameras, data.fps) == ([TASK], ["front", "wrist"], 20)
    assert np.diff(data.episode_bounds)[:, 0].tolist() == [LENGTHS[name] for name in ORDER]
    columns = data.columns(["action", "observation.state"])
    np.testing.assert_array_equal(columns["action"], _held(file, "actions").astype(np.float32))
    state = np.concatenate([_held(file, "obs/ee_states"), _held(file, "obs/gripper_states")], 1)
    np.testing.assert_array_equal(columns["observation.state"], state.astype(np.float32))
    for camera, key in (("front", "agentview_rgb"), ("wrist", "eye_in_hand_rgb")):
        wanted = _held(file, f"obs/{key}")
        wanted = wanted if orientation == "as_is" else wanted[:, ::-1]
        wanted = wanted[:, :, ::-1] if orientation == "rotate" else wanted
        found = open_pictures(data, camera, cached=False, workers=1)(np.arange(data.num_frames))
        np.testing.assert_array_equal(found, wanted)


def test_choices(file: Path) -> None:
    settings = Hdf5Settings(
        {"agentview_rgb": "top"}, ("gripper_states",), fps=10, instruction="do it", pick=2
    )
    data = convert_hdf5([file], file.with_name("out"), settings)
    assert (data.cameras, data.tasks, data.fps, data.num_episodes) == (["top"], ["do it"], 10, 2)
    assert data.features["observation.state"]["shape"] == [2]


def test_several_files_and_going_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [file, _libero(file.with_name("lift_the_can_demo.hdf5"), seed=1)]
    target, write, written = file.with_name("out"), EpisodeWriter.write_episode, []
    stop = 5

    def watched(self: EpisodeWriter, index: int, *args: Any) -> Path:
        if index == stop:
            raise KeyboardInterrupt
        written.append(index)
        return write(self, index, *args)

    monkeypatch.setattr(EpisodeWriter, "write_episode", watched)
    with pytest.raises(KeyboardInterrupt):
        convert_hdf5(files, target)
    stop = -1
    with pytest.raises(BadInput, match="other files, or with other settings"):
        convert_hdf5(files[::-1], target)
    data = convert_hdf5(files, target)
    assert written == list(range(8)) and data.num_episodes == 8
    assert data.episode_meta["source_demo"].tolist() == ORDER * 2
    assert convert_hdf5(files, target).num_episodes == 8 and written == list(range(8))
    with pytest.raises(BadInput, match="other files, or with other settings"):
        convert_hdf5(files, target, Hdf5Settings(orientation="flip"))
    with pytest.raises(BadInput, match="more episodes"):
        convert_hdf5(files[:1], target)


def test_robomimic_is_known_by_its_keys(tmp_path: Path) -> None:
    path, rng = tmp_path / "lift.hdf5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        group = file.create_group("data/demo_0")
        group["actions"], obs = rng.normal(size=(3, 7)), group.create_group("obs")
        obs["agentview_image"] = rng.integers(0, 255, (3, 16, 16, 3), np.uint8)
        for key, width in (("robot0_eef_pos", 3), ("robot0_eef_quat", 4), ("robot0_gripper_qpos", 2)):
            obs[key] = rng.normal(size=(3, width))
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift"})
    data = convert_hdf5([path], tmp_path / "out")
    assert (data.cameras, data.tasks) == (["front"], ["lift"])
    assert data.features["observation.state"]["shape"] == [9]


def test_the_sentence() -> None:
    said = {"problem_info": json.dumps({"language_instruction": ["pick", "it", "up"]})}
    assert instruction_of(said, Path("x.hdf5")) == "pick it up"
    assert instruction_of({"problem_info": json.dumps({"language_instruction": '"go"'})}, Path("x")) == "go"
    assert instruction_of({"problem_info": "{"}, Path(NAME)) == TASK
    assert instruction_of({}, Path("STUDY_SCENE3_pick_up_the_book.hdf5")) == "pick up the book"


def _no(path: Path, change: Any) -> None:
    with h5py.File(path, "a") as file:
        change(file["data/demo_1"])


def _replace(group: Any, key: str, value: Any) -> None:
    del group[key]
    group[key] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: _replace(g, "actions", np.full((1, 7), np.nan)), "'actions' is not finite"),
        (lambda g: _replace(g, "obs/ee_states", np.ones((2, 6))), "'ee_states' has 2 frames, the actions 1"),
        (lambda g: _replace(g, "actions", np.ones((1, 6))), "shape [6]"),
        (lambda g: _replace(g, "obs/agentview_rgb", np.ones((1, 16, 16, 3))), "agentview_rgb holds float64"),
        (lambda g: _replace(g, "obs/agentview_rgb", np.ones((2, 16, 16, 3), np.uint8)), "has 2 frames"),
    ],
)
def test_a_damaged_demo_is_named(file: Path, change: Any, words: str) -> None:
    _no(file, change)
    with pytest.raises(BadInput) as caught:
        convert_hdf5([file], file.with_name("out"))
    assert words in str(caught.value) and NAME in str(caught.value) and "demo_1" in str(caught.value)


def test_what_is_no_such_file_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing: .*nothing.hdf5"):
        convert_hdf5([tmp_path / "nothing.hdf5"], tmp_path / "out")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BadInput, match="cannot be read"):
        convert_hdf5([file], tmp_path / "out")
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other["x"] = 1
    with pytest.raises(BadInput, match="no group 'data'"):
        convert_hdf5([tmp_path / "other.hdf5"], tmp_path / "out")


def test_an_unknown_key_is_named(file: Path) -> None:
    with pytest.raises(BadInput, match=r"no camera 'agentview' .*agentview_rgb"):
        convert_hdf5([file], file.with_name("out"), Hdf5Settings({"agentview": "front"}))
    with pytest.raises(BadInput, match=r"no 'action' .*'actions'.*hdf5.action="):
        convert_hdf5([file], file.with_name("out"), Hdf5Settings(action="action"))
    with pytest.raises(BadInput, match="orientation='up'"):
        Hdf5Settings(orientation="up")  # type: ignore[arg-type]


def _spoil(file: Path, demo: str = "demo_2") -> None:
    with h5py.File(file, "a") as stored:
        values = stored[f"data/{demo}/actions"][()]
        values[-1, 0] = np.nan
        _replace(stored[f"data/{demo}"], "actions", values)


def test_the_option_that_the_line_tells_leaves_the_demo_out(file: Path) -> None:
    """Also in the middle: what was written before stays."""
    _spoil(file)
    target = file.with_name("out")
    with pytest.raises(BadInput, match=r"demo_2: 'actions' is not finite at frame 2.*skip=\[demo_2\]"):
        convert_hdf5([file], target)
    data = convert_hdf5([file], target, Hdf5Settings(skip=("demo_2",)))
    assert data.episode_meta["source_demo"].tolist() == ["demo_0", "demo_1", "demo_10"]
    data.check_meta()


def test_of_several_files_one_demo_is_left_out(file: Path) -> None:
    other = _libero(file.with_name("lift_the_can_demo.hdf5"), seed=1)
    _spoil(other)
    target = file.with_name("out")
    with pytest.raises(BadInput) as caught:
        convert_hdf5([file, other], target)
    told = re.search(r"hdf5.skip=\[(.+)\]", str(caught.value))
    assert told is not None and told[1] == "lift_the_can_demo.hdf5/demo_2"
    data = convert_hdf5([file, other], target, Hdf5Settings(skip=(told[1],)))
    assert data.episode_meta["source_demo"].tolist() == [*ORDER, *(d for d in ORDER if d != "demo_2")]


def test_a_demo_to_skip_must_be_there(file: Path) -> None:
    with pytest.raises(BadInput, match=r"hdf5.skip names 'demo_11', which is in no file"):
        convert_hdf5([file], file.with_name("out"), Hdf5Settings(skip=("demo_11",)))
    with pytest.raises(BadInput, match=r"hdf5.skip leaves none"):
        convert_hdf5([file], file.with_name("out"), Hdf5Settings(skip=tuple(ORDER)))


def test_a_camera_that_one_demo_lacks_is_named(file: Path) -> None:
    """A camera is that of all demos: neither found out anew for each, nor left out of one in silence."""
    with h5py.File(file, "a") as stored:
        del stored["data/demo_10/obs/eye_in_hand_rgb"]
    with pytest.raises(BadInput) as caught:
        convert_hdf5([file], file.with_name("out"))
    for words in (NAME, "demo_10: obs has no camera 'eye_in_hand_rgb'", "cameras are: agentview_rgb;"):
        assert words in str(caught.value)
    with h5py.File(file, "a") as stored:
        del stored["data/demo_0/obs/eye_in_hand_rgb"]
    assert convert_hdf5([file], file.with_name("two")).cameras == ["front"]


def test_half_made_it_is_no_dataset(file: Path) -> None:
    """Neither to read nor to add to, and the line tells what goes on; then it is one."""
    _spoil(file)
    target = file.with_name("out")
    with pytest.raises(BadInput):
        convert_hdf5([file], target, command="the same again")
    collecting = EpisodeWriter(target, 20, {"action": {"dtype": "float32", "shape": [7], "names": None}})
    for use in (lambda: EpisodeDataset(target), collecting.recover, collecting.finalize):
        with pytest.raises(BadInput, match=f"{target} was never finished: .* go on with: the same again"):
            use()
    convert_hdf5([file], target, Hdf5Settings(skip=("demo_2",)))
    assert EpisodeDataset(target).num_episodes == 3 and not (target / ".staging").exists()
