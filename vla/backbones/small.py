"""The project's own transformer, trained from scratch: pre-norm, any attention mask, key-value cache.

Shapes: B batch, T tokens, W width, H heads, E = W / H.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.attending import KVCache, attend
from vla.backbones.base import Backbone, Before
from vla.backbones.llama import LlamaBlock, rotary
from vla.configuration import SmallConfig

__all__ = ["Block", "SmallBackbone"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.norm_2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, mlp)
        self.down = nn.Linear(mlp, width)

    def _split(self, x_BTC: Tensor, parts: int) -> tuple[Tensor, ...]:
        b, t, _ = x_BTC.shape
        return x_BTC.view(b, t, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        *,
        last: int | None = None,
        turn: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """[B, T, W] -> [B, T, W], or only the `last` tokens' rows (the others serve as keys alone). `turn` is
        for other kinds of block: places are told to this one by the embeddings."""
        h = self.norm_1(x_BTW)
        if last is None or last == x_BTW.shape[1]:
            q, k, v = self._split(self.qkv(h), 3)
        elif type(self.qkv) is not nn.Linear:  # an adapter is on it
            q, k, v = self._split(self.qkv(h), 3)
            x_BTW, q = x_BTW[:, -last:], q[:, :, -last:]
            mask = mask if mask is None else mask[..., -last:, :]
        else:
            width = x_BTW.shape[-1]
            k, v = self._split(F.linear(h, self.qkv.weight[width:]), 2)
            x_BTW, h = x_BTW[:, -last:], h[:, -last:]
            (q,) = self._split(F.linear(h, self.qkv.weight[:width]), 1)
            mask = mask if mask is None else mask[..., -last:, :]
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        y = attend(q, k, v, mask).transpose(1, 2).reshape(x_BTW.shape)
        x_BTW = x_BTW + self.out(y)
        return x_BTW + self.down(F.gelu(self.up(self.norm_2(x_BTW))))


class SmallBackbone(Backbone):
    """A stack of blocks and a final norm: plain ones, to which the connectors' embeddings tell the places, or
    Llama's, with rotary positions."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.blocks, self.norm = nn.ModuleList(), nn.Module()
        if config.block == "llama":
            sizes = (config.width, config.heads, config.mlp, config.kv_heads)
            self.blocks = nn.ModuleList([LlamaBlock(*sizes) for _ in range(config.layers)])
            self.norm = nn.RMSNorm(config.width, eps=1e-6)
        else:
            plain = [Block(config.width, config.heads, config.mlp) for _ in range(config.layers)]
            self.blocks = nn.ModuleList(plain)
            self.norm = nn.LayerNorm(config.width)
        for name, weight in self.blocks.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                # so that the residual stream keeps its size whatever the depth
                nn.init.normal_(weight, std=0.02 / (2 * config.layers) ** 0.5)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=config.width**-0.5)

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The blocks, first to last."""
        return list(self.blocks)

    @property
    def final_norm(self) -> nn.Module:
        """What follows the last block."""
        return self.norm

    def new_cache(self) -> KVCache:
        """An empty cache."""
        return KVCache()

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        *,
        last: int | None = None,
        positions: Tensor | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """As `Backbone.forward`. `last` saves the other tokens' last layer."""
        turn = None
        if self.config.block == "llama":
            if positions is None:
                start = 0 if cache is None else cache.length
                positions = torch.arange(start, start + x_BTW.shape[1], device=x_BTW.device)[None]
            turn = rotary(positions, self.width // self.config.heads, self.config.theta)
        for i, block in enumerate(self.blocks):
            if before and i in before:
                x_BTW = before[i](x_BTW)
            final = i == len(self.blocks) - 1
            x_BTW = block(x_BTW, mask, cache, i, last=last if final else None, turn=turn)
        return self.norm(x_BTW)
