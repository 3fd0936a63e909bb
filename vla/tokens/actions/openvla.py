"""OpenVLA's action bins: 256 edges over [-1, 1] and the 255 centres between them.

A number's digit (1 to 256) is how many edges are at or below it, and its id is the vocabulary's size less the
digit: the greater the number, the smaller the id. Codes here count the ids from the first of the 256 on, so
code = 256 - digit. Two digits (255 and 256) share the last centre: +1 comes back as 0.9961, -1 as -0.9961.
Source: the layout of the published openvla-7b.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["OpenVLABins"]


@dataclass(frozen=True)
class OpenVLABins:
    """One code a number."""

    bins: int = 256

    @property
    def vocab_size(self) -> int:
        """Number of codes."""
        return self.bins

    @property
    def edges(self) -> npt.NDArray[np.floating]:
        """[bins], from -1 to 1."""
        return np.linspace(-1.0, 1.0, self.bins)

    def encode(self, chunk: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """Numbers in [-1, 1] of any shape -> codes; what lies outside becomes the outermost code."""
        if not np.all(np.isfinite(chunk)):
            raise BadInput("cannot tokenise an action that is not finite")
        return self.bins - np.digitize(np.clip(chunk, -1.0, 1.0), self.edges).astype(np.int64)

    def decode(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """Codes of any shape -> bin centres of that shape."""
        wrong = (ids < 0) | (ids >= self.bins)
        if np.any(wrong):
            raise BadInput(f"{int(ids[wrong].flat[0])} is not an action code (0 to {self.bins - 1})")
        centres = (self.edges[:-1] + self.edges[1:]) / 2
        digits = self.bins - np.asarray(ids)
        return centres[np.clip(digits - 1, 0, len(centres) - 1)].astype(np.float32)
