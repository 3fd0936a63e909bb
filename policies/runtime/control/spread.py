"""How a time spreads: mean, standard deviation and quantiles of any number of values in constant memory.

Mean and deviation are exact (Welford 1962). Quantiles come from counts in bins of equal ratio, so they are
right within 0.1% of their own value.
"""

import math
from typing import NamedTuple

__all__ = ["Spread", "Summary"]

SMALLEST = 1e-7
RATIO = 1.001
_LOG = math.log(RATIO)


class Summary(NamedTuple):
    """Of `number` values, in their unit. All are 0 where there was none."""

    number: int = 0
    mean: float = 0.0
    sd: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0


class Spread:
    """Values from 0 on, one after the other; `summary` at any time."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares, self._worst = 0, 0.0, 0.0, 0.0
        self._bins: dict[int, int] = {}

    def add(self, value: float) -> None:
        """One more value, 0 or above."""
        self._count += 1
        step = value - self._mean
        self._mean += step / self._count
        self._squares += step * (value - self._mean)
        self._worst = max(self._worst, value)
        place = round(math.log(max(value, SMALLEST) / SMALLEST) / _LOG)
        self._bins[place] = self._bins.get(place, 0) + 1

    def quantile(self, part: float) -> float:
        """The value below which `part` of them are, 0 to 1; 0.0 where there is none."""
        rank, below = math.ceil(part * self._count), 0
        bins = self._bins.copy()  # another thread may be asking
        for place in sorted(bins):
            below += bins[place]
            if below >= rank:
                return 0.0 if place == 0 else min(SMALLEST * RATIO**place, self._worst)
        return 0.0

    def summary(self) -> Summary:
        """What there is to say about them so far."""
        if not self._count:
            return Summary()
        sd = math.sqrt(self._squares / self._count)
        return Summary(self._count, self._mean, sd, self.quantile(0.5), self.quantile(0.99), self._worst)
