"""Utterances as a robot hears them: each time another room, noise and microphone, and the same each run.

All chance follows from (seed, utterance, draw) by a counter-based generator. So an augmented utterance does
not depend on how many workers there are, in what order they work, or where a run was interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vla.checks import at_least, at_most, check_seed
from vla.data.sound import RATE
from vla.errors import BadInput, did_you_mean
from vla.speech import effects
from vla.speech.noises import NOISES, babble

__all__ = ["AugmentConfig", "Augmenter", "generator"]

_KINDS = (*NOISES, "babble")


@dataclass(frozen=True)
class AugmentConfig:
    """How often each thing happens (0 to 1), and between which bounds.

    speeds: factors. rooms: seconds until an echo is 60 dB down. direct: dB of the voice over its echoes.
    decibels: of the voice over the noise. cutoffs: Hz of a dull microphone; a telephone is 300 to 3400.
    overdrive: how far above full scale the peak would stand. peaks: of the sound, in dB under full scale.
    silence: the longest, before and after, in seconds.
    """

    speed: float = 0.5
    speeds: tuple[float, float] = (0.9, 1.1)
    room: float = 0.5
    rooms: tuple[float, float] = (0.15, 0.8)
    direct: tuple[float, float] = (-3.0, 12.0)
    noise: float = 0.8
    noises: dict[str, float] = field(
        default_factory=lambda: {"white": 1.0, "pink": 2.0, "motors": 2.0, "babble": 2.0}
    )
    decibels: tuple[float, float] = (0.0, 30.0)
    telephone: float = 0.05
    dull: float = 0.1
    cutoffs: tuple[float, float] = (2500.0, 7000.0)
    clipping: float = 0.05
    overdrive: tuple[float, float] = (1.2, 5.0)
    peaks: tuple[float, float] = (-30.0, -1.0)
    silence: float = 0.5

    def __post_init__(self) -> None:
        often = ("speed", "room", "noise", "telephone", "dull", "clipping")
        at_least(self, 0.0, *often, "silence")
        at_most(self, 1.0, *often)
        at_most(self, 10.0, "silence")
        low = {"speeds": 0.5, "rooms": 0.05, "direct": -20.0, "decibels": -20.0, "cutoffs": 500.0}
        low |= {"overdrive": 1.0, "peaks": -80.0}
        high = {"speeds": 2.0, "rooms": 3.0, "direct": 40.0, "decibels": 80.0, "cutoffs": 8000.0}
        high |= {"overdrive": 100.0, "peaks": 0.0}
        for name in low:
            ends = getattr(self, name)
            if len(ends) != 2 or not low[name] <= ends[0] <= ends[1] <= high[name]:
                raise BadInput(f"{name}={list(ends)}: two numbers from {low[name]} to {high[name]}, rising")
        for kind, weight in self.noises.items():
            if kind not in _KINDS:
                raise BadInput(f"no noise '{kind}'{did_you_mean(kind, _KINDS)}")
            if not 0 <= weight < np.inf:
                raise BadInput(f"noises.{kind}={weight}: a weight of 0 or more is needed")
        if self.noise and not sum(self.noises.values()):
            raise BadInput("every weight of noises is 0; give noise=0 for none")


def generator(seed: int, utterance: int, draw: int = 0, stream: int = 0) -> np.random.Generator:
    """Random numbers of one draw of one utterance, independent of those of all others."""
    return np.random.Generator(np.random.Philox(key=[seed, utterance], counter=[0, 0, stream, draw]))


class Augmenter:
    """crowd: other utterances, float [n] each, for babble; without any, pink noise stands in for it."""

    def __init__(
        self, config: AugmentConfig, seed: int = 0, crowd: Sequence[npt.NDArray[np.floating]] = ()
    ) -> None:
        self.config, self.seed, self.crowd = config, seed, crowd
        check_seed(self)
        self._kinds = [kind for kind, weight in config.noises.items() if weight]
        weights = np.array([config.noises[kind] for kind in self._kinds])
        self._shares = weights / weights.sum() if len(weights) else weights

    def __call__(
        self, sound: npt.NDArray[np.floating], utterance: int, draw: int = 0
    ) -> npt.NDArray[np.float32]:
        """float [n] in -1..1 at 16 kHz -> float32 [m] in -1..1: n over the speed, with silence around it.

        utterance, draw: which it is, and the how-manieth time it is asked for (such as the epoch).
        """
        config, rng = self.config, generator(self.seed, utterance, draw)
        # Whether and how much is drawn in a fixed order, so that one setting leaves the others' draws alone.
        faster, factor = _drawn(rng, config.speed, config.speeds)
        walls, seconds = _drawn(rng, config.room, config.rooms)
        direct = rng.uniform(*config.direct)
        noisy, decibels = _drawn(rng, config.noise, config.decibels)
        dull, cutoff = _drawn(rng, config.dull, config.cutoffs)
        over, drive = _drawn(rng, config.clipping, config.overdrive)
        telephone = rng.random() < config.telephone
        peak = 10 ** (rng.uniform(*config.peaks) / 20)
        before, after = (int(each * RATE) for each in rng.uniform(0, config.silence, 2))
        kind, wall, other = (generator(self.seed, utterance, draw, stream) for stream in (1, 2, 3))

        x: npt.NDArray[np.floating] = np.asarray(sound, np.float64)
        if faster:
            x = effects.speed(x, factor)
        x = effects.padded(x, before, after)
        if walls:
            x = effects.reverberate(x, effects.room(wall, seconds, direct))
        if noisy:
            x = effects.add_noise(x, self._noise(len(x), kind, other), decibels)
        if telephone or dull:
            x = effects.band(x, *((300.0, 3400.0) if telephone else (0.0, cutoff)))
        if over:
            x = effects.clip(x, drive)
        loudest = np.abs(x).max(initial=0)
        x = x * (peak / loudest) if loudest > 0 else x
        return np.clip(x, -1, 1).astype(np.float32)

    def _noise(self, n: int, kind: np.random.Generator, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        name = self._kinds[int(kind.choice(len(self._kinds), p=self._shares))]
        if name == "babble" and len(self.crowd):
            return babble(n, rng, self.crowd)
        return NOISES["pink" if name == "babble" else name](n, rng)


def _drawn(rng: np.random.Generator, often: float, bounds: tuple[float, float]) -> tuple[bool, float]:
    """Whether it happens, and how much."""
    return bool(rng.random() < often), rng.uniform(*bounds)
