"""A dataset's own meta/stats.json against its data: what a policy fitted from that file would believe.

LeRobot puts quantiles of several episodes together by averaging them, which is no quantile of the whole:
that is by its design, and only told. Where means, deviations, least or greatest differ, or a quantile lies
where no data are, the file tells of other data (it was edited or merged by hand). Nothing of ours takes
statistics from that file; this says where others, who do, would be misled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.data.info import COPY_AGAIN, read_json
from vla.data.measured import column_sketches
from vla.errors import BadInput

__all__ = ["BOOKKEEPING", "Disagreement", "StatsCheck", "check_stats", "names_of"]

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

    @property
    def where(self) -> str:
        """Which number of which feature."""
        return f"{self.feature}[{self.index}]" + (f" ({self.name})" if self.name else "")

    def __str__(self) -> str:
        off = f"{self.share:.1%} of its range" if np.isfinite(self.share) else "its values are all the same"
        return (
            f"{self.where}: {self.statistic} is {self.stated:.6g} in meta/stats.json, {self.measured:.6g} in "
            f"the data ({off})"
        )


@dataclass(frozen=True)
class StatsCheck:
    """wrong: what the data contradict. averaged: quantiles that lie among the data, but are none of all
    frames. Each the worst first."""

    wrong: list[Disagreement]
    averaged: list[Disagreement]

    @property
    def note(self) -> str:
        """About the quantiles, in a line; empty where they are those of all frames."""
        if not self.averaged:
            return ""
        worst = self.averaged[0]
        return (
            f"{len(self.averaged):,} of its quantiles (q01 to q99) are not those of all frames, at most "
            f"{worst.share:.1%} of a range off ({worst.statistic} of {worst.where}: {worst.stated:.6g}, of "
            f"all frames {worst.measured:.6g}): no damage, LeRobot averages them over the episodes"
        )


def check_stats(dataset: EpisodeDataset, tolerance: float = 0.01) -> StatsCheck:
    """Where meta/stats.json differs from the dataset's numbers.

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
    wrong: list[Disagreement] = []
    averaged: list[Disagreement] = []
    for name, sketch in column_sketches(dataset, names).items():
        if name not in stated:
            raise BadInput(f"{path} says nothing of feature '{name}'; {COPY_AGAIN}")
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
                one = Disagreement(name, key, int(index), label, float(values[index]), middle, share)
                # An average of episodes' quantiles lies between the least and the greatest of all numbers.
                slack = _EXACT * width[index]
                among = exact.min[index] - slack <= one.stated <= exact.max[index] + slack
                (averaged if key in QUANTILES and among else wrong).append(one)
    return StatsCheck(*(sorted(each, key=lambda one: -one.share) for each in (wrong, averaged)))


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
