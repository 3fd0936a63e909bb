"""The eyes that come with a vision-language model: its own tower and connector, as an image encoder.

What comes out is what the model itself puts in place of a picture's tokens, in the scale in which its decoder
takes words. Only the way in differs by family, and only that is here: one short function each. Pictures come
in the camera's size and are normalised as the checkpoint says, in plain torch.

Qwen3-VL (DeepStack, Meng et al. 2024) looks deeper: features of the tower's middle layers are added to the
picture's tokens after the first decoder layers. `SeenDeep` carries them, and `add_deep` says what to do
`before` which layer.

Shapes: M pictures, S side in pixels, N tokens, W the language model's width, D deep levels, P patch side.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla.backbones.base import Backbone
from vla.backbones.families import PICTURED
from vla.backbones.hf import TransformersBackbone, dtype_of, layers_of
from vla.backbones.loading import read_config
from vla.configuration import CameraConfig, TransformersConfig
from vla.encoders.image import ImageEncoder, Normalise, Seen
from vla.encoders.points import grid_tokens
from vla.encoders.prismatic import HALF, IMAGENET_MEAN, IMAGENET_STD
from vla.encoders.tower_loading import CLIP_MEAN, CLIP_STD, read_json
from vla.errors import BadInput

__all__ = ["SeenDeep", "VLMPictures", "add_deep", "grid_positions", "own_size"]


@dataclass(frozen=True)
class SeenDeep(Seen):
    """deep: [D, M, N, W], to be added to the picture's tokens after decoder layers 0 .. D-1; or None."""

    deep: Tensor | None = None


def add_deep(pieces: Sequence[tuple[int, Tensor]]) -> dict[int, Callable[[Tensor], Tensor]]:
    """What a backbone's forward is to do `before` its layers, over the whole prefix.

    pieces: for each picture, the place of its first token in the sequence, and its deep features
    [D, B, N, W]. (Not for tokens that come after a cached prefix: their hidden states hold it already.)
    """

    def add(level: int, x_BTW: Tensor) -> Tensor:
        x_BTW = x_BTW.clone()
        for start, deep_DBNW in pieces:
            end = start + deep_DBNW.shape[2]
            x_BTW[:, start:end] = x_BTW[:, start:end] + deep_DBNW[level].to(x_BTW.dtype)
        return x_BTW

    levels = max((len(deep) for _, deep in pieces), default=0)
    return {level + 1: functools.partial(add, level) for level in range(levels)}


def grid_positions(positions_BT: Tensor, pictures: Sequence[tuple[int, int]]) -> Tensor:
    """Places in time, row and column for the Qwen-VL families: int64 [B, T] -> [3, B, T].

    positions_BT: counted over the tokens that are there. pictures: for each, the place of its first token in
    the sequence, and the side of its square of tokens. A picture takes as many places as it has rows, and
    what comes after moves up (M-RoPE, Wang et al. 2024); one that is absent takes none.
    """
    places_3BT = positions_BT.expand(3, *positions_BT.shape).clone()
    for start, side in pictures:
        end = start + side * side
        first_B1 = places_3BT[0, :, start : start + 1].clone()
        there_B1 = positions_BT[:, end - 1 : end] - positions_BT[:, start : start + 1] == side * side - 1
        step = torch.arange(side * side, device=positions_BT.device)
        for axis, offset in enumerate((torch.zeros_like(step), step // side, step % side)):
            places_3BT[axis, :, start:end] = first_B1 + offset * there_B1
        places_3BT[:, :, end:] -= there_B1 * (side * side - side)
    return places_3BT


def own_size(config: TransformersConfig) -> int:
    """Side in pixels of the pictures that a VLM's tower was trained on; about 224 where it takes any. Reads
    its config alone. Raises BadInput where it has no tower that is known."""
    settings = read_config(config)
    family = _FAMILIES.get(settings.model_type)
    if family is None:
        raise _blind(settings.model_type)
    vision = settings.vision_config
    if family.cells is _any:
        step = vision.patch_size * vision.spatial_merge_size
        return max(1, round(224 / step)) * step
    return _side(vision.image_size)


def _blind(model_type: str) -> BadInput:
    known = ", ".join(PICTURED)
    return BadInput(
        f"image.encoder.kind=vlm: a model of type {model_type} has no vision tower known here (known: "
        f"{known})"
    )


class VLMPictures(ImageEncoder):
    """The tower and connector of `backbone`'s model, for one camera.

    The modules stay the backbone's: nothing of theirs is registered here, so their weights have one name.
    Raises BadInput where the model has no tower that is known, or it cannot take the camera's size.
    """

    def __init__(self, backbone: Backbone, camera: CameraConfig) -> None:
        super().__init__(camera, backbone.width)
        assert isinstance(backbone, TransformersBackbone)  # the config sees to it
        if backbone.model_type not in PICTURED:
            raise _blind(backbone.model_type)
        self._backbone = (backbone,)
        self._family = _FAMILIES[backbone.model_type]
        self.cells(camera.size)
        own = _own_normalisation(backbone.config.path)
        mean, std = self._family.normalisation
        self.normalise = Normalise(own.get("image_mean") or mean, own.get("image_std") or std)

    @property
    def layer_list(self) -> Sequence[nn.Module]:
        """The tower's layers, first to last. (They are the backbone's modules.)"""
        return layers_of(self._tower, "the vision tower")

    @property
    def _tower(self) -> nn.Module:
        tower = self._backbone[0].vision_modules[0]
        assert isinstance(tower, nn.Module)
        return tower

    def cells(self, size: int) -> int:
        """Side of the square of tokens that a picture of `size` pixels becomes. Raises BadInput, naming the
        sizes that can be seen, for another one."""
        return self._family.cells(self._backbone[0].model.config, self.camera.name, size)

    @property
    def tokens(self) -> int:
        """Number of tokens made of a picture of the camera's own size, LLaVA-NeXT's end token among them."""
        return super().tokens + (self._family.newline if not self.camera.grid else 0)

    def forward(self, pictures_MSSC: Tensor, summary_MC: Tensor | None = None) -> SeenDeep:
        """uint8 or float 0..1 [M, S, S, 3] -> tokens [M, N, W]. The summary of the sentence is not used."""
        model, cells = self._backbone[0].model.model, self.cells(pictures_MSSC.shape[1])
        tower = self._tower
        x_M3SS = self.normalise(pictures_MSSC).to(dtype_of(tower))
        found = self._family.features(model, x_M3SS)
        tokens, deep = found if isinstance(found, tuple) else (found, None)
        if deep is not None:
            deep = torch.stack([self._pool(level, cells) for level in deep])
        return SeenDeep(self._pool(tokens, cells), deep=deep)

    def _pool(self, tokens_MNW: Tensor, cells: int) -> Tensor:
        """The camera's grid of averaged tokens; all of them where it asks for none."""
        if not self.camera.grid:
            return tokens_MNW
        map_MWhw = tokens_MNW[:, : cells**2].unflatten(1, (cells, cells)).permute(0, 3, 1, 2)
        return grid_tokens(map_MWhw, self.camera.grid)


# -- sizes: (config, the camera's name, its size) -> side of the square of tokens; or BadInput ---------------


def _refuse(name: str, size: int, allowed: str) -> BadInput:
    return BadInput(
        f"camera '{name}': size must be {allowed} for the tower of this VLM, not {size} (0 is its own size: "
        "model/cameras=own_size)"
    )


def _side(value: Any) -> int:
    return int(value if isinstance(value, int) else value[0])


def _exact(config: Any, name: str, size: int) -> int:
    """One position embedding a patch: a picture of the tower's own size."""
    own, patch = _side(config.vision_config.image_size), _side(config.vision_config.patch_size)
    if size != own:
        raise _refuse(name, size, str(own))
    return own // patch


def _shuffled(config: Any, name: str, size: int) -> int:
    """InternVL folds squares of patches into one token."""
    return int(_exact(config, name, size) * config.downsample_ratio)


def _averaged(config: Any, name: str, size: int) -> int:
    """Gemma 3 averages the patches down to a fixed number."""
    _exact(config, name, size)
    return int(config.mm_tokens_per_image**0.5)


def _up_to(config: Any, name: str, size: int) -> int:
    """Idefics3 spreads its position embeddings over smaller pictures, and makes a token of
    `scale_factor`^2 patches."""
    most, step = config.vision_config.image_size, config.vision_config.patch_size * config.scale_factor
    if size % step or not 0 < size <= most:
        raise _refuse(name, size, f"a multiple of {step} up to {most}")
    return size // step


def _any(config: Any, name: str, size: int) -> int:
    """Qwen's towers place patches by rotation or interpolation."""
    step = config.vision_config.patch_size * config.vision_config.spatial_merge_size
    if size % step or size <= 0:
        raise _refuse(name, size, f"a multiple of {step}")
    return size // step


# -- features: model.model and normalised pictures [M, 3, S, S] -> [M, N, W] --------------------------------


def _idefics(model: Any, x_M3SS: Tensor) -> Tensor:
    # Not through get_image_features, which takes pictures of one grey for padding and leaves them out.
    side = x_M3SS.shape[-1] // model.config.vision_config.patch_size
    whole = torch.ones(len(x_M3SS), side, side, dtype=torch.bool, device=x_M3SS.device)
    seen = model.vision_model(pixel_values=x_M3SS, patch_attention_mask=whole, return_dict=True)
    return model.connector(seen.last_hidden_state)


def _stacked(model: Any, x_M3SS: Tensor) -> Tensor:
    """LLaVA, Gemma, InternVL: one feature map a picture."""
    found = model.get_image_features(pixel_values=x_M3SS, return_dict=True).pooler_output
    return found if isinstance(found, Tensor) else torch.stack(list(found))


def _newline(model: Any, x_M3SS: Tensor) -> Tensor:
    """LLaVA-NeXT and -OneVision: a picture of the tower's size, and the token that ends it."""
    config = model.config
    layers = config.vision_feature_layer
    hidden = model.vision_tower(x_M3SS, output_hidden_states=True, return_dict=True).hidden_states
    chosen = torch.cat([hidden[i] for i in ([layers] if isinstance(layers, int) else layers)], -1)
    if config.vision_feature_select_strategy == "default":
        chosen = chosen[:, 1:]  # without the class token
    features = model.multi_modal_projector(chosen)
    end = model.image_newline.to(features).expand(len(x_M3SS), 1, -1)
    return torch.cat([features, end], 1)


def _qwen(model: Any, x_M3SS: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
    """Patches P x P, twice (a picture is a film of two equal frames), ordered by the squares that merge."""
    config = model.config.vision_config
    patch, merge, times = config.patch_size, config.spatial_merge_size, config.temporal_patch_size
    count, side = len(x_M3SS), x_M3SS.shape[-1] // patch
    x = x_M3SS.unflatten(3, (side // merge, merge, patch)).unflatten(2, (side // merge, merge, patch))
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # picture, row, column, row in it, column in it, colour, y, x
    x = x.unsqueeze(6).expand(*x.shape[:6], times, *x.shape[6:])
    grid = torch.tensor([[1, side, side]] * count, device=x.device)
    found = model.get_image_features(x.reshape(count * side * side, -1), grid, return_dict=True)
    tokens = torch.stack(list(found.pooler_output))
    deep = getattr(found, "deepstack_features", None)
    if deep is None:
        return tokens
    return tokens, [level.view(tokens.shape) for level in deep]


@dataclass(frozen=True)
class _Family:
    """cells: side of the square of tokens. newline: tokens after it. normalisation: (mean, std), where the
    checkpoint has no word on it."""

    features: Callable[[Any, Tensor], Any]
    cells: Callable[[Any, str, int], int]
    normalisation: tuple[Sequence[float], Sequence[float]]
    newline: int = 0


_FAMILIES = {
    "gemma3": _Family(_stacked, _averaged, (HALF, HALF)),
    "idefics3": _Family(_idefics, _up_to, (HALF, HALF)),
    "internvl": _Family(_stacked, _shuffled, (IMAGENET_MEAN, IMAGENET_STD)),
    "llava": _Family(_stacked, _exact, (CLIP_MEAN, CLIP_STD)),
    "llava_next": _Family(_newline, _exact, (CLIP_MEAN, CLIP_STD), 1),
    "llava_onevision": _Family(_newline, _exact, (HALF, HALF), 1),
    "paligemma": _Family(_stacked, _exact, (HALF, HALF)),
    "qwen2_5_vl": _Family(_qwen, _any, (CLIP_MEAN, CLIP_STD)),
    "qwen2_vl": _Family(_qwen, _any, (CLIP_MEAN, CLIP_STD)),
    "qwen3_vl": _Family(_qwen, _any, (HALF, HALF)),
    "smolvlm": _Family(_idefics, _up_to, (HALF, HALF)),
}


def _own_normalisation(path: str) -> Mapping[str, Any]:
    """What the checkpoint says of its pictures; empty for none."""
    if not path:
        return {}
    own = read_json(path, "processor_config.json", optional=True).get("image_processor")
    return own or read_json(path, "preprocessor_config.json", optional=True)
