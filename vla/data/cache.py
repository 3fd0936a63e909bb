"""Pictures decoded once into a flat uint8 file and mapped into memory: 48,000 pictures a second, not 1,000.

One file a camera: ``<dataset>/.cache/<key>-<camera>-<height>x<width>.u8`` (with a mark of an unusual way of
resizing before the dot) holds uint8 [rows, height, width, 3]; row r is frame ``r * every``. How it is known
to be whole is told in `vla.data.decoded_file`. The key hashes meta/info.json and the names and sizes of the
data and video files: a changed dataset gets a new cache, and the old one is removed. Of processes that start
at once, one checks or builds.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import batched, count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration import ImageConfig
from vla.data.decoded_file import mapped, read_note, remove, reserve, seal, untouched, whole, writing
from vla.data.episodes import EpisodeDataset
from vla.data.lock import alone_in
from vla.data.processes import in_processes
from vla.data.stored_pictures import decode_picture
from vla.data.video import decode_videos
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["cache_key", "open_cache"]

BLOCK = 64
"""Pictures resized and written at once."""
_Images = npt.NDArray[np.uint8]


def cache_key(dataset: EpisodeDataset, every: int) -> str:
    """16 hex digits that change whenever the dataset (or the choice of frames) does."""
    digest = hashlib.sha256((dataset.root / "meta" / "info.json").read_bytes())
    for file in dataset.data_files:
        digest.update(f"{file.relative_to(dataset.root)}:{file.stat().st_size}\n".encode())
    for video in dataset.video_files():
        digest.update(f"{video.relative_to(dataset.root)}:{video.stat().st_size}\n".encode())
    digest.update(f"every={every}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Target:
    """Where one camera's decoded pictures go: [rows, height, width, 3], resized as `image` says."""

    file: Path
    shape: tuple[int, int, int, int]
    every: int
    image: ImageConfig

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape))


def open_cache(
    dataset: EpisodeDataset,
    camera: str,
    size: int | None = None,
    *,
    image: ImageConfig | None = None,
    every: int = 1,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> _Images:
    """uint8 [rows, height, width, 3], read-only and mapped; decoded first where it is not there yet.

    size: side of the square pictures wanted, resized as `image` says; None for the stored size. every: keep
    each `every`-th frame. workers: processes that decode, None for one a core.
    """
    height, width, _ = stored = dataset.image_shape(camera)
    image, mark = image or ImageConfig(), ""
    if size is not None and (size, size) != stored[:2]:
        mark += "" if image.resize == "bilinear" else f"-{image.resize}"
        mark += "-letterbox" if image.fit == "letterbox" and height != width else ""
        height = width = size
    folder = dataset.root / ".cache"
    key = cache_key(dataset, every)
    data = folder / f"{key}-{camera}-{height}x{width}{mark}.u8"
    target = _Target(data, (-(-dataset.num_frames // every), height, width, 3), every, image)
    if not untouched(data, target.shape):
        with alone_in(folder, say) as alone:
            # Another process may have checked or built it in the meantime: of all that start at once one.
            if whole(data, say, target.shape) is None:
                if alone:
                    for left in folder.glob(f"*{data.stem}.*.tmp"):  # by a process that was killed
                        left.unlink(missing_ok=True)
                workers = max(1, workers if workers is not None else len(os.sched_getaffinity(0)))
                _build(dataset, camera, target, workers=workers)
                _remove_old(folder, key, camera, every)
    return mapped(data, target.shape, ahead=True)


def _build(dataset: EpisodeDataset, camera: str, target: _Target, *, workers: int) -> None:
    data = target.file
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"  # two machines may have one process number
    scratch = replace(target, file=data.with_name(f"{data.name}.{mark}.tmp"))
    try:
        reserve(scratch.file, target.size)
        title = f"decoding {dataset.root.name} {camera}"
        with tqdm(total=dataset.num_frames, desc=title, unit=" frames", mininterval=1.0) as bar:
            if dataset.features[IMAGE_PREFIX + camera]["dtype"] == "video":
                for done in _write_rows(decode_videos(dataset, camera), count(), scratch):
                    bar.update(done)
            else:
                jobs = [(str(file), first) for file, first, _ in dataset.file_frames]
                for done in in_processes(_decode_file, (str(dataset.root), camera, scratch), jobs, workers):
                    bar.update(done)
        seal(scratch.file, data, target.shape, {"every": target.every})
    except OSError as error:
        need = target.size / 1e9
        raise BadInput(
            f"cannot write the decoded cache {data} ({need:.2f} GB): {error.strerror}; make room, or read "
            "without it: reading.cache=false"
        ) from None
    finally:
        scratch.file.unlink(missing_ok=True)


def _decode_file(root: str, camera: str, target: _Target, job: tuple[str, int]) -> int:
    """Decode one data file's pictures into the target; returns how many frames it held."""
    path, first = Path(job[0]), job[1]
    dataset = EpisodeDataset(root)
    encoded, size = dataset.encoded_images(path, camera), dataset.image_shape(camera)
    pictures = (decode_picture(data, path, frame, size) for frame, data in enumerate(encoded, start=first))
    return sum(_write_rows(pictures, count(first), target))


def _write_rows(pictures: Iterator[_Images], frames: Iterator[int], target: _Target) -> Iterator[int]:
    """Write pictures to their rows; yields how many were taken in so that progress can be shown."""
    with writing(target.file, target.shape) as rows:
        for block in batched(zip(pictures, frames, strict=False), BLOCK):
            kept = [(picture, frame // target.every) for picture, frame in block if frame % target.every == 0]
            if kept:
                first = kept[0][1]
                rows[first : first + len(kept)] = _resize(np.stack([p for p, _ in kept]), target)
            yield len(block)


def _resize(pictures: _Images, target: _Target) -> _Images:
    """uint8 [B, height, width, 3], by the very function that resizes what the running robot sees."""
    if pictures.shape[1:3] == target.shape[1:3]:
        return pictures
    import torch

    from vla.data.pictures import sized

    return sized(torch.from_numpy(pictures), target.shape[1], target.image).numpy()


def _remove_old(folder: Path, key: str, camera: str, every: int) -> None:
    """Delete caches of earlier states of this dataset; other sizes of the present state stay."""
    for note in folder.glob(f"*-{camera}-*.json"):
        file = note.with_suffix(".u8")
        saved = read_note(file) or {}  # a damaged one is of no use to anybody
        if not note.name.startswith(key) and saved.get("every", every) == every:
            remove(file)
