"""The labelled points of a dataset: where, in each camera's picture, the target and its destination are.

The column ``annotation.points`` holds for each labelled camera two points of x, y (0..1 of the picture) and 1
where the point can be seen; the names of its numbers say which cameras: ``front.target.x``, ...
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput

__all__ = ["POINTS", "for_cameras", "read_points"]

POINTS = "annotation.points"
UNNAMED = ("front", "wrist")
"""Whose points they are where the dataset does not say."""
_NUMBERS = 6
"""A camera: 2 points of x, y, visible."""


def read_points(column: npt.NDArray[Any] | None, data: EpisodeDataset) -> dict[str, npt.NDArray[np.float32]]:
    """Camera -> float32 [N, 2, 3]; cameras without labels are left out."""
    if column is None:
        return {}
    names = data.features[POINTS].get("names")
    cameras = UNNAMED if not isinstance(names, list) else [str(n).split(".")[0] for n in names[::_NUMBERS]]
    if column.size != data.num_frames * _NUMBERS * len(cameras):
        shape, wanted = data.features[POINTS]["shape"], _NUMBERS * len(cameras)
        what = f"{2 * len(cameras)} points of x, y, visible"
        raise BadInput(f"{data.root}: '{POINTS}' has shape {shape}, not [{wanted}] ({what})")
    points = column.astype(np.float32).reshape(data.num_frames, len(cameras), 2, 3)
    return {name: points[:, i] for i, name in enumerate(cameras)}


def for_cameras(
    points: Mapping[str, npt.NDArray[np.float32]], cameras: tuple[str, ...], frames: int
) -> npt.NDArray[np.float32]:
    """float32 [N, 2 * cameras, 3] in the order of `cameras`; zeros (so: not visible) where there are none."""
    none = np.zeros((frames, 2, 3), np.float32)
    return np.concatenate([points.get(name, none) for name in cameras], 1) if cameras else none[:, :0]
