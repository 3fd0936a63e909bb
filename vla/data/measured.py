"""What a dataset's numbers are, measured over all of its frames and kept beside it.

A dataset is read once; its sketches (see `vla.data.sketch`) go to ``<dataset>/.cache``, under a name that
changes with the dataset, the chunks that were cut out of it and the frames that were looked at. Statistics of
several datasets together are merged sketches: no second pass over any of them.

Legend: N frames, H horizon, D a robot's own joints.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.configuration import VLAConfig
from vla.data.batches import ChunkData, Source
from vla.data.cache import cache_key
from vla.data.episodes import EpisodeDataset
from vla.data.robots import relative_actions
from vla.data.sketch import Sketch
from vla.data.sketch_file import FORMAT, load_sketches, save_sketches
from vla.data.statistics import FeatureStatistics, Statistics
from vla.errors import BadInput
from vla.interfaces import ACTION, STATE
from vla.notice import say_once

__all__ = ["chunk_sketches", "column_sketches", "combine", "measured"]

Sketches = Mapping[str, Sketch]
_Ints = npt.NDArray[np.int64]

_PIECE = 1 << 22
"""Numbers of chunks that are formed at once."""


def measured(
    config: VLAConfig, data: ChunkData, frames: _Ints, robots: Sequence[str]
) -> dict[str, FeatureStatistics]:
    """What `vla.data.robots.fitted` estimates from a sample, from all of `frames` (int64 [N], of `data`).

    Each dataset is measured once and merged with the others of its robot. Raises BadInput where no episode
    of a robot is as long as a chunk.
    """
    out = {}
    for robot in robots:
        parts = []
        for number, source in enumerate(data.sources):
            own = frames[data.source_of[frames] == number]
            if data.robots[number] == robot and len(own):
                relative = relative_actions(config, _width(source.dataset, ACTION)).mask
                parts.append(_of_source(data, number, own, relative))
        found = combine(parts)
        steps = found["actions"].counts.reshape(data.horizon, -1).any(axis=1)
        if not steps.all():
            longest = int(steps.sum())
            raise BadInput(
                f"no episode has {data.horizon} steps in a row (model.decoder.horizon) to learn from, "
                f"{longest} at most: give model.decoder.horizon={max(1, longest)}"
            )
        if config.state is not None:
            out[Statistics.key(robot, "state")] = found["state"].statistics()
        out[Statistics.key(robot, "actions")] = found["actions"].statistics()
    return out


def chunk_sketches(
    dataset: EpisodeDataset, horizon: int, relative: Sequence[bool], frames: _Ints | None = None
) -> dict[str, Sketch]:
    """``state`` [D] and ``actions`` [H, D] (offsets from the present state where `relative` says so) of one
    dataset, from its .cache if they were measured before.

    frames: int64 [N], those to look at; None: all valid ones. Steps past an episode's end, or from an invalid
    frame on, are left out, as in training.
    """
    data = ChunkData([Source(dataset)], horizon)
    return _of_source(data, 0, np.flatnonzero(data.valid) if frames is None else frames, relative)


def column_sketches(dataset: EpisodeDataset, names: Sequence[str]) -> dict[str, Sketch]:
    """Numeric columns of a dataset as they are stored, each [D], over all frames; not kept: they are read
    as fast as a sketch of them."""
    out = {}
    for name, values in dataset.columns(names).items():
        rows = values.reshape(len(values), -1)
        out[name] = Sketch(f"{dataset.root}: {name}", rows.shape[1:]).update(rows)
    return out


def combine(parts: Sequence[Sketches]) -> dict[str, Sketch]:
    """The sketches of several datasets put together, by name. Raises BadInput where they differ in shape."""
    if not parts:
        raise BadInput("there is nothing to put together: no dataset was measured")
    return {name: reduce(Sketch.merge, [part[name] for part in parts]) for name in parts[0]}


def _of_source(data: ChunkData, number: int, frames: _Ints, relative: Sequence[bool]) -> dict[str, Sketch]:
    """frames: of `data`, all of source `number`."""
    dataset, first = data.sources[number].dataset, data.first_frame[number]
    path = _place(dataset, data.horizon, relative, np.sort(frames) - first)
    if path.is_file():
        try:
            return load_sketches(path)
        except BadInput as error:
            say_once(str(path), f"{error}; measuring again")
    found = _measure(data, np.sort(frames), relative, dataset)
    try:
        save_sketches(path, found)
        for old in path.parent.glob("*-statistics-*.safetensors"):
            if old.name.split("-")[0] != path.name.split("-")[0]:  # of an earlier state of the dataset
                old.unlink(missing_ok=True)
    except OSError as error:
        say_once(str(path), f"statistics are not kept in {path.parent}: {error.strerror}")
    return found


def _measure(
    data: ChunkData, frames: _Ints, relative: Sequence[bool], dataset: EpisodeDataset
) -> dict[str, Sketch]:
    states, joints = _width(dataset, STATE), _width(dataset, ACTION)
    mask = np.asarray(relative, bool)
    if mask.any() and states != joints:
        raise BadInput(f"{dataset.root}: {joints} actions cannot be relative to a state of {states} numbers")
    state = Sketch(f"{dataset.root}: {STATE}", [states])
    actions = Sketch(f"{dataset.root}: chunks of {ACTION}", [data.horizon, joints])
    ahead = np.arange(data.horizon)
    piece = max(1, _PIECE // (data.horizon * joints))
    for first in range(0, len(frames), piece):
        now = frames[first : first + piece]
        steps = now[:, None] + ahead
        chunks = data.actions[np.minimum(steps, data.end[now, None] - 1), :joints]
        if mask.any():
            chunks = chunks - np.where(mask, data.state[now, :joints], np.float32(0.0))[:, None]
        state.update(data.state[now, :states])
        actions.update(chunks, steps < data.stop[now, None])
    return {"state": state, "actions": actions}


def _place(dataset: EpisodeDataset, horizon: int, relative: Sequence[bool], frames: _Ints) -> Path:
    """Where the sketches of these frames of the dataset are kept."""
    what: dict[str, Any] = {"format": FORMAT, "horizon": horizon, "relative": [bool(x) for x in relative]}
    digest = hashlib.sha256(json.dumps(what).encode())
    digest.update(np.ascontiguousarray(frames, np.int64).tobytes())
    name = f"{cache_key(dataset, 1)}-statistics-{digest.hexdigest()[:12]}.safetensors"
    return dataset.root / ".cache" / name


def _width(dataset: EpisodeDataset, name: str) -> int:
    return int(dataset.features[name]["shape"][0])
