"""Statistics as a table: a line for each number of a feature."""

from collections.abc import Sequence

import numpy as np

from vla.data.sketch import Sketch

__all__ = ["bound", "table"]

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
