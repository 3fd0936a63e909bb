"""A model as a folder: config.json, model.safetensors, a tokenizer, statistics.json, actions.json, README.md.

Written aside and then renamed, so a folder is whole or not there. Nothing in it is ever unpickled. A folder
in OpenVLA's layout loads as well (see vla/openvla/).
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from vla.configuration import VLAConfig, WordsConfig
from vla.data.statistics import Statistics
from vla.errors import BadInput
from vla.model import VLA
from vla.origin import paths, without_paths
from vla.processor import Processor
from vla.tokens.actions import ActionTokenizer
from vla.tokens.actions.file import load_tokenizer, save_tokenizer
from vla.tokens.base import WordTokenizer
from vla.tokens.text import TextTokenizer
from vla.weights import fingerprint, held_weights, read_weights, write_weights

__all__ = ["ARCHITECTURE", "load", "load_processor", "save"]

ARCHITECTURE = "vla"
FORMAT = 3
CONFIG, WEIGHTS, TOKENIZER, STATISTICS, ACTIONS, CARD = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "statistics.json",
    "actions.json",
    "README.md",
)
TOKENIZER_FOLDER = "tokenizer"
"""Where a Hugging Face tokenizer is kept, which is several files."""


def save(path: Path, model: VLA, processor: Processor, card: str = "") -> None:
    """Write the folder; one that is there is replaced whole."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    left_out = model.left_out
    write_weights(model, aside / WEIGHTS, left_out)
    if isinstance(processor.tokenizer, TextTokenizer):
        processor.tokenizer.save(aside / TOKENIZER)
    else:
        processor.tokenizer.save(aside / TOKENIZER_FOLDER)
    processor.statistics.save(aside / STATISTICS)
    if processor.actions is not None:
        robots, hashed = model.config.robots, processor.statistics.hash
        save_tokenizer(aside / ACTIONS, processor.actions, robots=robots, statistics=hashed)
    (aside / CARD).write_text(card or f"# {model.config.name}\n", encoding="utf-8")
    header: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "format": FORMAT,
        "statistics": processor.statistics.hash,
        "config": model.config.to_dict(),
    }
    if left_out:
        header["left_out"] = _base(model, left_out)
    (aside / CONFIG).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    if path.exists():
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(path, old)
        os.rename(aside, path)
        shutil.rmtree(old)
    else:
        os.rename(aside, path)


def load(path: str | Path) -> tuple[VLA, Processor]:
    """The model, in evaluation mode on the CPU, and its processor. Raises BadInput with one line."""
    path = Path(path)
    if _is_openvla(path):
        from vla.openvla import load_openvla

        return load_openvla(path)
    header = _read_header(path)
    processor = _processor(path, header)
    if "left_out" not in header:
        model = VLA(without_paths(processor.config))
        read_weights(model, path / WEIGHTS, frozenset())
        return model.eval(), processor
    stated = dict(header["left_out"])
    places = ", ".join(sorted(set(paths(processor.config).values())))
    try:
        model = VLA(processor.config)
    except BadInput as error:
        again = f"put it back, or write the place where it is now into {path / CONFIG}"
        raise BadInput(f"checkpoint {path} needs the frozen weights of {places}: {error}; {again}") from None
    model.left_out -= held_weights(path / WEIGHTS)  # frozen as well, but not as they once were
    found = _base(model, model.left_out)
    if any(found[key] != stated.get(key) for key in ("tensors", "fingerprint")):
        raise BadInput(f"checkpoint {path} was trained on other weights than those now in {places}")
    read_weights(model, path / WEIGHTS, model.left_out)
    return model.eval(), processor


def load_processor(path: str | Path) -> Processor:
    """The processor alone. Raises BadInput with one line."""
    path = Path(path)
    if _is_openvla(path):
        from vla.openvla import load_openvla_processor

        return load_openvla_processor(path)
    return _processor(path, _read_header(path))


def _processor(path: Path, header: dict[str, Any]) -> Processor:
    statistics = Statistics.load(path / STATISTICS)
    if statistics.hash != header.get("statistics"):
        raise BadInput(f"{path / STATISTICS} is not of this checkpoint: its hash is not the one in {CONFIG}")
    try:
        config = VLAConfig.from_dict(header["config"])
        if isinstance(config.text, WordsConfig) and config.text.tokenizer:
            from vla.tokens.pretrained_text import PretrainedTokenizer

            words: WordTokenizer = PretrainedTokenizer.load(path / TOKENIZER_FOLDER)
        else:
            words = TextTokenizer.load(path / TOKENIZER)
        return Processor(config, words, statistics, _actions(path / ACTIONS, config, statistics))
    except BadInput as error:
        raise BadInput(f"checkpoint {path}: {error}") from None


def _actions(file: Path, config: VLAConfig, statistics: Statistics) -> ActionTokenizer | None:
    """The action codes of a checkpoint, which must be those of its config, robots and statistics."""
    decoder = config.decoder
    if decoder.tokenizer is None:
        return None
    return load_tokenizer(
        file,
        config=decoder.tokenizer,
        horizon=decoder.horizon,
        dim=decoder.dim,
        robots=config.robots,
        statistics=statistics.hash,
    )


def _base(model: VLA, left_out: frozenset[str]) -> dict[str, Any]:
    """Which folders the left-out weights are in, and how to know them again."""
    state = model.state_dict()
    tensors = {name: state[name] for name in left_out}
    return {"paths": paths(model.config), "tensors": len(tensors), "fingerprint": fingerprint(tensors)}


def _is_openvla(path: Path) -> bool:
    return (path / CONFIG).is_file() and _read_json(path / CONFIG).get("model_type") == "openvla"


def _read_json(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file} is not valid JSON: {error}") from None
    return raw if isinstance(raw, dict) else {}


def _read_header(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    if not file.is_file():
        raise BadInput(f"no checkpoint: {file} does not exist")
    header = _read_json(file)
    kind = header.get("architecture")
    if kind != ARCHITECTURE or not isinstance(header.get("config"), dict):
        other = kind or header.get("model_type") or header.get("type") or "something else"
        raise BadInput(
            f"{file} is a checkpoint of '{other}', not of '{ARCHITECTURE}' or 'openvla'; a language model or "
            "vision tower of transformers goes into model.backbone.path or model.image.encoder.path"
        )
    if header.get("format") != FORMAT:
        raise BadInput(f"{file} has format {header.get('format')}; this version reads format {FORMAT}")
    return header
