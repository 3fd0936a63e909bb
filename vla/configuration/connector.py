"""Settings of what brings an encoder's tokens to the backbone's width, within a token budget."""

from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least

__all__ = ["ConnectorConfig", "LinearConfig", "MLPConfig", "PerceiverConfig", "QFormerConfig"]


@dataclass(frozen=True)
class LinearConfig:
    """One linear map. tokens: the budget; more are averaged down to it (None: keep all)."""

    kind: Literal["linear"] = "linear"
    tokens: int | None = None

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens")


@dataclass(frozen=True)
class MLPConfig:
    """Linear maps with GELU between (LLaVA 1.5: two). tokens: as for `linear`. hidden: width after the first
    map (None: the backbone's, which all later ones have). place: a learned embedding for each token's place;
    false for a checkpoint that has none."""

    kind: Literal["mlp"] = "mlp"
    tokens: int | None = None
    layers: int = 2
    hidden: int | None = None
    place: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens", "hidden")
        at_least(self, 2, "layers")


@dataclass(frozen=True)
class QFormerConfig:
    """BLIP-2's Q-Former: `tokens` learned queries that talk among themselves and look at the encoder's
    tokens in every second layer, at its own `width`, then one linear map."""

    kind: Literal["q_former"] = "q_former"
    tokens: int = 16
    layers: int = 2
    heads: int = 4
    width: int = 128

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens", "layers", "heads", "width")


@dataclass(frozen=True)
class PerceiverConfig:
    """Flamingo's Perceiver resampler: `tokens` learned latents that look at the encoder's tokens and at
    themselves together in every layer, at the backbone's width."""

    kind: Literal["perceiver"] = "perceiver"
    tokens: int = 16
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens", "layers", "heads")


ConnectorConfig = LinearConfig | MLPConfig | QFormerConfig | PerceiverConfig
