"""What a run on an arm shows in a terminal: what will move, two lines while it does, a table after it.

In a terminal the two lines are rewritten in place; into a file or a pipe they go every few seconds. Events
(holds, interventions, faults) are lines of their own in both, as they happen.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

import numpy as np

from policies.runtime.control.results import RunResult, Status
from policies.runtime.control.spread import Summary
from policies.runtime.safety.config import Safety
from vla.arm import ArmSpec, Positions

__all__ = ["Shown", "Terminal", "announcement", "result_table"]

Shown = tuple[Positions, Positions | None, Positions]
"""Measured, wanted (None: hold), sent."""


class Terminal:
    """Call it with each `Status`; `close` leaves what it showed and ends the line.

    every_s: seconds between lines where they cannot be rewritten. newest: what was last decided, to be shown
    as numbers, as a dry run does.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        every_s: float = 5.0,
        newest: Callable[[], Shown | None] | None = None,
        names: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out or sys.stderr
        self._every, self._newest, self._names, self._clock = every_s, newest, names, clock
        self._rewrites = self._out.isatty()
        self._drawn = 0
        self._seen: tuple[str, ...] = ()
        self._next = self._clock() + (0.0 if newest else every_s)

    def __call__(self, status: Status) -> None:
        """Show how it stands."""
        fresh = [line for line in status.recent if line not in self._seen]
        self._seen = status.recent
        lines = _lines(status)
        if shown := self._commands():
            lines.append(shown)
        if self._rewrites:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            up = f"\x1b[{self._drawn}A" if self._drawn else ""
            text = "".join(f"\x1b[2K{line[:width]}\n" for line in (*fresh, *lines))
            self._write(f"\r{up}{text}\x1b[J")
            self._drawn = len(lines)
            return
        now = self._clock()
        if now >= self._next:
            fresh += lines
            self._next = now + self._every
        self._write("".join(f"{line}\n" for line in fresh))

    def close(self) -> None:
        """What follows is written below."""
        self._drawn = 0

    def _commands(self) -> str:
        found = self._newest() if self._newest is not None else None
        if found is None:
            return ""
        measured, wanted, sent = found
        told = [
            f"{name} {there:.1f} (at {here:.1f})"
            for name, there, here in zip(self._names, sent, measured, strict=True)
        ]
        return f"would send: {', '.join(told)}{'' if wanted is not None else '  [hold]'}"

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()


def _lines(status: Status) -> list[str]:
    period = status.periods.period
    latency = status.latency
    first = (
        f"{status.phase:<8} {status.seconds:6.1f} s  {status.hz:6.1f} Hz (p99 {_ms(period.p99)}, "
        f"{status.periods.missed} missed)  policy {_ms(latency.mean)} (p99 {_ms(latency.p99)}), "
        f"{status.rows_left} rows left"
    )
    parts = []
    if status.interventions:
        parts.append(f"safety: {_counts(status.interventions)}")
    if status.stop:
        parts.append(f"ends: {status.stop}")
    elif status.hold:
        parts.append(f"holding: {status.hold}")
    return [first, "         " + ("  ".join(parts) or "nothing to report")]


def announcement(spec: ArmSpec, safety: Safety, pose: Positions) -> str:
    """What will move, from where, how far and how fast at the most: for a person to confirm."""
    speed, acceleration = safety.speed_scale, safety.acceleration_scale
    rows: list[Sequence[str]] = [("joint", "now", "from", "to", "speed up to", "acceleration")]
    for joint, here in zip(spec.joints, pose, strict=True):
        rows.append(
            (
                joint.name,
                f"{here:.1f} {joint.unit}",
                f"{joint.lower:.1f}",
                f"{joint.upper:.1f}",
                f"{joint.speed * speed:.0f} {joint.unit}/s",
                f"{joint.acceleration * acceleration:.0f} {joint.unit}/s²",
            )
        )
    tighter = f"tighter limits by config: {', '.join(safety.joints)}\n" if safety.joints else ""
    return f"{_aligned(rows)}\n{tighter}cameras: {', '.join(spec.cameras) or 'none'}"


def result_table(result: RunResult, more: Mapping[str, str]) -> str:
    """How a run went, for people. more: further lines."""
    periods, rows = result.periods, [("ended", f"{result.ending.kind}: {result.ending.why}")]
    if result.dry_run:
        rows.append(("dry run", "nothing was sent to the arm"))
    rows.append(("time", f"{result.seconds:.1f} s, {result.steps} policy steps, {result.ticks} commands"))
    if periods.period.number:
        p = periods.period
        rows.append(
            (
                "period",
                f"{_ms(p.mean)} mean, {_ms(p.sd)} sd, {_ms(p.p99)} p99 ({result.hz:g} Hz asked); "
                f"{periods.late} late, {periods.missed} missed",
            )
        )
    for name, found in (
        ("policy", result.inference),
        ("reading to command", result.reaction),
        ("observation to command", result.observation),
    ):
        if found.number:
            rows.append((name, _spread(found)))
    rows.append(("chunks", str(result.chunks)))
    rows.append(("held", f"{_counts(result.holds)} (ticks)" if result.holds else "never"))
    rows.append(("safety filter", _counts(result.interventions) or "did not have to do anything"))
    rows += [("note", note) for note in result.notes]
    return _aligned([*rows, *more.items()])


def _spread(found: Summary) -> str:
    return f"{_ms(found.mean)} mean, {_ms(found.p50)} p50, {_ms(found.p99)} p99, {_ms(found.worst)} at worst"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda kv: -kv[1]))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if np.isfinite(seconds) else "?"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
