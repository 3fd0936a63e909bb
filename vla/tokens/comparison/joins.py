"""How smooth motion stays where one chunk follows another.

An episode is executed as a runtime does: the first steps of a chunk, then a new one, each made of the true
actions, coded and decoded. So whatever is rough at a join is the tokenizer's doing. Differences of the
executed targets a: the velocity's jump |a[i+2] - 2 a[i+1] + a[i]| x fps (units/s) and the jerk
|a[i+3] - 3 a[i+2] + 3 a[i+1] - a[i]| x fps^3 (units/s^3); those that span a join count as `at` it.
Legend: T steps of an episode, D joints, e steps of a chunk that are executed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.tokens.actions import ActionTokenizer
from vla.tokens.comparison.chunks import Chunks, Executed, Group
from vla.tokens.comparison.measures import Error, Tick, decoded, first_codes

__all__ = ["Smoothness", "executed_by", "smoothness"]

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Smoothness:
    """Of one group of joints: velocity jump and jerk at the joins, mean and largest; the mean jerk elsewhere;
    and the mean jerk of what coding added (executed less recorded), at the joins and elsewhere. NaN elsewhere
    where every difference spans a join."""

    velocity: Error
    jerk: Error
    jerk_elsewhere: float
    added: float
    added_elsewhere: float


def executed_by(
    chunks: Chunks,
    tokenizer: ActionTokenizer | None,
    codes: int | None = None,
    tick: Tick = lambda done: None,
) -> list[Floats]:
    """Each episode's actions [T, D] in the robot's units, coded and decoded chunk by chunk. tokenizer: None
    only normalises. codes: of each chunk only so many."""
    if not chunks.executed:
        return []
    known = np.concatenate([episode.chunks for episode in chunks.executed])
    if tokenizer is not None:
        all_codes = tokenizer.encode_batch(known)
        known = decoded(tokenizer, first_codes(all_codes, codes) if codes else all_codes, tick)
    parts = np.split(known, np.cumsum([len(episode.chunks) for episode in chunks.executed])[:-1])
    return [_run(chunks, episode, part) for episode, part in zip(chunks.executed, parts, strict=True)]


def _run(chunks: Chunks, episode: Executed, part: Floats) -> Floats:
    steps = chunks.physical(part.astype(np.float32), episode.state)[:, : chunks.execute]
    return steps.reshape(-1, chunks.dim)[: len(episode.actions)]


def smoothness(chunks: Chunks, episodes: Sequence[Floats]) -> tuple[Smoothness, ...]:
    """Of the actions [T, D] of every episode in chunks.executed, as some tokenizer gives them; one entry a
    group, none where no episode is long enough to have a join."""
    if not episodes:
        return ()
    true = [episode.actions for episode in chunks.executed]
    jump, _ = _differences(episodes, 2, chunks)
    jerk, between = _differences(episodes, 3, chunks)
    errors = [actions - actual for actions, actual in zip(episodes, true, strict=True)]
    added, added_between = _differences(errors, 3, chunks)

    def of(group: Group) -> Smoothness:
        own = list(group.joints)
        means = (float(x[:, own].mean()) if len(x) else math.nan for x in (between, added, added_between))
        return Smoothness(Error.of(jump[:, own]), Error.of(jerk[:, own]), *means)

    return tuple(of(group) for group in chunks.groups)


def _differences(episodes: Sequence[Floats], order: int, chunks: Chunks) -> tuple[Floats, Floats]:
    """|differences| [., D] of some order in units/s^k: those that span a join, and the others."""
    rate = chunks.fps ** (1 if order == 2 else order)
    values = [np.abs(np.diff(np.asarray(actions, float), order, axis=0)) * rate for actions in episodes]
    joins = np.concatenate([_spans_join(len(each), order, chunks.execute) for each in values])
    every = np.concatenate(values)
    return every[joins], every[~joins]


def _spans_join(count: int, order: int, execute: int) -> npt.NDArray[np.bool_]:
    """bool [count]: whether the difference of steps i .. i + order holds steps of two chunks."""
    first = np.arange(count)
    return first // execute != (first + order) // execute
