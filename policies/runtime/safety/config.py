"""Settings of the safety filter and of the emergency stop (conf/safety/*.yaml): they only ever tighten.

There is no setting that switches the filter off.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla.errors import BadInput

__all__ = ["JointLimits", "Obstacle", "Safety", "StopSources", "Workspace"]

Place = tuple[float, float, float]


def _between(config: object, low: float, high: float, *names: str) -> None:
    """Each field of `names`: None, or above `low` and at most `high`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low < value <= high:
            upto = "" if high == math.inf else f" and at most {high:g}"
            raise BadInput(f"safety: {name}={value}: a number above {low:g}{upto} is needed")


def _finite(what: str, *places: Place) -> None:
    if not all(math.isfinite(number) for place in places for number in place):
        raise BadInput(f"safety: {what}: finite numbers of metres are needed")


@dataclass(frozen=True)
class JointLimits:
    """Limits of one joint, in its own unit; None: what the arm says, scaled.

    lower, upper: of its position. speed, acceleration, jerk: a second, a second squared and cubed. following:
    how far it may be measured from where it was sent. uncertainty: the most that one standard deviation of an
    action may be. jump: how far a chunk's first row may be from the present pose.
    """

    lower: float | None = None
    upper: float | None = None
    speed: float | None = None
    acceleration: float | None = None
    jerk: float | None = None
    following: float | None = None
    uncertainty: float | None = None
    jump: float | None = None

    def __post_init__(self) -> None:
        _between(self, 0, math.inf, "speed", "acceleration", "jerk", "following", "uncertainty", "jump")


@dataclass(frozen=True)
class Workspace:
    """A box that the body's points must stay in: its two corners, metres, world frame."""

    lower: Place
    upper: Place

    def __post_init__(self) -> None:
        _finite("workspace", self.lower, self.upper)
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise BadInput(f"safety: workspace: {self.lower} is not below {self.upper} in x, y and z")


@dataclass(frozen=True)
class Obstacle:
    """A box in the world that no part of the arm may come near.

    centre: metres, world frame. size: its whole lengths along its own x, y and z, metres. yaw: degrees about
    z.
    """

    name: str
    centre: Place
    size: Place
    yaw: float = 0.0

    def __post_init__(self) -> None:
        _finite(f"obstacle '{self.name}'", self.centre, self.size)
        if min(self.size) <= 0 or not math.isfinite(self.yaw):
            raise BadInput(f"safety: obstacle '{self.name}': lengths above 0 and a finite yaw are needed")


@dataclass(frozen=True)
class StopSources:
    """What presses the emergency stop.

    keys: characters which, typed in the terminal, press it; empty: none. file: pressed as soon as there is a
    file of this name. port: of the loopback socket; 0: any free one; None: no socket.
    """

    keys: str = " q"
    file: Path | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise BadInput(f"safety: stop.port={self.port}: a number from 0 to 65535 is needed")


@dataclass(frozen=True)
class Safety:
    """The safety filter (conf/safety/*.yaml). Lengths in metres, times in seconds, shares from 0 to 1.

    speed_scale, acceleration_scale, jerk_scale: shares of the arm's own limits. joints: joint -> limits that
    are tighter still. ramp_seconds: after a start, speed, acceleration and jerk go from the share
    `ramp_scale` up to all of what is allowed. recovery_scale: share of the speed of a joint that started
    outside its limits, until it is inside.
    workspace, table: where the body's points must be: in the box, and above this height. obstacles: boxes.
    margin: between the parts of the arm, and to the obstacles; None: the parts are not checked against each
    other or the obstacles. poses: how many poses of a stop are looked at, at most; a stop near
    something that needs more is too long.
    gripper_ahead: how far the gripper's command may be ahead of a gripper that is blocked, a share of its
    range. following, jump, uncertainty: as in `JointLimits`, shares of each joint's range; None: no limit.
    stop: what presses the emergency stop.
    """

    speed_scale: float = 1.0
    acceleration_scale: float = 1.0
    jerk_scale: float = 1.0
    joints: Mapping[str, JointLimits] = field(default_factory=dict)
    ramp_seconds: float = 1.0
    ramp_scale: float = 0.2
    recovery_scale: float = 0.1
    workspace: Workspace | None = None
    table: float | None = None
    obstacles: tuple[Obstacle, ...] = ()
    margin: float | None = 0.005
    poses: int = 24
    gripper_ahead: float = 0.15
    following: float | None = 0.2
    jump: float | None = 0.5
    uncertainty: float | None = 0.25
    stop: StopSources = field(default_factory=StopSources)

    def __post_init__(self) -> None:
        _between(
            self, 0, 1, "speed_scale", "acceleration_scale", "jerk_scale", "ramp_scale", "recovery_scale"
        )
        _between(self, 0, math.inf, "gripper_ahead", "following", "jump", "uncertainty")
        _between(self, 1, math.inf, "poses")
        if not 0 <= self.ramp_seconds < math.inf:
            raise BadInput(f"safety: ramp_seconds={self.ramp_seconds}: a number of at least 0 is needed")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise BadInput(f"safety: margin={self.margin}: a number of at least 0, or null, is needed")
        if self.table is not None and not math.isfinite(self.table):
            raise BadInput(f"safety: table={self.table}: a finite height is needed")
        names = [obstacle.name for obstacle in self.obstacles]
        if len(set(names)) < len(names):
            raise BadInput(f"safety: two obstacles have one name: {', '.join(sorted(names))}")
