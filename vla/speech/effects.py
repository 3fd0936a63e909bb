"""What happens to a voice between mouth and model: distance, a room, another microphone, too much gain."""

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from vla.data.sound import RATE, resample

__all__ = ["add_noise", "band", "clip", "level", "padded", "reverberate", "room", "snr", "speed"]

FRAME = RATE // 50
"""Samples of 20 ms, over which loudness is judged."""
QUIET = 1e-3
"""Share of the loudest frame's power below which nobody is speaking (30 dB)."""
_Sound = npt.NDArray[np.floating]


def level(sound: _Sound) -> float:
    """Mean square over the frames in which somebody speaks, so that pauses do not count; 0 for silence."""
    whole = len(sound) // FRAME * FRAME
    power = (
        np.mean(np.square(sound[:whole], dtype=np.float64).reshape(-1, FRAME), 1) if whole else np.zeros(0)
    )
    if len(power) == 0 or power.max() == 0:
        return float(np.mean(np.square(sound, dtype=np.float64))) if len(sound) else 0.0
    return float(power[power >= QUIET * power.max()].mean())


def snr(sound: _Sound, noise: _Sound) -> float:
    """Signal to noise in dB: the voice's level while it speaks, over the noise's mean square."""
    return 10 * float(np.log10(level(sound) / np.mean(np.square(noise, dtype=np.float64))))


def add_noise(sound: _Sound, noise: _Sound, decibels: float) -> _Sound:
    """`sound` [n] with `noise` [n], of mean square 1, so loud that `snr` is `decibels`. Silence stays."""
    return sound + noise * np.sqrt(level(sound) * 10 ** (-decibels / 10))


def room(rng: np.random.Generator, seconds: float, direct: float) -> npt.NDArray[np.float64]:
    """A room's answer to a click: the click, a few early echoes, then noise that dies away.

    seconds: until the tail is 60 dB down. direct: dB of the click over all else; lower is further away.
    High notes die sooner, as walls and air take more of them. Mean square of a voice is kept, roughly.
    """
    n = max(2, int(seconds * RATE))
    time = np.arange(n) / RATE
    tail = rng.standard_normal(n) * 10 ** (-3 * time / seconds)
    dull = np.convolve(tail, np.ones(4) / 2, "same") * 10 ** (-1.5 * time / seconds)
    late = dull + 0.5 * tail * 10 ** (-4.5 * time / seconds)
    late[: int(rng.uniform(0.004, 0.012) * RATE)] = 0  # sound takes its time to the first wall and back
    for _ in range(rng.integers(3, 7)):
        late[min(n - 1, int(rng.uniform(0.003, 0.04) * RATE))] += rng.choice((-1, 1)) * rng.uniform(0.5, 1.5)
    power = np.sum(late**2)
    answer = late * np.sqrt(10 ** (-direct / 10) / power) if power > 0 else late
    answer[0] = 1.0
    return answer / np.sqrt(np.sum(answer**2))


def reverberate(sound: _Sound, answer: npt.NDArray[np.float64]) -> _Sound:
    """`sound` [n] in a room -> [n], equally loud; what still rings after the end is cut off."""
    wet = fftconvolve(np.asarray(sound, np.float64), answer)[: len(sound)]
    was, now = level(sound), level(wet)
    return wet * np.sqrt(was / now) if now > 0 else wet


def speed(sound: _Sound, factor: float) -> _Sound:
    """Played faster: shorter and higher, as of another person. factor: kept to whole hundredths."""
    hundredths = round(100 * factor)
    return sound if hundredths == 100 else resample(np.asarray(sound), hundredths, 100)


def band(sound: _Sound, low: float, high: float) -> _Sound:
    """Only what lies between `low` and `high` Hz, with slopes of half an octave; a telephone: 300 to 3400."""
    hertz = np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 1e-3)
    rising = np.clip(np.log2(hertz / low) * 2 + 1, 0, 1) if low > 0 else 1.0
    falling = np.clip(1 - np.log2(hertz / high) * 2, 0, 1)
    return np.fft.irfft(np.fft.rfft(sound) * rising * falling, len(sound))


def clip(sound: _Sound, over: float) -> _Sound:
    """Overdriven: so loud that the peak would stand `over` times above full scale, and cut there."""
    peak = np.abs(sound).max(initial=0)
    return np.clip(sound * (over / peak), -1, 1) if peak > 0 else sound


def padded(sound: _Sound, before: int, after: int) -> _Sound:
    """Silence of so many samples around it."""
    return np.pad(sound, (before, after))
