"""LLaVA-style conversations: a JSON list or JSON lines of

``{"image": "coco/train2017/000000033471.jpg", "conversations": [{"from": "human", "value": "<image>\\n..."},
{"from": "gpt", "value": "..."}]}``

``image`` is a name below `images`, a list of them, or missing for text alone. Instead of ``conversations``
any other form of vla/data/web/texts.py will do.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vla.configuration.web import LlavaConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.files import local_files
from vla.data.web.json_records import JsonRecords
from vla.data.web.texts import turns_of

__all__ = ["JsonFiles", "Llava"]

ENDINGS = (".json", ".jsonl")


class JsonFiles:
    """The records of several JSON files as one sequence."""

    def __init__(self, parts: list[JsonRecords]) -> None:
        self.parts = parts
        self._last = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._last[-1])

    def find(self, number: int) -> tuple[JsonRecords, int]:
        """File and number there."""
        part = int(np.searchsorted(self._last, number, side="right"))
        return self.parts[part], number - (int(self._last[part - 1]) if part else 0)

    def each(self) -> Iterator[dict[str, Any]]:
        """See `JsonRecords`."""
        for part in self.parts:
            yield from part.each()


class Llava(FileSource):
    """A `WebSource` on LLaVA's JSON."""

    def __init__(self, name: str, config: LlavaConfig) -> None:
        super().__init__(name, config, local_files(config.paths, ENDINGS, config.cache))
        self._records = JsonFiles([JsonRecords(file, self.cache) for file in self.files])

    def count(self) -> int:
        """Records of all files."""
        return len(self._records)

    def place(self, number: int) -> str:
        """File and line or record."""
        file, there = self._records.find(number)
        return file.place(there)

    def names(self) -> Iterator[list[Any]]:
        """See `FileSource`."""
        return map(_names, self._records.each())

    def raw(self, number: int) -> Raw:
        """One conversation. Raises Fault."""
        file, there = self._records.find(number)
        record = file[there]
        turns, spoken = turns_of(record)
        return Raw(turns, tuple(self.picture(each) for each in _names(record)), spoken)


def _names(record: dict[str, Any]) -> list[Any]:
    named = record.get("image") or record.get("images") or []
    return named if isinstance(named, list) else [named]
