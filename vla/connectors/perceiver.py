"""Flamingo's Perceiver resampler (Alayrac et al. 2022): learned latents draw what they need from the tokens.

In every layer the latents attend to the tokens and to themselves in one softmax, normalised before, then pass
a feed-forward network. It works at the backbone's width; tokens of another width pass a linear map first.

Shapes: B batch, N tokens, Q latents, C channels, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import PerceiverConfig
from vla.connectors.attention import Attention, check_heads
from vla.connectors.base import Connector
from vla.encoders.base import Tokens

__all__ = ["PerceiverConnector"]


class PerceiverLayer(nn.Module):
    """latents + attention to (tokens, latents), then + feed-forward; no biases, as in the paper."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.tokens_norm, self.latents_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look = Attention(width, width, heads, bias=False)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, latents_BQW: Tensor, x_BNW: Tensor, mask: Tensor | None) -> Tensor:
        """[B, Q, W] -> [B, Q, W]. mask: bool [B, 1, 1, N + Q]."""
        queries_BQW = self.latents_norm(latents_BQW)
        keys = torch.cat([self.tokens_norm(x_BNW), queries_BQW], 1)
        latents_BQW = latents_BQW + self.look(queries_BQW, keys, mask)
        return latents_BQW + self.down(F.gelu(self.up(self.norm(latents_BQW))))


class PerceiverConnector(Connector):
    """[B, N, C] -> [B, Q, W], the same in whatever order the tokens come."""

    def __init__(self, config: PerceiverConfig, channels: int, tokens: int, width: int) -> None:
        super().__init__(channels, tokens, config.tokens)
        check_heads("the backbone's width", width, config.heads)
        self.project = nn.Linear(channels, width) if channels != width else nn.Identity()
        # Small beside what attention adds, so that the answers are about the tokens from the first step on.
        self.latents = nn.Parameter(torch.randn(config.tokens, width) * 0.1)
        self.layers = nn.ModuleList(PerceiverLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, Q, W]. A sample of which nothing is there gets an all-False mask."""
        x_BNW, mask, there_BQ = self.project(tokens.x), None, None
        latents_BQW = self.latents.expand(len(x_BNW), -1, -1)
        if tokens.mask is not None:
            there_BQ = tokens.present()[:, None].expand(-1, self.tokens)
            own_BQ = torch.ones_like(there_BQ)  # the latents themselves are always there
            mask = torch.cat([tokens.mask, own_BQ], 1)[:, None, None]
        for layer in self.layers:
            latents_BQW = layer(latents_BQW, x_BNW, mask)
        return Tokens(self.norm(latents_BQW), there_BQ)
