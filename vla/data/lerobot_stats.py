"""Statistics as LeRobotDataset v3 stores them: min, max, mean, std, count and five quantiles a feature.

Vectors get one number a dimension ``[D]``; images one a channel ``[3, 1, 1]`` with pixels scaled to 0..1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["QUANTILES", "FeatureStats", "aggregate", "image_stats", "vector_stats"]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

FeatureStats = dict[str, npt.NDArray[np.float64]]

_MAX_FRAMES = 100  # LeRobot too looks at about this many images of an episode


def vector_stats(values: npt.NDArray[np.generic]) -> FeatureStats:
    """Exact statistics of numeric rows ``[N, D]`` (or ``[N]``, read as ``[N, 1]``)."""
    rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(0),
        "max": rows.max(0),
        "mean": rows.mean(0),
        "std": rows.std(0),
        "count": np.array([len(rows)], dtype=np.float64),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def image_stats(images: Sequence[npt.NDArray[np.uint8]]) -> FeatureStats:
    """Statistics per channel of up to 100 evenly spaced images uint8 ``[H, W, 3]``, each ``[3, 1, 1]``."""
    picked = np.unique(np.linspace(0, len(images) - 1, min(len(images), _MAX_FRAMES)).round().astype(int))
    # A byte has 256 values: a histogram gives every statistic exactly, quantiles included. One picture at a
    # time: `images` may decode them as they are asked for.
    counts = np.zeros((3, 256), np.int64)
    for i in picked:
        pixels = np.asarray(images[i]).reshape(-1, 3)
        counts += [np.bincount(pixels[:, c], minlength=256) for c in range(3)]
    levels = np.arange(256) / 255.0
    total = counts.sum(1)
    mean = counts @ levels / total
    variance = (counts * (levels[None] - mean[:, None]) ** 2).sum(1) / total
    cumulative = np.cumsum(counts, axis=1)

    def quantile(q: float) -> npt.NDArray[np.float64]:
        return levels[(cumulative < q * total[:, None]).sum(1)]

    stats = {"min": quantile(1e-12), "max": quantile(1.0), "mean": mean, "std": np.sqrt(variance)}
    stats |= {name: quantile(q) for name, q in QUANTILES.items()}
    shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items()}
    return shaped | {"count": np.array([len(picked)], dtype=np.float64)}


def aggregate(parts: Sequence[FeatureStats]) -> FeatureStats:
    """Statistics of the union of the parts, as LeRobot aggregates: exact but for the quantiles (weighted, and
    left out where a part has none, as in LeRobot v2.1)."""
    counts = np.array([part["count"][0] for part in parts])
    weights = counts / counts.sum()

    def stack(name: str) -> npt.NDArray[np.float64]:
        return np.stack([part[name] for part in parts])

    mean = np.tensordot(weights, stack("mean"), 1)
    second_moment = np.tensordot(weights, stack("std") ** 2 + (stack("mean") - mean) ** 2, 1)
    return {
        "min": stack("min").min(0),
        "max": stack("max").max(0),
        "mean": mean,
        "std": np.sqrt(second_moment),
        "count": np.array([counts.sum()]),
        **{q: np.tensordot(weights, stack(q), 1) for q in QUANTILES if all(q in part for part in parts)},
    }
