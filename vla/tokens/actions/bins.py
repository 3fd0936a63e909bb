"""Uniform bins over [-1, 1]: bin b covers [-1 + 2b/n, -1 + 2(b+1)/n) and decodes to its centre.

Unlike RT-2's and OpenVLA's `linspace` bins there are as many centres as bins, so every value in [-1, 1]
comes back within half a bin, 1/n, of itself: 0.0039 for 256 bins.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["BinTokenizer"]


@dataclass(frozen=True)
class BinTokenizer:
    """One code a number."""

    bins: int = 256

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        return self.bins

    def encode(self, chunk: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Numbers in [-1, 1] of any shape -> codes; what lies outside becomes the outermost code."""
        if not np.all(np.isfinite(chunk)):
            raise BadInput("cannot tokenise an action that is not finite")
        codes = np.floor((np.asarray(chunk, dtype=np.float64) + 1.0) * (self.bins / 2))
        return np.clip(codes, 0, self.bins - 1).astype(np.int64)

    def decode(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Codes of any shape -> bin centres of that shape."""
        wrong = (ids < 0) | (ids >= self.bins)
        if np.any(wrong):
            raise BadInput(f"{int(ids[wrong].flat[0])} is not an action code (0 to {self.bins - 1})")
        return ((np.asarray(ids) + 0.5) * (2.0 / self.bins) - 1.0).astype(np.float32)
