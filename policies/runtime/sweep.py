"""What a sweep over inference delays is of; light, so that the command's mistakes are told at once."""

from dataclasses import dataclass, field
from typing import Any

from policies.runtime.chunking import Chunking
from policies.runtime.world import Split, World

__all__ = ["Competitor", "Sweep"]


@dataclass(frozen=True)
class Competitor:
    """A policy of the table. policy: name or folder. options: as for ``policies.load``."""

    policy: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """What every cell shares. chunking: the settings but for the kind and the delay."""

    world: World
    chunking: Chunking
    episodes: int
    seed: int
    split: Split
    side_by_side: int = 4
