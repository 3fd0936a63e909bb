"""Joint state -> one token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla.configuration import StateConfig

__all__ = ["StateEncoder", "fourier"]


def fourier(x: Tensor, octaves: int) -> Tensor:
    """[..., D] in about [-1, 1] -> [..., D * (1 + 2 octaves)]: x, then sin and cos of pi/2 * 2^i * x."""
    angles = x[..., None] * (torch.pi / 2 * 2.0 ** torch.arange(octaves, device=x.device, dtype=x.dtype))
    return torch.cat([x, angles.sin().flatten(-2), angles.cos().flatten(-2)], -1)


class StateEncoder(nn.Module):
    """Fourier features, then a two-layer perceptron. float32 [B, dim], normalised -> [B, 1, hidden]."""

    def __init__(self, config: StateConfig) -> None:
        super().__init__()
        self.frequencies = config.frequencies
        self.up = nn.Linear(config.dim * (1 + 2 * config.frequencies), config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)

    def forward(self, state_BD: Tensor) -> Tensor:
        """[B, dim] -> [B, 1, hidden]."""
        return self.out(F.silu(self.up(fourier(state_BD.float(), self.frequencies))))[:, None]
