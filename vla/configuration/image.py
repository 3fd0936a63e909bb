"""Settings of what is seen: cameras, their encoder, and how much of the past is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vla.checks import at_least
from vla.errors import BadInput

__all__ = [
    "CameraConfig",
    "ConvConfig",
    "HistoryConfig",
    "ImageConfig",
    "ImageEncoderConfig",
    "NativeConfig",
    "PrismaticConfig",
    "TowerConfig",
    "VLMVisionConfig",
    "VitConfig",
]


@dataclass(frozen=True)
class CameraConfig:
    """One camera and its token budget.

    size: side of the square picture the encoder sees, pixels (others are resized on entry); 0: that which a
    pretrained tower was trained on (a model that was built holds the number).
    points: soft-argmax tokens, 0 or 2 and more; the first two are the grounding points (target, destination).
    grid: grid x grid tokens pooled from the feature map; 0: every cell (patch) of it is a token.
    """

    name: str
    size: int = 96
    points: int = 8
    grid: int = 3

    def __post_init__(self) -> None:
        if self.name in ("", "bos", "text", "audio", "state", "joint") or "." in self.name:
            raise BadInput(f"a camera cannot be called '{self.name}'")
        if self.size != 0 and self.size < 8:
            raise BadInput(f"camera '{self.name}': size must be 8 pixels or more, not {self.size}")
        at_least(self, 0, "grid", "points")
        if self.points == 1:
            raise BadInput(f"camera '{self.name}': points must be 0, or 2 and more (target, destination)")


@dataclass(frozen=True)
class ConvConfig:
    """Small convolutional network, conditioned on the sentence. Maps: `stem` channels at 1/2, `width` at
    1/4, `deep` at 1/8."""

    kind: Literal["conv"] = "conv"
    stem: int = 32
    width: int = 64
    deep: int = 128
    fine_blocks: int = 1
    deep_blocks: int = 1

    def __post_init__(self) -> None:
        at_least(self, 1, "stem", "width", "deep")
        at_least(self, 0, "fine_blocks", "deep_blocks")


@dataclass(frozen=True)
class VitConfig:
    """Vision transformer trained here. The patches are embedded by a small convolutional stem."""

    kind: Literal["vit"] = "vit"
    width: int = 128
    layers: int = 4
    heads: int = 4
    mlp: int = 512
    patch: int = 8

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "layers", "heads", "mlp", "patch")
        if self.width % self.heads:
            raise BadInput(f"image.encoder.width {self.width} must be a multiple of heads {self.heads}")


@dataclass(frozen=True)
class TowerConfig:
    """A vision tower of `transformers`: SigLIP, SigLIP2, CLIP, DINOv2 or DINOv3.

    path: a checkpoint's folder or hub name (a whole CLIP or SigLIP checkpoint gives its vision half).
    config: the tower's own config as a mapping with ``model_type``; builds it without weights. A saved model
    holds it, so that `path` is not needed again. layer: whose output is read, as hidden states are counted
    (-1: the last, with its final norm; -2: the last but one, as in LLaVA).
    """

    kind: Literal["tower"] = "tower"
    path: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    layer: int = -1

    def __post_init__(self) -> None:
        if not self.path and not self.config:
            raise BadInput("image.encoder is a tower: give image.encoder.path (a folder) or .config")


@dataclass(frozen=True)
class PrismaticConfig:
    """OpenVLA's two towers in timm's layout, DINOv2 and SigLIP side by side, read one block before the last.

    Each of `dino` and `siglip` names width, layers, heads, mlp and patch; dino has `registers` too.
    """

    kind: Literal["prismatic"] = "prismatic"
    dino: Mapping[str, int] = field(
        default_factory=lambda: {
            "width": 1024, "layers": 24, "heads": 16, "mlp": 4096, "patch": 14, "registers": 4,
        }
    )  # fmt: skip
    siglip: Mapping[str, int] = field(
        default_factory=lambda: {"width": 1152, "layers": 27, "heads": 16, "mlp": 4304, "patch": 14}
    )


@dataclass(frozen=True)
class NativeConfig:
    """Raw patches, one linear map, straight into the backbone (Fuyu). row_ends: a learned token after each
    row of patches tells the picture's shape."""

    kind: Literal["native"] = "native"
    patch: int = 16
    row_ends: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "patch")


@dataclass(frozen=True)
class VLMVisionConfig:
    """The vision tower and connector that come with a `transformers` VLM as backbone."""

    kind: Literal["vlm"] = "vlm"


ImageEncoderConfig = ConvConfig | VitConfig | TowerConfig | PrismaticConfig | NativeConfig | VLMVisionConfig


@dataclass(frozen=True)
class ImageConfig:
    """cameras: in the order in which their tokens stand.

    shared: one encoder for all cameras instead of one each. max_tiles: pictures larger than `size` are cut
    into at most so many tiles of that size, beside a thumbnail of the whole (LLaVA-NeXT); 0: resized.
    resize: by which filter, antialiased; a pretrained tower wants the one that it was trained with.
    fit: what becomes of a picture that is not square: `square`, it is refused; `stretch`, it is squeezed into
    one; `letterbox`, grey bars make it one (OpenVLA knows the last two).
    """

    cameras: tuple[CameraConfig, ...] = (
        CameraConfig("front", size=96, points=8, grid=3),
        CameraConfig("wrist", size=64, points=6, grid=2),
    )
    encoder: ImageEncoderConfig = field(default_factory=ConvConfig)
    shared: bool = False
    max_tiles: int = 0
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    fit: Literal["square", "stretch", "letterbox"] = "square"
    grounding_weight: float = 0.5
    """Weight of the grounding loss beside the action loss."""
    grounding_sigma: float = 0.7
    """Width of the Gaussian around a labelled point, in cells of the feature map."""

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras]
        if not names or len(set(names)) != len(names):
            raise BadInput(f"image.cameras needs one or more cameras with different names, not {names}")
        at_least(self, 0, "grounding_weight", "max_tiles")
        if not self.grounding_sigma > 0:
            raise BadInput(f"image.grounding_sigma must be above 0, not {self.grounding_sigma}")
        step = 8 if isinstance(self.encoder, ConvConfig) else getattr(self.encoder, "patch", 1)
        pretrained = isinstance(self.encoder, TowerConfig | VLMVisionConfig)
        for camera in self.cameras:
            if not pretrained and (camera.size % step or camera.size < 2 * step):
                raise BadInput(
                    f"camera '{camera.name}': size must be a multiple of {step} from {2 * step} up for "
                    f"image.encoder.kind={self.encoder.kind}, not {camera.size}"
                )
            if isinstance(self.encoder, NativeConfig | VLMVisionConfig | PrismaticConfig) and camera.points:
                raise BadInput(
                    f"camera '{camera.name}': image.encoder.kind={self.encoder.kind} cannot point: points "
                    "must be 0 (model/cameras=patches)"
                )
        if self.shared and len({(c.size, c.points, c.grid) for c in self.cameras}) > 1:
            raise BadInput("image.shared needs the same size, points and grid for every camera")


@dataclass(frozen=True)
class HistoryConfig:
    """How much of the past is seen.

    frames: pictures a camera, the present one and those `stride`, 2 x `stride`, ... control steps before.
    reduce: how past frames are kept few: `none`, all of them; `pool`, the past is averaged over time into
    `keep` groups; `keyframes`, the `keep` past frames in which the picture changed most, chosen before the
    encoder runs. The present frame is always whole.
    """

    frames: int = 1
    stride: int = 5
    reduce: Literal["none", "pool", "keyframes"] = "none"
    keep: int = 1

    def __post_init__(self) -> None:
        at_least(self, 1, "frames", "stride", "keep")
        if self.reduce != "none" and self.keep > self.frames - 1:
            raise BadInput(
                f"history.keep {self.keep} must be at most the {self.frames - 1} past frames "
                f"(history.frames - 1) with reduce={self.reduce}"
            )
