"""A small convolutional network, seen in the light of the sentence.

Its channels are scaled and shifted by the sentence (FiLM; Perez et al. 2018, arXiv:1709.07871), and the
sentence asks its fine map for points. Fully convolutional: it takes pictures of any multiple of 8 pixels.

Shapes: M pictures, S side in pixels, h = w = S / 4 fine cells, C channels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import CameraConfig, ConvConfig
from vla.encoders.image import ImageEncoder, Seen, to_float
from vla.encoders.points import PointReader, grid_tokens, read_map

__all__ = ["ConvEncoder", "Film"]


class Film(nn.Module):
    """Normalise over channels, then scale and shift them by what the sentence says. Starts as identity.

    condition: width of the sentence's summary, or None: only normalise.
    """

    def __init__(self, channels: int, condition: int | None) -> None:
        super().__init__()
        self.channels = channels
        self.film: nn.Module | None = None
        if condition is not None:
            self.film = linear = nn.Linear(condition, 2 * channels)
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_MCHW: Tensor, summary_MC: Tensor | None) -> Tensor:
        """[M, C, h, w], [M, condition] -> [M, C, h, w]."""
        x = F.layer_norm(x_MCHW.permute(0, 2, 3, 1), (self.channels,))
        if self.film is not None:
            gain, shift = self.film(summary_MC).to(x.dtype)[:, None, None].chunk(2, -1)
            x = x * (1 + gain) + shift
        return x.permute(0, 3, 1, 2)


class ConvBlock(nn.Module):
    """Residual: x + conv(relu(conv(film(x))))."""

    def __init__(self, channels: int, condition: int | None) -> None:
        super().__init__()
        self.film = Film(channels, condition)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_MCHW: Tensor, summary_MC: Tensor | None) -> Tensor:
        """[M, C, h, w] -> [M, C, h, w]."""
        return x_MCHW + self.conv_2(F.relu(self.conv_1(self.film(x_MCHW, summary_MC)), inplace=True))


class ConvEncoder(ImageEncoder):
    """Points from the map at 1/4, and a grid from the map at 1/8."""

    def __init__(self, config: ConvConfig, camera: CameraConfig, condition: int | None) -> None:
        super().__init__(camera, config.deep)
        width, deep = config.width, config.deep
        self.stem_1 = nn.Conv2d(3, config.stem, 3, stride=2, padding=1)
        self.stem_2 = nn.Conv2d(config.stem, width, 3, stride=2, padding=1)
        self.fine = nn.ModuleList([ConvBlock(width, condition) for _ in range(config.fine_blocks)])
        self.shrink = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.deep = nn.ModuleList([ConvBlock(deep, condition) for _ in range(config.deep_blocks)])
        self.points: PointReader | None = None
        if camera.points:  # the fine map is read by nobody else
            self.lateral = nn.Conv2d(deep, width, 1)
            self.last = Film(width, condition)
            self.points = PointReader(width, camera.points, condition, deep)

    def cells(self, size: int) -> int:
        """Cells along one side of the deep map."""
        return size // 8

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The convolutions and blocks, from the picture upwards."""
        return [self.stem_1, self.stem_2, *self.fine, self.shrink, *self.deep]

    @property
    def head_list(self) -> Sequence[nn.Module]:
        """What brings the deep map back to the fine one, and the points."""
        return [] if self.points is None else [self.lateral, self.last, self.points]

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3] -> points, then grid cells."""
        x = to_float(pictures_MSSC).to(self.stem_1.weight.dtype)
        x = F.relu(self.stem_1(x), inplace=True)
        x = F.relu(self.stem_2(x), inplace=True)
        for block in self.fine:
            x = block(x, summary_MC)
        deep = F.relu(self.shrink(x), inplace=True)
        for block in self.deep:
            deep = block(deep, summary_MC)
        if self.points is not None:
            x = self.last(x + _double(self.lateral(deep)), summary_MC)
        return read_map(self.points, x, summary_MC, grid_tokens(deep, self.camera.grid))


def _double(x_MCHW: Tensor) -> Tensor:
    return F.interpolate(x_MCHW, scale_factor=2.0, mode="nearest")
