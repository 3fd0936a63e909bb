"""pico (SVOX), where Debian's package libttspico-utils, of its section non-free, is there."""

from vla.speech.engines.base import Engine, Spoken
from vla.speech.engines.programs import find_program, run_to_wav

__all__ = ["Pico"]


class Pico(Engine):
    """One woman's voice in two dialects."""

    name = "pico"

    def __init__(self) -> None:
        self._program = find_program("pico2wave", "libttspico-utils (Debian's section non-free)")

    def voices(self) -> tuple[str, ...]:
        return ("en-US", "en-GB")

    def version(self) -> str:
        return ""  # it does not tell

    def _utter(self, text: str, voice: str, rate: float) -> Spoken:
        plain = text.replace("<", " ").replace(">", " ").replace("&", " and ")  # it reads tags
        paced = f'<speed level="{round(rate * 100)}">{plain}</speed>'
        return Spoken(run_to_wav([self._program, "-l", voice, "-w", "{wav}", paced])[0])
