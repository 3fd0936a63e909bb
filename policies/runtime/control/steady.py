"""What a process can do for a thread that must be on time: the collector, the interpreter, the system.

A garbage collection in the middle of a tick takes longer than a tick may, so what exists is frozen, the
collector is switched off, and small collections are made in the time that is left before a deadline. Another
thread of this process may keep the interpreter for 5 ms; that is made half a millisecond. The rest is asked
of the system where it permits.
"""

import contextlib
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["Collector", "steady"]

SWITCH = 0.0005
TIMER_SLACK_NS = 1000
LEAST = 0.0005  # seconds that a collection is expected to take at the least
_PR_SET_TIMERSLACK = 29


class Collector:
    """Collects garbage in idle time: the youngest two generations each `often` seconds, everything that has
    been made since the start each `rarely`, but only where it will be done in time by what it took
    before."""

    def __init__(
        self, often: float = 1.0, rarely: float = 20.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every, self._clock = {1: often, 2: rarely}, clock
        self._last = dict.fromkeys(self._every, clock())
        self._took = dict.fromkeys(self._every, LEAST)

    def idle(self, left: float) -> None:
        """`left` seconds are free now."""
        now = self._clock()
        for generation in (2, 1):
            over = now - self._last[generation]
            # What is put off for ever would fill the memory: after ten times its interval it is done anyway.
            due, must = over > self._every[generation], over > 10 * self._every[generation]
            if due and (must or left > 2 * self._took[generation]):
                gc.collect(generation)
                self._last[generation] = self._clock()
                self._took[generation] = max(self._last[generation] - now, LEAST)
                return


@contextlib.contextmanager
def steady(priority: int | None = None, threads: int | None = None) -> Iterator[tuple[str, ...]]:
    """While it is entered, the calling thread is on time as well as can be. Yields what was not possible, a
    line each. Afterwards all is as it was.

    priority: of the real-time class (SCHED_FIFO), 1 to 99; None: an ordinary thread. threads: of torch, if
    it is loaded.
    """
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        interval = sys.getswitchinterval()
        stack.callback(sys.setswitchinterval, interval)
        sys.setswitchinterval(SWITCH)
        if gc.isenabled():
            stack.callback(gc.enable)
        stack.callback(gc.unfreeze)
        gc.collect()
        gc.freeze()
        gc.disable()
        if priority is not None:
            notes += _prioritise(priority, stack)
        _sleep_exactly()
        torch = sys.modules.get("torch")
        if torch is not None and threads is not None:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        yield tuple(notes)


def _prioritise(priority: int, stack: contextlib.ExitStack) -> list[str]:
    if not hasattr(os, "sched_setscheduler"):
        return [
            f"priority={priority}: this system has no real-time priorities; an ordinary thread runs the arm"
        ]
    before, given = os.sched_getscheduler(0), os.sched_getparam(0)
    # Threads that this one starts (inference, log) must not inherit it.
    kind = os.SCHED_FIFO | getattr(os, "SCHED_RESET_ON_FORK", 0)
    try:
        os.sched_setscheduler(0, kind, os.sched_param(priority))
    except (PermissionError, OSError) as error:
        reason = error.strerror or type(error).__name__
        return [
            f"priority={priority} was refused ({reason}): the arm is run without; "
            "'ulimit -r 99' or CAP_SYS_NICE permits it"
        ]
    stack.callback(os.sched_setscheduler, 0, before, given)
    return []


def _sleep_exactly() -> None:
    """Ask Linux to wake this thread when it said, not up to 50 us later."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)
