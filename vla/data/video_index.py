"""Which pictures a video file holds, when each is shown and from which ones decoding can start.

None is decoded for that: an MP4 file says it in its ``moov`` box (ISO/IEC 14496-12), a few kilobytes that are
read in a millisecond. Other containers, and MP4 files of unusual build, are gone through packet by packet.

Legend: N pictures in the order in which they are shown, K of them keyframes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vla.errors import BadInput

__all__ = ["VideoIndex", "open_video", "read_index"]

_Ints = npt.NDArray[np.int64]
_Boxes = dict[bytes, list[bytes]]
_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


@dataclass(frozen=True)
class VideoIndex:
    """pts: int64 [N], in units of `unit` seconds, rising. keys: int64 [K], numbers of pictures, from 0."""

    pts: _Ints
    keys: _Ints
    unit: Fraction

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """float64 [N]: when each picture is shown."""
        return self.pts.astype(np.float64) * float(self.unit)


def open_video(path: Path) -> tuple[Any, Any]:
    """A PyAV container and its video stream, decoding with one thread. Raises BadInput naming the file."""
    import av

    if not path.is_file():
        raise BadInput(f"dataset file is missing: {path}; copy it again from where the dataset came from")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from None
    if not container.streams.video:
        container.close()
        raise BadInput(f"dataset file holds no video: {path}; copy it again")
    stream = container.streams.video[0]
    # Frames are wanted one by one: threads inside a decoder would only add delay.
    stream.codec_context.thread_count = 1
    # A damaged picture shall be an error, not a guess at what it may have shown.
    stream.codec_context.options = {"err_detect": "explode", "max_frame_delay": "1"}
    return container, stream


def read_index(path: Path) -> VideoIndex:
    """The pictures of a file. Raises BadInput for one that is missing, cut short or no video."""
    container, stream = open_video(path)
    with container:
        _check_length(path)
        pts, keys = _from_boxes(path, stream) or _from_packets(path, container, stream)
        unit = Fraction(stream.time_base)
    if len(pts) == 0 or len(keys) == 0:
        raise BadInput(f"dataset file holds no picture: {path}; copy it again")
    order = np.argsort(pts, kind="stable")
    place = np.empty(len(pts), np.int64)
    place[order] = np.arange(len(pts))
    return VideoIndex(pts[order], np.sort(place[keys]), unit)


def _unreadable(path: Path, error: Exception) -> BadInput:
    reason = getattr(error, "strerror", None) or str(error)
    return BadInput(f"dataset file cannot be decoded (truncated?): {path}: {reason}; copy it again")


def _boxes(raw: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The boxes that lie one after another in `raw`: (kind, content)."""
    view, at = memoryview(raw), 0
    while at + 8 <= len(view):
        size, kind = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", view, at + 8), 16
        size = size or len(view) - at
        if size < head:
            return
        yield kind, view[at + head : at + size]
        at += size


def _top(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of a file: (kind, where the content starts, where the box ends)."""
    whole, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= whole:
            file.seek(at)
            raw = file.read(16).ljust(16, b"\0")
            size, kind, large = struct.unpack(">I4sQ", raw)
            head = 16 if size == 1 else 8
            size = {0: whole - at, 1: large}.get(size, size)
            if size < head or not kind.isascii():
                return
            yield kind, at + head, at + size
            at += size


def _check_length(path: Path) -> None:
    kinds = []
    for kind, _, end in _top(path):
        kinds.append(kind)
        if kinds[0] == b"ftyp" and end > path.stat().st_size:
            raise BadInput(
                f"dataset file is truncated: {path} has {path.stat().st_size} bytes of {end}; copy it again"
            )


def _from_boxes(path: Path, stream: Any) -> tuple[_Ints, _Ints] | None:
    """pts int64 [N] and keyframes int64 [K], in the order in which they are stored; None where the file is
    not of the plain kind that this understands."""
    found = next(((start, end) for kind, start, end in _top(path) if kind == b"moov"), None)
    if found is None or stream.start_time is None:
        return None
    with path.open("rb") as file:
        file.seek(found[0])
        moov = file.read(found[1] - found[0])
    tracks = [dict(_flat(content)) for kind, content in _boxes(moov) if kind == b"trak"]
    tracks = [track for track in tracks if track.get(b"hdlr", b"")[8:12] == b"vide"]
    if len(tracks) != 1 or any(kind == b"mvex" for kind, _ in _boxes(moov)):
        return None
    boxes = tracks[0]
    if b"stts" not in boxes or (b"elst" in boxes and _number(boxes[b"elst"], 4) > 1):
        return None
    length = np.repeat(*_table(boxes[b"stts"])[:, ::-1].T)  # runs of (count, length)
    pts = np.cumsum(length) - length
    if b"ctts" in boxes:  # pictures that are shown in another order than they are stored in
        late = np.repeat(*_table(boxes[b"ctts"])[:, ::-1].T).astype(np.int32)  # may be below 0
        if len(late) != len(pts):
            return None
        pts = pts + late
    if len(pts) == 0 or len(pts) != stream.frames or len(np.unique(pts)) != len(pts):
        return None
    keys = _table(boxes[b"stss"], 1)[:, 0] - 1 if b"stss" in boxes else np.arange(len(pts))
    return pts - pts.min() + stream.start_time, keys


def _flat(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    for kind, inner in _boxes(content):
        if kind in _NESTED:
            yield from _flat(inner)
        else:
            yield kind, inner


def _number(box: memoryview, at: int) -> int:
    return int(struct.unpack_from(">I", box, at)[0])


def _table(box: memoryview, columns: int = 2) -> _Ints:
    """int64 [entries, columns] of a box that holds flags, the number of entries and then these."""
    entries = _number(box, 4)
    return np.frombuffer(box, ">u4", entries * columns, 8).reshape(entries, columns).astype(np.int64)


def _from_packets(path: Path, container: Any, stream: Any) -> tuple[_Ints, _Ints]:
    import av

    pts: list[int] = []
    keys: list[int] = []
    try:
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            if packet.is_keyframe:
                keys.append(len(pts))
            pts.append(packet.pts)
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from None
    return np.array(pts, np.int64), np.array(keys, np.int64)
