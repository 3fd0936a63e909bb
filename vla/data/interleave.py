"""Which source each training sample comes from, by counting.

In every block of `block` samples each source stands as often as its share says, to the nearest sample, and
its samples are spread evenly: any batch holds, within one or two, its share of each. Nothing is remembered
from sample to sample, so batch size, workers, processes and interruptions change nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["BLOCK", "Interleave"]

BLOCK = 10_000
_Ints = npt.NDArray[np.int64]


class Interleave:
    """Shares float [S], not negative, of any sum above 0 -> the source of each sample number."""

    def __init__(self, shares: Sequence[float], seed: int, block: int = BLOCK) -> None:
        given = np.asarray(shares, np.float64)
        if not (given >= 0).all() or not np.isfinite(given).all() or given.sum() <= 0:
            raise BadInput(f"shares of sources must be 0 or more, and one above 0, not {list(shares)}")
        self.seed, self.block = seed, block
        self.counts = _rounded(given / given.sum() * block)
        self._number = -1
        self._sources: _Ints = np.zeros(0, np.int64)
        self._places: _Ints = np.zeros(0, np.int64)

    def __call__(self, start: int, count: int) -> tuple[_Ints, _Ints]:
        """Of the samples `start` .. `start + count - 1`: their source, and which of its samples each is,
        counted from 0 since the very first one; both int64 [count]."""
        sources, numbers = [], []
        while count > 0:
            block, offset = divmod(start, self.block)
            self._lay_out(block)
            span = slice(offset, min(offset + count, self.block))
            sources.append(self._sources[span])
            numbers.append(block * self.counts[self._sources[span]] + self._places[span])
            start, count = start + span.stop - offset, count - (span.stop - offset)
        return np.concatenate(sources), np.concatenate(numbers)

    def drawn(self, samples: int) -> _Ints:
        """int64 [S]: how many of the first `samples` are each source's."""
        whole, rest = divmod(samples, self.block)
        sources, _ = self(whole * self.block, rest) if rest else (np.zeros(0, np.int64), None)
        return whole * self.counts + np.bincount(sources, minlength=len(self.counts))

    def _lay_out(self, block: int) -> None:
        """The block's order: sample i of a source's n is due at (i + u) / n, with u its own random number."""
        if block == self._number:
            return
        shift = np.random.Generator(np.random.Philox(key=[self.seed, block])).random(len(self.counts))
        source = np.repeat(np.arange(len(self.counts)), self.counts)
        place = np.concatenate([np.arange(n) for n in self.counts])
        due = (place + shift[source]) / self.counts[source]
        order = np.argsort(due, kind="stable")
        self._number, self._sources, self._places = block, source[order], place[order]


def _rounded(wanted: npt.NDArray[np.float64]) -> _Ints:
    """Whole numbers of the same sum, by largest remainder; what is wanted at all stands at least once."""
    counts = np.floor(wanted).astype(np.int64)
    counts[(wanted > 0) & (counts == 0)] = 1
    while (short := round(wanted.sum()) - counts.sum()) != 0:
        place = np.argmax((wanted - counts) * np.sign(short))
        counts[place] += np.sign(short)
    return counts
