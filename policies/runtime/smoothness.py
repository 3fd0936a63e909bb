"""How smooth a stream of commands is: velocity, acceleration and jerk, where chunks join and elsewhere.

    velocity  v_k = (x_{k+1} - x_k) hz                               units/s
    acceleration  a_k = (x_{k+2} - 2 x_{k+1} + x_k) hz^2             units/s^2
    jerk  j_k = (x_{k+3} - 3 x_{k+2} + 3 x_{k+1} - x_k) hz^3         units/s^3

A join at step j, the first command of another chunk, is straddled by the differences with k < j <= k + 3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policies.runtime.results import EpisodeResult

__all__ = ["Jerk", "Smoothness", "derivatives", "jerk_summary", "pool", "smoothness", "smoothness_of"]

_ORDER = 3

Commands = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Jerk:
    """Absolute jerk of all joints together, units/s^3. count: how many values (0: no mean, no peak)."""

    count: int
    mean: float
    peak: float


@dataclass(frozen=True)
class Smoothness:
    """joins: jerk in the differences that straddle a join. elsewhere: in all others."""

    joins: Jerk
    elsewhere: Jerk


def derivatives(commands: Commands, hz: float) -> tuple[npt.NDArray[np.float64], ...]:
    """Velocity, acceleration and jerk of ``[steps, joints]``, float64, shorter by 1, 2 and 3 steps."""
    x = np.asarray(commands, np.float64)
    # Of fewer steps than a difference needs there is none, in the same two axes.
    return tuple(np.diff(x, n, axis=0)[: max(len(x) - n, 0)] * hz**n for n in range(1, _ORDER + 1))


def smoothness(commands: Commands, joins: Iterable[int], hz: float) -> Smoothness:
    """Jerk of executed commands ``[steps, joints]`` at `hz`, at the control steps `joins` and elsewhere."""
    jerk = np.abs(derivatives(commands, hz)[-1])
    at = np.zeros(len(jerk), bool)
    for join in joins:
        at[max(join - _ORDER, 0) : max(join, 0)] = True
    return Smoothness(_jerk(jerk[at]), _jerk(jerk[~at]))


def _jerk(values: npt.NDArray[np.float64]) -> Jerk:
    if values.size == 0:
        return Jerk(0, 0.0, 0.0)
    return Jerk(values.size, float(values.mean()), float(values.max()))


def smoothness_of(result: EpisodeResult) -> Smoothness:
    """Smoothness of an episode's arm, from its first planned command on.

    Until then the arm is held where it was, and how it sets out is no join. The last of several joints is
    left out: by LeRobot's order it is the gripper, which is told to be open or closed, and jumps.
    """
    start = 0
    while start < len(result.holds) and result.holds[start] == start:
        start += 1
    arm = result.actions[start:, :-1] if result.actions.shape[-1] > 1 else result.actions[start:]
    return smoothness(arm, [join - start for join in result.joins], result.hz)


def pool(parts: Sequence[Jerk]) -> Jerk:
    """Of several episodes: the mean of all values, and the mean over episodes of each one's peak."""
    some = [part for part in parts if part.count]
    count = sum(part.count for part in some)
    if not count:
        return Jerk(0, 0.0, 0.0)
    mean = sum(part.mean * part.count for part in some) / count
    return Jerk(count, mean, sum(part.peak for part in some) / len(some))


def jerk_summary(results: Sequence[EpisodeResult]) -> dict[str, dict[str, float | None]]:
    """For metrics: mean and peak at joins and elsewhere, in units/s^3; null where there were none."""
    found = [smoothness_of(result) for result in results]
    parts = {
        "joins": pool([each.joins for each in found]),
        "elsewhere": pool([each.elsewhere for each in found]),
    }
    return {
        name: {
            "mean": round(part.mean, 1) if part.count else None,
            "peak": round(part.peak, 1) if part.count else None,
        }
        for name, part in parts.items()
    }
