"""Which frames are trained on, and how often each is drawn. N: all frames of all datasets, in order."""

import numpy as np
import numpy.typing as npt

from vla.data.batches import ChunkData
from vla.data.sampler import in_validation
from vla.errors import BadInput

__all__ = ["tempered", "weighted_frames"]

_Ints = npt.NDArray[np.int64]


def weighted_frames(
    data: ChunkData, seed: int, validation: float, temperature: float = 1.0
) -> tuple[tuple[_Ints, npt.NDArray[np.float64]], _Ints]:
    """((frames to train on, their weights), frames held for validation); valid frames only.

    Whole episodes go to one side or the other. Weights: source x skill of the episode x opening; above a
    temperature of 1 small sources weigh more (see `tempered`).
    """
    weights = np.zeros(len(data.state))
    held = np.zeros(len(data.state), bool)
    for source, first in zip(data.sources, data.first_frame, strict=True):
        dataset = source.dataset
        episode_weight = np.full(
            dataset.num_episodes, source.weight * tempered(dataset.num_frames, temperature)
        )
        if source.skill_weights:
            if "skill" not in dataset.episode_meta:
                raise BadInput(f"{dataset.root}/meta/episodes has no column 'skill' to weigh by")
            skills = dataset.episode_meta["skill"]
            episode_weight *= np.array([source.skill_weights.get(str(s), 1.0) for s in skills])
        episode = dataset.episode_of_frame
        span = slice(first, first + dataset.num_frames)
        weights[span] = episode_weight[episode]
        weights[span][_opening(data.good[span], episode, source.opening_frames)] *= source.opening_weight
        held[span] = in_validation(dataset.num_episodes, seed, validation, dataset.root.name)[episode]
    train = np.flatnonzero(data.valid & ~held & (weights > 0))
    if len(train) == 0:
        folders = ", ".join(str(source.dataset.root) for source in data.sources)
        raise BadInput(
            f"no frame of {folders} is left to train on: all are held for validation, have weight 0 or are "
            "marked as not valid"
        )
    return (train, weights[train]), np.flatnonzero(data.valid & held & (weights > 0))


def tempered(size: int, temperature: float) -> float:
    """Factor on the weight of each item of a source of `size` items, with which the source is drawn by
    size^(1 / temperature) instead of by its size."""
    return float(size) ** (1 / temperature - 1)


def _opening(good: npt.NDArray[np.bool_], episode: _Ints, frames: int) -> npt.NDArray[np.bool_]:
    """bool [N]: whether a frame is among the first `frames` good ones of its episode."""
    before: _Ints = np.cumsum(good) - good  # good frames before this one, in the whole dataset
    first = np.flatnonzero(np.diff(episode, prepend=-1))
    return good & (before - before[first][np.searchsorted(first, np.arange(len(good)), "right") - 1] < frames)
