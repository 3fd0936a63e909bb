"""What stands on the table: a `Scene` is everything that a seed decides, free of any simulator.

Frame: metres, the arm's base at the origin, +x away from it towards the front camera, +z up. In the front
camera's picture +y is right.
"""

from dataclasses import dataclass, field

import numpy as np

from envs.tabletop.solids import SOLIDS
from envs.tabletop.tasks import Task, Thing

__all__ = [
    "BESIDE_DISTANCE",
    "CONTAINER_RADIUS",
    "DIRECTIONS",
    "HOME",
    "PAN_AXIS",
    "ZONE_HALF",
    "Look",
    "Placed",
    "Scene",
    "destination",
    "rest_height",
]

PAN_AXIS = (0.0388, 0.0)
"""Where the shoulder pan axis stands; reach is measured from it."""
CONTAINER_RADIUS = 0.048
ZONE_HALF = 0.045
BESIDE_DISTANCE = 0.06
HOME = np.array([0.0, -22.0, 8.0, 84.0, 90.0, 12.0])
"""Start pose in LeRobot units: the hand over the near edge of the table, looking down."""

DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (0.0, -1.0),
    "right": (0.0, 1.0),
    "front": (1.0, 0.0),
    "behind": (-1.0, 0.0),
}
"""Relation -> unit vector on the table, as the front camera sees it."""


def rest_height(kind: str) -> float:
    """Height of a thing's centre when it stands on the table, metres."""
    return SOLIDS[kind].rest if kind in SOLIDS else 0.0


@dataclass(frozen=True)
class Placed:
    """A thing at (x, y) metres, turned by yaw radians about the vertical."""

    thing: Thing
    x: float
    y: float
    yaw: float = 0.0

    @property
    def xy(self) -> np.ndarray:
        return np.array([self.x, self.y])


@dataclass(frozen=True)
class Look:
    """Everything that changes the picture and nothing else."""

    light: float = 0.45
    light_x: float = 0.0
    light_y: float = 0.0
    table: tuple[float, float, float] = (0.40, 0.38, 0.36)
    camera_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shade: float = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        """Another lamp, another table, a camera knocked by up to a centimetre."""
        grey = rng.uniform(0.25, 0.5)
        table = np.clip(grey + rng.uniform(-0.05, 0.05, 3), 0, 1)
        return cls(
            light=rng.uniform(0.3, 0.6),
            light_x=rng.uniform(-0.5, 0.5),
            light_y=rng.uniform(-0.5, 0.5),
            table=(float(table[0]), float(table[1]), float(table[2])),
            camera_shift=tuple(rng.uniform(-0.01, 0.01, 3).tolist()),
            shade=rng.uniform(0.85, 1.1),
        )


@dataclass(frozen=True)
class Scene:
    """A table ready to be built: the task, the movable objects, the fixtures, the look and the start pose."""

    task: Task
    objects: tuple[Placed, ...]
    fixtures: tuple[Placed, ...]
    start: np.ndarray = field(default_factory=HOME.copy)
    look: Look = field(default_factory=Look)

    def index(self, thing: Thing) -> int:
        """Index of a movable object; raises KeyError when it is not on the table."""
        for i, placed in enumerate(self.objects):
            if placed.thing == thing:
                return i
        raise KeyError(str(thing))

    def fixture(self, thing: Thing) -> Placed:
        """The container or zone called `thing`."""
        for placed in self.fixtures:
            if placed.thing == thing:
                return placed
        raise KeyError(str(thing))


def destination(task: Task, reference_xy: np.ndarray) -> np.ndarray:
    """Where the target should come to rest, (x, y) metres, given where the reference is now."""
    if task.skill == "put_beside":
        assert task.relation is not None
        return reference_xy + BESIDE_DISTANCE * np.array(DIRECTIONS[task.relation])
    return reference_xy
