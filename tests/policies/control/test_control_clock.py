"""The ticker: an absolute grid, misses told and passed over, jumps noticed, whatever the delays."""

import numpy as np
import pytest
from arms import Clock
from hypothesis import given
from hypothesis import strategies as st

from policies.runtime.control.clock import Ticker
from policies.runtime.control.spread import Spread
from policies.runtime.control.steady import Collector, steady
from vla.errors import BadInput

RATES = st.sampled_from([20.0, 30.0, 50.0, 200.0, 999.0, 7.3])


def ticker(clock: Clock, hz: float, **more: object) -> Ticker:
    return Ticker(hz, clock=clock, sleep=clock.sleep, asleep=lambda: 0.0, **more)  # type: ignore[arg-type]


@given(RATES, st.lists(st.floats(0, 5.5), max_size=60), st.floats(0, 0.0003))
def test_ticks_stay_on_the_grid_whatever_the_delays(hz: float, delays: list[float], spin: float) -> None:
    """Nothing drifts: tick n is due at start + n / hz; ticks that happened and those missed are all there
    are."""
    clock = Clock()
    ticks = ticker(clock, hz, stop=1e9)
    begun, happened, last = clock.now, 0, -1
    for delay in delays:
        tick = ticks.wait()
        happened += 1
        assert tick.due == pytest.approx(begun + tick.number / hz, abs=1e-6)
        assert tick.due - 1e-9 <= tick.now < tick.due + 1 / hz + 1e-6  # never one that is over by now
        assert tick.number == last + tick.steps and tick.steps >= 1
        last = tick.number
        clock.now += delay / hz
    assert happened + ticks.periods.missed == last + 1
    assert ticks.periods.period.number == max(happened - 1, 0)


def test_spinning_asks_the_clock_instead_of_sleeping() -> None:
    clock = Clock()
    asked = []

    def look() -> float:
        asked.append(clock.now)
        clock.now += 1e-5
        return clock.now

    ticks = Ticker(100.0, spin=0.002, clock=look, sleep=clock.sleep, asleep=lambda: 0.0)
    ticks.wait()
    before = len(asked)
    tick = ticks.wait()
    assert len(asked) - before > 150 and tick.now - tick.due < 3e-5


def test_late_and_missed_are_told_apart() -> None:
    clock = Clock()
    ticks = ticker(clock, 100.0)
    for delay in (0.004, 0.012, 0.018, 0.029, 0.001):  # late by 0, 0.2, 0, 0.9 and 0 periods
        ticks.wait()
        clock.now += delay
    assert ticks.wait().number == 7
    found = ticks.periods
    assert found.missed == 2 and found.late == 1
    assert found.lateness.worst == pytest.approx(0.009, rel=1e-3)


@pytest.mark.parametrize("gap", [0.4, 0.6, 30.0])
def test_a_loop_that_stood_still_is_told(gap: float) -> None:
    clock = Clock()
    ticks = ticker(clock, 50.0, stop=0.5)
    ticks.wait()
    clock.now += gap
    tick = ticks.wait()
    assert tick.stopped == (pytest.approx(gap) if gap > 0.5 else 0.0)
    assert tick.steps == int(gap * 50 + 1e-6)
    assert ticks.wait().stopped == 0.0 and ticks.wait().steps == 1


@given(st.floats(0.001, 1e4))
def test_a_clock_that_goes_back_does_not_stop_the_ticks(back: float) -> None:
    clock = Clock(1e5)
    ticks = ticker(clock, 50.0)
    ticks.wait()
    ticks.wait()
    clock.now -= back
    slept = []
    clock.slept.append(lambda: slept.append(clock.now))
    tick = ticks.wait()
    assert tick.number == 2 and tick.stopped == pytest.approx(back, abs=1e-6)
    assert len(slept) <= 3
    assert ticks.wait().stopped == 0.0


def test_a_machine_that_was_suspended_is_told() -> None:
    """The monotonic clock stands still meanwhile; the boot clock does not."""
    clock, slept = Clock(), [0.0]
    ticks = Ticker(50.0, clock=clock, sleep=clock.sleep, asleep=lambda: slept[0])
    ticks.wait()
    slept[0] = 3600.0
    assert ticks.wait().stopped == 3600.0
    assert ticks.wait().stopped == 0.0


def test_a_rate_that_cannot_be_is_one_line() -> None:
    with pytest.raises(BadInput, match="hz=0: a rate above 0 and up to 1000 is needed"):
        Ticker(0)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200))
def test_a_spread_knows_mean_deviation_and_quantiles(values: list[float]) -> None:
    spread = Spread()
    for value in values:
        spread.add(value)
    found, ranked = spread.summary(), sorted(values)
    assert found.number == len(values) and found.worst == max(values)
    assert found.mean == pytest.approx(np.mean(values), rel=1e-6)
    assert found.sd == pytest.approx(np.std(values), rel=1e-4, abs=1e-4 * max(values))
    for part, quantile in ((0.5, found.p50), (0.99, found.p99)):
        exact = ranked[int(np.ceil(part * len(ranked))) - 1]
        assert quantile == pytest.approx(exact, rel=1.1e-3)


def test_nothing_measured_is_all_noughts() -> None:
    assert Spread().summary() == (0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_a_steady_process_leaves_everything_as_it_was() -> None:
    import gc
    import os
    import sys

    before = gc.isenabled(), sys.getswitchinterval(), os.sched_getscheduler(0)
    with steady(priority=1, threads=1) as notes:
        assert not gc.isenabled() and sys.getswitchinterval() < 0.001
        real = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        assert real or "priority=1 was refused" in notes[0]
    assert before == (gc.isenabled(), sys.getswitchinterval(), os.sched_getscheduler(0))


def test_garbage_is_collected_when_there_is_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = Clock(), []
    monkeypatch.setattr("gc.collect", lambda generation: done.append((clock.now, generation)))
    collector = Collector(often=1.0, rarely=20.0, clock=clock)
    for _ in range(300):
        collector.idle(0.01)
        clock.now += 0.1
    assert [generation for _, generation in done].count(2) == 1
    assert 25 <= [generation for _, generation in done].count(1) <= 30
    done.clear()
    clock.now += 2
    collector.idle(0.0001)
    assert not done  # no time for it
    clock.now += 10
    collector.idle(0.0001)
    assert done == [(clock.now, 1)]  # but not for ever
