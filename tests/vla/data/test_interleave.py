"""Which source a sample comes from: exact shares, even spread, and nothing remembered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla.data.interleave import Interleave
from vla.errors import BadInput

shares = st.lists(st.floats(0.001, 10), min_size=1, max_size=6)


@given(shares, st.integers(0, 2**22), st.integers(0, 50_000), st.lists(st.integers(1, 400), max_size=6))
def test_cut_anywhere_the_samples_are_the_same(
    given_shares: list[float], seed: int, start: int, cuts: list[int]
) -> None:
    whole = Interleave(given_shares, seed)(start, sum(cuts) + 1)
    pieces, at = [], start
    for size in [*cuts, 1]:
        pieces.append(Interleave(given_shares, seed)(at, size))
        at += size
    for kind in range(2):
        assert np.array_equal(whole[kind], np.concatenate([each[kind] for each in pieces]))


@given(shares, st.integers(0, 100))
def test_every_sources_own_samples_are_counted_without_gaps(given_shares: list[float], seed: int) -> None:
    sources, numbers = Interleave(given_shares, seed, block=500)(0, 1700)
    for source in range(len(given_shares)):
        own = numbers[sources == source]
        assert np.array_equal(own, np.arange(len(own)))


@given(shares, st.integers(0, 100), st.integers(0, 4000))
def test_what_was_drawn_is_what_is_told(given_shares: list[float], seed: int, samples: int) -> None:
    interleave = Interleave(given_shares, seed, block=500)
    sources, _ = interleave(0, samples) if samples else (np.zeros(0, np.int64), None)
    assert np.array_equal(interleave.drawn(samples), np.bincount(sources, minlength=len(given_shares)))


def test_a_batch_holds_its_share_of_each() -> None:
    interleave = Interleave([0.5, 0.3, 0.2], seed=3)
    for start in range(0, 30_000, 64):
        counts = np.bincount(interleave(start, 64)[0], minlength=3)
        assert np.abs(counts - 64 * np.array([0.5, 0.3, 0.2])).max() <= 3
    assert np.array_equal(interleave.drawn(20_000), [10_000, 6_000, 4_000])


def test_a_tiny_share_is_drawn_all_the_same() -> None:
    assert Interleave([1.0, 1e-9], seed=0).drawn(10_000).tolist() == [9_999, 1]
    assert Interleave([1.0, 0.0], seed=0).drawn(10_000).tolist() == [10_000, 0]


@pytest.mark.parametrize("wrong", [[], [0.0], [1.0, -0.1], [float("nan"), 1.0]])
def test_shares_that_are_none(wrong: list[float]) -> None:
    with pytest.raises(BadInput, match="shares of sources"):
        Interleave(wrong, 0)
