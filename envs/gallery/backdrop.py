"""Where the things are: floors, walls, skies, lamps and cameras, never those of the robot's table."""

from functools import cache

import numpy as np
import numpy.typing as npt

from envs.gallery.colors import ANCHORS, jittered, lab
from envs.gallery.mjcf import REPEATS
from envs.gallery.scene import RGB, Lamps, Sky, Surface, View
from envs.gallery.textures import MATERIALS, PATTERNS

__all__ = ["DULL", "lamps", "looking", "sky", "surface"]

type Array = npt.NDArray[np.float64]

DULL = ("gray", "beige", "brown", "black")
"""No plain floor has these colours: the robot's table stands in their midst."""

_UNLIKE = 28.0
"""Distance in Lab that keeps a thing off its background."""
_PATTERNED = tuple(texture for textures in PATTERNS.values() for texture in textures)
_NEAR = {
    "wooden": ("brown", "gold", "beige", "orange", "maroon"),
    "grass": ("green", "lime"),
    "brick": ("maroon", "brown", "red", "orange", "beige"),
    "sand": ("beige", "gold", "brown"),
    "tiled": (),
}
"""Colours that are lost on a material."""


def looking(place: Array, target: Array, roll: float, fov: float) -> View:
    """A camera at `place` that looks at `target`, turned by `roll` radians about its own axis."""
    forward = (target - place) / np.linalg.norm(target - place)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    c, s = np.cos(roll), np.sin(roll)
    return View(place, np.stack([c * right + s * up, c * up - s * right, forward]), fov)


def _gaps(rgb: npt.ArrayLike, items: list[str]) -> Array:
    """How unlike the nearest of the items' colours each of ``[N, 3]`` is, in Lab; ``[N]``."""
    shades = _shades()[[list(ANCHORS).index(c) for c in items]]
    return np.asarray(np.linalg.norm(lab(rgb)[:, None] - shades[None], axis=2).min(axis=1))


@cache
def _shades() -> Array:
    return lab(list(ANCHORS.values()))


def surface(rng: np.random.Generator, items: list[str], colors: tuple[str, ...], wall: bool) -> Surface:
    """A floor or wall on which things of these colours stand out.

    Named by its colour (one of `colors`) or its material; where chance finds none, a tint without a name.
    """
    turn = 0.0 if wall else float(rng.uniform(-np.pi, np.pi))
    repeat = int(rng.choice(REPEATS))
    texture = _PATTERNED[rng.integers(len(_PATTERNED))] if rng.random() < 0.35 else ""
    kind = rng.random()
    if kind < 0.3:
        free = [m for m, lost in _NEAR.items() if not any(c in lost for c in items)]
        material = free[rng.integers(len(free))]
        if material != "tiled" and not (wall and material in ("grass", "sand")):
            choices = MATERIALS[material]
            return Surface(material, (1.0, 1.0, 1.0), choices[rng.integers(len(choices))], turn, repeat)
        texture, repeat = MATERIALS["tiled"][rng.integers(2)], REPEATS[-1]
    elif kind < 0.78:
        unlike = dict(zip(ANCHORS, _gaps(list(ANCHORS.values()), items) > _UNLIKE, strict=True))
        options = [c for c in colors if unlike[c] and c not in DULL]
        if options:
            name = options[rng.integers(len(options))]
            return Surface(name, jittered(name, rng), texture, turn, repeat)
    tints = rng.uniform(0.3, 1.0, (24, 3))
    best = tints[(np.minimum(_gaps(tints, items), _UNLIKE) * (np.ptp(tints, axis=1) > 0.25)).argmax()]
    return Surface("", tuple(best.tolist()), texture, turn, repeat)


def sky(rng: np.random.Generator, items: list[str]) -> Sky:
    """A gradient from which things of these colours stand out as well as chance allows."""
    best: tuple[float, RGB, RGB] | None = None
    for _ in range(8):
        if rng.random() < 0.35:  # what skies look like
            top = np.array([0.25, 0.5, 0.9]) + rng.uniform(-0.15, 0.15, 3)
            bottom = np.array([0.75, 0.85, 0.95]) + rng.uniform(-0.1, 0.1, 3)
        else:
            top = rng.random(3)
            top += (top - top.mean()) * max(0.0, 0.12 / max(float(top.std()), 1e-3) - 1)  # never plain grey
            bottom = np.clip(top + rng.uniform(-0.35, 0.35, 3), 0, 1)
        gap = float(_gaps(np.clip([top, (top + bottom) / 2, bottom], 0, 1), items).min())
        if best is None or gap > best[0]:
            best = gap, tuple(top.tolist()), tuple(bottom.tolist())
        if gap > _UNLIKE:
            break
    assert best is not None
    return Sky(best[1], best[2], float(rng.uniform(-1.0, 1.0)), float(rng.choice([0.0, 0.01, 0.03])))


def lamps(view: View, rng: np.random.Generator) -> Lamps:
    """A strong lamp from above, on the camera's side, and a weak one from anywhere; nearly white.

    What faces a lamp shows its own colour: names like navy and blue differ in lightness alone.
    """
    ahead = np.arctan2(view.axes[2, 1], view.axes[2, 0])
    way, steep = ahead + rng.uniform(-1.3, 1.3), rng.uniform(0.5, 1.3)
    strong = [np.cos(way) * np.cos(steep), np.sin(way) * np.cos(steep), -np.sin(steep)]
    weak = rng.standard_normal(3)
    ambient, head = rng.uniform(0.52, 0.6), rng.uniform(0.26, 0.36)
    strength = np.array([rng.uniform(0.2, 0.36), rng.uniform(0.0, 0.12)])
    colors = strength[:, None] * (1 + rng.uniform(-0.04, 0.04, (2, 3)))
    return Lamps(float(ambient), float(head), np.array([strong, weak / np.linalg.norm(weak)]), colors)
