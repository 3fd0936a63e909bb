"""Statistics of a feature in one pass over the data, in bounded memory, with errors that can be stated.

A `Sketch` takes in pieces of any size and can be merged with others; nothing is read twice.

- Count, min and max are exact.
- Quantiles come from `vla.data.bins`. The quantile as numpy's `linear` defines it lies between two neighbours
  among the sorted values; each is told within a relative 2^-bits of itself (2^-1022 in place of the value
  for what is smaller still), where bits is at least 10 (0.1%), and exactly for up to 4096 different values.
  These and the counts are the same bit for bit in whatever order and pieces the data came.
- Mean and deviation are summed in float64 block by block, each in two passes over its sorted values, and
  blocks are put together as Chan et al. (1979) do: within 1e-12 of the largest magnitude, however the data
  was cut up. The same pieces in the same order give the same bits.

Memory: at most 24 bytes for each bin of each number of the feature (see `Bins`), typically 10 to 15 thousand
bins for a joint in degrees, and some 150 MB while a block is sorted in.

Legend: N samples, C numbers in one sample (all of its axes flattened).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.bins import Bins
from vla.data.statistics import QUANTILES, FeatureStatistics
from vla.errors import BadInput

__all__ = ["Sketch"]

Floats = npt.NDArray[np.float64]

_WAITING = 1 << 22
"""Numbers that are collected before they are sorted in."""
_EMPTY = np.zeros(0, np.float64)


class Sketch:
    """Of one feature. name: as messages say it. shape: of one sample, [dim] or [horizon, dim]."""

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        self.name, self.shape = name, tuple(int(size) for size in shape)
        self.rows = 0
        """Samples taken in, also those of which nothing was valid."""
        columns = int(np.prod(self.shape))
        self._bins = [Bins.of(_EMPTY) for _ in range(columns)]
        self._mean, self._m2 = np.zeros(columns), np.zeros(columns)
        self._waiting: list[Floats] = []
        self._block = max(1024, _WAITING // max(columns, 1))

    def update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> "Sketch":
        """Take in samples [N, *shape]; `valid` bool [N, ...leading axes of shape] leaves numbers out.

        Raises BadInput for a number that is not finite and is not left out, and for another shape.
        """
        if values.shape[1:] != self.shape:
            raise BadInput(
                f"'{self.name}' has samples of shape {list(values.shape[1:])}, not {list(self.shape)}"
            )
        for first in range(0, len(values), self._block):  # a long array is never copied whole
            some = slice(first, first + self._block)
            self._update(values[some], None if valid is None else valid[some])
        return self

    def _update(self, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> None:
        data = np.array(values, dtype=np.float64)
        finite = np.isfinite(data)
        if valid is not None:
            there = np.broadcast_to(valid.reshape(valid.shape + (1,) * (data.ndim - valid.ndim)), data.shape)
            finite |= ~there
            data[~there] = np.nan
        if not finite.all():
            row, *index = (int(i) for i in np.argwhere(~finite)[0])
            raise BadInput(
                f"'{self.name}' is not finite at sample {self.rows + row}, index {index}: "
                f"{values[(row, *index)]}"
            )
        self.rows += len(data)
        self._waiting.append(data.reshape(len(data), len(self._bins)))
        if sum(map(len, self._waiting)) >= self._block:
            self._take_in(whole_blocks=True)

    def merge(self, other: "Sketch") -> "Sketch":
        """A new sketch of what both have seen."""
        if other.shape != self.shape:
            raise BadInput(
                f"'{self.name}' of shape {list(self.shape)} and '{other.name}' of shape {list(other.shape)} "
                "cannot be put together"
            )
        self._take_in()
        other._take_in()
        out = Sketch(self.name, self.shape)
        out.rows = self.rows + other.rows
        out._mean, out._m2 = self._mean.copy(), self._m2.copy()
        for column, bins in enumerate(self._bins):
            out._bins[column] = bins
            out._add(column, other._bins[column], other._mean[column], other._m2[column])
        return out

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """int64 [*shape]: valid numbers."""
        self._take_in()
        return np.array([bins.total for bins in self._bins], np.int64).reshape(self.shape)

    @property
    def bits(self) -> npt.NDArray[np.int64]:
        """int64 [*shape]: quantiles are within a relative 2^-bits; 52 where they are exact."""
        self._take_in()
        return np.array([bins.bits for bins in self._bins], np.int64).reshape(self.shape)

    def quantiles(self, wanted: Sequence[float]) -> Floats:
        """Estimates, float64 [len(wanted), *shape]."""
        return self.brackets(wanted)[0]

    def brackets(self, wanted: Sequence[float]) -> tuple[Floats, Floats, Floats]:
        """(estimate, low, high), each float64 [len(wanted), *shape]: the true quantile is in low..high."""
        if not self.counts.all():
            raise BadInput(f"cannot compute statistics: '{self.name}' has no samples")
        found = np.array([bins.bracket(wanted) for bins in self._bins])  # [C, 3, len(wanted)]
        estimate, low, high = found.transpose(1, 2, 0).reshape(3, len(wanted), *self.shape)
        return estimate, low, high

    def statistics(self) -> FeatureStatistics:
        """As `FeatureStatistics.from_array` would give them of all the data at once."""
        quantiles = dict(zip(QUANTILES, self.quantiles(list(QUANTILES.values())), strict=True))
        low = np.array([bins.lo[0] for bins in self._bins])
        high = np.array([bins.hi[-1] for bins in self._bins])
        spread = np.sqrt(self._m2 / self.counts.reshape(-1))
        if not (np.isfinite(spread) & np.isfinite(self._mean)).all():
            column = int(np.flatnonzero(~(np.isfinite(spread) & np.isfinite(self._mean)))[0])
            place = [int(i) for i in np.unravel_index(column, self.shape)]
            raise BadInput(
                f"'{self.name}' has numbers from {low[column]:.3g} to {high[column]:.3g} at index {place}: "
                "too large for a deviation to be computed"
            )
        # The mean of equal numbers, or of a few huge ones, may be rounded past them.
        values = {"mean": np.clip(self._mean, low, high), "std": spread, "min": low, "max": high}
        shaped = {name: value.reshape(self.shape) for name, value in values.items()}
        return FeatureStatistics(**shaped, **quantiles, count=self.rows)

    def _take_in(self, whole_blocks: bool = False) -> None:
        """Sort in what waits. Blocks are cut by the number of samples, not by how they were handed over."""
        if not self._waiting:
            return
        data = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        end = len(data) - len(data) % self._block if whole_blocks else len(data)
        for first in range(0, end, self._block):
            block = np.sort(np.ascontiguousarray(data[first : min(first + self._block, end)].T), axis=1)
            real = block.shape[1] - np.isnan(block).sum(axis=1)  # what is left out sorts to the end
            for column, (values, count) in enumerate(zip(block, real, strict=True)):
                self._add_values(column, values[:count])
        self._waiting = [data[end:].copy()] if end < len(data) else []

    def _add_values(self, column: int, values: Floats) -> None:
        if len(values) == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # told in one line where the statistics are made
            mean = float(values[0] if values[0] == values[-1] else np.mean(values))
            m2 = float(np.sum(np.square(values - mean)))
        self._add(column, Bins.of(values, self._bins[column].cut), mean, m2)

    def _add(self, column: int, bins: Bins, mean: float, m2: float) -> None:
        """Chan, Golub and LeVeque 1979, equation 2.1."""
        old, new = self._bins[column].total, bins.total
        if old == 0:
            self._bins[column], self._mean[column], self._m2[column] = bins, mean, m2
        if old == 0 or new == 0:
            return
        self._bins[column] = self._bins[column].merge(bins)
        with np.errstate(over="ignore", invalid="ignore"):
            delta = mean - self._mean[column]
            self._m2[column] += m2 + delta * delta * (old * (new / (old + new)))
            self._mean[column] += delta * (new / (old + new))

    # -- as arrays ---------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All it knows; narrower types where nothing is lost. lengths: bins of each of the C numbers."""
        self._take_in()
        bins = self._bins
        lo, hi = (np.concatenate([getattr(each, name) for each in bins]) for name in ("lo", "hi"))
        count = np.concatenate([each.count for each in bins])
        with np.errstate(over="ignore"):
            single = all((x.astype(np.float32) == x).all() for x in (lo, hi))
        return {
            "shape": np.array(self.shape, np.int64),
            "rows": np.array([self.rows], np.int64),
            "mean": self._mean,
            "m2": self._m2,
            "cut": np.array([each.cut for each in bins], np.int64),
            "lengths": np.array([len(each) for each in bins], np.int64),
            "lo": lo.astype(np.float32) if single else lo,
            "hi": hi.astype(np.float32) if single else hi,
            "count": count.astype(np.uint32) if count.max(initial=0) < 1 << 32 else count,
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> "Sketch":
        """The inverse of `to_arrays`."""
        out = cls(name, arrays["shape"].tolist())
        out.rows = int(arrays["rows"][0])
        out._mean[:], out._m2[:] = arrays["mean"], arrays["m2"]
        ends = np.cumsum(arrays["lengths"])
        parts = [np.split(arrays[key], ends[:-1]) for key in ("lo", "hi", "count")]
        for column, (lo, hi, count) in enumerate(zip(*parts, strict=True)):
            wide = lo.astype(np.float64), hi.astype(np.float64), count.astype(np.int64)
            out._bins[column] = Bins(*wide, cut=int(arrays["cut"][column]))
        return out
