"""A description for the terminal."""

from collections.abc import Sequence

from vla.describe.description import STAGES, Description, Pass

__all__ = ["table"]

MARKS = {"full": "full", "causal": "causal", "none": ".", "part": "part", "gated": "gated"}


def table(found: Description) -> str:
    """Everything in a description, as text."""
    trained = found.trained
    share = "all trained" if trained == found.parameters else f"{_count(trained)} trained"
    lines = [f"{found.name}: {_count(found.parameters)} parameters, {share}", ""]
    lines += _flows(found)
    lines += ["", *_parts(found), "", *_bill(found)]
    for number, each in enumerate(found.passes, 1):
        title = "who attends to whom (rows look at columns)"
        lines += ["", title if len(found.passes) == 1 else f"{title}, pass {number}", *_marks(each)]
    if found.warnings:
        lines += ["", *(f"warning: {line}" for line in found.warnings)]
    return "\n".join(lines)


def _flows(found: Description) -> list[str]:
    rows = [["input", "raw", *STAGES, "fusion"]]
    for flow in found.flows:
        sizes = [flow.stages.get(stage) for stage in STAGES]
        rows.append(
            [flow.sense, flow.raw, *(f"{s.tokens:,} x {s.width:,}" if s else "-" for s in sizes), flow.fusion]
        )
    empty = [i for i, column in enumerate(zip(*rows[1:], strict=True)) if set(column) == {"-"}]
    return _aligned([[cell for i, cell in enumerate(row) if i not in empty] for row in rows])


def _parts(found: Description) -> list[str]:
    rows = [["part", "parameters", "trained", "frozen", "weights", "FLOPs a chunk"]]
    for part in found.parts:
        numbers = part.parameters, part.trained, part.parameters - part.trained
        rows.append([part.name, *map(_count, numbers), _bytes(part.bytes), _count(part.flops)])
    frozen = found.parameters - found.trained
    total = [_count(n) for n in (found.parameters, found.trained, frozen)]
    rows.append(["total", *total, _bytes(found.memory.weights), _count(found.flops)])
    return _aligned(rows, right=range(1, 6))


def _bill(found: Description) -> list[str]:
    memory, most = found.memory, "at most " if found.longest else ""
    steps = f"{found.steps} step{'s' * (found.steps > 1)}"
    rows = [
        ["a chunk", f"{steps}, {most}{_count(found.flops)} FLOPs (multiply-add: 2)"],
        ["a step", f"{most}{_count(found.flops / found.steps)} FLOPs"],
        ["KV-cache", f"{found.kv_tokens:,} tokens, {_bytes(memory.kv_cache)}"],
        [
            "memory",
            f"{_bytes(memory.total)} to act for one robot: weights {_bytes(memory.weights)}, activations "
            f"with the KV-cache at most {_bytes(memory.activations)} (no fused kernels)",
        ],
        ["scores", f"{_bytes(memory.scores)} for one layer's attention, unless the kernel is fused"],
    ]
    return _aligned(rows)


def _marks(each: Pass) -> list[str]:
    names = [f"{name} {count:,}" for name, count in each.segments]
    beside = [f"{name} {count:,} (beside)" for name, count in each.beside]
    rows = [["", *names, *beside]]
    for name, marks in zip(names, each.marks(), strict=True):
        rows.append([name, *(MARKS[mark] for mark in marks)])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _count(number: float) -> str:
    """4,213,000 -> 4.21 M."""
    for unit, name in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}" if number < 999.5 * unit else f"{number / unit:,.0f}{name}"
    return f"{number:.4g}"


def _bytes(number: float) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f} B"
