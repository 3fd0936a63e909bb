"""Which words follow which in some sentences, as a bigram model in the ARPA format that recognisers read."""

import math
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

__all__ = ["arpa"]

DISCOUNT = 0.5
"""Taken from each count for what was never seen (absolute discounting)."""
START, END = "<s>", "</s>"


def arpa(sentences: Iterable[str]) -> str:
    """p(b | a) = (count(a b) - 0.5) / count(a) if a b was seen, else backoff(a) p(b); p(b) by how many words
    it follows, plus one. Sums to one over the words after each a."""
    pairs: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        words = [START, *sentence.split(), END]
        pairs.update(pairwise(words))
    after: dict[str, list[str]] = {}
    for a, b in sorted(pairs):
        after.setdefault(a, []).append(b)
    total = {a: sum(pairs[a, b] for b in found) for a, found in after.items()}
    follows = Counter(b for _, b in pairs)
    words = sorted(follows)
    whole = sum(follows.values()) + len(words)
    single = {b: (follows[b] + 1) / whole for b in words}
    lines = ["\\data\\", f"ngram 1={len(words) + 1}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    for a in [START, *words]:
        if a in after:
            left = DISCOUNT * len(after[a]) / total[a]
            unseen = 1 - sum(single[b] for b in after[a])
            backoff = left / unseen if unseen > 1e-9 else 1.0
        else:
            backoff = 1.0
        lines.append(f"{_log(single.get(a, 1e-9))} {a} {_log(backoff)}")
    lines += ["", "\\2-grams:"]
    for a, found in after.items():
        lines += [f"{_log((pairs[a, b] - DISCOUNT) / total[a])} {a} {b}" for b in found]
    return "\n".join([*lines, "", "\\end\\", ""])


def _log(p: float) -> str:
    return f"{math.log10(p):.4f}"
