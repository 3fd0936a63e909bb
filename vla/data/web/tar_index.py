"""Where the records of a tar shard lie, so that any of them can be read without what stands before it.

A WebDataset record is a run of members with one key, the name up to its first dot. Only headers are
read here, each once: some ten thousand members a second.
"""

import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vla.data.web.damage import Fault
from vla.errors import BadInput

__all__ = ["ShardIndex", "index_shard"]

_NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
"""Key and ending, as webdataset parts them."""


@dataclass(frozen=True)
class ShardIndex:
    """keys: bytes, one a record, in order. Members m of record r are ``first[r] <= m < first[r + 1]``, with
    ending ``endings[kinds[m]]`` (lower case, what stands after the key's dot) and bytes ``offsets[m]`` to
    ``offsets[m] + sizes[m]``. cut: the file ends too early; whether its last record is whole nobody knows."""

    keys: npt.NDArray[np.bytes_]
    first: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    endings: npt.NDArray[np.bytes_]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    cut: npt.NDArray[np.bool_]

    def members(self, record: int) -> dict[str, tuple[int, int]]:
        """Ending -> (offset, size). Raises Fault where an ending comes twice."""
        own = slice(self.first[record], self.first[record + 1])
        endings = [ending.decode() for ending in self.endings[self.kinds[own]]]
        spans = zip(self.offsets[own].tolist(), self.sizes[own].tolist(), strict=True)
        found = dict(zip(endings, spans, strict=True))
        if len(found) < len(endings):
            raise Fault("two files of one ending", ", ".join(found))
        return found


def index_shard(path: Path) -> ShardIndex:
    """Read all headers of `path`. Raises BadInput for what is no tar file at all."""
    keys: list[str] = []
    first: list[int] = []
    kinds: list[int] = []
    endings: dict[str, int] = {}
    places: list[tuple[int, int]] = []
    length, end, cut = path.stat().st_size, 0, False
    try:
        with tarfile.open(path, "r:") as tar:
            try:
                for member in tar:
                    end = member.offset_data + -(-member.size // 512) * 512
                    tar.members = []  # type: ignore[attr-defined]  # it would remember them all
                    parts = _NAME.match(member.name)
                    if not member.isreg() or parts is None or parts[1].startswith("__"):
                        continue
                    if not keys or keys[-1] != parts[1]:
                        keys.append(parts[1])
                        first.append(len(places))
                    kinds.append(endings.setdefault(parts[2].lower(), len(endings)))
                    places.append((member.offset_data, member.size))
            except tarfile.TarError:
                cut = True
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error})") from None
    except tarfile.TarError as error:
        if length and _magic(path) == b"\x1f\x8b":
            raise BadInput(f"{path} is compressed, which allows no random access: gunzip it") from None
        raise _no_tar(path, f"{error}" if length else "it has 0 bytes") from None
    if end == 0 and length > tarfile.RECORDSIZE:  # a whole one without members is no larger
        raise _no_tar(path, "it begins with zeros")
    with path.open("rb") as file:
        file.seek(end)
        cut |= file.read(512) != bytes(512)  # a whole archive ends with blocks of zeros
    offsets, sizes = np.array(places, np.int64).reshape(-1, 2).T
    return ShardIndex(
        keys=_bytes(keys),
        first=np.array([*first, len(places)], np.int64),
        kinds=np.array(kinds, np.int64),
        endings=_bytes(endings),
        offsets=offsets,
        sizes=sizes,
        cut=np.array(cut),
    )


def _no_tar(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is not a tar file ({reason}): download it again, or remove it")


def _bytes(texts: Iterable[str]) -> npt.NDArray[np.bytes_]:
    return np.array([text.encode(errors="surrogateescape") for text in texts], dtype=np.bytes_)


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)
