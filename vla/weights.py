"""A model's weights as one safetensors file, and what is left out of it.

Left out are tensors that another name shares (tied embeddings), and frozen weights that came from another
checkpoint's folder: that folder is named instead, with a fingerprint, and read again.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vla.errors import BadInput

__all__ = ["fingerprint", "held_weights", "read_weights", "write_weights"]

SAMPLE = 1024
"""Numbers of each tensor that its fingerprint looks at."""


def write_weights(model: nn.Module, file: Path, left_out: frozenset[str]) -> None:
    """Write all weights but those of `left_out` and the second names of tied ones."""
    skip = left_out | set(_aliases(model))
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in _tensors(model).items()
        if name not in skip
    }
    save_file(weights, str(file), metadata={"format": "pt"})


def held_weights(file: Path) -> frozenset[str]:
    """Names of the tensors in a file. Raises BadInput with one line for a missing or damaged one."""
    if not file.is_file():
        raise BadInput(f"no weights: {file} does not exist")
    try:
        with safe_open(str(file), framework="pt") as opened:
            return frozenset(opened.keys())
    except (SafetensorError, OSError) as error:
        raise BadInput(f"cannot read the weights {file}: {str(error).splitlines()[0]}") from None


def read_weights(model: nn.Module, file: Path, left_out: frozenset[str]) -> None:
    """Read what `write_weights` wrote into a model that already holds what was left out. Raises BadInput
    with one line for a missing or damaged file, and for one of another architecture."""
    if not file.is_file():
        raise BadInput(f"no weights: {file} does not exist")
    try:
        weights = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise BadInput(f"cannot read the weights {file}: {str(error).splitlines()[0]}") from None
    wanted = _tensors(model)
    aliases = _aliases(model)
    missing = wanted.keys() - weights.keys() - left_out - aliases.keys()
    extra = weights.keys() - wanted.keys()
    for what, names in (("lacks", missing), ("has also", extra)):
        if names:
            raise BadInput(
                f"{file} is of another architecture: it {what} {len(names)} tensors (first: {min(names)})"
            )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{list(tensor.shape)}, not {list(wanted[name].shape)}"
            raise BadInput(f"{file} is of another architecture: '{name}' has shape {shapes}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BadInput(f"{file} is damaged: '{name}' is not finite")
    for name, parameter in model.named_parameters():
        if name in weights:  # each in the type it was saved in
            parameter.data = parameter.data.to(weights[name].dtype)
    model.load_state_dict(weights, strict=False)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, shapes and some numbers of each tensor: tells one checkpoint from another, fast."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // SAMPLE)][:SAMPLE].to("cpu", torch.float32)
        digest.update(f"{name} {list(tensor.shape)} ".encode() + some.numpy().tobytes())
    return digest.hexdigest()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without what is neither parameter nor buffer: how a quantised layer is packed, which
    goes with its weights."""
    own = {name for name, _ in model.named_buffers()}
    own |= {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: tensor for name, tensor in model.state_dict().items() if name in own}


def _aliases(model: nn.Module) -> dict[str, str]:
    """Second name of a tied parameter -> its first name."""
    first: dict[int, str] = {}
    aliases = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            aliases[name] = first[id(parameter)]
        else:
            first[id(parameter)] = name
    return aliases
