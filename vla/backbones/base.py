"""What every backbone does: a sequence of embeddings in, hidden vectors out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["Backbone", "Before", "Heads", "Modules", "Turn", "still"]

Modules = list[nn.Module | nn.Parameter]
"""Modules, and parameters that stand by themselves."""

Before = Mapping[int, Callable[[Tensor], Tensor]]
"""Layer number -> what is done to the hidden states before that layer (gated cross-attention)."""

Turn = Callable[[Tensor], Tensor]
"""Queries or keys [B, heads, T, E] -> the same, told their places (rotated)."""


def still(x: Tensor) -> Tensor:
    """The `Turn` of a layer whose queries and keys are not told their places."""
    return x


@dataclass(frozen=True)
class Heads:
    """One layer's attention: heads of queries, heads of keys and values, numbers in a key and in a value."""

    query: int
    kept: int
    key: int
    value: int


class Backbone(nn.Module):
    """A trunk of `layer_list` layers over embeddings of `width`.

    causal: what was sensed attends only backwards, as in a language model (else both ways). places_in_plane:
    positions may be [3, B, T], which tell a picture's tokens their row and column. recompute: see
    `checkpoint_activations`.
    """

    width: int
    causal: bool = False
    recompute: bool = False
    places_in_plane: bool = False

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The layers, first to last."""
        raise NotImplementedError

    @property
    def final_norm(self) -> nn.Module | None:
        """What follows the last layer."""
        return None

    fixed: Callable[..., Tensor] | None = None
    """A compiled pass over inputs of fixed shapes; see `vla.acceleration`."""

    def new_cache(
        self, *, batch: int | None = None, length: int | None = None, like: Tensor | None = None
    ) -> Any:
        """An empty cache of keys and values, for `forward` to extend: one that grows, or, for running alone,
        one with room for `length` tokens of `batch` rows, in place. like: embeddings as `forward` takes them.
        Both have a `length`, the pairs of `layers`, and `rewind(length)`."""
        raise NotImplementedError

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None = None,
        cache: Any = None,
        *,
        last: int | None = None,
        positions: Tensor | None = None,
        before: Before | None = None,
    ) -> Tensor:
        """[B, T, W] -> [B, last or T, W], after the final norm.

        mask: bool [T, keys] or [B, 1, T, keys], True = attend, None = all; keys are those in the cache, then
        the T. cache: is extended, and attended to, in place. last: number of tokens at the end whose output
        is wanted. positions: int64 [B or 1, T]. before: see `Before`.
        """
        raise NotImplementedError

    def checkpoint_activations(self, on: bool = True) -> None:
        """While it learns, keep no more of each layer than its inputs (and the keys and values that a cache
        asks for), and compute the rest again in the backward pass (Chen et al. 2016). Not over a cache that
        already holds tokens."""
        self.recompute = on

    # -- for what looks at its cache ----------------------------------------------------------------

    @property
    def heads(self) -> Sequence[Heads]:
        """Of each layer that keeps keys and values."""
        raise NotImplementedError

    def turns(self, positions_BT: Tensor) -> Sequence[Turn]:
        """For each of `heads`, how its queries and keys are told their places (int64 [B or 1, T])."""
        return [still] * len(self.heads)

    # -- what a language model brings beside its layers -----------------------------------------------

    def embed(self, ids: Tensor) -> Tensor:
        """Words' ids int64 [B, T] -> [B, T, W]."""
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden vectors [..., W] -> scores over its words [..., vocabulary]."""
        raise NotImplementedError

    @property
    def vision_modules(self) -> Modules:
        """A vision tower of its own."""
        return []

    @property
    def connector_modules(self) -> Modules:
        """What brings that tower's features to `width`."""
        return []

    @property
    def language_modules(self) -> Modules:
        """The rest of it."""
        return [self]
