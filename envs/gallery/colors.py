"""The named colours: one table of anchors, the spread of each name, and the name of a colour that is seen."""

import colorsys
from functools import cache

import numpy as np
import numpy.typing as npt

from envs.tabletop.tasks import COLORS

__all__ = ["ANCHORS", "COLOR_NOUNS", "jittered", "lab", "nearest"]

ANCHORS: dict[str, tuple[float, float, float]] = {
    **COLORS,
    "brown": (0.40, 0.21, 0.07),
    "black": (0.05, 0.05, 0.05),
    "gray": (0.50, 0.50, 0.50),
    "teal": (0.02, 0.50, 0.50),
    "lime": (0.62, 0.95, 0.12),
    "cyan": (0.25, 0.92, 0.96),
    "magenta": (0.88, 0.05, 0.62),
    "navy": (0.03, 0.05, 0.33),
    "gold": (0.70, 0.50, 0.09),
    "beige": (0.92, 0.82, 0.64),
    "lavender": (0.73, 0.64, 0.96),
    "maroon": (0.38, 0.02, 0.10),
}
"""Colour name -> RGB in 0..1. The first eight are those of the robot's table."""

COLOR_NOUNS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ANCHORS},
    "purple": ("purple", "violet"),
    "gray": ("gray", "grey"),
}
"""Colour -> its names, the usual one first (answers use that one alone)."""


def lab(rgb: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """CIE L*a*b* of sRGB values in 0..1, ``[..., 3]``: distances in it are about as large as they look."""
    value = np.asarray(rgb, dtype=float)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@cache
def _anchors() -> npt.NDArray[np.float64]:
    return lab(list(ANCHORS.values()))


def nearest(rgb: npt.ArrayLike) -> str:
    """The name whose anchor looks most like an RGB colour in 0..1."""
    distance = np.linalg.norm(_anchors() - lab(rgb), axis=1)
    return list(ANCHORS)[int(distance.argmin())]


def jittered(name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour that bears the name: hue within 4 degrees, saturation and lightness within a few per cent."""
    hue, light, saturation = colorsys.rgb_to_hls(*ANCHORS[name])
    h, s, v = rng.uniform(-1, 1, 3)
    light = float(np.clip(light * (1 + 0.08 * v), 0.0, 1.0))
    return colorsys.hls_to_rgb(
        (hue + h * 4 / 360) % 1, light, min(1.0, max(0.0, saturation * (1 + 0.08 * s)))
    )
