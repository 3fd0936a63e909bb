"""Success rates with their counts and Wilson intervals, and metrics.json."""

import json
import math
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.runtime.results import EpisodeResult
from policies.runtime.smoothness import jerk_summary
from vla.folders import write_whole
from vla.intervals import wilson

__all__ = ["commit", "summarize", "swap_summary", "table", "wilson", "write_metrics"]


def summarize(
    results: Sequence[EpisodeResult], *, policy: str, seed: int, split: str, **more: Any
) -> dict[str, Any]:
    """Metrics of a roll-out. Rates are shares of episodes; ``interval`` is their Wilson 95% interval.

    control_hz: control steps a second that the policy's answers allow, the median over episodes.
    held_steps: control steps at which the arm was held for want of a plan; held_share: of all steps. jerk: of
    the commands to the arm, at the joins of chunks and elsewhere (see smoothness.py).
    """
    rates = sorted(r.control_hz for r in results if math.isfinite(r.control_hz))
    return {
        **_rates(results),
        "tasks": {skill: _task(results, skill) for skill in sorted({r.skill for r in results})},
        "control_hz": round(rates[len(rates) // 2], 1) if rates else None,
        "seed": seed,
        "policy": policy,
        "commit": commit(),
        "split": split,
        "outcomes": dict(sorted(Counter(r.outcome for r in results).items())),
        **_motion(results),
        **more,
    }


def _motion(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    held, steps = sum(len(r.holds) for r in results), sum(r.steps for r in results)
    return {
        "held_steps": held,
        "held_share": round(held / steps, 4) if steps else None,
        "jerk": jerk_summary(results),
    }


def _rates(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    successes = sum(r.success for r in results)
    wrong = sum(r.outcome == "wrong_object" for r in results)
    count = len(results)
    return {
        "episodes": count,
        "success_rate": round(successes / count, 4) if count else None,
        "interval": [round(bound, 4) for bound in wilson(successes, count)],
        "wrong_object_rate": round(wrong / count, 4) if count else None,
    }


def _task(results: Sequence[EpisodeResult], skill: str) -> dict[str, Any]:
    own = [r for r in results if r.skill == skill]
    outcomes = Counter(r.outcome for r in own)
    return {
        **_rates(own),
        "successes": sum(r.success for r in own),
        "outcomes": dict(sorted(outcomes.items())),
    }


def swap_summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Of the swapped halves: in how many the arm went to the newly named thing, with Wilson 95% interval."""
    halves = [r for r in results if r.swapped]
    followed = sum(r.went_to_target for r in halves)
    return {
        "pairs": len(halves),
        "followed": followed,
        "rate": round(followed / len(halves), 4) if halves else None,
        "interval": [round(bound, 4) for bound in wilson(followed, len(halves))],
        "successes": sum(r.success for r in halves),
    }


def table(metrics: dict[str, Any]) -> str:
    """The success table as text, one line a skill, with counts and Wilson 95% intervals."""
    total = {**metrics, "successes": sum(task["successes"] for task in metrics["tasks"].values())}
    lines = [f"{'skill':<12} {'success':>9} {'rate':>7}   {'95% interval':<15} wrong object"]
    for name, row in [*metrics["tasks"].items(), ("all", total)]:
        low, high = row["interval"]
        count = f"{row['successes']}/{row['episodes']}"
        lines.append(
            f"{name:<12} {count:>9} {row['success_rate']:>7.1%}   {low:>5.1%} - {high:<6.1%} "
            f"{row['wrong_object_rate']:>8.1%}"
        )
    if "swap" in metrics:
        swap = metrics["swap"]
        low, high = swap["interval"]
        share = f"{swap['followed']}/{swap['pairs']} pairs, {swap['rate']:.1%} ({low:.1%} - {high:.1%})"
        lines.append(f"swap test: went to the newly named object in {share}")
    return "\n".join(lines)


def commit() -> str:
    """The commit of the code that runs, with ``+`` if files differ from it; ``unknown`` outside its git."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        # Installed inside somebody's own repository, that one's commit would say nothing.
        if Path(git("rev-parse", "--show-toplevel")) != here.parent.parent:
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../../vla", "../../envs")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_metrics(metrics: dict[str, Any], folder: Path) -> Path:
    """Write metrics.json into `folder`, whole or not at all."""
    path = folder / "metrics.json"
    write_whole(path, json.dumps(metrics, indent=2) + "\n")
    return path
