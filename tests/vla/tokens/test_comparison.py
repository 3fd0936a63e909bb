"""The measures by which tokenizers are compared: on data where the right answer is known."""

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving_arm import SO101, motion, write_motion
from PIL import Image

from vla.configuration import BinsConfig, FastConfig, ResidualConfig, SplineConfig, TokenizerConfig
from vla.errors import BadInput, UndecodableChunk
from vla.tokens.actions import build_tokenizer
from vla.tokens.actions.bins import BinTokenizer
from vla.tokens.comparison import Chunks, Comparison, compare, draw, page, read_chunks
from vla.tokens.comparison.chunks import Executed, Group
from vla.tokens.comparison.corruption import DAMAGES, corrupted, corruption
from vla.tokens.comparison.joins import executed_by, smoothness
from vla.tokens.comparison.measures import clipping, loss
from vla.tokens.comparison.table import share

H = 8
UNITS = {"gripper": "of 100", ".pos": "degrees"}
KINDS: dict[str, TokenizerConfig] = {
    "bins": BinsConfig(count=64),
    "quantile": BinsConfig(count=64, spacing="quantile"),
    "openvla": BinsConfig(spacing="openvla"),
    "fast": FastConfig(vocabulary=300),
    "spline": SplineConfig(count=64),
    "residual": ResidualConfig(levels=4, codes=16),
}


@cache
def arm() -> Chunks:
    """Twelve episodes of a smooth arm of three joints."""
    root = write_motion(Path(mkdtemp()) / "arm", [40, 30, 25, 60, 20, 33, 41, 27, 8, 50, 35, 45])
    return read_chunks([root], H, units=UNITS, held=60, share=0.3, execute=4)


@cache
def compared() -> Comparison:
    """Every kind on it."""
    return compare(arm(), KINDS, corrupted=20, seconds=0.0)


# -- chunks ----------------------------------------------------------------------------------------------


def test_groups_offsets_and_sides() -> None:
    chunks = arm()
    assert chunks.groups == (Group("2 joints", "degrees", (0, 1)), Group("gripper", "of 100", (2,)))
    assert chunks.relative == (True, True, False) and chunks.names == SO101
    assert sum(chunks.episodes) == 12 and min(chunks.episodes) >= 1
    assert chunks.train.shape[1:] == chunks.held.shape[1:] == (H, 3) and len(chunks.held) == 60
    for values in (chunks.train, chunks.held):
        assert np.abs(values).max() <= 1
    # No held-out state is among those of the frames fitted to: the motion never repeats exactly.
    assert len(chunks.executed) >= 1
    fitted = {tuple(row) for row in chunks.train.reshape(len(chunks.train), -1)}
    assert not fitted & {tuple(row) for row in chunks.held.reshape(len(chunks.held), -1)}


def test_back_in_the_robots_units_but_for_what_is_clipped() -> None:
    chunks = arm()
    off = np.abs(chunks.physical(chunks.held, chunks.held_state) - chunks.held_actions)
    inside = np.abs(chunks.held) < 1 - 1e-6
    assert off[inside].max() < 1e-3
    found = clipping(chunks)
    assert found.numbers == chunks.held.size and found.clipped <= (~inside).sum()
    assert found.groups[0].max == pytest.approx(off[..., list(chunks.groups[0].joints)].max())


def test_steps_past_the_end_hold_the_last_action(tmp_path: Path) -> None:
    root = write_motion(tmp_path / "short", [H, 3])  # the second is held out: nothing is drawn by the hash
    chunks = read_chunks([root], H, share=1e-9)
    end = motion(1, 4, 3)[3]
    assert chunks.held_actions.shape == (3, H, 3)
    assert (chunks.held_actions[2] == end).all() and (chunks.held_actions[0, 2:] == end).all()
    assert chunks.executed == () and page(
        compare(chunks, {"bins": BinsConfig()}, seconds=0), chunks, shown=[]
    )


def test_a_dataset_of_unknown_numbers(tmp_path: Path) -> None:
    chunks = read_chunks([write_motion(tmp_path / "arm", [20, 20], None)], H, units=UNITS)
    assert [group.name for group in chunks.groups] == ["action 0", "action 1", "action 2"]
    assert all(group.unit == "" for group in chunks.groups) and chunks.relative == (True, True, True)


def test_several_folders_and_the_same_numbers_again(tmp_path: Path) -> None:
    one, two = (write_motion(tmp_path / name, [20, 25, 30]) for name in ("one", "two"))
    first, again = (read_chunks([one, two], H, share=0.4) for _ in range(2))
    assert sum(first.episodes) == 6 and first.statistics.hash == again.statistics.hash
    assert np.array_equal(first.held, again.held)


@pytest.mark.parametrize(
    ("lengths", "fill", "horizon", "line"),
    [
        ([20, 20], 3.0, H, "every action is the same"),
        ([20, 20], np.nan, H, "feature 'action' is not finite at frame 0"),
        ([5, 6, 7], None, H, "horizon=8 is longer than any episode to fit to; give"),
        ([20, 20], None, 10**9, "horizon=1000000000 is longer than any episode to fit to; give 20 or less"),
        ([20], None, H, "has one episode; two are needed"),
    ],
)
def test_a_dataset_that_cannot_be_used(
    tmp_path: Path, lengths: list[int], fill: float | None, horizon: int, line: str
) -> None:
    root = write_motion(tmp_path / "arm", lengths, fill=fill)
    with pytest.raises(BadInput, match=line):
        read_chunks([root], horizon)


# -- size, loss, joins -----------------------------------------------------------------------------------


@given(st.integers(4, 400))
def test_bins_lose_half_a_bin_at_most_in_the_robots_units(count: int) -> None:
    chunks = arm()
    tokenizer = BinTokenizer(BinsConfig(count=count), H, 3)
    codes = tokenizer.encode_batch(chunks.held)
    found = loss(chunks, np.stack([tokenizer.decode(codes.row(i)) for i in range(len(codes))]))
    assert found.share.max <= 0.5 / count + 1e-6
    for group, error in zip(chunks.groups, found.groups, strict=True):
        widest = chunks.scale[:, list(group.joints)].max()
        assert 0 < error.mean <= error.max <= widest / count + 1e-3


def test_what_the_kinds_cost() -> None:
    rows = {row.name: row for row in compared().rows if row.prefix is None}
    assert rows["bins"].size.mean == 3 * H and rows["bins"].size.compression == 1
    assert rows["bins"].size.bits == 3 * H * 6  # 64 codes
    assert rows["residual"].size.bits == 4 * 4 and rows["residual"].size.compression == 3 * H / 4
    assert not rows["fast"].fixed and rows["fast"].size.p99 >= rows["fast"].size.mean
    assert rows["fast"].size.compression > 1
    # A code more costs something and must bring something.
    assert rows["openvla"].loss.share.mean < rows["bins"].loss.share.mean < rows["residual"].loss.share.mean


def test_every_prefix_has_a_row_and_the_longer_is_the_better() -> None:
    rows = {row.prefix: row for row in compared().rows if row.name == "residual"}
    assert set(rows) == {None, 1, 2, 3}
    errors = [rows[n].loss.share.mean for n in (1, 2, 3, None)]
    assert errors == sorted(errors, reverse=True)
    assert [rows[n].size.mean for n in (1, 2, 3, None)] == [1, 2, 3, 4]
    assert rows[1].speed is None and rows[1].corruption is None


def _executing(chunks: Chunks, actions: list[np.ndarray], execute: int) -> Chunks:
    """The same chunks with other recorded episodes."""
    nothing = np.zeros((0, H, 3))
    episodes = tuple(Executed(each, nothing, nothing[:, 0]) for each in actions)
    return dataclasses.replace(chunks, executed=episodes, execute=execute)


@given(st.floats(0.01, 50), st.integers(3, 8), st.floats(-2, 2), st.floats(-1, 1))
def test_a_step_at_each_join_is_measured_there_and_only_there(
    height: float, execute: int, speed: float, bend: float
) -> None:
    time = np.arange(5 * execute)[:, None] * np.ones(3)
    true = speed * time + bend * time**2  # without jerk
    jumpy = true + height * (time // execute)
    at, *_ = smoothness(_executing(arm(), [true], execute), [jumpy])
    fps = arm().fps
    # Third differences of a unit step: 1, -2, 1.
    assert at.jerk.mean == pytest.approx(height * 4 / 3 * fps**3, rel=1e-6)
    assert at.jerk.max == pytest.approx(height * 2 * fps**3, rel=1e-6)
    assert at.added == pytest.approx(at.jerk.mean, rel=1e-6)
    smooth, *_ = smoothness(_executing(arm(), [true], execute), [true])
    assert smooth.jerk.max < 1e-6 * fps**3 and smooth.added == 0
    assert smooth.velocity.mean == pytest.approx(2 * abs(bend) * fps, abs=1e-6)
    if execute > 3:
        assert at.jerk_elsewhere < 1e-6 * fps**3
    else:  # every third difference spans a join
        assert np.isnan(at.jerk_elsewhere)


def test_executed_episodes_are_the_recorded_ones_but_for_the_code() -> None:
    chunks = arm()
    fine = build_tokenizer(BinsConfig(count=100_000), H, 3)
    for episode, alone, coded in zip(
        chunks.executed, executed_by(chunks, None), executed_by(chunks, fine), strict=True
    ):
        assert alone.shape == coded.shape == episode.actions.shape
        assert np.abs(coded - alone).max() < 0.01
        assert np.median(np.abs(alone - episode.actions)) < 1e-3  # most are not clipped
    assert compared().recorded[0].added == 0 < compared().rows[0].joins[0].added


# -- wrong codes -----------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12), st.sampled_from(DAMAGES), st.integers(0, 2**32 - 1)
)
def test_one_thing_is_wrong(ids: list[int], damage: str, seed: int) -> None:
    given_ids = np.array(ids)
    wrong = corrupted(given_ids, damage, 10, np.random.default_rng(seed))
    assert given_ids.tolist() == ids
    if wrong is None:
        assert (damage == "delete" and len(ids) == 1) or (damage == "swap" and len(set(ids)) == 1)
        return
    assert wrong.tolist() != ids and ((wrong >= 0) & (wrong < 10)).all()
    assert len(wrong) - len(ids) == {"delete": -1, "insert": 1}.get(damage, 0)
    if damage == "replace":
        assert (wrong != given_ids).sum() == 1
    if damage == "swap":
        (first, second) = np.flatnonzero(wrong != given_ids)
        assert second == first + 1 and sorted(wrong) == sorted(ids)


def test_which_damage_is_detected() -> None:
    rows = {row.name: row for row in compared().rows if row.prefix is None}
    for name in (
        "bins",
        "quantile",
        "openvla",
        "spline",
    ):  # any codes are a chunk, but not any number of them
        found = rows[name].corruption
        assert found is not None and found.lies is not None
        assert found.detected == {"replace": 0, "delete": 20, "insert": 20, "swap": 0}
        assert all(0 < lie.mean <= lie.worst <= lie.max for lie in found.lies)
    ordered = rows["residual"].corruption
    assert ordered is not None and ordered.detected["delete"] == 0 and ordered.detected["insert"] == 20
    fast = rows["fast"].corruption
    assert fast is not None and fast.detected["replace"] > 0


class Strange(BinTokenizer):
    """Bins whose decoder does something else with codes that begin with another than 0."""

    then: Callable[[], np.ndarray]

    def decode(self, ids: np.ndarray) -> np.ndarray:
        known = super().decode(ids[: self.length] if len(ids) > self.length else np.resize(ids, self.length))
        return known if (known == -0.5).all() else self.then()


def _raise() -> np.ndarray:
    raise UndecodableChunk("no")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.01])
def test_an_invalid_chunk_without_an_error_is_a_fault(value: float) -> None:
    tokenizer = Strange(BinsConfig(count=2), H, 3)
    codes = tokenizer.encode_batch(np.full((60, H, 3), -0.5))
    tokenizer.then = lambda: np.full((H, 3), value, np.float32)
    with pytest.raises(AssertionError, match="invalid chunk"):
        corruption(arm(), tokenizer, codes, count=5, seed=0)
    tokenizer.then = _raise
    found = corruption(arm(), tokenizer, codes, count=5, seed=0)
    assert found.detected["replace"] == found.tried["replace"] == 5 and found.tried["swap"] == 0


# -- page and picture ------------------------------------------------------------------------------------


def test_a_share_has_its_count_and_its_interval() -> None:
    assert share(50, 100) == "50.0% (50/100; 40.4% to 59.6%)"  # Wilson's, from a table
    assert share(0, 10).startswith("0.0% (0/10; 0.0% to 27.8%")
    assert share(0, 0) == "none tried"


def test_the_page_has_a_row_a_tokenizer_in_every_table(tmp_path: Path) -> None:
    text = page(compared(), arm(), shown=[2], picture="x.png", how="Seed 0.")
    for name in KINDS:
        # Size, joins of two groups, what is detected, what is not, speed.
        assert text.count(f"\n| {name} |") == 6
    assert text.count("| residual, first 2 |") == 3 and "first 3" not in text
    assert "](x.png)" in text and "degrees/s³" in text and "of 100" in text and "nan" not in text
    widths = {}
    for line in text.splitlines():
        if line.startswith("|"):
            widths.setdefault(line.count("|"), []).append(line)
    assert len(widths) <= 5  # each table is as wide in every row as in its head
    draw(compared(), arm(), tmp_path / "x.png")
    draw(compared(), arm(), tmp_path / "y.png")
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "y.png").read_bytes()
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**24)) > 50
    with pytest.raises(BadInput, match="cannot write"):
        draw(compared(), arm(), tmp_path / "no" / "x.png")


def test_the_same_seed_gives_the_same_numbers() -> None:
    again = compare(arm(), {"residual": KINDS["residual"]}, corrupted=20, seconds=0.0)
    first = [row for row in compared().rows if row.name == "residual"]
    for one, two in zip(first, again.rows, strict=True):
        assert dataclasses.replace(one, speed=None) == dataclasses.replace(two, speed=None)
