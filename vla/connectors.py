"""Connectors bring an encoder's tokens to the backbone's width and tell it which token is which."""

import torch
from torch import Tensor, nn

__all__ = ["LinearConnector"]


class LinearConnector(nn.Module):
    """A linear map and a learned embedding for each of the `tokens` places. [B, N, C] -> [B, N, W]."""

    def __init__(self, channels: int, tokens: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, W]."""
        return self.project(x_BNC) + self.place
