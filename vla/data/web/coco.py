"""COCO captions: ``{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}``.

A record is a picture with all its captions, each a turn without a prompt; so the captions of one picture are
never parted between training and validation.
"""

from collections.abc import Iterator
from typing import Any

from vla.configuration.web import CocoConfig
from vla.data.web.base import FileSource, Raw
from vla.data.web.damage import Fault
from vla.data.web.files import local_files
from vla.data.web.json_records import number_of, whole_json
from vla.data.web.sample import Turn

__all__ = ["Coco"]


class Coco(FileSource):
    """A `WebSource` on COCO's caption files. Captions of a picture that no file lists are damaged records."""

    def __init__(self, name: str, config: CocoConfig) -> None:
        super().__init__(name, config, local_files(config.paths, (".json",), config.cache))
        self._records: list[tuple[str, Any, list[Any]]] = []  # file, file name or None, captions
        for file in self.files:
            content = whole_json(file, "images", "annotations")
            captions: dict[Any, list[Any]] = {}
            for each in content["annotations"]:
                captions.setdefault(number_of(each, "image_id"), []).append(each.get("caption"))
            for image in content["images"]:
                said = captions.pop(number_of(image, "id"), None)
                if said is not None:  # a picture without captions is no record
                    self._records.append((str(file), image.get("file_name"), said))
            self._records += [(f"{file}, image_id {image}", None, said) for image, said in captions.items()]

    def count(self) -> int:
        """Pictures with captions."""
        return len(self._records)

    def place(self, number: int) -> str:
        """File, record and picture."""
        file, image, _ = self._records[number]
        return f"{file}: record {number} ({image})"

    def names(self) -> Iterator[list[Any]]:
        """See `FileSource`."""
        return ([image] for _, image, _ in self._records)

    def raw(self, number: int) -> Raw:
        """One picture's captions. Raises Fault."""
        _, image, captions = self._records[number]
        if image is None:
            raise Fault("its picture is not among the file's 'images'")
        return Raw(tuple(Turn("", caption) for caption in captions), (self.picture(image),))
