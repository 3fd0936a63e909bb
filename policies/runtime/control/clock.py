"""A ticker: work at equal intervals of time, on a grid of absolute deadlines, so that nothing drifts.

Tick n is due at start + n / hz. A tick that begins late does not move those after it. One that was not begun
when the next was due is passed over: the caller is told how many steps of the grid lie behind it, and a
policy's plan, which goes by step numbers, stays where it belongs in time.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from policies.runtime.control.spread import Spread, Summary
from vla.errors import BadInput

__all__ = ["Periods", "Tick", "Ticker"]

Clock = Callable[[], float]

LATE = 0.5
"""A tick that begins more than this part of a period after it was due is counted as late."""


class Tick(NamedTuple):
    """One tick. number: of the grid, from 0. due, now: when it was to begin and when it did, seconds. steps:
    of the grid since the tick before, 1 unless some were missed. stopped: seconds for which nothing ran that
    nobody can account for: the process or the machine stood still, or a clock was set; 0.0 normally."""

    number: int
    due: float
    now: float
    steps: int
    stopped: float = 0.0


class Periods(NamedTuple):
    """How steadily it ticked. period: seconds from one tick to the next. late: ticks that began more than
    half a period after they were due. missed: those that did not happen. lateness: seconds after they were
    due."""

    period: Summary
    lateness: Summary
    late: int
    missed: int


def _asleep() -> float:
    """Seconds the machine has been suspended since it started; 0.0 where the system does not tell."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Ticker:
    """`wait` returns when the next tick is due, `hz` times a second.

    spin: the last so many seconds before a deadline are waited for without sleeping. stop: a gap between two
    ticks longer than this (beyond a period) is told as `Tick.stopped`. idle: called once before each sleep
    with the seconds that are left. clock, sleep, asleep: for tests.
    """

    def __init__(
        self,
        hz: float,
        *,
        spin: float = 0.0,
        stop: float = 0.5,
        idle: Callable[[float], None] = lambda left: None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Clock = _asleep,
    ) -> None:
        if not 0 < hz <= 1000:
            raise BadInput(f"hz={hz}: a rate above 0 and up to 1000 is needed")
        self.hz, self.period = hz, 1.0 / hz
        self._spin, self._stop, self._idle = spin, stop, idle
        self._clock, self._sleep, self._asleep = clock, sleep, asleep
        self._periods, self._lateness = Spread(), Spread()
        self._late = self._missed = 0
        self.start()

    def start(self) -> None:
        """The first tick is due now; nothing has been measured yet."""
        self._number, self._start = -1, self._clock()
        self._before, self._slept = self._start, self._asleep()
        self._periods, self._lateness = Spread(), Spread()
        self._late = self._missed = 0

    def due(self, number: int) -> float:
        """When tick `number` is due."""
        return self._start + number * self.period

    def wait(self) -> Tick:
        """Return when the next tick is due, or at once if that is over."""
        number = self._number + 1
        now, back = self._until(number)
        missed = max(int((now - self.due(number)) * self.hz + 1e-9), 0)
        number += missed
        steps, gap = number - self._number, now - self._before
        slept, self._slept = self._slept, self._asleep()
        stopped = max(self._slept - slept, 0.0)
        if gap > self.period + self._stop:
            stopped = max(stopped, gap)
        elif stopped < self._stop:
            stopped = 0.0
        stopped = max(stopped, back)
        late = now - self.due(number)
        if self._number >= 0:
            self._periods.add(gap)
        self._lateness.add(max(late, 0.0))
        self._late += late > LATE * self.period
        self._missed += missed
        self._number, self._before = number, now
        return Tick(number, self.due(number), now, steps, stopped)

    def _until(self, number: int) -> tuple[float, float]:
        """Wait for tick `number`. Returns the time, and by how much the clock was seen to go back."""
        back, told, last = 0.0, False, self._before
        while True:
            now = self._clock()
            if now < last:  # a clock that goes back must not stop the arm's ticks: the grid goes with it
                back += last - now
                self._start -= last - now
                self._before = now
            last, left = now, self.due(number) - now
            if left <= 0:
                return now, back
            if not told:
                self._idle(left)
                told = True
            elif left > self._spin:
                self._sleep(min(left - self._spin, self.period))

    @property
    def periods(self) -> Periods:
        """What was measured since `start`."""
        return Periods(self._periods.summary(), self._lateness.summary(), self._late, self._missed)
