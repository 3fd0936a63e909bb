"""Listen to a live source: ``python scripts/speech.py listen`` (microphone), or with ``source=said.wav``.

Each utterance is told when it is ready, and the word "stop" when it was heard. Ends with Ctrl-C, after
`seconds`, or with the file.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vla.checks import at_least
from vla.config import command
from vla.folders import writable_folder
from vla.speech.endpoint import EndpointConfig

if TYPE_CHECKING:
    from vla.speech.sources import Source
    from vla.speech.stop import StopDetector

__all__ = ["Listen", "main"]


@dataclass(frozen=True)
class Listen:
    """Options of the command; see conf/speech_listen.yaml."""

    source: str | None = None
    real_time: bool = True
    seconds: float | None = None
    stop_word: bool = True
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    keep: Path | None = None

    def __post_init__(self) -> None:
        at_least(self, 0.1, "seconds")


@command("speech_listen", Listen)
def main(config: Listen) -> None:
    """Listen, and print what is heard."""
    from vla.data.sound import RATE
    from vla.speech.files import write_sound
    from vla.speech.listener import Listener

    source, word = _source(config), _stop_word() if config.stop_word else None
    if config.keep is not None:
        writable_folder(config.keep)
    print("listening; end with Ctrl-C", file=sys.stderr)
    end, found, told = time.monotonic() + (config.seconds or float("inf")), 0, 0
    with Listener(source, config.endpoint, word) as listener:
        while not listener.done and time.monotonic() < end:
            heard = listener.poll(0.1)
            for moment in listener.stops[told:]:
                print(f"{moment:8.2f} s  STOP", flush=True)
            told = len(listener.stops)
            if heard is None:
                continue
            found += 1
            marks = " (cut)" * heard.cut + " (goes on from the one before)" * heard.again
            lasts, late = len(heard.sound) / RATE, heard.ready - heard.ended
            print(
                f"{heard.ready:8.2f} s  {lasts:.2f} s, {late * 1000:.0f} ms after its end{marks}", flush=True
            )
            if config.keep is not None:
                write_sound(config.keep / f"heard-{found:03d}.wav", heard.sound)
    cost, slowest = 1000 * listener.busy / max(1, listener.chunks), 1000 * listener.slowest
    print(f"{found} utterances, {told} stops in {listener.chunks * 0.032:.1f} s; {listener.lost:.1f} s lost")
    print(f"{cost:.1f} ms a chunk of 32 ms, {slowest:.0f} ms the slowest")


def _source(config: Listen) -> "Source":
    from vla.speech.sources import FileSource, Microphone, RawSource

    if config.source == "-":
        return RawSource(sys.stdin.buffer)
    if config.source is not None and (Path(config.source).exists() or Path(config.source).suffix):
        return FileSource(Path(config.source), config.real_time)
    given = config.source
    return Microphone(int(given) if given is not None and given.isdigit() else given)


def _stop_word() -> "StopDetector":
    from envs.tabletop.language import all_sentences_sample
    from vla.speech.stop import StopWord

    return StopWord(all_sentences_sample(3000, 0))


if __name__ == "__main__":
    main()
