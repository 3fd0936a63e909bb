"""Statistics of whole datasets: measured once, kept, put together, and what training would compute itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_episodes import write_dataset

from vla.data import measured as module
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.inspection import inspect_robot
from vla.data.measured import chunk_sketches, column_sketches, combine, measured
from vla.data.statistics import FeatureStatistics
from vla.data.statistics_table import against_stated
from vla.data.stats_check import check_stats
from vla.errors import BadInput
from vla.interfaces import ACTION

RELATIVE = (True,) * 5 + (False,)
FIELDS = ("mean", "std", "min", "max", "q001", "q01", "q99", "q999")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("one") / "data", [12, 3, 7], invalid=((0, 6), (2, 0)))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("two") / "data", [9, 8, 5, 6])


def by_hand(roots: list[Path], horizon: int) -> dict[str, FeatureStatistics]:
    """As training has it: gathered chunks, made relative, what is padding left out."""
    data = ChunkData([Source(EpisodeDataset(root)) for root in roots], horizon)
    raw = data.gather(np.flatnonzero(data.valid))
    offsets = raw["actions"] - np.where(RELATIVE, raw["state"], 0)[:, None]
    return {
        "state": FeatureStatistics.from_array(raw["state"]),
        "actions": FeatureStatistics.from_array(offsets, ~raw["action_is_pad"]),
    }


def same(one: FeatureStatistics, two: FeatureStatistics) -> None:
    assert one.count == two.count
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("horizon", [1, 4])
def test_chunks_end_with_their_episode(root: Path, horizon: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 70)  # several pieces
    found = chunk_sketches(EpisodeDataset(root), horizon, RELATIVE)
    for name, exact in by_hand([root], horizon).items():
        same(found[name].statistics(), exact)


def test_measured_once_and_again_when_the_data_change(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times: list[Any] = []
    real = module._measure
    monkeypatch.setattr(module, "_measure", lambda *more: times.append(1) or real(*more))
    dataset, cache = EpisodeDataset(root), root / ".cache"
    for file in cache.glob("*-statistics-*"):
        file.unlink()
    first = chunk_sketches(dataset, 2, RELATIVE)
    again = chunk_sketches(dataset, 2, RELATIVE)
    assert len(times) == 1
    assert first["actions"].statistics().to_dict() == again["actions"].statistics().to_dict()
    chunk_sketches(dataset, 3, RELATIVE)
    chunk_sketches(dataset, 2, (False,) * 6)
    chunk_sketches(dataset, 2, RELATIVE, np.arange(5))
    assert len(times) == 4 and len(list(cache.glob("*-statistics-*"))) == 4
    chunk_sketches(dataset, 2, RELATIVE, np.arange(5)[::-1])  # order means nothing
    assert len(times) == 4
    [path] = [
        p for p in cache.glob("*-statistics-*") if p == module._place(dataset, 3, RELATIVE, _valid(dataset))
    ]
    path.write_bytes(path.read_bytes()[:100])
    chunk_sketches(dataset, 3, RELATIVE)
    assert len(times) == 5 and "measuring again" in capsys.readouterr().err
    old = cache / "0123456789abcdef-statistics-0123456789ab.safetensors"
    old.write_bytes(b"")
    path.unlink()
    chunk_sketches(dataset, 3, RELATIVE)
    assert not old.exists() and path.is_file()


def _valid(dataset: EpisodeDataset) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.flatnonzero(ChunkData([Source(dataset)], 1).valid)


def test_two_datasets_without_a_second_pass(root: Path, other: Path) -> None:
    parts = [chunk_sketches(EpisodeDataset(each), 4, RELATIVE) for each in (root, other)]
    for name, exact in by_hand([root, other], 4).items():
        same(combine(parts)[name].statistics(), exact)
    with pytest.raises(BadInput, match="nothing to put together"):
        combine([])


def test_for_training_it_is_what_the_sample_tells_of_all_frames(root: Path, other: Path) -> None:
    from tiny import tiny_config

    from vla.data.robots import fitted

    data = ChunkData([Source(EpisodeDataset(each)) for each in (root, other)], 3)
    config = tiny_config(vocabulary=10)
    frames = np.flatnonzero(data.valid)[::2]
    raw = data.gather(frames)
    exact = fitted(config, {"": (raw["state"], raw["actions"], raw["action_is_pad"])})
    found = measured(config, data, frames, [""])
    assert found.keys() == exact.keys() == {"state", "actions"}
    for name in exact:
        same(found[name], exact[name])
    with pytest.raises(BadInput, match=r"no episode has 3 steps in a row .* give model.decoder.horizon=2"):
        measured(config, data, np.array([10, 11]), [""])


def test_stats_json_is_checked_against_the_data(root: Path) -> None:
    dataset, path = EpisodeDataset(root), root / "meta" / "stats.json"
    kept = path.read_text()
    assert check_stats(dataset).wrong == check_stats(dataset).averaged == []
    try:
        stats = json.loads(kept)
        stats[ACTION]["q99"][2] += 50.0
        stats[ACTION]["std"][5] *= np.pi / 180
        stats["observation.state"]["mean"][0] = float("nan")
        path.write_text(json.dumps(stats))
        lines = [str(one) for one in check_stats(dataset).wrong]
        assert len(lines) == 3
        assert lines[0].startswith("observation.state[0] (shoulder_pan.pos): mean is nan in meta/stats.json")
        assert any(f"{ACTION}[5] (gripper.pos): std is" in line for line in lines)
        assert any(f"{ACTION}[2] (elbow_flex.pos): q99 is" in line for line in lines)
        stats[ACTION]["q99"] = stats[ACTION]["q99"][:2]
        path.write_text(json.dumps(stats))
        with pytest.raises(BadInput, match=r"'q99' of 'action' must be a list of 6 numbers, not 2"):
            check_stats(dataset)
        del stats[ACTION]
        path.write_text(json.dumps(stats))
        with pytest.raises(BadInput, match="says nothing of feature 'action'"):
            check_stats(dataset)
    finally:
        path.write_text(kept)


def test_columns_are_measured_as_they_are(root: Path) -> None:
    dataset = EpisodeDataset(root)
    found = column_sketches(dataset, [ACTION, "annotation.valid"])
    same(found[ACTION].statistics(), FeatureStatistics.from_array(dataset.columns([ACTION])[ACTION]))
    assert found["annotation.valid"].shape == (1,)


def test_quantiles_that_lerobot_averaged_are_told_and_are_no_warning(tmp_path: Path) -> None:
    """As it puts episodes together: means, deviations and ends exactly, quantiles by their average."""
    root = write_dataset(tmp_path / "set", [9, 4, 12])
    dataset, path = EpisodeDataset(root), root / "meta" / "stats.json"
    rows = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    stats = json.loads(path.read_text())
    lengths = np.array([row["length"] for row in rows])
    for name in (ACTION, "observation.state"):
        for key in ("q01", "q10", "q50", "q90", "q99"):
            each = np.array([row[f"stats/{name}/{key}"] for row in rows])
            stats[name][key] = ((each * lengths[:, None]).sum(0) / lengths.sum()).tolist()
    path.write_text(json.dumps(stats))
    found = check_stats(dataset)
    assert found.wrong == [] and {one.statistic for one in found.averaged} >= {"q01", "q99"}
    assert f"{len(found.averaged)} of its quantiles (q01 to q99)" in found.note and "\n" not in found.note
    assert f"{found.averaged[0].share:.1%} of a range" in found.note and "LeRobot averages them" in found.note
    for told in (against_stated(dataset, 0.01), str(inspect_robot(root).rows)):
        assert "agrees" in told and "disagree" not in told and found.note in told
    assert inspect_robot(root).damage == []
    stats[ACTION]["q50"][1] = -1e4  # no average of anything that is there
    stats[ACTION]["max"][0] += 30.0
    path.write_text(json.dumps(stats))
    assert {(one.statistic, one.index) for one in check_stats(dataset).wrong} == {("q50", 1), ("max", 0)}
