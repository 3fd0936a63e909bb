"""How things stand, lean, float and are stacked, such that each can be recognised where it is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.gallery.scene import Item, View
from envs.gallery.shapes import SHAPES, vertices

__all__ = ["about_z", "apart", "floating_turn", "resting", "standing_turn"]

type Array = npt.NDArray[np.float64]

_UP = {
    "z": np.eye(3),
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "x": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
}
"""The rotations that bring an axis of the shape upright."""


def about_z(angle: float) -> Array:
    """A rotation about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def standing_turn(
    shape: str,
    place: Array,
    view: View,
    lean: float,
    rng: np.random.Generator,
    *,
    tries: int = 8,
) -> Array | None:
    """A rotation with one of the shape's axes upright, leaning by up to `lean` radians."""
    axes = SHAPES[shape].stands
    c, s = np.cos(lean), np.sin(lean)
    tilt = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    turns = []
    for yaw, way, axis in zip(
        *rng.uniform(-np.pi, np.pi, (2, tries)), rng.integers(len(axes), size=tries), strict=True
    ):
        turn = about_z(yaw) @ _UP[axes[axis]]
        turns.append(about_z(way) @ tilt @ about_z(-way) @ turn if lean else turn)
    good = _recognisable(shape, np.array(turns), place, view)
    return turns[good[0]] if good else None


def floating_turn(
    shape: str, place: Array, view: View, rng: np.random.Generator, tries: int = 48
) -> Array | None:
    """Any rotation from which the shape can be told; half the time roughly the right way up."""
    limit = SHAPES[shape].roll or (40.0 if rng.random() < 0.5 else 180.0)
    up = "xyz".index(SHAPES[shape].up)
    turns = _random_turns(tries, rng)
    across, high = view.axes[:2] @ turns[:, :, up].T
    upright = np.abs(np.degrees(np.arctan2(across, high))) <= limit
    good = _recognisable(shape, turns[upright], place, view)
    return turns[upright][good[0]] if good else None


def _recognisable(shape: str, turns: Array, place: Array, view: View) -> list[int]:
    """Which of the rotations ``[N, 3, 3]`` show the camera a side by which the shape can be told."""
    towards = view.place - place
    directions = (towards / np.linalg.norm(towards)) @ turns
    return [i for i, (x, y, z) in enumerate(directions.tolist()) if SHAPES[shape].seen(x, y, z)]


def _random_turns(count: int, rng: np.random.Generator) -> Array:
    """Uniform rotations ``[count, 3, 3]``."""
    q = rng.standard_normal((count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1),
        ],
        axis=1,
    )


def resting(shape: str, frame: Array, x: float, y: float, ground: float) -> Array:
    """The place at which a shape in this frame touches the height `ground` from above, over (x, y)."""
    lowest = float((vertices(shape) @ frame[2]).min())
    return np.array([x, y, ground - lowest])


def apart(item: Item, others: Sequence[Item], margin: float = 0.75) -> bool:
    """Whether the balls around things hardly overlap."""
    return all(
        float(np.linalg.norm(item.place - other.place)) > margin * (item.radius + other.radius)
        for other in others
    )
