"""The dataset writer: what goes in comes out, also through LeRobot itself, and a stop never harms."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vla.data import lerobot_commit
from vla.data.lerobot_stats import aggregate, image_stats, vector_stats
from vla.data.lerobot_writer import EpisodeWriter, encode_png
from vla.errors import BadInput

FEATURES: dict[str, dict[str, Any]] = {
    "observation.images.front": {
        "dtype": "image",
        "shape": [8, 8, 3],
        "names": ["height", "width", "channels"],
    },
    "observation.state": {"dtype": "float32", "shape": [6], "names": None},
    "action": {"dtype": "float32", "shape": [6], "names": None},
    "subtask_index": {"dtype": "int64", "shape": [1], "names": None},
    "annotation.valid": {"dtype": "float32", "shape": [1], "names": None},
}


def episode(index: int) -> dict[str, list[Any]]:
    """A made-up episode of 3 + index frames, fully determined by its index."""
    rng = np.random.default_rng(index)
    length = 3 + index
    return {
        "observation.images.front": list(rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8)),
        "observation.state": list(rng.normal(size=(length, 6)).astype(np.float32)),
        "action": list(rng.normal(size=(length, 6)).astype(np.float32)),
        "subtask": ["reach"] * 2 + ["grasp" if index % 2 else "lift"] * (length - 2),
        "annotation.valid": [1.0] * length,
    }


def writer(root: Path) -> EpisodeWriter:
    return EpisodeWriter(root, 20, FEATURES, "so101_follower")


def write(root: Path, *indices: int) -> EpisodeWriter:
    made = writer(root)
    for index in indices:
        made.write_episode(index, episode(index), f"task {index % 2}", {"skill": "lift", "seed": index})
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def rows(root: Path) -> pa.Table:
    return pa.concat_tables(pq.ParquetFile(p).read() for p in sorted((root / "data").glob("*/*.parquet")))


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2).finalize()
    table = rows(tmp_path)
    bounds = np.cumsum([0, 3, 4, 5])
    assert table["index"].to_pylist() == list(range(12))
    tasks = pq.read_table(tmp_path / "meta/tasks.parquet")["task"].to_pylist()
    subtasks = pq.read_table(tmp_path / "meta/subtasks.parquet")["subtask"].to_pylist()
    for index in range(3):
        part = table.slice(bounds[index], bounds[index + 1] - bounds[index])
        given = episode(index)
        np.testing.assert_array_equal(
            np.array(part["action"].to_pylist(), np.float32), np.array(given["action"])
        )
        images = [
            np.array(Image.open(io.BytesIO(i["bytes"]))) for i in part["observation.images.front"].to_pylist()
        ]
        np.testing.assert_array_equal(images, given["observation.images.front"])
        assert [subtasks[i] for i in part["subtask_index"].to_pylist()] == given["subtask"]
        assert {tasks[i] for i in part["task_index"].to_pylist()} == {f"task {index % 2}"}
        np.testing.assert_allclose(part["timestamp"].to_pylist(), np.arange(3 + index) / 20, rtol=1e-6)


@pytest.mark.slow
def test_lerobot_reads_the_same_numbers(tmp_path: Path) -> None:
    lerobot = pytest.importorskip("lerobot.datasets")
    write(tmp_path, 0, 1).finalize()
    write(tmp_path, 2).finalize()  # a second merge must read as well
    dataset = lerobot.LeRobotDataset("vla/test", root=tmp_path, delta_timestamps={"action": [0, 1 / 20]})
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 12, 20)
    position = 0
    for index in range(3):
        given = episode(index)
        for frame in range(3 + index):
            item = dataset[position]
            later = min(frame + 1, 2 + index)
            np.testing.assert_array_equal(item["action"], [given["action"][frame], given["action"][later]])
            np.testing.assert_array_equal(item["observation.state"], given["observation.state"][frame])
            image = item["observation.images.front"].numpy().transpose(1, 2, 0) * 255
            np.testing.assert_allclose(image, given["observation.images.front"][frame], atol=1e-3)
            assert item["task"] == f"task {index % 2}"
            position += 1
    everything = np.concatenate([episode(i)["action"] for i in range(3)])
    np.testing.assert_allclose(dataset.meta.stats["action"]["mean"], everything.mean(0), rtol=1e-5)
    assert dataset.meta.stats["observation.images.front"]["mean"].shape == (3, 1, 1)
    assert dataset.meta.episodes[1]["skill"] == "lift"


def test_statistics_match_numpy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 4))
    stats = vector_stats(values)
    np.testing.assert_allclose(stats["std"], values.std(0))
    np.testing.assert_allclose(stats["q90"], np.quantile(values, 0.9, axis=0))
    halves = aggregate([vector_stats(values[:20]), vector_stats(values[20:])])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(halves[name], stats[name])
    images = rng.integers(0, 256, (7, 5, 5, 3), dtype=np.uint8)
    pixels, found = images.reshape(-1, 3) / 255.0, image_stats(list(images))
    for name, expected in (("mean", pixels.mean(0)), ("std", pixels.std(0)), ("min", pixels.min(0))):
        np.testing.assert_allclose(found[name].ravel(), expected)
    np.testing.assert_allclose(found["q50"].ravel(), np.quantile(pixels, 0.5, axis=0, method="inverted_cdf"))


def test_order_of_staging_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, 1, 2, 3).finalize()
    write(tmp_path / "b", 3, 1, 0, 2).finalize()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_finalize_twice_and_adding_later(tmp_path: Path) -> None:
    made = write(tmp_path / "a", 0, 1)
    made.finalize()
    before = contents(tmp_path / "a")
    made.finalize()
    assert contents(tmp_path / "a") == before
    write(tmp_path / "a", 2, 3).finalize()
    assert made.written() == {0, 1, 2, 3} and made.staged() == set()
    write(tmp_path / "b", 0, 1, 2, 3).finalize()
    assert rows(tmp_path / "a").equals(rows(tmp_path / "b"))
    assert (tmp_path / "a/meta/stats.json").read_text() == (tmp_path / "b/meta/stats.json").read_text()


@pytest.mark.parametrize("fatal", range(1, 14))
def test_a_stop_at_any_rename_is_repaired_by_running_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    whole = tmp_path / "whole"
    write(whole, 0, 1).finalize()
    write(whole, 2).finalize()
    root = tmp_path / "stopped"
    calls = 0
    real: Callable[..., None] = lerobot_commit.os.replace

    def stopping(source: Any, target: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(lerobot_commit.os, "replace", stopping)

    def run() -> None:
        for count in (2, 3):
            made = writer(root)
            write(root, *(set(range(count)) - made.written()))
            made.finalize()

    try:
        run()
    except KeyboardInterrupt:
        run()
    assert contents(root) == contents(whole)


def test_missing_and_damaged_episodes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="episode 1 is missing"):
        write(tmp_path, 0, 2).finalize()
    (tmp_path / ".staging/episode-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"episode-000001.parquet is damaged"):
        writer(tmp_path).finalize()
    assert not (tmp_path / "meta").exists()


def test_bad_frames_are_named(tmp_path: Path) -> None:
    frames = episode(0)
    frames["action"] = frames["action"][:-1]
    with pytest.raises(BadInput, match="feature 'action' has 2 frames, expected 3"):
        writer(tmp_path).write_episode(0, frames, "x")
    frames["action"] = [np.zeros(5)] * 3
    with pytest.raises(BadInput, match="feature 'action' has 5 numbers a frame, expected 6"):
        writer(tmp_path).write_episode(0, frames, "x")


def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write(tmp_path, 0)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(BadInput, match="no space left"):
        patch.setattr(pq, "write_table", full)
        made.write_episode(1, episode(1), "x")
    assert made.staged() == {0}
    with monkeypatch.context() as patch, pytest.raises(BadInput, match="no space left"):
        patch.setattr(pq, "write_table", full)
        made.finalize()
    made.finalize()
    assert json.loads((tmp_path / "meta/info.json").read_text())["total_episodes"] == 1


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(encode_png(image)))), image)
