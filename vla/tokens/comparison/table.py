"""A comparison of tokenizers as Markdown: a page of small tables, each share with its count and interval."""

import math
from collections.abc import Callable, Iterable, Sequence

from vla.tokens.comparison.chunks import Chunks, Group
from vla.tokens.comparison.compare import Comparison, Row
from vla.tokens.comparison.corruption import DAMAGES
from vla.tokens.comparison.joins import Smoothness

__all__ = ["label", "page", "share"]


def share(count: int, of: int) -> str:
    """A share with its count and Wilson 95% interval (Wilson 1927)."""
    if of == 0:
        return "none tried"
    from scipy.stats import binomtest

    found = binomtest(count, of).proportion_ci(0.95, method="wilson")
    return f"{count / of:.1%} ({count}/{of}; {found.low:.1%} to {found.high:.1%})"


def label(row: Row) -> str:
    """What a row is called: the tokenizer's name, and how many of its codes."""
    return row.name if row.prefix is None else f"{row.name}, first {row.prefix}"


def page(found: Comparison, chunks: Chunks, *, shown: Sequence[int], picture: str = "", how: str = "") -> str:
    """The whole page. shown: which prefixes get a row. picture: file name of the plot. how: a line on how it
    was made."""
    rows = [row for row in found.rows if row.prefix is None or row.prefix in shown]
    parts = [
        "# Action tokenizers compared",
        _data(chunks, how),
        *([f"![error against codes a chunk; corrupted sequences]({picture})"] if picture else []),
        _losses(rows, found, chunks),
        _joins(rows, found, chunks),
        _corruptions(rows, found, chunks),
        _speeds(rows),
        _settings(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _data(chunks: Chunks, how: str) -> str:
    fitted, held = chunks.episodes
    return " ".join(
        [
            f"Chunks of {chunks.horizon} steps x {chunks.dim} numbers at {chunks.fps} Hz. Fitted to "
            f"{len(chunks.train):,} chunks of {fitted:,} episodes, compared on {len(chunks.held):,} chunks "
            f"of {held:,} others. Normalised as a model's: {_offsets(chunks)}, the 0.1% and 99.9% quantile "
            "of each step and joint to -1 and 1; past an episode's end the last action is held.",
            how,
        ]
    )


def _offsets(chunks: Chunks) -> str:
    chosen = [name for name, offset in zip(chunks.names, chunks.relative, strict=True) if offset]
    if not chosen:
        return "absolute actions"
    whole = "all" if len(chosen) == chunks.dim else f"{len(chosen)} ({', '.join(chosen)})"
    return f"{whole} as offsets from the present state"


def _losses(rows: Sequence[Row], found: Comparison, chunks: Chunks) -> str:
    units = [_unit(group) for group in chunks.groups]
    head = ["tokenizer", "codes", "codes a chunk", "p99", "compression", "bits a chunk", "error, % of range"]
    head += [f"error, {unit}" for unit in units]
    lines = [
        [
            label(row),
            f"{row.vocab_size}",
            f"{row.size.mean:.4g}",
            "fixed" if row.fixed else f"{row.size.p99:.0f}",
            f"{row.size.compression:.1f}x",
            f"{row.size.bits:.0f}",
            f"{100 * row.loss.share.mean:.3g} / {100 * row.loss.share.max:.3g}",
            *(f"{error.mean:.3g} / {error.max:.3g}" for error in row.loss.groups),
        ]
        for row in rows
    ]
    clip = found.clipping
    lost = "; ".join(
        f"{error.mean:.3g} / {error.max:.3g} {unit}" for error, unit in zip(clip.groups, units, strict=True)
    )
    return "\n\n".join(
        [
            "## Size and loss",
            "Errors are mean / largest, against the normalised chunk; `compression` is against one code a "
            "number, `% of range` of what the code covers at that step and joint.",
            _table(head, lines),
            f"Clipping by the normalisation alone, not counted above: {share(clip.clipped, clip.numbers)} of "
            f"all numbers lie outside the range; it loses {lost}.",
        ]
    )


def _joins(rows: Sequence[Row], found: Comparison, chunks: Chunks) -> str:
    count = sum(len(episode.chunks) - 1 for episode in chunks.executed)
    text = (
        f"{len(chunks.executed)} held-out episodes executed with a new chunk every {chunks.execute} steps "
        f"({count} joins), each chunk made of the true actions. Velocity jump and jerk at the joins, mean / "
        "largest, against the mean jerk elsewhere; and the mean jerk of what coding added (executed less "
        "recorded), at the joins / elsewhere."
    )
    if not found.recorded:
        return "## Joins\n\nNo held-out episode is long enough to have one."
    named = [("as recorded", found.recorded), ("normalised alone", found.normalised)]
    named += [(label(row), row.joins) for row in rows]
    tables = []
    for number, group in enumerate(chunks.groups):
        unit = group.unit or "units"
        head = [_unit(group), f"velocity jump, {unit}/s", f"jerk, {unit}/s³", f"elsewhere, {unit}/s³"]
        head += [f"added, {unit}/s³"]
        tables.append(_table(head, [[name, *_smooth(joins[number])] for name, joins in named]))
    return "\n\n".join(["## Joins", text, *tables])


def _smooth(joins: Smoothness) -> list[str]:
    return [
        f"{_big(joins.velocity.mean)} / {_big(joins.velocity.max)}",
        f"{_big(joins.jerk.mean)} / {_big(joins.jerk.max)}",
        _big(joins.jerk_elsewhere),
        f"{_big(joins.added)} / {_big(joins.added_elsewhere)}",
    ]


def _corruptions(rows: Sequence[Row], found: Comparison, chunks: Chunks) -> str:
    own = [row for row in rows if row.corruption is not None]
    units = [_unit(group) for group in chunks.groups]
    caught = _table(["detected", "all", *DAMAGES], [_caught(row) for row in own])
    lies = _table(
        ["not detected", *(f"error, {unit}" for unit in units)],
        [[label(row), *_lies(row, len(units))] for row in own],
    )
    return "\n\n".join(
        [
            "## One wrong code",
            f"Codes of {found.corrupted} held-out chunks, each damaged once in each of {len(DAMAGES)} ways: "
            "a code replaced by another, left out, put between, or swapped with its neighbour. Detected: "
            "decoding refuses it (the arm holds). Shares with counts and Wilson 95% intervals.",
            caught,
            "Of what was not detected, the error against the chunk that was meant: mean over all numbers / "
            "the chunk's worst number, on average / the worst of all. Every one was finite and in range. "
            "Where prefixes decode, a code left out cannot be noticed: what is left is a coarser chunk.",
            lies,
        ]
    )


def _caught(row: Row) -> list[str]:
    assert row.corruption is not None
    kinds = [share(row.corruption.detected[damage], row.corruption.tried[damage]) for damage in DAMAGES]
    return [label(row), share(*row.corruption.all), *kinds]


def _lies(row: Row, groups: int) -> list[str]:
    assert row.corruption is not None
    if row.corruption.lies is None:
        return ["none"] * groups
    return [f"{lie.mean:.3g} / {lie.worst:.3g} / {lie.max:.3g}" for lie in row.corruption.lies]


def _speeds(rows: Sequence[Row]) -> str:
    head = ["chunks a second", "encode, one by one", "encode, all at once", "decode, one by one", "fit, s"]
    lines = [
        [label(row), *map(_big, (s.encode_one, s.encode_many, s.decode_one)), f"{s.fit:.2f}"]
        for row in rows
        if (s := row.speed) is not None
    ]
    return (
        f"## Speed\n\nA second of processor time on the machine that made this page.\n\n{_table(head, lines)}"
    )


def _settings(rows: Iterable[Row]) -> str:
    lines = [f"- {row.name}: `{row.config}`" for row in rows if row.prefix is None]
    return "\n".join(["## Settings", "", *lines])


def _unit(group: Group) -> str:
    return f"{group.name} ({group.unit})" if group.unit else group.name


def _big(value: float) -> str:
    """Three digits, thousands apart."""
    if math.isnan(value):
        return "none"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    row: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return "\n".join([row(head), "|---" * len(head) + "|", *map(row, lines)])
