"""One step of the optimiser, from the portions of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from vla.errors import BadInput
from vla.training.config import TrainerConfig
from vla.training.distributed import everywhere, sum_over_processes, union
from vla.training.engine import Engine
from vla.training.evaluation import add_up, moved
from vla.training.optim import Ema

__all__ = ["Stepper"]

Batch = Mapping[str, Any]


class Stepper:
    """portions -> gradients -> weights -> their average."""

    def __init__(
        self, engine: Engine, optimizer: torch.optim.Optimizer, ema: Ema | None, config: TrainerConfig
    ) -> None:
        self._engine, self._optimizer, self._ema, self._config = engine, optimizer, ema, config
        self._parts = config.parts()
        self._in_layers = config.used_engine() == "fsdp" and config.shard == "layers"

    def __call__(
        self, portions: Sequence[Batch], factor: float, seed: int, step: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Take one step. factor: on the learning rate. seed: torch's, in each portion. step: those taken
        before.

        Returns this process's share of the loss; the norm that all gradients had; its shares of the scalars.
        """
        config, model = self._config.optim, self._engine.model
        for group in self._optimizer.param_groups:
            group["lr"] = config.lr * factor * group["lr_factor"]
        batches = [moved(portion, self._engine.device) for portion in portions]
        totals = self._totals(batches)
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, start=1):
            torch.manual_seed(seed)
            loss, scalars = self._engine.part(batch, totals, last=number == len(batches))
            add_up(sums, {**scalars, "loss": loss})
        norm = self._engine.clip(config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._ema is not None:
            self._ema.update(model.parameters(), model.buffers(), step)
        return sums.pop("loss"), norm.detach(), sums

    def _totals(self, batches: Sequence[Batch]) -> dict[str, Tensor] | None:
        """What the losses of the whole batch are divided by; None where it is not cut."""
        if self._parts == 1:
            return None
        sums: dict[str, Tensor] = {}
        for batch in batches:
            add_up(sums, cast(Any, self._engine.model).totals(batch))
        if self._in_layers:
            self._must_be_alike(batches)
        return sum_over_processes(sums, self._engine.device)

    def _must_be_alike(self, batches: Sequence[Batch]) -> None:
        """Raise BadInput where processes would go through the layers in different ways."""
        kinds = {
            f"{i} {name}" for i, batch in enumerate(batches) for name in batch if name.endswith("_batch")
        }
        if not everywhere(sorted(kinds) == union(kinds)):
            raise BadInput(
                f"trainer.shard=layers needs every kind of row in every portion, and {self._parts} portions "
                f"of trainer.batch={self._config.batch} leave some without: use trainer.shard=model or a "
                f"larger batch"
            )
