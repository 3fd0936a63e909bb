"""What a folder in OpenVLA's layout says of its model: config.json, dataset_statistics.json and, where it is
there, preprocessor_config.json.

A data set's statistics hold a mask: where it is False, a number was left raw (the gripper). Here such a
number has the range -1 to 1, in which normalising changes nothing; so each data set may have its own mask.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vla.data.statistics import FeatureStatistics, Statistics
from vla.errors import BadInput, did_you_mean

__all__ = ["Colours", "Layout", "read_layout"]

Colours = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of red, green and blue."""

CONFIG, STATISTICS, PREPROCESSOR = "config.json", "dataset_statistics.json", "preprocessor_config.json"
DINO = {"vit_large_patch14_reg4_dinov2.lvd142m": 16}
SIGLIP = {"vit_so400m_patch14_siglip_224": 16}
"""Models of timm -> their attention heads, which no weight's shape tells."""
FITS: dict[str, Literal["stretch", "letterbox"]] = {"resize-naive": "stretch", "letterbox": "letterbox"}


@dataclass(frozen=True)
class Layout:
    """size: side of the picture, pixels. fit: see `ImageConfig`. colours: by which each tower's pictures are
    normalised, None for the usual ones. heads: of DINOv2 and SigLIP. text_config: the language model's.
    vocabulary: number of its words, of which the last `bins` stand for actions. datasets: their names, in
    the order of the file; dim: numbers of the longest action among them."""

    size: int
    fit: Literal["stretch", "letterbox"]
    colours: tuple[Colours, Colours] | None
    heads: tuple[int, int]
    text_config: Mapping[str, Any]
    vocabulary: int
    bins: int
    datasets: tuple[str, ...]
    dim: int
    statistics: Statistics


def read_layout(folder: Path) -> Layout:
    """Read and check. Raises BadInput with one line."""
    file = folder / CONFIG
    raw = _read(file)
    heads = _towers(raw, file)
    sizes = raw.get("image_sizes")
    if not isinstance(sizes, list) or len(sizes) != 2 or sizes[0] != sizes[1] or type(sizes[0]) is not int:
        raise BadInput(f"{file}: image_sizes must be two equal numbers of pixels, not {sizes}")
    strategy = raw.get("image_resize_strategy")
    if strategy not in FITS:
        raise BadInput(
            f"{file}: image_resize_strategy cannot be {strategy!r}{did_you_mean(str(strategy), FITS)}"
        )
    text = raw.get("text_config")
    if not isinstance(text, dict) or text.get("model_type") != "llama":
        raise BadInput(f"{file}: text_config must describe a model of type llama")
    own = folder / STATISTICS  # of the data it was last trained on; config.json may still hold older ones
    where, stats = (own, _read(own)) if own.is_file() else (file, raw.get("norm_stats"))
    if not isinstance(stats, dict) or not stats:
        raise BadInput(f"{file} holds no norm_stats, and there is no {own}: actions cannot be un-normalised")
    features = {name: _actions(name, stats[name], where) for name in stats}
    return Layout(
        size=sizes[0],
        fit=FITS[strategy],
        colours=_colours(folder / PREPROCESSOR),
        heads=heads,
        text_config=text,
        # Llama's words; the embedding has more rows, to make their number a multiple of this one.
        vocabulary=_whole(text, "vocab_size", None, file) - _whole(raw, "pad_to_multiple_of", 64, file),
        bins=_whole(raw, "n_action_bins", 256, file),
        datasets=tuple(stats),
        dim=max(feature.shape[-1] for feature in features.values()),
        statistics=Statistics({Statistics.key(name, "actions"): found for name, found in features.items()}),
    )


def _whole(raw: Mapping[str, Any], key: str, default: int | None, file: Path) -> int:
    value = raw.get(key, default)
    if type(value) is not int or value < 0:
        raise BadInput(f"{file}: {key} must be a whole number, not {value!r}")
    return value


def _towers(raw: Mapping[str, Any], file: Path) -> tuple[int, int]:
    if raw.get("use_fused_vision_backbone") is not True:
        raise BadInput(
            f"{file}: its vision backbone is '{raw.get('vision_backbone_id')}'; only DINOv2 and SigLIP "
            "together (use_fused_vision_backbone true, as in openvla-7b) can be loaded"
        )
    names, known = raw.get("timm_model_ids"), (DINO, SIGLIP)
    if not isinstance(names, list) or len(names) != 2:
        raise BadInput(f"{file}: timm_model_ids must name two towers, not {names}")
    for name, tower in zip(names, known, strict=True):
        if name not in tower:
            raise BadInput(f"{file}: timm_model_ids holds '{name}'{did_you_mean(str(name), tower)}")
    if any(raw.get("timm_override_act_layers") or ()):
        raise BadInput(
            f"{file}: timm_override_act_layers must be null, not {raw['timm_override_act_layers']}"
        )
    return DINO[names[0]], SIGLIP[names[1]]


def _actions(name: str, raw: Any, file: Path) -> FeatureStatistics:
    """A data set's, of shape [1, dim]."""
    place = f"{file}: data set '{name}'"
    stats = raw.get("action") if isinstance(raw, dict) else None
    if not isinstance(stats, dict) or not {"q01", "q99"} <= stats.keys():
        raise BadInput(f"{place} has no action.q01 and action.q99")
    wrong = BadInput(f"{place}: q01, q99, mask and the rest of its actions must be as many finite numbers")
    try:
        low, high = (np.asarray(stats[key], dtype=np.float64) for key in ("q01", "q99"))
        mask = np.asarray(stats.get("mask", np.ones(low.shape)), dtype=bool)
        # What is not there is not used either: actions are normalised by q01 and q99 alone.
        others = {"min": low, "max": high, "mean": (low + high) / 2, "std": (high - low) / 4}
        given = {key: np.asarray(stats.get(key, value), dtype=np.float64) for key, value in others.items()}
    except (TypeError, ValueError):
        raise wrong from None
    sizes = {values.shape for values in (low, high, mask, *given.values())}
    if len(sizes) != 1 or low.ndim != 1 or not len(low) or not np.all(np.isfinite([low, high])):
        raise wrong
    low, high = np.where(mask, low, -1.0), np.where(mask, high, 1.0)
    return FeatureStatistics(
        **{key: values[None] for key, values in given.items()},
        q001=given["min"][None],
        q01=low[None],
        q99=high[None],
        q999=given["max"][None],
        count=int(raw.get("num_transitions", 0)),
    )


def _colours(file: Path) -> tuple[Colours, Colours] | None:
    """The published file holds DINOv2's rounded to bfloat16, and these are what counts there."""
    if not file.is_file():
        return None
    raw = _read(file)
    for filters in (raw.get("interpolations") or (), raw.get("tvf_resize_params") or ()):
        for found in filters:
            name = found.get("interpolation") if isinstance(found, dict) else found
            if name not in ("bicubic", 3):  # 3: Pillow's number for it
                raise BadInput(f"{file}: pictures must be resized by 'bicubic', not {name!r}")
    params = raw.get("tvf_normalize_params")
    try:
        if params:
            pairs = [(each["mean"], each["std"]) for each in params]
        else:
            pairs = list(zip(raw["means"], raw["stds"], strict=True))
        dino, siglip = ((tuple(map(float, mean)), tuple(map(float, std))) for mean, std in pairs)
        if {len(values) for values in (*dino, *siglip)} != {3}:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{file} does not hold mean and std of three colours for each of two towers") from None
    return dino, siglip


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {file}: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{file} does not hold an object")
    return raw
