"""A comparison of tokenizers as a picture: what codes buy, and what one wrong code does.

Colours are Okabe and Ito's (2008), which colour-blind readers tell apart; markers differ as well.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla.errors import BadInput
from vla.tokens.comparison.chunks import Chunks
from vla.tokens.comparison.compare import Comparison, Row

__all__ = ["draw"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = "osD^vP*X"
PNG = {"Software": None}  # no version in the file: the same numbers give the same bytes


def draw(found: Comparison, chunks: Chunks, path: Path) -> None:
    """Write the picture as PNG, aside and then renamed. Raises BadInput where it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = [row for row in found.rows if row.prefix is None]
    style = {
        row.name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, row in enumerate(whole)
    }
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # it tells of its cache
    figure = Figure(figsize=(13, 0.35 * max(0, len(whole) - 10) + 5.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=[5, 3, 3])
    group = max(range(len(chunks.groups)), key=lambda number: len(chunks.groups[number].joints))
    name, unit = chunks.groups[group].name, chunks.groups[group].unit
    of = f"{name}, {unit}" if unit else name
    _codes(left, found.rows, style, group, of)
    _detected(middle, whole, style)
    _lies(right, whole, style, group, of)
    right.sharey(middle)
    right.tick_params(labelleft=False)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        canvas.print_png(aside, metadata=PNG)
        os.replace(aside, path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _codes(axes: Any, rows: Sequence[Row], style: dict[str, Any], group: int, of: str) -> None:
    """Mean error against codes a chunk; the prefixes of an ordered tokenizer as a line."""
    for name, look in style.items():
        line = sorted((r for r in rows if r.name == name), key=lambda r: r.size.mean)
        axes.plot(
            [r.size.mean for r in line],
            [r.loss.groups[group].mean for r in line],
            linestyle="-" if len(line) > 1 else "none",
            markersize=5 if len(line) > 1 else 10,
            markerfacecolor="none",  # those with the same number of codes may lie on each other
            markeredgewidth=2,
            label=f"{name} (every prefix)" if len(line) > 1 else name,
            **look,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("codes a chunk, mean")
    axes.set_ylabel(f"mean error ({of})")
    axes.set_title("What codes buy: left and down is better")
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(fontsize=9)


def _detected(axes: Any, whole: list[Row], style: dict[str, Any]) -> None:
    """Share of damaged sequences that decoding refuses, with the Wilson interval, from the top down."""
    from scipy.stats import binomtest

    for place, row in enumerate(whole):
        assert row.corruption is not None
        hit, tried = row.corruption.all
        if tried == 0:
            continue
        rate = hit / tried
        interval = binomtest(hit, tried).proportion_ci(0.95, method="wilson")
        axes.barh(place, rate, height=0.55, color=style[row.name]["color"], alpha=0.85)
        ends = [[max(0.0, rate - interval.low)], [max(0.0, interval.high - rate)]]
        axes.errorbar(rate, place, xerr=ends, color="black", capsize=3, linewidth=1)
        axes.text(1.02, place, f"{rate:.0%}", va="center", fontsize=9)
    axes.set_yticks(range(len(whole)), [row.name for row in whole])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("detected, 95% interval")
    axes.set_title("One wrong code: noticed?")
    axes.grid(True, axis="x", alpha=0.25)


def _lies(axes: Any, whole: list[Row], style: dict[str, Any], group: int, of: str) -> None:
    """Of what was not detected: mean error of the chunk, and its worst number."""
    for place, row in enumerate(whole):
        assert row.corruption is not None
        if row.corruption.lies is None:
            axes.text(0.5, place, "none", va="center", ha="center", transform=axes.get_yaxis_transform())
            continue
        lie = row.corruption.lies[group]
        axes.plot([lie.mean, lie.worst], [place, place], color=style[row.name]["color"], linewidth=1.5)
        axes.plot(lie.worst, place, markersize=9, **style[row.name])
        axes.plot(lie.mean, place, markersize=7, markerfacecolor="white", **style[row.name])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"error ({of})\nhollow: mean, full: worst number")
    axes.set_title("If not: how wrong is the chunk?")
    axes.grid(True, axis="x", which="both", alpha=0.25)
