"""Words that refer to a box (RefCOCO, RefCOCO+, RefCOCOg), as a JSON list or JSON lines of

``{"image": "COCO_train2014_000000581857.jpg", "width": 640, "height": 428, "box": [x, y, width, height],
"expressions": ["the lady with the blue shirt", "lady in the middle"]}``

box is COCO's: the left upper corner and the size, in pixels of a picture of ``width`` x ``height``; a
picture of another size is damage, as its boxes would lie elsewhere. Instead
of ``expressions`` there may be one ``expression``. Records of one picture may stand anywhere; here a record
is a picture with all its boxes, so that it is never parted between training and validation. The prompt is an
expression in one of the config's phrases, chosen by the record's number; the answer is ``{box}``.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from vla.configuration.web import RefcocoConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.damage import Fault
from vla.data.web.files import local_files
from vla.data.web.json_records import JsonRecords
from vla.data.web.llava import ENDINGS, JsonFiles
from vla.data.web.places import BOX, box_of
from vla.data.web.sample import Box, Turn

__all__ = ["Refcoco"]


class Refcoco(FileSource):
    """A `WebSource` on referring expressions."""

    def __init__(self, name: str, config: RefcocoConfig) -> None:
        super().__init__(name, config, local_files(config.paths, ENDINGS, config.cache))
        self._lines = JsonFiles([JsonRecords(file, self.cache) for file in self.files])
        images: dict[Any, list[int]] = {}
        for line, content in enumerate(self._lines.each()):
            image = content.get("image")
            # a line without a readable name is a record of its own, which then says what is wrong
            images.setdefault(image if isinstance(image, str) else line, []).append(line)
        self._names, self._records = list(images), list(images.values())

    def _line(self, line: int) -> dict[str, Any]:
        file, there = self._lines.find(line)
        return file[there]

    def count(self) -> int:
        """Pictures with boxes."""
        return len(self._records)

    def place(self, number: int) -> str:
        """File and first line or record of the picture."""
        file, there = self._lines.find(self._records[number][0])
        return file.place(there)

    def names(self) -> Iterator[list[Any]]:
        """See `FileSource`."""
        return ([name] for name in self._names)

    def inside(self) -> bytes:
        """Pictures that were decoded before their sizes were compared are decoded again."""
        return b"sizes compared"

    def raw(self, number: int) -> Raw:
        """One picture's expressions. Raises Fault."""
        lines = [self._line(line) for line in self._records[number]]
        turns: list[Turn] = []
        sizes: dict[tuple[float, float], None] = {}
        for line in lines:
            expressions = line.get("expressions") or [line.get("expression")]
            box, size = _box(line)
            sizes[size] = None
            for words in expressions:
                if not isinstance(words, str) or not words.strip():
                    raise Fault("empty expression", f"{words!r:.60}")
                turns.append(Turn(self._phrase(number, len(turns)).replace("{}", words.strip()), BOX, (box,)))
        named = lines[0].get("image", "")
        return Raw(tuple(turns), (self.picture(named),), sizes=tuple(sizes), named=named)

    def _phrase(self, number: int, turn: int) -> str:
        phrases = self.config.prompts
        digest = hashlib.blake2b(f"{number}/{turn}".encode(), digest_size=8).digest()
        return phrases[int.from_bytes(digest, "little") % len(phrases)]


def _box(line: dict[str, Any]) -> tuple[Box, tuple[float, float]]:
    """The box, and the picture's width and height that it is told in."""
    try:
        x, y, width, height = (float(edge) for edge in line["box"])
        size = float(line["width"]), float(line["height"])
    except KeyError as error:
        raise Fault("wrong box", f"{error} is missing") from None
    except (TypeError, ValueError):
        raise Fault("wrong box", f"[x, y, width, height] is needed, not {line['box']!r:.80}") from None
    return box_of((x, y, x + width, y + height), *size), size
