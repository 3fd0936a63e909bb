"""Random numbers of a batch whose rows are independent: each row's are its own, whoever shares the batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Noise"]


class Noise:
    """One generator a row, all on the CPU."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = list(generators)

    @classmethod
    def seeded(cls, seed: int, rows: int) -> "Noise":
        """Each row's from the seed and its number."""
        return cls([torch.Generator().manual_seed(seed * 1_000_003 + row) for row in range(rows)])

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """float32 [rows, *shape] in 0..1."""
        return torch.stack([torch.rand(shape, generator=each) for each in self.generators]).to(device)

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """float32 [rows, *shape]."""
        return torch.stack([torch.randn(shape, generator=each) for each in self.generators]).to(device)
