"""How each named shape is made: functions without arguments that give a `Soup` in the unit ball.

Upright things stand along +z. Flat things (star, heart, letters) lie in the xy plane, thick along z, their
upper edge towards +y.
"""

import numpy as np

from envs.gallery.meshes import Points, Soup, box, extrude, joined, lathe, ribbon, torus

__all__ = ["SOLIDS"]

type Outline = list[tuple[float, float]]


def _polar(radii: Points, start: float = np.pi / 2) -> Outline:
    """A closed outline with these distances from its centre, at even angles."""
    angles = start + np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    return [(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]


def _sphere(radius: float = 1.0, height: float = 0.0, rings: int = 14, segments: int = 24) -> Soup:
    angles = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    return lathe([(radius * np.cos(a), height + radius * np.sin(a)) for a in angles], segments)


def _rod(radius: float, length: float, segments: int = 20) -> Soup:
    return lathe([(0, 0), (radius, 0), (radius, length), (0, length)], segments, sharp=True)


def _along(axis: int) -> Points:
    """The rotation that takes +z to +x (0) or +y (1)."""
    return np.array(
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]] if axis == 0 else [[1, 0, 0], [0, 0, 1], [0, -1, 0]], float
    )


def _bowl() -> Soup:
    angles = np.linspace(0.25, np.pi / 2, 7)
    outer = [(np.sin(a), 1 - 0.9 * np.cos(a)) for a in angles]
    inner = [(0.88 * r, 0.1 + 0.9 * z) for r, z in outer]
    return lathe([(0, outer[0][1]), *outer, *inner[::-1], (0, inner[0][1])], 28)


def _tray() -> Soup:
    sides = [box((0.12, 2.0, 0.3), (s * 0.94, 0, 0.15)) for s in (-1, 1)]
    ends = [box((2.0, 0.12, 0.3), (0, s * 0.94, 0.15)) for s in (-1, 1)]
    return joined(box((2.0, 2.0, 0.08), (0, 0, 0.04)), *sides, *ends)


def _heart() -> Soup:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return extrude([(float(a), float(b)) for a, b in zip(x, y, strict=True)][::-1], 9, (0, 1))


def _cross() -> Soup:
    w = 0.33
    return joined(box((2 * w, 2, 0.5)), box((2, 2 * w, 0.499)))


def _arch() -> Soup:
    angles = np.linspace(0, np.pi, 15)
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    feet = np.array([[1.0, -0.7]]), np.array([[-1.0, -0.7]])
    outer = np.concatenate([feet[0], around, feet[1]])
    scale = np.array([0.58, 1.0])
    inner = np.concatenate([feet[0] * scale, around * 0.58, feet[1] * scale])
    return ribbon(outer, inner, 0.8)


def _staircase() -> Soup:
    return joined(*(box((1, 0.5 * (i + 1), 1.6), (i, 0.25 * (i + 1), 0)) for i in range(4)))


def _mushroom() -> Soup:
    cap = [(np.cos(a), 0.9 + 0.75 * np.sin(a)) for a in np.linspace(0, np.pi / 2, 9)]
    under = lathe([(0, 0), (0.36, 0), (0.3, 0.9)], 20, sharp=True)
    return joined(under, lathe([(0, 0.9), (1, 0.9)], 24, sharp=True), lathe(cap, 24))


def _legs(half: float, height: float, thick: float) -> list[Soup]:
    places = [(x, y) for x in (-half, half) for y in (-half, half)]
    return [box((thick, thick, height), (x, y, height / 2)) for x, y in places]


def _table() -> Soup:
    return joined(box((2.2, 2.2, 0.22), (0, 0, 1.4)), *_legs(0.93, 1.35, 0.26))


def _chair() -> Soup:
    seat, back = box((1.3, 1.3, 0.2), (0, 0, 1.0)), box((1.3, 0.2, 1.3), (0, 0.55, 1.7))
    return joined(seat, back, *_legs(0.53, 0.95, 0.22))


def _tree() -> Soup:
    tiers = [
        lathe([(0, z), (r, z), (0, z + 1.1)], 20, sharp=True)
        for z, r in ((0.6, 1.0), (1.15, 0.8), (1.7, 0.6))
    ]
    return joined(_rod(0.24, 0.7), *tiers)


def _hammer() -> Soup:
    handle = _rod(0.17, 2.2).moved((0, -2.0, 0), _along(1))
    return joined(handle, box((1.5, 0.55, 0.5), (0.05, 0.25, 0)))


def _house() -> Soup:
    roof = extrude([(-1.15, 0), (1.15, 0), (0, 0.95)], 1.7, (0, 0.3))
    return joined(box((2, 1.5, 1.2), (0, 0, 0.6)), roof.moved((0, 0, 1.2), _along(1).T))


def _bottle() -> Soup:
    profile = [
        (0, 0),
        (0.6, 0),
        (0.6, 1.5),
        (0.55, 1.7),
        (0.24, 2.05),
        (0.22, 2.6),
        (0.28, 2.62),
        (0.28, 2.8),
        (0, 2.8),
    ]
    return lathe(profile, 24, sharp=True)


def _letter_t() -> Soup:
    return joined(box((2, 0.6, 0.6), (0, 0.7, 0)), box((0.6, 1.7, 0.6), (0, -0.3, 0)))


def _letter_l() -> Soup:
    return joined(box((0.6, 2.2, 0.6), (-0.5, 0, 0)), box((1.2, 0.6, 0.6), (0.3, -0.8, 0)))


def _moon() -> Soup:
    t = np.linspace(-2.2, 2.2, 21)
    outer = np.stack([-np.cos(t), -np.sin(t)], axis=1)
    deep = np.linspace(-1, 1, 21)
    inner = np.stack([outer[:, 0] + 0.55 * (1 - deep**2), outer[:, 1] * 0.97], axis=1)
    return ribbon(outer, inner, 0.5)


def _arrow() -> Soup:
    head = extrude([(-0.8, 0.2), (0.8, 0.2), (0, 1.2)], 0.5, (0, 0.5))
    return joined(head, box((0.55, 1.4, 0.5), (0, -0.45, 0)))


def _egg() -> Soup:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 15)
    return lathe([(0.72 * np.cos(a) * (1 - 0.16 * np.sin(a)), 1.05 * np.sin(a)) for a in angles], 24)


def _cup() -> Soup:
    wall = lathe([(0, 0), (0.68, 0), (0.8, 1.6), (0.68, 1.6), (0.6, 0.2), (0, 0.2)], 26, sharp=True)
    handle = torus(0.45, 0.12, 20, 8).moved((0.9, 0, 0.8), _along(1))
    return joined(wall, handle)


def _snowman() -> Soup:
    return joined(*(_sphere(r, z, 10, 18) for r, z in ((0.9, 0.0), (0.66, 1.2), (0.46, 2.1))))


def _fish() -> Soup:
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    body = extrude([(float(np.cos(a)), float(0.6 * np.sin(a))) for a in t], 0.45)
    tail = extrude([(0.75, 0.0), (1.6, -0.6), (1.6, 0.6)], 0.4, (1.3, 0))
    fin = extrude([(-0.2, 0.5), (0.5, 0.5), (0.45, 0.95)], 0.3, (0.2, 0.6))
    return joined(body, tail, fin)


def _car() -> Soup:
    wheel = lathe([(0, -0.15), (0.38, -0.15), (0.38, 0.15), (0, 0.15)], 16, sharp=True)
    wheels = [wheel.moved((x, y, 0.3), _along(1)) for x in (-0.75, 0.75) for y in (-0.62, 0.62)]
    cabin = extrude([(-0.8, 0), (0.75, 0), (0.4, 0.65), (-0.6, 0.65)], 1.1, (0, 0.3))
    turn = _along(1).T
    return joined(box((2.6, 1.25, 0.55), (0, 0, 0.6)), cabin.moved((0, 0, 0.85), turn), *wheels)


def _key() -> Soup:
    teeth = [box((0.45, 0.2, 0.3), (0.3, y, 0)) for y in (-1.3, -0.85)]
    return joined(torus(0.5, 0.2, 22, 10).moved((0, 0.8, 0)), box((0.28, 1.9, 0.3), (0, -0.6, 0)), *teeth)


def _dumbbell() -> Soup:
    rod = _rod(0.22, 2.0).moved((-1.0, 0, 0), _along(0))
    return joined(rod, *(_sphere(0.62, 0, 10, 18).moved((x, 0, 0)) for x in (-1.1, 1.1)))


def _vase() -> Soup:
    heights = np.linspace(0, 1, 12)
    radii = (
        0.34 + 0.4 * np.sin(np.pi * np.clip(heights * 1.35, 0, 1)) ** 1.2 + 0.5 * np.clip(heights - 0.8, 0, 1)
    )
    side = [(float(r), float(2.1 * z)) for r, z in zip(radii, heights, strict=True)]
    return joined(lathe(side, 24), lathe([(0.3, 2.0), (0, 2.0)][::-1], 24, sharp=True))


def _gear() -> Soup:
    return joined(extrude(_polar(np.tile([1.0, 1.0, 0.7, 0.7], 9)), 0.5))


def _flower() -> Soup:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return extrude(_polar(0.68 + 0.32 * np.abs(np.cos(2.5 * angles)) ** 0.8), 0.45)


def _ladder() -> Soup:
    rails = [box((0.22, 3.2, 0.22), (x, 0, 0)) for x in (-0.6, 0.6)]
    return joined(*rails, *(box((1.2, 0.2, 0.2), (0, y, 0)) for y in (-1.2, -0.4, 0.4, 1.2)))


def _lamp() -> Soup:
    shade = lathe([(0, 1.5), (0.95, 1.5), (0.5, 2.5), (0, 2.5)], 24, sharp=True)
    return joined(
        lathe([(0, 0), (0.7, 0), (0.6, 0.2), (0, 0.25)], 20, sharp=True), _rod(0.14, 1.6, 12), shade
    )


def _pear() -> Soup:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 17)
    side = [(0.8 * np.cos(a) * (0.78 - 0.34 * np.sin(a)) / 0.8, 1.15 * np.sin(a)) for a in angles]
    return joined(lathe(side, 24), _rod(0.07, 0.4, 8).moved((0, 0, 1.05)))


def _rocket() -> Soup:
    body = lathe([(0, 0), (0.45, 0), (0.52, 0.9), (0.5, 1.6), (0.3, 2.3), (0, 2.8)], 20)
    fin = extrude([(0.35, 0.0), (1.05, -0.35), (1.05, 0.15), (0.4, 0.95)], 0.12, (0.7, 0.15))
    upright = fin.moved((0, 0, 0), _along(1).T)
    turns = [2 * np.pi * k / 3 for k in range(3)]
    about = [np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in turns]
    return joined(body, *(upright.moved((0, 0, 0), r) for r in about))


def _capsule() -> Soup:
    angles = np.linspace(0, np.pi / 2, 7)
    top = [(0.5 * np.cos(a), 0.6 + 0.5 * np.sin(a)) for a in angles]
    return lathe([*((r, -z) for r, z in top[::-1]), *top], 22)


SOLIDS = {
    "cube": lambda: box((1, 1, 1)),
    "ball": _sphere,
    "cylinder": lambda: _rod(0.6, 1.5, 26),
    "brick": lambda: box((2.0, 1.0, 0.9)),
    "bowl": _bowl,
    "tray": _tray,
    "zone": lambda: box((2, 2, 0.06)),
    "cone": lambda: lathe([(0, 0), (0.75, 0), (0, 1.7)], 28, sharp=True),
    "pyramid": lambda: lathe([(0, 0), (1, 0), (0, 1.25)], 4),
    "ring": lambda: torus(0.75, 0.24, 28, 12),
    "cross": _cross,
    "star": lambda: extrude(_polar(np.tile([1.0, 0.42], 5)), 0.45),
    "heart": _heart,
    "capsule": _capsule,
    "disc": lambda: _rod(1.0, 0.24, 30),
    "arch": _arch,
    "staircase": _staircase,
    "mushroom": _mushroom,
    "table": _table,
    "chair": _chair,
    "tree": _tree,
    "hammer": _hammer,
    "house": _house,
    "bottle": _bottle,
    "t shape": _letter_t,
    "l shape": _letter_l,
    "moon": _moon,
    "arrow": _arrow,
    "diamond": lambda: lathe([(0, -1.1), (0.85, 0.2), (0.5, 0.6), (0, 0.6)], 6),
    "egg": _egg,
    "cup": _cup,
    "snowman": _snowman,
    "fish": _fish,
    "car": _car,
    "key": _key,
    "dumbbell": _dumbbell,
    "vase": _vase,
    "gear": _gear,
    "flower": _flower,
    "ladder": _ladder,
    "lamp": _lamp,
    "pear": _pear,
    "rocket": _rocket,
}
"""Shape -> what makes it, before it is fitted into the unit ball."""
