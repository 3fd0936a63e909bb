"""Statistics of whole datasets: measured once, kept, put together, and what training would compute itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_episodes import write_dataset

from vla.data import measured as module
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.measured import chunk_sketches, column_sketches, combine, measured
from vla.data.statistics import FeatureStatistics
from vla.data.stats_check import stats_disagreements
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
    assert stats_disagreements(dataset) == []
    try:
        stats = json.loads(kept)
        stats[ACTION]["q99"][2] += 50.0
        stats[ACTION]["std"][5] *= np.pi / 180
        stats["observation.state"]["mean"][0] = float("nan")
        path.write_text(json.dumps(stats))
        lines = [str(one) for one in stats_disagreements(dataset)]
        assert len(lines) == 3
        assert lines[0].startswith("observation.state[0] (shoulder_pan.pos): mean is nan in meta/stats.json")
        assert any(f"{ACTION}[5] (gripper.pos): std is" in line for line in lines)
        assert any(f"{ACTION}[2] (elbow_flex.pos): q99 is" in line for line in lines)
        stats[ACTION]["q99"] = stats[ACTION]["q99"][:2]
        path.write_text(json.dumps(stats))
        with pytest.raises(BadInput, match=r"'q99' of 'action' must be a list of 6 numbers, not 2"):
            stats_disagreements(dataset)
        del stats[ACTION]
        path.write_text(json.dumps(stats))
        with pytest.raises(BadInput, match="says nothing of feature 'action'"):
            stats_disagreements(dataset)
    finally:
        path.write_text(kept)


def test_columns_are_measured_as_they_are(root: Path) -> None:
    dataset = EpisodeDataset(root)
    found = column_sketches(dataset, [ACTION, "annotation.valid"])
    same(found[ACTION].statistics(), FeatureStatistics.from_array(dataset.columns([ACTION])[ACTION]))
    assert found["annotation.valid"].shape == (1,)
