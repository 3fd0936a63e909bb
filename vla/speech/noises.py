"""What else is to be heard while somebody speaks: noise of several colours, other voices, an arm's motors.

Each is a function of a length and a random generator alone: float64 [n], of mean square 1.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len

from vla.data.sound import RATE

__all__ = ["NOISES", "babble", "motors", "music", "pink", "white"]

_Noise = npt.NDArray[np.float64]
_Rng = np.random.Generator


def white(n: int, rng: _Rng) -> _Noise:
    """As much in every hertz: a hiss."""
    return _unit(rng.standard_normal(n))


def pink(n: int, rng: _Rng) -> _Noise:
    """As much in every octave, from 20 Hz up: a fan, rain, traffic far away."""
    whole = next_fast_len(max(n, RATE // 20), real=True)  # of which n are used: some lengths are slow
    spectrum = np.fft.rfft(rng.standard_normal(whole))
    hertz = np.fft.rfftfreq(whole, 1 / RATE)
    return _unit(
        np.fft.irfft(spectrum * np.where(hertz < 20, 0, 1 / np.sqrt(np.maximum(hertz, 20))), whole)[:n]
    )


def motors(n: int, rng: _Rng) -> _Noise:
    """Servos of an arm: two to four gear trains that start, run and stop, their drivers' whine, a hiss."""
    seconds = np.arange(n) / RATE
    total = 0.1 * rng.standard_normal(n)
    for _ in range(rng.integers(2, 5)):
        # Speed of the motor: steps every 0.2 to 0.6 s, smoothed by its inertia.
        knots = np.append(0, np.cumsum(rng.uniform(0.2, 0.6, 2 + int(n / RATE / 0.2))))
        speed = np.interp(seconds, knots, rng.uniform(0, 1, len(knots)) * (rng.random(len(knots)) < 0.8))
        phase = np.cumsum(rng.uniform(60, 120) + rng.uniform(100, 300) * speed) / RATE
        for harmonic in range(1, 9):  # teeth that meet, louder as it runs faster
            level = speed * rng.uniform(0.3, 1.0) / harmonic**0.7
            total += level * np.sin(2 * np.pi * (harmonic * phase + rng.random()))
    whine = rng.uniform(3000, 7500)
    total += rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * whine * seconds)
    return _unit(total)


def babble(n: int, rng: _Rng, crowd: Sequence[npt.NDArray[np.floating]]) -> _Noise:
    """Three to six utterances of `crowd` at once, each repeated from somewhere within it on."""
    total = np.zeros(n)
    for _ in range(rng.integers(3, 7)):
        voice = np.asarray(crowd[int(rng.integers(len(crowd)))], np.float64)
        start = rng.integers(len(voice))
        total += np.resize(np.roll(_unit(voice), -start), n)
    return _unit(total)


def music(n: int, rng: _Rng) -> _Noise:
    """Chords of plucked strings, a bass and drums, 90 to 140 beats a minute: to listen past."""
    beat = int(60 / rng.uniform(90, 140) * RATE)
    total = np.zeros(n + 4 * beat)
    key = 220 * 2 ** (rng.integers(12) / 12)
    for number, start in enumerate(range(0, n, beat)):
        time = np.arange(2 * beat) / RATE
        root = key * 2 ** ((0, 7, 9, 5)[number // 4 % 4] / 12)  # the progression of a thousand songs
        for semitones in (-12, 0, 4, 7):
            pitch = root * 2 ** (semitones / 12)
            string = sum(np.sin(2 * np.pi * pitch * k * time) / k**1.5 for k in range(1, 8))
            total[start : start + 2 * beat] += 0.3 * string * np.exp(-3 * time)
        drum = np.sin(2 * np.pi * 60 * time) * np.exp(-20 * time)
        snare = rng.standard_normal(2 * beat) * np.exp(-25 * time)
        total[start : start + 2 * beat] += drum if number % 2 == 0 else 0.5 * snare
    return _unit(total[:n])


NOISES: dict[str, Callable[[int, _Rng], _Noise]] = {"white": white, "pink": pink, "motors": motors}
"""Those that need nothing but numbers."""


def _unit(noise: _Noise) -> _Noise:
    power = np.mean(noise**2)
    return noise / np.sqrt(power) if power > 0 else noise
