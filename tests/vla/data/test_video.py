"""A dataset whose camera is stored as video: two episodes in one file, read through the same cache."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_episodes import write_dataset

from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.errors import BadInput

av = pytest.importorskip("av")
KEY = "observation.images.front"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Frame n of the video is uniformly grey, 15 * n."""
    root = write_dataset(tmp_path / "set", [6, 5], size=32)
    info = json.loads((root / "meta" / "info.json").read_text())
    info["features"][KEY]["dtype"] = "video"
    (root / "meta" / "info.json").write_text(json.dumps(info))
    file = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(file).drop_columns([KEY]), file)
    meta = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(meta)
    columns = {"chunk_index": [0, 0], "file_index": [0, 0], "from_timestamp": [0.0, 6 / 20]}
    for name, values in columns.items():
        table = table.append_column(f"videos/{KEY}/{name}", pa.array(values))
    pq.write_table(table, meta)
    video = root / f"videos/{KEY}/chunk-000/file-000.mp4"
    video.parent.mkdir(parents=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(20))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for n in range(11):
            picture = np.full((32, 32, 3), 15 * n, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return root


def test_frames_in_order(root: Path) -> None:
    images = open_cache(EpisodeDataset(root), "front", workers=1)
    assert images.shape == (11, 32, 32, 3)
    assert np.abs(images.mean((1, 2, 3)) - 15 * np.arange(11)).max() < 4


def test_missing_video_is_named(root: Path) -> None:
    video = root / f"videos/{KEY}/chunk-000/file-000.mp4"
    video.rename(video.with_suffix(".gone"))
    with pytest.raises(BadInput, match=r"missing: .*file-000\.mp4"):
        open_cache(EpisodeDataset(root), "front", workers=1)


def test_truncated_video_is_named(root: Path) -> None:
    video = root / f"videos/{KEY}/chunk-000/file-000.mp4"
    video.write_bytes(video.read_bytes()[:300])
    with pytest.raises(BadInput, match=r"file-000\.mp4"):
        open_cache(EpisodeDataset(root), "front", workers=1)
