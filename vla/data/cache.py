"""Pictures decoded once into a flat uint8 file and mapped into memory: 48,000 pictures a second, not 1,000.

One file a camera: ``<dataset>/.cache/<key>-<camera>-<height>x<width>.u8`` (with a mark of an unusual way of
resizing before the dot) holds uint8 [rows, height, width, 3]; row r is frame ``r * every``. Beside it a
``.json`` with the shape and checksums of some rows is written last, so a cache without one was never
finished. The key hashes meta/info.json and the names and sizes of the data and video files: a changed dataset
gets a new cache, and the old one is removed. Of processes that start at once, one builds.
"""

import hashlib
import json
import mmap
import multiprocessing
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import batched, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration import ImageConfig
from vla.data.episodes import EpisodeDataset
from vla.data.lock import alone_in
from vla.data.stored_pictures import decode_picture
from vla.data.video import decode_videos
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["cache_key", "open_cache"]

CHECKED_ROWS = 64
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
    def note(self) -> Path:
        """What it holds, and checksums: written last."""
        return self.file.with_suffix(".json")

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
    if _is_whole(target, say):
        return _map(data, target.shape)
    workers = max(1, workers if workers is not None else len(os.sched_getaffinity(0)))
    with alone_in(folder, say) as alone:
        # Another process may have built it in the meantime: of all that start at once only one does.
        if not _is_whole(target, lambda line: None):
            if alone:
                for left in folder.glob(f"{data.stem}.*.tmp"):  # by a process that was killed
                    left.unlink(missing_ok=True)
            _build(dataset, camera, target, workers=workers)
            _remove_old(folder, key, camera, every)
    return _map(data, target.shape)


def _is_whole(target: _Target, say: Callable[[str], None]) -> bool:
    if not target.note.is_file():
        return False
    fault = _fault(target)
    if fault is not None:
        say(f"decoded cache {target.file} is damaged ({fault}); decoding again")
    return fault is None


def _map(path: Path, shape: tuple[int, ...]) -> _Images:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_WILLNEED)
    return np.frombuffer(mapped, dtype=np.uint8).reshape(shape)


def _checks(images: _Images) -> dict[str, int]:
    rows = np.unique(np.linspace(0, len(images) - 1, CHECKED_ROWS).astype(int))
    return {str(row): zlib.crc32(np.ascontiguousarray(images[row])) for row in rows}


def _fault(target: _Target) -> str | None:
    """What is wrong with a finished cache, or None."""
    if not target.file.is_file():
        return "file is missing"
    if target.file.stat().st_size != target.size:
        return f"{target.file.stat().st_size} bytes, not {target.size}"
    saved = _read_note(target.note)
    if saved is None:
        return "its note is not JSON"
    if saved.get("shape") != list(target.shape):
        return f"shape {saved.get('shape')}, not {list(target.shape)}"
    return None if saved.get("checks") == _checks(_map(target.file, target.shape)) else "checksum"


def _read_note(note: Path) -> dict[str, Any] | None:
    try:
        saved = json.loads(note.read_text())
    except ValueError:
        return None
    return saved if isinstance(saved, dict) else None


def _build(dataset: EpisodeDataset, camera: str, target: _Target, *, workers: int) -> None:
    data, note = target.file, target.note
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"  # two machines may have one process number
    scratch = replace(target, file=data.with_name(f"{data.name}.{mark}.tmp"))
    note_scratch = note.with_name(f"{note.name}.{mark}.tmp")
    try:
        with scratch.file.open("wb") as file:
            # reserve the space now: a full disk under a memory map would kill the process instead
            os.posix_fallocate(file.fileno(), 0, target.size)
        title = f"decoding {dataset.root.name} {camera}"
        with tqdm(total=dataset.num_frames, desc=title, unit=" frames", mininterval=1.0) as bar:
            if dataset.features[IMAGE_PREFIX + camera]["dtype"] == "video":
                for done in _write_rows(decode_videos(dataset, camera), count(), scratch):
                    bar.update(done)
            else:
                for done in _decode_files(dataset, camera, scratch, workers):
                    bar.update(done)
        checks = _checks(_map(scratch.file, target.shape))
        with scratch.file.open("rb") as file:
            os.fsync(file.fileno())
        note_scratch.write_text(
            json.dumps({"every": target.every, "shape": list(target.shape), "checks": checks})
        )
        os.replace(scratch.file, data)
        os.replace(note_scratch, note)
    except OSError as error:
        need = target.size / 1e9
        raise BadInput(
            f"cannot write the decoded cache {data} ({need:.2f} GB): {error.strerror}; make room, or read "
            "without it: reading.cache=false"
        ) from None
    finally:
        scratch.file.unlink(missing_ok=True)
        note_scratch.unlink(missing_ok=True)


def _decode_files(dataset: EpisodeDataset, camera: str, target: _Target, workers: int) -> Iterator[int]:
    """Decode all data files, several at once; yields the number of frames done each time."""
    jobs = [(str(dataset.root), camera, str(file), first, target) for file, first, _ in dataset.file_frames]
    if workers == 1 or len(jobs) == 1:
        yield from (_decode_file(*job) for job in jobs)
        return
    # spawn: a forked child could inherit a lock held by one of the parent's threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_one_thread) as pool:
        for future in as_completed([pool.submit(_decode_file, *job) for job in jobs]):
            yield future.result()


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: each process has one core


def _decode_file(root: str, camera: str, file: str, first: int, target: _Target) -> int:
    """Decode one data file's pictures into the target; returns how many frames it held."""
    path = Path(file)
    dataset = EpisodeDataset(root)
    encoded, size = dataset.encoded_images(path, camera), dataset.image_shape(camera)
    pictures = (decode_picture(data, path, frame, size) for frame, data in enumerate(encoded, start=first))
    return sum(_write_rows(pictures, count(first), target))


def _write_rows(pictures: Iterator[_Images], frames: Iterator[int], target: _Target) -> Iterator[int]:
    """Write pictures to their rows; yields how many were taken in so that progress can be shown."""
    rows = np.memmap(target.file, dtype=np.uint8, mode="r+", shape=target.shape)
    for block in batched(zip(pictures, frames, strict=False), BLOCK):
        kept = [(picture, frame // target.every) for picture, frame in block if frame % target.every == 0]
        if kept:
            first = kept[0][1]
            rows[first : first + len(kept)] = _resize(np.stack([p for p, _ in kept]), target)
        yield len(block)
    rows.flush()


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
        saved = _read_note(note) or {}  # a damaged one is of no use to anybody
        if not note.name.startswith(key) and saved.get("every", every) == every:
            note.unlink()
            note.with_suffix(".u8").unlink(missing_ok=True)
