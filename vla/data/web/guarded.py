"""A source that can be asked for any record: what is damaged is told, counted, and stood in for by another.

The record that stands in is the next good one (of the same side of the split), so it is a function of the
record's number alone: workers, order and a resumed run make no difference. Too much damage ends the run; so
does a source of which nothing can be read, at once.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from vla.data.web.pictures import WebPictures
from vla.data.web.sample import Damaged, Turn, WebSample, WebSource
from vla.errors import BadInput
from vla.notice import say_once

__all__ = ["Guarded"]

SHOWN = 3
"""Damaged records that an error names."""
FIRST = 16
"""Records that are read on opening: a wrong folder of pictures shows at once, not in the night."""
ENOUGH = 100
"""Damage is a share of at least so many records, so that one of the first few is not too much."""


class Guarded:
    """`source` without its damaged records.

    skip: the share of damaged records, among those tried (as if at least 100 were), that is put up with.
    held: bool [records], which are held for validation; such a record stands in for such a one only.
    Raises BadInput with the first few where more are damaged. May be asked by several threads.
    """

    def __init__(
        self, source: WebSource, skip: float = 0.01, held: npt.NDArray[np.bool_] | None = None
    ) -> None:
        self.source, self.skip, self.name = source, skip, source.name
        self._held = np.zeros(len(source), np.bool_) if held is None else held
        self._good = np.zeros(len(source), np.bool_)
        self.damaged: dict[int, Damaged] = {}
        """Number of each damaged record met so far, and what is wrong with it."""
        self._instead: dict[int, int] = {}
        self._lock = threading.Lock()
        first = np.unique(np.linspace(0, len(source) - 1, FIRST).astype(int)).tolist()
        self._opening = True
        readable = [number for number in first if self._try(number) is not None]
        self._opening = False
        self._judge()
        if not readable:
            self.stands_in(0)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> WebSample:
        """The record, or the one that stands in for it. Raises BadInput where too much is damaged."""
        sample = None if number in self.damaged else self._try(number)
        return self.source[self._stand_in(number)] if sample is None else sample

    def stands_in(self, number: int) -> int:
        """The record's own number if it is good, else that of the one that stands in for it."""
        if self._good[number] or (number not in self.damaged and self._try(number) is not None):
            return number
        return self._stand_in(number)

    def turns(self, number: int) -> tuple[Turn, ...]:
        """Texts of the record ``self[number]``; whether its pictures can be decoded is tried first."""
        return self.source.turns(self.stands_in(number))

    def ahead(self, numbers: Iterable[int]) -> None:
        """As `WebPictures.ahead`; of other sources nothing is read ahead."""
        if isinstance(self.source, WebPictures):
            self.source.ahead(numbers)

    def first(self, numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """As `WebPictures.first`, of the records that stand in: a source with sized pictures is needed."""
        assert isinstance(self.source, WebPictures)
        self.ahead(numbers.tolist())
        own = [self.stands_in(number) for number in numbers.tolist()]
        return self.source.first(np.array(own, np.int64))

    def texts(self) -> Iterator[str]:
        """As the source's."""
        return self.source.texts()

    @property
    def identity(self) -> str:
        """As the source's."""
        return self.source.identity

    @property
    def tried(self) -> int:
        """Different records read so far."""
        return int(self._good.sum()) + len(self.damaged)

    def summary(self) -> str:
        """One line: how many records were damaged, by kind. What other ranks read, or an earlier process
        before a resume, is not known here, and the line says so."""
        kinds = Counter(error.kind for error in self.damaged.values()).most_common()
        told = "; ".join(f"{count:,} x {kind}" for kind, count in kinds)
        return (
            f"web.{self.name}: {len(self.damaged):,} of {self.tried:,} records damaged"
            + (f" ({told})" if told else "")
            + "; counted are those that this process has read"
        )

    def _try(self, number: int) -> WebSample | None:
        try:
            sample = self.source[number]
        except Damaged as error:
            self._note(number, error)
            return None
        self._good[number] = True
        return sample

    def _stand_in(self, number: int) -> int:
        """The next good record of the same side, around the end to the beginning."""
        if number in self._instead:
            return self._instead[number]
        side = np.flatnonzero(self._held == self._held[number])
        after = int(np.searchsorted(side, number))
        for each in np.roll(side, -after)[1:].tolist():
            if self._good[each] or (each not in self.damaged and self._try(each) is not None):
                self._instead[number] = each
                return each
        raise BadInput(f"web.{self.name}: none of its {len(side):,} records can be read: {self._some()}")

    def _note(self, number: int, error: Damaged) -> None:
        with self._lock:
            self.damaged[number] = error
        key = f"web {self.name} {error.kind}"
        say_once(key, f"web.{self.name}: skipped {error}; more of this kind are counted, not told")
        if not self._opening:
            self._judge()

    def _judge(self) -> None:
        if len(self.damaged) > self.skip * max(ENOUGH, self.tried):
            raise BadInput(
                f"web.{self.name}: {len(self.damaged):,} of {self.tried:,} records tried are damaged, more "
                f"than the {self.skip:.1%} of mixture.skip: {self._some()}"
            )

    def _some(self) -> str:
        lines = [str(error) for error in list(self.damaged.values())[:SHOWN]]
        return "; ".join(lines) + ("; ..." if len(self.damaged) > SHOWN else "")
