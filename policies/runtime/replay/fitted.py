"""What the checkpoint was fitted to, against what the data hold: wrong statistics show before any action.

Legend: H horizon, D numbers of a feature.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.data.measured import chunk_sketches
from vla.data.robots import relative_actions
from vla.data.statistics import FeatureStatistics, Statistics
from vla.interfaces import ACTION

__all__ = ["Fitted", "best_order", "compare_fitted"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One feature. Each float64 [D]; of chunks the median over their steps.

    ratio: how many times as wide the checkpoint's q01..q99 are as the data's; nan where either is constant.
    beyond: how far the data's q01..q99 reach past the checkpoint's smallest and largest number, in widths of
    the data's q01..q99. constant: bool, whether the checkpoint takes for constant what is not.
    checkpoint, data: [D, 2], q01 and q99 (of a chunk's last step).
    """

    feature: str
    ratio: Floats
    beyond: Floats
    constant: npt.NDArray[np.bool_]
    checkpoint: Floats
    data: Floats


def compare_fitted(processor: Any, dataset: EpisodeDataset, robot: str) -> list[Fitted]:
    """Of the state, where the policy takes one, and of its actions, made relative as it has them. The data
    are measured whole (see `vla.data.measured`). processor: a `vla.processor.Processor`."""
    config = processor.config
    relative = relative_actions(config, int(dataset.features[ACTION]["shape"][0])).mask
    sketches = chunk_sketches(dataset, config.decoder.horizon, relative)
    steps = sketches["actions"].counts.reshape(config.decoder.horizon, -1).all(axis=1)
    out = []
    for name in ("state", "actions"):
        if name == "state" and config.state is None:
            continue
        mine = processor.statistics[Statistics.key(robot, name)]
        if name == "actions" and not steps.all():  # episodes shorter than a chunk: said elsewhere
            continue
        out.append(_compare(name, mine, sketches[name].statistics()))
    return out


def _compare(name: str, checkpoint: FeatureStatistics, data: FeatureStatistics) -> Fitted:
    shape = (-1, data.shape[-1])  # [H, D], or [1, D] of the state
    mine, theirs = (x.q99 - x.q01 for x in (checkpoint, data))
    tiny = 1e-6 * np.maximum(1.0, np.abs(data.mean))
    flat_mine, flat_theirs = mine <= tiny, theirs <= tiny
    ratio = np.where(flat_mine | flat_theirs, np.nan, mine / np.where(flat_theirs, 1.0, theirs))
    past = np.maximum(checkpoint.min - data.q01, data.q99 - checkpoint.max)
    beyond = np.where(flat_theirs, 0.0, np.maximum(past, 0.0) / np.where(flat_theirs, 1.0, theirs))
    ends = [
        np.stack([x.q01.reshape(shape)[-1], x.q99.reshape(shape)[-1]], axis=1) for x in (checkpoint, data)
    ]
    constant = (flat_mine & ~flat_theirs).reshape(shape).all(0)
    times, past_ends = (_median(x.reshape(shape)) for x in (ratio, beyond))
    return Fitted(name, times, past_ends, constant, ends[0], ends[1])


def _median(values: Floats) -> Floats:
    """Over the steps, nan only where all are."""
    known = ~np.isnan(values).all(0)
    out = np.full(values.shape[1], np.nan)
    out[known] = np.nanmedian(values[:, known], axis=0)
    return out


def best_order(found: Fitted) -> tuple[npt.NDArray[np.int64], float]:
    """(order, gain): the data's number ``order[i]`` has a range most like the one that the checkpoint has for
    number i. gain: how many times smaller the total distance between the ranges then is."""
    from scipy.optimize import linear_sum_assignment

    distance = np.abs(found.checkpoint[:, None] - found.data[None]).sum(-1)
    rows, order = linear_sum_assignment(distance)
    own, best = np.trace(distance), distance[rows, order].sum()
    return order, float(own / best) if best > 0 else (1.0 if own == 0 else np.inf)
