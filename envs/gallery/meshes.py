"""Solids made of triangles: lathes, extrusions, boxes and rings, as triangle soups with normals.

A soup repeats a corner for every triangle that it belongs to, so that each triangle can have its own normal
(sharp edges) or its neighbours' (round sides), and its own place on a flat texture.

Shapes: T triangles, P points of an outline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Soup", "box", "extrude", "joined", "lathe", "ribbon", "torus"]

type Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Soup:
    """corners: float64 ``[T, 3, 3]``, anticlockwise from outside. normals: float64 ``[T, 3, 3]``, unit."""

    corners: Points
    normals: Points

    def moved(self, by: Sequence[float] = (0, 0, 0), turn: Points | None = None) -> "Soup":
        """Turned by a rotation matrix about the origin, then shifted."""
        rotation = np.eye(3) if turn is None else turn
        return Soup(self.corners @ rotation.T + np.asarray(by), self.normals @ rotation.T)

    def fitted(self) -> "Soup":
        """Centred on the middle of its bounds and scaled into the unit ball (farthest corner at 1)."""
        flat = self.corners.reshape(-1, 3)
        centre = (flat.min(axis=0) + flat.max(axis=0)) / 2
        size = np.linalg.norm(flat - centre, axis=1).max()
        return Soup((self.corners - centre) / size, self.normals)


def joined(*parts: Soup) -> Soup:
    """Several solids as one."""
    return Soup(np.concatenate([p.corners for p in parts]), np.concatenate([p.normals for p in parts]))


def _flat(corners: Points) -> Soup:
    """Every triangle with its own normal; triangles without area are left out."""
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(across, axis=1, keepdims=True)
    solid = length[:, 0] > 1e-9
    normals = np.repeat((across[solid] / length[solid])[:, None], 3, axis=1)
    return Soup(corners[solid], normals)


def _quads(a: Points, b: Points, c: Points, d: Points) -> Points:
    """Two triangles for each four corners ``[N, 3]`` given anticlockwise."""
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def box(size: Sequence[float], centre: Sequence[float] = (0, 0, 0)) -> Soup:
    """A box of full edge lengths `size`."""
    half = np.asarray(size) / 2
    faces = []
    for axis in range(3):
        for side in (-1.0, 1.0):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            if side < 0:
                u, v = v, u
            middle = side * np.eye(3)[axis]
            faces.append([middle - u - v, middle + u - v, middle + u + v, middle - u + v])
    a, b, c, d = np.moveaxis(np.array(faces), 1, 0) * half + np.asarray(centre)
    return _flat(_quads(a, b, c, d))


def lathe(profile: Sequence[tuple[float, float]], segments: int = 24, sharp: bool = False) -> Soup:
    """A profile of (radius, height) from bottom to top, turned about z; outside is on its right going up.

    sharp: corners of the profile are edges; otherwise the sides are smooth along it. `segments` below 8 give
    a solid with flat sides.
    """
    outline = np.asarray(profile, dtype=float)
    angles = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.concatenate(
        [
            outline[:, None, :1] * ring[None],
            np.broadcast_to(outline[:, None, 1:], (len(outline), segments + 1, 1)),
        ],
        axis=2,
    )
    low, high = points[:-1], points[1:]
    corners = _quads(
        *(q.reshape(-1, 3) for q in (low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1])),
    )
    if segments < 8:
        return _flat(corners)
    # The normal of a surface of revolution: the profile's own, turned with it.
    step = np.diff(outline, axis=0)
    piece = np.stack([step[:, 1], -step[:, 0]], axis=1)
    piece /= np.maximum(np.linalg.norm(piece, axis=1, keepdims=True), 1e-12)
    if sharp:
        below, above = piece, piece
    else:
        point = np.concatenate([piece[:1], piece[:-1] + piece[1:], piece[-1:]])
        point /= np.maximum(np.linalg.norm(point, axis=1, keepdims=True), 1e-12)
        below, above = point[:-1], point[1:]

    def turned(normal: Points, columns: slice) -> Points:
        around = ring[columns]
        out = np.empty((len(normal), len(around), 3))
        out[..., :2] = normal[:, None, :1] * around[None]
        out[..., 2] = normal[:, None, 1]
        return out.reshape(-1, 3)

    first, last = slice(None, -1), slice(1, None)
    normals = _quads(turned(below, first), turned(below, last), turned(above, last), turned(above, first))
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Soup(corners[area > 1e-9], normals[area > 1e-9])


def extrude(
    outline: Sequence[tuple[float, float]], depth: float, heart: tuple[float, float] = (0, 0)
) -> Soup:
    """An outline in the xy plane (anticlockwise), `depth` thick along z.

    heart: a point inside from which every point of the outline can be seen; the two faces are fans about it.
    """
    edge = np.asarray(outline, dtype=float)
    after = np.roll(edge, -1, axis=0)
    middle = np.broadcast_to(np.asarray(heart, dtype=float), edge.shape)

    def at(points: Points, height: float) -> Points:
        return np.concatenate([points, np.full((len(points), 1), height)], axis=1)

    half = depth / 2
    top = np.stack([at(middle, half), at(edge, half), at(after, half)], axis=1)
    bottom = np.stack([at(middle, -half), at(after, -half), at(edge, -half)], axis=1)
    sides = _quads(at(edge, -half), at(after, -half), at(after, half), at(edge, half))
    return _flat(np.concatenate([top, bottom, sides]))


def ribbon(outer: Points, inner: Points, depth: float) -> Soup:
    """The strip between two outlines ``[P, 2]`` that run alongside each other, `depth` thick along z.

    Anticlockwise about the strip's inside: along `outer` forwards, along `inner` backwards.
    """
    loops = []
    for i in range(len(outer) - 1):
        quad = [outer[i], outer[i + 1], inner[i + 1], inner[i]]
        loops.append(extrude([(x, y) for x, y in quad], depth, tuple(np.mean(quad, axis=0))))
    return joined(*loops)


def torus(radius: float, tube: float, segments: int = 24, sides: int = 12) -> Soup:
    """A ring about z."""
    angles = np.linspace(-np.pi, np.pi, sides + 1)
    return lathe([(radius + tube * np.cos(a), tube * np.sin(a)) for a in angles], segments)
