"""OpenVLA's action bins: 256 edges over [-1, 1] and the 255 centres between them.

A number's digit (1 to 256) is how many edges are at or below it, and its id is the vocabulary's size less the
digit: the greater the number, the smaller the id. Codes here count the ids from the first of the 256 on, so
code = 256 - digit. Two digits (255 and 256) share the last centre: +1 comes back as 0.9961, -1 as -0.9961.
Source: the layout of the published openvla-7b.
"""

import numpy as np
import numpy.typing as npt

from vla.tokens.actions.base import Codes, Floats
from vla.tokens.actions.bins import BinTokenizer, grid_codes

__all__ = ["OpenVLABins"]


class OpenVLABins(BinTokenizer):
    """One code a number."""

    @property
    def edges(self) -> Floats:
        """[V], from -1 to 1."""
        return np.linspace(-1.0, 1.0, self.bins)

    @property
    def centres(self) -> Floats:
        """What each code decodes to, [V]: from high to low."""
        between = (self.edges[:-1] + self.edges[1:]) / 2
        digits = self.bins - np.arange(self.bins)
        return between[np.clip(digits - 1, 0, len(between) - 1)]

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        return grid_codes(self.bins - np.digitize(chunks_NHD, self.edges).astype(np.int64))
