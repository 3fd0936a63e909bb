"""Reading speed: every reader has its turn, and what is read is the same whoever wrote the folder."""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.runtime.benchmark import loading
from policies.runtime.benchmark.loading import lerobot, measure_loading, turn
from policies.runtime.benchmark.loading_data import scene, write_with_lerobot
from policies.runtime.benchmark.options import Loading
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.pictures_source import open_pictures
from vla.errors import BadInput

SMALL = Loading(
    episodes=2, frames=12, side=64, horizon=5, batch=3, workers=0, rounds=2, seconds=0.0, kinds=("image",)
)


def test_scenes_move_and_come_again() -> None:
    first, again, other = (np.stack(list(scene(*which, 4, 64))) for which in ((0, 0), (0, 0), (0, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9
    assert all((one != two).any() for one, two in pairwise(first))


def test_a_turn_opens_anew_and_leaves_out_the_first_batches() -> None:
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    options = Loading(workers=2, seconds=0.0)
    for _ in range(2):
        taken.clear()
        first, each = turn(batches, options)
        assert taken == [0, 1, 2, 3, 4] and first > 0 and each > 0  # the first, one a worker, two timed


def test_without_lerobot_ours_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "lerobot", None)
    said: list[str] = []
    found = measure_loading(
        Loading(**{**vars(SMALL), "folder": tmp_path, "kinds": ("video", "image")}), said.append
    )
    assert [row["reader"] for row in found["rows"]] == ["ours, cached", "ours, no cache"]
    for row in found["rows"]:
        assert row["faster"] is None and len(row["rounds_ms_a_sample"]) == 2
        median = float(np.median(row["rounds_ms_a_sample"]))
        assert row["samples_per_s"] == pytest.approx(1000 / median, rel=0.02)
    assert "lerobot is left out" in said[0] and said[-1].startswith("| dataset | reader")
    json.dumps(found)


def test_too_little_data_is_named() -> None:
    with pytest.raises(BadInput, match="two batches"):
        Loading(episodes=1, frames=10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["video", "image"])
def test_lerobots_samples_are_ours(kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("lerobot.datasets")
    write_with_lerobot(SMALL, tmp_path / "set", kind)
    theirs = next(lerobot(tmp_path / "set", SMALL))
    dataset = EpisodeDataset(tmp_path / "set")
    states = dataset.columns(["observation.state"])["observation.state"]
    frames = np.array(
        [np.abs(states - state.numpy()).sum(1).argmin() for state in theirs["observation.state"]]
    )
    images = {"front": [open_pictures(dataset, "front", cached=False, workers=1)]}
    mine = ChunkData([Source(dataset)], SMALL.horizon).gather(frames, images)
    np.testing.assert_array_equal(mine["actions"], theirs["action"].numpy())
    np.testing.assert_array_equal(mine["action_is_pad"], theirs["action_is_pad"].numpy())
    assert mine["task"] == theirs["task"]
    pictures = (theirs["observation.images.front"].permute(0, 2, 3, 1).numpy() * 255).round()
    np.testing.assert_array_equal(mine["images"]["front"], pictures.astype(np.uint8))


@pytest.mark.slow
def test_the_table_has_a_line_for_each_reader() -> None:
    pytest.importorskip("lerobot.datasets")
    said: list[str] = []
    found = measure_loading(SMALL, said.append)
    assert [row["reader"] for row in found["rows"]] == ["ours, cached", "ours, no cache", "lerobot (PNG)"]
    slow = found["rows"][-1]
    for row in found["rows"][:-1]:
        ratios = np.array(slow["rounds_ms_a_sample"]) / np.array(row["rounds_ms_a_sample"])
        assert row["faster"]["median"] == pytest.approx(float(np.median(ratios)), rel=0.02)
