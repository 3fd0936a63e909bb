"""The project's own transformer, trained from scratch: pre-norm, any attention mask, key-value cache.

Shapes: B batch, T tokens, W width, H heads, E = W / H.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vla.backbones.attending import KVCache, StaticCache, attend
from vla.backbones.base import Backbone, Before, Heads, Turn
from vla.backbones.llama import LlamaBlock, rotary, turned
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
        cache: KVCache | StaticCache | None = None,
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

    def new_cache(
        self, *, batch: int | None = None, length: int | None = None, like: Tensor | None = None
    ) -> KVCache | StaticCache:
        """See `Backbone`."""
        return KVCache() if length is None else StaticCache(length, whole=self.fixed is not None)

    @property
    def heads(self) -> Sequence[Heads]:
        """Of each block."""
        config, size = self.config, self.width // self.config.heads
        kept = config.heads if config.block == "plain" else config.kv_heads or config.heads
        return [Heads(config.heads, kept, size, size)] * config.layers

    def turns(self, positions_BT: Tensor) -> Sequence[Turn]:
        """Rotations for Llama's blocks; the plain ones have none."""
        if self.config.block == "plain":
            return super().turns(positions_BT)
        turn = rotary(positions_BT, self.width // self.config.heads, self.config.theta)
        return [functools.partial(turned, turn=turn)] * self.config.layers

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | StaticCache | None = None,
        *,
        last: int | None = None,
        positions: Tensor | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """As `Backbone.forward`. `last` saves the other tokens' last layer."""
        if self.config.block == "llama" and positions is None:
            start = 0 if cache is None else cache.length
            positions = torch.arange(start, start + x_BTW.shape[1], device=x_BTW.device)[None]
        if not (isinstance(cache, StaticCache) and cache.whole):
            return self._stack(x_BTW, mask, cache, last=last, positions=positions, before=before)
        mask = cache.open(mask, x_BTW.shape[1], x_BTW.device)
        # The first pass makes the memory; and what is done `before` a layer is another thing at every call.
        run = self._stack if before or not cache.ready else self.fixed or self._stack
        hidden = run(x_BTW, mask, cache, last=last, positions=positions, before=before)
        cache.close(x_BTW.shape[1])
        return hidden

    def _stack(
        self,
        x_BTW: Tensor,
        mask: Tensor | None,
        cache: KVCache | StaticCache | None,
        *,
        last: int | None,
        positions: Tensor | None,
        before: Before | None,
    ) -> Tensor:
        turn = None
        recompute = self.recompute and torch.is_grad_enabled() and (cache is None or not cache.length)
        if self.config.block == "llama":
            assert positions is not None
            turn = rotary(positions, self.width // self.config.heads, self.config.theta)
        for i, block in enumerate(self.blocks):
            if before and i in before:
                x_BTW = before[i](x_BTW)
            final = i == len(self.blocks) - 1
            run = _recomputed if recompute else _through
            x_BTW = run(block, x_BTW, mask, cache, i, last if final else None, turn)
        return self.norm(x_BTW)


Turned = tuple[Tensor, Tensor] | None


def _through(  # noqa: PLR0917 (handed on to `checkpoint`, by place)
    block: nn.Module, x: Tensor, mask: Tensor | None, cache: Any, layer: int, last: int | None, turn: Turned
) -> Tensor:
    return block(x, mask, cache, layer, last=last, turn=turn)


def _recomputed(  # noqa: PLR0917
    block: nn.Module, x: Tensor, mask: Tensor | None, cache: Any, layer: int, last: int | None, turn: Turned
) -> Tensor:
    """Its activations are computed again in the backward pass. What a cache keeps comes out as a result:
    writing into it would be done twice."""

    def alone(x: Tensor) -> tuple[Tensor, ...]:
        own = None if cache is None else KVCache()
        out = block(x, mask, own, 0, last=last, turn=turn)
        return (out,) if own is None else (out, *own.layers[0])

    out, *kept = checkpoint(alone, x, use_reentrant=False)
    if cache is not None:
        cache.extend(layer, *kept)
    return out
