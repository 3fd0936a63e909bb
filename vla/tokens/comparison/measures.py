"""What a tokenizer costs and what it loses, measured on chunks that it was not fitted to.

Legend: N chunks, H horizon, D joints, n codes of a chunk, V codes in all.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vla.tokens.actions import ActionTokenizer, Codes
from vla.tokens.comparison.chunks import Chunks, Group

__all__ = [
    "Clipping",
    "Error",
    "Loss",
    "Size",
    "Speed",
    "clipping",
    "decoded",
    "first_codes",
    "loss",
    "size",
    "speed",
]

Floats = npt.NDArray[np.floating]
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Error:
    """Mean and largest of absolute values."""

    mean: float
    max: float

    @classmethod
    def of(cls, values: Floats) -> "Error":
        """Of any array that is not empty."""
        return cls(float(values.mean()), float(values.max()))


@dataclass(frozen=True)
class Size:
    """mean, p99: codes a chunk. bits: mean codes x log2 V. compression: codes of one-a-number over ours."""

    mean: float
    p99: float
    compression: float
    bits: float


@dataclass(frozen=True)
class Loss:
    """groups: errors in physical units, one a group. share: of the range that is coded, over all numbers."""

    groups: tuple[Error, ...]
    share: Error


@dataclass(frozen=True)
class Speed:
    """Chunks a second of processor time, so that a busy machine gives the same; fit: seconds of it."""

    fit: float
    encode_one: float
    encode_many: float
    decode_one: float


@dataclass(frozen=True)
class Clipping:
    """What the normalisation loses by itself. clipped: of `numbers` that lie outside its range."""

    groups: tuple[Error, ...]
    clipped: int
    numbers: int


def size(codes: Codes, vocab_size: int, numbers: int) -> Size:
    """numbers: H x D, what one code a number would need."""
    mean = float(codes.lengths.mean())
    return Size(mean, float(np.percentile(codes.lengths, 99)), numbers / mean, mean * math.log2(vocab_size))


def first_codes(codes: Codes, count: int) -> Codes:
    """The first `count` codes of each chunk, for tokenizers whose prefixes decode."""
    return Codes(codes.ids[:, :count], np.minimum(codes.lengths, count))


def decoded(
    tokenizer: ActionTokenizer, codes: Codes, tick: Tick = lambda done: None
) -> npt.NDArray[np.float64]:
    """The chunks of codes, [N, H, D]. tick: told how many are done, every now and then."""
    out = np.empty((len(codes), tokenizer.horizon, tokenizer.dim))
    for start in range(0, len(codes), 64):
        rows = range(start, min(start + 64, len(codes)))
        for row in rows:
            out[row] = tokenizer.decode(codes.row(row))
        tick(len(rows))
    return out


def by_group(groups: Sequence[Group], error: Floats) -> tuple[Error, ...]:
    """Mean and largest of absolute errors [..., D], a group."""
    return tuple(Error.of(error[..., list(group.joints)]) for group in groups)


def loss(chunks: Chunks, back: Floats) -> Loss:
    """Of the held-out chunks [N, H, D] as they came back; what the normalisation clips is not counted."""
    true = chunks.physical(chunks.held, chunks.held_state)
    error = np.abs(chunks.physical(back.astype(np.float32), chunks.held_state) - true)
    moving = chunks.scale > 0
    share = np.abs(back - chunks.held)[:, moving] / 2
    return Loss(by_group(chunks.groups, error), Error.of(share))


def clipping(chunks: Chunks) -> Clipping:
    """Of normalising the held-out chunks and back, without any tokenizer."""
    error = np.abs(chunks.physical(chunks.held, chunks.held_state) - chunks.held_actions)
    # A clipped number is off by more than float32's rounding of the arithmetic.
    clipped = int((error > 1e-4 * np.maximum(1.0, np.abs(chunks.held_actions))).sum())
    return Clipping(by_group(chunks.groups, error), clipped, error.size)


def speed(tokenizer: ActionTokenizer, chunks: Floats, fit: float, seconds: float = 0.5) -> Speed:
    """Rates over chunks [N, H, D], each measured for about `seconds`. fit: as it was measured."""
    codes = tokenizer.encode_batch(chunks)
    rows = [codes.row(index) for index in range(len(codes))]
    return Speed(
        fit,
        _rate(lambda i: tokenizer.encode(chunks[i]), len(chunks), seconds),
        _rate(lambda i: tokenizer.encode_batch(chunks), 1, seconds) * len(chunks),
        _rate(lambda i: tokenizer.decode(rows[i]), len(rows), seconds),
    )


def _rate(call: Callable[[int], object], count: int, seconds: float) -> float:
    """Calls a second of processor time, call(0), call(1), ... again and again."""
    calls, start = 0, time.process_time()
    while (passed := time.process_time() - start) < seconds or calls == 0:
        call(calls % count)
        calls += 1
    return calls / max(passed, 1e-9)
