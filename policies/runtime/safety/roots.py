"""Two small pieces of numerics of the limiter: roots on a grid, and the slower of two speeds."""

import numpy as np
import numpy.typing as npt

__all__ = ["roots", "slower"]

Array = npt.NDArray[np.float64]


def roots(values: Array, at: Array) -> Array:
    """Where each of `values` ``[GRID, n, ...]``, which grow along the first axis, is zero: ``[n, ...]``.

    By a line between two of the grid's `at` ``[GRID, ...]``; or an end of it.
    """
    right = np.minimum(np.maximum((values <= 0.0).sum(0), 1), len(values) - 1)
    flat, size, width = right.reshape(-1), right.size, at[0].size
    columns = np.arange(size)
    here = flat * size + columns
    y0, y1 = values.take(here - size), values.take(here)
    here = flat * width + columns % width
    x0, x1 = at.take(here - width), at.take(here)
    share = np.minimum(np.maximum(-y0 / np.maximum(y1 - y0, 1e-300), 0.0), 1.0)
    return np.asarray(x0 + share * (x1 - x0)).reshape(right.shape)


def slower(one: Array, other: Array) -> Array:
    """The smaller of two numbers of one sign, else 0: a speed that a single jump does not pretend."""
    return np.where(one * other > 0.0, np.where(np.abs(one) < np.abs(other), one, other), 0.0)
