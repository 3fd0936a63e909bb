"""Any arm with things going wrong on command, or by schedule: what its watchdogs are tried with.

The arm inside is left as it is: a fault lies on the way, in what is read, seen, commanded and told. So every
adapter can be tried alike, and a real arm too.
"""

import math
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vla.arm import Arm, ArmFault, ArmSpec, Picture, Positions, Reading
from vla.errors import BadInput, did_you_mean

__all__ = ["Fault", "FaultKind", "FaultyArm"]

FaultKind = Literal[
    "camera_frozen",  # no new pictures: the last ones, with the times when they were taken
    "camera_repeats",  # the last pictures again and again, as if they were new
    "camera_drops",  # the share `amount` of all new pictures is lost
    "camera_black",
    "camera_gone",  # the camera is not among the pictures
    "read_late",  # each reading takes `amount` milliseconds longer
    "read_fails",
    "read_fails_once",
    "read_nan",  # of `joint`
    "read_jumps",  # `joint` reads `amount` units beside where it is
    "read_jumps_once",  # the same of one reading alone, whenever that is
    "read_frozen",  # the last reading again, with the time when it was read
    "bus_silent",  # a reading waits for `amount` milliseconds, then fails
    "command_refused",
    "command_lost",  # the arm hears none of it
    "connection_lost",  # everything fails, until the end
    "overload",  # the arm says so of `joint`
    "hot",
    "joint_blocked",  # `joint` stays where it is, whatever it is told
]


@dataclass(frozen=True)
class Fault:
    """after_s, for_s: when it begins (counted from `inject`, or from `connect` if scheduled), how long it
    lasts. camera, joint: which; "": all cameras, the first joint. amount: see FaultKind."""

    kind: FaultKind
    after_s: float = 0.0
    for_s: float = math.inf
    camera: str = ""
    joint: str = ""
    amount: float = 0.0

    def __post_init__(self) -> None:
        kinds = typing.get_args(FaultKind)
        if self.kind not in kinds:
            raise BadInput(f"there is no fault '{self.kind}'{did_you_mean(str(self.kind), kinds)}")
        if not (self.after_s >= 0 and self.for_s > 0):
            raise BadInput(f"a fault cannot begin after {self.after_s} s and last {self.for_s} s")


@dataclass
class _Active:
    """A fault with its times on the clock, and what it keeps while it lasts."""

    fault: Fault
    begins: float
    ends: float
    pictures: Mapping[str, Picture] | None = None
    reading: Reading | None = None
    spent: bool = False


class FaultyArm:
    """`arm`, with the `schedule` of faults. clock, sleep: of seconds; `bus_silent` and `read_late` sleep."""

    def __init__(
        self,
        arm: Arm,
        schedule: Sequence[Fault] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.arm, self._schedule, self._clock, self._sleep = arm, tuple(schedule), clock, sleep
        self._active: tuple[_Active, ...] = ()
        # Of each camera: new pictures, those let through, when the newest was taken, the last let through.
        self._seen: dict[str, tuple[int, int, float, Picture]] = {}

    def inject(self, fault: Fault) -> None:
        """Let it begin, now or `after_s` seconds from now. May be called from any thread."""
        begins = self._clock() + fault.after_s
        self._active = (*self._active, _Active(fault, begins, begins + fault.for_s))

    def clear(self) -> None:
        """All faults are over."""
        self._active = ()

    # -- vla.arm.Arm ------------------------------------------------------------------------------

    @property
    def spec(self) -> ArmSpec:
        """See Arm."""
        return self.arm.spec

    def connect(self) -> None:
        """See Arm."""
        if self._now("connection_lost"):
            raise ArmFault(LOST)
        self.arm.connect()
        for fault in self._schedule:
            self.inject(fault)

    def read(self) -> Reading:
        """See Arm."""
        self._connected()
        if late := self._now("read_late"):
            self._sleep(late.fault.amount / 1000)
        if silent := self._now("bus_silent"):
            self._sleep(silent.fault.amount / 1000)
            raise ArmFault(f"no answer from the arm within {silent.fault.amount:g} ms (injected)")
        once = self._now("read_fails_once")
        if once and not once.spent:
            once.spent = True
            raise ArmFault("a reading of the joints came back damaged (injected)")
        if self._now("read_fails"):
            raise ArmFault("the joints cannot be read: checksum does not match (injected)")
        reading = self.arm.read()
        if frozen := self._now("read_frozen"):
            frozen.reading = reading = frozen.reading or reading
        for kind, change in (("read_nan", math.nan), ("read_jumps", None), ("read_jumps_once", None)):
            found = self._now(kind)
            if found and not found.spent:
                found.spent = kind == "read_jumps_once"
                positions = reading.positions.copy()
                positions[self._joint(found)] += found.fault.amount if change is None else change
                reading = Reading(positions, reading.time)
        return reading

    def pictures(self) -> Mapping[str, Picture]:
        """See Arm."""
        found = dict(self.arm.pictures())
        for name in list(found):
            self._camera(name, found)
        return found

    def command(self, positions: Positions) -> None:
        """See Arm."""
        self._connected()
        if self._now("command_refused"):
            raise ArmFault("the arm refused a command (injected)")
        if self._now("command_lost"):
            return
        if blocked := self._now("joint_blocked"):
            blocked.reading = blocked.reading or self.arm.read()
            joint, positions = self._joint(blocked), positions.copy()
            positions[joint] = blocked.reading.positions[joint]
        self.arm.command(positions)

    def hold(self) -> None:
        """See Arm."""
        self._connected()
        self.arm.hold()

    def faults(self) -> Sequence[str]:
        """See Arm."""
        self._connected()
        told = list(self.arm.faults())
        for kind, line in (("overload", "overload: it pushes against something"), ("hot", "75 degrees hot")):
            if found := self._now(kind):
                told.append(f"servo '{self.spec.names[self._joint(found)]}': {line} (injected)")
        return told

    def disconnect(self, release: bool = False) -> None:
        """See Arm."""
        self.arm.disconnect(release)

    # -- inside -----------------------------------------------------------------------------------

    def _now(self, kind: str, camera: str = "") -> _Active | None:
        """The fault of this kind that is on, if one is (for this camera)."""
        now = self._clock()
        for active in self._active:
            fits = active.fault.kind == kind and active.fault.camera in ("", camera)
            if fits and active.begins <= now < active.ends:
                return active
        return None

    def _joint(self, active: _Active) -> int:
        names, joint = self.spec.names, active.fault.joint
        if joint and joint not in names:
            raise BadInput(f"the arm has no joint '{joint}'{did_you_mean(joint, names)}")
        return names.index(joint) if joint else 0

    def _connected(self) -> None:
        if self._now("connection_lost"):
            raise ArmFault(LOST)

    def _camera(self, name: str, found: dict[str, Picture]) -> None:
        """What the faults make of one camera's picture."""
        if self._now("camera_gone", name):
            del found[name]
            return
        for kind in ("camera_frozen", "camera_repeats"):
            if frozen := self._now(kind, name):
                frozen.pictures = {name: found[name], **(frozen.pictures or {})}
                old = frozen.pictures[name]
                found[name] = old if kind == "camera_frozen" else old._replace(time=found[name].time)
        if drops := self._now("camera_drops", name):
            found[name] = self._dropped(name, found[name], drops.fault.amount)
        if self._now("camera_black", name):
            found[name] = found[name]._replace(pixels=np.zeros_like(found[name].pixels))

    def _dropped(self, name: str, picture: Picture, share: float) -> Picture:
        """The newest picture that is not lost; every so many are, evenly."""
        new, through, seen_at, last = self._seen.get(name, (0, 0, picture.time, picture))
        if picture.time != seen_at:
            new += 1
            if new * (1 - share) >= through + 1:
                through, last = through + 1, picture
        self._seen[name] = (new, through, picture.time, last)
        return last


LOST = "the connection to the arm is lost (injected); check cable and power"
