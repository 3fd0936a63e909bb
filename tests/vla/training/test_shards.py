"""What several processes write, any number of them reads."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, load

from vla.errors import BadInput
from vla.training.shards import Saved, shard_name, write_tensors


def tensors(rows: int) -> dict[str, Tensor]:
    return {
        "matrix": torch.arange(rows * 6.0).view(rows, 2, 3),
        "vector": torch.arange(rows + 1, dtype=torch.int64),
        "number": torch.tensor(5.0, dtype=torch.bfloat16),
    }


def cut(whole: Tensor, part: int, parts: int) -> tuple[Tensor, tuple[int, ...]]:
    """As FSDP cuts: equal pieces along the first dimension, the last ones smaller or empty."""
    size = -(-len(whole) // parts)
    begin = min(part * size, len(whole))
    return whole[begin : begin + size].contiguous(), (begin, *[0] * (whole.ndim - 1))


def write(folder: Path, whole: dict[str, Tensor], count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("training*"):
        old.unlink()
    for part in range(count):
        pieces = {name: cut(t, part, count) for name, t in whole.items() if t.ndim}
        if part == 0:
            pieces |= {name: (t, ()) for name, t in whole.items() if not t.ndim}
        held = {name: piece for name, piece in pieces.items() if piece[0].numel()}
        write_tensors(folder / shard_name(part, count), held)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
def test_any_number_reads_what_any_number_wrote(
    tmp_path: Path, rows: int, writers: int, readers: int
) -> None:
    whole = tensors(rows)
    write(tmp_path, whole, writers)
    with Saved(tmp_path) as saved:
        assert set(saved) == whole.keys()
        for name, tensor in whole.items():
            assert saved.shape(name) == tuple(tensor.shape)
            assert torch.equal(saved.like(name, tensor), tensor)
            for part in range(readers if tensor.ndim else 0):
                piece, offset = cut(tensor, part, readers)
                read = saved._box(name, offset, tuple(piece.shape))
                assert read.dtype == tensor.dtype and torch.equal(read, piece)


def test_torch_reads_the_files_too(tmp_path: Path) -> None:
    whole = tensors(7)
    write(tmp_path, whole, 3)
    found = {name: torch.zeros_like(tensor) for name, tensor in whole.items()}
    load(found, storage_reader=HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_single_file_is_a_plain_one(tmp_path: Path) -> None:
    whole = tensors(4)
    write(tmp_path, whole, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["training.safetensors"]
    assert load_file(tmp_path / "training.safetensors").keys() == whole.keys()
    assert b"DCP" not in (tmp_path / "training.safetensors").read_bytes()


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no training\.safetensors"):
        Saved(tmp_path)
    write(tmp_path, tensors(8), 3)
    (tmp_path / shard_name(1, 3)).rename(tmp_path / "aside")
    with pytest.raises(BadInput, match=r"training-00002-of-00003\.safetensors is missing, of 3 files"):
        Saved(tmp_path)
    (tmp_path / shard_name(1, 3)).write_bytes((tmp_path / "aside").read_bytes()[:30])
    with pytest.raises(BadInput, match=r"cannot read .*training-00002-of-00003\.safetensors"):
        Saved(tmp_path)


def test_the_layout_is_plain_json(tmp_path: Path) -> None:
    write(tmp_path, tensors(8), 2)
    raw = (tmp_path / shard_name(1, 2)).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["DCP_SHARDING_INFO"])["matrix"] == {"saved_offsets": [4, 0, 0]}
