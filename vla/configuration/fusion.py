"""Settings of where the senses meet."""

from dataclasses import dataclass
from typing import Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = [
    "CrossAttentionConfig",
    "FusionConfig",
    "IntermediateConfig",
    "LateConfig",
    "NativeFusionConfig",
    "UnifiedConfig",
]


@dataclass(frozen=True)
class UnifiedConfig:
    """Early: the tokens of all senses in one sequence."""

    kind: Literal["unified"] = "unified"


@dataclass(frozen=True)
class NativeFusionConfig:
    """One sequence of words and raw patches, no vision encoder (Fuyu): needs image.encoder.kind=native."""

    kind: Literal["native"] = "native"


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Flamingo: the sequence holds words and state; pictures and sounds are looked at by gated
    cross-attention before every `every`-th backbone layer (or before `layers`, counted from 0). The gates
    start closed, so a fresh insertion leaves the backbone's outputs as they were."""

    kind: Literal["cross_attention"] = "cross_attention"
    every: int = 1
    layers: tuple[int, ...] | None = None
    heads: int = 6
    mlp: int = 384

    def __post_init__(self) -> None:
        at_least(self, 1, "every", "heads", "mlp")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise BadInput(f"fusion.layers must name layers from 0 up, not {list(self.layers)}")


@dataclass(frozen=True)
class IntermediateConfig:
    """Each sense is pooled to `pool` vectors, all are joined and mixed by a perceptron into `tokens` joint
    embeddings, which are all that the backbone sees."""

    kind: Literal["intermediate"] = "intermediate"
    tokens: int = 8
    pool: int = 4
    hidden: int = 512

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens", "pool", "hidden")


@dataclass(frozen=True)
class LateConfig:
    """Each picture or sound, with words and state, passes the backbone by itself; their predictions are
    combined as a weighted product, over those that are there."""

    kind: Literal["late"] = "late"


FusionConfig = UnifiedConfig | CrossAttentionConfig | IntermediateConfig | LateConfig | NativeFusionConfig
