"""Frames of a LeRobot dataset's video features, decoded in order with PyAV (optional)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["decode_videos"]

_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def decode_videos(dataset: EpisodeDataset, camera: str) -> Iterator[npt.NDArray[np.uint8]]:
    """All frames of one camera, uint8 [height, width, 3], in the dataset's frame order.

    Episodes lie in their video files one after another; each starts at ``from_timestamp`` seconds.
    """
    try:
        import av
    except ImportError:
        text = f"{dataset.root}: camera '{camera}' is stored as video; pip install av to read it"
        raise BadInput(text) from None
    key = IMAGE_PREFIX + camera
    meta = dataset.episode_meta
    needed = [f"videos/{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
    for name in needed:
        if name not in meta:
            raise BadInput(f"{dataset.root}/meta/episodes has no column '{name}'")
    chunks, files, starts = (meta[name] for name in needed)
    pattern = dataset.info.get("video_path") or _VIDEO_PATH
    opened: Path | None = None
    frames: Iterator[Any] = iter(())
    position = 0
    for episode, (first, last) in enumerate(dataset.episode_bounds):
        where = pattern.format(
            video_key=key, chunk_index=int(chunks[episode]), file_index=int(files[episode])
        )
        path = dataset.root / where
        if path != opened:
            if not path.is_file():
                raise BadInput(f"dataset file is missing: {path}")
            frames, opened, position = _open(path), path, 0
        wanted = round(float(starts[episode]) * dataset.fps)
        try:
            while position < wanted:
                next(frames)
                position += 1
            for _ in range(last - first):
                picture = next(frames).to_ndarray(format="rgb24")
                position += 1
                yield picture
        except StopIteration:
            raise BadInput(f"{path} ends before episode {episode} is complete (truncated?)") from None
        except av.FFmpegError as error:
            raise BadInput(f"dataset file cannot be decoded (truncated?): {path}: {error.strerror}") from None


def _open(path: Path) -> Iterator[Any]:
    import av

    try:
        return iter(av.open(str(path)).decode(video=0))
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", error)
        raise BadInput(f"dataset file cannot be decoded (truncated?): {path}: {reason}") from None
