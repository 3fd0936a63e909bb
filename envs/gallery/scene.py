"""What is in a picture: a `GalleryScene` is everything that a seed decides, free of any simulator.

Frame: the floor is z = 0, +z is up; lengths have no unit. A camera's axes are right, up and forward; a place
in the picture is (x, y) in 0..1, x to the right and y downwards, as a `Box` of vla has it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.gallery.shapes import vertices

__all__ = ["FLOOR_HALF", "GalleryScene", "Item", "Lamps", "Sky", "Surface", "View"]

type Array = npt.NDArray[np.float64]
type RGB = tuple[float, float, float]

FLOOR_HALF = 40.0
"""Half the edge of a floor or a wall."""


@dataclass(frozen=True)
class View:
    """A pinhole camera. place ``[3]``; axes ``[3, 3]``, rows right, up, forward; fov in degrees."""

    place: Array
    axes: Array
    fov: float

    @property
    def reach(self) -> float:
        """Half the width of the picture at a depth of 1."""
        return float(np.tan(np.deg2rad(self.fov) / 2))

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points ``[N, 3]`` -> places in the picture ``[N, 2]`` and depths ``[N]``."""
        seen = (points - self.place) @ self.axes.T
        depth = np.maximum(seen[:, 2], 1e-6)
        flat = seen[:, :2] / (depth[:, None] * self.reach)
        return np.stack([0.5 + 0.5 * flat[:, 0], 0.5 - 0.5 * flat[:, 1]], axis=1), seen[:, 2]

    def ray(self, x: float, y: float) -> Array:
        """The unit direction in which the place (x, y) of the picture is seen."""
        right, up, forward = self.axes
        out = forward + self.reach * ((2 * x - 1) * right + (1 - 2 * y) * up)
        return out / np.linalg.norm(out)


@dataclass(frozen=True)
class Item:
    """One thing. rgb is a shade that bears the colour's name; texture "" is plain; pattern is the word for
    the texture, or "". place ``[3]``; frame ``[3, 3]`` takes the shape's unit ball to the world: a rotation
    times a scale per axis. on: number of the item that it stands on."""

    shape: str
    color: str
    rgb: RGB
    place: Array
    frame: Array
    texture: str = ""
    pattern: str = ""
    shine: float = 0.1
    on: int | None = None

    @property
    def points(self) -> Array:
        """Its corners in the world, ``[V, 3]``."""
        return vertices(self.shape) @ self.frame.T + self.place

    @property
    def radius(self) -> float:
        """Of the ball around it."""
        return float(np.linalg.norm(self.frame, axis=0).max())


@dataclass(frozen=True)
class Surface:
    """A floor or a wall. words: what it can be called ("green", "wooden"), or "" where no name is fair.
    turn: about its own normal, radians. repeat: tiles of its texture along `FLOOR_HALF`."""

    words: str
    rgb: RGB
    texture: str
    turn: float
    repeat: int


@dataclass(frozen=True)
class Sky:
    """What is seen where nothing stands: a gradient between two colours, with some grain."""

    top: RGB
    bottom: RGB
    tilt: float
    grain: float


@dataclass(frozen=True)
class Lamps:
    """Strengths of the ambient lamp and of one at the camera; directions, colours ``[2, 3]`` of two suns."""

    ambient: float
    head: float
    directions: Array
    colors: Array


@dataclass(frozen=True)
class GalleryScene:
    """floor: at z = 0, or None. wall: upright, `wall_distance` before the camera, or None.
    standing: the items rest on the floor or on each other; otherwise they float. shadows: a dark patch under
    whatever stands on the floor."""

    items: tuple[Item, ...]
    view: View
    lamps: Lamps
    sky: Sky
    floor: Surface | None = None
    wall: Surface | None = None
    wall_distance: float = 0.0
    standing: bool = False
    shadows: bool = False
