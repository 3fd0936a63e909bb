"""Which frames of a dataset are replayed, and their pictures."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from vla.data.batches import ChunkData
from vla.data.episodes import EpisodeDataset
from vla.data.video import VideoReader
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["Draw", "FrameReader", "draw_frames"]

_Ints = npt.NDArray[np.int64]

EACH = 8
"""Frames of an episode that is not replayed whole, at least."""


@dataclass(frozen=True)
class Draw:
    """One episode. start: its first frame. frames: int64 [n], those to replay, rising. whole: they follow one
    another without a gap (and can be drawn as curves)."""

    episode: int
    start: int
    frames: _Ints
    whole: bool


def draw_frames(data: ChunkData, frames: int, seed: int, whole: int) -> list[Draw]:
    """About `frames` valid ones of one dataset: the first `whole` episodes drawn step by step, from their
    start and with half of the frames at most, then 8 frames each of as many further ones as it takes, or
    more where there are few episodes."""
    rng = np.random.default_rng(seed)
    draws: list[Draw] = []
    left, long = frames, max(EACH, frames // 2 // max(whole, 1))
    starts = np.unique(data.start[data.valid])
    each = max(EACH, -(-(frames - whole * long) // max(len(starts) - whole, 1)))
    for number in rng.permutation(len(starts)):
        start = int(starts[number])
        own = np.arange(start, int(data.end[start]))
        own = own[data.valid[own]]
        chosen = own[:long] if len(draws) < whole else np.sort(rng.permutation(own)[:each])
        chosen = chosen[:left]
        left -= len(chosen)
        draws.append(Draw(int(number), start, chosen, bool((np.diff(chosen) == 1).all()) and len(chosen) > 1))
        if left == 0:
            break
    return draws


class FrameReader:
    """Single pictures of one camera as they were stored, without decoding the rest."""

    def __init__(self, dataset: EpisodeDataset, camera: str) -> None:
        self.dataset, self.camera = dataset, camera
        self.shape = dataset.image_shape(camera)
        is_video = dataset.features[IMAGE_PREFIX + camera]["dtype"] == "video"
        self._video = VideoReader(dataset, camera) if is_video else None
        self._group: tuple[int, int, list[bytes | None]] = (0, 0, [])

    def read(self, frame: int) -> npt.NDArray[np.uint8]:
        """uint8 [height, width, 3]."""
        if self._video is not None:
            out = np.empty((1, *self.shape), np.uint8)
            self._video.read(np.array([frame]), out)
            return out[0]
        first, end, pictures = self._group
        if not first <= frame < end:
            first, _, pictures = self._group = self._read_group(frame)
        encoded = pictures[frame - first]
        try:
            picture = np.asarray(Image.open(io.BytesIO(encoded or b"")).convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise BadInput(f"{self._where(frame)}: the picture cannot be decoded: {error}") from None
        if picture.shape != self.shape:
            raise BadInput(
                f"{self._where(frame)}: the picture has shape {list(picture.shape)}, not {list(self.shape)} "
                "as meta/info.json says"
            )
        return picture

    def _where(self, frame: int) -> str:
        return f"{self.dataset.root}: camera '{self.camera}', {self.dataset.where(frame)}"

    def _read_group(self, frame: int) -> tuple[int, int, list[bytes | None]]:
        """The row group of a parquet file that holds a frame: (first frame, one past the last, pictures)."""
        path, first, _ = next(span for span in self.dataset.file_frames if span[1] <= frame < span[2])
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                if frame < end:
                    break
                first = end
            column = file.read_row_group(group, columns=[IMAGE_PREFIX + self.camera]).column(0)
        return first, end, [(cell.as_py() or {}).get("bytes") for cell in column]
