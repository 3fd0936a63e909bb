"""What stays from one answer to the next: encoded instructions, and the memory of keys and values."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vla.backbones.base import Backbone
from vla.backbones.prefix import PrefixCache, leading
from vla.fusion import Context
from vla.instructions import InstructionCache

__all__ = ["Memory"]


class Memory:
    """Of whoever runs one model: give the same to each call. Not for two calls at a time."""

    def __init__(self) -> None:
        self.instructions, self.prefixes = InstructionCache(), PrefixCache()

    def take(
        self, number: int, backbone: Backbone, context: Context, places: Tensor, room: int
    ) -> tuple[Any, int]:
        """The cache for pass `number` over a context, and how many of its tokens it has already read: where
        attention is causal and the sentence stands first, that is kept from the answer before."""
        x, mask = context.tokens.x, context.tokens.mask
        first: Sequence[Tensor] = ()
        lead = leading(context.names)
        if backbone.causal and lead and not context.first_pass:
            first = [x[:, :lead], places[..., :lead]]
            first += [] if mask is None else [mask[:, :lead]]
        return self.prefixes.take(number, backbone, x, room, first)
