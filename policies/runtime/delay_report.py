"""The table and the plot of a sweep over inference delays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.runtime.delays import Cell

__all__ = ["delay_plot", "delay_table"]

Found = Sequence[tuple[Cell, dict[str, Any] | None]]

COLORS = {"queue": "#d6455d", "ensemble": "#e8a10a", "real_time": "#2f6fed"}
"""One a kind, distinguishable without full colour vision; policies differ in the line's style."""
STYLES = ("-", "--", ":", "-.")
MARKERS = {"queue": "o", "ensemble": "s", "real_time": "^"}


def delay_table(found: Found, hz: float) -> str:
    """Markdown, a line a cell. hz: control steps a second, to tell delays in milliseconds as well."""
    head = (
        *("policy", "kind", "delay", "a chunk every", "success", "95% interval"),
        *("jerk at joins", "its peak", "jerk elsewhere", "held"),
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    notes: list[str] = []
    for cell, metrics in found:
        delay = f"{cell.delay} ({1000 * cell.delay / hz:.0f} ms)"
        if metrics is None:
            cells = [cell.name, cell.kind, delay, *["–"] * (len(head) - 3)]
            note = f"{cell.name}, {cell.kind}: {cell.impossible}."
            notes += [] if note in notes else [note]
        else:
            cells = [cell.name, cell.kind, delay, f"{cell.every}", *_numbers(metrics)]
        lines.append(f"| {' | '.join(cells)} |")
    if notes:
        lines += ["", "Not possible:", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def _numbers(metrics: dict[str, Any]) -> list[str]:
    good = sum(task["successes"] for task in metrics["tasks"].values())
    low, high = metrics["interval"]
    joins, elsewhere = metrics["jerk"]["joins"], metrics["jerk"]["elsewhere"]
    return [
        f"{good}/{metrics['episodes']} = {metrics['success_rate']:.1%}",
        f"{low:.1%} to {high:.1%}",
        *(_thousands(value) for value in (joins["mean"], joins["peak"], elsewhere["mean"])),
        f"{metrics['held_share']:.1%}",
    ]


def _thousands(value: float | None) -> str:
    return "–" if value is None else f"{value / 1000:.2f}"


def delay_plot(found: Found, hz: float, path: Path) -> Path:
    """Write a PNG over the delay: success with intervals, mean and peak jerk at joins; one line a kind."""
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    figure = Figure(figsize=(14, 4.4), layout="constrained")
    success, mean, peak = figure.subplots(1, 3)
    names = list(dict.fromkeys(cell.name for cell, _ in found))
    for name in names:
        for kind, color in COLORS.items():
            own = [(c.delay, m) for c, m in found if m is not None and (c.name, c.kind) == (name, kind)]
            if own:
                look = {
                    "color": color,
                    "linestyle": STYLES[names.index(name) % len(STYLES)],
                    "marker": MARKERS[kind],
                    "label": kind if len(names) == 1 else f"{name}, {kind}",
                }
                shift = 0.06 * (list(COLORS).index(kind) - 1)  # so that whiskers can be told apart
                _success(success, own, shift, look)
                for axes, part in ((mean, "mean"), (peak, "peak")):
                    some = [(d, m["jerk"]["joins"][part]) for d, m in own]
                    some = [(d, jerk / 1000) for d, jerk in some if jerk is not None]
                    axes.plot([d for d, _ in some], [jerk for _, jerk in some], **look)
    success.set(ylim=(0, 1.04), ylabel="success, with Wilson 95% intervals")
    mean.set(ylim=(0, None), ylabel="mean jerk at joins, 1000 units/s³")
    peak.set(ylim=(0, None), ylabel="peak jerk at joins, 1000 units/s³")
    for axes in (success, mean, peak):
        axes.set_xlabel(f"inference delay, control steps of {1000 / hz:.0f} ms")
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    success.legend()
    aside = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(aside, dpi=130, format="png")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _success(axes: Any, own: list[tuple[int, dict[str, Any]]], shift: float, look: dict[str, Any]) -> None:
    rates = [m["success_rate"] for _, m in own]
    below = [max(rate - m["interval"][0], 0.0) for rate, (_, m) in zip(rates, own, strict=True)]
    above = [max(m["interval"][1] - rate, 0.0) for rate, (_, m) in zip(rates, own, strict=True)]
    axes.errorbar([d + shift for d, _ in own], rates, yerr=[below, above], capsize=2, **look)
