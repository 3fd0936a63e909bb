"""Runs as text: a line for each of many, a page for one."""

import json
from collections.abc import Sequence

from policies.runtime.log.runs import Run
from policies.runtime.log.tables import EVENTS

__all__ = ["run_page", "runs_table"]

_SHOWN = 40


def runs_table(runs: Sequence[Run]) -> str:
    """A line a run."""
    rows: list[tuple[str, ...]] = [
        ("run", "state", "robot", "policy", "s", "steps", "held", "safety", "latency p99", "sentence")
    ]
    for run in runs:
        seen, told = run.summary, run.told
        state = "recovered" if seen.get("ended") == "crashed" and run.state == "complete" else run.state
        latency = seen.get("latency_ms", {}).get("p99")
        rows.append(
            (
                run.folder.name,
                state,
                str(told.get("robot", "?")),
                run.policy.rstrip("/").rpartition("/")[2],
                *(str(seen.get(key, "")) for key in ("seconds", "steps", "held")),
                str(sum(seen.get("interventions", {}).values())) if seen else "",
                "" if latency is None else f"{latency:.0f} ms",
                str(told.get("task", "?")),
            )
        )
    return _aligned(rows)


def run_page(run: Run) -> str:
    """What one run was and what happened in it: settings, numbers, its last events."""
    told, seen = run.told, run.summary
    rows = [(key, str(told.get(key, ""))) for key in ("robot", "task", "started", "fps", "arm_hz")]
    rows += [("state", run.state), ("joints", ", ".join(j["name"] for j in told.get("joints", [])))]
    about = told.get("about")
    for key, value in about.items() if isinstance(about, dict) else ():
        rows.append((key, value if isinstance(value, str) else json.dumps(value)))
    for key, value in seen.items():
        told_as = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        rows.append((key, told_as))
    page = _aligned([(key, value[:160]) for key, value in rows])
    events = run.folder / EVENTS
    if events.exists():
        lines = events.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines[-_SHOWN:]]
        left_out = f" (the last {_SHOWN} of {len(lines)})" if len(lines) > _SHOWN else ""
        shown = [(f"{e['time']:.2f} s" if e["time"] is not None else "", e["what"], e["text"]) for e in found]
        page += f"\n\nevents{left_out}\n{_aligned(shown)}" if shown else ""
    return page


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
