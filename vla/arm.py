"""The nouns of arms that move: what an adapter in `envs/arms` offers, and all that a runtime may ask of it.

Positions, commands and limits are in the arm's own units, in the order of its joints, which is the order of
the state and the action of a policy for it. Times are seconds of ``time.monotonic``. Numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput
from vla.interfaces import Observation

__all__ = ["Arm", "ArmFault", "ArmSpec", "Body", "Joint", "Picture", "Positions", "Reading", "observed"]

Positions = npt.NDArray[np.float64]
Unit = Literal["deg", "rad", "m", "percent"]


class ArmFault(BadInput):
    """An arm, its bus or a camera does not do what it is asked to. One line: what, which part, what to do."""


@dataclass(frozen=True)
class Joint:
    """One joint and how far and fast it may go, in its unit (``percent``: a gripper, 0 closed, 100 open).

    lower, upper: of its position. speed, acceleration, jerk: the most of each, in units a second, a second
    squared and cubed, either way.
    """

    name: str
    unit: Unit
    lower: float
    upper: float
    speed: float
    acceleration: float
    jerk: float
    gripper: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite([self.lower, self.upper]).all() or self.lower >= self.upper:
            raise BadInput(f"joint '{self.name}' cannot go from {self.lower} to {self.upper} {self.unit}")
        for what in ("speed", "acceleration", "jerk"):
            value = getattr(self, what)
            if not (np.isfinite(value) and value > 0):
                raise BadInput(f"joint '{self.name}': {what}={value}: a finite number above 0 is needed")


@dataclass(frozen=True)
class Body:
    """The arm's MuJoCo model, for places of its parts and for collisions. World frame, metres.

    mjcf: the model as text; its meshes in `assets` (file name -> bytes). joints: the model's joint of each of
    the arm's joints; an empty name: it has none. scale, offset: model's joint position (rad or m) = scale *
    arm's position + offset, one of each a joint. points: sites or bodies that must stay in the workspace and
    above the table, such as the tool and the elbow.
    """

    mjcf: str
    joints: tuple[str, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    points: tuple[str, ...]
    assets: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmSpec:
    """What is fixed about a connected arm.

    robot: LeRobot's ``robot_type``, what a policy calls it. hz: commands a second that suit it. cameras: the
    names of its cameras. image_sizes: camera -> (height, width), of those that are known.
    """

    robot: str
    joints: tuple[Joint, ...]
    hz: float
    cameras: tuple[str, ...] = ()
    image_sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    body: Body | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The joints' names, in order."""
        return tuple(joint.name for joint in self.joints)

    def limits(self, what: Literal["lower", "upper", "speed", "acceleration", "jerk"]) -> Positions:
        """One number a joint, float64 ``[joints]``."""
        return np.array([getattr(joint, what) for joint in self.joints], np.float64)


class Reading(NamedTuple):
    """Where the joints are. positions: float64 ``[joints]``. time: when they were read."""

    positions: Positions
    time: float


class Picture(NamedTuple):
    """A camera's newest picture. pixels: uint8 ``[height, width, 3]`` RGB. time: when it was taken.

    number: the camera's own count of its pictures, or None where it does not tell one: by that, a picture
    that is repeated with a new time can be told from one that looks the same.
    """

    pixels: npt.NDArray[np.uint8]
    time: float
    number: int | None = None


@runtime_checkable
class Arm(Protocol):
    """A physical arm, or what behaves like one. Whatever goes wrong raises ArmFault (or BadInput: config).

    All but `pictures` are called from one thread. After `connect` the arm holds where it is, and until the
    first `command` nothing may move it.
    """

    @property
    def spec(self) -> ArmSpec:
        """What is fixed about it; complete only after `connect`, as limits come from its calibration."""

    def connect(self) -> None:
        """Open port and cameras, check that all is there, leave the arm holding its present pose."""

    def read(self) -> Reading:
        """Where the joints are now: one exchange with the arm. Raises ArmFault rather than say old news."""

    def pictures(self) -> Mapping[str, Picture]:
        """The newest picture of each camera. Never waits for one; may be called from any thread."""

    def command(self, positions: Positions) -> None:
        """Go to these positions, float64 ``[joints]``. Returns at once. Only a safety filter calls it."""

    def hold(self) -> None:
        """Stop where it is and stay, under torque. Works whatever went wrong before, as far as can be."""

    def faults(self) -> Sequence[str]:
        """What the arm says is wrong with it (overload, heat, voltage), one line each; asked each second."""

    def disconnect(self, release: bool = False) -> None:
        """Close everything. release: let go of the torque; else the arm stays where it is, if it can."""


def observed(
    reading: Reading, pictures: Mapping[str, Picture], spec: ArmSpec, task: str, began: float = 0.0
) -> Observation:
    """What a policy is shown: float32 state, the newest pictures; its time counts from `began`."""
    return Observation(
        images={name: picture.pixels for name, picture in pictures.items()},
        state=reading.positions.astype(np.float32),
        task=task,
        robot=spec.robot,
        timestamp=reading.time - began,
    )
