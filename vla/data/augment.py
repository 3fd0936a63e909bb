"""Cheap seeded noise on a training batch: small shifts, light and colour, joint readings.

A fixed camera's pixels say where things are, so a shift is also a lie about places: keep it to what a
knocked camera would do. Shapes: B batch, S side in pixels.
"""

from typing import Any

import torch
from torch import Tensor

from vla.configuration import AugmentConfig
from vla.decoders.grounding import POINTS_PER_CAMERA

__all__ = ["augment"]


def augment(
    batch: dict[str, Any], generator: torch.Generator, config: AugmentConfig | None = None
) -> dict[str, Any]:
    """A new batch with images float32 0..1; drawn from `generator` alone (on its device).

    The points belong to the cameras in the order of `batch["images"]`, which is the processor's.
    """
    config = config or AugmentConfig()
    out = dict(batch)
    state = batch["state"]
    noise = torch.randn(state.shape, generator=generator, device=generator.device).to(state.device)
    out["state"] = state + config.state_noise * noise
    images, points = {}, batch.get("points")
    points = None if points is None else points.clone()
    for i, (name, given) in enumerate(batch["images"].items()):
        picture = given
        if config.shift:
            moves = _draw((len(picture), 2), config.shift, generator, picture.device).round().long()
            picture = _shift(picture, moves)
            if points is not None:
                own = points[:, i * POINTS_PER_CAMERA : (i + 1) * POINTS_PER_CAMERA]
                _shift_points(own, moves / picture.shape[1])
        images[name] = _light(picture, config, generator)
    out["images"] = images
    if points is not None:
        out["points"] = points
    return out


def _draw(shape: tuple[int, ...], size: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform in [-size, size]."""
    return (torch.rand(shape, generator=generator, device=generator.device).to(device) * 2 - 1) * size


def _shift(images_BSSC: Tensor, moves_B2: Tensor) -> Tensor:
    """Move each picture right and down by (x, y) pixels; the border repeats."""
    b, s = images_BSSC.shape[:2]
    place = torch.arange(s, device=images_BSSC.device)
    cols = (place - moves_B2[:, :1]).clamp(0, s - 1)
    rows = (place - moves_B2[:, 1:]).clamp(0, s - 1)
    first = torch.arange(b, device=images_BSSC.device)[:, None, None]
    return images_BSSC[first, rows[:, :, None], cols[:, None, :]]


def _shift_points(points_BM3: Tensor, moves_B2: Tensor) -> None:
    """In place; a point that leaves the picture is no longer seen."""
    points_BM3[..., :2] += moves_B2[:, None]
    inside = ((points_BM3[..., :2] >= 0) & (points_BM3[..., :2] <= 1)).all(-1)
    points_BM3[..., 2] *= inside


def _light(images_BSSC: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Contrast, brightness and a gain for each channel, in one multiply and add -> float32 0..1."""
    b, device = len(images_BSSC), images_BSSC.device
    gain = 1 + _draw((b, 1, 1, 1), config.contrast, generator, device)
    gain = gain * (1 + _draw((b, 1, 1, 3), config.color, generator, device))
    offset = 0.5 - 0.5 * gain + _draw((b, 1, 1, 1), config.brightness, generator, device)
    unit = 255.0 if images_BSSC.dtype == torch.uint8 else 1.0
    return torch.addcmul(offset, images_BSSC.float(), gain / unit).clamp_(0, 1)
