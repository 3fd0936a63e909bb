"""One trial: a run under way, a fault at a known time, and what the arm did about it.

The run is in the thread that calls, as signals reach only the main thread; a second thread waits until the
arm moves, causes the fault, ends it where it ends, and ends the run.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from policies.runtime.faults.bench import Bench
from policies.runtime.faults.recorder import broken_limits, moving_for, stillness
from vla.errors import BadInput

__all__ = ["Case", "Expected", "Outcome", "attempt"]

Expected = Literal["moves on", "holds, moves on", "ends"]
"""What a fault may do: nothing that shows; hold the arm until it is over; end the run, the arm held."""


@dataclass(frozen=True)
class Case:
    """A fault. cause: makes it begin; cure: makes it end, after `lasts_s`. expected: what it is to do; also:
    what is as good. within_s: from the fault to the last command that moves the arm, at the most (braking
    within the limits included). endings: how the run may end where it is to end. blind: the joints
    cannot be read meanwhile, and the log, which holds what was measured and sent, has no such ticks. remote:
    through a server."""

    name: str
    group: str
    cause: Callable[[Bench], None]
    expected: Expected
    cure: Callable[[Bench], None] = lambda bench: None
    lasts_s: float = 1.2
    within_s: float = 1.0
    endings: tuple[str, ...] = ()
    also: tuple[Expected, ...] = ()
    blind: bool = False
    remote: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run did. did: as `Case.expected`. hold_s: from the fault to the last command that moved the
    arm; None: it was not held. ending, why: of the run. reason: why it was held. limits: those that were
    broken. sent, logged: commands that reached the arm, and those of them in the log. error: a mistake of
    the trial or the program itself."""

    case: str
    group: str
    did: str
    hold_s: float | None
    ending: str
    why: str
    reason: str
    limits: tuple[str, ...]
    sent: int
    logged: int
    error: str = ""

    def faults(self, case: Case, slack: float = 1.0) -> list[str]:
        """What is not as it should be, one line each. slack: how many times as long everything may take."""
        found = [f"broken: {line}" for line in self.limits]
        if self.error:
            found.append(self.error)
        if self.did not in (case.expected, *case.also):
            found.append(f"it {self.did}, expected: {case.expected} ({self.ending}: {self.why})")
        if case.endings and self.ending not in case.endings:
            found.append(f"it ended as '{self.ending}' ({self.why}), expected: {', '.join(case.endings)}")
        if self.did != "moves on" and (self.hold_s is None or self.hold_s > case.within_s * slack):
            found.append(f"time to hold {self.hold_s}, at most {case.within_s * slack:g} s")
        if self.logged < self.sent and not case.blind:
            found.append(f"{self.sent - self.logged} of {self.sent} commands are not in the log")
        return found


class _Saboteur(threading.Thread):
    """Causes and cures. began, ended: when the fault did; moved_on: whether the arm moved after its end."""

    def __init__(self, case: Case, bench: Bench) -> None:
        super().__init__(name="saboteur", daemon=True)
        self.case, self.bench = case, bench
        self.began = self.cured = 0.0
        self.moved_on, self.error = False, ""

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.error = f"the trial failed: {type(error).__name__}: {error}"
        finally:
            self.bench.over = "the trial is over"

    def _run(self) -> None:
        if not self._until_moving(15.0):
            self.error = "the arm never moved"
            return
        self.began = time.monotonic()
        self.case.cause(self.bench)
        if self.bench.ended.wait(self.case.lasts_s):
            return
        self.case.cure(self.bench)
        self.cured = time.monotonic()
        if self.case.expected == "ends":
            self.bench.ended.wait(4.0)
            return
        self.moved_on = self._until_moving(20.0)

    def _until_moving(self, patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        while time.monotonic() < end and not self.bench.ended.wait(0.02):
            if moving_for(self.bench.recorder.commands, time.monotonic(), 0.4):
                return True
        return False


def attempt(case: Case, bench: Bench) -> Outcome:
    """Run it to its end, and close its log."""
    saboteur, recorder = _Saboteur(case, bench), bench.recorder
    saboteur.start()
    ending, why, holds, error = "error", "", {}, ""
    try:
        result = bench.loop.run()
        ending, why, holds = result.ending.kind, result.ending.why, dict(result.holds)
    except BadInput as raised:
        why = error = str(raised)
    finally:
        over = time.monotonic()
        bench.ended.set()
        saboteur.join(20.0)
        case.cure(bench)
    until = saboteur.cured or over
    if ended := ending not in ("done", "error"):
        until = over + 1.0  # after its end nothing was commanded any more: the arm stands
    last = stillness(recorder.commands, saboteur.began, until)
    if ended:
        did = "ends"
    elif last is not None:
        did = "holds, moves on" if saboteur.moved_on else "holds"
    else:
        did = "moves on" if saboteur.moved_on else "stops"
    reasons = [reason for reason in holds if reason not in ("start", "settle")]
    sent = [command.positions for command in recorder.commands]
    logged = _logged(bench, sent)
    return Outcome(
        case.name,
        case.group,
        did,
        None if last is None else last - saboteur.began,
        ending,
        why,
        ", ".join(reasons),
        tuple(broken_limits(recorder.commands, recorder.spec, bench.hz)),
        len(sent),
        logged,
        saboteur.error or error,
    )


def _logged(bench: Bench, sent: list[np.ndarray]) -> int:
    """How many of the commands sent are in the log, in their order."""
    return count_found(sent, read_sent(bench.log.close().parent)) if bench.log is not None else len(sent)


def read_sent(run: Path) -> list[np.ndarray]:
    """The commands that a run's log says were sent, in order."""
    import pyarrow.parquet as pq

    from policies.runtime.log.tables import TICKS

    [found] = sorted(run.rglob(TICKS))[:1]
    column = pq.read_table(found, columns=["sent"])["sent"].to_pylist()
    return [np.array(row) for row in column]


def count_found(sent: list[np.ndarray], logged: list[np.ndarray]) -> int:
    """How many of `sent` are in `logged`, equal ones as often as there."""
    left = Counter(row.tobytes() for row in logged)
    return sum((Counter(row.tobytes() for row in sent) & left).values())
