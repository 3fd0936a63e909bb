"""Procedural textures: grey patterns that tint any colour without hiding its name, and a few materials.

Every texture is uint8 ``[SIDE, SIDE, 3]``, repeats without a seam, and is drawn from a fixed seed.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["MATERIALS", "PATTERNS", "SIDE", "TEXTURES", "picture"]

SIDE = 64
"""Texels; a texture covers one unit of a shape of radius 1, or one tile of a floor."""

type Grey = npt.NDArray[np.float64]

_U, _V = np.meshgrid(np.arange(SIDE) / SIDE, np.arange(SIDE) / SIDE)


def _noise(seed: int, cells: int, octaves: int = 3) -> Grey:
    """Smooth seamless noise in 0..1: sums of waves that fit the tile."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIDE, SIDE))
    for octave in range(octaves):
        for _ in range(6):
            fx, fy = rng.integers(-cells * 2**octave, cells * 2**octave + 1, 2)
            total += np.sin(2 * np.pi * (fx * _U + fy * _V + rng.random())) / 2**octave
    return (total - total.min()) / np.ptp(total)


def _checker(count: int) -> Grey:
    return ((np.floor(_U * count) + np.floor(_V * count)) % 2).astype(float)


def _stripes(count: int, along: str) -> Grey:
    place = {"u": _U, "v": _V, "d": _U + _V}[along]
    return (np.floor(place * 2 * count) % 2).astype(float)


def _dots(count: int) -> Grey:
    x, y = (_U * count) % 1 - 0.5, (_V * count) % 1 - 0.5
    return (np.hypot(x, y) > 0.3).astype(float)


def _speckle(seed: int) -> Grey:
    grain = np.random.default_rng(seed).random((SIDE // 2, SIDE // 2)).repeat(2, 0).repeat(2, 1)
    return (grain > 0.3).astype(float)


def _tiles(count: int, joint: float) -> Grey:
    return (np.minimum((_U * count) % 1, (_V * count) % 1) > joint).astype(float)


def _bricks() -> Grey:
    row = np.floor(_V * 4)
    across = (_U * 2 + 0.5 * (row % 2)) % 1
    return ((across > 0.06) & ((_V * 4) % 1 > 0.12)).astype(float)


def _planks(seed: int) -> Grey:
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (10 * _U + 0.25 * np.sin(2 * np.pi * _V) + _noise(seed, 2)))
    joint = ((_U * 4) % 1 > 0.07).astype(float)
    shade = np.array([0.75, 1.0, 0.85, 0.92])[(np.floor(_U * 4).astype(int)) % 4]
    return joint * shade * (0.8 + 0.2 * grain)


def _tint(low: float, grey: Grey) -> Callable[[], npt.NDArray[np.uint8]]:
    """White where the pattern is 1, `low` grey where it is 0."""
    return lambda: np.repeat((255 * (low + (1 - low) * grey))[..., None], 3, axis=2).astype(np.uint8)


def _blend(
    dark: tuple[int, int, int], light: tuple[int, int, int], grey: Grey
) -> Callable[[], npt.NDArray[np.uint8]]:
    return lambda: (np.array(dark) + (np.array(light) - np.array(dark)) * grey[..., None]).astype(np.uint8)


PATTERNS: dict[str, tuple[str, ...]] = {
    "striped": ("stripes2", "stripes3", "bands2", "bands3", "diagonal"),
    "checkered": ("checker2", "checker4"),
    "dotted": ("dots2", "dots3"),
    "rough": ("speckle", "marble", "grain"),
}
"""Pattern -> its textures. "rough" is never spoken of."""

MATERIALS: dict[str, tuple[str, ...]] = {
    "wooden": ("oak", "pine", "walnut"),
    "grass": ("meadow", "lawn"),
    "brick": ("bricks",),
    "tiled": ("tiles1", "tiles2"),
    "sand": ("sand",),
}
"""Material of a floor or a wall -> its textures, with colours of their own (tiles are tinted)."""

TEXTURES: dict[str, Callable[[], npt.NDArray[np.uint8]]] = {
    "stripes2": _tint(0.6, _stripes(2, "u")),
    "stripes3": _tint(0.6, _stripes(3, "u")),
    "bands2": _tint(0.6, _stripes(2, "v")),
    "bands3": _tint(0.6, _stripes(3, "v")),
    "diagonal": _tint(0.6, _stripes(2, "d")),
    "checker2": _tint(0.6, _checker(2)),
    "checker4": _tint(0.6, _checker(4)),
    "dots2": _tint(0.6, _dots(2)),
    "dots3": _tint(0.6, _dots(3)),
    "speckle": _tint(0.75, _speckle(1)),
    "marble": _tint(0.7, _noise(2, 2)),
    "grain": _tint(0.75, _noise(3, 6, 1)),
    "oak": _blend((92, 58, 30), (196, 146, 92), _planks(4)),
    "pine": _blend((150, 108, 62), (232, 196, 140), _planks(5)),
    "walnut": _blend((46, 28, 18), (120, 78, 50), _planks(6)),
    "meadow": _blend((30, 72, 22), (110, 168, 66), _noise(7, 6)),
    "lawn": _blend((44, 96, 30), (92, 150, 54), _noise(8, 8) * (0.7 + 0.3 * _stripes(1, "u"))),
    "bricks": _blend((196, 188, 176), (158, 72, 52), _bricks() * (0.8 + 0.2 * _noise(9, 4))),
    "tiles1": _tint(0.45, _tiles(1, 0.05)),
    "tiles2": _tint(0.5, _tiles(2, 0.08) * (0.88 + 0.12 * _checker(2))),
    "sand": _blend((176, 144, 96), (228, 204, 156), _noise(10, 7)),
}
"""Texture name -> what draws it."""


def picture(name: str) -> npt.NDArray[np.uint8]:
    """A texture's texels, uint8 ``[SIDE, SIDE, 3]``."""
    return TEXTURES[name]()
