"""Tensors on disk, in one safetensors file or in one from each process, whatever processes read them again.

Each file of several holds pieces, and in its header where in the whole tensor each begins: the format of
torch's own ``HuggingFaceStorageWriter(save_distributed=True)``, which reads these files too. (The writing and
reading is done here because torch's plans it by sending pickles between processes.) A reader takes out of the
files just what its own piece needs.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from vla.errors import BadInput

__all__ = ["Saved", "own_piece", "shard_name", "write_tensors"]

_HEADER, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # torch's names


@dataclass(frozen=True)
class _Piece:
    """A box of a tensor, and the file that it is in."""

    file: Path
    offset: tuple[int, ...]
    shape: tuple[int, ...]


def shard_name(number: int, count: int) -> str:
    """Of one process's file; of a single one without number where there is but one."""
    return "training.safetensors" if count == 1 else f"training-{number + 1:05d}-of-{count:05d}.safetensors"


def own_piece(tensor: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """What this process holds of a tensor, and where in the whole it begins."""
    if not isinstance(tensor, DTensor):
        return tensor, (0,) * tensor.ndim
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local(), tuple(offset)


def write_tensors(path: Path, pieces: Mapping[str, tuple[Tensor, tuple[int, ...]]]) -> None:
    """Write one process's pieces: tensors on the CPU, and where each begins."""
    layout = {name: {_OFFSETS: list(offset)} for name, (_, offset) in pieces.items()}
    header = None if path.name == shard_name(0, 1) else {_HEADER: json.dumps(layout)}
    save_file({name: tensor for name, (tensor, _) in pieces.items()}, path, header)


class Saved(contextlib.AbstractContextManager["Saved"]):
    """The tensors of a checkpoint folder, of one file or of several. A context: the files are open in it.

    Raises BadInput for files that cannot be read, or of which some are missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._open: dict[Path, Any] = {}
        self._pieces: dict[str, list[_Piece]] = {}
        for file in _files(folder):
            try:
                handle = self._stack.enter_context(safe_open(file, framework="pt"))
                layout = json.loads((handle.metadata() or {}).get(_HEADER, "{}"))
                for name in handle.keys():  # noqa: SIM118 (no mapping)
                    shape = tuple(handle.get_slice(name).get_shape())
                    offset = tuple(layout[name][_OFFSETS]) if name in layout else (0,) * len(shape)
                    self._pieces.setdefault(name, []).append(_Piece(file, offset, shape))
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self._stack.close()
                raise BadInput(f"cannot read {file}: {error}") from None
            self._open[file] = handle

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __contains__(self, name: str) -> bool:
        return name in self._pieces

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole tensor."""
        ends = [
            [start + size for start, size in zip(piece.offset, piece.shape, strict=True)]
            for piece in self._pieces[name]
        ]
        return tuple(max(sizes) for sizes in zip(*ends, strict=True))

    def like(self, name: str, target: Tensor) -> Tensor:
        """The tensor cut as `target` is: whole, or the piece of it that this process holds."""
        if not isinstance(target, DTensor):
            return self._box(name, (0,) * target.ndim, tuple(target.shape))
        local, offset = own_piece(target)
        read = self._box(name, offset, tuple(local.shape)).to(local.device)
        return DTensor.from_local(
            read,
            target.device_mesh,
            target.placements,
            run_check=False,
            shape=target.shape,
            stride=target.stride(),
        )

    def _box(self, name: str, offset: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
        first = self._pieces[name][0]
        if len(self._pieces[name]) == 1 and (first.offset, first.shape) == (offset, shape):
            return self._open[first.file].get_tensor(name)  # type: ignore[no-any-return]
        box: Tensor | None = None
        for piece in self._pieces[name]:
            here, there = [], []
            for start, size, begin, length in zip(offset, shape, piece.offset, piece.shape, strict=True):
                low, high = max(start, begin), min(start + size, begin + length)
                here.append(slice(low - start, max(low, high) - start))
                there.append(slice(low - begin, max(low, high) - begin))
            if all(part.stop > part.start for part in here):
                values = self._open[piece.file].get_slice(name)[tuple(there)]
                box = values.new_empty(shape) if box is None else box
                box[tuple(here)] = values
        if box is None:  # a process that holds nothing of a small tensor
            part = self._open[first.file].get_slice(name)[(slice(0, 0), *(slice(None) for _ in shape[1:]))]
            box = torch.empty(shape, dtype=part.dtype)
        return box


def _files(folder: Path) -> list[Path]:
    """One, or all of several."""
    single = folder / shard_name(0, 1)
    if single.is_file():
        return [single]
    found = sorted(folder.glob("training-*-of-*.safetensors"))
    if not found:
        raise BadInput(f"{folder} holds no {single.name}")
    count = int(found[0].stem.rpartition("-")[2])
    missing = [name for name in (shard_name(i, count) for i in range(count)) if not (folder / name).is_file()]
    if missing:
        raise BadInput(f"{folder}: {missing[0]} is missing, of {count} files")
    return found
