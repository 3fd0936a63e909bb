"""A dataset's own meta/stats.json against its data: what a policy fitted from that file would believe.

LeRobot puts quantiles of several episodes together by averaging them, which is no quantile of the whole, and
files edited or merged by hand may tell of other data altogether. Nothing of ours takes statistics from that
file; this says where others, who do, would be misled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.data.info import read_json
from vla.data.measured import column_sketches
from vla.errors import BadInput

__all__ = ["Disagreement", "names_of", "stats_disagreements"]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index", "subtask_index")
_EXACT = 1e-3
"""Of the range: what single-precision sums may differ by."""


@dataclass(frozen=True)
class Disagreement:
    """One number of stats.json that the data contradict. share: how far off, as a share of the measured
    range (inf where all values are the same)."""

    feature: str
    statistic: str
    index: int
    name: str
    stated: float
    measured: float
    share: float

    def __str__(self) -> str:
        where = f"{self.feature}[{self.index}]" + (f" ({self.name})" if self.name else "")
        off = f"{self.share:.1%} of its range" if np.isfinite(self.share) else "its values are all the same"
        return (
            f"{where}: {self.statistic} is {self.stated:.6g} in meta/stats.json, {self.measured:.6g} in the "
            f"data ({off})"
        )


def stats_disagreements(dataset: EpisodeDataset, tolerance: float = 0.01) -> list[Disagreement]:
    """Where meta/stats.json differs from the dataset's numbers, the worst first; [] where it does not.

    Looked at are min, max, mean, std (allowed to be off by 0.1% of the feature's range) and q01 to q99
    (by `tolerance` of it, as they may have been estimated) of every feature that is not a picture or a
    count of frames. Raises BadInput where the file lacks a feature, or holds something of another shape.
    """
    path = dataset.root / "meta" / "stats.json"
    stated = read_json(path)
    names = [
        name
        for name, feature in dataset.features.items()
        if feature["dtype"].startswith(("float", "int", "uint", "bool")) and name not in BOOKKEEPING
    ]
    found = []
    for name, sketch in column_sketches(dataset, names).items():
        if name not in stated:
            raise BadInput(f"{path} says nothing of feature '{name}'")
        exact = sketch.statistics()
        width = exact.max - exact.min
        _, low, high = sketch.brackets(list(QUANTILES.values()))
        truths = {key: (getattr(exact, key),) * 2 for key in ("min", "max", "mean", "std")}
        truths |= {key: (low[i], high[i]) for i, key in enumerate(QUANTILES)}
        labels = names_of(dataset, name)
        for key, (least, most) in truths.items():
            if key not in stated[name]:
                continue
            values = _numbers(stated[name][key], len(width), f"{path}: '{key}' of '{name}'")
            off = np.maximum(0.0, np.maximum(least - values, values - most))
            off = np.where(np.isfinite(values), off, np.inf)
            allowed = (tolerance if key in QUANTILES else _EXACT) * width
            allowed = np.maximum(allowed, 1e-6 * np.maximum(1.0, np.abs(least)))
            for index in np.flatnonzero(off > allowed):
                share = float(off[index] / width[index]) if width[index] > 0 else np.inf
                middle = float((least[index] + most[index]) / 2)
                label = labels[index] if labels else ""
                found.append(Disagreement(name, key, int(index), label, float(values[index]), middle, share))
    return sorted(found, key=lambda one: -one.share)


def names_of(dataset: EpisodeDataset, feature: str) -> list[str]:
    """What the numbers of a feature are called, [] where the dataset does not say: LeRobot has lists and
    mappings such as {"motors": [...]}."""
    about = dataset.features[feature]
    names: Any = about.get("names")
    if isinstance(names, dict):
        lists = [each for each in names.values() if isinstance(each, list)]
        names = lists[0] if len(lists) == 1 else list(names)
    fits = isinstance(names, list) and [len(names)] == list(about["shape"])
    return [str(each) for each in names] if fits else []


def _numbers(value: Any, count: int, where: str) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise BadInput(f"{where} must be a list of {count} numbers") from None
    if len(numbers) != count:
        raise BadInput(f"{where} must be a list of {count} numbers, not {len(numbers)}")
    return numbers
