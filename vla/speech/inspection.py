"""What a corpus holds: a table, and for a page pictures of sounds and players for them."""

import base64
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.speech.corpus import Corpus, Utterance
from vla.speech.files import wav_bytes

__all__ = ["player", "spectrogram", "table"]

WINDOW, HOP = 512, 128


def table(corpus: Corpus) -> list[tuple[str, str]]:
    """Rows of what and its value, a split after the other."""
    rows = [("size", f"{corpus.hours * 60:.1f} minutes, {corpus.hours * RATE * 7200 / 2**20:.0f} MB")]
    splits = dict.fromkeys(each.split for each in corpus.utterances)
    for split in splits:
        rows += _split(split, [each for each in corpus.utterances if each.split == split])
    speakers = [{(e.engine, e.voice) for e in corpus.utterances if e.split == split} for split in splits]
    if len(speakers) == 2:
        rows.append(("overlap", f"{len(speakers[0] & speakers[1])} voices in both splits"))
    return rows


def _split(split: str, utterances: list[Utterance]) -> Iterable[tuple[str, str]]:
    seconds = np.array([each.length for each in utterances]) / RATE
    words = [word for each in utterances for word in each.text.split()]
    engines = Counter(each.engine for each in utterances)
    voices = {name: len({e.voice for e in utterances if e.engine == name}) for name in engines}
    said = ", ".join(f"{name} {count} ({voices[name]} voices)" for name, count in engines.most_common())
    yield split, f"{len(utterances)} utterances, {seconds.sum() / 3600:.2f} hours, {len(set(words))} words"
    yield "  engines", said
    yield "  texts", f"{len({each.text for each in utterances})} different, {len(words)} words spoken"
    low, middle, high = np.percentile(seconds, (5, 50, 95))
    yield "  length", f"{middle:.1f} s (5% under {low:.1f}, 5% over {high:.1f}, longest {seconds.max():.1f})"
    yield "  rate", f"{min(e.rate for e in utterances):.2f} to {max(e.rate for e in utterances):.2f}"
    yield "  phones", f"{sum(bool(each.phones) for each in utterances)} utterances have them, with their ends"


def spectrogram(sound: npt.NDArray[np.floating], height: int = 128) -> npt.NDArray[np.uint8]:
    """uint8 [height, frames, 3]: how loud each frequency (0 below, 8 kHz above) is, over 70 dB, each 8 ms."""
    x = np.pad(np.asarray(sound, np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW)))[:, 1:] ** 2
    power = power.reshape(len(power), height, -1).mean(2)
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    shade = np.clip((decibels - decibels.max()) / 70 + 1, 0, 1).T[::-1]
    # From white over the page's blue to its ink.
    colors = np.array([[255, 255, 255], [47, 111, 237], [29, 39, 51]], np.float64)
    out = np.stack([np.interp(shade, (0, 0.6, 1), colors[:, i]) for i in range(3)], -1)
    return out.astype(np.uint8)


def player(sound: npt.NDArray[np.floating]) -> str:
    """An address that holds the sound itself, for a page's <audio>."""
    return f"data:audio/wav;base64,{base64.b64encode(wav_bytes(sound)).decode()}"
