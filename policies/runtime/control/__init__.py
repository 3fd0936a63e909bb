"""A policy on an arm, on time: the control loop, its clock, its watchdog, and what it tells."""

from policies.runtime.control.clock import Periods, Tick, Ticker
from policies.runtime.control.config import Control, Watch
from policies.runtime.control.loop import ControlLoop
from policies.runtime.control.results import Ending, RunResult, Status
from policies.runtime.control.spread import Spread, Summary
from policies.runtime.control.start import connected
from policies.runtime.control.watchdog import Trouble, Watchdog

__all__ = [
    "Control",
    "ControlLoop",
    "Ending",
    "Periods",
    "RunResult",
    "Spread",
    "Status",
    "Summary",
    "Tick",
    "Ticker",
    "Trouble",
    "Watch",
    "Watchdog",
    "connected",
]
