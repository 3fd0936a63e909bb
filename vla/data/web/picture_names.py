"""Which pictures records name: the same picture has the same key in every source that names it.

Of a name only its end counts, without the ending of its format and without COCO's ``COCO_train2014_``, as
COCO 2014 and 2017 hold the same pictures under the same numbers. So ``coco/train2017/000000000009.jpg`` of
LLaVA, ``COCO_train2014_000000000009.jpg`` of VQAv2 and ``000000000009.jpg`` of COCO are one. An end without a
digit (``rgb.png``) is what many folders call a picture of theirs; there the folder's name counts too.

Two pictures of one key only share a side of the split; so a doubt is better resolved that way.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from vla.data.web.files import is_url

__all__ = ["PictureNames", "name_of", "named_pictures"]

_COCO = re.compile(r"coco_[a-z]+\d{4}_")
_ENDING = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif|ppm)$")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class PictureNames:
    """record: int64 [names], the record of each name; key: uint64 [names], a hash of what it names."""

    record: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]


def named_pictures(records: Iterable[Iterable[Any]], images: str) -> PictureNames:
    """The keys of what each record names; what is no name is left out. images: the config's."""
    numbers: list[int] = []
    keys: list[int] = []
    for number, names in enumerate(records):
        for named in names:
            if isinstance(named, str) and named.strip():
                text = name_of(named, images).encode(errors="surrogatepass")
                numbers.append(number)
                keys.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))
    return PictureNames(np.array(numbers, np.int64), np.array(keys, np.uint64))


def name_of(named: str, images: str = "") -> str:
    """What a picture is called in all sources. named: a URL, or a name below `images`, a folder or a URL."""
    query = ""
    if is_url(named):
        parts = urlsplit(named)
        named, query = f"{parts.netloc}{unquote(parts.path)}", parts.query
        images = ""
    folder, _, name = named.lower().rpartition("/")
    name = _ENDING.sub("", _COCO.sub("", name, count=1))
    if _DIGIT.search(name):
        return name
    if not folder and images:  # the same as if the folder above it were `images`
        folder = (images if is_url(images) else os.path.abspath(images)).lower()
    return f"{folder.rstrip('/').rpartition('/')[2]}/{name}?{query}"
