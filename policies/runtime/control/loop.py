"""The control loop: one thread, at the arm's rate, that alone talks to the arm.

Each tick: read the joints; judge whether reading, pictures, policy, clock and log are well; take the command
that is due from the plan; let the safety filter decide what of it is sent. At each control step of the
policy what is seen goes to the policy, whose answers arrive from another thread whenever they do.

What is not well holds the arm: the filter brakes within all limits, then repeats itself. How it goes on, or
ends, is in `Watch`. Whatever ends a run, the arm is told to hold before anything else is put away.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from policies.base import Policy
from policies.runtime.chunking import Chunking
from policies.runtime.control.clock import Tick, Ticker
from policies.runtime.control.config import Control
from policies.runtime.control.fit import check_fit, facts_of, rates
from policies.runtime.control.health import Health
from policies.runtime.control.interrupts import Interrupts
from policies.runtime.control.parts import Guard, Log, Stop
from policies.runtime.control.plan import Fade, Plan
from policies.runtime.control.reporter import reporting
from policies.runtime.control.results import Ending, RunResult, Status
from policies.runtime.control.senses import Senses
from policies.runtime.control.start import prepare, standing
from policies.runtime.control.steady import Collector, steady
from policies.runtime.control.tally import Tally
from policies.runtime.control.watchdog import Watchdog
from vla.arm import ArmFault, Picture, Positions, Reading, observed
from vla.errors import BadInput
from vla.interfaces import Observation

__all__ = ["ControlLoop"]

PATIENCE = 1.0
"""Seconds to wait at the end for an inference that is under way."""

AT_REST = 1e-7
"""Two commands in a row that differ by no more than this (in the joints' units) are standstill."""


class ControlLoop:
    """Runs `policy` on an arm that is connected, and leaves it connected, holding. `run` may be called once.

    task: the instruction. stop: the emergency stop. log: where all is recorded. on_status: told of the run
    some times a second, from a thread of its own. confirm: asked with a sentence before the first motion;
    nothing moves unless it returns True; None: not asked. until: asked at each control step, "" or why the
    run is over: what a simulated world knows of its own. clock, sleep: for tests; the arm's times must be of
    the same clock.
    """

    def __init__(
        self,
        arm: Guard,
        policy: Policy,
        chunking: Chunking,
        control: Control,
        task: str,
        *,
        stop: Stop,
        log: Log | None = None,
        on_status: Callable[[Status], None] | None = None,
        confirm: Callable[[str], bool] | None = None,
        until: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._arm, self._policy, self._chunking = arm, policy, chunking
        self._control, self._task, self._stop = control, task, stop
        self._log, self._on_status = log, on_status
        self._confirm, self._until = confirm, until
        self._clock, self._sleep = clock, sleep
        self._interrupts = Interrupts()
        self._health, self._fade = Health(control.settle), Fade(control.ramp)

    def run(self) -> RunResult:
        """Check, ask, move, hold. Raises BadInput or ArmFault for what is found before the first motion, and
        whatever a fault of the program is, once the arm holds; every other end is told in the result."""
        control, spec = self._control, self._arm.spec
        check_fit(self._policy, spec)
        hz, policy_hz = rates(self._policy, spec, control.hz, control.policy_hz)
        prepare(
            self._arm, self._policy, self._task, control.first_picture, clock=self._clock, sleep=self._sleep
        )
        collector = Collector(clock=self._clock)
        self._ticks = Ticker(
            hz,
            spin=control.spin,
            stop=control.watch.clock,
            idle=collector.idle,
            clock=self._clock,
            sleep=self._sleep,
        )
        self._tally = Tally(hz, policy_hz, self._log, self._clock)
        if self._confirm is not None and not self._confirm(self._announcement()):
            ending = Ending("declined", "the first motion was not confirmed; nothing has moved")
            return self._tally.result(ending, self._ticks.periods, control.dry_run, ())
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interrupts)
            notes = list(stack.enter_context(steady(control.priority, control.threads)))
            trained = facts_of(self._policy, spec.robot).hz
            if trained is not None and abs(trained - policy_hz) > 0.01 * trained:
                steps = f"trained with {trained:g} control steps a second and is run with {policy_hz:g}"
                notes.append(f"policy '{self._policy.name}' was {steps}")
            return self._run(hz, policy_hz, notes)

    def _announcement(self) -> str:
        what = "would be sent to" if self._control.dry_run else "will move"
        rates = f"{self._tally.policy_hz:g} control steps and {self._tally.hz:g} commands a second"
        return f"policy '{self._policy.name}' {what} the arm '{self._arm.spec.robot}', {rates}: {self._task}"

    def _run(self, hz: float, policy_hz: float, notes: list[str]) -> RunResult:
        control, tally = self._control, self._tally
        for note in notes:
            tally.event("note", note)
        self._plan = Plan(
            self._policy,
            self._chunking,
            hz=hz,
            policy_hz=policy_hz,
            dim=len(self._arm.spec.joints),
            interpolation=control.interpolation,
            seed=control.seed,
            refuse=self._arm.filter.refuse,
            answered=tally.answered,
            clock=self._clock,
        )
        ending = Ending("error", "the program failed")
        try:
            with reporting(lambda: tally.status(self._ticks.periods), self._on_status):
                try:
                    ending = self._move()
                finally:  # first of all the arm is safe, whatever else there is to put away
                    self._hold(ending, notes)
                    tally.stop, tally.phase = ending.why, "ended"
        except Exception as error:
            tally.event("error", f"{type(error).__name__}: {error}")
            raise
        finally:
            if not self._plan.close(PATIENCE):
                notes.append(f"policy '{self._policy.name}' has not come back from its last question")
        tally.event("end", ending.why)
        return tally.result(ending, self._ticks.periods, control.dry_run, notes)

    def _move(self) -> Ending:
        """From the first tick to standstill."""
        ending: Ending | None = None
        try:
            reading = standing(self._arm)
            self._arm.filter.start(reading.positions)
            self._stands = np.array(reading.positions, np.float64)
            self._ticks.start()
            self._began = self._tally.began = self._tally.now = self._ticks.due(0)
            self._dog = Watchdog(self._arm.spec, self._control.watch, self._began)
            self._dog.trust(reading)
            self._senses = Senses(self._arm, self._dog, self._control.watch.faults, self._clock)
            while ending is None:
                tick = self._ticks.wait()
                if ending := self._over(tick):
                    left: Tick | None = tick  # nothing has been sent at it yet
                else:
                    ending, left = self._tick(tick), None
            self._tally.stop = ending.why
            if ending.kind != "lost":
                self._brake(left)
        except ArmFault as error:
            ending = ending or Ending("lost", str(error))
        return ending

    def _over(self, tick: Tick) -> Ending | None:
        """Whether the run ends before this tick."""
        control = self._control
        if pressed := self._stop.pressed:
            return Ending("emergency", f"emergency stop: {pressed}")
        if self._interrupts.count:
            return Ending("interrupted", f"interrupted ({self._interrupts.name})")
        if control.seconds is not None and tick.due - self._began >= control.seconds - 1e-9:
            return Ending("done", f"{control.seconds:g} s are over")
        step, _ = self._plan.place(tick.number)
        if control.steps is not None and step >= control.steps:
            return Ending("done", f"{control.steps} control steps are over")
        if self._until is not None and step != self._tally.step and (why := self._until()):
            return Ending("done", why)
        return None

    # -- one tick ---------------------------------------------------------------------------------

    def _tick(self, tick: Tick) -> Ending | None:
        """One tick; why the run ends with it, if it does."""
        tally, dog, plan = self._tally, self._dog, self._plan
        tally.ticked(tick)
        dog.stopped(tick.stopped)
        reading = self._senses.read()
        step, part = plan.place(tick.number)
        fresh, tally.step = step != tally.step, step
        pictures = self._senses.look() if fresh else {}
        self._senses.ask_faults(tick.now)
        dog.waiting(plan.waiting)
        dog.log("" if self._log is None else self._log.trouble)
        well = self._health.update(bool(dog.troubles), tick.now)
        if self._health.fell_ill:  # nothing that was planned before may be executed after it
            plan.drop()
            self._fade.start()
        shown = None
        if fresh and reading is not None and not dog.troubles:
            shown = self._show(step, reading, pictures, well)
        wanted = plan.wanted(part) if well and plan.error is None else None
        self._say_why(well, wanted)
        if wanted is not None:
            wanted = self._fade.at(wanted, self._stands, tick.now)
        decision = self._act(wanted, reading, tick.steps)
        if decision is not None:
            tally.sent(self._known(reading), wanted, decision, plan.source, shown)
        return self._final()

    def _show(
        self, step: int, reading: Reading, pictures: Mapping[str, Picture], well: bool
    ) -> Observation | None:
        """A control step of the policy begins. Before the arm may go on it only looks, to remember."""
        shown = observed(reading, pictures, self._arm.spec, self._task, self._began)
        shown = replace(shown, frame_index=step)
        if not well:
            self._plan.watch(step, shown)
            return None
        self._plan.begin(step, shown)
        self._tally.shown(step, reading.time, self._plan.rows_left)
        return shown

    def _say_why(self, well: bool, wanted: Positions | None) -> None:
        tally, plan = self._tally, self._plan
        tally.phase = "running" if wanted is not None else "holding" if plan.started else "starting"
        if wanted is not None:
            tally.held("", "")
        elif troubles := self._dog.troubles:
            tally.held(troubles[0].kind, "; ".join(trouble.text for trouble in troubles))
        elif not well:
            tally.held("settle", "all is well again; the arm goes on soon")
        else:
            tally.held("plan" if plan.started else "start", plan.why)

    def _act(self, wanted: Positions | None, reading: Reading | None, steps: int) -> Any:
        """Let the filter decide and, unless this is a dry run, the arm do it; None where that failed."""
        measured = self._known(reading)
        if self._control.dry_run:  # as if the arm followed: else all that would be shown is that it does not
            decision = self._arm.filter.decide(wanted, self._stands, steps)
        else:
            try:
                decision = self._arm.act(wanted, measured, steps)
            except ArmFault as error:
                self._dog.commanded(str(error), self._clock())
                return None
            self._dog.commanded("", self._clock())
        self._stands = decision.command
        return decision

    def _known(self, reading: Reading | None) -> Reading:
        """`reading`; where there is none, the last that could be trusted, with its own time."""
        known = reading or self._dog.trusted
        assert known is not None
        return known

    def _final(self) -> Ending | None:
        """Whether something is wrong that cannot become well again."""
        if self._plan.error is not None:
            return Ending("policy", f"policy '{self._policy.name}' failed: {self._plan.why}")
        for trouble in self._dog.troubles:
            if trouble.final:
                return Ending("lost" if trouble.kind in ("bus", "command") else "trouble", trouble.text)
        return None

    # -- the end ----------------------------------------------------------------------------------

    def _brake(self, left: Tick | None) -> None:
        """Come to rest within all limits, for no longer than `brake` seconds; another Ctrl-C ends even that.

        left: the present tick, if nothing has been sent at it yet.
        """
        self._tally.phase = "braking"
        end, before = self._clock() + self._control.brake, None
        most = max(self._interrupts.count, 1)
        while self._clock() < end and self._interrupts.count <= most:
            tick, left = left or self._ticks.wait(), None
            self._tally.ticked(tick)
            reading = self._senses.read()
            decision = self._act(None, reading, tick.steps)
            if decision is None:
                return
            self._tally.sent(self._known(reading), None, decision)
            if before is not None and np.allclose(decision.command, before, rtol=0, atol=AT_REST):
                return
            before = decision.command

    def _hold(self, ending: Ending, notes: list[str]) -> None:
        if self._control.dry_run:
            return
        try:
            self._arm.hold(ending.why)
        except BadInput as error:
            notes.append(f"the arm could not be told to hold: {error}")
