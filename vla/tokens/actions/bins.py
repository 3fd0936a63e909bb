"""Uniform bins over [-1, 1]: bin b covers [-1 + 2b/n, -1 + 2(b+1)/n) and decodes to its centre.

Unlike RT-2's and OpenVLA's `linspace` bins there are as many centres as bins, so every value in [-1, 1]
comes back within half a bin, 1/n, of itself: 0.0039 for 256 bins.
"""

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import BinsConfig
from vla.tokens.actions.base import ActionTokenizer, Codes, Floats, Ids

__all__ = ["BinTokenizer", "grid_codes", "spread_of_centres"]


class BinTokenizer(ActionTokenizer):
    """One code a number, step by step, joint by joint."""

    kind = "bins"
    learned = False

    def __init__(self, config: BinsConfig, horizon: int, dim: int) -> None:
        super().__init__(config, horizon, dim)
        self.bins = config.count

    @property
    def centres(self) -> Floats:
        """What each code decodes to, [V]."""
        return (np.arange(self.bins) + 0.5) * (2.0 / self.bins) - 1.0

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        codes = np.floor((chunks_NHD + 1.0) * (self.bins / 2))
        return grid_codes(np.clip(codes, 0, self.bins - 1).astype(np.int64))

    def _decode(self, ids_n: Ids) -> Floats:
        return self.centres[ids_n].reshape(self.horizon, self.dim)

    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """See ActionTokenizer."""
        return spread_of_centres(probabilities, self.centres).reshape(self.horizon, self.dim)


def grid_codes(codes: Ids) -> Codes:
    """Codes of fixed length [N, ...] -> Codes."""
    flat = codes.reshape(len(codes), -1)
    return Codes(flat, np.full(len(flat), flat.shape[1], np.int64))


def spread_of_centres(probabilities: Floats, centres: Floats) -> Floats:
    """Standard deviations [n] of distributions [n, V] over the numbers `centres`, [V] or [n, V]."""
    mean = (probabilities * centres).sum(-1, keepdims=True)
    return np.sqrt((probabilities * (centres - mean) ** 2).sum(-1))
