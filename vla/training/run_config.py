"""All settings of a training run in one dataclass; free of torch."""

from dataclasses import dataclass, field
from pathlib import Path

from vla.checks import check_seed
from vla.configuration import AugmentConfig, VLAConfig
from vla.training.config import ReadingConfig, TrainerConfig

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """data: LeRobot v3 folders. out: where checkpoints and logs go; a run found there is continued.

    augment: None trains on the pictures as they are. init: a model folder to start from.
    """

    data: tuple[Path, ...] | Path
    trainer: TrainerConfig
    out: Path
    model: VLAConfig = field(default_factory=VLAConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    seed: int = 0
    init: Path | None = None

    def __post_init__(self) -> None:
        check_seed(self)

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """The folders, also where a single one was given."""
        return self.data if isinstance(self.data, tuple) else (self.data,)
