"""Several videos put one after another into one file, their compressed pictures copied as they are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vla.data.video_index import open_video, read_index
from vla.errors import BadInput

__all__ = ["Clip", "join", "look_at"]


@dataclass(frozen=True)
class Clip:
    """One episode's video. frames: pictures of it that count, from the first. start: the first one's pts.
    kind: videos of one kind can follow each other in one file."""

    path: Path
    frames: int
    start: int
    kind: tuple[Any, ...]


def look_at(path: Path, frames: int, fps: int) -> Clip:
    """What there is. Raises BadInput for a video that is missing, damaged, too short, or of another rate."""
    index = read_index(path)
    if len(index.pts) != frames:
        raise BadInput(
            f"{path} holds {len(index.pts)} pictures, its episode {frames} frames (meta/episodes.jsonl); "
            "copy it again, or take the episode out"
        )
    seconds = index.seconds - index.seconds[0]
    if abs(seconds[-1] - (frames - 1) / fps) > 1e-3:
        raise BadInput(
            f"{path}: its last picture is {seconds[-1]:.3f} s after the first, where {fps} fps of "
            f"meta/info.json ask for {(frames - 1) / fps:.3f} s; correct fps, or encode it again at that rate"
        )
    container, stream = open_video(path)
    with container:
        context = stream.codec_context
        kind = (
            context.name,
            context.width,
            context.height,
            context.pix_fmt,
            bytes(context.extradata or b""),
            Fraction(stream.time_base),
        )
    return Clip(path, frames, int(index.pts[0]), kind)


def join(clips: Sequence[Clip], target: Path, fps: int) -> None:
    """Write `target`: clip i begins at (pictures before it) / `fps` seconds. All clips are of one kind."""
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.tmp.mp4")
    try:
        with av.open(str(aside), "w", options={"movflags": "faststart"}) as output:
            written: Any = None
            last: int | None = None
            done = 0
            for clip in clips:
                container, stream = open_video(clip.path)
                with container:
                    if written is None:
                        written = output.add_stream_from_template(stream, opaque=True)
                        written.time_base = stream.time_base
                    late = round(Fraction(done, fps) / Fraction(stream.time_base)) - clip.start
                    for packet in container.demux(stream):
                        if packet.dts is None:
                            continue
                        packet.pts += late
                        # A clip may be decoded less ahead than the next: the order must be kept all the same.
                        dts = packet.dts + late
                        last = packet.dts = dts if last is None else max(dts, last + 1)
                        packet.stream = written
                        output.mux(packet)
                done += clip.frames
        os.replace(aside, target)
    except av.FFmpegError as error:
        raise BadInput(f"cannot put {clips[0].path} and others into {target}: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)
