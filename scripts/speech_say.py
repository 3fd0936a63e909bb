"""Speak a sentence: ``python scripts/speech.py say "lift the red cube" engine=flite voice=rms``."""

import time
from dataclasses import dataclass
from pathlib import Path

from vla.config import command
from vla.errors import BadInput
from vla.folders import writable_folder

__all__ = ["Say", "main"]


@dataclass(frozen=True)
class Say:
    """Options of the command; see conf/speech_say.yaml."""

    text: str | None = None
    engine: str = "flite"
    voice: str | None = None
    rate: float = 1.0
    voices: Path | None = None
    out: Path = Path("outputs/speech/said.wav")


@command("speech_say", Say)
def main(config: Say) -> None:
    """Speak, write, and say how long it took; without a text, list the engine's voices."""
    from vla.data.sound import RATE
    from vla.speech.engines import open_engine
    from vla.speech.files import write_sound

    engine = open_engine(config.engine, config.voices)
    if config.text is None:
        print(f"{config.engine} {engine.version()} has the voices {', '.join(engine.voices())}")
        return
    if config.out.is_dir() or config.out.suffix.lower() != ".wav":
        raise BadInput(f"out={config.out}: give a file that ends in .wav")
    writable_folder(config.out.parent)
    start = time.perf_counter()
    said = engine.utter(config.text, config.voice, config.rate)
    took = time.perf_counter() - start
    write_sound(config.out, said.sound)
    phones = f", {len(said.phones)} phones" if said.phones else ""
    print(f"{config.out}: {len(said.sound) / RATE:.2f} s of sound in {took * 1000:.0f} ms{phones}")


if __name__ == "__main__":
    main()
