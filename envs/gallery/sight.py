"""What can truly be said to be seen: the things of a picture that show enough of themselves.

A text about a thing that is half hidden, or whose light makes its navy look black, teaches a lie. So after
drawing, the segments are measured; a thing that shows too little of itself, or whose pixels do not bear its
colour's name, is taken out and the picture drawn again, until everything in it can be spoken of.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from envs.gallery.colors import ANCHORS, nearest
from envs.gallery.scene import GalleryScene, Surface
from envs.gallery.studio import FLOOR, WALL, Studio

__all__ = ["Seen", "Sight", "look", "perceived"]

type Image = npt.NDArray[np.uint8]

_LEAST = 0.0028
"""Share of the picture that a thing must cover to be recognised: 26 pixels of 96 x 96."""
_SHOWN = 0.65
"""Share of what it would cover alone that must be seen."""
_DARK = ("black", "navy", "maroon", "brown", "purple")
"""Colours on which no pattern can be made out."""


@dataclass(frozen=True)
class Seen:
    """One thing as the picture shows it. box: its pixels' bounds (left, top, right, bottom) in 0..1. pattern:
    the word for it, "plain", or "" where it cannot be told. depth: from the camera. radius: its own size.
    on: number of the thing beneath it. grounded: it rests on the floor."""

    number: int
    shape: str
    color: str
    pattern: str
    box: tuple[float, float, float, float]
    depth: float
    radius: float
    on: int | None
    grounded: bool

    @property
    def centre(self) -> tuple[float, float]:
        """Of its box, (x, y)."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def extent(self) -> float:
        """Area of its box, as a share of the picture."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class Sight:
    """image uint8 ``[S, S, 3]``; shown ``[S, S]`` as `Studio.draw` numbers it; things in the order of the
    scene's items. floor, wall: their words, "" if they cannot be named or hardly show."""

    image: Image
    shown: Image
    things: tuple[Seen, ...]
    floor: str
    wall: str
    standing: bool
    scene: GalleryScene


def perceived(pixels: npt.NDArray[np.uint8]) -> str:
    """The colour name that pixels ``[N, 3]`` of one thing bear, judged by its lit part without highlights."""
    bright = pixels.sum(axis=1, dtype=np.int64).argsort()
    lit = pixels[bright[int(0.6 * len(bright)) : max(1, int(0.95 * len(bright)))]]
    return nearest(np.median(lit if len(lit) else pixels, axis=0) / 255)


def look(studio: Studio, scene: GalleryScene) -> Sight | None:
    """Draw a scene without the things that cannot be made out; None if nothing is left."""
    while scene.items:
        image, shown = studio.draw(scene)
        touched = _touched(shown, len(scene.items))
        things = [_measure(studio, scene, (image, shown), i, i in touched) for i in range(len(scene.items))]
        good = [t for t in things if t is not None]
        if len(good) == len(things):
            floor = _words(scene.floor, image[shown == FLOOR], shown.size)
            wall = _words(scene.wall, image[shown == WALL], shown.size)
            return Sight(image, shown, tuple(good), floor, wall, scene.standing, scene)
        scene = _only(scene, {t.number for t in good})
    return None


def _words(surface: Surface | None, pixels: Image, whole: int) -> str:
    """The name of a floor or wall, if it has one, shows it, and fills a fifth of the picture."""
    if surface is None or len(pixels) < 0.2 * whole:
        return ""
    return surface.words if surface.words not in ANCHORS or perceived(pixels) == surface.words else ""


def _touched(shown: Image, count: int) -> set[int]:
    """The items whose pixels lie beside another's: only they can be partly hidden by it."""
    found: set[int] = set()
    for one, two in ((shown[1:], shown[:-1]), (shown[:, 1:], shown[:, :-1])):
        border = (one != two) & (one < count) & (two < count)
        found |= set(one[border].tolist()) | set(two[border].tolist())
    return found


def _measure(
    studio: Studio, scene: GalleryScene, drawn: tuple[Image, Image], number: int, touched: bool
) -> Seen | None:
    image, shown = drawn
    mask = shown == number
    area = int(np.count_nonzero(mask))
    if area < _LEAST * mask.size:
        return None
    item = scene.items[number]
    if perceived(image[mask]) != item.color:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    left, top, right, bottom = (float(edge) / len(mask) for edge in edges)
    if touched and area < _SHOWN * studio.alone(scene, number):
        return None
    pattern = item.pattern or ("" if item.texture else "plain")
    if item.pattern and (item.color in _DARK or max(right - left, bottom - top) < 0.22):
        pattern = ""
    depth = float(scene.view.axes[2] @ (item.place - scene.view.place))
    box = (left, top, right, bottom)
    grounded = scene.standing and item.on is None
    return Seen(number, item.shape, item.color, pattern, box, depth, item.radius, item.on, grounded)


def _only(scene: GalleryScene, keep: set[int]) -> GalleryScene:
    """Without the other items and whatever stands on them."""
    chosen = [i for i in sorted(keep) if scene.items[i].on is None or scene.items[i].on in keep]
    numbers = {old: new for new, old in enumerate(chosen)}
    items = (scene.items[i] for i in chosen)
    moved = (replace(item, on=None if item.on is None else numbers[item.on]) for item in items)
    return replace(scene, items=tuple(moved))
