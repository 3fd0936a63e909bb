"""Sentences spoken by many voices: ``python scripts/speech.py corpus count=6000``. Run again to go on.

The sentences are the tabletop grammar's, or the lines of a file. Training utterances come from the voices
for training, test utterances from voices, and an engine, that training never hears (vla/speech/voices.py).
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla.checks import at_least, check_seed
from vla.config import command
from vla.errors import BadInput, did_you_mean
from vla.folders import output_folder

if TYPE_CHECKING:
    from vla.speech.corpus_writer import Spoken

__all__ = ["MakeCorpus", "main"]


@dataclass(frozen=True)
class MakeCorpus:
    """Options of the command; see conf/speech_corpus.yaml."""

    train_shares: Mapping[str, float]
    test_shares: Mapping[str, float]
    out: Path = Path("outputs/speech/corpus")
    count: int = 6000
    test: int = 600
    seed: int = 0
    sentences: Path | None = None
    per_part: int = 100
    workers: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 0, "count", "test")
        at_least(self, 1, "per_part", "workers")
        check_seed(self)
        if self.count + self.test == 0:
            raise BadInput("count=0 and test=0: there is nothing to speak")
        for key in ("train_shares", "test_shares"):
            for engine, share in getattr(self, key).items():
                if not 0 <= share < float("inf"):
                    raise BadInput(f"{key}.{engine}={share}: a share of 0 or more is needed")


@command("speech_corpus", MakeCorpus)
def main(config: MakeCorpus) -> None:
    """Speak what is missing, join it, and say how much there is."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by the workers, one each
    from vla.speech.corpus import Corpus
    from vla.speech.corpus_writer import begin, is_whole, join

    planned, note = _planned(config)
    parts = [planned[i : i + config.per_part] for i in range(0, len(planned), config.per_part)]
    start, new = time.perf_counter(), 0
    with output_folder(config.out):
        begin(config.out, note)
        if not is_whole(config.out):
            new = _speak(config, parts)
            join(config.out, len(parts), note)
        corpus = Corpus(config.out)
        corpus.check()
    took = time.perf_counter() - start
    print(f"{new} new utterances in {took:.0f} s" if new else "nothing new")
    print("\n".join(f"{what:<10}{value}" for what, value in _told(corpus)))


def _planned(config: MakeCorpus) -> tuple[list["Spoken"], dict[str, Any]]:
    """All utterances in order, and what they follow from. Raises BadInput where an engine is missing."""
    from vla.speech.corpus_writer import plan
    from vla.speech.engines import ENGINES, open_engine
    from vla.speech.voices import installed

    planned: list[Spoken] = []
    versions: dict[str, str] = {}
    note: dict[str, Any] = {"seed": config.seed, "per_part": config.per_part}
    for split, count, shares in (
        ("train", config.count, config.train_shares),
        ("test", config.test, config.test_shares),
    ):
        for name in shares:
            if name not in ENGINES:
                raise BadInput(f"{split}_shares: no engine '{name}'{did_you_mean(name, ENGINES)}")
        used = [name for name, share in shares.items() if share > 0]
        if count:
            installed(split, used)
            versions |= {name: open_engine(name).version() for name in used}
            texts = _texts(config.sentences, count, 2 * config.seed + (split == "test"))
            planned += plan(texts, split, shares, config.seed, len(planned))
            note[split] = {"count": count, "shares": {name: shares[name] for name in sorted(used)}}
            note[split]["texts"] = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return planned, {**note, "engines": versions}


def _texts(file: Path | None, count: int, seed: int) -> list[str]:
    if file is None:
        from envs.tabletop.language import all_sentences_sample

        return all_sentences_sample(count, seed)
    from vla.speech.engines.base import check_text

    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"sentences={file}: {error}; give a text file with a sentence on each line") from None
    if not lines:
        raise BadInput(f"sentences={file}: the file is empty; give a sentence on each line")
    for number, line in enumerate(lines, start=1):
        try:
            check_text(line)
        except BadInput as error:
            raise BadInput(f"{file}, sentence {number}: {error}") from None
    return [lines[i % len(lines)] for i in range(count)]


def _speak(config: MakeCorpus, parts: "list[list[Spoken]]") -> int:
    from tqdm import tqdm

    from policies.runtime.workers import run_jobs
    from vla.speech.corpus_writer import missing_parts

    missing = missing_parts(config.out, len(parts))
    jobs = [(number, parts[number]) for number in missing]
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(jobs)))
    total, new = sum(map(len, parts)), 0
    there = total - sum(len(planned) for _, planned in jobs)
    with tqdm(total=total, initial=there, unit=" utterances", dynamic_ncols=True) as bar:
        for made in run_jobs(_write, jobs, workers, config.out):
            bar.update(made)
            new += made
    return new


def _write(jobs: "Iterable[tuple[int, list[Spoken]]]", check: Callable[[], None], out: Path) -> Iterator[int]:
    from vla.speech.corpus_writer import write_part

    engines: dict[str, Any] = {}
    try:
        for number, planned in jobs:
            yield from write_part(out, number, planned, engines, check)
    finally:
        for engine in engines.values():
            engine.close()


def _told(corpus: Any) -> list[tuple[str, str]]:
    from vla.speech.inspection import table

    return [(str(corpus.folder), f"{len(corpus)} utterances"), *table(corpus)]


if __name__ == "__main__":
    main()
