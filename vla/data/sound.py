"""A user's sound -> what the model hears: mono, 16 kHz, float32 in -1..1. Numpy only."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput
from vla.notice import say_once

__all__ = ["RATE", "prepare", "resample"]

RATE = 16_000
"""Samples a second that the model hears."""
RATES = (1_000, 384_000)
"""Lowest and highest rate that is believed."""
CHANNELS = 32
"""More than these are a sound whose axes were swapped."""

LOBES = 48
"""Zero crossings of the sinc on each side."""
PASS = 0.95
"""Where the resampling filter cuts, as a share of the lower of both Nyquist frequencies: it is flat up to 0.9
of it, and 70 dB down at 1."""
BETA = 7.0
"""Shape of the Kaiser window: side lobes 70 dB down."""


def prepare(audio: npt.ArrayLike, rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Any mono or many-channel recording -> float32 [n] in -1..1 at 16 kHz, n at most 16000 x seconds.

    audio: float32 or float64 in -1..1, or int16 or int32, [samples] or [samples, channels] (averaged).
    rate: its samples a second; another rate than 16 kHz is resampled, which is said once on stderr.
    seconds: the longest the model takes (audio.seconds). Raises BadInput, one line, for all else.
    """
    x = _checked(audio)
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not RATES[0] <= rate <= RATES[1]:
        raise BadInput(
            f"the sound's rate must be a whole number of Hz, {RATES[0]} to {RATES[1]}, not {rate!r}"
        )
    lasts = len(x) / rate
    if lasts > seconds:
        raise BadInput(
            f"the sound lasts {math.ceil(lasts * 1000) / 1000:g} s, the model takes at most {seconds:g} s: "
            f"cut it, or use a model with a larger audio.seconds"
        )
    if rate != RATE:
        say_once(f"resample {rate}", f"sound at {rate} Hz is resampled to {RATE} Hz")
        # The filter may overshoot a full-scale edge by a little.
        x = np.clip(resample(x, int(rate), RATE), -1.0, 1.0)
    return x.astype(np.float32)


def _checked(audio: Any) -> npt.NDArray[Any]:
    """float32 or float64 [n], mono, or BadInput."""
    if not isinstance(audio, np.ndarray) or audio.dtype not in (np.float32, np.float64, np.int16, np.int32):
        kind = getattr(audio, "dtype", type(audio).__name__)
        raise BadInput(f"the sound must be a float32, float64, int16 or int32 array, not {kind}")
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and audio.shape[1] > CHANNELS):
        raise BadInput(f"the sound must have shape [samples] or [samples, channels], not {list(audio.shape)}")
    if audio.size == 0:
        raise BadInput("the sound is empty: for no sound, give None instead of an array")
    if audio.dtype.kind == "i":
        audio = audio / float(2 ** (8 * audio.dtype.itemsize - 1))
    elif not np.isfinite(audio).all():
        raise BadInput(f"the sound is not finite at sample {int(np.argwhere(~np.isfinite(audio))[0, 0])}")
    elif np.abs(audio).max() > 1:
        raise BadInput(
            f"the sound reaches {np.abs(audio).max():.4g}, outside of -1..1: divide it by its full scale "
            f"(32768 for 16 bits)"
        )
    return audio.mean(1) if audio.ndim == 2 else audio


def resample(x: npt.NDArray[Any], rate: int, to: int) -> npt.NDArray[np.float64]:
    """[n] at `rate` Hz -> float64 [n * to / rate, rounded, at least 1] at `to` Hz. Sample 0 stays at time 0.

    Band-limited interpolation (Smith, Digital Audio Resampling): each new sample is a sum of old ones under a
    windowed sinc around its own time. Those that fall between old samples in the same way share weights.
    """
    common = math.gcd(rate, to)
    up, down = to // common, rate // common  # new sample i stands at old sample i * down / up
    cut = PASS * min(1.0, up / down)  # as a share of the old Nyquist frequency
    reach = math.ceil(LOBES / cut)
    taps = np.arange(-reach, reach + 1)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, reach), len(taps))
    new = np.zeros(max(1, round(len(x) * to / rate)))
    for phase in range(min(up, len(new))):
        first, fraction = divmod(phase * down, up)
        away = taps - fraction / up
        window = np.i0(BETA * np.sqrt(np.maximum(0.0, 1 - (away / (reach + 1)) ** 2)))
        weights = np.sinc(cut * away) * window
        new[phase::up] = windows[first::down][: len(new[phase::up])] @ (weights / weights.sum())
    return new
