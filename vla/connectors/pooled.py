"""Connectors that map each token by itself: one linear map, or a perceptron (LLaVA 1.5).

A budget below the number of tokens is kept by averaging neighbours before the map: over areas of the picture
where tokens and budget are both squares, else over runs of the sequence. The mean comes first because it is
cheaper so, and for a linear map it is the same.

Shapes: B batch, N tokens in, M tokens out, C channels, W width.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import MLPConfig
from vla.connectors.base import Connector
from vla.encoders.base import Tokens

__all__ = ["LinearConnector", "MLPConnector", "pool"]


def pool(tokens: Tokens, budget: int, picture: bool = True) -> Tokens:
    """Average [B, N, C] down to [B, budget, C], where N is more than the budget.

    Masked tokens do not count; a mean of nothing is zero, and masked. picture: see `build_connector`.
    """
    x_BNC, count = tokens.x, tokens.x.shape[1]
    if count <= budget:
        return tokens
    side, wanted = math.isqrt(count), math.isqrt(budget)
    if picture and side**2 == count and wanted**2 == budget:
        grid, shape = (side, side), (wanted, wanted)
    else:
        grid, shape = (1, count), (1, budget)

    def mean(x_BNC: Tensor) -> Tensor:
        x_BChw = x_BNC.transpose(1, 2).unflatten(2, grid)
        return F.adaptive_avg_pool2d(x_BChw, shape).flatten(2).transpose(1, 2)

    if tokens.mask is None:
        return Tokens(mean(x_BNC))
    there_BN1 = tokens.mask[..., None]
    share_BM1 = mean(there_BN1.float())  # of each window, how much is there
    x_BMC = mean(x_BNC.masked_fill(~there_BN1, 0.0)) / share_BM1.clamp(min=0.5 / count).to(x_BNC.dtype)
    return Tokens(x_BMC, share_BM1[..., 0] > 0)


class LinearConnector(Connector):
    """A linear map and a learned embedding for each place. [B, N, C] -> [B, M, W]."""

    def __init__(
        self, channels: int, tokens: int, width: int, budget: int | None = None, picture: bool = True
    ) -> None:
        super().__init__(channels, tokens, min(tokens, budget or tokens))
        self.picture = picture
        self.project = nn.Linear(channels, width)
        self.place = nn.Parameter(torch.randn(self.tokens, width) * 0.02)

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, M, W]."""
        tokens = pool(tokens, self.tokens, self.picture)
        return Tokens(self.project(tokens.x) + self.place, tokens.mask)


class MLPConnector(Connector):
    """Linear maps with GELU between them, and a learned embedding for each place. [B, N, C] -> [B, M, W].

    Two maps are LLaVA 1.5's projector (Liu et al. 2023); three, the first to `hidden`, Prismatic's for two
    fused towers (Karamcheti et al. 2024), which OpenVLA has. Those have no places: `config.place` is false.
    """

    def __init__(
        self, config: MLPConfig, channels: int, tokens: int, width: int, picture: bool = True
    ) -> None:
        super().__init__(channels, tokens, min(tokens, config.tokens or tokens))
        self.picture = picture
        widths = [channels, config.hidden or width, *[width] * (config.layers - 1)]
        maps: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            maps += [nn.GELU(), nn.Linear(before, after)]
        self.project = nn.Sequential(*maps[1:])
        self.place = nn.Parameter(torch.randn(self.tokens, width) * 0.02) if config.place else None

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, M, W]."""
        tokens = pool(tokens, self.tokens, self.picture)
        x_BMW = self.project(tokens.x)
        return Tokens(x_BMW if self.place is None else x_BMW + self.place, tokens.mask)
