"""The cameras' pictures as the model wants them: sized, with their views (past frames or tiles), and a mask
for what is not there. An absent camera is masked, not refused; only a camera of another name is a mistake.

Legend: B batch, V views, S side in pixels. Views: the present picture, then past ones, `stride` control steps
apart; or a thumbnail of the whole, then its tiles, row by row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla.configuration import CameraConfig, HistoryConfig, ImageConfig
from vla.encoders.image import resize
from vla.encoders.tiles import cut
from vla.errors import BadInput, did_you_mean
from vla.interfaces import HISTORY_PREFIX, IMAGE_PREFIX, Observation
from vla.notice import say_once

__all__ = ["Pictures", "absent_cameras", "from_arrays", "from_observations", "from_pictures", "sized"]

MIN_PICTURE = 8
"""Pixels a side: smaller pictures are surely a mistake."""
BARS = (123, 116, 103)
"""What a letterbox is made of: ImageNet's mean colour."""


@dataclass
class Pictures:
    """images: camera -> uint8 [B, S, S, 3], or [B, V, S, S, 3] with views. mask: camera -> bool [B] or
    [B, V], of the cameras that lack something. grid: camera -> int64 [B, 2], rows and columns of tiles."""

    images: dict[str, Tensor] = field(default_factory=dict)
    mask: dict[str, Tensor] = field(default_factory=dict)
    grid: dict[str, Tensor] = field(default_factory=dict)

    def to_batch(self) -> dict[str, dict[str, Tensor]]:
        """The batch's entries; those without content are left out."""
        parts = {"images": self.images, "image_mask": self.mask, "tile_grid": self.grid}
        return {name: part for name, part in parts.items() if part}


def from_observations(
    observations: Sequence[Observation], image: ImageConfig, history: HistoryConfig
) -> Pictures:
    """The pictures of several observations, each with the cameras that it has.

    Raises BadInput for a camera that the model does not know where one of its own is missing, and for
    pictures of a wrong shape.
    """
    for observation in observations:
        absent_cameras(observation.images, image)
        for name in observation.images.keys() & {camera.name for camera in image.cameras}:
            _check_shape(observation.images[name].shape, IMAGE_PREFIX + name, image)
            if history.frames > 1 and name in observation.history:
                _check_shape(observation.history[name].shape[1:], HISTORY_PREFIX + name, image)
    out = Pictures()
    for camera in image.cameras:
        # One by one: the worlds of a batch need not share a picture size.
        rows = [_views(observation, camera, image, history) for observation in observations]
        _add(out, camera.name, rows, image, history)
    return out


def from_arrays(
    images: Mapping[str, Any], masks: Mapping[str, Any], image: ImageConfig, history: HistoryConfig
) -> Pictures:
    """From camera -> uint8 [B, height, width, 3] or [B, V, height, width, 3], arrays or tensors on any
    device; masks: camera -> bool [B] or [B, V], whether it is there (left out: all). Raises BadInput too."""
    absent = absent_cameras(images, image)
    held = {name: _tensor(given) for name, given in images.items()}
    first = next(held[camera.name] for camera in image.cameras if camera.name in held)
    out = Pictures()
    for camera in image.cameras:
        if image.max_tiles:
            pictures = [None] * len(first) if camera.name in absent else held[camera.name]
            rows = [_tiles(picture, camera, image) for picture in pictures]
            _add(out, camera.name, rows, image, history)
        elif camera.name in absent:
            leading = first.shape[:-3]
            out.images[camera.name] = first.new_zeros((*leading, camera.size, camera.size, 3))
            out.mask[camera.name] = torch.zeros(leading, dtype=torch.bool)
        else:
            given = held[camera.name]
            flat = sized(given.flatten(0, -4), camera.size, image)
            out.images[camera.name] = flat.unflatten(0, given.shape[:-3])
            if camera.name in masks:
                _set_mask(out, camera.name, torch.as_tensor(np.asarray(masks[camera.name], dtype=bool)))
    return out


def from_pictures(shown: Sequence[Any], name: str, image: ImageConfig, history: HistoryConfig) -> Pictures:
    """One picture a sample, uint8 [height, width, 3] of any size each, or None: what camera `name` saw just
    now. The other cameras are left out, and this one too where nobody has a picture. Raises BadInput for what
    is none."""
    cameras = {camera.name: camera for camera in image.cameras}
    if name not in cameras:
        raise BadInput(f"the model has no camera '{name}'{did_you_mean(name, cameras)}")
    camera, out, rows = cameras[name], Pictures(), []
    if all(picture is None for picture in shown):
        return out
    for picture in shown:
        held = None if picture is None else _tensor(picture)
        if held is not None and (held.ndim != 3 or min(held.shape[:2]) < 1):
            raise BadInput(f"a picture must be uint8 [height, width, 3], not {list(held.shape)}")
        if image.max_tiles:
            rows.append(_tiles(held, camera, image))
            continue
        views = torch.zeros(history.frames, camera.size, camera.size, 3, dtype=torch.uint8)
        if held is not None:
            views[:1] = sized(held[None], camera.size, image)
        rows.append((views, [held is not None, *[False] * (history.frames - 1)], (1, 1)))
    _add(out, name, rows, image, history)
    return out


def absent_cameras(held: Collection[str], image: ImageConfig) -> list[str]:
    """The model's cameras that are not among those `held`; what is left out or ignored is said once.

    Raises BadInput where none is there, or where a camera of another name may be meant for one.
    """
    wanted = [camera.name for camera in image.cameras]
    absent = [name for name in wanted if name not in held]
    others = [name for name in held if name not in wanted]
    known = ", ".join(wanted)
    if absent and others:
        hint = did_you_mean(others[0], absent)
        near = hint if "did you mean" in hint else ""
        raise BadInput(f"the observation has camera '{others[0]}'{near}, the model was trained with {known}")
    if len(absent) == len(wanted):
        raise BadInput(
            f"the observation has no picture; the model needs at least one of its cameras: {known}"
        )
    for name in absent:
        say_once(f"absent camera {name}", f"camera '{name}' is absent: masked; the model acts without it")
    for name in others:
        line = f"camera '{name}' is ignored: the model was trained with {known}"
        say_once(f"ignored camera {name}", line)
    return absent


Row = tuple[Tensor, list[bool], tuple[int, int]]
"""One sample's views uint8 [V, S, S, 3], which of them are there, and rows and columns of the tiles."""


def _views(observation: Observation, camera: CameraConfig, image: ImageConfig, history: HistoryConfig) -> Row:
    given = observation.images.get(camera.name)
    if image.max_tiles:
        return _tiles(None if given is None else _tensor(given), camera, image)
    views = torch.zeros(history.frames, camera.size, camera.size, 3, dtype=torch.uint8)
    if given is None:  # a camera that is gone now is gone whole
        return views, [False] * history.frames, (1, 1)
    views[:1] = sized(_tensor(given)[None], camera.size, image)
    past = observation.history.get(camera.name, np.zeros((0, *given.shape), np.uint8))
    picked = past[history.stride - 1 :: history.stride][: history.frames - 1]
    count = 1 + len(picked)
    if len(picked):
        views[1:count] = sized(_tensor(picked), camera.size, image)
    return views, [view < count for view in range(history.frames)], (1, 1)


def _tiles(picture: Tensor | None, camera: CameraConfig, image: ImageConfig) -> Row:
    if picture is None:
        count = 1 + image.max_tiles
        blank = torch.zeros(count, camera.size, camera.size, 3, dtype=torch.uint8)
        return blank, [False] * count, (1, 1)
    views, there, grid = cut(picture, camera.size, image.max_tiles, image.resize)
    return views, there.tolist(), grid


def _add(out: Pictures, name: str, rows: Sequence[Row], image: ImageConfig, history: HistoryConfig) -> None:
    several = bool(image.max_tiles) or history.frames > 1
    views = torch.stack([row[0] for row in rows])
    there = torch.tensor([row[1] for row in rows])
    out.images[name] = views if several else views[:, 0]
    _set_mask(out, name, there if several else there[:, 0])
    if image.max_tiles:
        out.grid[name] = torch.tensor([row[2] for row in rows])


def _set_mask(out: Pictures, name: str, mask: Tensor) -> None:
    """A mask is only there when something is missing."""
    if not mask.all():
        out.mask[name] = mask


def sized(images_BHWC: Tensor, side: int, image: ImageConfig) -> Tensor:
    """uint8 [B, H, W, 3] -> [B, side, side, 3]: squared and resized as the model was trained on."""
    height, width = images_BHWC.shape[1:3]
    if image.fit == "letterbox" and height != width:
        # Half the difference, rounded down, on either side, as in Prismatic: the square may lack a pixel.
        up, left = max(width - height, 0) // 2, max(height - width, 0) // 2
        padded = images_BHWC.new_tensor(BARS).expand(len(images_BHWC), height + 2 * up, width + 2 * left, 3)
        padded = padded.clone()
        padded[:, up : up + height, left : left + width] = images_BHWC
        images_BHWC = padded
    return resize(images_BHWC, side, image.resize)


def _check_shape(shape: tuple[int, ...], key: str, image: ImageConfig) -> None:
    height, width = shape[:2]
    any_shape = image.max_tiles > 0 or image.fit != "square"
    if min(height, width) < MIN_PICTURE or (height != width and not any_shape):
        form = "picture" if any_shape else "square"
        raise BadInput(
            f"'{key}' is {width} x {height} pixels; a {form} of at least {MIN_PICTURE} is needed"
            + ("" if any_shape else ", as the model was trained on (crop it, do not stretch it)")
        )


def _tensor(images: Any) -> Tensor:
    """uint8 [..., height, width, 3], a tensor as it is or an array without copying where it can be shared."""
    if isinstance(images, Tensor):
        return images
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[-1] != 3:
        kind = f"{getattr(images, 'dtype', type(images).__name__)} {list(getattr(images, 'shape', []))}"
        raise BadInput(f"pictures must be uint8 [..., height, width, 3], not {kind}")
    writable = images.flags.writeable and images.flags.c_contiguous
    return torch.from_numpy(images if writable else np.array(images))
