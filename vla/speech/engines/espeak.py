"""espeak-ng in this process: a formant synthesizer with dialects and variants, faster than all others.

The library is the one of the wheel `espeakng-loader`, which brings its data, or else the system's. A voice
is "dialect+variant", such as "en-us+f2".

The library carries what it said over into what it says next (phases, random numbers), by a few samples. So it
is loaded anew for each sentence, which takes 4 ms: a sentence then sounds the same whatever was said before.
"""

import _ctypes
import contextlib
import ctypes
import ctypes.util
import functools
import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput
from vla.speech.engines.base import Engine, Spoken, at_16_khz

__all__ = ["DIALECTS", "Espeak"]

DIALECTS = {
    "en-us": "en-us",
    "en-gb": "en",  # the name of its file, which alone takes a variant
    "en-gb-x-rp": "en-gb-x-rp",
    "en-gb-scotland": "en-gb-scotland",
    "en-gb-x-gbclan": "en-gb-x-gbclan",
    "en-gb-x-gbcwmd": "en-gb-x-gbcwmd",
    "en-029": "en-029",
    "en-us-nyc": "en-us-nyc",
}
"""Tag of a dialect of English -> what the library calls it."""
WORDS_A_MINUTE = 175
"""The library's own pace."""
_SYNCHRONOUS, _RATE, _UTF8, _KEEP_GOING = 2, 1, 1, 0x8000
_lock = threading.Lock()
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak(Engine):
    """All dialects of English, each plain and with every variant."""

    name = "espeak"

    def __init__(self) -> None:
        try:
            loader: Any = importlib.import_module("espeakng_loader")
            place, data = loader.get_library_path(), str(loader.get_data_path()).encode()
        except ModuleNotFoundError:
            place, data = ctypes.util.find_library("espeak-ng"), None
        if not place:
            raise BadInput(
                "the engine espeak is not installed: pip install 'vla[speech]', or apt-get install espeak-ng"
            )
        self._place, self._data = place, data

    @functools.cache  # noqa: B019  an engine lives as long as the process
    def version(self) -> str:
        return self._info()[0]

    @functools.cache  # noqa: B019
    def voices(self) -> tuple[str, ...]:
        folder = Path(self._info()[1]) / "voices" / "!v"
        variants = sorted(file.name for file in folder.iterdir() if " " not in file.name)
        return tuple(f"{dialect}{end}" for dialect in DIALECTS for end in ("", *(f"+{v}" for v in variants)))

    def _info(self) -> tuple[str, str]:
        with self._started() as (library, _):
            library.espeak_Info.restype = ctypes.c_char_p
            folder = ctypes.c_char_p()
            version = library.espeak_Info(ctypes.byref(folder)).decode().split()[0]
            return version, (folder.value or b"").decode()

    @contextlib.contextmanager
    def _started(self) -> Iterator[tuple[Any, int]]:
        """The library, fresh, and its samples a second."""
        with _lock:
            library = ctypes.CDLL(self._place)
            try:
                hertz = library.espeak_Initialize(_SYNCHRONOUS, 0, self._data, _KEEP_GOING)
                if hertz <= 0:
                    raise BadInput(f"the engine espeak does not start: {self._place} finds no data")
                if hasattr(library, "espeak_ng_SetRandSeed"):  # since 1.52, which else asks the clock
                    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
                else:
                    ctypes.CDLL(None).srand(1)
                yield library, hertz
            finally:
                library.espeak_Terminate()
                _ctypes.dlclose(library._handle)

    def _utter(self, text: str, voice: str, rate: float) -> Spoken:
        pieces: list[npt.NDArray[np.int16]] = [np.zeros(0, np.int16)]

        def take(samples: Any, count: int, events: Any) -> int:
            if samples and count > 0:
                pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        dialect, plus, variant = voice.partition("+")
        encoded, callback = text.encode(), _Callback(take)
        with self._started() as (library, hertz):
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(f"{DIALECTS[dialect]}{plus}{variant}".encode()):
                raise BadInput(f"espeak cannot load its voice '{voice}'")
            library.espeak_SetParameter(_RATE, round(WORDS_A_MINUTE * rate), 0)
            library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _UTF8, None, None)
            library.espeak_Synchronize()
        return Spoken(at_16_khz(np.concatenate(pieces), hertz))
