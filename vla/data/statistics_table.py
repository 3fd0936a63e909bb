"""Statistics of a data set as tables: a line for each number of a feature."""

from collections.abc import Sequence

import numpy as np

from vla.data.episodes import EpisodeDataset
from vla.data.measured import chunk_sketches, column_sketches
from vla.data.sketch import Sketch
from vla.data.stats_check import BOOKKEEPING, check_stats
from vla.errors import BadInput
from vla.interfaces import ACTION

__all__ = ["against_stated", "bound", "measure", "table"]

SHOWN = ("mean", "std", "min", "max", "q01", "q99")


def table(sketch: Sketch, names: Sequence[str] = ()) -> str:
    """A line for each joint of [D]; of action chunks [H, D] for the first, the middle and the last step.

    names: [D], what each number is; left out, numbers.
    """
    found = sketch.statistics()
    columns = [np.asarray(getattr(found, name)) for name in SHOWN]
    labels = list(names) or [str(i) for i in range(found.shape[-1])]
    if len(found.shape) == 1:
        lines = [(label, [column[i] for column in columns]) for i, label in enumerate(labels)]
    else:
        steps = sorted({0, (found.shape[0] - 1) // 2, found.shape[0] - 1})
        lines = [
            (f"step {step} {label}", [column[step, i] for column in columns])
            for step in steps
            for i, label in enumerate(labels)
        ]
    width = max(len(label) for label, _ in lines)
    head = " " * (width + 2) + "".join(f"{name:>12}" for name in SHOWN)
    rows = [f"  {label:<{width}}" + "".join(f"{value:>12.5g}" for value in values) for label, values in lines]
    return "\n".join([head, *rows])


def bound(sketch: Sketch) -> str:
    """How exact it is, in words."""
    worst = int(sketch.bits.min())
    exact = "exact" if worst >= 52 else f"each within {2.0**-worst:.2%} of itself"
    rest = "least and greatest exact, mean and deviation within 1e-12"
    return f"{sketch.rows:,} samples; {rest}, quantiles {exact}"


def measure(
    dataset: EpisodeDataset, features: Sequence[str] = (), horizon: int | None = None, relative: bool = False
) -> dict[str, Sketch]:
    """Of `features` (none named: all numbers but those that count frames) over all frames; with a horizon of
    ``state`` and ``actions``, as a training measures chunks. Raises BadInput for what holds no numbers."""
    if horizon is not None:
        if ACTION not in dataset.features:
            raise BadInput(f"{dataset.root}: dataset has no feature '{ACTION}'")
        width = int(dataset.features[ACTION]["shape"][0])
        found = chunk_sketches(dataset, horizon, [relative] * width)
        if not found["actions"].counts.all():
            raise BadInput(
                f"{dataset.root}: no episode has {horizon} valid steps in a row; give a smaller horizon="
            )
        return found
    kinds = {name: str(feature["dtype"]) for name, feature in dataset.features.items()}
    numeric = [name for name, kind in kinds.items() if kind.startswith(("float", "int", "uint", "bool"))]
    for name in features:
        if name in kinds and name not in numeric:
            raise BadInput(f"{dataset.root}: feature '{name}' is {kinds[name]}, not numbers")
    return column_sketches(dataset, features or [name for name in numeric if name not in BOOKKEEPING])


def against_stated(dataset: EpisodeDataset, tolerance: float) -> str:
    """What meta/stats.json says wrongly, a line for each number; training reads nothing from it."""
    try:
        found = check_stats(dataset, tolerance)
    except BadInput as error:
        return str(error)
    said = "".join(f"\n  {each}" for each in found.wrong)
    lines = [f"meta/stats.json disagrees:{said}" if found.wrong else "meta/stats.json agrees"]
    return "\n".join([*lines, f"  {found.note}"] if found.note else lines)
