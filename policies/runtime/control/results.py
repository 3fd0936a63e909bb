"""What a run tells: while it goes on (`Status`), and at its end (`RunResult`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from policies.runtime.control.clock import Periods
from policies.runtime.control.spread import Summary

__all__ = ["Ending", "Phase", "RunResult", "Status"]

EMPTY = Summary()
Phase = Literal["starting", "running", "holding", "braking", "ended"]
Ended = Literal["done", "declined", "interrupted", "emergency", "lost", "policy", "trouble", "error"]


@dataclass(frozen=True)
class Ending:
    """Why a run ended. ``done``: by its own settings. ``declined``: the first motion was not confirmed.
    ``emergency``: the emergency stop. ``lost``: no connection to the arm. ``policy``: it failed.
    ``trouble``: of a kind that is final. ``error``: a fault of this program, which is raised, too. why: a
    sentence."""

    kind: Ended
    why: str


@dataclass(frozen=True)
class Status:
    """Some times a second. seconds: since the first tick. rows_left: of the plan in hand. hold: why the arm
    is held, "" if it is not. latency: of the policy's answers, seconds. reaction: from a reading to the
    command that it led to. holds: ticks by reason. interventions: of the safety filter, by kind. recent: the
    last events, newest last. stop: why the run ends or ended, "" before."""

    phase: Phase
    seconds: float
    tick: int
    step: int
    hz: float
    periods: Periods
    latency: Summary
    reaction: Summary
    rows_left: int
    hold: str
    holds: Mapping[str, int]
    interventions: Mapping[str, int]
    recent: tuple[str, ...]
    stop: str = ""


@dataclass(frozen=True)
class RunResult:
    """How a run went. ticks: that happened (missed ones: `periods`). steps: control steps of the policy at
    which it was shown something. seconds: from the first tick to the last. inference: seconds that answers
    took. reaction: from a joint reading to the command sent after it. observation: from the reading that was
    shown to the policy to the first command sent from its answer. chunks: answers that were not out of date.
    notes: what was not as asked for, a line each.
    """

    ending: Ending
    ticks: int
    steps: int
    seconds: float
    hz: float
    policy_hz: float
    periods: Periods
    inference: Summary = EMPTY
    reaction: Summary = EMPTY
    observation: Summary = EMPTY
    holds: Mapping[str, int] = field(default_factory=dict)
    interventions: Mapping[str, int] = field(default_factory=dict)
    chunks: int = 0
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether it ended as it was meant to."""
        return self.ending.kind == "done"
