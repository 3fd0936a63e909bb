"""The arms of the experiment: how each is trained on equally many robot samples. Free of torch."""

from dataclasses import dataclass, field

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["CHANCE", "Arm", "Budget"]

CHANCE = 0.225
"""Success of a blind guess: half of the scenes of the extended vocabulary have four objects, half five."""


@dataclass(frozen=True)
class Budget:
    """What all arms share. samples: of robots. batch, warmup: robot samples in a step, and over which the
    learning rate rises. What an arm takes of web samples comes on top, in the same number of steps."""

    samples: int
    batch: int = 64
    warmup: int = 10_000

    def __post_init__(self) -> None:
        at_least(self, 1, "samples", "batch")
        at_least(self, 0, "warmup")


@dataclass(frozen=True)
class Arm:
    """One way to train. label: in tables. pretrain: web samples alone, before. robot_share: of each batch
    afterwards. pretrain_lr, tune_lr: factors on the learning rate, before and afterwards, where there is a
    pretraining. overrides: more settings of ``vla train``.
    """

    label: str
    pretrain: int = 0
    robot_share: float = 1.0
    pretrain_lr: float = 1.0
    tune_lr: float = 1.0
    overrides: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        at_least(self, 0, "pretrain")
        if not 0 < self.robot_share <= 1:
            raise BadInput(f"arm '{self.label}': robot_share must be above 0 and at most 1")

    def training(self, budget: Budget) -> tuple[str, ...]:
        """Overrides of ``vla train`` that give this arm its robot samples, neither more nor fewer."""
        total = round(budget.samples / self.robot_share)
        common = (
            f"trainer.batch={round(budget.batch / self.robot_share)}",
            f"trainer.optim.warmup={round(budget.warmup / self.robot_share)}",
        )
        if not self.pretrain:
            return (
                *common,
                f"trainer.samples={total}",
                f"mixture.robot_share={self.robot_share}",
                *self.overrides,
            )
        stages = (
            f"{{name: pretrain, samples: {self.pretrain}, robot_share: 0.0, lr: {self.pretrain_lr}}}",
            f"{{name: tune, samples: {total}, robot_share: {self.robot_share}, lr: {self.tune_lr}}}",
        )
        return (*common, f"trainer.samples={total}", f"stages=[{', '.join(stages)}]", *self.overrides)
