"""Spoken sentences on disk: one flat file of sound, mapped, and a line of JSON for each utterance.

A folder holds `sound.i16` (int16, little-endian, one utterance after the other), `index.jsonl` (text, engine,
voice, rate, where the sound starts and how long it is in samples, split, phones where the engine told them)
and `corpus.json` (how it was made, how many there are, hashes of both files), which is written last.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from vla.data.sound import RATE
from vla.errors import BadInput
from vla.speech.engines import Phone

__all__ = ["INDEX", "NOTE", "SOUND", "Clip", "Corpus", "Utterance", "file_hash"]

SOUND, INDEX, NOTE = "sound.i16", "index.jsonl", "corpus.json"


@dataclass(frozen=True)
class Utterance:
    """A line of the index. start, length: samples at 16 kHz. phones: none where the engine told none."""

    text: str
    engine: str
    voice: str
    rate: float
    split: str
    start: int
    length: int
    phones: tuple[Phone, ...] = ()

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps({**asdict(self), "phones": [[name, round(end, 3)] for name, end in self.phones]})

    @classmethod
    def of(cls, line: str) -> "Utterance":
        """From a line of JSON. Raises ValueError, TypeError or KeyError where it is none."""
        plain = json.loads(line)
        phones = tuple(Phone(str(name), float(end)) for name, end in plain.pop("phones"))
        return cls(**plain, phones=phones)


@dataclass(frozen=True)
class Clip:
    """What a corpus gives for a number. sound: float32 [n] in -1..1 at 16 kHz."""

    sound: npt.NDArray[np.float32]
    about: Utterance


class Corpus(Sequence[Clip]):
    """Random access by number. The sound is mapped: any number of processes share one copy in memory.

    split: only that one's utterances, renumbered. Raises BadInput where the folder holds no whole corpus.
    """

    def __init__(self, folder: Path, split: str | None = None) -> None:
        self.folder = folder
        self.note = _read_note(folder)
        sound, index = folder / SOUND, folder / INDEX
        for file, size in ((sound, "sound_bytes"), (index, "index_bytes")):
            if not file.is_file() or file.stat().st_size != self.note.get(size):
                raise BadInput(f"{file} is not as it was made; remove {folder / NOTE} and make it again")
        try:
            self.utterances = [Utterance.of(line) for line in index.read_text(encoding="utf-8").splitlines()]
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{index} is damaged ({error}); remove {folder / NOTE} and make it again"
            ) from None
        if split is not None:
            self.utterances = [each for each in self.utterances if each.split == split]
            if not self.utterances:
                raise BadInput(f"{folder} holds nothing of split '{split}'; make a corpus with it")
        self._sound = np.memmap(sound, np.dtype("<i2"), "r")

    def __len__(self) -> int:
        return len(self.utterances)

    @overload
    def __getitem__(self, number: int) -> Clip: ...
    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...
    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        about = self.utterances[number]
        return Clip(
            self._sound[about.start : about.start + about.length].astype(np.float32) / np.float32(32768),
            about,
        )

    def sounds(self) -> "Sounds":
        """The sounds alone, such as a crowd for babble."""
        return Sounds(self)

    @property
    def hours(self) -> float:
        """Of sound."""
        return sum(each.length for each in self.utterances) / RATE / 3600

    def check(self) -> None:
        """Read both files whole. Raises BadInput where one is not what was written."""
        for name, key in ((SOUND, "sound_sha256"), (INDEX, "index_sha256")):
            if file_hash(self.folder / name) != self.note.get(key):
                raise BadInput(
                    f"{self.folder / name} is damaged; remove {self.folder / NOTE} and make it again"
                )

    def __getstate__(self) -> dict[str, Any]:
        """Workers map the file themselves."""
        return {**self.__dict__, "_sound": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._sound = np.memmap(self.folder / SOUND, np.dtype("<i2"), "r")


class Sounds(Sequence[npt.NDArray[np.float32]]):
    """The sounds of a corpus, by number."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __len__(self) -> int:
        return len(self.corpus)

    @overload
    def __getitem__(self, number: int) -> npt.NDArray[np.float32]: ...
    @overload
    def __getitem__(self, number: slice) -> list[npt.NDArray[np.float32]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [each.sound for each in self.corpus[number]]
        return self.corpus[number].sound


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        if not isinstance(note, dict):
            raise ValueError("no object")
        return note
    except FileNotFoundError:
        raise BadInput(
            f"{folder} holds no whole corpus; make it: python scripts/speech.py corpus out={folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / NOTE} is damaged ({error}); remove it and make the corpus again") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
