"""The spoken word "stop", on a path of its own: no policy, no torch, nothing to wait for.

pocketsphinx listens to each utterance while it is spoken, with a language model that holds the commands and,
beside them, "stop", "halt" and "freeze", alone or with "please", "now" and the like. A command is then heard
as a command, instead of as a bad "stop": keyword spotting, which has nothing to compare with, raised 112
false alarms an hour where it found as many.

It hears recorded voices in a quiet room. In noise it misses most: it is a comfort, and no emergency stop.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.speech.files import to_int16
from vla.speech.recognise import open_decoder
from vla.speech.silero import CHUNK

__all__ = ["STOP_WORDS", "StopDetector", "StopWord", "says_stop"]

STOP_WORDS = ("stop", "halt", "freeze")
_AROUND = ("please", "now", "it", "moving", "robot")
BEFORE, AFTER = 10, 10
"""Chunks kept from before speech was noticed; chunks of silence that end what belongs together."""
_ENDINGS = ("", " now", " please", " it", " moving")


class StopDetector(Protocol):
    """What a listener asks with every chunk."""

    def feed(self, chunk: npt.NDArray[np.float32], probability: float) -> bool:
        """float32 [512], and how likely it is speech -> whether the arm must stop now."""

    def reset(self) -> None:
        """Forget what was heard."""


def says_stop(words: list[str]) -> bool:
    """A stop word, alone or with words around it that no command is made of."""
    return any(word in STOP_WORDS for word in words) and all(w in STOP_WORDS or w in _AROUND for w in words)


class StopWord:
    """commands: sentences that are no reason to stop, hundreds of them. pause: seconds of silence after the
    word; endless: seconds after which it counts without one."""

    def __init__(self, commands: Iterable[str], pause: float = 0.06, endless: float = 0.5) -> None:
        ways = [f"{a}{w}{b}" for w in STOP_WORDS for a in ("", "please ", "robot ") for b in _ENDINGS]
        repeated = [" ".join([w] * times) for w in STOP_WORDS for times in (2, 3)]
        commands = list(dict.fromkeys(commands))
        expected = [*repeated, *ways]
        # As likely as all commands together: to hold for nothing costs less than to go on.
        times = max(1, len(commands) // len(expected))
        # One pass of search: the answer has to be there with the chunk.
        self._decoder: Any = open_decoder(commands + expected * times, fwdflat=False, bestpath=False)
        self._pause, self._endless = (math.ceil(s * RATE / CHUNK) for s in (pause, endless))
        self._running = False
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        if self._running:
            self._decoder.end_utt()
        self._running = self._told = False
        self._before: deque[npt.NDArray[np.float32]] = deque(maxlen=BEFORE)
        self._quiet = self._held = 0

    def feed(self, chunk: npt.NDArray[np.float32], probability: float) -> bool:
        """As of the protocol. An utterance says stop once."""
        if not self._running:
            self._before.append(chunk)
            if probability < 0.3:
                return False
            self._decoder.start_utt()
            self._running, self._told, self._quiet, self._held = True, False, 0, 0
            chunk = np.concatenate(self._before)
            self._before.clear()
        self._quiet = self._quiet + 1 if probability < 0.35 else 0
        self._decoder.process_raw(to_int16(chunk).tobytes(), no_search=False, full_utt=False)
        stop = False
        if not self._told:
            found = self._decoder.hyp()
            stopping = bool(found) and says_stop(found.hypstr.split())
            self._held = self._held + 1 if stopping else 0
            stop = self._told = stopping and (self._quiet >= self._pause or self._held >= self._endless)
        if self._quiet >= AFTER:
            self._decoder.end_utt()
            self._running = False
        return stop
