"""Sketches of a dataset's features as one safetensors file: arrays, and a JSON header with their hash."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.sketch import Sketch
from vla.errors import BadInput

__all__ = ["FORMAT", "load_sketches", "save_sketches"]

FORMAT = 1
"""Counts up when a change makes older files mean something else."""


def save_sketches(path: Path, sketches: Mapping[str, Sketch]) -> None:
    """Write aside, then rename. Raises OSError where the place cannot be written."""
    from safetensors.numpy import save

    arrays = {
        f"{name}/{part}": array
        for name, sketch in sketches.items()
        for part, array in sketch.to_arrays().items()
    }
    about = {"format": FORMAT, "features": list(sketches), "hash": _hash(arrays)}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(save(arrays, {"sketches": json.dumps(about)}))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load_sketches(path: Path) -> dict[str, Sketch]:
    """Read what `save_sketches` wrote. Raises BadInput if it is missing, damaged or of another format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads((file.metadata() or {})["sketches"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        stated, found, features = about["hash"], _hash(arrays), about["features"]
        if about["format"] != FORMAT:
            raise BadInput(f"{path} has format {about['format']}, this program writes {FORMAT}: delete it")
        if stated != found:
            raise BadInput(f"{path} was changed: its hash is {found[:12]}, not {stated[:12]}; delete it")
        return {name: Sketch.from_arrays(name, _part(arrays, name)) for name in features}
    except FileNotFoundError:
        raise BadInput(f"no saved statistics: {path} does not exist") from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = str(error).splitlines()[0]
        raise BadInput(f"cannot read the saved statistics {path} ({reason}): delete it") from None


def _part(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}/"): x for key, x in arrays.items() if key.startswith(f"{name}/")}


def _hash(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
