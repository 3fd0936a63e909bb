"""Attention and its caches, as the project's own blocks use them.

A cache keeps the keys and values of the tokens seen so far. `KVCache` grows with every pass, and gradients
flow through it. `StaticCache` has its room from the start and is written in place, for running a model:
nothing is allocated or copied at a step, and the same memory serves one answer after another.

Shapes: B batch, H heads, G heads of keys and values (G divides H), T tokens, L room, E size of a head.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KVCache", "StaticCache", "attend"]

Views = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of keys and values: where the new ones go, and all that are there with them."""


@dataclass
class KVCache:
    """Keys and values [B, G, T, E] of the tokens seen so far, one pair a layer."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens seen so far."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append and return all keys and values of a layer."""
        if layer == len(self.layers):
            self.layers.append((k, v))
        else:
            old_k, old_v = self.layers[layer]
            self.layers[layer] = torch.cat([old_k, k], 2), torch.cat([old_v, v], 2)
        return self.layers[layer]

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        self.layers = [(k[:, :, :length], v[:, :, :length]) for k, v in self.layers] if length else []


class StaticCache:
    """Keys and values in memory that is there from the start; for running a model, not for training it.

    room: tokens that it can hold. whole: attention looks at all the room, what is not there yet hidden by the
    mask, and the place of the next token is a tensor. Then every step of an answer has the same shapes and
    does the same things, which a compiled step or a CUDA graph needs. Else what is there is a view, which
    needs no mask of its own and no work for what is not there.

    The memory is made when a layer is first written, for its heads, their size, type and device.
    """

    def __init__(self, room: int, whole: bool = False) -> None:
        self.room, self.whole = room, whole
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._filled: list[int] = []
        self._views: list[dict[tuple[int, int], Views]] = []
        self.place: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens seen so far."""
        return self._filled[0] if self._filled else 0

    @property
    def ready(self) -> bool:
        """Whether the memory is there."""
        return bool(self._keys)

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Views of what was seen, [B, G, T, E]."""
        filled = zip(self._keys, self._values, self._filled, strict=True)
        return [(k[:, :, :n], v[:, :, :n]) for k, v, n in filled]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write behind what a layer has; -> what attention looks at: what was seen, or all the room."""
        if layer == len(self._keys):
            self._allocate(k, v)
        if self.whole:
            assert self.place is not None
            rows = self.place + torch.arange(k.shape[2], device=k.device)
            self._keys[layer].index_copy_(2, rows, k)
            self._values[layer].index_copy_(2, rows, v)
            return self._keys[layer], self._values[layer]
        start = self._filled[layer]
        end = self._filled[layer] = start + k.shape[2]
        views = self._views[layer].get((start, end)) or self._view(layer, start, end)
        views[0].copy_(k)
        views[1].copy_(v)
        return views[2], views[3]

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first `length`."""
        if (
            self.whole and length < self.length
        ):  # numbers that are not finite would show through the mask: 0 * nan is nan
            torch._foreach_zero_([each[:, :, length:] for each in (*self._keys, *self._values)])
        self._filled = [min(length, each) for each in self._filled]

    # -- the whole room ------------------------------------------------------------------------------

    def open(self, mask: Tensor | None, new: int, device: torch.device) -> Tensor:
        """Before a pass of `new` tokens over a `whole` cache: the place of the first is set. mask: bool
        [..., new, seen + new], or None for all -> over all the room, [..., new, L]."""
        if self.place is None:
            with torch.inference_mode(False):
                self.place = torch.zeros(1, dtype=torch.int64, device=device)
            torch._dynamo.mark_static_address(self.place)
        start = self.length
        self.place.fill_(start)
        if mask is not None:
            return F.pad(mask, (0, self.room - start - new), value=False)
        return (torch.arange(self.room, device=device) < start + new).expand(new, -1)

    def close(self, new: int) -> None:
        """After the pass."""
        self._filled = [each + new for each in self._filled]

    def _view(self, layer: int, start: int, end: int) -> Views:
        # Kept: answers pass the same places again and again, and making them costs as much as copying.
        pair = self._keys[layer], self._values[layer]
        with torch.inference_mode(False):
            new_k, new_v = (each.narrow(2, start, end - start) for each in pair)
            seen_k, seen_v = (each.narrow(2, 0, end) for each in pair)
        views = self._views[layer][start, end] = new_k, new_v, seen_k, seen_v
        return views

    def _allocate(self, k: Tensor, v: Tensor) -> None:
        # Not a tensor of inference mode, which could be written nowhere else.
        with torch.inference_mode(False):
            for kept, each in ((self._keys, k), (self._values, v)):
                shape = (*each.shape[:2], self.room, each.shape[3])
                kept.append(torch.zeros(shape, dtype=each.dtype, device=each.device))
        if self.whole:  # that a CUDA graph writes into them is meant
            torch._dynamo.mark_static_address(self._keys[-1])
            torch._dynamo.mark_static_address(self._values[-1])
        self._filled.append(0)
        self._views.append({})


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention: q [B, H, T, E], k and v [B, G, Tk, E] (G divides H; each serves H / G heads of q) ->
    [B, H, T, E]. mask bool, broadcast to [B, H or 1, T, Tk]."""
    heads, kept = q.shape[1], k.shape[1]
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=kept < heads)
    # On a CPU, for some 50 tokens, the fused kernel takes 5 to 8 times as long as these two products. Queries
    # that share a key stand side by side, so that no key is copied.
    q = q * q.shape[-1] ** -0.5
    scores = q.reshape(len(q), kept, -1, q.shape[3]) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.view(*q.shape[:3], -1).masked_fill(~mask, float("-inf")).view(scores.shape)
    return (F.softmax(scores, -1, dtype=torch.float32).to(v.dtype) @ v).view(*q.shape[:3], v.shape[3])
