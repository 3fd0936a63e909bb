"""Turns a camera of a small invented dataset into video, as LeRobot stores it: all episodes in one file."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CODECS = {
    "av1": ("libsvtav1", {"g": "2", "crf": "30", "preset": "12"}),  # as LeRobot writes it
    "h264": ("libx264", {"g": "7", "bf": "2", "crf": "20"}),  # pictures stored in another order than shown
    "mpeg4": ("mpeg4", {}),
}


def moving(count: int, size: int = 64) -> list[np.ndarray]:
    """Pictures that all differ: a bright bar that moves over grey that grows lighter."""
    found = []
    for n in range(count):
        picture = np.full((size, size, 3), 20 + 10 * (n % 21), np.uint8)
        picture[:, (3 * n) % size : (3 * n) % size + 6] = (250, 40, 10)
        found.append(picture)
    return found


def encode(path: Path, pictures: Sequence[np.ndarray], codec: str = "av1", fps: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    name, options = CODECS[codec]
    height, width, _ = pictures[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def make_video(root: Path, camera: str = "front", codec: str = "av1", size: int = 64) -> Path:
    """Replace a camera's pictures by a video of `moving` ones; returns the file."""
    key = f"observation.images.{camera}"
    info = json.loads((root / "meta" / "info.json").read_text())
    info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    info["features"][key] |= {"dtype": "video", "shape": [size, size, 3]}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    file = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(file).drop_columns([key]), file)
    meta = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(meta)
    starts = np.cumsum([0, *table["length"].to_pylist()])
    columns = {
        "chunk_index": [0] * len(table),
        "file_index": [0] * len(table),
        "from_timestamp": (starts[:-1] / info["fps"]).tolist(),
        "to_timestamp": (starts[1:] / info["fps"]).tolist(),
    }
    for name, values in columns.items():
        table = table.append_column(f"videos/{key}/{name}", pa.array(values))
    pq.write_table(table, meta)
    video = root / f"videos/{key}/chunk-000/file-000.mp4"
    encode(video, moving(int(starts[-1]), size), codec, info["fps"])
    return video
