"""Pictures larger than the encoder's own size: tiles of that size, beside a thumbnail of the whole.

As in LLaVA-NeXT (Liu et al. 2024): the grid of tiles is chosen for each picture. Unlike there, the picture is
not letterboxed into the grid but resized to fill it: no token is spent on a black border, and as the grid is
the one that fits best, little is stretched (the thumbnail is stretched to a square as every picture here is).

Shapes: B batch, V = 1 + max_tiles views (the thumbnail first, then the tiles row by row), N tokens a view, C
channels, S side in pixels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vla.encoders.image import resize_to

__all__ = ["TilePlaces", "choose_grid", "cut"]


def choose_grid(height: int, width: int, size: int, max_tiles: int) -> tuple[int, int]:
    """(rows, columns) of the tiles of `size` pixels that fit a picture best, rows * columns <= max_tiles.

    The grid that keeps most of the picture's pixels when the picture is fitted into it with its aspect, and
    among equal ones the one that wastes least. (1, 1): the thumbnail shows all there is.
    """
    grids = [(r, c) for r in range(1, max_tiles + 1) for c in range(1, max_tiles // r + 1)]

    def fit(grid: tuple[int, int]) -> tuple[float, float]:
        scale = min(1.0, grid[0] * size / height, grid[1] * size / width)
        kept = height * width * scale**2
        return kept, kept - grid[0] * grid[1] * size**2

    return max(grids or [(1, 1)], key=fit)


def cut(
    picture_HWC: Tensor | np.ndarray, size: int, max_tiles: int, mode: str = "bilinear"
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Picture uint8 [H, W, 3] -> views uint8 [V, S, S, 3], mask bool [V] (which are there), (rows, columns).

    A picture for which one tile would do has its thumbnail only, and the grid (1, 1).
    """
    picture = torch.as_tensor(picture_HWC)[None]
    _, height, width, _ = picture.shape
    rows, columns = grid = choose_grid(height, width, size, max_tiles)
    views = picture.new_zeros(1 + max_tiles, size, size, 3)
    views[0] = resize_to(picture, size, size, mode)[0]
    count = 0 if grid == (1, 1) else rows * columns
    if count:
        whole = resize_to(picture, rows * size, columns * size, mode)[0]
        tiles = whole.reshape(rows, size, columns, size, 3).transpose(1, 2)
        views[1 : 1 + count] = tiles.reshape(count, size, size, 3)
    return views, torch.arange(1 + max_tiles) <= count, grid


class TilePlaces(nn.Module):
    """Adds to each view's tokens what it is: the thumbnail, or the tile at (row, column) of the grid."""

    def __init__(self, channels: int, max_tiles: int) -> None:
        super().__init__()
        self.thumbnail = nn.Parameter(torch.randn(channels) * 0.02)
        self.rows = nn.Parameter(torch.randn(max_tiles, channels) * 0.02)
        self.columns = nn.Parameter(torch.randn(max_tiles, channels) * 0.02)

    def forward(self, tokens_BVNC: Tensor, tile_grid_B2: Tensor) -> Tensor:
        """[B, V, N, C], int64 [B, 2] (rows, columns) -> [B, V, N, C]."""
        tile_V = torch.arange(len(self.rows), device=tokens_BVNC.device)
        columns_B1 = tile_grid_B2[:, 1:]
        places_BVC = self.rows[tile_V // columns_B1] + self.columns[tile_V % columns_B1]
        thumbnail = self.thumbnail.expand(len(tokens_BVNC), 1, -1)
        return tokens_BVNC + torch.cat([thumbnail, places_BVC], 1)[:, :, None].to(tokens_BVNC.dtype)
