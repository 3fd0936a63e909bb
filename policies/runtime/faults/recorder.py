"""What reaches an arm, written down: every command with its time, and what is to be learned from them."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vla.arm import Arm, ArmSpec, Picture, Positions, Reading

__all__ = ["Command", "Recorder", "broken_limits", "moving_for", "stillness"]

SAME = 1e-6
"""Commands that differ by less cause no motion, in the joints' units."""


class Command(NamedTuple):
    """positions: float64 ``[joints]``. time: when it was given, seconds of the recorder's clock."""

    time: float
    positions: Positions


class Recorder:
    """An arm that writes down what it is told.

    commands: all of them. told: the times and names of the other calls: connect, hold, disconnect. mirror: is
    shown each command.
    """

    def __init__(self, arm: Arm, clock: Callable[[], float] = time.monotonic) -> None:
        self.arm, self._clock = arm, clock
        self.commands: list[Command] = []
        self.told: list[tuple[float, str]] = []
        self.mirror: Callable[[Command], None] = lambda command: None

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        return self.arm.spec

    def connect(self) -> None:
        """See Arm."""
        self.told.append((self._clock(), "connect"))
        self.arm.connect()

    def read(self) -> Reading:
        """See Arm."""
        return self.arm.read()

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        return self.arm.pictures()

    def command(self, positions: Positions) -> None:
        """See Arm."""
        self.arm.command(positions)
        self.commands.append(Command(self._clock(), np.array(positions, np.float64)))
        self.mirror(self.commands[-1])

    def hold(self) -> None:
        """See Arm."""
        self.told.append((self._clock(), "hold"))
        self.arm.hold()

    def faults(self) -> Sequence[str]:
        """See Arm."""
        return self.arm.faults()

    def disconnect(self, release: bool = False) -> None:
        """See Arm."""
        self.told.append((self._clock(), "release" if release else "disconnect"))
        self.arm.disconnect(release)


def _motions(commands: Sequence[Command]) -> list[float]:
    """When commands were given that differ from the one before."""
    return [
        new.time
        for old, new in itertools.pairwise(commands)
        if np.abs(new.positions - old.positions).max() > SAME
    ]


def moving_for(commands: Sequence[Command], now: float, window_s: float = 0.5) -> bool:
    """Whether the arm has been told to move all through the last `window_s` seconds."""
    recent = [when for when in _motions(commands) if when > now - window_s]
    return len(recent) > 3 and recent[0] < now - 0.7 * window_s and recent[-1] > now - 0.3 * window_s


def stillness(commands: Sequence[Command], since: float, until: float, least_s: float = 0.2) -> float | None:
    """When, after `since`, the last motion was commanded before the arm was let stand for `least_s` or until
    the end of the record at `until`; None: it never was."""
    last = since
    for when in [*(when for when in _motions(commands) if since < when <= until), until]:
        if when - last >= least_s:
            return last
        last = when
    return None


def broken_limits(commands: Sequence[Command], spec: ArmSpec, hz: float) -> list[str]:
    """Which limits of the arm the commands break, one line each.

    Commands are given on a grid of 1/hz; where ticks were missed the way may be as much longer, and the
    differences of higher order say nothing.
    """
    if len(commands) < 2:
        return []
    rows = np.stack([command.positions for command in commands])
    if not np.isfinite(rows).all():
        return ["a command is not finite"]
    found = []
    for what, bad in (
        ("lower", rows < spec.limits("lower") - 1e-6),
        ("upper", rows > spec.limits("upper") + 1e-6),
    ):
        found += [
            f"{spec.names[joint]}: beyond its {what} limit" for joint in sorted(set(np.nonzero(bad)[1]))
        ]
    gaps = np.diff([command.time for command in commands]) * hz
    steps = np.maximum(np.ceil(gaps + 0.5), 1.0)  # a tick may begin up to half a period late, or later
    even = gaps < 1.5
    speed = np.abs(np.diff(rows, axis=0)) * hz / steps[:, None]
    found += _above(speed, spec, "speed")
    for order, what in ((2, "acceleration"), (3, "jerk")):
        value = np.abs(np.diff(rows, order, axis=0)) * hz**order
        whole = np.all([even[i : len(value) + i] for i in range(order)], axis=0)
        found += _above(value[whole], spec, what)  # type: ignore[arg-type]
    return found


def _above(values: Positions, spec: ArmSpec, what: str) -> list[str]:
    limits = spec.limits(what)  # type: ignore[arg-type]
    most = values.max(axis=0, initial=0.0)
    lines = zip(spec.names, most, limits, strict=True)
    return [
        f"{name}: {what} {value:.6g}, limit {limit:.6g}"
        for name, value, limit in lines
        if value > limit * (1 + 1e-6) + 1e-9
    ]
