"""Pictures -> tokens: what every image encoder takes and gives, and which one a config chooses.

An encoder sees pictures of one camera, several frames or tiles of it one after another along M, which the
processor has resized to `CameraConfig.size`. It normalises them itself. Nothing in it belongs to one camera
but that size, so one encoder can serve several (`ImageConfig.shared`).

Shapes: M pictures, S side in pixels, T tokens, C channels, K points, h, w cells of the feature map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import (
    CameraConfig,
    ConvConfig,
    ImageConfig,
    NativeConfig,
    PrismaticConfig,
    TowerConfig,
    VitConfig,
)
from vla.errors import BadInput

__all__ = [
    "ImageEncoder",
    "Normalise",
    "Seen",
    "build_image_encoder",
    "resize",
    "resize_to",
    "to_float",
    "unit_range",
]


def resize(images_BSSC: Tensor, side: int, mode: str = "bilinear") -> Tensor:
    """uint8 or float [B, height, width, 3] -> [B, side, side, 3] of the same type, antialiased."""
    return resize_to(images_BSSC, side, side, mode)


def resize_to(images_BHWC: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """uint8 or float [B, H, W, 3] -> [B, height, width, 3] of the same type, antialiased.

    mode: `bilinear` or `bicubic`; of uint8 on the CPU both are Pillow's, within two levels.
    """
    if images_BHWC.shape[1:3] == (height, width):
        return images_BHWC
    x = images_BHWC.permute(0, 3, 1, 2)
    if x.dtype == torch.uint8 and x.is_cuda:  # no integer kernel there
        return resize_to(images_BHWC.float(), height, width, mode).round().clamp(0, 255).to(torch.uint8)
    x = F.interpolate(x, size=(height, width), mode=mode, antialias=True, align_corners=False)
    return x.permute(0, 2, 3, 1)


def to_float(images_BSSC: Tensor) -> Tensor:
    """uint8 0..255 or float 0..1, [B, S, S, 3] -> float [B, 3, S, S] around 0 with deviation about 1."""
    x = images_BSSC.permute(0, 3, 1, 2)
    return x.float() * (4.0 / 255.0) - 2.0 if x.dtype == torch.uint8 else x * 4.0 - 2.0


def unit_range(images_BSSC: Tensor) -> Tensor:
    """uint8 0..255 or float 0..1, [B, S, S, 3] -> float 0..1 [B, 3, S, S]."""
    x = images_BSSC.permute(0, 3, 1, 2)
    return x.float() / 255.0 if x.dtype == torch.uint8 else x


class Normalise(nn.Module):
    """Pictures less a mean, over a deviation, colour by colour: what a pretrained tower was trained on.

    Both are buffers of the checkpoint, so a saved model cannot be used with another tower's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, images_MSSC: Tensor) -> Tensor:
        """uint8 or float 0..1 [M, S, S, 3] -> float [M, 3, S, S]."""
        return (unit_range(images_MSSC) - self.mean[:, None, None]) / self.std[:, None, None]


@dataclass(frozen=True)
class Seen:
    """What an encoder makes of M pictures: tokens [M, T, C], points first, then the grid row by row.

    maps: log-odds of each point's place float32 [M, K, h, w]. points: float32 [M, K, 2], x, y in 0..1. Both
    None for an encoder without points.
    """

    tokens: Tensor
    maps: Tensor | None = None
    points: Tensor | None = None


class ImageEncoder(nn.Module):
    """One camera's pictures -> tokens of `channels` each."""

    def __init__(self, camera: CameraConfig, channels: int) -> None:
        super().__init__()
        self.camera = camera
        self.channels = channels

    @property
    def tokens(self) -> int:
        """Number of tokens made of a picture of the camera's own size."""
        return self.camera.points + (self.camera.grid or self.cells(self.camera.size)) ** 2

    def cells(self, size: int) -> int:
        """Cells (patches) along one side of the feature map of a picture of `size` pixels."""
        raise NotImplementedError

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """Its layers in order, those that are trained when only the last ones are. May be empty."""
        return []

    @property
    def head_list(self) -> Sequence[nn.Module]:
        """What stands after the last layer (final norm, points) and is trained together with it."""
        return []

    @property
    def vision_modules(self) -> list[nn.Module]:
        """What sees."""
        return [self]

    @property
    def connector_modules(self) -> list[nn.Module]:
        """What learns with the connectors, however still a pretrained encoder is kept."""
        return []

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3], the sentence's summary [M, condition] -> Seen."""
        raise NotImplementedError


def build_image_encoder(
    config: ImageConfig, camera: CameraConfig, condition: int | None, width: int
) -> ImageEncoder:
    """The encoder of one camera (or of all, with `config.shared`).

    condition: width of the sentence's summary, None where the text encoder gives none. width: the backbone's,
    for `native`. Raises BadInput for a camera that the encoder cannot serve.
    """
    # Imported here because each of them imports its base class from this file.
    from vla.encoders.conv import ConvEncoder
    from vla.encoders.native import NativeEncoder
    from vla.encoders.prismatic import PrismaticEncoder
    from vla.encoders.tower import TowerEncoder
    from vla.encoders.vit import VitEncoder

    chosen = config.encoder
    encoder: ImageEncoder
    if isinstance(chosen, ConvConfig):
        encoder = ConvEncoder(chosen, camera, condition)
    elif isinstance(chosen, VitConfig):
        encoder = VitEncoder(chosen, camera, condition)
    elif isinstance(chosen, TowerConfig):
        encoder = TowerEncoder(chosen, camera, condition)
    elif isinstance(chosen, PrismaticConfig):
        encoder = PrismaticEncoder(chosen, camera)
    elif isinstance(chosen, NativeConfig):
        encoder = NativeEncoder(chosen, camera, width)
    else:
        raise AssertionError(f"image.encoder.kind={chosen.kind} is built with the backbone")
    if camera.grid > encoder.cells(camera.size):
        raise BadInput(
            f"camera '{camera.name}': grid {camera.grid} is finer than the encoder's map of "
            f"{encoder.cells(camera.size)} x {encoder.cells(camera.size)} cells (0: each cell a token)"
        )
    return encoder
