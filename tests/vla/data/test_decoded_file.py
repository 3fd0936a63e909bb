"""A decoded file is known by hash: all of it when it was touched, none of it when it was not."""

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vla.data import decoded_file
from vla.data.decoded_file import mapped, read_note, remove, reserve, seal, untouched, whole, writing
from vla.data.lock import alone_in

SHAPE = (7, 5, 5, 3)
SIZE = 7 * 5 * 5 * 3
SMALL = 64
"""Bytes in a block: 9 blocks, the last one shorter."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_file, "BLOCK", SMALL)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each read of a decoded file."""
    counted: list[int] = []
    inner = decoded_file._read

    def read(handle: int, begin: int, size: int) -> bytes:
        counted.append(size)
        return inner(handle, begin, size)

    monkeypatch.setattr(decoded_file, "_read", read)
    return counted


def _made(folder: Path, shape: tuple[int, ...] = SHAPE) -> Path:
    scratch, file = folder / "x.part", folder / "x.u8"
    reserve(scratch, int(np.prod(shape)))
    with writing(scratch, shape) as rows:
        rows[:] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    seal(scratch, file, shape, {"more": {3: ["a", "b"]}})
    return file


def _write(file: Path, begin: int, data: bytes) -> None:
    """In place, as a disk would do it; the clock of a file system may be coarse, so the time is moved on."""
    with file.open("r+b") as held:
        held.seek(begin)
        held.write(data)
    later = file.stat().st_mtime_ns + 1_000_000
    os.utime(file, ns=(later, later))


def _said(file: Path) -> list[str]:
    lines: list[str] = []
    found = whole(file, lines.append, SHAPE)
    assert (found is None) == bool(lines)
    return lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(offset=st.integers(0, SIZE - 1), bits=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found_and_its_block_named(offset: int, bits: int, tmp_path: Path) -> None:
    file = _made(tmp_path)
    _write(file, offset, bytes([file.read_bytes()[offset] ^ bits]))
    assert not untouched(file, SHAPE)
    [line] = _said(file)
    number, last = offset // SMALL, min(SIZE, (offset // SMALL + 1) * SMALL) - 1
    place = f"checksum of block {number + 1} of 9, bytes {number * SMALL:,} to {last:,}"
    assert line == f"decoded pictures {file} are damaged ({place}); decoding again"
    assert _said(file) == [line]  # damage is never taken for granted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_changed_byte_in_the_note_is_found(where: float, bits: int, tmp_path: Path) -> None:
    file = _made(tmp_path)
    note = file.with_suffix(".json")
    before, raw = read_note(file), bytearray(note.read_bytes())
    raw[int(where * len(raw))] ^= bits
    note.write_bytes(raw)
    assert read_note(file) == before or len(_said(file)) == 1  # the same: one blank for another


def test_what_is_untouched_is_not_read(tmp_path: Path, reads: list[int]) -> None:
    file = _made(tmp_path)
    assert sum(reads) == SIZE  # once, to sum it
    reads.clear()
    for _ in range(3):
        assert untouched(file, SHAPE)
        assert whole(file, pytest.fail, SHAPE)["more"] == {"3": ["a", "b"]}  # type: ignore[index]
        assert mapped(file, SHAPE).shape == SHAPE
    assert not reads


@pytest.mark.parametrize("touch", ["time", "copy", "stamp", "rotten stamp", "age", "other note"])
def test_what_was_touched_is_read_once_in_full(
    touch: str, tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _made(tmp_path)
    stamp = file.with_suffix(".stamp")
    if touch == "time":
        os.utime(file, ns=(1, 1))
    elif touch == "copy":  # to another disk, times kept
        data, state = file.read_bytes(), file.stat()
        (tmp_path / "copy").write_bytes(data)
        os.utime(tmp_path / "copy", ns=(state.st_mtime_ns, state.st_mtime_ns))
        os.replace(tmp_path / "copy", file)
    elif touch == "stamp":
        stamp.unlink()
    elif touch == "rotten stamp":
        stamp.write_text("[1, 2")
    elif touch == "other note":
        kept = stamp.read_text()
        scratch = tmp_path / "y.part"
        scratch.write_bytes(file.read_bytes())
        seal(scratch, file, SHAPE, {"more": "else"})
        stamp.write_text(kept)
    else:
        now = time.time()
        monkeypatch.setattr(decoded_file.time, "time", lambda: now + decoded_file.BELIEVED + 1)
    reads.clear()
    assert not untouched(file, SHAPE)
    assert not _said(file) and sum(reads) == SIZE
    assert untouched(file, SHAPE)
    assert not _said(file) and sum(reads) == SIZE


def test_a_stamp_that_cannot_be_written_is_gone_without(
    tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = _made(tmp_path)
    file.with_suffix(".stamp").unlink()
    monkeypatch.setattr(decoded_file, "write_whole", refused)
    reads.clear()
    assert not _said(file) and not _said(file)
    assert sum(reads) == 2 * SIZE


def test_a_disk_that_cannot_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(handle: int, size: int, begin: int) -> bytes:
        raise OSError(5, "Input/output error")

    file = _made(tmp_path)
    file.with_suffix(".stamp").unlink()
    monkeypatch.setattr(decoded_file.os, "pread", failing)
    [line] = _said(file)
    assert "are damaged (Input/output error of block 1 of 9" in line


def test_a_note_of_an_earlier_version_is_not_believed(tmp_path: Path) -> None:
    file = _made(tmp_path)
    file.with_suffix(".json").write_text(json.dumps({"shape": list(SHAPE), "checks": {"0": 1}}))
    assert _said(file) == [
        f"decoded pictures {file} were kept by an earlier version, which did not note checksums of all "
        "blocks; decoding again"
    ]


def test_blocks_of_another_size_stay_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _made(tmp_path)
    file.with_suffix(".stamp").unlink()
    monkeypatch.setattr(decoded_file, "BLOCK", 100)
    assert not _said(file)


@pytest.mark.parametrize("killed_at", ["fsync", "replace", "write_whole", "_remember"])
def test_a_build_killed_anywhere_leaves_nothing_that_passes_for_whole(
    killed_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its last step the file is whole, and only has to be read again."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoded_file if killed_at in ("write_whole", "_remember") else os, killed_at, killed)
        with pytest.raises(KeyboardInterrupt):
            _made(tmp_path)
    file = tmp_path / "x.u8"
    assert not untouched(file, SHAPE)
    found = whole(file, pytest.fail, SHAPE)
    assert (found is not None) == (killed_at == "_remember")
    assert whole(_made(tmp_path), pytest.fail, SHAPE) is not None


def test_nothing_at_all_is_whole_too(tmp_path: Path) -> None:
    file = _made(tmp_path, (0, 5, 5, 3))
    file.with_suffix(".stamp").unlink()
    assert whole(file, pytest.fail) is not None
    assert mapped(file, (0, 5, 5, 3)).shape == (0, 5, 5, 3)
    remove(file)
    assert not list(tmp_path.iterdir())


def _check(file: Path, barrier: Any, read: Any) -> None:
    """In a process of its own: check at the same moment as the others, slowly."""
    decoded_file.BLOCK, inner = SMALL, decoded_file._check
    counted = 0

    def check(*given: Any) -> None:
        nonlocal counted
        time.sleep(0.2)
        counted += 1
        inner(*given)

    setattr(decoded_file, "_check", check)  # noqa: B010
    barrier.wait()
    with alone_in(file.parent, lambda line: None):
        assert whole(file, print, SHAPE) is not None
    read.put(counted)


def test_of_processes_that_start_at_once_one_checks(tmp_path: Path) -> None:
    file = _made(tmp_path)
    file.with_suffix(".stamp").unlink()
    fork = multiprocessing.get_context("fork")
    barrier, read = fork.Barrier(3), fork.Queue()
    started = [fork.Process(target=_check, args=(file, barrier, read)) for _ in range(3)]
    for process in started:
        process.start()
    found = [read.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    assert sum(found) == 1
