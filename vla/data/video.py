"""Pictures of a LeRobot dataset's videos: where each frame lies, and a decoder that goes to any of them.

Episodes lie in their files one after another; frame j of an episode is the picture that is shown at
``from_timestamp + j / fps`` seconds. A file whose pictures are not there, or not then, is refused in one
line.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.data.episodes import EpisodeDataset
from vla.data.video_index import VideoIndex, open_video, read_index
from vla.errors import BadInput
from vla.interfaces import IMAGE_PREFIX

__all__ = ["TOLERANCE", "VideoPlaces", "VideoReader", "decode_videos"]

TOLERANCE = 1e-4
"""Seconds by which a picture may miss its frame's time, as in LeRobot."""
OPEN = 64
"""Decoders that are kept open for the next request."""
_Ints = npt.NDArray[np.int64]
_Image = npt.NDArray[np.uint8]


class VideoPlaces:
    """Which picture of which file shows each frame of one camera. A file is looked into when first needed."""

    def __init__(self, dataset: EpisodeDataset, camera: str) -> None:
        self.dataset, self.key = dataset, IMAGE_PREFIX + camera
        self.shape = dataset.image_shape(camera)
        meta = dataset.episode_meta
        needed = [f"videos/{self.key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
        for name in needed:
            if name not in meta or not np.isfinite(meta[name].astype(np.float64)).all():
                raise BadInput(f"{dataset.root}/meta/episodes lacks column '{name}' or values in it")
        chunks, files, self._starts = (meta[name] for name in needed)
        pairs = np.stack([chunks, files], 1).astype(np.int64)
        unique, self.file_of_episode = np.unique(pairs, axis=0, return_inverse=True)
        self.files = [dataset.video_file(self.key, int(c), int(f)) for c, f in unique]
        dataset.video_files()  # all there
        self.file_of_frame = np.repeat(self.file_of_episode, np.diff(dataset.episode_bounds)[:, 0])
        self.picture = np.full(dataset.num_frames, -1, np.int64)
        """int64 [num_frames]: number of the picture in its file, from 0; -1 where not yet looked up."""
        self._indices: dict[int, VideoIndex] = {}
        self._lock = threading.Lock()

    def index(self, file: int) -> VideoIndex:
        """What `files[file]` holds, checked against all episodes that lie in it."""
        with self._lock:
            if file not in self._indices:
                index = read_index(self.files[file])
                for episode in np.flatnonzero(self.file_of_episode == file):
                    self._locate(int(episode), self.files[file], index)
                self._indices[file] = index
            return self._indices[file]

    def _locate(self, episode: int, path: Path, index: VideoIndex) -> None:
        first, last = self.dataset.episode_bounds[episode]
        wanted = float(self._starts[episode]) + np.arange(last - first) / self.dataset.fps
        times = index.seconds
        after = np.searchsorted(times, wanted).clip(0, len(times) - 1)
        before = np.maximum(after - 1, 0)
        found = np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted), before, after)
        late = np.abs(times[found] - wanted)
        if late.max() > TOLERANCE:
            frame = int(np.argmax(late > TOLERANCE))
            raise BadInput(
                f"{path}: frame {frame} of episode {episode} is due at {wanted[frame]:.4f} s, but "
                + (
                    f"the video ends before, at {times[-1]:.4f} s (truncated?); copy it again"
                    if wanted[frame] > times[-1]
                    else f"the nearest picture is at {times[found[frame]]:.4f} s; timestamps disagree with "
                    "fps in meta/info.json or from_timestamp in meta/episodes"
                )
            )
        self.picture[first:last] = found


class _Decoder:
    """One open file. It goes on from where it is, or starts at a keyframe, whichever is less to decode."""

    def __init__(self, path: Path, index: VideoIndex, shape: tuple[int, int, int]) -> None:
        self.path, self.index, self.shape = path, index, shape
        self._container, self._stream = open_video(path)
        self._frames: Iterator[Any] = iter(())
        self._at = len(index.pts)
        self._shown: _Image = np.zeros(0, np.uint8)

    def picture(self, number: int) -> _Image:
        """uint8 [height, width, 3]: the `number`-th picture."""
        import av

        if number == self._at:
            return self._shown
        index = self.index
        before = int(np.searchsorted(index.keys, number, side="right")) - 1
        key = int(index.keys[max(before, 0)])
        try:
            if not key <= self._at < number:
                self._container.seek(int(index.pts[key]), stream=self._stream, backward=True)
                self._frames = self._container.decode(self._stream)
            frame = next(self._frames)
            while frame.pts is None or frame.pts < index.pts[number]:
                frame = next(self._frames)
        except (av.FFmpegError, StopIteration) as error:
            reason = getattr(error, "strerror", None) or "it ends before"
            raise self._damaged(number, reason) from None
        if frame.pts != index.pts[number] or frame.is_corrupt:
            raise self._damaged(number, "its data are damaged")
        shown: _Image = frame.to_ndarray(format="rgb24")
        if shown.shape != self.shape:
            raise BadInput(
                f"{self.path}: its pictures have shape {list(shown.shape)}, not {list(self.shape)} as "
                "meta/info.json says"
            )
        self._at, self._shown = number, shown
        return shown

    def _damaged(self, number: int, reason: str) -> BadInput:
        self._at = len(self.index.pts)  # wherever it is: the next request starts at a keyframe
        at = self.index.seconds[number]
        return BadInput(
            f"dataset file cannot be decoded (truncated?): {self.path}: the picture at {at:.4f} s: {reason}; "
            "copy it again"
        )

    def close(self) -> None:
        self._container.close()


class VideoReader:
    """Pictures of one camera by frame number, from a few open decoders. Several threads may call it."""

    def __init__(self, dataset: EpisodeDataset, camera: str) -> None:
        self.places = VideoPlaces(dataset, camera)
        self._idle: OrderedDict[_Decoder, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, frames: _Ints, out: _Image) -> None:
        """Decode `frames` (int64 [B], rising) into `out`, uint8 [B, height, width, 3]."""
        files = self.places.file_of_frame[frames]
        for file in np.unique(files):
            self.places.index(int(file))
            rows = np.flatnonzero(files == file)
            decoder = self._take(int(file))
            for row in rows:
                out[row] = decoder.picture(int(self.places.picture[frames[row]]))
            self._give(decoder, int(file))

    def _take(self, file: int) -> _Decoder:
        with self._lock:
            for decoder, own in reversed(self._idle.items()):
                if own == file:
                    del self._idle[decoder]
                    return decoder
        places = self.places
        return _Decoder(places.files[file], places.index(file), places.shape)

    def _give(self, decoder: _Decoder, file: int) -> None:
        with self._lock:
            self._idle[decoder] = file
            old = self._idle.popitem(last=False)[0] if len(self._idle) > OPEN else None
        if old is not None:
            old.close()


def decode_videos(dataset: EpisodeDataset, camera: str) -> Iterator[_Image]:
    """All frames of one camera, uint8 [height, width, 3], in the dataset's frame order."""
    places = VideoPlaces(dataset, camera)
    opened, decoder = -1, None
    for frame, file in enumerate(places.file_of_frame.tolist()):
        if file != opened or decoder is None:
            if decoder is not None:
                decoder.close()
            decoder, opened = _Decoder(places.files[file], places.index(file), places.shape), file
        yield decoder.picture(int(places.picture[frame]))
