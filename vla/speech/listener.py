"""Listening beside everything else: a thread finds utterances and the word "stop" in a source's sound.

Whoever drives an arm asks `poll` at each step, which never waits. "stop" sets an event, and calls a function
at once, in the listening thread, so that it can hold an arm whatever the policy is doing.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.speech.endpoint import EndpointConfig, Endpointer, Heard
from vla.speech.ring import Ring
from vla.speech.silero import CHUNK, Silero
from vla.speech.sources import Source
from vla.speech.stop import StopDetector

__all__ = ["Listener", "utterances"]

MOST = 8
"""Utterances that wait to be asked for; then the oldest is forgotten."""


class Listener:
    """A context: leaving it ends its threads.

    stop: none, no stop word is listened for. on_stop: called in the listening thread; must return soon.
    """

    def __init__(
        self,
        source: Source,
        config: EndpointConfig | None = None,
        stop: StopDetector | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._source, self._stop_word, self._on_stop = source, stop, on_stop
        self._speech, self._endpointer = Silero(), Endpointer(config)
        self._ring = Ring()
        self._found: queue.Queue[Heard] = queue.Queue(MOST)
        self._leave = threading.Event()
        self.stopped = threading.Event()
        """Set when "stop" was heard, until somebody clears it."""
        self.stops: list[float] = []
        """Seconds since the stream began, at which it was."""
        self.chunks, self.busy, self.slowest = 0, 0.0, 0.0
        """Chunks heard; seconds of work, for all and for the slowest."""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def __enter__(self) -> Self:
        self._source.start(self._ring)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._source.stop()
        self._thread.join(2.0)

    @property
    def lost(self) -> float:
        """Seconds of sound that were lost because listening was slower than the source."""
        return self._ring.lost / RATE

    @property
    def done(self) -> bool:
        """Whether the source has ended, all of it was listened to, and nothing waits to be asked for."""
        return not self._thread.is_alive() and self._found.empty()

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking now."""
        return self._endpointer.speaking

    def poll(self, wait: float = 0.0) -> Heard | None:
        """The next utterance, if there is one. wait: seconds to wait for it. Raises what ended the thread."""
        with suppress(queue.Empty):
            return self._found.get(wait > 0, wait or None)
        if self._error is not None:
            raise self._error
        return None

    def _listen(self) -> None:
        try:
            while not self._leave.is_set():
                chunk = self._ring.take(CHUNK, 0.1)
                if chunk is not None:
                    self._hear(chunk)
                elif self._ring.closed:
                    return
        except Exception as error:
            self._error = error

    def _hear(self, chunk: npt.NDArray[np.float32]) -> None:
        begin = time.perf_counter()
        probability = self._speech(chunk)
        self.chunks += 1
        if self._stop_word is not None and self._stop_word.feed(chunk, probability):
            self.stops.append(self.chunks * CHUNK / RATE)
            self.stopped.set()
            if self._on_stop is not None:
                self._on_stop()
        heard = self._endpointer.feed(probability, chunk)
        if heard is not None:
            if self._found.full():
                with suppress(queue.Empty):
                    self._found.get_nowait()
            self._found.put(heard)
        took = time.perf_counter() - begin
        self.busy, self.slowest = self.busy + took, max(self.slowest, took)


def utterances(sound: npt.NDArray[np.float32], config: EndpointConfig | None = None) -> Iterator[Heard]:
    """Those of a recording, float32 [n] at 16 kHz, of any length, without threads. Where one came in two
    pieces, both are given: the second holds the first (`Heard.again`)."""
    speech, endpointer = Silero(), Endpointer(config)
    padded = np.concatenate([sound, np.zeros(RATE + -len(sound) % CHUNK, np.float32)])
    for first in range(0, len(padded), CHUNK):
        chunk = padded[first : first + CHUNK]
        heard = endpointer.feed(speech(chunk), chunk)
        if heard is not None:
            yield heard
