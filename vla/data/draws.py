"""The random numbers of a batch, drawn for all of its rows, of which one process or micro-batch uses its own.

So it makes no difference into how many parts a batch is cut.
"""

import torch
from torch import Tensor

__all__ = ["Draws"]


class Draws:
    """Draws from `generator`, in order, for `total` rows; gives those of the rows `part`, `part + parts`, ...

    Numbers are drawn on the generator's device and moved to `device`.
    """

    def __init__(
        self,
        generator: torch.Generator,
        total: int,
        part: int = 0,
        parts: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.generator, self.total = generator, total
        self.rows = slice(part, None, parts)
        self.device = generator.device if device is None else device

    def uniform(self, *shape: int) -> Tensor:
        """float32 [rows, *shape], uniform in [0, 1)."""
        return self._own(
            torch.rand(self.total, *shape, generator=self.generator, device=self.generator.device)
        )

    def normal(self, *shape: int) -> Tensor:
        """float32 [rows, *shape], of mean 0 and deviation 1."""
        return self._own(
            torch.randn(self.total, *shape, generator=self.generator, device=self.generator.device)
        )

    def integers(self, stop: int) -> Tensor:
        """int64 [rows], from 0 to `stop` - 1."""
        shape = (self.total,)
        return self._own(torch.randint(stop, shape, generator=self.generator, device=self.generator.device))

    def around(self, size: float, *shape: int) -> Tensor:
        """float32 [rows, *shape], uniform in [-size, size]."""
        return (self.uniform(*shape) * 2 - 1) * size

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[self.rows].to(self.device)
