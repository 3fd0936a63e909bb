"""A feature map read in two ways: as points that a query finds in it, and as a grid of its cells.

A point token is where a learned-plus-spoken query matches best (soft-argmax), and what is there. Points keep
sub-cell accuracy that pooled cells lose, and the first two are supervised (see decoders/grounding.py), so the
sentence reaches vision early in training.

Shapes: M pictures, C channels, h, w cells, L = h * w, K points, N cells read.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.encoders.image import Seen
from vla.encoders.state import fourier

__all__ = ["PointReader", "grid_tokens", "read_map"]

POINT_OCTAVES = 4


class PointReader(nn.Module):
    """Asks a feature map of `channels` for `points` places; each becomes a token of `hidden`.

    condition: width of the sentence's summary, or None: the queries are learned only.
    """

    def __init__(self, channels: int, points: int, condition: int | None, hidden: int) -> None:
        super().__init__()
        self.count = points
        # What a point looks for: something learned, plus something the sentence names.
        self.query: nn.Module | nn.Parameter
        if condition is None:
            self.query = nn.Parameter(torch.randn(points, channels) * 0.5)
        else:
            self.query = nn.Linear(condition, points * channels)
        self.point = nn.Sequential(
            nn.Linear(channels + 2 * (1 + 2 * POINT_OCTAVES) + 1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
        )

    def forward(self, x_MCHW: Tensor, summary_MC: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Map [M, C, h, w], summary [M, condition] -> tokens [M, K, hidden], log-odds of each point's place
        float32 [M, K, h, w], the points float32 [M, K, 2] (x, y in 0..1)."""
        m, c, h, w = x_MCHW.shape
        keys_MLC = x_MCHW.permute(0, 2, 3, 1).reshape(m, h * w, c)
        if isinstance(self.query, nn.Parameter):
            query_MKC = self.query.expand(m, -1, -1)
        else:
            query_MKC = self.query(summary_MC).view(m, self.count, c)
        logits_MKL = (query_MKC @ keys_MLC.transpose(1, 2)).float() * c**-0.5
        weights_MKL = F.softmax(logits_MKL, -1)
        found_MKC = weights_MKL.to(keys_MLC.dtype) @ keys_MLC
        with torch.autocast(x_MCHW.device.type, enabled=False):  # places need more than 8 bits
            xy_MK2 = weights_MKL @ _centres(h, w, x_MCHW.device)
        peak_MK1 = weights_MKL.amax(-1, keepdim=True)
        where = torch.cat([fourier(2 * xy_MK2 - 1, POINT_OCTAVES), peak_MK1], -1).to(found_MKC.dtype)
        tokens_MKC = self.point(torch.cat([found_MKC, where], -1))
        return tokens_MKC, logits_MKL.view(m, -1, h, w), xy_MK2


def grid_tokens(x_MCHW: Tensor, grid: int) -> Tensor:
    """[M, C, h, w] -> [M, grid * grid, C] averaged cells, row by row; grid 0: every cell, [M, h * w, C]."""
    return (F.adaptive_avg_pool2d(x_MCHW, grid) if grid else x_MCHW).flatten(2).transpose(1, 2)


def read_map(reader: PointReader | None, x_MCHW: Tensor, summary_MC: Tensor | None, grid_MNC: Tensor) -> Seen:
    """The points that `reader` finds in the map, followed by the grid's tokens."""
    if reader is None:
        return Seen(grid_MNC)
    points_MKC, logits_MKHW, xy_MK2 = reader(x_MCHW, summary_MC)
    return Seen(torch.cat([points_MKC, grid_MNC.to(points_MKC.dtype)], 1), logits_MKHW, xy_MK2)


def _centres(h: int, w: int, device: torch.device) -> Tensor:
    """Cell centres [h * w, 2] as x, y in 0..1, row by row."""
    y, x = torch.meshgrid(
        (torch.arange(h, device=device) + 0.5) / h, (torch.arange(w, device=device) + 0.5) / w, indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], -1)
