"""All settings of a training run in one dataclass; free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla.checks import check_seed
from vla.configuration import AugmentConfig, VLAConfig
from vla.configuration.web import WebSourceConfig
from vla.errors import BadInput
from vla.training.config import ReadingConfig, TrainerConfig
from vla.training.mixing import MixtureConfig, StageConfig

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """data: LeRobot v3 folders. out: where checkpoints and logs go; a run found there is continued.

    web: picture-text sources by name. augment: None trains on the pictures as they are. init: a model folder
    to start from. stages: several trainings in a row, in folders of their own under `out`.
    """

    data: tuple[Path, ...] | Path
    trainer: TrainerConfig
    out: Path
    model: VLAConfig = field(default_factory=VLAConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    seed: int = 0
    init: Path | None = None
    web: Mapping[str, WebSourceConfig] = field(default_factory=dict)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    stages: tuple[StageConfig, ...] = ()

    def __post_init__(self) -> None:
        check_seed(self)
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise BadInput(f"two stages have one name: {', '.join(names)}")
        if self.web and self.model.answer is None and self.init is None:
            raise BadInput("web data needs a model that answers in words: model/answer=words")

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """The folders, also where a single one was given."""
        return self.data if isinstance(self.data, tuple) else (self.data,)

    def of_stage(self, number: int, init: Path | None) -> "RunConfig":
        """The settings of one of the stages, counted from 1, which begins from the model folder `init`."""
        stage, trainer, mixture = self.stages[number - 1], self.trainer, self.mixture
        trainer = replace(
            trainer, samples=stage.samples, optim=replace(trainer.optim, lr=trainer.optim.lr * stage.lr)
        )
        if stage.robot_share is not None:
            mixture = replace(mixture, robot_share=stage.robot_share)
        model = self.model if stage.tuning is None else replace(self.model, tuning=stage.tuning)
        out = self.out / f"{number}-{stage.name}"
        return replace(self, trainer=trainer, mixture=mixture, model=model, out=out, init=init, stages=())
