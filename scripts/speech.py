"""Speech: ``python scripts/speech.py say "lift the red cube" engine=flite voice=rms out=said.wav``.

say      speak a sentence with an engine, into a WAV file
corpus   sentences of the tabletop grammar spoken by many voices, for training and for testing
inspect  what a corpus holds, and a page with players and spectrograms
listen   a microphone or a sound file as a live source: where commands begin and end, and the word "stop"
measure  the listener's delay, false starts, the stop word, and word errors of a third party's recogniser
"""

import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from vla.errors import did_you_mean

__all__ = ["PARTS", "main"]

PARTS = ("say", "corpus", "inspect", "listen", "measure")


def main(argv: Sequence[str] | None = None) -> None:
    """Hand the rest of the command line to the part that the first word names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(f"{__doc__}\nEach has its own --help: python scripts/speech.py say --help")
        return
    if name not in PARTS:
        print(f"speech.py: no part '{name}'{did_you_mean(name, PARTS)}", file=sys.stderr)
        raise SystemExit(2)
    rest = arguments[1:]
    if name == "say" and rest and not re.match(r"-|[+~]*[\w.@/]+=", rest[0]):
        rest[0] = _quoted("text", rest[0])
    if not __package__:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    importlib.import_module(f"{__package__ or 'scripts'}.speech_{name}").main(rest)


def _quoted(key: str, text: str) -> str:
    """A bare sentence as an override, whatever characters it has."""
    plain = text.replace("\\", " ").replace("'", "\\'")
    return f"{key}='{plain}'"


if __name__ == "__main__":
    main()
