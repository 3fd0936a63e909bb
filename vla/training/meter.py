"""Running means of a training run's numbers and of its speed."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from vla.training.distributed import processes, sum_over_processes

__all__ = ["Meter"]


class Meter:
    """Sums on the device, read only when a report is due, so that a GPU is never waited for in between.

    Each process gives its share of the loss and of the scalars, which add up to the whole batch's; the norm
    of the gradients is the same in all.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._zero()

    def _zero(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._steps, self._samples, self._waited = 0, 0, 0.0
        self._spent, self._from = 0.0, time.monotonic()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts time spent waiting for a batch."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def add(self, loss: torch.Tensor, norm: torch.Tensor, scalars: Mapping[str, Any], samples: int) -> None:
        """Add one step's numbers."""
        named = {
            "loss": loss,
            "grad_norm": norm / processes(),
            **{k: v for k, v in scalars.items() if k != "loss"},
        }
        for name, number in named.items():
            value = torch.as_tensor(number, dtype=torch.float32, device=self._device).detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps, self._samples = self._steps + 1, self._samples + samples
        now = time.monotonic()
        self._spent, self._from = self._spent + now - self._from, now

    def restart_clock(self) -> None:
        """Leave out what happened since the last `add` (saving, roll-outs) from the speed."""
        self._from = time.monotonic()

    def take(self) -> dict[str, float]:
        """Means since the last call, and the speed; starts anew. Every process calls it."""
        sums = sum_over_processes(self._sums, self._device)
        values = {f"train/{name}": total.item() / self._steps for name, total in sums.items()}
        spent = max(self._spent, 1e-9)
        values["speed/samples_per_second"] = self._samples / spent
        values["speed/waiting_share"] = self._waited / spent
        self._zero()
        return values
