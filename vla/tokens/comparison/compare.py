"""Every tokenizer through every measure: rows of one comparison."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vla.configuration import TokenizerConfig
from vla.errors import BadInput
from vla.tokens.actions import ActionTokenizer, Codes, build_tokenizer
from vla.tokens.comparison.chunks import Chunks
from vla.tokens.comparison.corruption import Corruption, corruption
from vla.tokens.comparison.joins import Smoothness, executed_by, smoothness
from vla.tokens.comparison.measures import (
    Clipping,
    Loss,
    Size,
    Speed,
    Tick,
    clipping,
    decoded,
    first_codes,
    loss,
    size,
    speed,
)

__all__ = ["Comparison", "Row", "compare", "work"]


@dataclass(frozen=True)
class Row:
    """One tokenizer, or the first `prefix` codes of one. speed, corruption: None for such a prefix."""

    name: str
    config: TokenizerConfig
    prefix: int | None
    fixed: bool
    vocab_size: int
    size: Size
    loss: Loss
    joins: tuple[Smoothness, ...]
    speed: Speed | None
    corruption: Corruption | None


@dataclass(frozen=True)
class Comparison:
    """rows: in the order asked for, a tokenizer's prefixes after it. recorded, normalised: the joins of the
    actions as they are, and after normalising alone; empty where there is no join. corrupted: how many chunks
    were damaged."""

    rows: tuple[Row, ...]
    clipping: Clipping
    recorded: tuple[Smoothness, ...]
    normalised: tuple[Smoothness, ...]
    corrupted: int


def work(chunks: Chunks, tokenizers: Mapping[str, TokenizerConfig], corrupted: int) -> int:
    """How many ticks `compare` gives, but for prefixes: a tick a chunk decoded or damaged."""
    each = len(chunks.held) + sum(len(episode.chunks) for episode in chunks.executed)
    return len(tokenizers) * (each + min(corrupted, len(chunks.held)))


def compare(
    chunks: Chunks,
    tokenizers: Mapping[str, TokenizerConfig],
    *,
    corrupted: int = 500,
    seconds: float = 0.5,
    seed: int = 0,
    tick: Tick = lambda done: None,
    on_fitted: Callable[[str, ActionTokenizer], None] = lambda name, tokenizer: None,
) -> Comparison:
    """Fit to chunks.train, measure on the rest.

    corrupted: chunks to damage, at most. seconds: for each rate. on_fitted: gets each tokenizer.
    """
    rows: list[Row] = []
    how = _How(corrupted, seconds, seed, tick)
    built = {}
    for name, config in tokenizers.items():  # all of them first: a mistake in the last shows at once
        with _naming(name):
            built[name] = build_tokenizer(config, chunks.horizon, chunks.dim)
    for name, empty in built.items():
        start = time.process_time()
        with _naming(name):
            tokenizer = empty.fit(chunks.train, seed)
        fit = time.process_time() - start
        on_fitted(name, tokenizer)
        rows.extend(_rows(chunks, name, tokenizer, fit, how))
    return Comparison(
        tuple(rows),
        clipping(chunks),
        smoothness(chunks, [episode.actions for episode in chunks.executed]),
        smoothness(chunks, executed_by(chunks, None)),
        min(corrupted, len(chunks.held)),
    )


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """A mistake is told with the tokenizer's name."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"tokenizer '{name}': {error}") from None


@dataclass(frozen=True)
class _How:
    corrupted: int
    seconds: float
    seed: int
    tick: Tick


def _rows(chunks: Chunks, name: str, tokenizer: ActionTokenizer, fit: float, how: _How) -> Iterator[Row]:
    codes = tokenizer.encode_batch(chunks.held)

    def row(known: Codes, prefix: int | None, tick: Tick) -> Row:
        back = decoded(tokenizer, known, tick)
        whole = prefix is None
        return Row(
            name,
            tokenizer.config,
            prefix,
            tokenizer.fixed,
            tokenizer.vocab_size,
            size(known, tokenizer.vocab_size, chunks.horizon * chunks.dim),
            loss(chunks, back),
            smoothness(chunks, executed_by(chunks, tokenizer, prefix, tick)),
            speed(tokenizer, chunks.held, fit, how.seconds) if whole else None,
            corruption(chunks, tokenizer, known, count=how.corrupted, seed=how.seed, tick=tick)
            if whole
            else None,
        )

    yield row(codes, None, how.tick)
    if tokenizer.prefixes_decode:
        for count in range(1, tokenizer.length):
            yield row(first_codes(codes, count), count, lambda done: None)
