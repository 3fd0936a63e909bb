"""The policy's side of the loop: control steps by the clock, chunks stitched, rows interpolated, motion
faded in.

The number of a control step follows from the number of the tick, which follows from the time. So a missed
tick passes over rows of the plan and never shifts it, and whatever rate the arm has, row k is due at k /
policy_hz.
"""

import time
from collections.abc import Callable

import numpy as np

from policies.base import Policy
from policies.runtime.chunking import Chunking
from policies.runtime.control.interpolation import Interpolation, Interpolator
from policies.runtime.realtime import RealTimeRunner
from vla.arm import Positions
from vla.interfaces import ActionChunk, Observation

__all__ = ["Fade", "Plan", "place"]

AHEAD = 2
"""Rows after the present one that interpolation looks at."""


def place(tick: int, hz: float, policy_hz: float) -> tuple[int, float]:
    """The control step that tick number `tick` lies in, and how much of that step is over, 0 to below 1."""
    where = tick * policy_hz / hz
    step = int(where + 1e-6)
    return step, max(where - step, 0.0)


class Fade:
    """From where the arm stands to what is wanted, over `seconds`: smoothstep, so without a jerk at either
    end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._from: Positions | None = None
        self._began = 0.0
        self._pending = True

    def start(self) -> None:
        """The next motion is faded in."""
        self._pending = True

    def at(self, wanted: Positions, stands: Positions, now: float) -> Positions:
        """What to tell the arm. stands: the command that holds it at present, for where the fading begins."""
        if self._pending:
            self._from, self._began, self._pending = stands.copy(), now, False
        if self._from is None:
            return wanted
        part = (now - self._began) / self._seconds if self._seconds > 0 else 1.0
        if part >= 1:
            self._from = None
            return wanted
        return np.asarray(self._from + part * part * (3 - 2 * part) * (wanted - self._from))


class Plan:
    """Chunks of one policy for one arm of `dim` joints. refuse, answered: see `RealTimeRunner`.

    why: why there is no command at present, "" if there is one. started: whether there ever was one.
    """

    def __init__(
        self,
        policy: Policy,
        chunking: Chunking,
        *,
        hz: float,
        policy_hz: float,
        dim: int,
        interpolation: Interpolation = "linear",
        seed: int = 0,
        refuse: Callable[[ActionChunk], str] = lambda chunk: "",
        answered: Callable[[int, int, float, ActionChunk], None] = lambda *answer: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hz, self._policy_hz = hz, policy_hz
        self._runner = RealTimeRunner(
            policy, chunking, policy_hz, dim, clock=clock, seed=seed, refuse=refuse, answered=answered
        )
        self._between = Interpolator(interpolation)
        self.why = "no chunk has arrived yet"
        self.started = False
        self.rows_left = 0

    def place(self, tick: int) -> tuple[int, float]:
        """See the function of this name."""
        return place(tick, self._hz, self._policy_hz)

    def begin(self, step: int, observation: Observation) -> None:
        """Control step `step` begins and this is seen."""
        row, self.why = self._runner.action(observation, step)
        ahead = self._runner.upcoming(max(self._runner.terms.horizon, AHEAD))
        if self.why:
            self.rows_left = 0
            self._between.stop()
        else:
            self.started, self.rows_left = True, len(ahead)
            self._between.step(step, row, ahead[:AHEAD])

    def watch(self, step: int, observation: Observation) -> None:
        """This is seen while the arm is held: for a policy that looks back."""
        self._runner.watch(observation, step)

    def wanted(self, part: float) -> Positions | None:
        """The command when `part` of the present step is over, float64 ``[joints]``; None: hold."""
        return self._between.at(part)

    def drop(self) -> None:
        """Nothing planned or asked for so far may be executed any more."""
        self._runner.drop()
        self._between.stop()
        self.why, self.rows_left = "no chunk has arrived yet", 0

    @property
    def waiting(self) -> float:
        """Seconds for which the policy has owed an answer."""
        return self._runner.waiting

    @property
    def source(self) -> int | None:
        """The step of the observation that the present command is from."""
        return self._runner.source

    @property
    def error(self) -> Exception | None:
        """What the policy raised, if it failed."""
        return self._runner.error

    def close(self, patience: float) -> bool:
        """End the inference; whether it did within `patience` seconds."""
        return self._runner.stop(patience)
