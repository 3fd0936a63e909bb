"""What every connector offers: tokens in, tokens out, and a bill."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from vla.encoders.base import Tokens

__all__ = ["Connector", "Cost"]


@dataclass(frozen=True)
class Cost:
    """What a connector takes. flops: floating-point operations for one sample, a multiply-add being two."""

    parameters: int
    flops: int
    tokens_in: int
    tokens_out: int


class Connector(nn.Module, ABC):
    """tokens_in of `channels` numbers -> `tokens` of the backbone's width."""

    def __init__(self, channels: int, tokens_in: int, tokens: int) -> None:
        super().__init__()
        self.channels, self.tokens_in, self.tokens = channels, tokens_in, tokens

    @abstractmethod
    def forward(self, tokens: Tokens) -> Tokens:
        """[B, tokens_in, channels] -> [B, tokens, width]; the mask says which stand for something."""

    def cost(self) -> Cost:
        """Counted on one sample with all its tokens, on torch's `meta` device: no numbers are computed."""
        weights = {
            name: torch.empty_like(value, device="meta")
            for name, value in [*self.named_parameters(), *self.named_buffers()]
        }
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        x = torch.empty(1, self.tokens_in, self.channels, dtype=dtype, device="meta")
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            functional_call(self, weights, (Tokens(x),))
        parameters = sum(p.numel() for p in self.parameters())
        return Cost(parameters, counter.get_total_flops(), self.tokens_in, self.tokens)
