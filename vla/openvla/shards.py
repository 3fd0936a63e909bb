"""The tensors of a checkpoint in one or several safetensors files: known by headers, read one by one."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from vla.backbones.loading import check_files
from vla.errors import BadInput

__all__ = ["Shards"]

INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"


class Shards:
    """Name -> tensor. Raises BadInput with one line for a file that is missing or damaged, and for a tensor
    that is not where the index says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_files(folder)
        if (folder / INDEX).is_file():
            self.files = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        else:
            self.files = dict.fromkeys(_open(folder / WEIGHTS).keys(), WEIGHTS)
        for name, file in self.files.items():
            if name not in self._held[file]:
                raise BadInput(f"{folder / file} lacks the tensor '{name}', which {INDEX} says is in it")

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __contains__(self, name: object) -> bool:
        return name in self.files

    def shape(self, name: str) -> tuple[int, ...]:
        """From the header."""
        return tuple(self._slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """From the header, as safetensors calls it: BF16, F32, ..."""
        return self._slice(name).get_dtype()

    def read(self, name: str) -> torch.Tensor:
        """In its own type. The file is mapped: its pages are read when they are needed."""
        return self._open_files[self.files[name]].get_tensor(name)

    def _slice(self, name: str) -> Any:
        if name not in self.files:
            raise BadInput(f"{self.folder}: its weights lack '{name}'")
        return self._open_files[self.files[name]].get_slice(name)

    @cached_property
    def _open_files(self) -> dict[str, Any]:
        return {file: _open(self.folder / file) for file in set(self.files.values())}

    @cached_property
    def _held(self) -> dict[str, set[str]]:
        return {file: set(opened.keys()) for file, opened in self._open_files.items()}


def _open(file: Path) -> Any:
    try:
        return safe_open(str(file), framework="pt")
    except (SafetensorError, OSError) as error:
        raise BadInput(f"cannot read the weights {file}: {str(error).splitlines()[0]}") from None
