"""What a source holds, from a sample of its records: numbers for a table."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vla.data.web.sample import Damaged, WebSample, WebSource

__all__ = ["Inspection", "Spread", "inspect"]

_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of some numbers; all 0 for none."""

    least: float = 0.0
    median: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """From the numbers."""
        return cls(min(values), float(np.median(values)), max(values)) if values else cls()

    def __str__(self) -> str:
        return f"{self.least:g} / {self.median:g} / {self.most:g}"


@dataclass(frozen=True)
class Inspection:
    """records: in the source; looked_at: of them, here. damaged: kind -> how often, with an example each.
    Spreads are over records (turns, pictures), texts (words) or pictures (width, height)."""

    name: str
    records: int
    looked_at: int
    damaged: dict[str, int]
    examples: dict[str, str]
    turns: Spread
    pictures: Spread
    prompt_words: Spread
    answer_words: Spread
    widths: Spread
    heights: Spread
    boxes: int
    words: list[tuple[str, int]]
    samples: list[WebSample] = field(repr=False)
    """The first few good ones, for a page."""

    def rows(self) -> list[tuple[str, str]]:
        """(what, its value) for a table."""
        bad = sum(self.damaged.values())
        kinds = "; ".join(f"{count} x {kind}" for kind, count in self.damaged.items())
        return [
            ("records", f"{self.records:,}"),
            ("looked at", f"{self.looked_at:,}"),
            ("damaged", f"{bad:,} ({bad / max(1, self.looked_at):.1%})" + (f": {kinds}" if kinds else "")),
            *((f"  {kind}", line) for kind, line in self.examples.items()),
            ("turns a record, least / median / most", str(self.turns)),
            ("pictures a record", str(self.pictures)),
            ("words a prompt", str(self.prompt_words)),
            ("words an answer", str(self.answer_words)),
            ("width in pixels", str(self.widths)),
            ("height in pixels", str(self.heights)),
            ("boxes", f"{self.boxes:,}"),
            ("most frequent words", ", ".join(f"{word} {count:,}" for word, count in self.words)),
        ]


def inspect(
    source: WebSource, count: int = 500, seed: int = 0, *, words: int = 20, keep: int = 12
) -> Inspection:
    """Read `count` records, chosen by `seed` (all where there are not more). keep: samples to show."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    chosen = rng.permutation(len(source))[:count].tolist()
    damaged: Counter[str] = Counter()
    examples: dict[str, str] = {}
    kept: list[WebSample] = []
    turns, pictures, prompts, answers, widths, heights = ([] for _ in range(6))  # type: ignore[var-annotated]
    frequent: Counter[str] = Counter()
    boxes = 0
    for number in chosen:
        try:
            sample = source[number]
        except Damaged as error:
            damaged[error.kind] += 1
            examples.setdefault(error.kind, str(error))
            continue
        if len(kept) < keep:
            kept.append(sample)
        turns.append(len(sample.turns))
        pictures.append(len(sample.images))
        for turn in sample.turns:
            prompts.append(len(turn.prompt.split()))
            answers.append(len(turn.answer.split()))
            boxes += len(turn.boxes)
            frequent.update(word.lower() for word in _WORD.findall(f"{turn.prompt} {turn.answer}"))
        heights += [image.shape[0] for image in sample.images]
        widths += [image.shape[1] for image in sample.images]
    return Inspection(
        source.name,
        len(source),
        len(chosen),
        dict(damaged.most_common()),
        examples,
        Spread.of(turns),
        Spread.of(pictures),
        Spread.of(prompts),
        Spread.of(answers),
        Spread.of(widths),
        Spread.of(heights),
        boxes,
        frequent.most_common(words),
        kept,
    )
