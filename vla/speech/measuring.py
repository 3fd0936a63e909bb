"""Listening, measured on utterances whose truth is known: delays, halves, false alarms, missed stops."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.intervals import wilson
from vla.speech.effects import QUIET
from vla.speech.endpoint import EndpointConfig, Endpointer, Heard
from vla.speech.silero import CHUNK, Silero
from vla.speech.stop import StopDetector

__all__ = ["Ears", "Endpoints", "end_of_speech", "share"]

_Sound = npt.NDArray[np.float32]


def end_of_speech(sound: _Sound) -> int:
    """Samples until the last 10 ms that are within 30 dB of the loudest: of a clean recording."""
    frames = sound[: len(sound) // 160 * 160].astype(np.float64).reshape(-1, 160)
    power = np.mean(frames**2, 1)
    return 160 * (1 + int(np.flatnonzero(power >= QUIET * power.max())[-1]))


def share(hits: int, of: int) -> str:
    """A share with its 95% interval."""
    low, high = wilson(hits, of)
    return f"{hits} of {of}, {100 * hits / max(1, of):.1f}% ({100 * low:.1f} to {100 * high:.1f})"


@dataclass
class Endpoints:
    """delays: seconds from the true end of speech until the utterance was ready."""

    spoken: int = 0
    once: int = 0
    again: int = 0
    missed: int = 0
    delays: list[float] = field(default_factory=list)

    def add(self, heard: list[Heard], end: float) -> None:
        """What was heard of one utterance that ended `end` seconds after the stream's start."""
        whole = [each for i, each in enumerate(heard) if i + 1 == len(heard) or not heard[i + 1].again]
        self.spoken += 1
        self.missed += not heard
        self.once += len(whole) == 1
        self.again += any(each.again for each in heard)
        if heard:
            self.delays.append(heard[-1].ready - end)

    def told(self) -> str:
        """A line."""
        low, middle, high = 1000 * np.percentile(self.delays or [np.nan], (5, 50, 95))
        return (
            f"one utterance {share(self.once, self.spoken)}, missed {self.missed}, given in two steps "
            f"{self.again}; ready {middle:.0f} ms after the end of speech (5% {low:.0f}, 95% {high:.0f})"
        )


class Ears:
    """The parts of a listener without its threads, timed. stop: none, only utterances are listened for."""

    def __init__(self, stop: StopDetector | None = None, config: EndpointConfig | None = None) -> None:
        self._speech, self._endpointer, self._stop = Silero(), Endpointer(config), stop
        self.speech_ms: list[float] = []
        """Milliseconds of each chunk, of the speech detector."""
        self.stop_ms: list[float] = []
        """The same of the stop word's."""

    def hear(self, sound: _Sound) -> tuple[list[Heard], list[float]]:
        """A sound by itself -> its utterances, and the seconds at which stop was heard."""
        self._speech.reset()
        self._endpointer.reset()
        if self._stop is not None:
            self._stop.reset()
        heard, stops = [], []
        for number, chunk in enumerate(_chunks(sound), start=1):
            start = time.perf_counter()
            probability = self._speech(chunk)
            found = self._endpointer.feed(probability, chunk)
            middle = time.perf_counter()
            if self._stop is not None and self._stop.feed(chunk, probability):
                stops.append(number * CHUNK / RATE)
            self.speech_ms.append(1000 * (middle - start))
            self.stop_ms.append(1000 * (time.perf_counter() - middle))
            heard += [found] if found is not None else []
        return heard, stops


def _chunks(sound: _Sound) -> Iterable[_Sound]:
    for first in range(0, len(sound) - CHUNK + 1, CHUNK):
        yield sound[first : first + CHUNK]
