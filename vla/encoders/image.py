"""Pictures -> a few tokens each, seen in the light of the sentence.

A small convolutional network per camera; its channels are scaled and shifted by the sentence (FiLM), and
the sentence asks the feature map for points: each point token is where a learned-plus-spoken query matches
best (soft-argmax), and what is there. Points keep sub-cell accuracy that pooled patches lose, and the first
two are supervised (see decoders/grounding.py), so the sentence reaches vision early in training.

Shapes: B batch, S side in pixels, h = w = S / 4 fine cells, K points, C channels, N tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import CameraConfig, ImageConfig
from vla.encoders.state import fourier

__all__ = ["CameraEncoder", "resize"]

POINT_OCTAVES = 4


def resize(images_BSSC: Tensor, side: int) -> Tensor:
    """uint8 or float [B, height, width, 3] -> [B, side, side, 3] of the same type, antialiased."""
    if images_BSSC.shape[1:3] == (side, side):
        return images_BSSC
    x = images_BSSC.permute(0, 3, 1, 2)
    if x.dtype == torch.uint8 and x.is_cuda:  # no integer kernel there
        return resize(images_BSSC.float(), side).round().clamp(0, 255).to(torch.uint8)
    x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return x.permute(0, 2, 3, 1)


def to_float(images_BSSC: Tensor) -> Tensor:
    """uint8 0..255 or float 0..1, [B, S, S, 3] -> float [B, 3, S, S] around 0 with deviation about 1."""
    x = images_BSSC.permute(0, 3, 1, 2)
    return x.float() * (4.0 / 255.0) - 2.0 if x.dtype == torch.uint8 else x * 4.0 - 2.0


class Film(nn.Module):
    """Normalise over channels, then scale and shift them by what the sentence says. Starts as identity."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.channels = channels
        self.film = nn.Linear(condition, 2 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x_BCHW: Tensor, summary_BC: Tensor) -> Tensor:
        """[B, C, h, w], [B, condition] -> [B, C, h, w]."""
        x = F.layer_norm(x_BCHW.permute(0, 2, 3, 1), (self.channels,))
        gain, shift = self.film(summary_BC).to(x.dtype)[:, None, None].chunk(2, -1)
        return (x * (1 + gain) + shift).permute(0, 3, 1, 2)


class ConvBlock(nn.Module):
    """Residual: x + conv(relu(conv(film(x))))."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.film = Film(channels, condition)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor, summary_BC: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return x_BCHW + self.conv_2(F.relu(self.conv_1(self.film(x_BCHW, summary_BC)), inplace=True))


class CameraEncoder(nn.Module):
    """One camera's picture -> points + grid^2 tokens, and the points' attention maps."""

    def __init__(self, config: ImageConfig, camera: CameraConfig, condition: int) -> None:
        super().__init__()
        self.camera = camera
        self.channels = config.deep
        width, deep = config.width, config.deep
        self.stem_1 = nn.Conv2d(3, config.stem, 3, stride=2, padding=1)
        self.stem_2 = nn.Conv2d(config.stem, width, 3, stride=2, padding=1)
        self.fine = nn.ModuleList([ConvBlock(width, condition) for _ in range(config.fine_blocks)])
        self.shrink = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.deep = nn.ModuleList([ConvBlock(deep, condition) for _ in range(config.deep_blocks)])
        self.lateral = nn.Conv2d(deep, width, 1)
        self.last = Film(width, condition)
        # What a point looks for: something learned, plus something the sentence names.
        self.query = nn.Linear(condition, camera.points * width)
        self.point = nn.Sequential(
            nn.Linear(width + 2 * (1 + 2 * POINT_OCTAVES) + 1, deep), nn.SiLU(), nn.Linear(deep, deep)
        )

    @property
    def tokens(self) -> int:
        """Number of tokens made."""
        return self.camera.points + self.camera.grid**2

    def forward(self, images_BSSC: Tensor, summary_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures uint8 (or float 0..1) [B, S, S, 3] -> tokens [B, N, deep], log-odds of each point's place
        float32 [B, K, h, w], the points float32 [B, K, 2] (x, y in 0..1)."""
        x = to_float(resize(images_BSSC, self.camera.size))
        x = F.relu(self.stem_1(x), inplace=True)
        x = F.relu(self.stem_2(x), inplace=True)
        for block in self.fine:
            x = block(x, summary_BC)
        deep = F.relu(self.shrink(x), inplace=True)
        for block in self.deep:
            deep = block(deep, summary_BC)
        x = self.last(x + _double(self.lateral(deep)), summary_BC)
        points_BKC, logits_BKHW, xy_BK2 = self._points(x, summary_BC)
        grid_BNC = F.adaptive_avg_pool2d(deep, self.camera.grid).flatten(2).transpose(1, 2)
        return torch.cat([points_BKC, grid_BNC.to(points_BKC.dtype)], 1), logits_BKHW, xy_BK2

    def _points(self, x_BCHW: Tensor, summary_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, c, h, w = x_BCHW.shape
        keys_BLC = x_BCHW.permute(0, 2, 3, 1).reshape(b, h * w, c)
        query_BKC = self.query(summary_BC).view(b, self.camera.points, c)
        logits_BKL = (query_BKC @ keys_BLC.transpose(1, 2)).float() * c**-0.5
        weights_BKL = F.softmax(logits_BKL, -1)
        found_BKC = weights_BKL.to(keys_BLC.dtype) @ keys_BLC
        with torch.autocast(x_BCHW.device.type, enabled=False):  # places need more than 8 bits
            xy_BK2 = weights_BKL @ _centres(h, w, x_BCHW.device)
        peak_BK1 = weights_BKL.amax(-1, keepdim=True)
        where = torch.cat([fourier(2 * xy_BK2 - 1, POINT_OCTAVES), peak_BK1], -1).to(found_BKC.dtype)
        tokens_BKC = self.point(torch.cat([found_BKC, where], -1))
        return tokens_BKC, logits_BKL.view(b, -1, h, w), xy_BK2


def _double(x_BCHW: Tensor) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def _centres(h: int, w: int, device: torch.device) -> Tensor:
    """Cell centres [h * w, 2] as x, y in 0..1, row by row."""
    y, x = torch.meshgrid(
        (torch.arange(h, device=device) + 0.5) / h, (torch.arange(w, device=device) + 0.5) / w, indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], -1)
