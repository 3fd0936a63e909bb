"""The journal's format: records that delimit and check themselves, so that a torn end is seen and left out.

A record is ``mark (4 bytes) | CRC-32 of the rest (4) | length of the content (4) | content``, all numbers
little-endian; the content is ``length of the header (4) | header, JSON | arrays and pictures, one after
another``, and the header's ``parts`` says what each of them is. Where a record is damaged, reading goes on at
the next mark: what lies between is counted, never guessed at.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Journal", "Part", "Record", "pack"]

MARK = b"\x9eRL\x01"
_HEAD = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")
_BLOCK = 2**20
"""Bytes that are read at a time."""

Encoded = tuple[str, tuple[int, ...], bytes]
"""(encoding, shape, bytes) of a picture: ``png``, ``jpeg`` or ``raw``."""


def pack(header: Mapping[str, Any], parts: Mapping[str, npt.NDArray[Any] | Encoded]) -> bytes:
    """One record. header: anything JSON can say (else its ``str``). parts: arrays, or encoded pictures."""
    told, blobs = [], []
    for name, part in parts.items():
        kind, shape, data = (
            (part.dtype.str, part.shape, part.tobytes()) if isinstance(part, np.ndarray) else part
        )
        told.append([name, kind, list(shape), len(data)])
        blobs.append(data)
    text = json.dumps({**header, "parts": told}, separators=(",", ":"), default=str).encode()
    content = b"".join((_LENGTH.pack(len(text)), text, *blobs))
    length = _LENGTH.pack(len(content))
    return b"".join((MARK, _LENGTH.pack(zlib.crc32(content, zlib.crc32(length))), length, content))


@dataclass(frozen=True)
class Part:
    """Where an array or a picture lies in the journal. kind: a numpy dtype, or a picture's encoding."""

    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True)
class Record:
    """One record: its header, and where its parts are."""

    header: dict[str, Any]
    parts: dict[str, Part]

    @property
    def kind(self) -> str:
        """What it tells of: ``begin``, ``ticks``, ``step``, ``chunk``, ``event``, ``end``."""
        return str(self.header.get("kind", ""))


class Journal:
    """A journal file read record by record; a context manager. Little memory is used, whatever its size.

    damaged: bytes passed over so far, at a torn end or in between. size: bytes in all. place: where the next
    record begins, so that a reader can tell how far it is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.damaged, self.place = path, 0, 0
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._file).st_size

    def __iter__(self) -> Iterator[Record]:
        self.place, self.damaged = 0, 0
        while self.place < self.size:
            found = self._record(self.place)
            if found is not None:
                record, self.place = found
                yield record
                continue
            following = self._next_mark(self.place + 1)
            self.damaged, self.place = self.damaged + following - self.place, following

    def data(self, part: Part) -> bytes:
        """The bytes of a part."""
        return self._read(part.offset, part.size)

    def array(self, part: Part) -> npt.NDArray[Any]:
        """A part that is an array."""
        return np.frombuffer(self.data(part), np.dtype(part.kind)).reshape(part.shape)

    def _record(self, place: int) -> tuple[Record, int] | None:
        """The record at `place` and where the next begins; None where there is no whole one."""
        start = place + _HEAD.size
        if start > self.size:
            return None
        mark, crc, length = _HEAD.unpack(self._read(place, _HEAD.size))
        end = start + length
        if mark != MARK or end > self.size or length < _LENGTH.size:
            return None
        found = zlib.crc32(_LENGTH.pack(length))
        for at in range(start, end, _BLOCK):  # a damaged length may be that of the whole file
            found = zlib.crc32(self._read(at, min(_BLOCK, end - at)), found)
        if found != crc:
            return None
        [text] = _LENGTH.unpack(self._read(start, _LENGTH.size))
        offset = start + _LENGTH.size + text
        header = json.loads(self._read(start + _LENGTH.size, text))
        parts = {}
        for name, kind, shape, size in header.pop("parts"):
            parts[name] = Part(kind, tuple(shape), offset, size)
            offset += size
        return Record(header, parts), end

    def _next_mark(self, place: int) -> int:
        """Where the next mark is, from `place` on; the file's end where there is none."""
        for at in range(place, self.size, _BLOCK):
            found = self._read(at, min(_BLOCK + len(MARK) - 1, self.size - at)).find(MARK)
            if found >= 0:
                return at + found
        return self.size

    def _read(self, place: int, size: int) -> bytes:
        """As many bytes, as far as there are; not through a map of the file, whose pages count as memory."""
        return os.pread(self._file, size, place)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
