"""A bounded store of sound between the thread that records and the thread that listens."""

import threading

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE

__all__ = ["Ring"]


class Ring:
    """One writes, one reads. Writing never waits: what does not fit pushes out the oldest, and is counted.

    seconds: how much it holds.
    """

    def __init__(self, seconds: float = 4.0) -> None:
        self._sound = np.zeros(max(1, int(seconds * RATE)), np.float32)
        self._start = self._held = 0
        self.lost = 0
        """Samples that were pushed out unread."""
        self._closed = False
        self._changed = threading.Condition()

    def put(self, samples: npt.NDArray[np.float32]) -> None:
        """Append float32 [n]."""
        size = len(self._sound)
        with self._changed:
            if self._closed:
                return
            self.lost += max(0, len(samples) - size)
            samples = samples[-size:]
            over = max(0, self._held + len(samples) - size)
            self._start, self._held, self.lost = (
                (self._start + over) % size,
                self._held - over,
                self.lost + over,
            )
            places = (self._start + self._held + np.arange(len(samples))) % size
            self._sound[places] = samples
            self._held += len(samples)
            self._changed.notify_all()

    def take(self, count: int, timeout: float) -> npt.NDArray[np.float32] | None:
        """The oldest `count` samples, as soon as there are so many; None after `timeout` seconds without, or
        where it was closed with fewer left."""
        with self._changed:
            self._changed.wait_for(lambda: self._held >= count or self._closed, timeout)
            if self._held < count:
                return None
            places = (self._start + np.arange(count)) % len(self._sound)
            self._start, self._held = (self._start + count) % len(self._sound), self._held - count
            self._changed.notify_all()
            return self._sound[places]

    def wait_for_room(self, count: int, timeout: float) -> bool:
        """Whether `count` samples fit without a loss, waiting for it: for a source that can wait."""
        with self._changed:
            fits = self._changed.wait_for(
                lambda: self._closed or self._held + count <= len(self._sound), timeout
            )
            return fits and not self._closed

    def close(self) -> None:
        """No more comes; what is held can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self._closed
