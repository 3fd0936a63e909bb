import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_episodes import write_dataset

from vla.data.batches import ChunkData, Source
from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput

LENGTHS = [5, 3, 7]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "set", LENGTHS)


@pytest.fixture
def broken(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "set"))


def test_counts_and_bounds(root: Path) -> None:
    data = EpisodeDataset(root)
    assert (data.num_frames, data.num_episodes, data.fps) == (15, 3, 20)
    assert data.episode_bounds.tolist() == [[0, 5], [5, 8], [8, 15]]
    assert data.cameras == ["front", "wrist"]
    assert sorted(data.tasks) == ["lift the red cube", "touch the red cube"]
    assert data.episode_meta["skill"].tolist() == ["touch", "lift", "touch"]


def test_columns(root: Path) -> None:
    columns = EpisodeDataset(root).columns(["action", "frame_index", "annotation.points"])
    assert columns["action"].shape == (15, 6)
    assert columns["action"].dtype == np.float32
    assert columns["annotation.points"].shape == (15, 12)
    assert columns["frame_index"].tolist() == [*range(5), *range(3), *range(7)]


def _load_everything(root: Path) -> None:
    data = EpisodeDataset(root)
    ChunkData([Source(data)], horizon=4)
    open_cache(data, "front", workers=1)


def _edit_info(root: Path, **changes: object) -> None:
    path = root / "meta" / "info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _one_line(root: Path) -> str:
    with pytest.raises(BadInput) as caught:
        _load_everything(root)
    text = str(caught.value)
    assert "\n" not in text
    return text


DATA = "data/chunk-000/file-000.parquet"
META = ["meta/stats.json", "meta/tasks.parquet", "meta/subtasks.parquet"]


@pytest.mark.parametrize("name", ["meta/info.json", *META, "meta/episodes/chunk-000/file-000.parquet", DATA])
def test_missing_file_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    text = _one_line(broken)
    assert name in text and "missing" in text


@pytest.mark.parametrize("name", ["meta/info.json", *META, DATA])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_file_is_named(broken: Path, name: str, keep: float) -> None:
    raw = (broken / name).read_bytes()
    (broken / name).write_bytes(raw[: int(len(raw) * keep)])
    assert name in _one_line(broken)


def test_damaged_middle_is_named(broken: Path) -> None:
    path = broken / DATA
    raw = bytearray(path.read_bytes())
    raw[200:5000] = bytes(4800)
    path.write_bytes(raw)
    assert DATA in _one_line(broken)


def test_wrong_version(broken: Path) -> None:
    _edit_info(broken, codebase_version="v2.1")
    assert "v2.1" in _one_line(broken)


def test_missing_info_key(broken: Path) -> None:
    path = broken / "meta" / "info.json"
    info = json.loads(path.read_text())
    del info["fps"]
    path.write_text(json.dumps(info))
    assert "'fps'" in _one_line(broken)


def test_missing_feature(broken: Path) -> None:
    info = json.loads((broken / "meta" / "info.json").read_text())
    features = {k: v for k, v in info["features"].items() if k != "action"}
    _edit_info(broken, features=features)
    assert "'action'" in _one_line(broken)


def test_missing_column(broken: Path) -> None:
    table = pq.read_table(broken / DATA)
    pq.write_table(table.drop_columns(["action"]), broken / DATA)
    text = _one_line(broken)
    assert "'action'" in text and DATA in text


def test_frame_count_must_agree(broken: Path) -> None:
    _edit_info(broken, total_frames=16)
    assert "15" in _one_line(broken)


def test_nan_is_named(broken: Path) -> None:
    table = pq.read_table(broken / DATA)
    values = np.array(table["observation.state"].to_pylist(), np.float32)
    values[4, 2] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 6)
    index = table.column_names.index("observation.state")
    pq.write_table(table.set_column(index, "observation.state", column), broken / DATA)
    text = _one_line(broken)
    assert "frame 4 of episode 0" in text and "observation.state" in text


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("timestamp", 0.01, ["'timestamp' is 0.1100 s at frame 2 of episode 1", "20 fps", "0.1000 s"]),
        ("frame_index", 1, ["'frame_index' is 3 at frame 2 of episode 1", "doubled"]),
    ],
)
def test_frames_that_are_not_when_they_should_be(
    broken: Path, name: str, change: float, words: list[str]
) -> None:
    values = np.array(pq.read_table(broken / DATA)[name])
    values[7] += change
    _recolumn(broken / DATA, name, pa.array(values))
    text = _one_line(broken)
    assert all(word in text for word in words)


def test_another_rate_than_the_timestamps(broken: Path) -> None:
    _edit_info(broken, fps=30)
    assert "frame 1 of episode 0" in _one_line(broken)


def test_a_little_rounding_does_no_harm(broken: Path) -> None:
    values = np.array(pq.read_table(broken / DATA)["timestamp"]) + np.float32(5e-5)
    _recolumn(broken / DATA, "timestamp", pa.array(values))
    _load_everything(broken)


def test_episodes_of_one_step(tmp_path: Path) -> None:
    data = EpisodeDataset(write_dataset(tmp_path / "set", [1, 1, 3, 1]))
    chunks = ChunkData([Source(data)], horizon=4)
    batch = chunks.gather(np.array([0, 1, 5]))
    np.testing.assert_array_equal(batch["actions"][:, :, 0], np.repeat([[0.0], [100.0], [300.0]], 4, 1))
    assert batch["action_is_pad"].tolist() == [[False, True, True, True]] * 3
    assert open_cache(data, "front", workers=1).shape[0] == 6


def test_missing_folder(tmp_path: Path) -> None:
    assert "does not exist" in _one_line(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fps": "fast"}, "'fps' must be a whole number above 0, not 'fast'"),
        ({"total_frames": "many"}, "'total_frames' must be a whole number"),
        ({"features": []}, "'features' must map names"),
        ({"features": {"action": 3}}, "feature 'action' must be an object"),
        ({"features": {"action": {"dtype": "float32"}}}, "feature 'action' must have a 'shape'"),
        ({"data_path": "data/{nope}.parquet"}, "'data_path' must be like"),
        ({"total_episodes": 4}, "3 episodes"),
    ],
)
def test_wrong_info_is_named(broken: Path, changes: dict[str, object], line: str) -> None:
    _edit_info(broken, **changes)
    text = _one_line(broken)
    assert line in text and "meta" in text


def _recolumn(path: Path, name: str, column: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("action", pa.array(["x"] * 15)),
        ("action", pa.array([[1.0] * (1 + i % 3) for i in range(15)])),
        ("action", pa.nulls(15, pa.list_(pa.float32(), 6))),
        ("observation.state", pa.array([[1.0] * 5] * 15)),
        ("task_index", pa.array([0.5] * 15)),
        ("annotation.points", pa.array([[0.0] * 7] * 15)),
    ],
    ids=["text", "ragged", "empty", "narrow", "fraction", "points"],
)
def test_a_column_that_is_not_what_info_says(broken: Path, name: str, column: pa.Array) -> None:
    _recolumn(broken / DATA, name, column)
    assert f"column '{name}' holds" in _one_line(broken)


def test_pictures_of_another_size_than_info_says(broken: Path) -> None:
    features = json.loads((broken / "meta" / "info.json").read_text())["features"]
    features["observation.images.front"]["shape"] = [32, 32, 3]
    _edit_info(broken, features=features)
    text = _one_line(broken)
    assert DATA in text and "frame 0 has shape [16, 16, 3], not [32, 32, 3]" in text


@pytest.mark.parametrize("sentence", [None, " "])
def test_a_task_must_be_a_sentence(broken: Path, sentence: str | None) -> None:
    path = broken / "meta" / "tasks.parquet"
    _recolumn(path, "task", pa.array(["touch the red cube", sentence], pa.string()))
    assert "task 1 must be a sentence" in _one_line(broken)


def test_lengths_must_agree(broken: Path) -> None:
    path = broken / "meta/episodes/chunk-000/file-000.parquet"
    _recolumn(path, "length", pa.array([5, 4, 6]))
    assert "'length' of episode 1 is 4, but the data files hold 3 frames" in _one_line(broken)
    _recolumn(path, "length", pa.array([5, 4, 7]))
    assert "sum up to 16 frames" in _one_line(broken)
    _recolumn(path, "data/file_index", pa.nulls(3, pa.int64()))
    assert "'data/file_index' must hold a whole number" in _one_line(broken)
