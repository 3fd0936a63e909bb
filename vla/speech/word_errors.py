"""Word error rate: words to put in, take out or change, over the words that were said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["WordErrors", "edits", "word_errors"]


@dataclass(frozen=True)
class WordErrors:
    """rate: errors per word said, may exceed 1. low, high: its 95% interval over utterances. whole: share of
    utterances without any error."""

    rate: float
    low: float
    high: float
    words: int
    utterances: int
    whole: float

    def __str__(self) -> str:
        share = f"{self.whole:.0%} of {self.utterances} whole"
        return f"{self.rate:.1%} ({self.low:.1%} to {self.high:.1%}), {share}"


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest insertions, deletions and substitutions from one to the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (word != other))
    return row[-1]


def word_errors(
    said: Sequence[Sequence[str]], heard: Sequence[Sequence[str]], draws: int = 2000, seed: int = 0
) -> WordErrors:
    """Of many utterances. The interval is a bootstrap over utterances, as errors within one come together."""
    wrong = np.array([edits(a, b) for a, b in zip(said, heard, strict=True)], float)
    words = np.array([len(each) for each in said], float)
    if words.sum() == 0:
        raise ValueError("no words were said")
    drawn = np.random.default_rng(seed).integers(len(words), size=(draws, len(words)))
    rates = wrong[drawn].sum(1) / np.maximum(words[drawn].sum(1), 1)
    low, high = np.percentile(rates, (2.5, 97.5))
    whole = float((wrong == 0).mean())
    return WordErrors(wrong.sum() / words.sum(), float(low), float(high), int(words.sum()), len(words), whole)
