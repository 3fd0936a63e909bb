"""Where a spoken command begins and ends, decided chunk by chunk: a state machine without threads or clocks.

A short pause ends an utterance, because every tenth of a second counts. Where the speaker goes on soon
after, it was a pause within a command: then the whole is given once more, from its first word on.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from vla.checks import at_least, at_most
from vla.data.sound import RATE
from vla.errors import BadInput
from vla.speech.silero import CHUNK

__all__ = ["EndpointConfig", "Endpointer", "Heard"]


@dataclass(frozen=True)
class EndpointConfig:
    """start, end: probabilities of speech above which it begins, below which it pauses. begin: chunks in a
    row that begin it. silence: seconds of pause that end it. join: seconds of pause within which what follows
    belongs to it. before: seconds kept from before it was noticed. shortest: seconds of speech below which it
    was a click. longest: seconds at which it is cut off."""

    start: float = 0.5
    end: float = 0.35
    begin: int = 3
    silence: float = 0.09
    join: float = 0.6
    before: float = 0.3
    shortest: float = 0.15
    longest: float = 8.0

    def __post_init__(self) -> None:
        at_least(self, 0.0, "end", "before", "shortest")
        at_least(self, 1, "begin")
        at_least(self, CHUNK / RATE, "silence")
        at_most(self, 0.999, "start")
        at_most(self, 5.0, "silence", "join", "before")
        at_most(self, 600.0, "longest")
        if not self.end <= self.start:
            raise BadInput(f"end={self.end} must not be above start={self.start}")
        if not self.longest >= 2 * (self.before + self.silence):
            raise BadInput(f"longest={self.longest}: at least twice before + silence is needed")
        if not self.join >= self.silence:
            raise BadInput(f"join={self.join} must not be below silence={self.silence}")


@dataclass(frozen=True)
class Heard:
    """One utterance. sound: float32 [n] at 16 kHz. began, ended, ready: seconds since the stream began: of
    the first sample, of the end of speech, and of the sample with which it was complete. cut: it went on
    beyond the longest. again: it begins with the utterance before it, which was not yet all."""

    sound: npt.NDArray[np.float32]
    began: float
    ended: float
    ready: float
    cut: bool = False
    again: bool = False


class _State(Enum):
    IDLE = "nobody speaks"
    SPEAKING = "somebody speaks"
    PAUSED = "an utterance was given, and may go on"
    TOO_LONG = "somebody still speaks after the cut"


class Endpointer:
    """Feed it every chunk in order; it holds at most `longest` seconds, whatever comes."""

    def __init__(self, config: EndpointConfig | None = None) -> None:
        self.config = config = config or EndpointConfig()
        self._pause, self._join, self._before, self._most = (
            math.ceil(seconds * RATE / CHUNK)
            for seconds in (config.silence, config.join, config.before, config.longest)
        )
        self.reset()

    def reset(self) -> None:
        """Forget what was heard, as at the beginning of a stream."""
        self._clock = 0
        self._kept: deque[npt.NDArray[np.float32]] = deque()
        self._idle()

    def _idle(self) -> None:
        self._state, self._again = _State.IDLE, False
        self._loud = self._quiet = self._spoken = 0

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking now."""
        return self._state in (_State.SPEAKING, _State.TOO_LONG)

    def feed(self, probability: float, chunk: npt.NDArray[np.float32]) -> Heard | None:
        """Its probability of speech, and float32 [512] -> an utterance, with the chunk that ends it."""
        self._clock += 1
        self._kept.append(chunk)
        self._loud = self._loud + 1 if probability >= self.config.start else 0
        self._quiet = self._quiet + 1 if probability < self.config.end else 0
        self._spoken += bool(self._loud)
        if self._state in (_State.IDLE, _State.PAUSED):
            self._wait()
        elif self._state is _State.SPEAKING:
            return self._listen()
        else:
            self._forget(self._before)
            if self._quiet >= self._pause:
                self._idle()
        return None

    def _wait(self) -> None:
        if self._loud >= self.config.begin:
            self._again = self._state is _State.PAUSED
            self._spoken = self._spoken if self._again else self._loud
            self._state = _State.SPEAKING
        elif self._state is _State.PAUSED and (self._quiet >= self._join or len(self._kept) >= self._most):
            self._idle()
        if self._state is _State.IDLE:
            self._forget(self._before + self.config.begin)

    def _listen(self) -> Heard | None:
        if self._quiet >= self._pause:
            if self._spoken * CHUNK < self.config.shortest * RATE:  # a click
                self._idle()
                return None
            self._state = _State.PAUSED
            return self._heard(False)
        if len(self._kept) >= self._most:
            self._state = _State.TOO_LONG
            return self._heard(True)
        return None

    def _forget(self, keep: int) -> None:
        while len(self._kept) > keep:
            self._kept.popleft()

    def _heard(self, cut: bool) -> Heard:
        ready = self._clock * CHUNK / RATE
        began = ready - len(self._kept) * CHUNK / RATE
        ended = ready - self._quiet * CHUNK / RATE
        return Heard(np.concatenate(self._kept), began, ended, ready, cut, self._again)
