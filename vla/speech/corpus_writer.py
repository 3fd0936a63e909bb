"""Making a corpus: parts of some utterances each, written by any number of processes, joined at the end.

Which sentence is spoken by which voice and how fast follows from (seed, number) alone. A part is written
aside and then named, so an interrupted run goes on with the parts that are missing, and a corpus is the same
bit for bit however it came about.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla.errors import BadInput
from vla.folders import write_whole
from vla.speech.augment import generator
from vla.speech.corpus import INDEX, NOTE, SOUND, Utterance
from vla.speech.engines import Engine, open_engine
from vla.speech.files import to_int16
from vla.speech.voices import Voice, voices_of

__all__ = ["Spoken", "begin", "is_whole", "join", "missing_parts", "plan", "write_part"]

RATES = (0.85, 1.2)
"""How fast voices speak, as factors of their own pace."""
PARTS = "parts"
_BEGUN = "begun.json"


@dataclass(frozen=True)
class Spoken:
    """One utterance to be made."""

    text: str
    voice: Voice
    rate: float


def plan(
    texts: Sequence[str], split: str, shares: Mapping[str, float], seed: int, first: int = 0
) -> list[Spoken]:
    """Who says each text, and how fast. shares: engine -> how often. first: the number of the first text."""
    engines = sorted(name for name, share in shares.items() if share > 0)
    if not engines:
        raise BadInput(f"no engine speaks for split '{split}'; give a share above 0")
    weights = np.array([shares[name] for name in engines])
    voices = {name: voices_of(split, (name,)) for name in engines}
    out = []
    for number, text in enumerate(texts, start=first):
        rng = generator(seed, number)
        own = voices[engines[int(rng.choice(len(engines), p=weights / weights.sum()))]]
        out.append(Spoken(text, own[int(rng.integers(len(own)))], round(float(rng.uniform(*RATES)), 3)))
    return out


def begin(folder: Path, note: Mapping[str, Any]) -> None:
    """Write down how the folder is made. Raises BadInput where it was begun in another way."""
    file = folder / _BEGUN
    plain = json.loads(json.dumps(note))
    if not file.is_file():
        write_whole(file, json.dumps(plain, indent=1, sort_keys=True) + "\n")
        return
    held = json.loads(file.read_text(encoding="utf-8"))
    for key in sorted(held.keys() | plain.keys()):
        if held.get(key) != plain.get(key):
            raise BadInput(
                f"{folder} was begun with {key}={held.get(key)}, now it is {plain.get(key)}: give another "
                f"out=, or the same {key}"
            )


def is_whole(folder: Path) -> bool:
    """Whether the corpus is finished."""
    return (folder / NOTE).is_file()


def missing_parts(folder: Path, parts: int) -> list[int]:
    """Numbers of those that are not there."""
    return [part for part in range(parts) if not _index(folder, part).is_file()]


def _index(folder: Path, part: int) -> Path:
    return folder / PARTS / f"{part:06d}.jsonl"


def write_part(
    folder: Path,
    part: int,
    planned: Sequence[Spoken],
    engines: dict[str, Engine],
    check: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Speak `planned` into a part; yields 1 for each. engines: opened as needed, and kept for the next part.

    check is called before each utterance, and ends the part by what it raises.
    """
    index = _index(folder, part)
    index.parent.mkdir(exist_ok=True)
    asides = [index.with_name(f".{index.stem}{end}.{os.getpid()}.tmp") for end in (".i16", ".jsonl")]
    start = 0
    try:
        with asides[0].open("wb") as sound, asides[1].open("w", encoding="utf-8") as lines:
            for each in planned:
                check()
                name = each.voice.engine
                if name not in engines:
                    engines[name] = open_engine(name)
                said = engines[name].utter(each.text, each.voice.name, each.rate)
                sound.write(to_int16(said.sound).astype("<i2").tobytes())
                about = Utterance(
                    each.text,
                    name,
                    each.voice.name,
                    each.rate,
                    each.voice.split,
                    start,
                    len(said.sound),
                    said.phones,
                )
                lines.write(about.line() + "\n")
                start += len(said.sound)
                yield 1
        os.replace(asides[0], index.with_suffix(".i16"))
        os.replace(asides[1], index)  # last: a part is there when its index is
    finally:
        for aside in asides:
            aside.unlink(missing_ok=True)


def join(folder: Path, parts: int, note: Mapping[str, Any]) -> None:
    """Put the parts together, write the note, remove the parts."""
    asides = {name: folder / f".{name}.{os.getpid()}.tmp" for name in (SOUND, INDEX)}
    digests = {name: hashlib.sha256() for name in asides}
    sizes = dict.fromkeys(asides, 0)
    start, count = 0, 0
    try:
        with asides[SOUND].open("wb") as sound, asides[INDEX].open("wb") as index:

            def put(name: str, data: bytes) -> None:
                (sound if name == SOUND else index).write(data)
                digests[name].update(data)
                sizes[name] += len(data)

            for part in range(parts):
                file = _index(folder, part)
                data = file.with_suffix(".i16").read_bytes()
                put(SOUND, data)
                length = 0
                for line in file.read_text(encoding="utf-8").splitlines():
                    about = Utterance.of(line)
                    put(INDEX, (_moved(about, start).line() + "\n").encode())
                    length, count = length + about.length, count + 1
                if length * 2 != len(data):
                    file.unlink()
                    raise BadInput(
                        f"{file} does not fit its sound and was removed: run again to make it anew"
                    )
                start += length
        for name, aside in asides.items():
            os.replace(aside, folder / name)
    finally:
        for aside in asides.values():
            aside.unlink(missing_ok=True)
    whole = {"how": dict(note), "count": count, "samples": start, "sound_bytes": sizes[SOUND]}
    whole |= {"index_bytes": sizes[INDEX], "sound_sha256": digests[SOUND].hexdigest()}
    whole |= {"index_sha256": digests[INDEX].hexdigest()}
    write_whole(folder / NOTE, json.dumps(whole, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder / PARTS)


def _moved(about: Utterance, by: int) -> Utterance:
    return Utterance(**{**about.__dict__, "start": about.start + by})
