"""Bins that are narrow where the data is dense: edges at quantiles, for each joint its own.

Plain quantiles fail at both ends. Where many values are the same (a gripper knows two) bins collapse to
nothing, and where there are hardly any, one bin is so wide that its middle is no answer. So the density the
quantiles are taken of is bounded both ways: it is cut at ten times the uniform density, and what was cut off
and a tenth of the rest are spread evenly over [-1, 1]. Every bin is then at least a tenth and at most ten
times as wide as a uniform one, and a value comes back within half of its own bin.

Shapes: N chunks, H horizon, D joints, V codes, n = H * D codes of a chunk, G cells of the density's grid.
"""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import BinsConfig
from vla.errors import BadInput
from vla.tokens.actions.arrays import pack, unpack
from vla.tokens.actions.base import Codes, Floats, Ids
from vla.tokens.actions.bins import BinTokenizer, grid_codes, spread_of_centres

__all__ = ["QuantileBins", "bounded_quantiles"]

_UNIFORM = 0.1
"""The share of the density that is the same everywhere."""
_DENSEST = 10.0
"""In uniform densities."""
_CELLS_PER_BIN = 4


class QuantileBins(BinTokenizer):
    """One code a number, step by step, joint by joint; code c of joint j covers edges[j, c] to
    edges[j, c + 1] and decodes to the middle."""

    learned = True

    def __init__(self, config: BinsConfig, horizon: int, dim: int) -> None:
        super().__init__(config, horizon, dim)
        self._edges_DV1: npt.NDArray[np.float64] | None = None

    @property
    def fitted(self) -> bool:
        """Whether there are edges."""
        return self._edges_DV1 is not None

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """[D, V + 1], each row rising from -1 to 1."""
        self._must_be_fitted()
        assert self._edges_DV1 is not None
        return self._edges_DV1

    @property
    def centres(self) -> Floats:
        """What each joint's codes decode to, [D, V]."""
        return (self.edges[:, :-1] + self.edges[:, 1:]) / 2

    def _fit(self, chunks_NHD: npt.NDArray[np.float64], seed: int) -> Self:
        values_DM = chunks_NHD.reshape(-1, self.dim).T
        fitted = copy.copy(self)
        fitted._edges_DV1 = np.stack([bounded_quantiles(values, self.bins) for values in values_DM])
        return fitted

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        inner = self.edges[:, 1:-1]
        by_joint = [
            np.searchsorted(inner[j], chunks_NHD[..., j], side="right").astype(np.int64)
            for j in range(self.dim)
        ]
        return grid_codes(np.stack(by_joint, axis=-1))

    def _decode(self, ids_n: Ids) -> Floats:
        return self.centres[np.arange(self.dim), ids_n.reshape(self.horizon, self.dim)]

    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """See ActionTokenizer."""
        centres_nV = np.tile(self.centres, (self.horizon, 1))
        return spread_of_centres(probabilities, centres_nV).reshape(self.horizon, self.dim)

    def _data(self) -> dict[str, Any]:
        return {"edges": pack(self.edges)}

    def _restored(self, data: Mapping[str, Any]) -> Self:
        edges = unpack(data, "edges", "float64", (self.dim, self.bins + 1))
        if (np.diff(edges) <= 0).any() or (edges[:, 0] != -1).any() or (edges[:, -1] != 1).any():
            raise BadInput("the array 'edges' is damaged: edges must rise from -1 to 1")
        restored = copy.copy(self)
        restored._edges_DV1 = edges
        return restored


def bounded_quantiles(values: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.float64]:
    """Edges [bins + 1], rising from exactly -1 to exactly 1, for numbers [M] in [-1, 1].

    Between them lies an equal share of the data's density, bounded as the module's text says; the density
    is a histogram of four cells a bin.
    """
    cells = _CELLS_PER_BIN * bins
    counts_G, grid_G1 = np.histogram(values, bins=cells, range=(-1.0, 1.0))
    density_G = np.minimum(counts_G * (cells / len(values)), _DENSEST) * (1.0 - _UNIFORM)
    density_G += 1.0 - density_G.mean()  # what was cut off, and the uniform share, evenly
    cumulative_G1 = np.concatenate([[0.0], np.cumsum(density_G)])
    shares = np.linspace(0.0, cumulative_G1[-1], bins + 1)
    edges = np.interp(shares, cumulative_G1, grid_G1)
    edges[0], edges[-1] = -1.0, 1.0
    return edges
