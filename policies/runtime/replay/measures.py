"""Predicted against recorded actions in numbers, one a dimension. Nothing here judges; see `verdicts`.

Actions are compared twice: as they are, and as motion, which is what is left when the present state is taken
away. A policy that just repeated the state would look good in the first comparison. Where actions are no
targets near the state (velocities, a gripper's command), both are the same.

Legend: N frames, H horizon, D numbers of an action.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.runtime.replay.run import Replayed

__all__ = ["Measures", "measure"]

Floats = npt.NDArray[np.float64]

_MARGIN = 0.05
"""Of the recorded range: what does not yet count as outside of it."""
_ROUNDING = 1e-3
"""Of its value: by so much a constant may be missed, which has no range."""
_STIRS = 0.01
"""A dimension moves, and is judged by its motion, if standing still would err by this share of its range."""


@dataclass(frozen=True)
class Measures:
    """Each float64 [D], in the action's own units unless said.

    error, error_first: mean absolute error over the chunk, and of its first step alone. share: error as a
    share of the recorded range. still: error of not moving (where actions are targets near the state; else
    of always giving the recorded mean). low, high: recorded range, of all the data; predicted_low,
    predicted_high: of the predictions. outside: share of predictions that lie outside the recorded range.
    bias: mean of predicted minus recorded. targets: bool, whether actions are targets near the state.
    spread: standard deviation of the predictions; recorded_spread: of the actions beside them.
    fit, slope: correlation of predicted with recorded actions, and how many times as large they are;
    motion_fit, motion_slope: the same of motions; nan where one of both is constant.
    among, motion_among: [D, D], correlation of each predicted (row) with each recorded (column) dimension.
    """

    error: Floats
    error_first: Floats
    share: Floats
    still: Floats
    low: Floats
    high: Floats
    predicted_low: Floats
    predicted_high: Floats
    outside: Floats
    bias: Floats
    targets: npt.NDArray[np.bool_]
    spread: Floats
    recorded_spread: Floats
    fit: Floats
    slope: Floats
    motion_fit: Floats
    motion_slope: Floats
    among: Floats
    motion_among: Floats

    @property
    def moving(self) -> npt.NDArray[np.bool_]:
        """bool [D]: whether it moves in the recording, so that it can be judged by its motion."""
        width = self.high - self.low
        return (width > 0) & (self.still > _STIRS * width)

    @property
    def varies(self) -> npt.NDArray[np.bool_]:
        """bool [D]: whether the predictions vary, beside what is recorded."""
        return self.spread >= 1e-3 * self.recorded_spread


def measure(
    found: Replayed, actions: npt.NDArray[np.float32], grippers: Sequence[int] = ()
) -> Measures | None:
    """actions: [frames of the dataset, D], for the recorded range. None where there was no plan."""
    if not found.real.any():
        return None
    predicted, recorded = (x[found.real].astype(np.float64) for x in (found.predicted, found.recorded))
    low, high = actions.min(0).astype(np.float64), actions.max(0).astype(np.float64)
    width = np.where(high > low, high - low, np.nan)
    targets = _targets(found, grippers)
    origin = np.where(targets, _state(found)[:, None], 0.0)
    origin = np.broadcast_to(origin, found.predicted.shape)[found.real]
    difference = np.abs(predicted - recorded)
    first = np.abs(found.predicted - found.recorded)[:, 0][found.real[:, 0]].astype(np.float64)
    standing = np.where(targets, origin, recorded.mean(0))
    margin = np.where(high > low, _MARGIN * (high - low), _ROUNDING * np.maximum(1.0, np.abs(low)))
    fit, slope, among = _relation(predicted, recorded)
    motion_fit, motion_slope, motion_among = _relation(predicted - origin, recorded - origin)
    return Measures(
        error=difference.mean(0),
        error_first=first.mean(0) if len(first) else np.full(len(low), np.nan),
        share=difference.mean(0) / width,
        still=np.abs(recorded - standing).mean(0),
        low=low,
        high=high,
        predicted_low=predicted.min(0),
        predicted_high=predicted.max(0),
        outside=((predicted < low - margin) | (predicted > high + margin)).mean(0),
        bias=(predicted - recorded).mean(0),
        targets=targets,
        spread=predicted.std(0),
        recorded_spread=recorded.std(0),
        fit=fit,
        slope=slope,
        motion_fit=motion_fit,
        motion_slope=motion_slope,
        among=among,
        motion_among=motion_among,
    )


def _state(found: Replayed) -> Floats:
    """The state as far as the action goes, [N, D]; zeros where it has other numbers."""
    dim = found.recorded.shape[-1]
    same = found.state.shape[-1] == dim
    return found.state.astype(np.float64) if same else np.zeros((len(found.frames), dim))


def _targets(found: Replayed, grippers: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which actions are targets near the state: most of their variance is the state's. A gripper's command is
    open or closed, whatever the gripper does at present."""
    now = found.recorded[:, 0].astype(np.float64)
    targets = (now - _state(found)).std(0) < 0.7 * now.std(0)
    targets[list(grippers)] = False
    return targets & (found.state.shape[-1] == now.shape[-1])


def _relation(predicted: Floats, recorded: Floats) -> tuple[Floats, Floats, Floats]:
    """(correlation [D], slope [D], correlation of all with all [D, D]); nan of what is constant."""
    p, r = predicted - predicted.mean(0), recorded - recorded.mean(0)
    # Rounding of a constant is no variation.
    tiny = 1e-6 * np.maximum(1.0, np.abs(recorded).max(0))
    p_spread, r_spread = (np.where(x.std(0) > tiny, x.std(0), np.nan) for x in (p, r))
    covariance = p.T @ r / len(p)
    among = covariance / p_spread[:, None] / r_spread[None]
    return np.diag(among), np.diag(covariance) / np.square(r_spread), among
