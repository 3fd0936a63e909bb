"""A source with its pictures at training size: from the decoded cache, or decoded as they are asked for."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla.configuration import ImageConfig
from vla.data.web.decoded import Decoded, open_decoded, resized
from vla.data.web.files import cache_folder
from vla.data.web.fitting import moved
from vla.data.web.sample import Damaged, Turn, WebSample, WebSource

__all__ = ["WebPictures"]

_Images = npt.NDArray[np.uint8]


class WebPictures:
    """A `WebSource` whose pictures are uint8 [size, size, 3], resized and fitted as `image` says, boxes moved
    along. `Guarded` goes around it, so that what cannot be fitted counts as damage too.

    cached: decode all once into a file (`folder`, else the source's own cache folder); else as they are asked
    for, keeping the last `keep` records and, in `ahead`, using `threads` (Pillow and torch let others run).
    """

    def __init__(
        self,
        source: WebSource,
        size: int,
        image: ImageConfig,
        cached: bool = True,
        *,
        folder: Path | None = None,
        workers: int | None = None,
        threads: int = 2,
        keep: int = 512,
    ) -> None:
        self.source, self.size, self.image, self.name = source, size, image, source.name
        self._keep, self._threads = keep, threads
        self._recent: OrderedDict[int, WebSample | Damaged] = OrderedDict()
        self._lock = threading.Lock()
        place = folder or getattr(source, "cache", None) or cache_folder("", None)
        self._decoded = (
            open_decoded(source, size, image, place, self.identity, workers=workers) if cached else None
        )

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def identity(self) -> str:
        """16 hex digits of source, size and way of fitting."""
        told = f"{self.source.identity}/{len(self)}/{self.size}/{self.image.fit}/{self.image.resize}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def texts(self) -> Iterator[str]:
        """As the source's."""
        return self.source.texts()

    def __getitem__(self, number: int) -> WebSample:
        """One record; its pictures are not to be written into. Raises Damaged."""
        if self._decoded is not None:
            rows = range(self._decoded.first[number], self._decoded.first[number + 1])
            return WebSample(tuple(self._decoded.images[row] for row in rows), self.turns(number))
        found = self._recent.get(number) or self._remember(number)
        if isinstance(found, Damaged):
            raise found
        return found

    def turns(self, number: int) -> tuple[Turn, ...]:
        """The record's texts, boxes as in the fitted picture; without the cache it may be decoded for that.

        Raises Damaged."""
        if self._decoded is not None:
            if number in self._decoded.damaged:
                raise Damaged(*self._decoded.damaged[number])
            turns, begin = self.source.turns(number), int(self._decoded.first[number])
            if begin == int(self._decoded.first[number + 1]):
                return turns
            height, width = self._decoded.shapes[begin].tolist()
            return moved(turns, (height, width), self.image)
        if number not in self._recent and self.image.fit != "letterbox":
            return self.source.turns(number)
        return self[number].turns

    def ahead(self, numbers: Iterable[int]) -> None:
        """Decode these records now, in threads, to have them when they are asked for one by one."""
        if self._decoded is None:
            wanted = [number for number in dict.fromkeys(numbers) if number not in self._recent]
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(self._remember, wanted))

    def first(self, numbers: npt.NDArray[np.int64]) -> tuple[_Images, npt.NDArray[np.bool_]]:
        """The first picture of each record, uint8 [n, size, size, 3], and which have one, bool [n].

        Raises Damaged."""
        if self._decoded is not None:
            return self._mapped(self._decoded, numbers)
        images = np.zeros((len(numbers), self.size, self.size, 3), np.uint8)
        there = np.zeros(len(numbers), np.bool_)
        self.ahead(numbers.tolist())
        for row, number in enumerate(numbers.tolist()):
            pictures = self[number].images
            if pictures:
                images[row], there[row] = pictures[0], True
        return images, there

    @staticmethod
    def _mapped(decoded: Decoded, numbers: npt.NDArray[np.int64]) -> tuple[_Images, npt.NDArray[np.bool_]]:
        bad = next((number for number in numbers.tolist() if number in decoded.damaged), None)
        if bad is not None:
            raise Damaged(*decoded.damaged[bad])
        rows = decoded.first[numbers]
        there = rows < decoded.first[numbers + 1]
        images = np.zeros((len(numbers), *decoded.images.shape[1:]), np.uint8)
        images[there] = decoded.images[rows[there]]
        return images, there

    def _remember(self, number: int) -> WebSample | Damaged:
        found: WebSample | Damaged
        try:
            (pictures, sample), shapes = resized(self.source, number, self.size, self.image)
            turns = moved(sample.turns, (shapes[0][0], shapes[0][1]), self.image) if shapes else sample.turns
            found = replace(sample, images=pictures, turns=turns)
        except Damaged as error:
            found = error
        with self._lock:
            self._recent[number] = found
            while len(self._recent) > self._keep:
                self._recent.popitem(last=False)
        return found
