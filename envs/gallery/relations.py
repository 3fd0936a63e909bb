"""Where things are to each other in the picture, said only where nobody would argue.

Each relation is true, or its opposite is, or neither: then nothing is said of the pair.
"""

from collections.abc import Callable

from envs.gallery.sight import Seen

__all__ = ["OPPOSITE", "RELATIONS", "bigger", "extreme", "holds"]

type Relation = Callable[[Seen, Seen], bool]

_CLEAR = 0.1
"""Of the picture's edge: how far apart two centres must be at the least."""


def _left(a: Seen, b: Seen) -> bool:
    (ax, ay), (bx, by) = a.centre, b.centre
    return bx - ax > max(_CLEAR, 0.5 * abs(by - ay)) and a.box[2] < bx and ax < b.box[0]


def _above(a: Seen, b: Seen) -> bool:
    (ax, ay), (bx, by) = a.centre, b.centre
    return by - ay > max(_CLEAR, 0.5 * abs(bx - ax)) and a.box[3] < by and ay < b.box[1]


def _behind(a: Seen, b: Seen) -> bool:
    """Farther away, in about the same line of sight; both on the floor."""
    if not (a.grounded and b.grounded):
        return False
    aside = abs(a.centre[0] - b.centre[0])
    return aside < 0.16 and a.depth - b.depth > 0.7 * (a.radius + b.radius) and a.box[3] < b.box[3]


def bigger(a: Seen, b: Seen) -> bool:
    """Larger in the picture and in itself, plainly."""
    return a.extent > 1.8 * b.extent and a.radius > 1.15 * b.radius


RELATIONS: dict[str, Relation] = {
    "left": _left,
    "right": lambda a, b: _left(b, a),
    "above": _above,
    "below": lambda a, b: _above(b, a),
    "behind": _behind,
    "front": lambda a, b: _behind(b, a),
}
"""Name -> whether the first is so to the second."""

OPPOSITE = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "behind": "front",
    "front": "behind",
}


def holds(relation: str, a: Seen, b: Seen) -> bool:
    """Whether `a` is plainly left of, ... `b`."""
    return RELATIONS[relation](a, b)


def extreme(things: list[Seen], relation: str) -> Seen | None:
    """The leftmost (rightmost, highest, lowest) of several, if it is so by a clear margin."""
    axis, sign = {"left": (0, 1), "right": (0, -1), "above": (1, 1), "below": (1, -1)}[relation]
    order = sorted(things, key=lambda t: sign * t.centre[axis])
    if len(order) < 2 or sign * (order[1].centre[axis] - order[0].centre[axis]) < _CLEAR:
        return None
    return order[0]
