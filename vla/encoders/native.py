"""Pictures without an encoder: raw patches, one linear map, straight into the backbone.

As in Fuyu (Bavishi et al. 2023): the backbone itself learns to see. A learned token after each row of patches
tells where rows end, so the picture's shape is in the sequence.

Shapes: M pictures, S side in pixels, p patch, h, w patches, W the backbone's width.
"""

import torch
from torch import Tensor, nn

from vla.configuration import CameraConfig, NativeConfig
from vla.encoders.image import ImageEncoder, Seen, unit_range
from vla.encoders.points import grid_tokens

__all__ = ["NativeEncoder"]


class NativeEncoder(ImageEncoder):
    """Patches of p x p x 3 numbers -> tokens of the backbone's `width`, row by row.

    With `camera.grid` the embedded patches are averaged down to so many rows and columns.
    """

    def __init__(self, config: NativeConfig, camera: CameraConfig, width: int) -> None:
        super().__init__(camera, width)
        self.patch = config.patch
        self.embed = nn.Linear(3 * config.patch**2, width)
        side = self.cells(camera.size)
        # About as large as what the linear map starts with, so that a patch's place is not lost beside it.
        self.rows = nn.Parameter(torch.randn(side, width) * 0.1)
        self.columns = nn.Parameter(torch.randn(side, width) * 0.1)
        self.row_end = nn.Parameter(torch.randn(width) * 0.1) if config.row_ends else None

    def cells(self, size: int) -> int:
        """Patches along one side."""
        return size // self.patch

    @property
    def tokens(self) -> int:
        """Patches (or grid cells), and one more for each row with row ends."""
        rows = self.camera.grid or self.cells(self.camera.size)
        return rows * (rows + (self.row_end is not None))

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3] -> [M, T, W]."""
        m, height, width, _ = pictures_MSSC.shape
        p, h, w = self.patch, self.cells(height), self.cells(width)
        x = 2 * unit_range(pictures_MSSC).permute(0, 2, 3, 1) - 1
        x = x.reshape(m, h, p, w, p, 3).transpose(2, 3).reshape(m, h, w, 3 * p * p)
        x_MhwW = self.embed(x.to(self.rows.dtype)) + (self.rows[:, None] + self.columns)
        rows = self.camera.grid or h
        if self.camera.grid:
            pooled_MNW = grid_tokens(x_MhwW.permute(0, 3, 1, 2), self.camera.grid)
            x_MhwW = pooled_MNW.unflatten(1, (rows, rows))
        if self.row_end is not None:
            ends = self.row_end.to(x_MhwW.dtype).expand(m, rows, 1, -1)
            x_MhwW = torch.cat([x_MhwW, ends], 2)
        return Seen(x_MhwW.flatten(1, 2))
