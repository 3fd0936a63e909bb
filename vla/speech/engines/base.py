"""What every engine that speaks is to the rest: voices by name, a sentence in, a sound out."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE, resample
from vla.errors import BadInput, did_you_mean

__all__ = ["Engine", "Phone", "Spoken", "at_16_khz", "check_rate", "check_text"]

LONGEST_TEXT = 500
RATES = (0.5, 2.0)
_Sound = npt.NDArray[np.float32]


class Phone(NamedTuple):
    """A phone in the engine's own letters, and when it ends, in seconds from the sound's start."""

    name: str
    end: float


class Spoken(NamedTuple):
    """sound: float32 [n] at 16 kHz in -1..1. phones: in order, none where the engine does not tell them."""

    sound: _Sound
    phones: tuple[Phone, ...] = ()


class Engine(ABC):
    """One engine. Making it raises BadInput, which names what to install, where the engine is missing."""

    name: ClassVar[str]

    @abstractmethod
    def voices(self) -> tuple[str, ...]:
        """Names of all voices that are installed."""

    @abstractmethod
    def version(self) -> str:
        """Which release speaks: the same sentence sounds the same only from the same one."""

    @abstractmethod
    def _utter(self, text: str, voice: str, rate: float) -> Spoken: ...

    def utter(self, text: str, voice: str | None = None, rate: float = 1.0) -> Spoken:
        """Speak. text: English in ASCII. voice: the first one unless told. rate: 2 is twice as fast."""
        check_text(text)
        check_rate(rate)
        known = self.voices()
        voice = known[0] if voice is None else voice
        if voice not in known:
            raise BadInput(f"{self.name} has no voice '{voice}'{did_you_mean(voice, known)}")
        spoken = self._utter(text, voice, float(rate))
        if len(spoken.sound) == 0:
            raise BadInput(f"{self.name} says nothing for {text!r}; give words")
        return spoken

    def say(self, text: str, voice: str | None = None, rate: float = 1.0) -> _Sound:
        """The sound alone: float32 [n], mono, 16 kHz, in -1..1."""
        return self.utter(text, voice, rate).sound

    def close(self) -> None:  # noqa: B027  most keep nothing running
        """End what the engine keeps running; it may be used again, and starts it anew."""


def check_text(text: str) -> None:
    """Raise BadInput for what engines do not read alike: nothing, other alphabets, control characters."""
    if not isinstance(text, str) or not any(letter.isalnum() for letter in text):
        raise BadInput(f"there is nothing to say in {text!r}; give words")
    if not text.isascii() or not text.isprintable():
        raise BadInput(f"only English in ASCII can be spoken, on one line, not {text!r}")
    if len(text) > LONGEST_TEXT:
        raise BadInput(f"a text of {len(text)} letters is too long to speak, at most {LONGEST_TEXT}: cut it")


def check_rate(rate: float) -> None:
    """Raise BadInput for a rate outside of what all engines do."""
    if not math.isfinite(rate) or not RATES[0] <= rate <= RATES[1]:
        raise BadInput(f"rate={rate}: from {RATES[0]} to {RATES[1]} is possible, 1 is the voice's own")


def at_16_khz(samples: npt.NDArray[np.integer] | npt.NDArray[np.floating], rate: int) -> _Sound:
    """What an engine gave, int16 or float in -1..1 [n], at any rate -> float32 in -1..1 at 16 kHz."""
    x = samples / 32768.0 if samples.dtype.kind == "i" else samples
    if rate != RATE and len(x):
        x = resample(x, rate, RATE)
    return np.clip(x, -1.0, 1.0).astype(np.float32)
