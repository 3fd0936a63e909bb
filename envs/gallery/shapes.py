"""The named shapes: their nouns, how each may stand, and from where each can be recognised.

A cube seen straight on is a square and a star seen edge on a bar; such views would make a text untrue for
everybody who only sees the picture. So each shape has a rule over the direction towards the camera in the
shape's own frame, and a pose that breaks it is never drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from envs.gallery.meshes import Points, Soup
from envs.gallery.solids import SOLIDS

__all__ = ["FLAT_TOPS", "SHAPES", "Shape", "plural", "soup", "vertices"]

type Rule = Callable[[float, float, float], bool]


@dataclass(frozen=True)
class Shape:
    """nouns: the usual one first (answers use that one alone). seen: whether the shape can be told from the
    direction (x, y, z), a unit vector towards the camera in the shape's frame. stands: which of its axes may
    point up when it rests on the floor. stretch: how far its proportions may vary. roll: degrees by which it
    may be turned in the picture when it floats; None for any. up: the axis that is up in a picture of it."""

    nouns: tuple[str, ...]
    seen: Rule
    stands: str = "z"
    stretch: float = 0.12
    roll: float | None = None
    up: str = "z"


def _second(x: float, y: float, z: float) -> float:
    return sorted((abs(x), abs(y), abs(z)))[1]


def _height(low: float, high: float) -> Rule:
    """The camera's height over the shape's own horizon, as a sine, within bounds."""
    return lambda x, y, z: low <= z <= high


def _side(most: float) -> Rule:
    return lambda x, y, z: abs(z) <= most


def _face(least: float) -> Rule:
    return lambda x, y, z: abs(z) >= least


_ANY: Rule = lambda x, y, z: True  # noqa: E731

SHAPES: dict[str, Shape] = {
    "cube": Shape(("cube", "block", "box"), lambda x, y, z: _second(x, y, z) > 0.3, stretch=0.04),
    "ball": Shape(("ball", "sphere"), _ANY, stretch=0.0),
    "cylinder": Shape(("cylinder", "can"), lambda x, y, z: 0.15 < abs(z) < 0.82),
    "brick": Shape(("brick", "bar"), lambda x, y, z: abs(x) < 0.7 and _second(x, y, z) > 0.25, stands="zyx"),
    "bowl": Shape(("bowl", "dish"), _height(0.3, 0.95)),
    "tray": Shape(("tray", "plate"), _height(0.35, 1.0)),
    "zone": Shape(("zone", "area", "square", "patch"), _height(0.4, 1.0), stretch=0.05),
    "cone": Shape(("cone",), _height(-0.2, 0.65)),
    "pyramid": Shape(("pyramid",), _height(-0.15, 0.7)),
    "ring": Shape(("ring", "donut"), _face(0.5), stands="yz", stretch=0.05, up="y"),
    "cross": Shape(("cross", "plus"), _face(0.6), stands="yz", stretch=0.05, up="y"),
    "star": Shape(("star",), _face(0.6), stands="yz", up="y"),
    "heart": Shape(("heart",), _face(0.6), stands="yz", up="y"),
    "capsule": Shape(("capsule", "pill"), _side(0.75), stands="zx"),
    "disc": Shape(("disc", "coin"), lambda x, y, z: 0.4 < abs(z) < 0.92, stands="zy", stretch=0.05),
    "arch": Shape(("arch", "bridge"), _face(0.55), stands="y", up="y"),
    "staircase": Shape(
        ("staircase",), lambda x, y, z: abs(z) > 0.4 and y > -0.1, stands="y", roll=40.0, up="y"
    ),
    "mushroom": Shape(("mushroom",), _height(-0.25, 0.6)),
    "table": Shape(("table", "desk"), _height(0.05, 0.65), roll=60.0),
    "chair": Shape(("chair", "seat"), _height(0.0, 0.65), roll=60.0),
    "tree": Shape(("tree", "fir"), _height(-0.1, 0.55)),
    "hammer": Shape(("hammer",), _face(0.6), stands="z", up="y"),
    "house": Shape(
        ("house", "hut"), lambda x, y, z: -0.05 < z < 0.6 and abs(y) > 0.35, roll=60.0, stretch=0.15
    ),
    "bottle": Shape(("bottle",), _side(0.65), stands="zx"),
    "t shape": Shape(("t shape",), _face(0.65), stands="yz", roll=35.0, up="y"),
    "l shape": Shape(("l shape",), lambda x, y, z: z > 0.65, stands="yz", roll=35.0, up="y"),
    "moon": Shape(("moon", "crescent"), _face(0.6), stands="z", up="y"),
    "arrow": Shape(("arrow",), _face(0.6), stands="z", up="y"),
    "diamond": Shape(("diamond", "gem"), _side(0.5)),
    "egg": Shape(("egg",), _side(0.55), stands="zx", stretch=0.05),
    "cup": Shape(("cup", "mug"), lambda x, y, z: 0.1 < z < 0.75 and abs(y) > 0.4),
    "snowman": Shape(("snowman",), _height(-0.2, 0.5)),
    "fish": Shape(("fish",), _face(0.65), stands="yz", up="y"),
    "car": Shape(("car",), lambda x, y, z: abs(y) > 0.5 and 0.0 < z < 0.6, roll=60.0),
    "key": Shape(("key",), _face(0.6), stands="z", stretch=0.05, up="y"),
    "dumbbell": Shape(("dumbbell", "barbell"), lambda x, y, z: abs(x) < 0.65),
    "vase": Shape(("vase", "jar"), _side(0.55)),
    "gear": Shape(("gear", "cog"), _face(0.6), stands="yz", stretch=0.05, up="y"),
    "flower": Shape(("flower",), _face(0.6), stands="yz", stretch=0.05, up="y"),
    "ladder": Shape(("ladder",), _face(0.55), stands="yz", up="y"),
    "lamp": Shape(("lamp",), _height(-0.3, 0.5)),
    "pear": Shape(("pear",), _side(0.5)),
    "rocket": Shape(("rocket",), _side(0.55)),
}

FLAT_TOPS = ("cube", "brick", "cylinder", "table", "disc")
"""Shapes that another thing can stand upon."""

_PLURALS = {"fish": "fish", "snowman": "snowmen"}


def plural(noun: str) -> str:
    """More than one of them."""
    return _PLURALS.get(noun, noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s"))


@cache
def soup(shape: str) -> Soup:
    """The shape's triangles, fitted into the unit ball."""
    return SOLIDS[shape]().fitted()


@cache
def vertices(shape: str) -> Points:
    """The shape's distinct corners, float64 ``[V, 3]``: enough to find where it rests and what it covers."""
    return np.unique(np.round(soup(shape).corners.reshape(-1, 3), 6), axis=0)
