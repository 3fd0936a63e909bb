"""A grammar followed by each row of a batch.

Shapes: B batch, S states of the grammar, Q codes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vla.decoders.action import ActionDecoder
from vla.tokens.actions.base import ActionTokenizer

__all__ = ["Limits", "limits_of"]


class Limits:
    """A grammar followed by each row of a batch, one code at a time."""

    def __init__(self, next_SV: Tensor, start: int, end: int, count: int) -> None:
        self.next, self.end = next_SV, end
        self.state = torch.full((count,), start, device=next_SV.device)
        self.lengths = torch.zeros(count, dtype=torch.int64, device=next_SV.device)

    def allow(self, logits_B11Q: Tensor) -> Tensor:
        """With minus infinity where a code may not stand (a row that is over may say anything)."""
        may = (self.next[self.state] >= 0) | (self.state == self.end)[:, None]
        return logits_B11Q.masked_fill(~may[:, None, None], float("-inf"))

    def advance(self, codes_B11: Tensor) -> Tensor:
        """The codes as said; rows that are over say nothing more."""
        going = self.state != self.end
        code = codes_B11.flatten()
        self.state = torch.where(going, self.next[self.state, code].long(), self.state)
        self.lengths = self.lengths + going
        return codes_B11 * going[:, None, None]

    def over(self) -> bool:
        """Whether all rows are."""
        return bool((self.state == self.end).all())

    @property
    def whole(self) -> Tensor:
        """bool [B]."""
        return self.state == self.end


def limits_of(
    decoder: ActionDecoder, tokenizer: ActionTokenizer | None, count: int, device: torch.device
) -> Limits | None:
    if decoder.config.layout.fixed or device.type == "meta":  # shapes alone: all codes that there may be
        return None
    if tokenizer is None:
        raise ValueError("codes of variable length need their tokenizer: generate(..., tokenizer=...)")
    grammar = tokenizer.grammar()
    assert grammar is not None
    table = _on_device(tokenizer, grammar.next, device)
    return Limits(table, grammar.start, grammar.end, count)


def _on_device(tokenizer: ActionTokenizer, table: npt.NDArray[np.int32], device: torch.device) -> Tensor:
    """The grammar's table as a tensor, made once for a tokenizer."""
    held: dict[torch.device, Tensor] = tokenizer.__dict__.setdefault("_tables", {})
    if device not in held:
        held[device] = torch.from_numpy(table).to(device)
    return held[device]
