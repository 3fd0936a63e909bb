"""Predicted against recorded actions, drawn: curves over episodes, and all predictions as a scatter."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from policies.runtime.replay.draw import Draw
from policies.runtime.replay.run import Replayed

__all__ = ["replay_plot"]

RECORDED, PREDICTED, FIRST = "#1d2733", "#2f6fed", "#e8710a"
_DOTS = 2000


def replay_plot(found: Replayed, draws: Sequence[Draw], names: Sequence[str], hz: float, path: Path) -> Path:
    """Write a PNG, a row for each dimension: recorded actions of the episodes replayed step by step, with the
    chunks that were predicted at every horizon-th step; then predicted over recorded, of all frames."""
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    whole = [number for number, draw in enumerate(draws) if draw.whole][:3]
    columns, rows = len(whole) + 1, len(names)
    figure = Figure(figsize=(4.2 * columns, 1.9 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    horizon = found.predicted.shape[1]
    for row, name in enumerate(names):
        for column, number in enumerate(whole):
            axes, own = grid[row][column], np.flatnonzero(found.episode == number)
            seconds = (found.frames[own] - draws[number].start) / hz
            axes.plot(seconds, found.recorded[own, 0, row], color=RECORDED, linewidth=2.2, label="recorded")
            for i in own[::horizon]:
                real = found.real[i]
                at = (found.frames[i] - draws[number].start + np.arange(horizon)[real]) / hz
                axes.plot(at, found.predicted[i, real, row], color=PREDICTED, linewidth=1.3)
            axes.plot([], [], color=PREDICTED, label="predicted chunks")
            axes.plot(
                seconds,
                found.predicted[own, 0, row],
                ".",
                color=FIRST,
                markersize=3,
                label="their first steps",
            )
            axes.set_ylabel(name if column == 0 else "")
            axes.set_title(f"episode {draws[number].episode}" if row == 0 else "", fontsize=10)
            axes.set_xlabel("seconds" if row == rows - 1 else "")
        _scatter(grid[row][-1], found, row)
        grid[row][-1].set_ylabel(name if columns == 1 else "predicted")
        grid[row][-1].set_xlabel("recorded" if row == rows - 1 else "")
    for axes in figure.axes:
        axes.grid(alpha=0.25)
    if whole:
        grid[0][0].legend(fontsize=7)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(aside, dpi=100, format="png")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _scatter(axes: object, found: Replayed, row: int) -> None:
    """Predicted over recorded, with the line on which both are equal."""
    recorded, predicted = (x[found.real][:, row] for x in (found.recorded, found.predicted))
    some = slice(None, None, max(1, len(recorded) // _DOTS))
    axes.plot(recorded[some], predicted[some], ".", color=PREDICTED, markersize=2, alpha=0.4)  # type: ignore[attr-defined]
    if len(recorded):
        ends = [float(recorded.min()), float(recorded.max())]
        axes.plot(ends, ends, color=RECORDED, linewidth=0.8)  # type: ignore[attr-defined]
