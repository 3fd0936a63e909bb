"""A checkpoint's folder, or a config, becomes a `transformers` model with every weight in its place.

`transformers` fills what a checkpoint lacks with random numbers and says so in a log. Here that is an error:
a trunk that is half random answers, and nobody knows why so badly. Weights are safetensors only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vla.backbones.families import auto_class, check_family
from vla.backbones.quantize import check_quantize, quantization
from vla.configuration import TransformersConfig
from vla.errors import BadInput
from vla.optional import need, quiet

__all__ = ["check_files", "load_model", "plain_config", "read_config"]

_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"


def load_model(config: TransformersConfig, weights: bool = True) -> Any:
    """The model with its head, in evaluation mode. weights: read those of `config.path`, where it is given;
    else they are random. Raises BadInput with one line."""
    need("transformers", "transformers", "backbone.kind=transformers")
    check_quantize(config)
    read = bool(config.path) and weights
    with quiet():
        if read or not config.config:
            settings, where = _config_at(config.path), config.path
        else:
            settings, where = _config_of(config.config), "backbone.config"
        build: Any = auto_class(settings.model_type)
        attention = _attention(settings, build._model_mapping[type(settings)])
        options = {"dtype": getattr(torch, config.dtype), "attn_implementation": attention}
        if not read:
            try:
                return build.from_config(settings, **options).eval()
            except (AttributeError, TypeError, ValueError, KeyError, RuntimeError) as error:
                raise BadInput(f"{where} does not describe a whole model: {_line(error)}") from None
        if Path(config.path).is_dir():
            check_files(Path(config.path))
        return _from_pretrained(build, config, settings, options)


def read_config(config: TransformersConfig) -> Any:
    """The model's own config, as `transformers` has it; no weights are read. Raises BadInput."""
    with quiet():
        return _config_at(config.path) if config.path else _config_of(config.config)


def plain_config(model: Any) -> dict[str, Any]:
    """The model's config as a mapping that JSON can hold and `TransformersConfig.config` takes: the model
    built of it has the same weights' names and shapes."""
    raw = json.loads(model.config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "quantization_config", "transformers_version"):
        raw.pop(key, None)
    return raw


def _from_pretrained(build: Any, config: TransformersConfig, settings: Any, options: dict[str, Any]) -> Any:
    path = config.path
    try:
        model, info = build.from_pretrained(
            path,
            config=settings,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
            **quantization(config),
        )
    except SafetensorError as error:
        raise BadInput(f"{path}: its weights are damaged: {_line(error)}") from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadInput(f"cannot load the backbone {path}: {_line(error)}") from None
    if info["mismatched_keys"]:
        name, found, wanted = sorted(info["mismatched_keys"])[0]
        more = f" (and {len(info['mismatched_keys']) - 1} more)" if len(info["mismatched_keys"]) > 1 else ""
        raise BadInput(
            f"{path}: '{name}' has shape {list(found)} in the weights, and {list(wanted)} by its config.json"
            f"{more}: they are of different models"
        )
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        raise BadInput(f"{path}: its weights lack {len(names)} tensors of the model (first: '{names[0]}')")
    return model.eval()


def _config_at(path: str) -> Any:
    transformers = need("transformers", "transformers", "backbone.kind=transformers")
    folder = Path(path)
    if folder.is_dir():
        file = folder / "config.json"
        if not file.is_file():
            raise BadInput(f"{path} is no checkpoint of transformers: it holds no config.json")
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadInput(f"{file} is not valid JSON: {error}") from None
        check_family(str(raw.get("model_type") or "") if isinstance(raw, dict) else "", path)
    elif folder.exists() or path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise BadInput(f"no checkpoint folder: {path} does not exist")
    try:
        settings = transformers.AutoConfig.from_pretrained(path)
    except Exception as error:  # whatever its own checks raise
        raise BadInput(f"cannot read the config of the backbone {path}: {_line(error)}") from None
    check_family(settings.model_type, path)
    return settings


def _config_of(raw: Mapping[str, Any]) -> Any:
    transformers = need("transformers", "transformers", "backbone.kind=transformers")
    plain = json.loads(json.dumps(_plain(raw)))
    model_type = str(plain.pop("model_type", "") or "")
    check_family(model_type, "backbone.config")
    try:
        return transformers.AutoConfig.for_model(model_type, **plain)
    except Exception as error:  # whatever its own checks raise
        raise BadInput(f"backbone.config is no config of type {model_type}: {_line(error)}") from None


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dicts and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _attention(settings: Any, model: Any) -> str:
    """Which of the attention functions: PyTorch's own; or the plain one, for soft-capped scores (Gemma 2),
    which that one leaves out, and where the family has no other. Both obey any mask."""
    capped = getattr(settings.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if capped or not model._supports_sdpa else "sdpa"


def check_files(folder: Path) -> None:
    """Raise BadInput unless the folder holds safetensors weights, whole: every shard that its index names."""
    index = folder / _INDEX
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{index} is no index of weights: {_line(error)}") from None
        missing = [name for name in shards if not (folder / name).is_file()]
        if missing:
            count = f"{len(missing)} of {len(shards)}"
            raise BadInput(f"{folder} lacks the shard {missing[0]} named in {_INDEX} ({count} missing)")
    elif not (folder / _WEIGHTS).is_file():
        pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt*"))
        other = "; its pickled weights are not read: convert them to safetensors" if pickles else ""
        raise BadInput(f"{folder} holds no weights: neither {_WEIGHTS} nor {_INDEX}{other}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:240] or type(error).__name__
