"""Joint state -> one token. Legend: B batch, D joints (of the widest robot)."""

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
    """Fourier features, then a two-layer perceptron. float32 [B, dim], normalised -> [B, 1, hidden].

    A joint that is masked gives no features, so its value changes nothing. A model for named robots also
    learns which joints there are, and, where there are several, which robot it is.
    """

    def __init__(self, config: StateConfig) -> None:
        super().__init__()
        self.frequencies = config.frequencies
        self.up = nn.Linear(config.dim * (1 + 2 * config.frequencies), config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)
        self.joints = nn.Linear(config.dim, config.hidden, bias=False) if config.robots else None
        self.robots = nn.Embedding(len(config.robots), config.hidden) if len(config.robots) > 1 else None

    def forward(
        self, state_BD: Tensor, mask_BD: Tensor | None = None, robot_B: Tensor | None = None
    ) -> Tensor:
        """-> [B, 1, hidden]. mask: bool [B, dim], the joints that are there (None: all); robot: int64 [B], by
        the order of the config's `robots` (None: nobody said)."""
        state = state_BD.float()
        if mask_BD is None:
            hidden = self.up(fourier(state, self.frequencies))
        else:
            features = fourier(state.masked_fill(~mask_BD, 0.0), self.frequencies)
            octaves = mask_BD.repeat_interleave(self.frequencies, -1)
            hidden = self.up(features * torch.cat([mask_BD, octaves, octaves], -1))
        if self.joints is not None:
            there = torch.ones_like(state) if mask_BD is None else mask_BD.float()
            hidden = hidden + self.joints(there)
        if self.robots is not None and robot_B is not None:
            hidden = hidden + self.robots(robot_B)
        return self.out(F.silu(hidden))[:, None]
