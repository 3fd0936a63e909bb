"""What is counted while an arm runs. Written by the control thread alone; others may look at any time."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from policies.runtime.control.clock import Periods, Tick
from policies.runtime.control.parts import Log
from policies.runtime.control.results import Ending, Phase, RunResult, Status
from policies.runtime.control.spread import Spread
from vla.arm import Positions, Reading
from vla.interfaces import ActionChunk, Observation

__all__ = ["Tally"]

RECENT = 6
_NUMBER = re.compile(r"[0-9.]+")


class Tally:
    """Counts, times and the last events of one run; `log` is told of the events, too."""

    def __init__(self, hz: float, policy_hz: float, log: Log | None, clock: Callable[[], float]) -> None:
        self.hz, self.policy_hz = hz, policy_hz
        self._log, self._clock = log, clock
        self.phase: Phase = "starting"
        self.ticks = self.steps = self.chunks = 0
        self.tick = self.step = -1
        self.began = self.now = 0.0
        self.hold, self.stop, self.rows_left = "", "", 0
        self.holds: Counter[str] = Counter()
        self.interventions: Counter[str] = Counter()
        self.inference, self.reaction, self.observation = Spread(), Spread(), Spread()
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._kinds: frozenset[tuple[str, str]] = frozenset()
        self._held = ""
        self._seen: dict[int, float] = {}  # when the observations of steps were read that await their answer
        self._source: int | None = None

    def ticked(self, tick: Tick) -> None:
        """A tick begins."""
        self.ticks += 1
        self.tick, self.now = tick.number, tick.now

    def shown(self, step: int, read: float, rows_left: int) -> None:
        """The policy was shown step `step`, of which the joints were read at `read`."""
        self.steps += 1
        self.rows_left = rows_left
        self._seen[step] = read

    def answered(self, asked: int, answered: int, seconds: float, chunk: ActionChunk) -> None:
        """An answer came; see `RealTimeRunner`."""
        self.chunks += 1
        self.inference.add(seconds)
        if self._log is not None:
            self._log.chunk(asked, answered, seconds, chunk)

    def sent(
        self,
        reading: Reading,
        wanted: Positions | None,
        decision: Any,
        source: int | None = None,
        shown: Observation | None = None,
    ) -> None:
        """The tick's command is on its way. source: the step whose observation it goes back to. shown: what
        the policy was shown at this tick, if anything."""
        now = self._clock()
        self._intervened(decision.interventions)
        self.holds["safety"] += wanted is not None and decision.held
        self.reaction.add(max(now - reading.time, 0.0))
        if wanted is not None and source is not None and source != self._source:
            self._source = source
            if source in self._seen:
                self.observation.add(max(now - self._seen[source], 0.0))
            self._seen = {step: read for step, read in self._seen.items() if step > source}
        if self._log is not None:
            self._log.tick(now, reading, wanted, decision)
            if shown is not None:
                self._log.step(self.step, shown, reading, wanted, decision)

    def event(self, kind: str, text: str) -> None:
        """Something worth a line happened."""
        now = self._clock()
        self._recent.append(f"{now - self.began:8.2f} s  {kind}: {text}" if self.began else f"{kind}: {text}")
        if self._log is not None:
            self._log.event(now, kind, text)

    def held(self, kind: str, why: str) -> None:
        """This tick the arm is held, for a reason of this kind; both empty: it is not. Told when it
        changes."""
        self.hold = why
        if kind:
            self.holds[kind] += 1
        held = kind and f"{kind}: {_NUMBER.sub('#', why)}"  # a growing age is no news
        if held != self._held:
            self.event("hold" if kind else "go", f"{kind}: {why}" if kind else "the arm goes on")
            self._held = held

    def _intervened(self, interventions: Iterable[Any]) -> None:
        """What the safety filter did this tick. Told when it begins; counted at each tick."""
        kinds = set()
        for each in interventions:
            self.interventions[each.kind] += 1
            kinds.add((each.kind, each.joint))
            if (each.kind, each.joint) not in self._kinds:
                self.event("safety", f"{each.kind}: {each.detail}")
        self._kinds = frozenset(kinds)

    def status(self, periods: Periods) -> Status:
        """For a terminal."""
        mean = periods.period.mean
        return Status(
            self.phase,
            max(self.now - self.began, 0.0),
            self.tick,
            self.step,
            1 / mean if mean > 0 else 0.0,
            periods,
            self.inference.summary(),
            self.reaction.summary(),
            self.rows_left,
            self.hold,
            {kind: count for kind, count in self.holds.copy().items() if count},
            dict(self.interventions),
            tuple(self._recent),
            self.stop,
        )

    def result(self, ending: Ending, periods: Periods, dry_run: bool, notes: Iterable[str]) -> RunResult:
        """At the end."""
        return RunResult(
            ending,
            self.ticks,
            self.steps,
            max(self.now - self.began, 0.0),
            self.hz,
            self.policy_hz,
            periods,
            self.inference.summary(),
            self.reaction.summary(),
            self.observation.summary(),
            {kind: count for kind, count in self.holds.copy().items() if count},
            dict(self.interventions),
            self.chunks,
            dry_run,
            tuple(notes),
        )
