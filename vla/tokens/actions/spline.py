"""Control points of a clamped B-spline as codes (Zhou et al., "BEAST: Efficient Tokenization of B-Splines
Encoded Action Sequences for Imitation Learning", 2025).

Each joint's H actions are H samples, at equal times, of a spline with P control points: actions = basis @
points. The points are found by least squares and put into uniform bins. A clamped spline begins in its first
control point and ends in its last. The first is set to the first action itself and the others fitted to what
remains, so a chunk begins where it was told to, within half a bin: that is the join with what was executed
before it. Inside a chunk the curve has degree - 1 continuous derivatives whatever the codes are, and lies in
the convex hull of its control points, as each row of the basis is >= 0 and sums to one.

What a spline cannot do is jump: a gripper that snaps shut is rounded off over the width of one piece.

Shapes: N chunks, H horizon, P control points, D joints, V bins, n = P * D codes of a chunk.
"""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from vla.configuration.tokenizer import SplineConfig
from vla.errors import BadInput
from vla.tokens.actions.arrays import pack, unpack
from vla.tokens.actions.base import ActionTokenizer, Codes, Floats, Ids
from vla.tokens.actions.bins import grid_codes, spread_of_centres

__all__ = ["SplineTokenizer", "clamped_basis"]

_MARGIN = 0.1
"""How much farther than the data control points may lie past -1 and 1, of how far they do."""


class SplineTokenizer(ActionTokenizer):
    """One code a control point and joint: all joints of the first control point, then of the second, ...

    What is fitted is the range of the bins, [P, D] each: at least [-1, 1], and wider where the data's control
    points overshoot. A chunk comes back within (a) what the spline, its points clipped to that range, leaves
    of it, plus (b) half a bin.
    """

    kind = "spline"

    def __init__(self, config: SplineConfig, horizon: int, dim: int) -> None:
        super().__init__(config, horizon, dim)
        if horizon < config.points:
            raise BadInput(
                f"decoder.tokenizer.points={config.points} is more than decoder.horizon={horizon}: a spline "
                "has at most as many control points as the chunk has steps"
            )
        self.points, self.bins = config.points, config.count
        self.basis = clamped_basis(horizon, config.points, config.degree)
        self._others_QH = np.linalg.pinv(self.basis[:, 1:])  # Q = P - 1: all but the first
        self._range: tuple[Floats, Floats] | None = None

    @property
    def fitted(self) -> bool:
        """Whether there are ranges."""
        return self._range is not None

    @property
    def limits(self) -> tuple[Floats, Floats]:
        """The lowest and the highest number of the bins, [P, D] each."""
        self._must_be_fitted()
        assert self._range is not None
        return self._range

    def control_points(self, chunks: Floats) -> npt.NDArray[np.float64]:
        """[N, H, D] -> [N, P, D]: the first action, then the least-squares solution for the others."""
        first_N1D = chunks[:, :1].astype(np.float64)
        rest_NHD = chunks - self.basis[:, :1] * first_N1D
        return np.concatenate([first_N1D, self._others_QH @ rest_NHD], axis=1)

    def _fit(self, chunks_NHD: npt.NDArray[np.float64], seed: int) -> Self:
        points_NPD = self.control_points(chunks_NHD)
        below = np.maximum(-1.0 - points_NPD.min(axis=0), 0.0)
        above = np.maximum(points_NPD.max(axis=0) - 1.0, 0.0)
        fitted = copy.copy(self)
        fitted._range = (-1.0 - (1 + _MARGIN) * below, 1.0 + (1 + _MARGIN) * above)
        return fitted

    def _encode(self, chunks_NHD: npt.NDArray[np.float64]) -> Codes:
        low_PD, high_PD = self.limits
        place_NPD = (self.control_points(chunks_NHD) - low_PD) * (self.bins / (high_PD - low_PD))
        return grid_codes(np.clip(np.floor(place_NPD), 0, self.bins - 1).astype(np.int64))

    def _decode(self, ids_n: Ids) -> Floats:
        low_PD, high_PD = self.limits
        codes_PD = ids_n.reshape(self.points, self.dim)
        return self.basis @ (low_PD + (codes_PD + 0.5) * ((high_PD - low_PD) / self.bins))

    def spread(self, ids: Ids, probabilities: Floats) -> Floats:
        """See ActionTokenizer. The control points count as independent of each other."""
        low_PD, high_PD = self.limits
        width_n1 = ((high_PD - low_PD) / self.bins).reshape(-1, 1)
        deviation_n = spread_of_centres(probabilities, width_n1 * np.arange(self.bins))
        return np.sqrt(self.basis**2 @ deviation_n.reshape(self.points, self.dim) ** 2)

    def _data(self) -> dict[str, Any]:
        low_PD, high_PD = self.limits
        return {"low": pack(low_PD), "high": pack(high_PD)}

    def _restored(self, data: Mapping[str, Any]) -> Self:
        low, high = (unpack(data, name, "float64", (self.points, self.dim)) for name in ("low", "high"))
        if (low > -1).any() or (high < 1).any():
            raise BadInput("the arrays 'low' and 'high' are damaged: they must hold -1 to 1 between them")
        restored = copy.copy(self)
        restored._range = (low, high)
        return restored


def clamped_basis(samples: int, points: int, degree: int) -> npt.NDArray[np.float64]:
    """[samples, points]: the B-splines over uniform clamped knots, at equal times from first knot to last."""
    from scipy.interpolate import BSpline

    inner = np.linspace(0.0, 1.0, points - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    basis: npt.NDArray[np.float64] = BSpline.design_matrix(
        np.linspace(0.0, 1.0, samples), knots, degree
    ).toarray()
    return basis
