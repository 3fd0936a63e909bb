"""The validation loss: of the averaged weights, over all rows of some fixed batches.

Each process takes its share of the batches. The loss is that of one batch of all rows: sums divided by the
totals of everything (see `vla.losses`), not a mean of batches of unlike size. A model that tells no totals
gets the mean of its batches.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from vla.training.distributed import processes, rank, sum_over_processes
from vla.training.engine import Engine

__all__ = ["Validation", "add_up", "moved"]

Batch = Mapping[str, Any]


class Validation:
    """batches: (part, parts) -> every parts-th of the fixed batches, from the part-th on."""

    def __init__(self, batches: Callable[[int, int], Iterator[Batch]], engine: Engine, seed: int) -> None:
        self._batches, self._engine, self._seed = batches, engine, seed
        self._totals: dict[str, Tensor] | None = None

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`loss`, and what the model tells beside it. Every process calls it, with all weights at hand."""
        counted = hasattr(model, "totals")
        if counted and self._totals is None:
            self._totals = self._count(model)
        sums: dict[str, Tensor] = {}
        count = 0
        for batch in self._own():
            torch.manual_seed(self._seed)
            loss, scalars = self._engine.evaluate(model, batch, self._totals)
            add_up(sums, {**scalars, "loss": loss})
            count += 1
        sums["_batches"] = torch.tensor(float(count), device=self._engine.device)
        sums = sum_over_processes(sums, self._engine.device)
        batches = max(1.0, sums.pop("_batches").item())
        return {name: value.item() / (1.0 if counted else batches) for name, value in sums.items()}

    def _own(self) -> Iterator[Batch]:
        for batch in self._batches(rank(), processes()):
            yield moved(batch, self._engine.device)

    def _count(self, model: nn.Module) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for batch in self._own():
            add_up(sums, cast(Any, model).totals(batch))
        return sum_over_processes(sums, self._engine.device)


def add_up(sums: dict[str, Tensor], values: Mapping[str, Any]) -> None:
    """Add numbers to those of the same name."""
    for name, number in values.items():
        value = torch.as_tensor(number, dtype=torch.float32).detach()
        sums[name] = sums[name] + value if name in sums else value


def moved(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Tensors (also nested in dicts) on `device`; everything else as it is."""
    found: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            found[name] = value.to(device, non_blocking=True)
        else:
            found[name] = moved(value, device) if isinstance(value, Mapping) else value
    return found
