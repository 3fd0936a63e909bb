"""Vision towers of `transformers`: which are known, and how one is built of a checkpoint or of a config.

`transformers` fills what a checkpoint lacks with random numbers and says so in a log; here that is an error.
Weights are safetensors only.
"""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from vla.configuration import TowerConfig
from vla.encoders.prismatic import HALF, IMAGENET_MEAN, IMAGENET_STD
from vla.errors import BadInput, did_you_mean
from vla.optional import need, quiet

__all__ = [
    "FAMILIES",
    "Family",
    "build_tower",
    "normalisation",
    "own_size",
    "read_json",
    "tower_settings",
]

Triple = tuple[float, float, float]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Family(NamedTuple):
    """Where a tower keeps its layers and its final norm, and what its pictures are normalised by."""

    layers: str
    norm: str
    mean: Triple
    std: Triple


FAMILIES = {
    "siglip_vision_model": Family("vision_model.encoder.layers", "vision_model.post_layernorm", HALF, HALF),
    "siglip2_vision_model": Family("vision_model.encoder.layers", "vision_model.post_layernorm", HALF, HALF),
    # CLIP norms its class token alone, which is not read here: its patches have no final norm.
    "clip_vision_model": Family(
        "vision_model.encoder.layers", "vision_model.post_layernorm", CLIP_MEAN, CLIP_STD
    ),
    "dinov2": Family("encoder.layer", "layernorm", IMAGENET_MEAN, IMAGENET_STD),
    "dinov2_with_registers": Family("encoder.layer", "layernorm", IMAGENET_MEAN, IMAGENET_STD),
    "dinov3_vit": Family("model.layer", "norm", IMAGENET_MEAN, IMAGENET_STD),
}
HALVES = {
    "siglip": "siglip_vision_model",
    "siglip2": "siglip2_vision_model",
    "clip": "clip_vision_model",
}
"""Whole checkpoints, and the kind of tower that is their vision half."""


def tower_settings(raw: Mapping[str, Any], place: str, strict: bool) -> tuple[str, dict[str, Any]]:
    """model_type of the tower, and its settings complete with defaults. strict: refuse unknown keys."""
    transformers = need("transformers", "transformers", "image.encoder.kind=tower")
    kind, own = raw.get("model_type"), raw
    if kind in HALVES:
        kind, own, place = HALVES[kind], raw.get("vision_config") or {}, f"vision_config in {place}"
    if kind not in FAMILIES:
        known = did_you_mean(str(kind), [*FAMILIES, *HALVES])
        raise BadInput(f"{place}: model_type {kind!r} is no vision tower that is known here{known}")
    cls = transformers.CONFIG_MAPPING[kind]
    everything, general = set(cls().to_dict()), set(transformers.PretrainedConfig().to_dict())
    specific = everything - general - {"stage_names", "out_features", "out_indices"}
    for key in own:
        if strict and key not in everything:
            raise BadInput(f"unknown config key '{key}' in {place}{did_you_mean(key, specific)}")
    try:
        full = cls(**{key: value for key, value in own.items() if key in specific}).to_dict()
    except Exception as error:  # transformers' own checks raise many kinds
        raise BadInput(f"{place}: {' '.join(str(error).split())}") from None
    return kind, {key: full[key] for key in sorted(specific)}


def own_size(config: TowerConfig) -> int:
    """Side in pixels of the pictures that the tower was trained on; 224 where it was on many."""
    raw = read_json(config.path, "config.json") if config.path else config.config
    _, settings = tower_settings(raw, f"config.json of {config.path}", strict=False)
    size = settings.get("image_size") or 224
    return size if isinstance(size, int) else int(size[0])


def build_tower(path: str, kind: str, settings: Mapping[str, Any], layers: int) -> nn.Module:
    """The tower with its first `layers` layers and no pooling head; with the weights of `path`, if any."""
    transformers = need("transformers", "transformers", "image.encoder.kind=tower")
    cls = transformers.CONFIG_MAPPING[kind]
    left_out = {"vision_use_head": False} if kind.startswith("siglip") else {}
    # DINOv3 shakes its positions in training. A robot needs to know where things are.
    shaken = [key for key in settings if key.startswith("pos_embed_")]
    try:
        config = cls(**{**settings, **dict.fromkeys(shaken), **left_out, "num_hidden_layers": layers})
        if not path:
            return transformers.AutoModel.from_config(config)
    except ValueError as error:  # a width that the heads do not divide, say
        raise BadInput(f"image.encoder.config: {' '.join(str(error).split())}") from None
    _check_shards(path)
    try:
        with quiet():  # the other half's weights are left out on purpose
            tower, info = transformers.AutoModel.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # many kinds, of many lines
        raise BadInput(f"image.encoder.path: cannot load {path}: {' '.join(str(error).split())}") from None
    for name, found, wanted in sorted(info["mismatched_keys"]):
        raise BadInput(
            f"image.encoder.path: '{name}' in {path} has the shape {list(found)}, "
            f"its config.json asks for {list(wanted)}"
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise BadInput(
            f"image.encoder.path: {path} lacks {len(missing)} of the tower's weights, '{missing[0]}' first; "
            "is it complete, and of the kind that its config.json says?"
        )
    return tower


def _check_shards(path: str) -> None:
    """Raise BadInput for a folder without (all of) its safetensors files. A hub name is left to the hub."""
    folder = Path(path)
    if not folder.is_dir() or (folder / "model.safetensors").is_file():
        return
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        raise BadInput(
            f"image.encoder.path: {path} holds no model.safetensors (pickled weights, .bin, are not read)"
        )
    shards = sorted(set(read_json(path, index.name).get("weight_map", {}).values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"image.encoder.path: {len(missing)} of {len(shards)} weight files are missing in {path}: "
            f"{', '.join(missing)}"
        )


def normalisation(path: str, family: Family) -> tuple[Triple, Triple]:
    """Mean and deviation that the checkpoint's own picture processor has, else the family's."""
    if not path:
        return family.mean, family.std
    own = read_json(path, "preprocessor_config.json", optional=True)
    own = own or read_json(path, "processor_config.json", optional=True).get("image_processor", {})
    return own.get("image_mean") or family.mean, own.get("image_std") or family.std


def read_json(path: str, name: str, optional: bool = False) -> dict[str, Any]:
    """A JSON file of a checkpoint's folder, or of a model on the hub. Optional and absent: empty."""
    folder = Path(path)
    file: str | Path | None = folder / name if (folder / name).is_file() else None
    if not folder.is_dir():
        utils = need("transformers", "transformers", "image.encoder.kind=tower").utils
        with contextlib.suppress(OSError, ValueError):
            file = utils.cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    if file is None:
        if optional:
            return {}
        if not folder.is_dir():
            raise BadInput(
                f"image.encoder.path: there is no folder {path}, nor can a model of that name be fetched"
            )
        raise BadInput(f"image.encoder.path: there is no {name} in {path}; give a checkpoint's folder")
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"image.encoder.path: {name} in {path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"image.encoder.path: {name} in {path} must be a mapping")
    return found
