"""A plan in flight that binds the next answer: first steps forced, later ones guided.

Shapes: B batch, H horizon, D joints, G groups of codes, n codes a group, Q codes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vla.decoders.action import ActionDecoder
from vla.decoders.guidance import Plan
from vla.tokens.actions.base import ActionTokenizer
from vla.tokens.actions.bins import BinTokenizer

__all__ = ["Binding", "binding_of"]


class Binding:
    """A plan in flight, as codes. codes int64 [B, H, D]; weights float [B, H]; delay int64 [B]; distance: how
    far each code is from the plan, in standard deviations, squared: float [B, H, D, Q]."""

    def __init__(self, codes: Tensor, plan: Plan, distance: Tensor) -> None:
        self.codes, self.delay, self.distance = codes, plan.delay, distance
        self.weights = plan.weights.clamp(0, 1)

    def ids(self, decoder: ActionDecoder) -> Tensor:
        """The plan's codes in the decoder's groups, [B, G, n]."""
        return self.codes.reshape(len(self.codes), decoder.groups, decoder.width)

    def given(self, decoder: ActionDecoder) -> Tensor | None:
        """The codes of the first groups that are certain in all rows, [B, K, n], in whole blocks."""
        codes = int(self.delay.min()) * self.codes.shape[2]
        groups = codes // decoder.width // decoder.block * decoder.block
        return self.ids(decoder)[:, :groups] if groups else None

    def _rows(self, values_BHD: Tensor, done: int, count: int, decoder: ActionDecoder) -> Tensor:
        """Of the groups from `done` on: [B, H, D, ...] -> [B, count, n, ...]."""
        flat = values_BHD.flatten(1, 2)
        flat = flat.reshape(flat.shape[0], decoder.groups, decoder.width, *flat.shape[2:])
        return flat[:, done : done + count]

    def guide(self, logits: Tensor, done: int, decoder: ActionDecoder) -> Tensor:
        """Geometric mean of the model's distribution and the plan's, by weight."""
        count = logits.shape[1]
        weight = self.weights[..., None].expand(self.codes.shape)
        w = self._rows(weight, done, count, decoder)[..., None]
        plan = F.log_softmax(-0.5 * self._rows(self.distance, done, count, decoder), -1)
        mixed = (1 - w) * F.log_softmax(logits, -1) + w * plan
        return torch.where(w > 0, mixed, logits)

    def force(self, codes_BGn: Tensor, done: int, decoder: ActionDecoder) -> Tensor:
        """With the plan's own codes for the control steps that are certain, or weigh 1."""
        steps = torch.arange(self.codes.shape[1], device=codes_BGn.device)
        certain = (steps < self.delay[:, None]) | (self.weights >= 1)
        certain = certain[..., None].expand(self.codes.shape)
        count = codes_BGn.shape[1]
        return torch.where(
            self._rows(certain, done, count, decoder), self._rows(self.codes, done, count, decoder), codes_BGn
        )


def binding_of(
    tokenizer: ActionTokenizer | None, plan: Plan, deviation: float, device: torch.device
) -> Binding | None:
    """None for codes that do not say one step each."""
    if tokenizer is None:
        raise ValueError("a plan in flight needs the tokenizer: generate(..., tokenizer=...)")
    if not tokenizer.layout.time_local:
        return None
    assert isinstance(tokenizer, BinTokenizer)
    chunk = plan.chunk.float().cpu().numpy().clip(-1, 1)
    codes = tokenizer.encode_batch(chunk).ids.reshape(chunk.shape)
    distance = (tokenizer.centres - chunk[..., None]) / deviation
    return Binding(
        torch.from_numpy(codes).to(device), plan, torch.from_numpy(np.float32(distance**2)).to(device)
    )
