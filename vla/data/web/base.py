"""What all kinds of sources share: a kind says where texts and pictures are, this does the rest."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration.web import WebConfig
from vla.data.web.damage import Fault
from vla.data.web.decoding import decode
from vla.data.web.files import cache_folder, fetched, is_url
from vla.data.web.index_cache import kept
from vla.data.web.picture_names import PictureNames, named_pictures
from vla.data.web.sample import Damaged, Turn, WebSample
from vla.data.web.texts import checked
from vla.errors import BadInput

__all__ = ["FileSource", "Raw"]

_NOT_DATA = ("path", "weight", "loss", "split", "prompts", "cache", "annotations", "images", "limit")
"""Settings that do not change what a record is; the files are told by their names and sizes."""


@dataclass(frozen=True)
class Raw:
    """A record before anything is checked or decoded. pictures: each gives the bytes of one when called.
    spoken: of how many pictures the texts speak, 0 where they do not tell. sizes: (width, height) of its
    first picture, `named`, where the record tells them as what its boxes are told in."""

    turns: tuple[Turn, ...]
    pictures: tuple[Callable[[], bytes], ...] = ()
    spoken: int = 0
    sizes: tuple[tuple[float, float], ...] = ()
    named: str = ""


class FileSource(ABC):
    """A `WebSource` on files. A kind fills in `count`, `place` and `raw`, and lists its `files`."""

    def __init__(self, name: str, config: WebConfig, files: list[Path]) -> None:
        self.name, self.config, self.files = name, config, files
        self.cache = cache_folder(config.cache, None if is_url(config.paths[0]) else files[0].parent)
        if config.images and not is_url(config.images) and not Path(config.images).is_dir():
            raise BadInput(f"web.{name}.images: there is no folder {config.images}")

    @abstractmethod
    def count(self) -> int:
        """All records of the files."""

    @abstractmethod
    def place(self, number: int) -> str:
        """The record's file and its number there, for messages."""

    @abstractmethod
    def raw(self, number: int) -> Raw:
        """The record as it stands in the files. Raises Fault."""

    def __len__(self) -> int:
        return min(self.count(), self.config.limit or self.count())

    def __getitem__(self, number: int) -> WebSample:
        """One record. Raises Damaged."""
        try:
            raw, turns = self._checked(number)
            pictures = tuple(decode(read(), self.config.max_side) for read in raw.pictures)
            _compare(raw, pictures)
        except Fault as fault:
            raise self._damaged(number, fault) from None
        return WebSample(pictures, turns, self.place(number))

    def turns(self, number: int) -> tuple[Turn, ...]:
        """The record's texts alone. Raises Damaged."""
        try:
            return self._checked(number)[1]
        except Fault as fault:
            raise self._damaged(number, fault) from None

    def pictures(self, number: int) -> int:
        """How many pictures the record has, none of them decoded. Raises Damaged."""
        try:
            return len(self._checked(number)[0].pictures)
        except Fault as fault:
            raise self._damaged(number, fault) from None

    def texts(self) -> Iterator[str]:
        """All prompts, answers and phrases of records whose texts can be read."""
        if not self.config.WRAPS:
            yield from self.config.prompts
        for number in range(len(self)):
            try:
                turns = self.turns(number)
            except Damaged:
                continue
            for turn in turns:
                yield from (text for text in (turn.prompt, turn.answer, *dict.fromkeys(turn.others)) if text)

    @cached_property
    def identity(self) -> str:
        """16 hex digits of the files' names and sizes (of those in the pictures' folder too) and the settings
        that decide what a record is."""
        digest = hashlib.sha256(self._settings())
        for file in self.files:
            digest.update(f"{file.name}:{file.stat().st_size}\n".encode())
        digest.update(self.inside())
        if is_url(self.config.images):
            digest.update(self.config.images.encode())
        elif self.config.images:
            for line in _listing(self.config.images):
                digest.update(line.encode())
        return digest.hexdigest()[:16]

    def names(self) -> Iterable[Iterable[Any]]:
        """What each record, of all files, calls its pictures; nothing where they lie in the records."""
        return ()

    @cached_property
    def named(self) -> PictureNames:
        """See `NamesPictures`. Found once, which may need a pass over the files, and kept."""
        records = self.names()
        if isinstance(records, tuple):
            return named_pictures(records, self.config.images)
        state = hashlib.sha256(self._settings() + os.path.abspath(self.config.images).encode())
        for file in self.files:
            stat = file.stat()
            state.update(f"{file}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
        bar = tqdm(
            records, f"names in {self.name}", self.count(), unit=" records", mininterval=1.0, delay=2.0
        )
        kind = f"names 1 {state.hexdigest()[:16]}"
        build = partial(named_pictures, bar, self.config.images)
        return PictureNames(**kept(self.files[0], kind, self.cache, lambda: vars(build())))

    def inside(self) -> bytes:
        """What else tells the data's state, where a kind knows more than its files' sizes."""
        return b""

    def picture(self, named: str) -> Callable[[], bytes]:
        """Reader of a picture that a record names: below `images`, or a URL that begins so. Raises Fault.

        A name from data never reaches outside: no absolute path, no ``..``, no other server, no command.
        """
        images = self.config.images
        if not isinstance(named, str) or not named.strip() or "\0" in named:
            raise Fault("the picture has no name", f"{named!r:.60}")
        if is_url(named):
            if not is_url(images) or not named.startswith(images.rstrip("/") + "/"):
                raise Fault("the picture is at a URL that 'images' does not begin", named[:120])
            return partial(_from_url, named, self.cache)
        path = PurePosixPath(named)
        if path.is_absolute() or ".." in path.parts:
            raise Fault("the picture's name leaves the folder 'images'", named[:120])
        if not images:
            raise Fault("the picture is a file name, and 'images' is empty", named[:120])
        if is_url(images):
            return partial(_from_url, images.rstrip("/") + "/" + quote(str(path)), self.cache)
        return partial(_from_file, Path(images) / path)

    def _settings(self) -> bytes:
        """Those that decide what a record is."""
        settings = {key: value for key, value in asdict(self.config).items() if key not in _NOT_DATA}
        return repr(sorted(settings.items())).encode()

    def _checked(self, number: int) -> tuple[Raw, tuple[Turn, ...]]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        raw = self.raw(number)
        turns = checked(raw.turns, self.config.max_words)
        if raw.spoken and raw.spoken != len(raw.pictures):
            raise Fault("its texts speak of another number of pictures", f"{raw.spoken}, {len(raw.pictures)}")
        return raw, turns

    def _damaged(self, number: int, fault: Fault) -> Damaged:
        return Damaged(f"{self.place(number)}: {fault}", fault.kind)


def _compare(raw: Raw, pictures: Sequence[npt.NDArray[np.uint8]]) -> None:
    """Raises Fault where the first picture has another size than its boxes are told in."""
    for width, height in raw.sizes:
        real_height, real_width = pictures[0].shape[:2]
        if (real_width, real_height) != (width, height):
            sizes = f"{raw.named}: {real_width} x {real_height}, not {width:g} x {height:g}"
            raise Fault("the picture has another size than the record says, so its boxes are wrong", sizes)


def _from_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault("the picture is missing", f"{path}: {error.strerror}") from None


def _from_url(url: str, cache: Path) -> bytes:
    try:
        return fetched(url, cache).read_bytes()
    except (BadInput, OSError) as error:
        raise Fault("the picture is missing", str(error)) from None


def _listing(folder: str) -> list[str]:
    """Name and size of every file below `folder`, sorted."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        under = os.path.relpath(root, folder)
        found += [f"{under}/{name}:{os.stat(os.path.join(root, name)).st_size}\n" for name in sorted(names)]
    return found
