"""The shapes of the table's things: how large, how heavy to grasp, of which geoms. Lengths in metres.

The first four are the robot's own; the others are the extended vocabulary's, which no demonstration shows.
They are plates, because the front camera looks down steeply: an outline can be told from above, a cone's side
not. What no primitive gives is made of inline triangles. What is drawn is the shape itself; what the fingers
meet is its convex hull, so a star's notches and a ring's hole are filled for them.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["SOLIDS", "Solid"]


@dataclass(frozen=True)
class Solid:
    """geoms: MJCF attributes of each part, in the body's frame, whose origin is the thing's centre.

    rest: height of the centre when it stands on the table. footprint: radius of the room it takes.
    period: turning it by this many radians about the vertical changes nothing for the fingers; 0: any turn.
    mesh: the asset that a part draws, or nothing.
    """

    geoms: tuple[str, ...]
    rest: float
    footprint: float
    period: float = 0.0
    mesh: str = ""


def _mesh(name: str, points: np.ndarray, faces: list[tuple[int, int, int]]) -> str:
    vertex = " ".join(f"{v:.5f}" for v in points.reshape(-1))
    face = " ".join(str(i) for triangle in faces for i in triangle)
    return f'<mesh name="{name}" vertex="{vertex}" face="{face}"/>'


def _plate(name: str, outline: np.ndarray, half: float) -> str:
    """A plate of height 2 `half`. All of its outline ``[N, 2]``, anticlockwise, is seen from the origin."""
    count = len(outline)
    heights = np.repeat([half, -half], count)
    rim = np.column_stack([np.tile(outline, (2, 1)), heights])
    points = np.vstack([rim, [[0, 0, half], [0, 0, -half]]])
    top, bottom = 2 * count, 2 * count + 1
    faces = []
    for i in range(count):
        j = (i + 1) % count
        faces += [(top, i, j), (bottom, count + j, count + i), (i, count + i, j), (j, count + i, count + j)]
    return _mesh(name, points, faces)


def _band(name: str, outer: np.ndarray, inner: np.ndarray, half: float, *, closed: bool) -> str:
    """The band of height 2 `half` between two lines ``[N, 2]`` side by side, `inner` to the left of `outer`.

    closed: it goes on from its last points to its first.
    """
    count = len(outer)
    layers = ((outer, half), (inner, half), (inner, -half), (outer, -half))
    points = np.vstack([np.column_stack([line, np.full(count, height)]) for line, height in layers])
    faces = []
    for layer in range(4):  # the top, the inner wall, the bottom, the outer wall
        here, there = layer * count, (layer + 1) % 4 * count
        for i in range(count if closed else count - 1):
            j = (i + 1) % count
            faces += [(here + i, here + j, there + i), (there + i, here + j, there + j)]
    if not closed:
        first, last = [layer * count for layer in range(4)], [layer * count + count - 1 for layer in range(4)]
        faces += [(first[0], first[1], first[2]), (first[0], first[2], first[3])]
        faces += [(last[0], last[2], last[1]), (last[0], last[3], last[2])]
    return _mesh(name, points, faces)


def _circle(radii: np.ndarray, start: float = 0.0) -> np.ndarray:
    """Points ``[N, 2]`` all round the origin at these distances ``[N]``, the first at angle `start`."""
    angles = start + 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.column_stack([radii * np.cos(angles), radii * np.sin(angles)])


def _heart(size: float) -> np.ndarray:
    """The well-known curve of sines and cosines, 2 `size` wide."""
    t = -2 * np.pi * np.arange(28) / 28
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.column_stack([x, y + 1.5]) * size / 16


def _moon(name: str, radius: float, half: float) -> str:
    """A crescent: the band between most of a circle and a flatter curve from end to end."""
    t = np.linspace(-2.15, 2.15, 17)
    outer = np.column_stack([-np.cos(t), -np.sin(t)])
    deep = np.linspace(-1, 1, 17)
    inner = np.column_stack([outer[:, 0] + 0.75 * (1 - deep**2), 0.97 * outer[:, 1]])
    middle = np.array([-0.25, 0.0])
    return _band(name, (outer - middle) * radius, (inner - middle) * radius, half, closed=False)


_QUARTER = np.pi / 2
_MESH = 'type="mesh" mesh="{}"'
_STAR = _circle(np.tile([0.023, 0.010], 5))
_RING = (_circle(np.full(16, 0.020)), _circle(np.full(16, 0.011)))

SOLIDS: dict[str, Solid] = {
    "cube": Solid(('type="box" size="0.015 0.015 0.015"',), 0.015, 0.020, _QUARTER),
    "ball": Solid(('type="sphere" size="0.016"',), 0.016, 0.016),
    "cylinder": Solid(('type="cylinder" size="0.015 0.018"',), 0.018, 0.015),
    "brick": Solid(('type="box" size="0.025 0.0135 0.0135"',), 0.0135, 0.027, np.pi),
    "star": Solid((_MESH.format("star"),), 0.009, 0.023, mesh=_plate("star", _STAR, 0.009)),
    "ring": Solid((_MESH.format("ring"),), 0.009, 0.020, mesh=_band("ring", *_RING, 0.009, closed=True)),
    "cross": Solid(
        ('type="box" size="0.024 0.008 0.009"', 'type="box" size="0.008 0.024 0.009"'),
        0.009,
        0.025,
        _QUARTER,
    ),
    "heart": Solid((_MESH.format("heart"),), 0.009, 0.024, mesh=_plate("heart", _heart(0.024), 0.009)),
    "moon": Solid((_MESH.format("moon"),), 0.009, 0.021, mesh=_moon("moon", 0.021, 0.009)),
}
"""Kind of a movable thing -> its shape."""
