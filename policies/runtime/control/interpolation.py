"""Between two control steps of a policy: what an arm that wants commands more often is told.

The row of step k holds at time k / policy_hz; until step k + 1 the command goes from it towards the next row
of the plan. Where the plan ends the last row stays: nothing is ever made up beyond it.
"""

import typing
from typing import Literal

import numpy as np
import numpy.typing as npt

from vla.arm import Positions

__all__ = ["Interpolation", "Interpolator"]

Interpolation = Literal["hold", "linear", "cubic"]
KINDS = typing.get_args(Interpolation)


class Interpolator:
    """One of three kinds. ``hold``: the row itself, as the policy was trained. ``linear``. ``cubic``: a
    monotone cubic (Fritsch and Butland 1984: the tangent at a row is the harmonic mean of the slopes beside
    it, or 0 where they turn), so that the speed has no steps and no joint ever leaves the interval between
    two rows.
    """

    def __init__(self, kind: Interpolation = "linear") -> None:
        self.kind = kind
        self._rows: Positions | None = None  # of this step, and of the next
        self._tangents: Positions | None = None  # at those, units a step
        self._number = -1

    def stop(self) -> None:
        """There is no command at present."""
        self._rows = None

    def step(self, number: int, row: npt.ArrayLike, following: npt.NDArray[np.floating]) -> None:
        """Step `number` begins: its row ``[joints]``, and those the plan has after it ``[n, joints]``."""
        here = np.asarray(row, np.float64)
        ahead = np.asarray(following, np.float64)
        after = ahead[0] if len(ahead) else here
        slope = after - here
        before = None
        if self._rows is not None and number == self._number + 1:
            before = here - self._rows[0]
        beyond = ahead[1] - after if len(ahead) > 1 else np.zeros_like(here)
        first = np.zeros_like(here) if before is None else _tangent(before, slope)
        self._rows, self._number = np.stack([here, after]), number
        self._tangents = np.stack([first, _tangent(slope, beyond)])

    def at(self, part: float) -> Positions | None:
        """The command when `part` of the step is over, 0 to 1: float64 ``[joints]``; None after `stop`."""
        if self._rows is None or self._tangents is None:
            return None
        here, after = self._rows
        if self.kind == "hold" or part <= 0:
            return here.copy()
        if self.kind == "linear":
            return np.asarray(here + part * (after - here))
        t = min(part, 1.0)
        start, end = self._tangents
        h = t * t * (3 - 2 * t)
        curve = here + h * (after - here) + t * (1 - t) * ((1 - t) * start - t * end)
        return np.asarray(np.clip(curve, np.minimum(here, after), np.maximum(here, after)))


def _tangent(before: Positions, after: Positions) -> Positions:
    """The harmonic mean of two slopes; 0 where they have not the same sign."""
    product = before * after
    total = before + after
    safe = np.where(product > 0, total, 1.0)
    return np.where(product > 0, 2 * product / safe, 0.0)
