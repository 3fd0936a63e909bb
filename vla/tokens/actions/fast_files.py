"""FAST vocabularies as files: the layout of the published processor (physical-intelligence/fast).

A folder with ``processor_config.json`` (scale, min_token, vocab_size and, where they are fixed, time_horizon
and action_dim), ``tokenizer.json`` (of the tokenizers library) and ``tokenizer_config.json`` (of
transformers). Its Python file is not needed here and never run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vla.errors import BadInput
from vla.folders import writable_folder, write_whole
from vla.tokens.actions.fast_bpe import tokenizer_of

__all__ = ["Published", "read_published", "write_published"]

_CLASS = "UniversalActionProcessor"


@dataclass(frozen=True)
class Published:
    """What such a folder holds. origin: the file's ``min_token``, the coefficient that character 0 spells.
    horizon, dim: None where the vocabulary is for chunks of any."""

    tokenizer: Tokenizer
    scale: float
    vocabulary: int
    origin: int
    horizon: int | None
    dim: int | None


def read_published(folder: Path) -> Published:
    """Raises BadInput naming the file that is missing, damaged or of another processor."""
    if not folder.is_dir():
        raise BadInput(f"no FAST vocabulary: {folder} is not a folder")
    path = folder / "processor_config.json"
    config = _json(path)
    found = config.get("processor_class", _CLASS)
    if found != _CLASS:
        raise BadInput(f"{path} is of another processor: {found!r}, not {_CLASS!r}")
    missing = [name for name in _NEEDED if config.get(name) is None]
    if missing:
        names = ", ".join(map(repr, missing))
        raise BadInput(f"{path} has no {names}: without that its codes have no meaning; give the whole file")
    scale = config["scale"]
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < float("inf"):
        raise BadInput(f"{path}: 'scale' must be a number above 0, not {scale!r}")
    vocabulary, origin = (_whole(path, config, name) for name in ("vocab_size", "min_token"))
    shape = [
        None if config.get(name) is None else _whole(path, config, name)
        for name in ("time_horizon", "action_dim")
    ]
    words = folder / "tokenizer.json"
    return Published(tokenizer_of(_json(words), str(words)), float(scale), vocabulary, origin, *shape)


_NEEDED = ("scale", "min_token", "vocab_size")
"""The published class has defaults for them; but a file in which they are not told is not a whole one."""


def write_published(folder: Path, published: Published) -> None:
    """Write the layout, each file whole or not at all. Who loads it with transformers' AutoProcessor gets the
    class from its published place, if they allow that. Raises BadInput where nothing can be written."""
    writable_folder(folder)
    processor = {
        "action_dim": published.dim,
        "auto_map": {"AutoProcessor": f"physical-intelligence/fast--processing_action_tokenizer.{_CLASS}"},
        "min_token": published.origin,
        "processor_class": _CLASS,
        "scale": published.scale,
        "time_horizon": published.horizon,
        "vocab_size": published.vocabulary,
    }
    words = {
        "added_tokens_decoder": {},
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        "processor_class": _CLASS,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    texts = {
        "tokenizer.json": published.tokenizer.to_str(pretty=True),
        "tokenizer_config.json": json.dumps(words, indent=2),
        "special_tokens_map.json": "{}",
        "processor_config.json": json.dumps(processor, indent=2),
    }
    try:
        for name, text in texts.items():
            write_whole(folder / name, text + "\n")
    except OSError as error:
        raise BadInput(f"cannot write the FAST vocabulary {folder}: {error.strerror}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"no FAST vocabulary: {path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise BadInput(f"cannot read {path}: a JSON object is needed, not {type(found).__name__}")
    return found


def _whole(path: Path, config: dict[str, Any], name: str) -> int:
    value = config[name]
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**31:
        raise BadInput(f"{path}: '{name}' must be a whole number, not {value!r}")
    return value
