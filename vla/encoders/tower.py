"""A vision tower of `transformers`: SigLIP, SigLIP2, CLIP, DINOv2 or DINOv3, pretrained or of random weights.

Only what is read is built: no pooling head, no layer after the one whose output is taken. The tokens are the
patches' own; class and register tokens are dropped.

Shapes: M pictures, S side in pixels, p patch, h = w = S / p patches, N = h * w, C channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vla.configuration import CameraConfig, TowerConfig
from vla.encoders.image import ImageEncoder, Normalise, Seen
from vla.encoders.points import PointReader, grid_tokens, read_map
from vla.encoders.tower_loading import FAMILIES, build_tower, normalisation, read_json, tower_settings
from vla.errors import BadInput

__all__ = ["TowerEncoder"]


class TowerEncoder(ImageEncoder):
    """Pictures [M, S, S, 3] -> points that the sentence asks for, and the patches' tokens or a grid of them.

    With `path` given, config and weights are read there; else the tower is built of `config`, with random
    weights. For pictures of another size than it was trained on, its positions are interpolated. Raises
    BadInput for an unknown kind of tower, a checkpoint that is not complete, and a size that patches do not
    fill.
    """

    def __init__(self, config: TowerConfig, camera: CameraConfig, condition: int | None) -> None:
        path = config.path
        place = f"config.json of {path}" if path else "image.encoder.config"
        raw = read_json(path, "config.json") if path else config.config
        kind, settings = tower_settings(raw, place, strict=not path)
        family = FAMILIES[kind]
        super().__init__(camera, settings["hidden_size"])
        self.kind = kind
        self._settings = settings
        self.patch = _side(settings["patch_size"], "patch_size", place)
        size = settings.get("image_size")
        _check_size(camera, self.patch, None if size is None else _side(size, "image_size", place))

        depth = settings["num_hidden_layers"]
        read = config.layer if config.layer >= 0 else depth + 1 + config.layer
        if not 1 <= read <= depth:
            raise BadInput(
                f"image.encoder.layer {config.layer}: this tower has {depth} layers; "
                f"1 to {depth} or -1 to {-depth} can be read"
            )
        self.tower = build_tower(path, kind, settings, read)
        if read < depth or kind == "clip_vision_model":
            owner, _, name = family.norm.rpartition(".")
            setattr(self.tower.get_submodule(owner), name, nn.Identity())
        # Plain attributes, which register nothing a second time: `vla.training.tuning` asks for them.
        self.tower.__dict__ |= {"layer_list": self.layer_list, "head_list": self.head_list}
        self.normalise = Normalise(*normalisation(path, family))
        self.points = (
            PointReader(self.channels, camera.points, condition, self.channels) if camera.points else None
        )

    def config_dict(self) -> dict[str, Any]:
        """The tower's own config, plain, as `TowerConfig.config` takes it: a saved model needs no `path`."""
        return {"model_type": self.kind, **self._settings}

    def cells(self, size: int) -> int:
        """Patches along one side."""
        return size // self.patch

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The tower's transformer layers, as far as they are read."""
        layers = self.tower.get_submodule(FAMILIES[self.kind].layers)
        assert isinstance(layers, nn.ModuleList)
        return list(layers)

    @property
    def head_list(self) -> Sequence[nn.Module]:
        """The final norm, where it is read."""
        norm = self.tower.get_submodule(FAMILIES[self.kind].norm)
        return [] if isinstance(norm, nn.Identity) else [norm]

    @property
    def vision_modules(self) -> list[nn.Module]:
        """The tower."""
        return [self.tower]

    @property
    def connector_modules(self) -> list[nn.Module]:
        """The points: the one part that no checkpoint brings."""
        return [] if self.points is None else [self.points]

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> Seen:
        """Pictures uint8 (or float 0..1) [M, S, S, 3] -> points, then patches or grid cells."""
        x = self.normalise(pictures_MSSC)
        side = self.cells(x.shape[-1])
        inputs: dict[str, Any] = {"pixel_values": x}
        if self.kind == "siglip2_vision_model":
            inputs = _naflex(x, self.patch)
        elif self.kind in ("siglip_vision_model", "clip_vision_model"):
            inputs["interpolate_pos_encoding"] = True
        # Whatever stands before the patches (class, registers), they come last.
        tokens_MNC = self.tower(**inputs).last_hidden_state[:, -side * side :]
        map_MCHW = tokens_MNC.transpose(1, 2).unflatten(2, (side, side))
        return read_map(self.points, map_MCHW, summary_MC, grid_tokens(map_MCHW, self.camera.grid))


def _naflex(x_M3SS: Tensor, patch: int) -> dict[str, Tensor]:
    """SigLIP2's own input: patches [M, N, p * p * 3] with the shape of their grid."""
    m, _, height, width = x_M3SS.shape
    h, w = height // patch, width // patch
    x = x_M3SS[:, :, : h * patch, : w * patch].reshape(m, 3, h, patch, w, patch)
    return {
        "pixel_values": x.permute(0, 2, 4, 3, 5, 1).reshape(m, h * w, -1),
        "pixel_attention_mask": torch.ones(m, h * w, dtype=torch.long, device=x.device),
        "spatial_shapes": torch.tensor([[h, w]]).expand(m, 2),  # read on the CPU
    }


def _side(value: Any, name: str, place: str) -> int:
    """A number, or both sides of a square."""
    sides = [value] if isinstance(value, int) else list(value)
    if len(set(sides)) != 1:
        raise BadInput(f"{place}: {name} must be square, not {sides}")
    return sides[0]


def _check_size(camera: CameraConfig, patch: int, trained: int | None) -> None:
    """Patches must fill the picture, unless it is of the size that the tower was trained on."""
    size = camera.size
    if size != trained and (size % patch or size < patch):
        lower = max(size // patch, 1) * patch
        beside = f" (trained at {trained}), or 0 for its own size" if trained else ""
        raise BadInput(
            f"camera '{camera.name}': size {size} cannot be cut into this tower's patches of {patch} pixels: "
            f"give {lower} or {lower + patch}{beside}"
        )
