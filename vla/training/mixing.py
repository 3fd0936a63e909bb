"""Settings of what a training batch is mixed from, and of trainings in stages. Free of torch."""

import math
from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least
from vla.configuration import TuningConfig
from vla.errors import BadInput

__all__ = ["MixtureConfig", "StageConfig"]


@dataclass(frozen=True)
class MixtureConfig:
    """robot_share: of all samples, those from robots, where there is picture-text data (``web``). RT-2 took
    50% with PaLI-X and 66% with PaLM-E (Brohan et al. 2023, appendix B).

    temperature: sources are drawn by weight x size^(1 / temperature): 1, every frame or record alike; higher,
    the small sources more often (10 and more: nearly each source alike). Among robots and among web sources.
    pack: all turns about a picture stand in one row, instead of one turn a draw.
    skip: share of damaged web records that is put up with; they are replaced and told.
    cameras: which of the model's look at web pictures: the `first`, or `each`, batch by batch in turn.
    cache: web pictures are decoded once, into a mapped file.
    scored: questions about held-out pictures that are asked at each evaluation, of each source.
    """

    robot_share: float = 0.5
    temperature: float = 1.0
    pack: bool = False
    skip: float = 0.01
    cameras: Literal["first", "each"] = "each"
    cache: bool = True
    scored: int = 256

    def __post_init__(self) -> None:
        for name in ("robot_share", "skip"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"mixture.{name} must be from 0 to 1, not {getattr(self, name)}")
        at_least(self, 0, "scored")
        if not 1 <= self.temperature < math.inf:
            raise BadInput(f"mixture.temperature must be 1 or more, not {self.temperature}")


@dataclass(frozen=True)
class StageConfig:
    """One of several trainings in a row, each beginning from the weights of the one before.

    samples: its budget. robot_share, tuning: in place of the run's. lr: factor on the run's learning rate.
    """

    name: str
    samples: int
    robot_share: float | None = None
    tuning: TuningConfig | None = None
    lr: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, 1, "samples")
        if not self.name or "/" in self.name:
            raise BadInput(f"a stage's name becomes a folder's: {self.name!r} will not do")
        if self.robot_share is not None and not 0 <= self.robot_share <= 1:
            raise BadInput(f"stage {self.name}: robot_share must be from 0 to 1, not {self.robot_share}")
        if not 0 < self.lr < math.inf:
            raise BadInput(f"stage {self.name}: lr must be above 0, not {self.lr}")
