"""A Llama block: RMS norm, rotary positions, grouped keys and values, gated MLP (Touvron et al. 2023).

Beside the plain block of small.py it needs no learned places, and with copied weights it computes what
`transformers` does. Shapes: B batch, T tokens, W width, H heads, G key-value heads, E = W / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.backbones.attending import KVCache, StaticCache, attend

__all__ = ["LlamaBlock", "rotary", "turned"]

Rotary = tuple[Tensor, Tensor]


def rotary(positions_BT: Tensor, size: int, theta: float = 10_000.0) -> Rotary:
    """Cosines and sines [B, 1, T, size] of each position's angles, in the two-halves layout of Llama."""
    rates = theta ** (-torch.arange(0, size, 2, device=positions_BT.device, dtype=torch.float32) / size)
    angles = positions_BT[:, None, :, None].float() * rates
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def turned(x_BHTE: Tensor, turn: Rotary) -> Tensor:
    """Rotate each pair (i, i + E/2) by its angle."""
    one, two = x_BHTE.chunk(2, -1)
    cos, sin = (part.to(x_BHTE.dtype) for part in turn)
    return x_BHTE * cos + torch.cat([-two, one], -1) * sin


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + down(silu(gate(norm(x))) * up(norm(x)))."""

    def __init__(self, width: int, heads: int, mlp: int, kv_heads: int | None = None) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        size = width // heads
        self.norm_1 = nn.RMSNorm(width, eps=1e-6)
        self.norm_2 = nn.RMSNorm(width, eps=1e-6)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, self.kv_heads * size, bias=False)
        self.value = nn.Linear(width, self.kv_heads * size, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, mlp, bias=False)
        self.up = nn.Linear(width, mlp, bias=False)
        self.down = nn.Linear(mlp, width, bias=False)

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | StaticCache | None = None,
        layer: int = 0,
        *,
        last: int | None = None,
        turn: Rotary | None = None,
    ) -> Tensor:
        """[B, T, W] -> [B, last or T, W]; turn: the T tokens' rotary angles."""
        assert turn is not None
        h = self.norm_1(x_BTW)
        k, v = (self._split(each(h), self.kv_heads) for each in (self.key, self.value))
        k = turned(k, turn)
        if last is not None:
            x_BTW, h, turn = x_BTW[:, -last:], h[:, -last:], (turn[0][:, :, -last:], turn[1][:, :, -last:])
            mask = mask if mask is None else mask[..., -last:, :]
        q = turned(self._split(self.query(h), self.heads), turn)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        x_BTW = x_BTW + self.out(attend(q, k, v, mask).transpose(1, 2).reshape(x_BTW.shape))
        h = self.norm_2(x_BTW)
        return x_BTW + self.down(F.silu(self.gate(h)) * self.up(h))

    @staticmethod
    def _split(x_BTC: Tensor, heads: int) -> Tensor:
        return x_BTC.unflatten(-1, (heads, -1)).transpose(1, 2)
