"""Films of episodes: H.264 in MP4, which every browser plays, with a still picture for the page."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vla.interfaces import IMAGE_PREFIX

__all__ = ["POINT_COLORS", "draw_points", "film", "write_mp4"]

POINT_COLORS = ((255, 214, 10), (0, 200, 255))
"""RGB of the ring around where the policy says its target is, and its destination."""

FPS = 20
_EDGE = 0.02
_HOLD = 10  # frames for which the last picture stands still: half a second to see how it ended


def film(
    frames: Iterable[Mapping[str, Any]], points: Sequence[Any], folder: Path, name: str, fps: int = FPS
) -> str:
    """Write `folder`/`name`.mp4 and .jpg: all cameras side by side, with grounding points where given.

    frames: observations (LeRobot keys). points: one entry a frame, None or {camera: [target, destination]},
    each (x, y) in 0..1 of that camera's picture. Returns the name of the mp4.
    """
    pictures = []
    for step, frame in enumerate(frames):
        found = points[min(step, len(points) - 1)] if len(points) else None
        pictures.append(_compose(frame, found))
    folder.mkdir(parents=True, exist_ok=True)
    write_mp4(folder / f"{name}.mp4", pictures + pictures[-1:] * _HOLD, fps)
    Image.fromarray(pictures[-1]).save(folder / f"{name}.jpg", quality=80)
    return f"{name}.mp4"


def _compose(frame: Mapping[str, Any], points: Any) -> npt.NDArray[np.uint8]:
    views = []
    for key in frame:
        if key.startswith(IMAGE_PREFIX):
            view = np.asarray(frame[key], np.uint8)
            found = (points or {}).get(key.removeprefix(IMAGE_PREFIX))
            views.append(view if found is None else draw_points(view, found))
    return np.hstack(views)


def draw_points(picture: npt.NDArray[np.uint8], points: Sequence[Sequence[float]]) -> npt.NDArray[np.uint8]:
    """A copy of uint8 ``[H, W, 3]`` with rings at (x, y) in 0..1: target, then destination.

    Points at the picture's very edge are left out: that is where a model puts what it does not see.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    height, width = picture.shape[:2]
    radius = max(3.0, height / 36)
    for (x, y, *_), color in zip(points, POINT_COLORS, strict=False):
        if not (_EDGE < x < 1 - _EDGE and _EDGE < y < 1 - _EDGE):
            continue
        box = (x * width - radius, y * height - radius, x * width + radius, y * height + radius)
        draw.ellipse(box, outline=(20, 20, 20), width=4)  # a dark rim keeps the ring visible on any ground
        draw.ellipse(box, outline=color, width=2)
    return np.asarray(image)


def write_mp4(path: Path, pictures: Sequence[npt.NDArray[np.uint8]], fps: int) -> None:
    """Encode uint8 ``[H, W, 3]`` pictures (even sizes) whole, then give the file its name."""
    import av

    height, width = pictures[0].shape[:2]
    aside = path.with_name(f".{path.name}")
    try:
        with av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "24", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
            stream.codec_context.thread_count = 1
            for picture in pictures:
                even = np.ascontiguousarray(picture[: stream.height, : stream.width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            container.mux(stream.encode())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
