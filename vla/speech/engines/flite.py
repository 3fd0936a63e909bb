"""flite: five voices of four recorded speakers, and it prints where each phone ends."""

import functools
import subprocess

from vla.data.sound import RATE
from vla.speech.engines.base import Engine, Phone, Spoken
from vla.speech.engines.programs import find_program, run_to_wav

__all__ = ["Flite"]

SKIPPED = ("awb_time",)  # tells the time and nothing else


class Flite(Engine):
    """A run of the program for each sentence, of 20 to 60 ms."""

    name = "flite"

    def __init__(self) -> None:
        self._program = find_program("flite", "flite")

    @functools.cache  # noqa: B019  an engine lives as long as the process
    def voices(self) -> tuple[str, ...]:
        printed = self._ask("-lv").partition(":")[2]
        return tuple(name for name in dict.fromkeys(printed.split()) if name not in SKIPPED)

    @functools.cache  # noqa: B019
    def version(self) -> str:
        return next(
            (line.split()[1] for line in self._ask("--version").splitlines() if "version:" in line), ""
        )

    def _ask(self, option: str) -> str:
        return subprocess.run([self._program, option], capture_output=True, text=True, check=False).stdout

    def _utter(self, text: str, voice: str, rate: float) -> Spoken:
        stretch = f"duration_stretch={1 / rate:.4f}"
        sound, printed = run_to_wav(
            [self._program, "-voice", voice, "--setf", stretch, "-psdur", "-t", text, "-o", "{wav}"]
        )
        pairs = (word.rpartition(":") for word in printed.split())
        lasts = len(sound) / RATE  # kal's sound ends a tenth of a second within its last pause
        return Spoken(sound, tuple(Phone(name, min(round(float(end), 3), lasts)) for name, _, end in pairs))
