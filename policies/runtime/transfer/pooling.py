"""Cells' numbers -> an arm's: counts pooled over seeds with Wilson intervals, and how arms compare."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from policies.runtime.metrics import wilson

__all__ = ["Numbers", "pooled", "ratio"]

Numbers = Mapping[tuple[str, int], Mapping[str, Mapping[str, Any]]]
"""(arm, seed) -> column (a split, or ``vqa``) -> its numbers (see measuring.py)."""

Z_95 = 1.959963984540054


def pooled(numbers: Numbers, arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Arm -> column -> share, for instance ``seen`` and ``seen/wrong``; those that no seed has are left out.

    A share has ``count`` of ``of``, ``rate``, ``interval``, and the ``seeds``' own rates. Wilson's interval
    is that of one sample of all seeds' episodes: it says how sure the mean of these trainings is, not how
    much another training would differ; for that stand the seeds.
    """
    found: dict[str, dict[str, Any]] = {}
    for arm in arms:
        mine = {seed: columns for (name, seed), columns in numbers.items() if name == arm}
        names = dict.fromkeys(column for columns in mine.values() for column in columns)
        shares: dict[str, Any] = {}
        for column in names:
            own = {seed: columns[column] for seed, columns in mine.items() if column in columns}
            if column == "vqa":
                for group in ("all", "unseen", "other"):
                    counts = {
                        seed: (each[group]["right"], each[group]["asked"]) for seed, each in own.items()
                    }
                    shares["vqa" if group == "all" else f"vqa/{group}"] = _share(counts)
                continue
            for key, name in (("successes", ""), ("wrong", "/wrong"), ("reached", "/reached")):
                counts = {seed: (each[key], each["episodes"]) for seed, each in own.items()}
                shares[column + name] = _share(counts)
            for skill in next(iter(own.values()))["skills"]:
                parts = {seed: each["skills"][skill] for seed, each in own.items()}
                counts = {seed: (part["successes"], part["episodes"]) for seed, part in parts.items()}
                shares[f"{column}/{skill}"] = _share(counts)
        found[arm] = shares
    return found


def _share(counts: Mapping[int, tuple[float, int]]) -> dict[str, Any]:
    count, of = sum(c for c, _ in counts.values()), sum(n for _, n in counts.values())
    low, high = wilson(count, of)
    return {
        "count": count,
        "of": of,
        "rate": count / of if of else None,
        "interval": [low, high],
        "seeds": {seed: c / n for seed, (c, n) in counts.items() if n},
    }


def ratio(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """How many times as often as `other` one succeeds, with a 95% interval (of logs, Katz et al. 1978).

    None where either never did.
    """
    if not one["count"] or not other["count"]:
        return None
    value = one["rate"] / other["rate"]
    spread = sum(1 / each["count"] - 1 / each["of"] for each in (one, other))
    factor = math.exp(Z_95 * math.sqrt(max(spread, 0.0)))
    return value, value / factor, value * factor
