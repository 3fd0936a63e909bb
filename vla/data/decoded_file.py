"""One flat file of decoded pictures that is mapped into memory, and known by hash to be what was written.

`seal` ends a build: the file gets its name, then ``.json`` beside it, last, says what it holds and the CRC-32
of each of its blocks; a file without that note was never finished. `whole` reads all of it against the note,
and what was found whole is remembered in ``.stamp`` (size, times, inode), so that a later start reads none of
it. A file that was touched, copied or moved has another stamp, and is read again.
"""

import contextlib
import json
import math
import mmap
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.folders import write_whole

__all__ = ["Harm", "mapped", "read_note", "remove", "reserve", "seal", "untouched", "whole", "writing"]

BLOCK = 1 << 24
"""Bytes under one checksum. CRC-32 finds every error of up to 32 bits in a row, and runs at 3.7 GB/s a core
where BLAKE2b runs at 0.8; it guards against a bad disk or a crash, not against a forger."""
BELIEVED = 30 * 24 * 3600.0
"""Seconds until a stamp is no longer believed: a disk that forgets bytes changes no time of a file. (Checking
some rows at each start would not do instead: it can see only what befalls those.)"""
THREADS = 8
_Images = npt.NDArray[np.uint8]


class Harm(Exception):
    """What is wrong with a file, said of it in one predicate, as "are damaged (...)"."""


def reserve(file: Path, size: int) -> None:
    """Make `file` hold `size` bytes, of which those already written stay. Raises OSError where there is no
    room: to find that out under a memory map would kill the process."""
    with file.open("ab") as out:
        if size:
            os.posix_fallocate(out.fileno(), 0, size)


@contextlib.contextmanager
def writing(file: Path, shape: tuple[int, ...]) -> Iterator[_Images]:
    """uint8 of `shape` to be written into; on the disk when the block ends."""
    if not np.prod(shape):
        yield np.zeros(shape, np.uint8)  # an empty file cannot be mapped
        return
    rows = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    yield rows
    rows.flush()


def mapped(file: Path, shape: tuple[int, ...], *, ahead: bool = False) -> _Images:
    """uint8 of `shape`, read-only; ahead: ask the system to read all of it into its cache by and by."""
    if not np.prod(shape):
        return np.zeros(shape, np.uint8)
    with file.open("rb") as held:
        pages = mmap.mmap(held.fileno(), 0, access=mmap.ACCESS_READ)
    if ahead:
        pages.madvise(mmap.MADV_WILLNEED)
    return np.frombuffer(pages, dtype=np.uint8).reshape(shape)


def seal(scratch: Path, file: Path, shape: tuple[int, ...], told: Mapping[str, Any]) -> None:
    """Give the finished `scratch` its name, then write the note: shape, checksums and what else is `told`."""
    with scratch.open("rb") as held:
        os.fsync(held.fileno())  # after a crash a note must not vouch for pages that never reached the disk
        size = os.fstat(held.fileno()).st_size
        sums = list(_sums(held.fileno(), size, BLOCK, f"summing {file.name}"))
    note = json.loads(json.dumps({**told, "shape": list(shape), "block": BLOCK, "sums": sums}))
    note["note"] = _sum(note)
    os.replace(scratch, file)
    write_whole(_note(file), json.dumps(note))
    _remember(file, note, file.stat())


def read_note(file: Path) -> dict[str, Any] | None:
    """What is told of `file`; None where it is not JSON, or of another kind."""
    try:
        saved = json.loads(_note(file).read_text())
    except ValueError:
        return None
    return saved if isinstance(saved, dict) else None


def remove(file: Path) -> None:
    """Delete a decoded file and what is beside it; the note first, so that nothing vouches for a part."""
    for each in (_note(file), _stamp(file), file):
        each.unlink(missing_ok=True)


def untouched(file: Path, shape: tuple[int, ...]) -> bool:
    """Whether `file` was found whole and has not been touched since; no more than its state is read."""
    try:
        return _is_stamped(file, _sound_note(file, shape), file.stat())
    except (Harm, OSError):
        return False


def whole(
    file: Path, say: Callable[[str], None], shape: tuple[int, ...] | None = None
) -> dict[str, Any] | None:
    """What is told of `file` where it is what was written (and of this shape, if one is given); None where it
    is not finished, or (in one line to `say`) not whole.

    Reads all of it unless it was found whole before: let one process at a time do so.
    """
    if not _note(file).is_file():
        return None
    try:
        note = _sound_note(file, shape)
        with file.open("rb") as held:
            state = os.fstat(held.fileno())
            if not _is_stamped(file, note, state):
                _check(held.fileno(), state.st_size, note, file)
                _remember(file, note, state)
    except Harm as harm:
        say(f"decoded pictures {file} {harm}; decoding again")
        return None
    return note


def _sound_note(file: Path, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """The note, where `file` could be what it tells of. Raises Harm."""
    if not file.is_file():
        raise Harm("are damaged (the file is missing)")
    note = read_note(file)
    if note is None:
        raise Harm("are damaged (the note beside them is not JSON)")
    if "sums" not in note:
        raise Harm("were kept by an earlier version, which did not note checksums of all blocks")
    if note.get("note") != _sum(note):
        raise Harm("are damaged (checksum of the note beside them)")
    if shape is not None and note["shape"] != list(shape):
        raise Harm(f"are damaged (shape {note['shape']}, not {list(shape)})")
    size, wanted = file.stat().st_size, math.prod(note["shape"])
    if size != wanted:
        raise Harm(f"are damaged ({size:,} bytes, not {wanted:,})")
    return note


def _check(handle: int, size: int, note: dict[str, Any], file: Path) -> None:
    block, number, reason = int(note["block"]), 0, "checksum"
    try:
        with contextlib.closing(_sums(handle, size, block, f"checking {file.name}")) as found:
            for expected, actual in zip(note["sums"], found, strict=True):
                if expected != actual:
                    break
                number += 1
            else:
                return
    except OSError as error:  # the disk itself says so
        reason = str(error.strerror)
    begin, end = number * block, min(size, (number + 1) * block)
    place = f"block {number + 1} of {len(note['sums'])}, bytes {begin:,} to {end - 1:,}"
    raise Harm(f"are damaged ({reason} of {place})")


def _sums(handle: int, size: int, block: int, title: str) -> Generator[int]:
    """CRC-32 of each block, in order; the last one may be shorter. Reads in threads. Raises OSError."""

    def one(begin: int) -> int:
        return zlib.crc32(_read(handle, begin, min(block, size - begin)))

    threads = max(1, min(THREADS, len(os.sched_getaffinity(0))))
    pool = ThreadPoolExecutor(threads)
    bar = tqdm(total=size, desc=title, unit="B", unit_scale=True, mininterval=1.0, delay=2.0)
    try:
        with bar:
            for begin, found in zip(range(0, size, block), pool.map(one, range(0, size, block)), strict=True):
                bar.update(min(block, size - begin))
                yield found
    finally:
        pool.shutdown(cancel_futures=True)


def _read(handle: int, begin: int, size: int) -> bytes:
    """A system call may give less than asked; at a file that has become shorter the rest is missing."""
    data = os.pread(handle, size, begin)
    while len(data) < size and (more := os.pread(handle, size - len(data), begin + len(data))):
        data += more
    return data


def _note(file: Path) -> Path:
    return file.with_suffix(".json")


def _stamp(file: Path) -> Path:
    return file.with_suffix(".stamp")


def _sum(note: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps({key: value for key, value in note.items() if key != "note"}).encode())


def _state(note: Mapping[str, Any], state: os.stat_result) -> list[int]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, note["note"]]


def _is_stamped(file: Path, note: Mapping[str, Any], state: os.stat_result) -> bool:
    try:
        saved = json.loads(_stamp(file).read_text())
        return bool(saved["state"] == _state(note, state) and abs(time.time() - saved["at"]) < BELIEVED)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _remember(file: Path, note: Mapping[str, Any], state: os.stat_result) -> None:
    with contextlib.suppress(OSError):  # a folder that may only be read: each start reads the file
        write_whole(_stamp(file), json.dumps({"state": _state(note, state), "at": time.time()}))
