"""The backbone over one context and an answer that grows."""

from typing import Any

import torch
from torch import Tensor

from vla.decoders.action import ActionDecoder
from vla.decoders.text import TextDecoder
from vla.fusion import Context
from vla.generation.memory import Memory
from vla.model import VLA

__all__ = ["Reader"]


class Reader:
    """Reads a context once, then each part of the answer once; or, without a cache, everything each time."""

    def __init__(
        self,
        model: VLA,
        decoder: ActionDecoder | TextDecoder,
        context: Context,
        use_cache: bool,
        *,
        memory: Memory | None = None,
        number: int = 0,
    ) -> None:
        self.model, self.decoder, self.context = model, decoder, context
        x = context.tokens.x
        self.count = x.shape[1]
        self.mask = model.attention_mask(context.tokens, decoder.groups, decoder.block)
        self.places = model.places(context, decoder.groups)
        self.cache: Any = None
        self.read_so_far = 0
        if use_cache:
            room, done = self.count + decoder.groups, 0
            if memory is None:
                self.cache = model.backbone.new_cache(batch=len(x), length=room, like=x)
            else:
                self.cache, done = memory.take(number, model.backbone, context, self.places, room)
            self._run(x[:, done:], done, last=1)  # only its keys and values are wanted

    def _run(self, x_BTW: Tensor, start: int, last: int | None = None) -> Tensor:
        end = start + x_BTW.shape[1]
        x_BTW = x_BTW.to(self.context.tokens.x.dtype)
        if self.model.backbone.fixed is not None:
            # A slice's strides differ from step to step, and a compiled pass is compiled anew for each.
            x_BTW = x_BTW.clone(memory_format=torch.contiguous_format)
        return self.model.backbone(
            x_BTW,
            None if self._sees_all(start, end) else self.mask[..., start:end, :end],
            cache=self.cache,
            last=last,
            positions=self.places[..., start:end],
            before=self.context.before if start >= self.count else self.context.first_pass,
        )

    def _sees_all(self, start: int, end: int) -> bool:
        """Whether the tokens from `start` look at everything up to `end`, so that no mask is needed."""
        if self.context.tokens.mask is not None or self.model.backbone.causal:
            return False
        return end == self.count if start == 0 else end - start <= self.decoder.block

    def read(self, answers_BAW: Tensor, wanted: int) -> Tensor:
        """Hidden vectors of the last `wanted` of the answers known so far."""
        known = answers_BAW.shape[1]
        if self.cache is not None:
            new = answers_BAW[:, self.read_so_far :]
            start = self.count + self.read_so_far
            self.read_so_far = known
            return self._run(new, start)[:, -wanted:]
        x = self.context.tokens.x
        return self._run(torch.cat([x, answers_BAW.to(x.dtype)], 1), 0, last=known)[:, -wanted:]
