"""A sentence -> tokens for the backbone, and a summary vector that conditions vision.

`PooledTextEncoder` reads the sentence itself and hands on a few tokens; `WordsEncoder` leaves the reading to
the backbone.

Shapes: B batch, L words, C text width, N tokens out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.small import Block
from vla.configuration import PooledTextConfig, WordsConfig
from vla.encoders.base import Tokens

__all__ = ["PooledTextEncoder", "WordsEncoder"]


class PooledTextEncoder(nn.Module):
    """Word and position embeddings, a small transformer, attention pooling. Padding changes nothing; a
    sentence without words gives zeros.

    Pooling to a fixed number of tokens keeps the backbone free of padding, and of half its tokens. What is
    heard is read as more words, which know their own place: a command may be typed, spoken, or both.
    """

    def __init__(self, config: PooledTextConfig, vocabulary: int) -> None:
        super().__init__()
        self.tokens = config.tokens
        self.embed = nn.Embedding(vocabulary, config.width)
        self.place = nn.Parameter(torch.randn(config.max_length, config.width) * 0.02)
        blocks = [Block(config.width, config.heads, 4 * config.width) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        # One query a token, and one for the summary.
        self.queries = nn.Linear(config.width, config.tokens + 1, bias=False)
        # From all of them: what is to move and where to are pooled by different queries.
        self.summarise = nn.Linear((config.tokens + 1) * config.width, config.width)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, heard: Tokens | None = None) -> tuple[Tensor, Tensor]:
        """ids int64 [B, L], mask bool [B, L] (True: a word) -> tokens [B, N, C], summary [B, C]. heard: of a
        spoken command, tokens [B, H, C]."""
        if ids_BL.device.type == "cpu":  # drop what is padding in the whole batch; asking a GPU costs more
            longest = max(1, int(mask_BL.sum(1).max()))
            ids_BL, mask_BL = ids_BL[:, :longest], mask_BL[:, :longest]
        x_BLC = self.embed(ids_BL) + self.place[: ids_BL.shape[1]]
        if heard is not None:
            x_BLC = torch.cat([x_BLC, heard.x.to(x_BLC.dtype)], 1)
            mask_BL = torch.cat([mask_BL, heard.full_mask()], 1)
        some_B1 = mask_BL.any(1, keepdim=True)
        seen_BL = mask_BL | ~some_B1  # of a sentence without words, so that no mean is over nothing
        for block in self.blocks:
            x_BLC = block(x_BLC, seen_BL[:, None, None, :])
        x_BLC = self.norm(x_BLC)
        scores_BLN = self.queries(x_BLC).float().masked_fill(~seen_BL[..., None], float("-inf"))
        pooled_BNC = F.softmax(scores_BLN, dim=1).to(x_BLC.dtype).transpose(1, 2) @ x_BLC
        pooled_BNC = pooled_BNC * some_B1[..., None]
        return pooled_BNC[:, : self.tokens], F.silu(self.summarise(pooled_BNC.flatten(1)))


class WordsEncoder(nn.Module):
    """Every word a token of the backbone, from a table of its own. Gives no summary."""

    def __init__(self, config: WordsConfig, vocabulary: int, width: int) -> None:
        super().__init__()
        self.tokens = config.max_length
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.randn(config.max_length, width) * 0.02)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tokens:
        """ids int64 [B, L], mask bool [B, L] (True: a word) -> tokens [B, L, W]."""
        return Tokens(self.embed(ids_BL) + self.place[: ids_BL.shape[1]], mask_BL)
