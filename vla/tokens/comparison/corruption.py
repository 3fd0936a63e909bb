"""One wrong code: is it noticed, and if not, how wrong is the motion that comes out?

A model that picks a wrong code, or loses one, should give a chunk that is refused (`UndecodableChunk`, the
arm holds) or one that is nearly right. Each chunk's codes are damaged in four ways, once each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.errors import UndecodableChunk
from vla.tokens.actions import ActionTokenizer, Codes
from vla.tokens.comparison.chunks import Chunks, Group
from vla.tokens.comparison.measures import Tick

__all__ = ["DAMAGES", "Corruption", "Lie", "corrupted", "corruption"]

Ids = npt.NDArray[np.int64]

DAMAGES = ("replace", "delete", "insert", "swap")
"""A code becomes another; one is left out; one is put between; two neighbours change places."""


@dataclass(frozen=True)
class Lie:
    """Of the chunks that came out all the same, against those that were meant, in a group's units: the mean
    over all numbers, the mean of each chunk's worst number, and the worst of all."""

    mean: float
    worst: float
    max: float


@dataclass(frozen=True)
class Corruption:
    """detected, tried: sequences, by the kind of damage. lies: one a group; None where all were detected."""

    detected: dict[str, int]
    tried: dict[str, int]
    lies: tuple[Lie, ...] | None

    @property
    def all(self) -> tuple[int, int]:
        """Detected and tried, of all kinds together."""
        return sum(self.detected.values()), sum(self.tried.values())


def corrupted(ids: Ids, damage: str, vocab_size: int, rng: np.random.Generator) -> Ids | None:
    """Codes [n] with one thing wrong; None where that cannot be (nothing to swap, nothing left)."""
    place = int(rng.integers(len(ids)))
    if damage == "replace":
        out = ids.copy()
        out[place] = (ids[place] + rng.integers(1, vocab_size)) % vocab_size
        return out
    if damage == "delete":
        return np.delete(ids, place) if len(ids) > 1 else None
    if damage == "insert":
        return np.insert(ids, int(rng.integers(len(ids) + 1)), int(rng.integers(vocab_size)))
    different = np.flatnonzero(np.diff(ids))
    if not len(different):
        return None
    place = int(rng.choice(different))
    out = ids.copy()
    out[[place, place + 1]] = ids[[place + 1, place]]
    return out


def corruption(
    chunks: Chunks,
    tokenizer: ActionTokenizer,
    codes: Codes,
    *,
    count: int,
    seed: int,
    tick: Tick = lambda done: None,
) -> Corruption:
    """Damage the codes of `count` held-out chunks, chosen by the seed: the same ones for every tokenizer.

    Raises AssertionError for what must not be: a chunk that is not finite or out of range, without an error.
    """
    rng = np.random.default_rng(seed)
    detected, tried = dict.fromkeys(DAMAGES, 0), dict.fromkeys(DAMAGES, 0)
    errors = []
    for row in rng.permutation(len(codes))[:count]:
        ids = codes.row(row)
        meant, state = tokenizer.decode(ids), chunks.held_state[row][None]
        for damage in DAMAGES:
            wrong = corrupted(ids, damage, tokenizer.vocab_size, rng)
            if wrong is None:
                continue
            tried[damage] += 1
            try:
                found = tokenizer.decode(wrong)
            except UndecodableChunk:
                detected[damage] += 1
                continue
            _must_be_valid(found, tokenizer, wrong)
            both = chunks.physical(np.stack([found, meant]), state)
            errors.append(np.abs(both[0] - both[1]))
        tick(1)
    lies = _lies(chunks.groups, np.stack(errors)) if errors else None
    return Corruption(detected, tried, lies)


def _must_be_valid(found: npt.NDArray[np.float32], tokenizer: ActionTokenizer, ids: Ids) -> None:
    right = found.shape == (tokenizer.horizon, tokenizer.dim)
    if not (right and np.abs(found).max() <= 1):  # NaN is not either
        raise AssertionError(f"the {tokenizer.kind} tokenizer gave an invalid chunk for {ids.tolist()}")


def _lies(groups: Sequence[Group], errors: npt.NDArray[np.float64]) -> tuple[Lie, ...]:
    """Of errors [N, H, D]."""
    parts = [errors[..., list(group.joints)].reshape(len(errors), -1) for group in groups]
    return tuple(Lie(float(p.mean()), float(p.max(1).mean()), float(p.max())) for p in parts)
