"""From frame numbers to training batches: gathered whole, without workers, across several datasets.

Legend: B samples, V views, H horizon, D action and state size (of the widest robot), N all frames of all
datasets, one after another.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vla.configuration import HistoryConfig
from vla.data.episodes import EpisodeDataset
from vla.data.meaning import check_same_meaning
from vla.data.points import POINTS, for_cameras, read_points
from vla.data.robots import widen
from vla.errors import BadInput, did_you_mean
from vla.interfaces import ACTION, STATE

__all__ = ["ChunkData", "Prefetcher", "Source"]

VALID = "annotation.valid"
_Ints = npt.NDArray[np.int64]


class Gather(Protocol):
    """Pictures by row: int64 [B] or [B, V] -> uint8 [*rows.shape, height, width, 3], an array or a tensor on
    some device."""

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

    history: how many pictures of the past go with each frame. robots: the names by which datasets may go
    (meta/info.json's ``robot_type``) and have joints of their own; without names all must have the same.
    subtasks: a frame goes with the sub-task that is annotated for it instead of its episode's task; with the
    task where there is none. compare: whether units and kinds of action are compared (see
    `vla.data.meaning`).
    """

    def __init__(
        self,
        sources: Sequence[Source],
        horizon: int,
        every: int = 1,
        history: HistoryConfig | None = None,
        robots: Sequence[str] = (),
        *,
        subtasks: bool = False,
        compare: bool = True,
    ) -> None:
        if not sources:
            raise BadInput("no dataset is given: data=[FOLDER, ...]")
        self.horizon, self.history = horizon, history or HistoryConfig()
        if every > 1 and self.history.frames > 1:
            raise BadInput(
                f"reading.every={every} leaves out past pictures that history.frames={self.history.frames} "
                "looks at: use reading.every=1"
            )
        self.sources = list(sources)
        self.robots = [_robot(source.dataset, robots) for source in sources]
        _check_same(self.sources, self.robots, compare)
        self.tasks: list[str] = []
        known: dict[str, int] = {}
        state, actions, points, starts, ends, stops, tasks, goods, valid, rows, source_of = (
            [] for _ in range(11)
        )
        frames = 0
        self.first_frame: list[int] = []
        for number, source in enumerate(sources):
            data = source.dataset
            data.check_meta()
            names = [STATE, ACTION, "task_index", *(n for n in (POINTS, VALID) if n in data.features)]
            columns = data.columns(names)
            good = columns.get(VALID, np.ones(data.num_frames)).reshape(-1) > 0
            start, end = np.repeat(data.episode_bounds, np.diff(data.episode_bounds)[:, 0], axis=0).T
            state.append(columns[STATE].astype(np.float32).reshape(data.num_frames, -1))
            actions.append(columns[ACTION].astype(np.float32).reshape(data.num_frames, -1))
            points.append(read_points(columns.get(POINTS), data))
            starts.append(frames + start)
            ends.append(frames + end)
            stops.append(frames + np.minimum(end, _next_bad(good)))
            numbers = np.array([known.setdefault(text, len(known)) for text in data.tasks], np.int64)
            said = numbers[columns["task_index"]]
            if subtasks:
                texts, which = data.language.labels("subtask")
                finer = np.array([known.setdefault(text, len(known)) for text in texts], np.int64)
                said = np.where(which >= 0, finer[np.maximum(which, 0)], said)
            tasks.append(said)
            own = np.arange(data.num_frames)
            goods.append(good)
            valid.append(good & (own % every == 0))
            rows.append(own // every)
            source_of.append(np.full(data.num_frames, number, np.int64))
            self.first_frame.append(frames)
            frames += data.num_frames
        self.tasks = list(known)
        self.state, self.actions = _stack(state), _stack(actions)
        self.point_cameras = tuple(dict.fromkeys(name for labelled in points for name in labelled))
        """The cameras that have labelled points in some dataset, in the order of `points`."""
        counts = [source.dataset.num_frames for source in sources]
        self.points = np.concatenate(
            [for_cameras(labelled, self.point_cameras, n) for labelled, n in zip(points, counts, strict=True)]
        )
        self.start, self.end, self.stop = (np.concatenate(x) for x in (starts, ends, stops))
        self.task_index = np.concatenate(tasks)
        self.good, self.valid = np.concatenate(goods), np.concatenate(valid)
        self.row, self.source_of = np.concatenate(rows), np.concatenate(source_of)

    def gather(self, frames: _Ints, images: Mapping[str, Sequence[Gather]] | None = None) -> dict[str, Any]:
        """A raw batch for `frames` (int64 [B]); `images` holds a Gather per camera and source.

        images {camera: uint8 [B,H,W,3]}, state f32 [B,D], actions f32 [B,H,D], action_is_pad bool [B,H],
        task_index int64 [B] into `tasks`, task list[str], points f32 [B, 2 * point_cameras, 3] (x, y in 0..1,
        visible), robot list[str]. With a history images [B,V,H,W,3], the present first, and image_mask
        {camera: bool [B,V]}: the past ends where the episode began.
        """
        steps = frames[:, None] + np.arange(self.horizon)
        views, there = self._views(frames)
        batch = {
            "images": {name: self._pictures(views, gathers) for name, gathers in (images or {}).items()},
            "state": self.state[frames],
            "actions": self.actions[np.minimum(steps, self.end[frames, None] - 1)],
            "action_is_pad": steps >= self.stop[frames, None],
            "task_index": self.task_index[frames],
            "task": [self.tasks[i] for i in self.task_index[frames]],
            "points": self.points[frames],
            "robot": [self.robots[i] for i in self.source_of[frames]],
        }
        return batch if there is None else {**batch, "image_mask": dict.fromkeys(batch["images"], there)}

    def _views(self, frames: _Ints) -> tuple[_Ints, npt.NDArray[np.bool_] | None]:
        """Which frames' pictures are looked at: int64 [B], or with a history [B, V] and which are there."""
        if self.history.frames == 1:
            return frames, None
        wanted = frames[:, None] - self.history.stride * np.arange(self.history.frames)
        start = self.start[frames, None]
        return np.maximum(wanted, start), wanted >= start

    def _pictures(self, views: _Ints, gathers: Sequence[Gather]) -> Any:
        rows = self.row[views]
        if len(gathers) == 1:
            return gathers[0](rows)
        source = self.source_of[views.reshape(len(views), -1)[:, 0]]
        out: Any = None
        for number, gather in enumerate(gathers):
            chosen = np.flatnonzero(source == number)
            if len(chosen) == 0:
                continue
            part = gather(rows[chosen])
            if out is None:
                shape = (len(rows), *part.shape[1:])
                out = np.empty(shape, np.uint8) if isinstance(part, np.ndarray) else part.new_empty(shape)
            out[chosen] = part
        return out


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


def _robot(data: EpisodeDataset, robots: Sequence[str]) -> str:
    """Which of the robots a dataset is of; empty where robots need no names."""
    if not robots:
        return ""
    name = str(data.info.get("robot_type") or "")
    if name not in robots:
        hint = did_you_mean(name, robots)
        raise BadInput(f"{data.root}: robot_type {name!r} is not one of model.state.robots{hint}")
    return name


def _check_same(sources: Sequence[Source], robots: Sequence[str], compare: bool) -> None:
    """Every dataset has a state and actions, and those of one robot mean the same."""
    for dataset in (source.dataset for source in sources):
        for name in (STATE, ACTION):
            if name not in dataset.features:
                raise BadInput(f"{dataset.root}: dataset has no feature '{name}'")
    check_same_meaning([source.dataset for source in sources], robots, motion=compare)


def _stack(parts: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """One after another, each filled up with zeros to the widest."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([part if part.shape[1] == width else widen(part, width) for part in parts])


def _next_bad(good: npt.NDArray[np.bool_]) -> _Ints:
    """int64 [N]: the first frame at or after each one that is not good; N where there is none."""
    frames = len(good)
    marks = np.where(good, frames, np.arange(frames))
    return np.minimum.accumulate(marks[::-1])[::-1]
