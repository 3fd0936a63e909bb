"""Checks of plain settings, for the ``__post_init__`` of a config's dataclass."""

import math
from typing import Any

from vla.errors import BadInput

__all__ = ["at_least", "at_most", "check_seed"]

_SEEDS = 2**23
"""Seeds are shifted by 40 bits to make room for sample numbers, and torch wants the result below 2**63."""


def at_least(config: Any, least: float, *names: str) -> None:
    """Raise BadInput unless each field of `names` is None or a finite number of at least `least`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not least <= value < math.inf:
            raise BadInput(f"{name}={value}: at least {least} is needed")


def at_most(config: Any, most: float, *names: str) -> None:
    """Raise BadInput unless each field of `names` is None or at most `most`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value <= most:
            raise BadInput(f"{name}={value}: at most {most} is possible")


def check_seed(config: Any, name: str = "seed") -> None:
    """Raise BadInput for a seed that a random number generator would refuse."""
    value = getattr(config, name)
    if not 0 <= value < _SEEDS:
        raise BadInput(f"{name}={value}: a whole number from 0 to {_SEEDS - 1} is needed")
