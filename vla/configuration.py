"""The model's configuration: one frozen dataclass a component, their defaults are `tabletop-small`.

Kept apart from the components, and free of torch, so that a command can check a user's config (and answer
``--help``) at once. Each component takes its own dataclass from here and nothing else.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.checks import at_least
from vla.errors import BadInput
from vla.structured import to_dataclass

__all__ = [
    "AugmentConfig",
    "BackboneConfig",
    "CameraConfig",
    "DecoderConfig",
    "ImageConfig",
    "ProcessorConfig",
    "StateConfig",
    "TextConfig",
    "VLAConfig",
]

Convention = Literal["min_max", "q001_q999", "q01_q99", "mean_std"]


@dataclass(frozen=True)
class CameraConfig:
    """One camera and its token budget.

    size: side of the square picture the encoder sees, pixels (others are resized on entry).
    points: soft-argmax tokens; the first two are the grounding points (target, destination).
    grid: grid x grid tokens pooled from the deep feature map.
    """

    name: str
    size: int = 96
    points: int = 8
    grid: int = 3

    def __post_init__(self) -> None:
        if self.size % 8 or self.size < 16:
            raise BadInput(f"camera '{self.name}': size must be a multiple of 8 from 16 up, not {self.size}")
        at_least(self, 1, "grid")
        if self.points < 2:
            raise BadInput(f"camera '{self.name}': points must be 2 or more (target, destination)")


@dataclass(frozen=True)
class ImageConfig:
    """Convolutional encoder, one a camera. Maps: `stem` channels at 1/2, `width` at 1/4, `deep` at 1/8."""

    cameras: tuple[CameraConfig, ...] = (
        CameraConfig("front", size=96, points=8, grid=3),
        CameraConfig("wrist", size=64, points=6, grid=2),
    )
    stem: int = 32
    width: int = 64
    deep: int = 128
    fine_blocks: int = 1
    deep_blocks: int = 1
    grounding_weight: float = 0.5
    """Weight of the grounding loss beside the action loss."""
    grounding_sigma: float = 0.7
    """Width of the Gaussian around a labelled point, in cells of the 1/4 map."""

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras]
        if not names or len(set(names)) != len(names):
            raise BadInput(f"image.cameras needs one or more cameras with different names, not {names}")
        at_least(self, 1, "stem", "width", "deep")
        at_least(self, 0, "fine_blocks", "deep_blocks", "grounding_weight")
        if not self.grounding_sigma > 0:
            raise BadInput(f"image.grounding_sigma must be above 0, not {self.grounding_sigma}")


@dataclass(frozen=True)
class TextConfig:
    """Sentence encoder: `layers` of a small transformer, then `tokens` attention-pooled tokens."""

    width: int = 128
    layers: int = 3
    heads: int = 4
    tokens: int = 4
    max_length: int = 24
    """Longest sentence, in words."""

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads", "tokens", "max_length")
        if self.width % self.heads:
            raise BadInput(f"text.width {self.width} must be a multiple of text.heads {self.heads}")


@dataclass(frozen=True)
class StateConfig:
    """Joint state -> one token; each joint also enters as sines and cosines of `frequencies` octaves."""

    dim: int = 6
    frequencies: int = 4
    hidden: int = 128

    def __post_init__(self) -> None:
        at_least(self, 1, "dim", "hidden")
        at_least(self, 0, "frequencies")


@dataclass(frozen=True)
class BackboneConfig:
    """Pre-norm transformer."""

    width: int = 192
    layers: int = 4
    heads: int = 6
    mlp: int = 768

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads", "mlp")
        if self.width % self.heads:
            raise BadInput(f"backbone.width {self.width} must be a multiple of backbone.heads {self.heads}")


@dataclass(frozen=True)
class DecoderConfig:
    """Action chunk of `horizon` steps x `dim` joints, each one of `bins` tokens.

    kind: `parallel`, one pass, one query token a step; or `autoregressive`, token by token.
    smoothing: standard deviation in bins of the soft target (0: one-hot).
    readout: `median`, the bin where the cumulative probability passes one half; or `mode`, the likeliest.
    """

    kind: Literal["parallel", "autoregressive"] = "parallel"
    horizon: int = 10
    dim: int = 6
    bins: int = 256
    smoothing: float = 3.0
    readout: Literal["median", "mode"] = "median"

    def __post_init__(self) -> None:
        at_least(self, 1, "horizon", "dim")
        at_least(self, 2, "bins")
        at_least(self, 0, "smoothing")


@dataclass(frozen=True)
class ProcessorConfig:
    """How numbers become tokens.

    relative: for each joint, whether its targets are offsets from the present state (else absolute).
    """

    relative: tuple[bool, ...] = (True, True, True, True, True, False)
    actions: Convention = "q001_q999"
    state: Convention = "min_max"

    def __post_init__(self) -> None:
        if self.actions == "mean_std":
            raise BadInput("processor.actions: 'mean_std' has no bounds, so it cannot be cut into bins")


@dataclass(frozen=True)
class VLAConfig:
    """Everything that shapes the network and its processor. `vocabulary` is the number of known words."""

    name: str = "tabletop-small"
    vocabulary: int = 128
    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    state: StateConfig = field(default_factory=StateConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)

    def __post_init__(self) -> None:
        if len(self.processor.relative) != self.decoder.dim:
            raise BadInput(
                f"processor.relative has {len(self.processor.relative)} joints, "
                f"decoder.dim is {self.decoder.dim}"
            )
        if any(self.processor.relative) and self.state.dim != self.decoder.dim:
            raise BadInput(
                f"relative actions need a state of decoder.dim {self.decoder.dim}, not {self.state.dim}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and strings: what config.json holds."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "VLAConfig":
        """The inverse of `to_dict`; strict. Raises BadInput naming an unknown or wrong key."""
        return to_dataclass(raw, cls)


@dataclass(frozen=True)
class AugmentConfig:
    """Noise on training batches. Colours are what sentences name, so the hue is left alone.

    shift: at most so many pixels either way, a camera; the labelled points move along.
    brightness: added, of 1. contrast: around mid grey, relative. color: gain of each channel, relative.
    state_noise: standard deviation, in normalised units.
    """

    shift: int = 0
    brightness: float = 0.1
    contrast: float = 0.15
    color: float = 0.05
    state_noise: float = 0.003

    def __post_init__(self) -> None:
        at_least(self, 0, "shift", "brightness", "contrast", "color", "state_noise")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
