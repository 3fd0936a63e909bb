"""Attention whose questions and answers may come from different sequences and have different widths.

Shapes: B batch, Q queries, N keys, W width, C the keys' channels, H heads, E = W / H.
"""

from torch import Tensor, nn

from vla.backbones.small import attend
from vla.errors import BadInput

__all__ = ["Attention", "check_heads"]


class Attention(nn.Module):
    """Multi-head attention from [B, Q, W] to [B, N, C]. -> [B, Q, W]."""

    def __init__(self, width: int, channels: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(channels, width, bias=bias)
        self.v = nn.Linear(channels, width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, queries_BQW: Tensor, keys_BNC: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: bool, broadcast to [B, H, Q, N]; True where the query may look."""
        q_BHQE, k_BHNE, v_BHNE = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.q(queries_BQW), self.k(keys_BNC), self.v(keys_BNC))
        )
        return self.out(attend(q_BHQE, k_BHNE, v_BHNE, mask).transpose(1, 2).flatten(2))


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise BadInput unless the heads divide the width."""
    if width % heads:
        raise BadInput(f"connector.heads {heads} does not divide {name}, which is {width}")
