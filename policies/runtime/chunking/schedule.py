"""Weights over time: of the plan in flight against the next chunk, and of predictions of several ages."""

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Schedule", "age_weights", "overlap_weights"]

Schedule = Literal["exp", "linear", "ones", "zeros"]


def overlap_weights(rows: int, delay: int, schedule: Schedule = "exp") -> npt.NDArray[np.float32]:
    """How firmly each of the `rows` left of the plan in flight binds the next chunk, float32 ``[rows]``.

    The first `delay` will be executed whatever the answer is: weight 1. After them, with n rows and
    c_i = (n - i) / (n - delay + 1): ``exp`` c_i (e^c_i - 1) / (e - 1), ``linear`` c_i, ``ones`` 1 and
    ``zeros`` 0.
    (Black, Galliker and Levine 2025, equation 5, where n = H - s, steps of a chunk less those executed.)
    """
    index = np.arange(rows)
    c = (rows - index) / (max(rows - delay, 0) + 1.0)
    falling = {
        "exp": c * np.expm1(np.minimum(c, 1.0)) / (math.e - 1.0),
        "linear": c,
        "ones": np.ones(rows),
        "zeros": np.zeros(rows),
    }[schedule]
    return np.where(index < delay, 1.0, falling).astype(np.float32)


def age_weights(count: int, decay: float) -> npt.NDArray[np.float64]:
    """Weights of `count` predictions of one step, the oldest first, that sum to 1: float64 ``[count]``.

    w_i = exp(-decay i), with w_0 for the oldest (Zhao et al. 2023, algorithm 2).
    """
    weights = np.exp(-decay * np.arange(count))
    return np.asarray(weights / weights.sum())
