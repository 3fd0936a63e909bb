"""Engines that speak, by name. One that is missing is a line that says what to install."""

from collections.abc import Callable
from pathlib import Path

from vla.errors import BadInput, did_you_mean
from vla.speech.engines.base import Engine, Phone, Spoken
from vla.speech.engines.espeak import DIALECTS, Espeak
from vla.speech.engines.festival import Festival
from vla.speech.engines.flite import Flite
from vla.speech.engines.pico import Pico
from vla.speech.engines.piper import Piper

__all__ = ["DIALECTS", "ENGINES", "Engine", "Phone", "Spoken", "open_engine"]

ENGINES: dict[str, Callable[[], Engine]] = {
    "espeak": Espeak,
    "flite": Flite,
    "festival": Festival,
    "pico": Pico,
    "piper": Piper,
}


def open_engine(name: str, voices: Path | None = None) -> Engine:
    """An engine that is ready to speak. voices: the folder of piper's voices. Raises BadInput."""
    if name not in ENGINES:
        raise BadInput(f"no engine '{name}'{did_you_mean(name, ENGINES)}")
    return Piper(voices) if name == "piper" else ENGINES[name]()
