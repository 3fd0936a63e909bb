"""Settings of the model's trunk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = ["BackboneConfig", "SmallConfig", "TransformersConfig"]


@dataclass(frozen=True)
class SmallConfig:
    """The project's own pre-norm transformer, trained from scratch.

    block: `plain`, layer norm and GELU, places told by embeddings; or `llama`, RMS norm, rotary positions of
    base `theta`, gated MLP, `kv_heads` heads of keys and values (None: as many as heads).
    """

    kind: Literal["small"] = "small"
    width: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 768
    block: Literal["plain", "llama"] = "plain"
    kv_heads: int | None = None
    theta: float = 10_000.0

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads", "mlp", "kv_heads", "theta")
        if self.width % self.heads:
            raise BadInput(f"backbone.width {self.width} must be a multiple of backbone.heads {self.heads}")
        if self.heads % (self.kv_heads or 1):
            raise BadInput(f"backbone.kv_heads {self.kv_heads} must divide backbone.heads {self.heads}")
        if self.block == "llama" and self.width // self.heads % 2:
            raise BadInput("backbone.width / backbone.heads must be even for rotary positions")


@dataclass(frozen=True)
class TransformersConfig:
    """Any causal language model or vision-language model of `transformers`.

    path: a checkpoint's folder or hub name. config: its config as a mapping with ``model_type``; builds it
    without weights. A saved model holds it, so that `path` is needed again only for weights left out of it.
    attention: `prefix_lm`, what was sensed attends both ways; or `causal`, as the language model was trained.
    dtype: of its weights. quantize: load its linear layers in 8 or 4 bits (needs a GPU and bitsandbytes).
    gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
    """

    kind: Literal["transformers"] = "transformers"
    path: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    attention: Literal["prefix_lm", "causal"] = "prefix_lm"
    dtype: Literal["float32", "bfloat16"] = "float32"
    quantize: Literal["none", "8bit", "4bit"] = "none"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if not self.path and not self.config:
            raise BadInput("backbone.kind is transformers: give backbone.path (a folder) or backbone.config")


BackboneConfig = SmallConfig | TransformersConfig
