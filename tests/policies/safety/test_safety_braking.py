"""The closed form of a stop against the rule itself, carried out one step at a time."""

import numpy as np
import pytest

from policies.runtime.safety.braking import along, brake, ramped, steepest, stop


def states(seed: int, count: int) -> tuple[np.ndarray, ...]:
    """Speeds, accelerations and limits, in tick units: some stop in one tick, some in a thousand."""
    rng = np.random.default_rng(seed)
    q = 10 ** rng.uniform(-8, 0, count)
    top = q * 10 ** rng.uniform(-1.5, 2.3, count)
    a = rng.uniform(-1, 1, count) * top * rng.choice([0, 1, 1, 1], count)
    v = rng.normal(size=count) * np.where(
        rng.random(count) < 0.5, top * 10 ** rng.uniform(-2, 2, count), ramped(np.abs(a), q)
    )
    v[: count // 20] = 0
    return v, a, q, top


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_rule_carried_out(seed: int) -> None:
    v0, a0, q, top = states(seed, 4000)
    how = stop(v0, a0, q, top)
    peak = np.abs(v0 + np.copysign(ramped(np.abs(a0), q), a0))
    v, a, p = v0, a0, np.zeros(len(v0))
    low, high = p, p
    for tick in range(1, int(how.ticks.max()) + 4):  # rounding may leave a last 1e-17 for another tick
        before, a = a, brake(v, a, q, top)
        assert (np.abs(a) <= top).all() and (np.abs(a - before) <= q * (1 + 1e-9)).all()
        v = v + a
        p = p + v
        low, high = np.minimum(low, p), np.maximum(high, p)
        assert (np.abs(v) <= np.maximum(np.abs(v0), peak) * (1 + 1e-12) + 1e-12 * q).all()
        if tick % 37 == 1:
            error = np.abs(along(how, q, float(tick)) - p)
            assert (error <= 1e-11 * (q + how.up + how.down)).all()
    scale = q + high - low
    assert (v == 0).all() and (brake(v, a, q, top) == 0).all(), "it rests, exactly"
    assert (np.abs(how.end - p) <= 1e-11 * scale).all()
    assert (high <= how.up + 1e-11 * scale).all() and (-low <= how.down + 1e-11 * scale).all()
    # Exact but for the first part of a way that turns.
    straight = v0 * how.sign >= 0
    assert (how.up <= high + 1e-11 * scale)[straight].all() and straight.mean() > 0.5


def test_a_stop_only_gets_longer_with_speed_and_acceleration() -> None:
    v, a, q, top = states(9, 4000)
    first = stop(v, a, q, top).end
    faster = stop(v + 0.3 * q, a, q, top).end
    pushed = stop(v, np.minimum(a + 0.3 * q, top), q, top).end
    slack = 1e-9 * (q + np.abs(first))
    assert (faster >= first - slack).all() and (pushed >= first - slack).all()


def test_no_other_way_to_brake_is_shorter() -> None:
    """Random ways to brake that keep the limits and do not turn back end no nearer."""
    rng = np.random.default_rng(4)
    count = 3000
    q, top = np.full(count, 1.0), np.full(count, 6.3)
    v = rng.uniform(0, 60, count)
    a = rng.uniform(-1, 1, count) * np.minimum(top, 0.5 * steepest(v, q))
    rule = stop(v, a, q, top).end
    p = np.zeros(count)
    for _ in range(400):
        harder = brake(v, a, q, top)  # nothing below keeps v above 0 for good
        a = np.minimum(np.minimum(harder + rng.random(count) ** 3 * q, a + q), top)
        a = np.where(rng.random(count) < 0.5, harder, a)
        v = v + a
        p = p + v
        assert (v >= -1e-9).all()
    for _ in range(200):
        a = brake(v, a, q, top)
        v = v + a
        p = p + v
    assert (p >= rule - 1e-9 * (1 + rule)).all()


def test_ramping_out_and_its_inverse() -> None:
    q = np.array(0.7)
    for a in np.linspace(0, 9, 500):
        steps = np.arange(a, 0, -q)
        total = steps.sum()
        assert np.isclose(ramped(np.array(a), q), total - a)
        assert np.isclose(steepest(np.array(total), q), a)
