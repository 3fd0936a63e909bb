"""No command breaks a limit, whatever is wanted; every hold ends at rest; goals are reached and kept to."""

import numpy as np
import pytest

from policies.runtime.safety.limiter import Box, Limiter, Proposal
from vla.errors import BadInput

ARMS, JOINTS = 128, 7
"""At once: as many as fit into a processor's caches; with twice as many a command takes twice as long."""


def box(rng: np.random.Generator, hz: float, arms: int = ARMS) -> Box:
    """Limits of many arms: from stiff ones, which move in one tick, to soft ones; some ranges are tiny."""
    shape = (arms, JOINTS)
    middle = rng.uniform(-200, 200, shape)
    half = 10 ** rng.uniform(-2, 2.3, shape)
    speed = half * 10 ** rng.uniform(-1.5, 1.5, shape)
    acceleration = speed * 10 ** rng.uniform(-0.5, 2, shape)
    jerk = np.maximum(acceleration * 10 ** rng.uniform(0, 2.5, shape), 400 * 1e-12 * hz**3)
    return Box(middle - half, middle + half, speed, np.maximum(acceleration, 0.3 * jerk / hz), jerk)


def broken(limits: Box, path: np.ndarray, hz: float) -> list[str]:
    """Which limits the commands ``[ticks, ..., joints]`` break, by their own differences: no tolerance."""
    wrong = []
    if not np.isfinite(path).all():
        wrong.append("not finite")
    low, high = np.minimum(limits.lower, path[0]), np.maximum(limits.upper, path[0])
    if not ((path >= low) & (path <= high)).all():
        wrong.append("position")
    difference = np.concatenate([np.zeros((3, *path.shape[1:])), np.diff(path, axis=0)])
    for order, name in enumerate(("speed", "acceleration", "jerk"), 1):
        if not (np.abs(difference) * hz**order <= getattr(limits, name)).all():
            bad = np.argwhere(np.abs(difference) * hz**order > getattr(limits, name))[0]
            wrong.append(
                f"{name} at {bad} {np.nanmax(np.abs(difference) * hz**order / getattr(limits, name))}"
            )
        difference = np.diff(difference, axis=0)
    return wrong


def send(limiter: Limiter, proposal: Proposal) -> np.ndarray:
    limiter.move(proposal.command, proposal.change, proposal.same)
    return proposal.command


def hostile(
    rng: np.random.Generator, limits: Box, limiter: Limiter, tick: int, mode: np.ndarray
) -> np.ndarray:
    """What is wanted at a tick, each arm in one of eleven ways."""
    p, span = limiter.p, limits.upper - limits.lower
    step = limits.speed / limiter.hz
    a = (limits.acceleration / limiter.hz**2, limits.jerk / limiter.hz**3)
    sign = np.where(rng.random(p.shape) < 0.5, -1.0, 1.0)
    turn = -1.0 if tick % 2 else 1.0
    ways = (
        limits.lower + rng.random(p.shape) * span,  # anywhere
        np.where(rng.random(p.shape) < 0.3, np.nan, p + sign * step),
        sign * 10 ** rng.uniform(0, 300, p.shape),  # huge
        np.full(p.shape, [np.inf, -np.inf, np.nan, 400, -400, 0, 1e9]) * turn,
        p + turn * step,  # oscillation at the rate limit
        p + limiter.v + limiter.a + sign * a[1] * rng.choice([0.5, 1.0, 1.0 - 1e-12, 1 + 1e-12], p.shape),
        np.where(turn > 0, np.nan, limits.upper + span),  # hold and go in turn
        np.broadcast_to(np.where(tick // 23 % 2, limits.upper, limits.lower), p.shape),  # end to end
        p + limiter.v + a[0] * sign,
        np.where((p > (limits.upper + limits.lower) / 2), limits.upper, limits.lower) + 1e-9 * sign * span,
        p + limiter.v + limiter.a + a[1] * rng.uniform(-1, 1, p.shape) * np.sign(limits.upper - p),
    )
    return np.choose(mode, ways)


@pytest.mark.parametrize(("hz", "seed"), [(20, 0), (50, 1), (200, 2), (1000, 3)])
def test_hostile_commands_never_break_a_limit(hz: float, seed: int) -> None:
    """128 arms x 7 joints x 300 ticks x 4 rates: 1.07 million commands, each arm in a mood that changes."""
    never_breaks_a_limit(hz, seed, ticks=300)


@pytest.mark.slow
@pytest.mark.parametrize(("hz", "seed"), [(20, 4), (30, 5), (100, 6), (333, 7), (1000, 8)])
def test_a_million_hostile_commands_of_whole_arms_never_break_a_limit(hz: float, seed: int) -> None:
    """128 arms x 1600 ticks x 5 rates: 1.02 million commands of seven joints each."""
    never_breaks_a_limit(hz, seed, ticks=1600)


def never_breaks_a_limit(hz: float, seed: int, ticks: int) -> None:
    rng = np.random.default_rng(seed)
    limits = box(rng, hz)
    limiter = Limiter(limits, hz, ramp_seconds=0.2, ramp_scale=0.1, recovery_scale=0.1)
    span = limits.upper - limits.lower
    kind = rng.integers(0, 4, (ARMS, 1))  # inside; at a limit; close to one; outside one
    start = limits.lower + rng.random(span.shape) * span
    start = np.where(kind == 1, limits.upper, start)
    start = np.where(kind == 2, limits.lower + 1e-6 * span, start)
    start = np.where(kind == 3, limits.upper + rng.random(span.shape) * 0.5 * span, start)
    limiter.start(start)
    path = [start]
    for tick in range(ticks):
        if tick % 17 == 0:
            mode = np.broadcast_to(rng.integers(0, 11, (ARMS, 1)), span.shape)
        proposal = limiter.propose(hostile(rng, limits, limiter, tick, mode))
        # Sometimes a part of the way to the braking step, as the checks of places ask for.
        share = np.where(rng.random((ARMS, 1)) < 0.9, 1.0, rng.random((ARMS, 1)))
        change = limiter.braking() + share * (proposal.change - limiter.braking())
        command = np.where(share == 1.0, proposal.command, limiter.command(change))
        limiter.move(command, np.where(share == 1.0, proposal.change, change), proposal.same & (share == 1.0))
        path.append(command)
    sent = np.array(path)
    assert broken(limits, sent, hz) == []
    out = np.maximum(sent - limits.upper, 0).max(-1), np.maximum(limits.lower - sent, 0).max(-1)
    assert (np.diff(out[0], axis=0) <= 0).all() and (np.diff(out[1], axis=0) <= 0).all(), "went further out"
    for _ in range(20000):
        if limiter.at_rest.all():
            break
        path.append(send(limiter, limiter.propose(np.full(span.shape, np.nan))))
    assert limiter.at_rest.all(), "a hold that never comes to rest"
    assert broken(limits, np.array(path), hz) == []


@pytest.mark.parametrize("hz", [20, 100, 1000])
def test_a_constant_target_is_reached_and_kept(hz: float) -> None:
    rng = np.random.default_rng(int(hz))
    limits = box(rng, hz, 32)
    span = limits.upper - limits.lower
    limiter = Limiter(limits, hz)
    start = limits.lower + rng.random(span.shape) * span
    goal = limits.lower + rng.random(span.shape) * span
    goal[:5], start[5:10] = limits.upper[:5], limits.lower[5:10]
    limiter.start(start)
    speed, top, q = limits.speed, limits.acceleration, limits.jerk
    # What full speed throughout would take, and the time to gain and to lose it, twice over.
    times = np.abs(goal - start) / speed + 2 * (speed / top + top / q)
    ticks = np.ceil(1.2 * times * hz + 12)
    path = [start]
    arrived = np.full(span.shape, np.inf)
    for tick in range(1, int(min(ticks.max(), 2000)) + 1):
        proposal = limiter.propose(goal)
        send(limiter, proposal)
        path.append(proposal.command)
        arrived = np.where(proposal.command == goal, np.minimum(arrived, tick), np.inf)
    short = ticks <= 2000
    assert (arrived <= ticks)[short].all(), np.argwhere(short & (arrived > ticks))[:5]
    past = (np.array(path) - goal) * np.sign(goal - start)
    assert (past.max(0) <= 0.02 * np.abs(goal - start) + 4 * q / hz**3 + 1e-9 * span).all()
    assert broken(limits, np.array(path), hz) == []


@pytest.mark.parametrize("hz", [20, 200, 1000])
def test_a_gentle_trajectory_is_never_touched(hz: float) -> None:
    limits = Box(*(np.full(7, x) for x in (-100.0, 100.0, 180.0, 900.0, 9000.0)))
    limiter = Limiter(limits, hz)
    times = np.arange(int(4 * hz)) / hz
    phase = np.linspace(0, 1, 7)
    x = np.minimum(times / 2, 1)[:, None]
    ease = x**3 * (10 - 15 * x + 6 * x**2)
    wanted = ease * 97 * np.sin(0.8 * times[:, None] + phase) * np.array([1, -1, 0.5, -0.5, 0.1, 1, -1])
    limiter.start(wanted[0])
    for row in wanted[1:]:
        proposal = limiter.propose(row)
        assert proposal.same.all() and proposal.command.tobytes() == row.tobytes()
        send(limiter, proposal)


def test_a_moving_goal_is_caught_up_with_exactly() -> None:
    limits = Box(*(np.full(1, x) for x in (-100.0, 100.0, 180.0, 900.0, 9000.0)))
    limiter = Limiter(limits, 200)
    limiter.start(np.array([-50.0]))
    same = []
    for tick in range(600):
        proposal = limiter.propose(np.array([40 * np.cos(tick / 80)]))
        send(limiter, proposal)
        same.append(bool(proposal.same[0]))
    assert not same[0] and all(same[300:])


def test_the_ramp_and_the_way_back_are_slow() -> None:
    limits = Box(*(np.full(2, x) for x in (-100.0, 100.0, 180.0, 900.0, 9000.0)))
    limiter = Limiter(limits, 100, ramp_seconds=1.0, ramp_scale=0.1, recovery_scale=0.05)
    limiter.start(np.array([0.0, 110.0]))
    path = [limiter.p]
    for _ in range(300):
        proposal = limiter.propose(np.array([100.0, 0.0]))
        send(limiter, proposal)
        path.append(proposal.command)
    sent = np.array(path)
    speeds = np.abs(np.diff(sent, axis=0)) * 100
    allowed = 180 * np.minimum(0.1 + 0.9 * np.arange(300) / 100, 1.0)
    assert (speeds[:, 0] <= allowed).all() and speeds[:, 0].max() > 100
    outside = sent[:-1, 1] > 100
    assert (speeds[outside, 1] <= 0.05 * 180).all() and not outside[-1]


def test_after_missed_ticks_speed_has_fallen_and_no_limit_breaks() -> None:
    rng = np.random.default_rng(5)
    hz = 100
    limits = box(rng, hz)
    limiter = Limiter(limits, hz)
    limiter.start((limits.lower + limits.upper) / 2)
    goal = limits.upper
    for _ in range(200):
        missed = int(rng.choice([0, 0, 0, 1, 2, 30]))
        p, v, a = limiter.p, limiter.v, limiter.a
        limiter.missed(missed)
        assert (np.abs(limiter.v) <= np.abs(v) + np.abs(a) * 50).all()
        proposal = limiter.propose(goal)
        send(limiter, proposal)
        assert (np.abs(limiter.p - p) * hz <= limits.speed).all()
        assert (np.abs(limiter.v - v) * hz**2 <= limits.acceleration * (missed + 1)).all()
        assert ((limiter.p >= limits.lower) & (limiter.p <= limits.upper)).all()
        goal = np.where(rng.random(goal.shape) < 0.05, limits.lower, goal)
    limiter.missed(10**9)
    assert limiter.at_rest.all()


def test_limits_below_rounding_are_refused() -> None:
    with pytest.raises(BadInput, match=r"a jerk limit of 1e-05 cannot be kept at 1000 Hz: at least"):
        Limiter(Box(*(np.full(1, x) for x in (-100.0, 100.0, 180.0, 900.0, 1e-5))), 1000)
