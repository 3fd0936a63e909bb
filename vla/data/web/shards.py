"""WebDataset tar shards with random access: records are found through an index of each shard's headers.

A record is the files of one key:

- pictures: ``key.jpg``, ``.jpeg``, ``.png``, ``.webp`` (``key.0.jpg``, ``key.1.jpg``, ... for several); none
  for text alone;
- texts: ``key.json`` as in vla/data/web/texts.py (shards_writer.py writes ``turns``), or ``key.txt``, a
  caption.

A record without a picture is text alone where its JSON says so (``"images": []``), where no record of the
source has a picture, or where those that have one speak of it (``<image>`` in a text, ``image`` in the JSON)
and it does not. Anywhere else, and where it speaks of a picture or has boxes, its picture was lost: damage.

Other files of a record are left alone. Of a shard that was cut, the records before the cut are used; the last
one is counted as damaged, as nobody knows whether it is whole.
"""

import json
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration.web import ShardsConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.damage import Fault
from vla.data.web.files import local_files
from vla.data.web.index_cache import kept
from vla.data.web.sample import Turn
from vla.data.web.tar_index import ShardIndex, index_shard
from vla.data.web.texts import turns_of
from vla.notice import say_once

__all__ = ["Shards"]

PICTURES = ("jpg", "jpeg", "png", "webp")
ASKED = 16
"""Records with pictures that are read to see whether the source's texts speak of them."""


class Shards(FileSource):
    """A `WebSource` on tar shards. Opening it indexes those that are new or changed."""

    def __init__(self, name: str, config: ShardsConfig) -> None:
        super().__init__(name, config, local_files(config.paths, (".tar",), config.cache))
        bar = tqdm(self.files, desc=f"indexing {name}", unit=" shards", mininterval=1.0, delay=2.0)
        self._shards = [self._index(file) for file in bar]
        self._last = np.cumsum([len(index.keys) for index in self._shards])
        for file, index in zip(self.files, self._shards, strict=True):
            if index.cut:
                line = f"{file} is cut: {len(index.keys)} records begin before the cut; fetch it again"
                say_once(f"cut {file}", line)

    def _index(self, file: Path) -> ShardIndex:
        return ShardIndex(**kept(file, "tar 1", self.cache, lambda: asdict(index_shard(file))))

    def inside(self) -> bytes:
        """Sizes of all members: tar pads its files, so that theirs tell little."""
        return b"".join(index.sizes.tobytes() for index in self._shards)

    def count(self) -> int:
        """Records of all shards."""
        return int(self._last[-1])

    def _find(self, number: int) -> tuple[Path, ShardIndex, int]:
        """The record's file, its index, and its number there."""
        shard = int(np.searchsorted(self._last, number, side="right"))
        before = int(self._last[shard - 1]) if shard else 0
        return self.files[shard], self._shards[shard], number - before

    def place(self, number: int) -> str:
        """File, number there and key."""
        file, index, record = self._find(number)
        return f"{file}: record {record} (key {index.keys[record].decode(errors='replace')})"

    def raw(self, number: int) -> Raw:
        """The record's texts, and where its pictures lie. Raises Fault."""
        file, index, record = self._find(number)
        if index.cut and record == len(index.keys) - 1:
            raise Fault("the shard is cut here", "fetch it again")
        members = index.members(record)
        named = sorted((_place_of(ending), ending) for ending in members if _is_picture(ending))
        pictures = tuple(partial(_read, file, *members[ending]) for _, ending in named)
        content = _texts(file, members)
        turns, spoken = turns_of(content)
        if not pictures:
            self._check_text_alone(content, turns, spoken)
        return Raw(turns, pictures, spoken)

    def _check_text_alone(self, content: dict[str, Any], turns: tuple[Turn, ...], spoken: int) -> None:
        """Raises Fault for a record whose picture was lost."""
        if _speaks(content, spoken) or any(turn.boxes for turn in turns):
            raise Fault("the picture is missing", "the record speaks of one")
        if not _says_none(content) and self._silent:
            raise Fault("the picture is missing", 'text alone is to say "images": [] in its JSON')

    @cached_property
    def _silent(self) -> bool:
        """Whether a record with a picture may say nothing of it, so that one without has perhaps lost it."""
        having = np.flatnonzero(np.concatenate([_having(index) for index in self._shards]))
        some = np.unique(np.linspace(0, len(having) - 1, min(ASKED, len(having))).astype(int))
        for number in having[some].tolist():
            file, index, record = self._find(number)
            try:
                content = _texts(file, index.members(record))
                if not _speaks(content, turns_of(content)[1]):
                    return True
            except Fault:
                continue
        return False


def _having(index: ShardIndex) -> npt.NDArray[np.bool_]:
    """bool [records]: those that have a picture."""
    pictures = np.array([_is_picture(ending.decode()) for ending in index.endings], np.bool_)
    before = np.concatenate([[0], np.cumsum(pictures[index.kinds])])
    return before[index.first[1:]] > before[index.first[:-1]]


def _speaks(content: dict[str, Any], spoken: int) -> bool:
    """Whether the record's JSON names a picture, or its texts speak of one."""
    return bool(spoken or content.get("image") or content.get("images"))


def _says_none(content: dict[str, Any]) -> bool:
    return "image" in content or "images" in content


def _is_picture(ending: str) -> bool:
    place, _, kind = ending.rpartition(".")
    return kind in PICTURES and (not place or place.isdecimal())


def _place_of(ending: str) -> int:
    return int(ending.partition(".")[0]) if "." in ending else -1


def _texts(file: Path, members: dict[str, tuple[int, int]]) -> dict[str, Any]:
    try:
        if "json" in members:
            record = json.loads(_read(file, *members["json"]))
            if not isinstance(record, dict):
                raise Fault("the JSON is no mapping", type(record).__name__)
            return record
        if "txt" in members:
            return {"caption": _read(file, *members["txt"]).decode("utf-8")}
    except UnicodeDecodeError:
        raise Fault("the text is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Fault("the JSON is broken", str(error)) from None
    raise Fault("no text", f"it has {', '.join(members)}; .json or .txt is needed")


def _read(file: Path, offset: int, size: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(size)
    except OSError as error:
        raise Fault("the file cannot be read", f"{error.strerror}") from None
    if len(data) < size:
        raise Fault("the file is shorter than it was when it was opened")
    return data
