"""Cheap seeded noise on a training batch: small shifts, light and colour, joint readings, senses taken away.

A fixed camera's pixels say where things are, so a shift is also a lie about places: keep it to what a
knocked camera would do. Shapes: B batch, V views, S side in pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vla.configuration import AugmentConfig
from vla.data.draws import Draws
from vla.decoders.grounding import POINTS_PER_CAMERA

__all__ = ["augment"]


def augment(
    batch: dict[str, Any],
    draws: Draws,
    config: AugmentConfig | None = None,
    cameras: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A new batch with images float32 0..1; its noise is from `draws` alone.

    All views of a picture move and change light together. The points belong to `cameras` in their order; left
    out, to those of ``batch["images"]``.
    """
    config = config or AugmentConfig()
    out = dict(batch)
    if "state" in batch:
        state = batch["state"]
        out["state"] = state + config.state_noise * draws.normal(*state.shape[1:])
    images, points = {}, batch.get("points")
    points = None if points is None else points.clone()
    order = list(cameras or batch["images"])
    for name, given in batch["images"].items():
        picture, i = given, order.index(name)
        if config.shift:
            moves = draws.around(config.shift, 2).round().long()
            picture = _shift(picture, moves)
            if points is not None:
                own = points[:, i * POINTS_PER_CAMERA : (i + 1) * POINTS_PER_CAMERA]
                _shift_points(own, moves / picture.shape[-2])
        images[name] = _light(picture, config, draws)
    out["images"] = images
    if points is not None:
        out["points"] = points
    if config.drop:
        _drop(out, draws, config.drop)
    return out


def _shift(images: Tensor, moves_B2: Tensor) -> Tensor:
    """Move each picture ([B, S, S, 3], or all views of [B, V, S, S, 3]) right and down by (x, y) pixels; the
    border repeats."""
    if images.ndim == 5:
        v = images.shape[1]
        return _shift(images.flatten(0, 1), moves_B2.repeat_interleave(v, 0)).unflatten(0, (-1, v))
    b, s = images.shape[:2]
    place = torch.arange(s, device=images.device)
    cols = (place - moves_B2[:, :1]).clamp(0, s - 1)
    rows = (place - moves_B2[:, 1:]).clamp(0, s - 1)
    first = torch.arange(b, device=images.device)[:, None, None]
    return images[first, rows[:, :, None], cols[:, None, :]]


def _shift_points(points_BM3: Tensor, moves_B2: Tensor) -> None:
    """In place; a point that leaves the picture is no longer seen."""
    points_BM3[..., :2] += moves_B2[:, None]
    inside = ((points_BM3[..., :2] >= 0) & (points_BM3[..., :2] <= 1)).all(-1)
    points_BM3[..., 2] *= inside


def _light(images: Tensor, config: AugmentConfig, draws: Draws) -> Tensor:
    """Contrast, brightness and a gain for each channel, in one multiply and add -> float32 0..1."""
    gain = 1 + draws.around(config.contrast, 1, 1, 1)
    gain = gain * (1 + draws.around(config.color, 1, 1, 3))
    offset = 0.5 - 0.5 * gain + draws.around(config.brightness, 1, 1, 1)
    if images.ndim == 5:
        gain, offset = gain[:, None], offset[:, None]
    unit = 255.0 if images.dtype == torch.uint8 else 1.0
    return torch.addcmul(offset, images.float(), gain / unit).clamp_(0, 1)


def _drop(batch: dict[str, Any], draws: Draws, shares: Mapping[str, float]) -> None:
    """Modality dropout, in place: takes whole senses away from some samples."""
    cameras = list(batch["images"])
    masks = {name: _camera_mask(batch, name) for name in cameras}
    count, device = len(masks[cameras[0]]), masks[cameras[0]].device
    chance = torch.tensor([shares.get(name, 0.0) for name in (*cameras, "audio", "state")], device=device)
    drawn = draws.uniform(len(chance))
    gone = drawn < chance
    # One camera stays: where all would go, the one that came nearest to staying.
    there = torch.stack([mask.view(count, -1).any(1) for mask in masks.values()], 1)
    nearest = (drawn - chance)[:, : len(cameras)].masked_fill(~there, -torch.inf).argmax(1)
    gone[torch.arange(count, device=device), nearest] = False
    batch["image_mask"] = dict(batch.get("image_mask", {}))
    for i, (name, mask) in enumerate(masks.items()):
        if shares.get(name):
            batch["image_mask"][name] = mask & ~gone[:, i].view(-1, *[1] * (mask.ndim - 1))
            if "points" in batch:  # what is not looked at cannot be pointed at
                own = slice(i * POINTS_PER_CAMERA, (i + 1) * POINTS_PER_CAMERA)
                batch["points"][:, own, 2] *= ~gone[:, i, None]
    if shares.get("audio"):
        batch["audio_length"] = batch["audio_length"].masked_fill(gone[:, -2], 0)
    if shares.get("state"):
        joints = batch.get("state_mask", torch.ones_like(batch["state"], dtype=torch.bool))
        batch["state_mask"] = joints & ~gone[:, -1:]


def _camera_mask(batch: Mapping[str, Any], name: str) -> Tensor:
    """bool [B] or [B, V]: whether the pictures are there, written out."""
    given, images = batch.get("image_mask", {}).get(name), batch["images"][name]
    shape, device = images.shape[:-3], images.device
    return given.to(device) if given is not None else torch.ones(shape, dtype=torch.bool, device=device)
