"""The experiment's table in Markdown and its plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.runtime.transfer.options import CHANCE
from policies.runtime.transfer.pooling import ratio
from vla.folders import writable_folder, write_whole

__all__ = ["plot", "table", "write_report"]

Found = Mapping[str, Mapping[str, Any]]
COLORS = ("#8a94a0", "#e8a10a", "#2f6fed", "#1f9d61", "#b13fc9", "#d6455d")
"""One an arm, distinguishable without full colour vision."""


def write_report(
    page: Path, text: tuple[str, str], found: Found, labels: Mapping[str, str], columns: Sequence[str]
) -> None:
    """Write the page, Markdown, and the plot beside it. text: its title, and how the numbers were found."""
    writable_folder(page.parent)
    picture = plot(found, labels, columns, page.with_suffix(".png"))
    shown = f"![success and wrong objects]({picture.name})"
    write_whole(page, f"# {text[0]}\n\n{text[1]}\n\n{shown}\n\n{table(found, labels, columns)}\n")


def table(found: Found, labels: Mapping[str, str], columns: Sequence[str]) -> str:
    """Success and wrong objects of each arm on each split, answers about pictures, and how arms compare."""
    parts = [
        _rates("success", found, labels, columns),
        _rates("wrong object", found, labels, [f"{column}/wrong" for column in columns]),
    ]
    asked = [
        name for name in ("vqa", "vqa/unseen", "vqa/other") if any(name in each for each in found.values())
    ]
    if asked:
        parts.append(_rates("answers about held-out pictures", found, labels, asked))
    skills = [
        f"{c}/{s}" for c in columns for s in ("touch", "lift") if any(f"{c}/{s}" in e for e in found.values())
    ]
    if skills:
        parts.append(_rates("success by skill", found, labels, skills))
    parts.append(_compared(found, labels, columns))
    return "\n\n".join(part for part in parts if part)


def _rates(title: str, found: Found, labels: Mapping[str, str], columns: Sequence[str]) -> str:
    heads = [_said(column) for column in columns]
    lines = [f"| {title} | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for arm, label in labels.items():
        cells = [_cell(found.get(arm, {}).get(column)) for column in columns]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(column: str) -> str:
    words = {"vqa": "all", "vqa/unseen": "about unseen words", "vqa/other": "about others"}
    return words.get(column, column.removesuffix("/wrong").replace("_", " ").replace("/", ", "))


def _cell(share: Mapping[str, Any] | None) -> str:
    if share is None or not share["of"]:
        return "–"
    low, high = share["interval"]
    seeds = ", ".join(f"{rate:.0%}" for rate in share["seeds"].values())
    counted = f"{share['count']:.0f}/{share['of']}, {low:.1%} to {high:.1%}; seeds {seeds}"
    return f"**{share['rate']:.1%}** ({counted})"


def _compared(found: Found, labels: Mapping[str, str], columns: Sequence[str]) -> str:
    """Each arm's success as a multiple of the first's."""
    first, *others = labels
    lines = []
    for arm in others:
        told = []
        for column in columns:
            one, other = found.get(arm, {}).get(column), found.get(first, {}).get(column)
            if one and other and (times := ratio(one, other)):
                told.append(f"{column.replace('_', ' ')} {times[0]:.2f} ({times[1]:.2f} to {times[2]:.2f})")
        if told:
            lines.append(f"- {labels[arm]}, times the success of {labels[first]}: {'; '.join(told)}")
    return "\n".join(lines)


def plot(found: Found, labels: Mapping[str, str], columns: Sequence[str], path: Path) -> Path:
    """Write a PNG: bars of success, and of wrong objects, with Wilson 95% intervals; a dot is a seed."""
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    success, wrong = figure.subplots(1, 2, width_ratios=(1.25, 1))
    asked = ["vqa"] if any("vqa" in each for each in found.values()) else []
    _bars(success, found, labels, [*columns, *asked])
    _bars(wrong, found, labels, [f"{column}/wrong" for column in columns])
    left, right = -0.5, len(columns) - 0.5
    success.plot([left, right], [CHANCE, CHANCE], "k:", linewidth=1, label="a blind guess")
    success.set(ylim=(0, 1.04), ylabel="success, with Wilson 95% intervals", title="does what is said")
    wrong.set(ylim=(0, 1.04), ylabel="share of episodes", title="goes for a wrong object")
    success.legend(fontsize=8)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(aside, dpi=130, format="png")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _bars(axes: Any, found: Found, labels: Mapping[str, str], columns: Sequence[str]) -> None:
    width = 0.8 / len(labels)
    for number, (arm, label) in enumerate(labels.items()):
        color = COLORS[number % len(COLORS)]
        for place, column in enumerate(columns):
            share = found.get(arm, {}).get(column)
            if share is None or not share["of"]:
                continue
            x = place + (number - (len(labels) - 1) / 2) * width
            low, high = share["interval"]
            rate = share["rate"]
            axes.bar(x, rate, 0.92 * width, color=color, label=label if place == 0 else None)
            error = [[max(rate - low, 0.0)], [max(high - rate, 0.0)]]
            axes.errorbar(x, rate, yerr=error, color="#1d2733", capsize=3, linewidth=1.2)
            seeds = list(share["seeds"].values())
            spread = [x + 0.18 * width * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
            axes.plot(spread, seeds, "o", color="white", markeredgecolor="#1d2733", markersize=4)
    names = ["answers about\npictures" if c == "vqa" else _said(c).replace(" ", "\n") for c in columns]
    axes.set_xticks(range(len(columns)), names)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
