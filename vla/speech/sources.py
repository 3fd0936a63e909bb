"""Where live sound comes from: a microphone, a sound file played as a stream, or raw samples from a pipe.

A source fills a ring from a thread of its own, and closes it at its end.
"""

import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.errors import BadInput
from vla.optional import need
from vla.speech.files import read_sound
from vla.speech.ring import Ring
from vla.speech.silero import CHUNK

__all__ = ["FileSource", "Microphone", "RawSource", "Source"]


class Source(ABC):
    """Started once, with the ring to fill; `stop` returns within about a tenth of a second."""

    @abstractmethod
    def start(self, ring: Ring) -> None:
        """Begin to fill. Raises BadInput where the device or file cannot be opened."""

    @abstractmethod
    def stop(self) -> None:
        """End, and close the ring."""


class FileSource(Source):
    """A file, or float32 [n] at 16 kHz, with a second of silence after it. real_time: as fast as it was
    spoken; otherwise as fast as the listener can."""

    def __init__(self, sound: Path | npt.NDArray[np.float32], real_time: bool = True) -> None:
        self._sound = read_sound(sound) if isinstance(sound, Path) else sound
        self._real_time, self._stop = real_time, threading.Event()

    def start(self, ring: Ring) -> None:
        self._ring = ring
        self._thread = threading.Thread(target=self._play, name="sound file", daemon=True)
        self._thread.start()

    def _play(self) -> None:
        sound = np.concatenate([self._sound, np.zeros(RATE + -len(self._sound) % CHUNK, np.float32)])
        begin = time.monotonic()
        for first in range(0, len(sound), CHUNK):
            if self._real_time:  # a chunk is there when its last sample was spoken
                due = begin + (first + CHUNK) / RATE - time.monotonic()
                if self._stop.wait(max(0.0, due)):
                    break
            else:
                while not self._stop.is_set() and not self._ring.wait_for_room(CHUNK, 0.1):
                    if self._ring.closed:
                        return
            if self._stop.is_set():
                break
            self._ring.put(sound[first : first + CHUNK])
        self._ring.close()

    def stop(self) -> None:
        self._stop.set()
        self._ring.close()
        self._thread.join(1.0)


class RawSource(Source):
    """int16, little-endian, mono, 16 kHz, from a pipe: `arecord -t raw -f S16_LE -r 16000 | ...`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._stop = stream, threading.Event()

    def start(self, ring: Ring) -> None:
        self._ring = ring
        # A read that waits for more cannot be interrupted: such a thread ends with the process.
        threading.Thread(target=self._read, name="raw sound", daemon=True).start()

    def _read(self) -> None:
        left = b""
        read = getattr(self._stream, "read1", self._stream.read)
        while not self._stop.is_set() and (data := read(2 * CHUNK)):
            data = left + data
            whole = len(data) // 2 * 2
            left = data[whole:]
            self._ring.put(np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768))
        self._ring.close()

    def stop(self) -> None:
        self._stop.set()
        self._ring.close()


class Microphone(Source):
    """device: its name or number, as `python -m sounddevice` lists them; the system's own unless told."""

    def __init__(self, device: str | int | None = None) -> None:
        self._device = device
        self._stream: Any = None

    def start(self, ring: Ring) -> None:
        self._ring = ring
        try:
            sounddevice = need("sounddevice", "speech", "a microphone")
        except OSError:
            raise BadInput("a microphone needs PortAudio: apt-get install libportaudio2") from None

        def heard(samples: npt.NDArray[np.float32], count: int, when: Any, status: Any) -> None:
            ring.put(samples[:, 0].copy())

        try:
            self._stream = sounddevice.InputStream(
                samplerate=RATE,
                blocksize=CHUNK,
                channels=1,
                dtype="float32",
                device=self._device,
                callback=heard,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            told = str(error).splitlines()[0]
            raise BadInput(
                f"no microphone at {RATE} Hz ({told}); see python -m sounddevice, and give source=NAME"
            ) from None

    def stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._ring.close()
