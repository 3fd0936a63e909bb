"""The watchdog: whether what the loop works with can be trusted, and if not, why, in a sentence.

It judges only what it is shown; the loop does the asking. Trouble of a kind lasts until the same thing is
found well again. A reading that cannot be true is not passed on: `trusted` is the last one that could. See
`eyes` for pictures, `leaps` for readings that jump.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from policies.runtime.control.config import Kind, Watch
from policies.runtime.control.eyes import Eyes
from policies.runtime.control.leaps import Leaps
from vla.arm import ArmSpec, Picture, Reading

__all__ = ["Trouble", "Watchdog"]


class Trouble(NamedTuple):
    """kind: see `Watch`. text: what is wrong. final: whether the run is to end."""

    kind: Kind
    text: str
    final: bool


class Watchdog:
    """For one run on one arm. `began`: the time from which the arm is watched."""

    def __init__(self, spec: ArmSpec, watch: Watch, began: float) -> None:
        self._spec, self._watch = spec, watch
        self._eyes, self._leaps = Eyes(spec, watch), Leaps(spec, watch.jump, watch.moved)
        self._found: dict[Kind, Trouble] = {}
        self._read_at = self._heard_at = began
        self.trusted: Reading | None = None

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What is wrong now; what ends the run comes first."""
        return tuple(sorted(self._found.values(), key=lambda trouble: not trouble.final))

    def trust(self, reading: Reading) -> None:
        """The joints are there: known from elsewhere, and where all judging begins."""
        self.trusted = reading
        self._leaps.believe(reading.positions, reading.time)

    def reading(self, reading: Reading, now: float, asked: float | None = None) -> None:
        """The arm said where its joints are. asked: when it was asked, if it measured only then."""
        age = now - reading.time
        self._set("bus", "")
        self._read_at = now
        limit = self._watch.reading
        old = f"the joints' reading is {age:.3f} s old (limit {limit:g} s)" if age > limit else ""
        if age < -limit:
            old = f"the joints' reading is from {-age:.3f} s in the future: the adapter's clock is another"
        self._set("reading", old)
        wrong = self._unreal(reading)
        self._set("state", wrong)
        if old or wrong:
            return
        earliest = reading.time if asked is None else min(reading.time, asked)
        leap = self._leaps.judge(reading.positions, earliest, max(reading.time, now))
        self._set("jump", leap.text if leap else "", final=leap is not None and leap.lasting)
        if leap is None:
            self.trusted = reading

    def unread(self, error: str, now: float) -> None:
        """The arm did not answer."""
        gone = now - self._read_at
        if gone > self._watch.lost:
            self._set("bus", f"the arm is lost, no reading for {gone:.2f} s: {error}", final=True)
        else:
            self._set("bus", error)

    def commanded(self, error: str, now: float) -> None:
        """The arm took a command, or why it did not."""
        if not error:
            self._heard_at = now
        gone = now - self._heard_at
        if error and gone > self._watch.lost:
            error = f"the arm is lost, it has taken no command for {gone:.2f} s: {error}"
        self._set("command", error, final=gone > self._watch.lost)

    def pictures(self, pictures: Mapping[str, Picture], now: float) -> None:
        """What the cameras show."""
        late, frozen = self._eyes.look(pictures, self.trusted, now)
        self._set("camera", late)
        self._set("frozen", frozen)

    def waiting(self, seconds: float) -> None:
        """For how long the policy has owed an answer."""
        limit = self._watch.answer
        text = f"the policy has not answered for {seconds:.2f} s (limit {limit:g} s)"
        self._set("answer", text if seconds > limit else "")

    def faults(self, lines: Sequence[str]) -> None:
        """What the arm says is wrong with itself."""
        self._set("fault", "; ".join(lines))

    def stopped(self, seconds: float) -> None:
        """For how long the loop stood still, at this tick; 0.0 if it did not."""
        text = f"the loop stood still for {seconds:.2f} s, or a clock was set"
        self._set("clock", text if seconds > 0 else "")
        self._leaps.unknown(seconds)

    def log(self, trouble: str) -> None:
        """Why nothing can be recorded any more."""
        self._set("log", trouble and f"the log cannot be written: {trouble}")

    # -- judging ----------------------------------------------------------------------------------

    def _set(self, kind: Kind, text: str, final: bool = False) -> None:
        if text:
            self._found[kind] = Trouble(kind, text, final or kind in self._watch.final)
        else:
            self._found.pop(kind, None)

    def _unreal(self, reading: Reading) -> str:
        found, names = np.asarray(reading.positions), self._spec.names
        if found.shape != (len(names),):
            return f"the reading has shape {list(found.shape)}, the arm {len(names)} joints"
        bad = np.flatnonzero(~np.isfinite(found))
        return f"the reading of joint '{names[bad[0]]}' is {found[bad[0]]}" if len(bad) else ""
