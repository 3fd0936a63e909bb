"""Whether the parts of a folder count the same: rows of data files, meta/episodes, tasks.

Each disagreement is told with the file and the episode where it is, so that it can be mended there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vla.data.info import COPY_AGAIN
from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.data.episodes import EpisodeDataset

__all__ = ["check_bounds", "check_rows", "check_tasks"]

_Ints = npt.NDArray[np.int64]


def check_rows(dataset: EpisodeDataset, spans: Sequence[tuple[Path, int, int]]) -> None:
    """Raise BadInput, naming the file, where the data files hold more or fewer rows than meta/info.json says.
    spans: of each file the first row and one past the last."""
    held = sum(last - first for _, first, last in spans)
    if held == dataset.num_frames:
        return
    meta = dataset.episode_meta
    places = np.stack([meta["data/chunk_index"], meta["data/file_index"]], 1)
    for (file, first, last), place in zip(spans, np.unique(places, axis=0), strict=True):
        episodes = np.flatnonzero((places == place).all(1))
        wanted = int(meta["length"][episodes].sum())
        if last - first != wanted:
            which = f"{episodes[0]}" if len(episodes) == 1 else f"{episodes[0]} to {episodes[-1]}"
            raise BadInput(
                f"{file} holds {last - first} frames, but meta/episodes says {wanted} for its episodes "
                f"({which}): {dataset.root} would have {held} frames, meta/info.json says "
                f"{dataset.num_frames}; {COPY_AGAIN}"
            )
    raise BadInput(
        f"{dataset.root}: data files hold {held} frames, meta/info.json says {dataset.num_frames}; "
        f"{COPY_AGAIN}"
    )


def check_bounds(dataset: EpisodeDataset, bounds: _Ints) -> None:
    """Raise BadInput where meta/episodes says otherwise how long an episode is, or at which frames it begins
    and ends, than the data files do. bounds: int64 [episodes, 2], of the data files."""
    meta, where = dataset.episode_meta, dataset.root / "meta" / "episodes"
    wrong = np.flatnonzero(np.diff(bounds)[:, 0] != meta["length"])
    if len(wrong):
        first = int(wrong[0])
        raise BadInput(
            f"{where}: 'length' of episode {first} is {meta['length'][first]}, but the data files hold "
            f"{bounds[first, 1] - bounds[first, 0]} frames of it; correct it there, or {COPY_AGAIN}"
        )
    for column, end in (("dataset_from_index", 0), ("dataset_to_index", 1)):
        wrong = np.flatnonzero(meta[column] != bounds[:, end]) if column in meta else wrong
        if len(wrong):
            first = int(wrong[0])
            raise BadInput(
                f"{where}: '{column}' of episode {first} is {meta[column][first]}, but its "
                f"{meta['length'][first]} frames are {bounds[first, 0]} to {bounds[first, 1] - 1}: it must "
                f"be {bounds[first, end]}; correct it there, or {COPY_AGAIN}"
            )


def check_tasks(dataset: EpisodeDataset) -> npt.NDArray[Any]:
    """The number of each frame's sentence, [frames]. Raises BadInput naming the first frame whose sentence
    does not exist."""
    numbers, tasks = dataset.columns(["task_index"])["task_index"].reshape(-1), len(dataset.tasks)
    wrong = (numbers < 0) | (numbers >= tasks)
    if wrong.any():
        frame, path = int(np.argmax(wrong)), dataset.root / "meta" / "tasks.parquet"
        last = f", numbered 0 to {tasks - 1}" if tasks > 1 else ", number 0"
        raise BadInput(
            f"{dataset.root}: 'task_index' is {numbers[frame]} at {dataset.where(frame)}, but {path} holds "
            f"{tasks} sentence{'s' if tasks > 1 else ''}{last}: it is of another state of the dataset; "
            f"{COPY_AGAIN}"
        )
    return numbers
