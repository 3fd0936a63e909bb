"""Whether frames are where their timestamps say, by the numbers: frame j of an episode is at j / fps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vla.errors import BadInput

if TYPE_CHECKING:
    from vla.data.episodes import EpisodeDataset

__all__ = ["TOLERANCE", "check_times"]

TOLERANCE = 1e-4
"""Seconds by which a timestamp may miss its frame, as in LeRobot (`tolerance_s`)."""


def check_times(dataset: EpisodeDataset) -> None:
    """Raise BadInput naming the first frame whose ``frame_index`` or ``timestamp`` is not what its place in
    the episode asks for. A column that the dataset does not have is not asked for."""
    names = [name for name in ("frame_index", "timestamp") if name in dataset.features]
    if not names:
        return
    columns = dataset.columns(names)
    starts = np.repeat(dataset.episode_bounds[:, 0], np.diff(dataset.episode_bounds)[:, 0])
    places = np.arange(dataset.num_frames) - starts
    if "frame_index" in columns:
        wrong = columns["frame_index"].reshape(-1) != places
        if wrong.any():
            first = int(np.argmax(wrong))
            raise BadInput(
                f"{dataset.root}: column 'frame_index' is {columns['frame_index'].reshape(-1)[first]} at "
                f"{dataset.where(first)}; frames are missing or doubled: record or convert that episode again"
            )
    if "timestamp" in columns:
        times = columns["timestamp"].reshape(-1).astype(np.float64)
        # float32 holds a time of hours no better than this:
        allowed = TOLERANCE + np.spacing(np.abs(times).astype(np.float32)).astype(np.float64)
        wrong = np.abs(times - places / dataset.fps) > allowed
        if wrong.any():
            first = int(np.argmax(wrong))
            raise BadInput(
                f"{dataset.root}: 'timestamp' is {times[first]:.4f} s at {dataset.where(first)}, where "
                f"{dataset.fps} fps of meta/info.json ask for {places[first] / dataset.fps:.4f} s; "
                "correct fps, or record or convert that episode again"
            )
