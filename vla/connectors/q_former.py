"""BLIP-2's Q-Former (Li et al. 2023): a BERT whose words are learned queries.

The queries attend to each other in every layer and to the encoder's tokens in every second one (0, 2, ...),
post-norm as in BERT, at a width of their own; a linear map brings them to the backbone's. The tokens pass a
layer norm first, which in BLIP-2 belongs to this side (`ln_vision`).

Shapes: B batch, N tokens, Q queries, C channels, V the Q-Former's own width, W the backbone's width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import QFormerConfig
from vla.connectors.attention import Attention, check_heads
from vla.connectors.base import Connector
from vla.encoders.base import Tokens

__all__ = ["QFormerConnector"]

LOOK_EVERY = 2


class QFormerLayer(nn.Module):
    """Queries talk, look (where `channels` is given), think; each step is added, then normalised."""

    def __init__(self, width: int, heads: int, channels: int | None) -> None:
        super().__init__()
        self.talk, self.talk_norm = Attention(width, width, heads, bias=True), nn.LayerNorm(width)
        self.look: Attention | None = None
        if channels is not None:
            self.look, self.look_norm = Attention(width, channels, heads, bias=True), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BQV: Tensor, keys_BNC: Tensor, mask: Tensor | None) -> Tensor:
        """[B, Q, V] -> [B, Q, V]."""
        x_BQV = self.talk_norm(x_BQV + self.talk(x_BQV, x_BQV))
        if self.look is not None:
            x_BQV = self.look_norm(x_BQV + self.look(x_BQV, keys_BNC, mask))
        return self.norm(x_BQV + self.down(F.gelu(self.up(x_BQV))))


class QFormerConnector(Connector):
    """[B, N, C] -> [B, Q, W], the same in whatever order the tokens come."""

    def __init__(self, config: QFormerConfig, channels: int, tokens: int, width: int) -> None:
        super().__init__(channels, tokens, config.tokens)
        check_heads("connector.width", config.width, config.heads)
        self.tokens_norm = nn.LayerNorm(channels)
        self.queries = nn.Parameter(torch.randn(config.tokens, config.width) * 0.02)
        self.queries_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(
            QFormerLayer(config.width, config.heads, channels if i % LOOK_EVERY == 0 else None)
            for i in range(config.layers)
        )
        self.project = nn.Linear(config.width, width)

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, N, C] -> [B, Q, W]. A sample of which nothing is there gets an all-False mask."""
        x_BNC, mask, there_BQ = tokens.x, None, None
        if tokens.mask is not None:
            present_B1 = tokens.present()[:, None]
            there_BQ = present_B1.expand(-1, self.tokens)
            # Where nothing is there the softmax still needs something to look at: zeros, and masked after.
            x_BNC = x_BNC.masked_fill(~tokens.mask[..., None], 0.0)
            mask = (tokens.mask | ~present_B1)[:, None, None]
        keys_BNC = self.tokens_norm(x_BNC)
        x_BQV = self.queries_norm(self.queries).expand(len(x_BNC), -1, -1)
        for layer in self.layers:
            x_BQV = layer(x_BQV, keys_BNC, mask)
        return Tokens(self.project(x_BQV), there_BQ)
