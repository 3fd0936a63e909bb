"""Sound files: any WAV, FLAC or OGG -> what the model hears, mono at 16 kHz; and back to a WAV.

What a file is, its first bytes say, whatever its name says. WAV is read by SciPy; the others by soundfile,
of the extra `speech`.
"""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE, prepare
from vla.errors import BadInput
from vla.optional import need

__all__ = ["LONGEST", "read_sound", "wav_bytes", "write_sound"]

LONGEST = 3600.0
"""Seconds that are read at most where the caller names no limit."""
LARGEST = 2**30
"""Bytes of a file that is opened at all."""
_HEADS = {b"RIFF": "WAV", b"RIFX": "WAV", b"RF64": "WAV", b"fLaC": "FLAC", b"OggS": "OGG"}
_Sound = npt.NDArray[np.float32]


def read_sound(path: Path | str, seconds: float = LONGEST) -> _Sound:
    """float32 [n] in -1..1 at 16 kHz, n from 1 to 16000 x seconds. Raises BadInput with the file's name."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give a WAV or FLAC file")
    size = path.stat().st_size
    if size == 0:
        raise BadInput(f"{path}: the file is empty; give a WAV or FLAC file")
    if size > LARGEST:
        raise BadInput(
            f"{path}: {size / 2**20:.0f} MB are too many, at most {LARGEST >> 20} are read: cut it"
        )
    try:
        with path.open("rb") as file:
            kind = _HEADS.get(file.read(4))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    if kind is None:
        raise BadInput(f"{path}: neither a WAV, a FLAC nor an OGG file, whatever its name; convert it to WAV")
    audio, rate = _wav(path) if kind == "WAV" else _soundfile(path, kind)
    if len(audio) == 0:
        raise BadInput(f"{path}: the {kind} file holds no samples; record it again")
    try:
        return prepare(audio, rate, seconds)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _wav(path: Path) -> tuple[npt.NDArray[Any], int]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)  # such as a file that ends too early
            warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # tags, which are skipped
            rate, audio = wavfile.read(path)
    # SciPy lets struct.error, EOFError, ZeroDivisionError and others through where the header is damaged.
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        told = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BadInput(f"{path}: the WAV file is damaged ({told}); record or convert it again") from None
    if audio.dtype == np.uint8:
        audio = (audio.astype(np.int16) - 128) * 256
    return audio, int(rate)


def _soundfile(path: Path, kind: str) -> tuple[npt.NDArray[Any], int]:
    soundfile = need("soundfile", "speech", f"a {kind} file")
    try:
        audio, rate = soundfile.read(path, dtype="float32")
    except soundfile.SoundFileError as error:
        told = str(error).splitlines()[0].rstrip(".")
        raise BadInput(f"{path}: the {kind} file is damaged ({told}); record or convert it again") from None
    return np.clip(audio, -1.0, 1.0), int(rate)


def wav_bytes(sound: npt.NDArray[np.floating], rate: int = RATE) -> bytes:
    """float [n] in -1..1 -> a WAV of 16 bits, mono."""
    from scipy.io import wavfile

    file = io.BytesIO()
    wavfile.write(file, rate, to_int16(sound))
    return file.getvalue()


def to_int16(sound: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """float in -1..1 -> int16, rounded; 1.0 itself becomes 32767."""
    return np.clip(np.round(np.asarray(sound, np.float64) * 32768), -32768, 32767).astype(np.int16)


def write_sound(path: Path, sound: npt.NDArray[np.floating], rate: int = RATE) -> None:
    """Write a WAV of 16 bits aside, then give it its name."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(wav_bytes(sound, rate))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
