"""Caches that outlive an answer: their memory serves the next one, and so do the keys and values of what both
begin with.

Where attention is causal, the keys and values of a sequence's first tokens depend on nothing that follows.
So when the sentence stands first, as in a language model, they need to be computed once an instruction: the
cache is rewound to the end of the sentence, and the pictures are read from there. Where tokens see each other
both ways, the sentence's depend on the pictures, and only the memory is used again.

Shapes: B batch, P tokens of a context, W width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla.backbones.base import Backbone

__all__ = ["PrefixCache", "leading", "version_of"]

LASTING = ("bos", "text", "audio")
"""Senses that stay the same from one control step to the next."""


def leading(names: Sequence[tuple[str, int]], lasting: Iterable[str] = LASTING) -> int:
    """How many tokens at the beginning of a context belong to lasting senses. names: (sense, tokens), in
    order."""
    count, known = 0, set(lasting)
    for name, tokens in names:
        if name not in known:
            break
        count += tokens
    return count


def version_of(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes when a weight does: by an optimiser's step, by loading, by moving to another type or device.
    (Not when one is written through its ``.data``, of which PyTorch takes no note.)"""
    tensors = (*module.parameters(), *module.buffers())
    return tuple((each.data_ptr(), 0 if each.is_inference() else each._version) for each in tensors)


@dataclass
class _Kept:
    """A cache, for whom it was made, and the first tokens it has read."""

    cache: Any
    made_for: tuple[Any, ...]
    version: tuple[Any, ...] = ()
    lead: tuple[Tensor, ...] = ()


class PrefixCache:
    """The caches of whoever runs a model, one for each pass that a context needs; for one model."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Give all memory back."""
        self._kept.clear()

    @torch.no_grad()
    def take(
        self, number: int, backbone: Backbone, x_BPW: Tensor, room: int, first: Sequence[Tensor] = ()
    ) -> tuple[Any, int]:
        """The cache of pass `number` for a sequence of up to `room` tokens that begins with x -> it, and how
        many of its first tokens it has already read; the caller has it read the rest.

        first: all that the keys of the lasting tokens depend on (their embeddings [B, n, W], then their mask,
        their positions, ...). Empty where they depend on more: unless attention is causal, and nothing is
        done `before` a layer.
        """
        autocast = torch.is_autocast_enabled(x_BPW.device.type)
        kind = torch.get_autocast_dtype(x_BPW.device.type) if autocast else x_BPW.dtype
        made_for = (id(backbone), len(x_BPW), room, x_BPW.device, kind, backbone.fixed is not None)
        version = version_of(backbone) if first else ()
        kept, done = self._kept.get(number), 0
        if kept is None or kept.made_for != made_for:
            cache = backbone.new_cache(batch=len(x_BPW), length=room, like=x_BPW)
            kept = self._kept[number] = _Kept(cache, made_for)
        elif (
            first
            and kept.version == version
            and _same(kept.lead, first)
            and _read(kept.cache, backbone, first[0])
        ):
            done = first[0].shape[1]
        kept.cache.rewind(done)
        if not done:
            kept.version, kept.lead = version, tuple(each.clone() for each in first)
        return kept.cache, done


def _read(cache: Any, backbone: Backbone, lead_BnW: Tensor) -> bool:
    # Not so where the last answer was interrupted.
    read = [k.shape[2] >= lead_BnW.shape[1] for k, _ in cache.layers]
    return len(read) == len(backbone.layer_list) and all(read)


def _same(kept: Sequence[Tensor], asked: Sequence[Tensor]) -> bool:
    pairs = zip(kept, asked, strict=False)
    return len(kept) == len(asked) and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
