"""A model as a folder: config.json, model.safetensors, tokenizer.json, statistics.json, README.md.

Written aside and then renamed, so a folder is whole or not there. Nothing in it is ever unpickled.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vla.configuration import VLAConfig
from vla.data.statistics import Statistics
from vla.errors import BadInput
from vla.model import VLA
from vla.processor import Processor
from vla.tokens.text import TextTokenizer

__all__ = ["ARCHITECTURE", "load", "load_processor", "save"]

ARCHITECTURE = "vla"
FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER, STATISTICS, CARD = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "statistics.json",
    "README.md",
)


def save(path: Path, model: VLA, processor: Processor, card: str = "") -> None:
    """Write the folder; one that is there is replaced whole."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, str(aside / WEIGHTS), metadata={"format": "pt"})
    processor.tokenizer.save(aside / TOKENIZER)
    processor.statistics.save(aside / STATISTICS)
    (aside / CARD).write_text(card or f"# {model.config.name}\n", encoding="utf-8")
    header = {
        "architecture": ARCHITECTURE,
        "format": FORMAT,
        "statistics": processor.statistics.hash,
        "config": model.config.to_dict(),
    }
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
    processor = load_processor(path)
    model = VLA(processor.config)
    _load_weights(model, Path(path) / WEIGHTS)
    return model.eval(), processor


def load_processor(path: str | Path) -> Processor:
    """The processor alone. Raises BadInput with one line."""
    path = Path(path)
    header = _read_header(path)
    statistics = Statistics.load(path / STATISTICS)
    if statistics.hash != header.get("statistics"):
        raise BadInput(f"{path / STATISTICS} is not of this checkpoint: its hash is not the one in {CONFIG}")
    try:
        config = VLAConfig.from_dict(header["config"])
        return Processor(config, TextTokenizer.load(path / TOKENIZER), statistics)
    except BadInput as error:
        raise BadInput(f"checkpoint {path}: {error}") from None


def _read_header(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    if not file.is_file():
        raise BadInput(f"no checkpoint: {file} does not exist")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file} is not valid JSON: {error}") from None
    kind = header.get("architecture") if isinstance(header, dict) else None
    if kind != ARCHITECTURE or not isinstance(header.get("config"), dict):
        other = header.get("model_type") or header.get("type") if isinstance(header, dict) else None
        raise BadInput(
            f"{file} is a checkpoint of '{kind or other or 'something else'}', not of '{ARCHITECTURE}'"
        )
    if header.get("format") != FORMAT:
        raise BadInput(f"{file} has format {header.get('format')}; this version reads format {FORMAT}")
    return header


def _load_weights(model: VLA, file: Path) -> None:
    if not file.is_file():
        raise BadInput(f"no weights: {file} does not exist")
    try:
        weights = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise BadInput(f"cannot read the weights {file}: {str(error).splitlines()[0]}") from None
    wanted = model.state_dict()
    missing, extra = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    for what, names in (("lacks", missing), ("has also", extra)):
        if names:
            raise BadInput(
                f"{file} is of another architecture: it {what} {len(names)} tensors (first: {min(names)})"
            )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{list(tensor.shape)}, not {list(wanted[name].shape)}"
            raise BadInput(f"{file} is of another architecture: '{name}' has shape {shapes}")
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{file} is damaged: '{name}' is not finite")
    model.load_state_dict(weights)
