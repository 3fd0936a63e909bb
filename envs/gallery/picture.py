"""Pictures with texts, as many as wanted: `picture(seed, index)` is always the same one.

A process that has drawn holds an OpenGL context, which a fork does not survive: start others with "spawn".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from envs.gallery.language import Said, Split, converse
from envs.gallery.limits import Limits
from envs.gallery.sampling import sample_scene
from envs.gallery.sight import Sight, look
from envs.gallery.studio import Studio
from vla.errors import BadInput

__all__ = ["TURNS", "Picture", "iterate", "picture", "sight"]

_ALL = Limits()
TURNS = 5
"""Turns about one picture, where it gives that many."""


@dataclass(frozen=True)
class Picture:
    """image: uint8 ``[size, size, 3]`` RGB. turns: what is said about it."""

    image: npt.NDArray[np.uint8]
    turns: tuple[Said, ...]


@cache
def _studio(size: int) -> Studio:
    return Studio(size)


def sight(seed: int, index: int, size: int = 96, limits: Limits | None = None) -> Sight:
    """What picture number `index` shows: its pixels, segments and things.

    Raises BadInput for a size below 32 or a machine that cannot draw.
    """
    return _sight(seed, index, size, limits or _ALL)[0]


def _sight(seed: int, index: int, size: int, limits: Limits) -> tuple[Sight, np.random.Generator]:
    if size < 32 or index < 0 or seed < 0:
        raise BadInput(
            f"gallery: size {size}, seed {seed}, index {index}: size must be at least 32, others 0"
        )
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    studio = _studio(size)
    while True:
        seen = look(studio, sample_scene(rng, limits))
        if seen is not None:
            return seen, rng


def picture(
    seed: int,
    index: int,
    size: int = 96,
    *,
    limits: Limits | None = None,
    split: Split = "train",
    turns: int = TURNS,
    pointing: int = 0,
) -> Picture:
    """Picture number `index` of an endless collection, bit for bit the same on one machine.

    split: whose templates prompt; give validation other seeds too. turns, pointing: as for `converse`.
    Raises BadInput as `sight` does.
    """
    limits = limits or _ALL
    seen, rng = _sight(seed, index, size, limits)
    return Picture(seen.image, converse(seen, rng, limits, split, turns, pointing=pointing))


def iterate(
    seed: int,
    start: int,
    count: int,
    size: int = 96,
    *,
    limits: Limits | None = None,
    split: Split = "train",
    turns: int = TURNS,
) -> Iterator[Picture]:
    """Pictures ``start .. start + count - 1``. Several processes may each take a part of the numbers."""
    for index in range(start, start + count):
        yield picture(seed, index, size, limits=limits, split=split, turns=turns)
