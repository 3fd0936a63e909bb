"""The project's own transformer, trained from scratch: pre-norm, prefix-LM attention, key-value cache.

Shapes: B batch, T tokens, P prefix tokens, A answer tokens, W width, H heads, E = W / H.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import BackboneConfig

__all__ = ["Backbone", "Block", "KVCache", "prefix_lm_mask"]


def prefix_lm_mask(prefix: int, answers: int, causal: bool, device: torch.device | None = None) -> Tensor:
    """bool [P+A, P+A], True where the row's token may look at the column's.

    Prefix tokens see the whole prefix and no answer, so the prefix can be computed once and kept. Answer
    tokens see the prefix and, if `causal`, themselves and the answers before them, else all answers.
    """
    total = prefix + answers
    mask = torch.ones(total, total, dtype=torch.bool, device=device)
    mask[:prefix, prefix:] = False
    if causal:
        mask[prefix:, prefix:] = mask[prefix:, prefix:].tril()
    return mask


@dataclass
class KVCache:
    """Keys and values [B, H, T, E] of the tokens seen so far, one pair a layer."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append and return all keys and values of a layer."""
        if layer == len(self.layers):
            self.layers.append((k, v))
        else:
            old_k, old_v = self.layers[layer]
            self.layers[layer] = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        return self.layers[layer]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention, [B, H, T, E]; mask bool, broadcast to [B, H, Tq, Tk]."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # On a CPU, for some 50 tokens, the fused kernel takes 5 to 8 times as long as these two products.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return F.softmax(scores, -1, dtype=torch.float32).to(v.dtype) @ v


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
        last: int | None = None,
    ) -> Tensor:
        """[B, T, W] -> [B, T, W], or only the `last` tokens' rows (the others serve as keys alone)."""
        h = self.norm_1(x_BTW)
        if last is None or last == x_BTW.shape[1]:
            q, k, v = self._split(self.qkv(h), 3)
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


class Backbone(nn.Module):
    """A stack of blocks and a final norm."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        blocks = [Block(config.width, config.heads, config.mlp) for _ in range(config.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        for block in blocks:  # so that the residual stream keeps its size whatever the depth
            for linear in (block.out, block.down):
                nn.init.normal_(linear.weight, std=0.02 / (2 * config.layers) ** 0.5)
            for linear in (block.qkv, block.up):
                nn.init.normal_(linear.weight, std=config.width**-0.5)

    def forward(
        self, x_BTW: Tensor, mask: Tensor | None = None, cache: KVCache | None = None, last: int | None = None
    ) -> Tensor:
        """[B, T, W] -> [B, last or T, W].

        mask: bool [T, keys], True = attend, None = all. cache: is extended, and attended to, in place.
        last: number of tokens at the end whose output is wanted; saves their neighbours' last layer.
        """
        for i, block in enumerate(self.blocks):
            final = i == len(self.blocks) - 1
            x_BTW = block(x_BTW, mask, cache, i, last if final else None)
        return self.norm(x_BTW)
