"""How often the numbers of one column fall where: a histogram over the leading bits of the float itself.

A float64 is a sign, an exponent and 52 bits of mantissa. Read as a whole number (with the negative ones
turned round) it has the order of the value, so cutting off its last bits makes bins, each at most 2^-bits of
its values wide, whatever the tails: DDSketch's guarantee (Masson et al. 2019) without a logarithm. At first
no bit is cut off and every value is kept. Where more than `CAP` bins are filled, bits are cut off until they
fit (as UDDSketch halves its precision, Epicoco et al. 2020), but never below `BITS` bits of mantissa.

That the finest cut that fits is chosen makes the result independent of the order and of the pieces in which
values come: more values fill more bins, so what did not fit for a part does not fit for the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BITS", "CAP", "Bins"]

Floats = npt.NDArray[np.float64]

BITS = 10
"""Bits of mantissa that are never cut off: every bin is at most 2^-10 (0.1%) of its values wide."""
CAP = 4096
"""Above so many bins precision is given up, down to `BITS`."""
_MANTISSA = 52
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True)
class Bins:
    """Bins in the order of their values. lo, hi: float64 [n], the smallest and the largest value in each bin;
    count: int64 [n], how many; cut: bits of the mantissa that are cut off.

    Memory: 24 bytes a bin. There are at most as many bins as different values, and at most the larger of
    `CAP` and 2^BITS for each sign and each factor of 2 that the values span.
    """

    lo: Floats
    hi: Floats
    count: npt.NDArray[np.int64]
    cut: int = 0

    @classmethod
    def of(cls, values: Floats, cut: int = 0) -> "Bins":
        """From finite numbers [n] in ascending order, n >= 0, cutting off at least `cut` bits."""
        values = values + 0.0  # -0.0 becomes 0.0: both are one value
        if len(values) == 0:
            return cls(values, values, np.zeros(0, np.int64), cut)
        first = _first_of_bins(values, cut)
        end = np.append(first[1:], len(values))
        return cls(values[first], values[end - 1], end - first, cut)._fitted()

    def __len__(self) -> int:
        return len(self.lo)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.count.sum())

    @property
    def bits(self) -> int:
        """Bits of mantissa that are kept: each bin is at most 2^-bits of its values wide."""
        return _MANTISSA - self.cut

    def merge(self, other: "Bins") -> "Bins":
        """The bins of all values of both; bit for bit the same in any order and grouping."""
        lo = np.concatenate([self.lo, other.lo])
        order = np.argsort(lo, kind="stable")
        hi = np.concatenate([self.hi, other.hi])[order]
        count = np.concatenate([self.count, other.count])[order]
        return Bins(lo[order], hi, count, max(self.cut, other.cut))._fitted()

    def bracket(self, quantiles: Sequence[float]) -> tuple[Floats, Floats, Floats]:
        """(estimate, low, high), each float64 [len(quantiles)]: the quantile as numpy's `linear` defines it
        lies for certain in low..high, and so does the estimate.

        The rank (n - 1) q lies between two order statistics, each in a known bin. Within a bin values are
        taken to be spread evenly from its lowest to its highest: exact where it holds one or two different
        values, as in thin tails, and never wrong by more than the bin is wide.
        """
        last = np.cumsum(self.count)
        rank = np.asarray(quantiles, np.float64) * (last[-1] - 1)
        below = np.floor(rank).astype(np.int64)
        share = rank - below
        ends = []
        for step in (below, np.minimum(below + 1, last[-1] - 1)):
            at = np.searchsorted(last, step, side="right")
            lo, hi, count = self.lo[at], self.hi[at], self.count[at]
            place = (step - (last[at] - count)) / np.maximum(count - 1, 1)
            ends.append((lo + (hi - lo) * place, lo, hi))
        (value, low, high), (next_value, next_low, next_high) = ends
        return (
            _between(value, next_value, share),
            _between(low, next_low, share),
            _between(high, next_high, share),
        )

    def _fitted(self) -> "Bins":
        """With the values of one bin put together, and coarser where there are too many bins."""
        found = self._together()
        coarsest = _MANTISSA - BITS
        if len(found) <= CAP or found.cut >= coarsest:
            return found
        place = _ordered(found.lo)
        differ = _highest_bit(place[1:] ^ place[:-1])
        filled = 1 + np.cumsum(np.bincount(differ, minlength=64)[::-1])[::-1]  # bins where s bits are cut off
        fits = np.flatnonzero(filled[:coarsest] <= CAP)
        return Bins(found.lo, found.hi, found.count, int(fits[0]) if len(fits) else coarsest)._together()

    def _together(self) -> "Bins":
        first = _first_of_bins(self.lo, self.cut)
        if len(first) == len(self):
            return self
        high = np.maximum.reduceat(self.hi, first)
        return Bins(self.lo[first], high, np.add.reduceat(self.count, first), self.cut)


def _first_of_bins(values: Floats, cut: int) -> npt.NDArray[np.int64]:
    """Where each bin begins among ascending values."""
    key = _ordered(values) >> np.uint64(cut)
    return np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))


def _ordered(values: Floats) -> npt.NDArray[np.uint64]:
    """Whole numbers in the order of the values: the bits, with all of a negative one turned round."""
    bits = values.view(np.uint64)
    return np.where(bits >> np.uint64(63), ~bits, bits | _SIGN)


def _highest_bit(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The place of the highest bit that is set, of numbers above 0."""
    # Without the bit after the highest one, the conversion cannot round up to the next power of 2.
    alone = numbers & ~(numbers >> np.uint64(1))
    return np.frexp(alone.astype(np.float64))[1].astype(np.int64) - 1


def _between(low: Floats, high: Floats, share: Floats) -> Floats:
    """From low to high; a difference could overflow, and equal ends must stay what they are."""
    return np.where(low == high, low, np.clip(low * (1 - share) + high * share, low, high))
