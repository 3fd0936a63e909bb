"""Drawing scenes: from random numbers to things that can all be told apart."""

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from envs.gallery.backdrop import lamps, looking, sky, surface
from envs.gallery.colors import jittered
from envs.gallery.limits import Limits
from envs.gallery.poses import apart, floating_turn, resting, standing_turn
from envs.gallery.scene import GalleryScene, Item, View
from envs.gallery.shapes import FLAT_TOPS, SHAPES
from envs.gallery.textures import PATTERNS

__all__ = ["sample_scene"]

type Array = npt.NDArray[np.float64]
type Bounds = tuple[float, float, float, float]

_COUNTS = (0.15, 0.13, 0.12, 0.13, 0.14, 0.16, 0.17)
"""How often a picture is meant to have 1, 2, ... 7 things; some find no room."""
_TRIES = 10
_INSIDE = 0.85
"""Share of a thing's bounds that must lie in the picture, across and down."""
_COVERED = 0.3
"""Share of a thing's bounds that another's may cover, unless one stands on the other."""


def sample_scene(rng: Generator, limits: Limits) -> GalleryScene:
    """A scene with 1 to 7 things, standing on a floor or floating before a floor, a wall or the sky."""
    names = _names(1 + int(rng.choice(7, p=_COUNTS)), rng, limits)
    standing, floored, walled = rng.random(3) < (0.55, 0.4, 0.4)
    items: list[Item] = []
    bounds: list[Bounds] = []
    while not items:
        view = _view(standing, rng)
        size = np.exp(rng.uniform(np.log(0.14 if rng.random() < 0.25 else 0.22), np.log(_widest(len(names)))))
        for name in names:
            for _ in range(_TRIES):
                item = _new(name, size, items, view, standing=bool(standing), rng=rng)
                if item is not None and _fits(item, items, bounds, view, floored and not standing):
                    items.append(item)
                    break
    colors = [item.color for item in items]
    ahead = view.axes[2, :2] / np.linalg.norm(view.axes[2, :2])
    farthest = max(float(((i.points - view.place)[:, :2] @ ahead).max()) for i in items)
    return GalleryScene(
        tuple(items),
        view,
        lamps(view, rng),
        sky(rng, colors),
        surface(rng, colors, limits.colors, wall=False) if standing or floored else None,
        surface(rng, colors, limits.colors, wall=True) if walled else None,
        wall_distance=farthest + float(rng.uniform(0.5, 8.0)),
        standing=bool(standing),
        shadows=bool(standing and rng.random() < 0.6),
    )


def _widest(count: int) -> float:
    """The largest share of the picture that each of so many things is given."""
    return min(0.95, 1.05 / count**0.55)


def _names(count: int, rng: Generator, limits: Limits) -> list[tuple[str, str]]:
    """(shape, colour) of each thing. Often several share a shape or a colour, so that there is something to
    count, and to confuse."""
    shape, color = (names[rng.integers(len(names))] for names in (limits.shapes, limits.colors))
    alike = float(rng.choice([0.0, 0.3, 0.8]))
    by_shape = rng.random() < 0.5
    found: list[tuple[str, str]] = []
    while len(found) < count:
        new = [names[rng.integers(len(names))] for names in (limits.shapes, limits.colors)]
        if rng.random() < alike:
            new[not by_shape] = (shape, color)[not by_shape]
        if limits.allows(*new):
            found.append((new[0], new[1]))
        elif rng.random() < 0.2:  # every thing of the common shape or colour may be withheld
            alike = 0.0
    return found


def _view(standing: bool, rng: Generator) -> View:
    """A camera about six units from the middle of the things."""
    target = np.array([0.0, 0.0, 0.3 if standing else 3.0]) + rng.uniform(-0.3, 0.3, 3)
    height = np.deg2rad(rng.uniform(14, 68) if standing else rng.uniform(-25, 55))
    way, distance = rng.uniform(-np.pi, np.pi), rng.uniform(5, 7)
    offset = [np.cos(way) * np.cos(height), np.sin(way) * np.cos(height), np.sin(height)]
    roll = np.deg2rad(rng.uniform(-12, 12)) if rng.random() < 0.4 else 0.0
    return looking(target + distance * np.array(offset), target, roll, float(rng.uniform(24, 70)))


def _new(
    name: tuple[str, str], size: float, items: list[Item], view: View, *, standing: bool, rng: Generator
) -> Item | None:
    """A thing somewhere in the picture; its radius is about `size` of the picture's half width."""
    shape, color = name
    on = _pedestal(items, rng) if standing else None
    x, y = rng.uniform(0.09, 0.91, 2)
    radius = size * 6.0 * view.reach * np.exp(rng.uniform(-0.45, 0.45))
    lean = float(rng.uniform(0.1, 0.4)) if rng.random() < 0.15 else 0.0
    ray = view.ray(x, y)
    if on is not None:
        place = items[on].place
        top = items[on].points
        # As wide as the top at most, or it would seem to float.
        radius = min(radius, 0.9 * float(np.abs(items[on].frame[:2]).sum(axis=1).min()) + 0.05 * radius)
        turn = standing_turn(shape, place, view, 0.0, rng)
    elif standing:
        if ray[2] > -0.08:
            return None
        place = view.place - ray * (view.place[2] / ray[2])
        turn = standing_turn(shape, place, view, lean, rng)
    else:
        place = view.place + ray * rng.uniform(4.0, 9.0)
        turn = floating_turn(shape, place, view, rng)
    if turn is None:
        return None
    stretch = 1 + rng.uniform(-1, 1, 3) * SHAPES[shape].stretch
    frame = turn * (radius * stretch / stretch.max())
    if on is not None:
        place = resting(shape, frame, place[0], place[1], float(top[:, 2].max()))
    elif standing:
        place = resting(shape, frame, place[0], place[1], 0.0)
    pattern, texture = _texture(rng)
    shine = float(rng.choice([0.0, 0.15, 0.8]))
    return Item(shape, color, jittered(color, rng), place, frame, texture, pattern, shine, on)


def _pedestal(items: list[Item], rng: Generator) -> int | None:
    """Sometimes the number of a thing with a flat top, upright, on which nothing stands yet."""
    taken = {item.on for item in items}
    free = [
        i
        for i, item in enumerate(items)
        if item.shape in FLAT_TOPS and item.on is None and i not in taken and _upright(item)
    ]
    return free[rng.integers(len(free))] if free and rng.random() < 0.5 else None


def _upright(item: Item) -> bool:
    return float(item.frame[2, 2]) > 0.999 * float(np.linalg.norm(item.frame[:, 2]))


def _texture(rng: Generator) -> tuple[str, str]:
    """The word for a pattern, or "", and its texture, or ""."""
    if rng.random() < 0.55:
        return "", ""
    pattern = list(PATTERNS)[rng.integers(len(PATTERNS))]
    texture = PATTERNS[pattern][rng.integers(len(PATTERNS[pattern]))]
    return ("" if pattern == "rough" else pattern), texture


def _bounds(item: Item, view: View) -> Bounds | None:
    """Left, top, right, bottom in the picture; None behind the camera."""
    places, depths = view.project(item.points)
    if depths.min() < 0.4:
        return None
    (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _fits(item: Item, items: list[Item], bounds: list[Bounds], view: View, floored: bool) -> bool:
    """Whether enough of a new thing, and of those before it, would be seen, and solids stay apart.

    If so its bounds are added to those of the others.
    """
    if floored and item.points[:, 2].min() < 0.1:
        return False
    here = _bounds(item, view)
    if (
        here is None
        or min(_share(here, (0, 0, 1, 1))) < _INSIDE
        or max(here[2] - here[0], here[3] - here[1]) < 0.08
    ):
        return False
    if not apart(item, [other for i, other in enumerate(items) if i != item.on]):
        return False
    for i, there in enumerate(bounds):
        over, under = (a * b for a, b in (_share(here, there), _share(there, here)))
        if i != item.on and max(over, under) > _COVERED:
            return False
    bounds.append(here)
    return True


def _share(one: Bounds, two: Bounds) -> tuple[float, float]:
    """Shares of the width and of the height of `one` that lie within `two`."""
    across = min(one[2], two[2]) - max(one[0], two[0])
    down = min(one[3], two[3]) - max(one[1], two[1])
    return max(0.0, across) / (one[2] - one[0]), max(0.0, down) / (one[3] - one[1])
