"""Pictures of a dataset by row number: out of the decoded cache, or decoded each time they are asked for.

Both give the same bytes: the same decoders, and resized by the same function. Without the cache nothing is
written and nothing has to be built first, but each picture costs its decoding each time.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vla.configuration import ImageConfig
from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.images import host_images
from vla.data.stored_pictures import StoredReader
from vla.data.video import VideoReader
from vla.interfaces import IMAGE_PREFIX

__all__ = ["Rows", "open_pictures"]

_Ints = npt.NDArray[np.int64]
_Images = npt.NDArray[np.uint8]


class Rows(Protocol):
    """uint8 pictures by row: int64 [B] or [B, V] -> [*rows.shape, height, width, 3]."""

    def __call__(self, rows: _Ints) -> _Images: ...


class _Reader(Protocol):
    def read(self, frames: _Ints, out: _Images) -> None: ...


class _Decoded:
    """Decodes what is asked for; a picture that is asked for twice at once is decoded once."""

    def __init__(
        self, reader: _Reader, shape: tuple[int, int, int], size: int | None, image: ImageConfig, every: int
    ) -> None:
        self.reader, self.shape, self.size, self.image, self.every = reader, shape, size, image, every
        self.workers = 1
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, rows: _Ints) -> _Images:
        frames, back = np.unique(rows.reshape(-1) * self.every, return_inverse=True)
        pictures: _Images = np.empty((len(frames), *self.shape), np.uint8)
        # Neighbours stay together: a video's pictures are decoded from the keyframe before them.
        parts = np.array_split(np.arange(len(frames)), min(self.workers, max(len(frames), 1)))
        if len(parts) == 1:
            self.reader.read(frames, pictures)
        else:
            self._pool = self._pool or ThreadPoolExecutor(self.workers, "pictures")
            jobs = [
                self._pool.submit(self.reader.read, frames[part], pictures[part[0] : part[-1] + 1])
                for part in parts
            ]
            for job in jobs:
                job.result()
        pictures = self._resized(pictures)
        if len(frames) == rows.size and (np.diff(back) > 0).all():
            return pictures.reshape(*rows.shape, *pictures.shape[1:])
        return pictures[back].reshape(*rows.shape, *pictures.shape[1:])

    def _resized(self, pictures: _Images) -> _Images:
        if self.size is None or pictures.shape[1:3] == (self.size, self.size):
            return pictures
        import torch

        from vla.data.pictures import sized

        return sized(torch.from_numpy(pictures), self.size, self.image).numpy()


def open_pictures(
    dataset: EpisodeDataset,
    camera: str,
    size: int | None = None,
    *,
    image: ImageConfig | None = None,
    every: int = 1,
    workers: int | None = None,
    cached: bool = True,
) -> Rows:
    """Pictures of one camera by row; row r is frame ``r * every``.

    size: side of the square pictures wanted, resized as `image` says; None for the stored size. workers:
    processes that build the cache, or threads that decode a request without it; None for one a core.
    cached: whether all are decoded once into ``.cache`` and mapped (see `vla.data.cache`), or as asked for.
    Raises BadInput naming the file that is missing or damaged, the latest when its pictures are asked for.
    """
    if cached:
        return host_images(open_cache(dataset, camera, size, image=image, every=every, workers=workers))
    shape = dataset.image_shape(camera)
    video = dataset.features[IMAGE_PREFIX + camera]["dtype"] == "video"
    reader: _Reader = VideoReader(dataset, camera) if video else StoredReader(dataset, camera)
    found = _Decoded(reader, shape, size, image or ImageConfig(), every)
    found.workers = max(1, workers if workers is not None else len(os.sched_getaffinity(0)))
    return found
