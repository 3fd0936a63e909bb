"""Records of a large JSON file, one at a time: a list, or JSON lines. Found once, then read by offset."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.web.damage import Fault
from vla.data.web.index_cache import kept
from vla.errors import BadInput

__all__ = ["JsonRecords", "number_of", "whole_json"]

PIECE = 1 << 24


class JsonRecords:
    """Sequence of the mappings in `file`; ``[]`` raises Fault for a broken line."""

    def __init__(self, file: Path, cache: Path) -> None:
        self.file = file
        with file.open("rb") as stream:
            self.lines = not stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        find = partial(_lines if self.lines else _elements, file)
        # int64 [n, 2]: where each record begins and ends
        self._spans = kept(file, "json 1", cache, lambda: {"spans": find()})["spans"]

    def __len__(self) -> int:
        return len(self._spans)

    def place(self, number: int) -> str:
        """File and record (of JSON lines: the line that is not empty), counted from 1 as editors do."""
        return f"{self.file}: {'line' if self.lines else 'record'} {number + 1}"

    def __getitem__(self, number: int) -> dict[str, Any]:
        begin, end = self._spans[number].tolist()
        with self.file.open("rb") as stream:
            return _mapping(_between(stream, begin, end))

    def each(self) -> Iterator[dict[str, Any]]:
        """All records in order, quicker than one by one; an empty one stands for one that is broken."""
        with self.file.open("rb") as stream:
            for begin, end in self._spans.tolist():
                try:
                    yield _mapping(_between(stream, begin, end))
                except Fault:
                    yield {}


def _mapping(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except UnicodeDecodeError:
        raise Fault("the text is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Fault("the JSON is broken", str(error)) from None
    if not isinstance(record, dict):
        raise Fault("the JSON is no mapping", type(record).__name__)
    return record


def whole_json(file: Path, *keys: str) -> dict[str, Any]:
    """A JSON file with one mapping, read at once. Raises BadInput where one of `keys`, lists, is missing."""
    try:
        content = json.loads(file.read_bytes())
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not JSON, or cut ({error}): fetch it again") from None
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise BadInput(f"{file} has no list '{key}'; is it the right file?")
        strange = next((n for n, each in enumerate(content[key]) if not isinstance(each, dict)), None)
        if strange is not None:
            raise BadInput(f"{file}: entry {strange} of '{key}' is no mapping")
    return content


def number_of(entry: dict[str, Any], key: str) -> int | str | None:
    """An entry's id; None where it has none that could be one."""
    value = entry.get(key)
    return value if isinstance(value, int | str) else None


def _lines(file: Path) -> npt.NDArray[np.int64]:
    """Begin and end of the lines that are not empty."""
    ends, at = [], 0
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            ends.append(np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + at)
            at += len(piece)
    end = np.concatenate([*ends, [at]]).astype(np.int64)
    spans = np.stack([np.concatenate([[0], end[:-1] + 1]), end], axis=1)
    spans = spans[spans[:, 1] - spans[:, 0] > 0]
    short = np.flatnonzero(spans[:, 1] - spans[:, 0] <= 2)  # "\r", a blank or two
    with file.open("rb") as stream:
        blank = [row for row in short.tolist() if not _between(stream, *spans[row].tolist()).strip()]
    return np.delete(spans, blank, axis=0)


def _between(stream: Any, begin: int, end: int) -> bytes:
    stream.seek(begin)
    return stream.read(end - begin)


def _elements(file: Path) -> npt.NDArray[np.int64]:
    """Begin and end of the elements of a list. Raises BadInput: what follows a break cannot be found."""
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{file} is not UTF-8 text") from None
    decoder = json.JSONDecoder()
    spans: list[tuple[int, int]] = []
    at, byte = _space(text, text.index("[") + 1), 0
    known = 0  # the letter that `byte` belongs to
    while at < len(text) and text[at] != "]":
        try:
            _, end = decoder.raw_decode(text, at)
            after = _space(text, end)
            if after >= len(text) or text[after] not in ",]":
                raise json.JSONDecodeError("a comma or ] is missing", text, after)
        except (ValueError, RecursionError) as error:
            place = f"{file}: record {len(spans) + 1} of the list"
            raise BadInput(f"{place} is broken, or the file is cut ({error}); fetch it again") from None
        begin = byte + len(text[known:at].encode())
        byte = begin + len(text[at:end].encode())
        spans.append((begin, byte))
        known = end
        at = _space(text, after + 1) if text[after] == "," else after
    if at >= len(text):
        raise BadInput(f"{file} is cut: its list of {len(spans)} records has no end; fetch it again")
    return np.array(spans, np.int64).reshape(-1, 2)


def _space(text: str, at: int) -> int:
    """The next letter that is no white space."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
