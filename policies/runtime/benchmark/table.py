"""What is reported of contenders that were timed side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from policies.runtime.benchmark.timing import Contender, Times, ratio

__all__ = ["markdown", "row", "table"]

HEAD = (
    "policy", "parameters", "codes", "passes", "ms p50", "ms p99", "actions/s",
    "× token by token", "ours is faster ×",
)  # fmt: skip


def row(contender: Contender, times: Mapping[str, Times], steps: int) -> dict[str, Any]:
    """What is reported of a contender. steps: control steps that one call gives."""
    own = times[contender.name]
    p50, p99 = np.percentile(np.concatenate([np.array(each) for each in own]), [50, 99])
    found: dict[str, Any] = {
        "name": contender.name,
        "parameters": contender.parameters,
        "codes": contender.codes,
        "passes": contender.passes,
        "calls": sum(map(len, own)),
        "p50_ms": round(float(p50), 4),
        "p99_ms": round(float(p99), 4),
        "actions_per_s": round(1000 * steps / float(p50), 2),
        "reference": contender.reference or None,
        "ours": contender.ours or None,
        "speedup": None,
        "ours_faster": None,
        "rounds_ms": [round(float(np.median(each)), 4) for each in own],
    }
    if contender.reference in times:
        found["speedup"] = vars(ratio(times[contender.reference], own))
    if contender.ours in times:
        found["ours_faster"] = vars(ratio(own, times[contender.ours]))
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    return markdown(
        HEAD,
        [
            [
                each["name"],
                f"{each['parameters'] / 1e6:.2f} M",
                "-" if each["codes"] is None else str(each["codes"]),
                str(each["passes"]),
                f"{each['p50_ms']:.2f}",
                f"{each['p99_ms']:.2f}",
                f"{each['actions_per_s']:,.0f}",
                _times(each["speedup"]),
                _times(each["ours_faster"]),
            ]
            for each in rows
        ],
    )


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and the others are numbers."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])


def _times(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
