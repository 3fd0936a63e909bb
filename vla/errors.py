"""The errors a user can cause. Each carries one line: what was wrong, where, and what would be right."""

import difflib
from collections.abc import Iterable

__all__ = ["BadInput", "UndecodableChunk", "did_you_mean"]


class BadInput(ValueError):
    """Something a user gave (sentence, image, dataset, checkpoint, config) cannot be used.

    Commands print its single line to stderr and exit with status 2; no traceback is shown.
    """


class UndecodableChunk(BadInput):
    """Codes, or a model's scores, that stand for no chunk of actions. The arm should hold."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, else the known names, else nothing."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(choices)})" if 0 < len(choices) <= 24 else ""
