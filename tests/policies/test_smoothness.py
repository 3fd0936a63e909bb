"""Velocity, acceleration and jerk: exact on polynomials, and put down to the joins that cause them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.results import EpisodeResult
from policies.runtime.smoothness import Jerk, derivatives, jerk_summary, pool, smoothness, smoothness_of

NUMBER = st.floats(-5.0, 5.0)


@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), st.integers(4, 40), st.sampled_from([5.0, 20.0, 50.0]))
def test_a_cubic_has_the_jerk_6a(factors: tuple[float, ...], steps: int, hz: float) -> None:
    a, b, c, d = factors
    t = np.arange(steps) / hz
    x = (a * t**3 + b * t**2 + c * t + d)[:, None].repeat(2, axis=1)
    velocity, acceleration, jerk = derivatives(x, hz)
    assert jerk.shape == (steps - 3, 2)
    np.testing.assert_allclose(jerk, 6 * a, atol=1e-8 * hz**3)
    # A difference is the mean slope over its span, so a parabola's is exact half a step later.
    np.testing.assert_allclose(
        acceleration, (6 * a * (t[:-2] + 1 / hz) + 2 * b)[:, None].repeat(2, 1), atol=1e-6
    )
    np.testing.assert_allclose(np.diff(velocity, axis=0) * hz, acceleration, atol=1e-6)
    found = smoothness(x, [], hz)
    assert found.joins == Jerk(0, 0.0, 0.0)
    assert found.elsewhere.mean == pytest.approx(6 * abs(a), abs=1e-8 * hz**3)


@given(st.integers(1, 20), st.floats(0.5, 90.0), st.sampled_from([10.0, 20.0]))
def test_a_jump_at_a_join_is_seen_there_and_nowhere_else(join: int, size: float, hz: float) -> None:
    x = np.where(np.arange(21) < join, 0.0, size)[:, None]
    found = smoothness(x, [join], hz)
    assert found.elsewhere.peak == 0.0 and found.elsewhere.count + found.joins.count == 18
    # The third differences of a step: s, -2 s, s, of which those inside the commands count.
    inside = [abs(k) for k, at in ((1, join - 3), (-2, join - 2), (1, join - 1)) if 0 <= at < 18]
    assert found.joins.count == len(inside)
    assert found.joins.peak == pytest.approx(max(inside, default=0) * size * hz**3)
    assert found.joins.mean == pytest.approx(np.mean(inside or [0]) * size * hz**3)
    missed = smoothness(x, [], hz)
    assert missed.elsewhere.peak == found.joins.peak


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 30))
def test_every_difference_is_counted_once(joins: list[int], steps: int) -> None:
    x = np.random.default_rng(steps).normal(size=(steps, 3))
    found = smoothness(x, joins, 20.0)
    values = np.abs(derivatives(x, 20.0)[-1])
    assert found.joins.count + found.elsewhere.count == values.size == 3 * max(steps - 3, 0)
    total = found.joins.mean * found.joins.count + found.elsewhere.mean * found.elsewhere.count
    assert total == pytest.approx(values.sum())


def episode(actions: np.ndarray, joins: tuple[int, ...] = (), holds: tuple[int, ...] = ()) -> EpisodeResult:
    return EpisodeResult(
        *(0, 0, "lift", "lift it", "timeout", False, len(actions), 20.0),
        actions=actions.astype(np.float32),
        joins=joins,
        holds=holds,
        hz=10.0,
    )


def test_the_gripper_and_the_start_are_left_out() -> None:
    x = np.zeros((20, 3))
    x[4:, 0] = 50.0  # the first chunk arrives: the arm sets out
    x[12:, 2] = 100.0  # the gripper closes
    x[10:, 1] = 2.0  # a join
    found = smoothness_of(episode(x, joins=(10,), holds=(0, 1, 2, 3)))
    assert found.elsewhere.peak == 0.0
    assert found.joins == Jerk(
        6, pytest.approx(4 / 3 * 1e3), 4e3
    )  # (2, 4, 2) * hz^3 and zeros of the other joint
    later = smoothness_of(episode(x, joins=(10,), holds=(3,)))  # a hold that is not the start
    assert later.elsewhere.peak == pytest.approx(100e3)


def test_episodes_are_pooled_by_their_length_and_their_peaks() -> None:
    assert pool([Jerk(1, 4.0, 8.0), Jerk(3, 2.0, 2.0), Jerk(0, 0.0, 0.0)]) == Jerk(4, 2.5, 5.0)
    nothing = {"mean": None, "peak": None}
    assert jerk_summary([]) == {"joins": nothing, "elsewhere": nothing}
    assert jerk_summary([episode(np.zeros((2, 3)))])["elsewhere"] == nothing
