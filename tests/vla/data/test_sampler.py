from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vla.data.sampler import CounterSampler, in_validation


@given(st.integers(0, 2**32), st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_any_cutting_gives_the_same_samples(seed: int, sizes: list[int], start: int) -> None:
    items = np.arange(100, 137)
    whole = CounterSampler(items, seed)(start, sum(sizes))
    sampler = CounterSampler(items, seed)
    edges = start + np.concatenate([[0], np.cumsum(sizes)])
    # in another order, too: a worker may begin anywhere
    parts = {int(a): sampler(int(a), int(b - a)) for a, b in reversed(list(pairwise(edges)))}
    np.testing.assert_array_equal(whole, np.concatenate([parts[int(a)] for a in edges[:-1]]))


def test_each_pass_shows_each_frame_once() -> None:
    sampler = CounterSampler(np.arange(50), seed=1)
    first, second = sampler(0, 50), sampler(50, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert CounterSampler(np.arange(50), seed=2)(0, 50).tolist() != first.tolist()


def test_weights_are_met_within_one() -> None:
    weights = np.array([1.0, 2.0, 5.0, 1.0, 1.0])
    drawn = CounterSampler(np.arange(5), seed=3, weights=weights)(0, 5 * 200)
    counts = np.bincount(drawn, minlength=5)
    assert np.all(np.abs(counts - 1000 * weights / weights.sum()) <= 200)
    assert abs(counts[2] - 500) < 40


def test_validation_split_is_stable() -> None:
    small, large = in_validation(100, 7, 0.2), in_validation(300, 7, 0.2)
    np.testing.assert_array_equal(small, large[:100])
    assert 30 < large.sum() < 90
    assert in_validation(300, 8, 0.2).tolist() != large.tolist()
    assert not in_validation(300, 7, 0.0).any()
