"""From frame numbers to training batches: gathered whole, without workers, across several datasets.

Legend: B samples, H horizon, D action and state size, N all frames of all datasets, one after another.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.data.sampler import in_validation
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE

__all__ = ["ChunkData", "Prefetcher", "Source", "weighted_frames"]

POINTS = "annotation.points"
VALID = "annotation.valid"
_Ints = npt.NDArray[np.int64]


class Gather(Protocol):
    """Pictures by row: int64 [B] -> uint8 [B, height, width, 3], an array or a tensor on some device."""

    def __call__(self, rows: _Ints) -> Any: ...


@dataclass
class Source:
    """One dataset folder in a mixture.

    weight: how often each of its frames is drawn, relative to the other sources' frames.
    skill_weights: the same, by the ``skill`` column of meta/episodes.
    opening_weight: the same, for the first `opening_frames` valid frames of each episode. There only the
    sentence says where to go; later the arm's own pose gives it away, and a policy that reads the pose
    instead of the sentence follows its own mistakes.
    """

    dataset: EpisodeDataset
    weight: float = 1.0
    skill_weights: Mapping[str, float] = field(default_factory=dict)
    opening_frames: int = 0
    opening_weight: float = 1.0


class ChunkData:
    """The numeric columns of some datasets in memory, and action chunks cut out of them.

    A chunk at frame t holds the actions of t .. t + H - 1. Past the end of the episode the last action
    repeats; `action_is_pad` marks those steps, and also all steps from the first frame on whose
    ``annotation.valid`` is 0 (what follows a disturbance cannot be foreseen).
    """

    def __init__(self, sources: Sequence[Source], horizon: int, every: int = 1) -> None:
        if not sources:
            raise BadInput("no dataset is given: data=[FOLDER, ...]")
        self.horizon = horizon
        self.sources = list(sources)
        self.tasks: list[str] = []
        known: dict[str, int] = {}
        state, actions, points, ends, stops, tasks, goods, valid, rows, source_of = ([] for _ in range(10))
        frames = 0
        self.first_frame: list[int] = []
        for number, source in enumerate(sources):
            data = source.dataset
            data.check_meta()
            _check_same(sources[0].dataset, data)
            names = [STATE, ACTION, "task_index", *(n for n in (POINTS, VALID) if n in data.features)]
            columns = data.columns(names)
            good = columns.get(VALID, np.ones(data.num_frames)).reshape(-1) > 0
            bounds = data.episode_bounds
            end = np.repeat(bounds[:, 1], bounds[:, 1] - bounds[:, 0])
            state.append(columns[STATE].astype(np.float32).reshape(data.num_frames, -1))
            actions.append(columns[ACTION].astype(np.float32).reshape(data.num_frames, -1))
            points.append(_points(columns.get(POINTS), data))
            ends.append(frames + end)
            stops.append(frames + np.minimum(end, _next_bad(good)))
            numbers = np.array([known.setdefault(text, len(known)) for text in data.tasks], np.int64)
            tasks.append(_lookup(numbers, columns["task_index"], data))
            own = np.arange(data.num_frames)
            goods.append(good)
            valid.append(good & (own % every == 0))
            rows.append(own // every)
            source_of.append(np.full(data.num_frames, number, np.int64))
            self.first_frame.append(frames)
            frames += data.num_frames
        self.tasks = list(known)
        self.state, self.actions, self.points = (np.concatenate(x) for x in (state, actions, points))
        self.end, self.stop, self.task_index = (np.concatenate(x) for x in (ends, stops, tasks))
        self.good, self.valid = np.concatenate(goods), np.concatenate(valid)
        self.row, self.source_of = np.concatenate(rows), np.concatenate(source_of)

    def gather(self, frames: _Ints, images: Mapping[str, Sequence[Gather]] | None = None) -> dict[str, Any]:
        """A raw batch for `frames` (int64 [B]); `images` holds a Gather per camera and source.

        images {camera: uint8 [B,H,W,3]}, state f32 [B,D], actions f32 [B,H,D], action_is_pad bool [B,H],
        task_index int64 [B] into `tasks`, task list[str], points f32 [B,4,3] (x, y in 0..1, visible).
        """
        steps = frames[:, None] + np.arange(self.horizon)
        return {
            "images": {name: self._pictures(frames, gathers) for name, gathers in (images or {}).items()},
            "state": self.state[frames],
            "actions": self.actions[np.minimum(steps, self.end[frames, None] - 1)],
            "action_is_pad": steps >= self.stop[frames, None],
            "task_index": self.task_index[frames],
            "task": [self.tasks[i] for i in self.task_index[frames]],
            "points": self.points[frames],
        }

    def _pictures(self, frames: _Ints, gathers: Sequence[Gather]) -> Any:
        rows = self.row[frames]
        if len(gathers) == 1:
            return gathers[0](rows)
        source = self.source_of[frames]
        out: Any = None
        for number, gather in enumerate(gathers):
            chosen = np.flatnonzero(source == number)
            if len(chosen) == 0:
                continue
            part = gather(rows[chosen])
            if out is None:
                shape = (len(frames), *part.shape[1:])
                out = np.empty(shape, np.uint8) if isinstance(part, np.ndarray) else part.new_empty(shape)
            out[chosen] = part
        return out


def weighted_frames(
    data: ChunkData, seed: int, validation: float
) -> tuple[tuple[_Ints, npt.NDArray[np.float64]], _Ints]:
    """((frames to train on, their weights), frames held for validation); valid frames only.

    Whole episodes go to one side or the other. Weights: source x skill of the episode x opening.
    """
    weights = np.zeros(len(data.state))
    held = np.zeros(len(data.state), bool)
    for source, first in zip(data.sources, data.first_frame, strict=True):
        dataset = source.dataset
        episode_weight = np.full(dataset.num_episodes, source.weight)
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
    return (train, weights[train]), np.flatnonzero(data.valid & held)


def _opening(good: npt.NDArray[np.bool_], episode: _Ints, frames: int) -> npt.NDArray[np.bool_]:
    """bool [N]: whether a frame is among the first `frames` good ones of its episode."""
    before: _Ints = np.cumsum(good) - good  # good frames before this one, in the whole dataset
    first = np.flatnonzero(np.diff(episode, prepend=-1))
    return good & (before - before[first][np.searchsorted(first, np.arange(len(good)), "right") - 1] < frames)


class Prefetcher:
    """Makes batches one after another in a thread, `depth` ahead; an error there is raised at `next`."""

    def __init__(self, make: Callable[[int], Any], start: int, step: int, depth: int = 2) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, start, step), daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[int], Any], number: int, step: int) -> None:
        while not self._stop.is_set():
            try:
                item = make(number)
            except BaseException as error:  # handed to the consumer, which raises it
                item = error
            while not self._stop.is_set():
                try:
                    self._queue.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            number += step

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = self._queue.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Stop the thread; what it had ready is dropped."""
        self._stop.set()
        self._thread.join(timeout=5)


def _check_same(first: EpisodeDataset, other: EpisodeDataset) -> None:
    for name in (STATE, ACTION):
        for data in (first, other):
            if name not in data.features:
                raise BadInput(f"{data.root}: dataset has no feature '{name}'")
        mine, theirs = first.features[name]["shape"], other.features[name]["shape"]
        if list(mine) != list(theirs):
            raise BadInput(f"{other.root}: '{name}' has shape {theirs}, but {mine} in {first.root}")
    if first.fps != other.fps:
        raise BadInput(f"{other.root}: fps is {other.fps}, but {first.fps} in {first.root}")


def _points(column: npt.NDArray[Any] | None, data: EpisodeDataset) -> npt.NDArray[np.float32]:
    """float32 [N, 4, 3]; zeros (so: not visible) where the dataset has none."""
    if column is None:
        return np.zeros((data.num_frames, 4, 3), np.float32)
    if column.size != data.num_frames * 12:
        shape = data.features[POINTS]["shape"]
        raise BadInput(f"{data.root}: '{POINTS}' has shape {shape}, not [12] (4 points of x, y, visible)")
    return column.astype(np.float32).reshape(data.num_frames, 4, 3)


def _lookup(numbers: _Ints, task_index: _Ints, data: EpisodeDataset) -> _Ints:
    if task_index.min() < 0 or task_index.max() >= len(numbers):
        raise BadInput(f"{data.root}: task_index {task_index.max()} is not in meta/tasks.parquet")
    return numbers[task_index]


def _next_bad(good: npt.NDArray[np.bool_]) -> _Ints:
    """int64 [N]: the first frame at or after each one that is not good; N where there is none."""
    frames = len(good)
    marks = np.where(good, frames, np.arange(frames))
    return np.minimum.accumulate(marks[::-1])[::-1]
