"""What every encoder gives: embeddings, and which of them stand for something."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Tokens", "concatenate", "masked_mean"]


@dataclass(frozen=True)
class Tokens:
    """x: embeddings [B, N, C]. mask: bool [B, N], True where there is something; None: everywhere.

    What is masked is never looked at, so it need not be zero, but it must be finite.
    """

    x: Tensor
    mask: Tensor | None = None

    def full_mask(self) -> Tensor:
        """The mask, written out: bool [B, N]."""
        return (
            torch.ones(self.x.shape[:2], dtype=torch.bool, device=self.x.device)
            if self.mask is None
            else self.mask
        )

    def present(self) -> Tensor:
        """bool [B]: whether there is anything at all."""
        return self.full_mask().any(1)


def concatenate(parts: list[Tokens]) -> Tokens:
    """One sequence, along N. The mask stays None where every part's is."""
    x = torch.cat([part.x for part in parts], 1)
    if all(part.mask is None for part in parts):
        return Tokens(x)
    return Tokens(x, torch.cat([part.full_mask() for part in parts], 1))


def masked_mean(tokens: Tokens) -> Tensor:
    """Mean of the tokens that are there, [B, C]; zero where none is."""
    if tokens.mask is None:
        return tokens.x.mean(1)
    weight = tokens.mask.to(tokens.x.dtype)[..., None]
    return (tokens.x * weight).sum(1) / weight.sum(1).clamp(min=1.0)
