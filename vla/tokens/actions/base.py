"""What every action tokenizer does: chunks of normalised actions to discrete ids and back."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["ActionTokenizer"]


class ActionTokenizer(Protocol):
    """Codes count from 0 to vocab_size - 1; the vocabulary places them in the one id space."""

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        ...

    def encode(self, chunk: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Actions in [-1, 1], [..., horizon, dim] -> codes."""
        ...

    def decode(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Codes -> actions in [-1, 1], [..., horizon, dim]. Raises BadInput for what is no code."""
        ...
