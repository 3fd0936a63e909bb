"""A dataset whose camera is stored as video: several episodes in one file, in order and at random."""

import json
import shutil
import struct
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_episodes import write_dataset
from synthetic_video import CODECS, encode, make_video, moving

from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.pictures_source import open_pictures
from vla.data.video_index import _from_boxes, _from_packets, open_video, read_index
from vla.errors import BadInput

LENGTHS = [6, 1, 12]
FRAMES = sum(LENGTHS)


@pytest.fixture(scope="module", params=CODECS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("video") / "set", LENGTHS)
    make_video(root, codec=request.param)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = write_dataset(tmp_path / "set", LENGTHS)
    make_video(root)
    return root


def _video(root: Path) -> Path:
    return root / "videos/observation.images.front/chunk-000/file-000.mp4"


def _line(root: Path, cached: bool) -> str:
    with pytest.raises(BadInput) as caught:
        rows = np.arange(FRAMES)
        open_pictures(EpisodeDataset(root), "front", cached=cached, workers=1)(rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


both = pytest.mark.parametrize("cached", [True, False])


def test_frames_in_order(made: Path) -> None:
    images = open_cache(EpisodeDataset(made), "front", workers=1)
    assert images.shape == (FRAMES, 64, 64, 3)
    wanted = np.stack(moving(FRAMES)).astype(int)
    away = np.abs(images[:, None] - wanted[None]).mean((2, 3, 4))
    assert np.abs(away.argmin(1) - np.arange(FRAMES)).max() <= 1  # what is encoded is not quite what is seen
    with av.open(str(_video(made))) as plain:
        for shown, frame in zip(images, plain.decode(video=0), strict=True):
            np.testing.assert_array_equal(shown, frame.to_ndarray(format="rgb24"))


def test_the_boxes_say_what_the_packets_say(made: Path) -> None:
    container, stream = open_video(_video(made))
    with container:
        boxes, packets = _from_boxes(_video(made), stream), _from_packets(_video(made), container, stream)
    assert boxes is not None
    for mine, theirs in zip(boxes, packets, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    index = read_index(_video(made))
    np.testing.assert_allclose(index.seconds, np.arange(FRAMES) / 20, atol=1e-9)
    assert index.keys[0] == 0


@both
def test_missing_video_is_named(root: Path, cached: bool) -> None:
    _video(root).rename(root / "gone.mp4")
    text = _line(root, cached)
    assert "missing" in text and "file-000.mp4" in text and "copy" in text


@both
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_a_video_cut_short_is_named(root: Path, cached: bool, keep: float) -> None:
    raw = _video(root).read_bytes()
    _video(root).write_bytes(raw[: int(keep * len(raw))])
    text = _line(root, cached)
    assert "file-000.mp4" in text and "truncated" in text and "copy" in text


@both
def test_a_video_cut_short_behind_its_index_is_named(root: Path, cached: bool) -> None:
    """As downloads leave it where the index comes first: it opens, and half of the pictures are there."""
    fast = root / "fast.mp4"
    with (
        av.open(str(_video(root))) as read,
        av.open(str(fast), "w", options={"movflags": "faststart"}) as write,
    ):
        stream = write.add_stream_from_template(read.streams.video[0], opaque=True)
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                write.mux(packet)
    raw = fast.read_bytes()
    _video(root).write_bytes(raw[: len(raw) - 400])
    assert "truncated" in _line(root, cached)


@both
def test_a_damaged_picture_is_no_picture(root: Path, cached: bool) -> None:
    make = _video(root)
    encode(make, [p + np.random.default_rng(i).integers(0, 9, p.shape, np.uint8) for i, p in
                  enumerate(moving(FRAMES))], "h264")  # fmt: skip
    raw = bytearray(make.read_bytes())
    at = raw.index(b"mdat") + 2000
    raw[at : at + 3000] = bytes(3000)
    make.write_bytes(raw)
    assert "file-000.mp4" in _line(root, cached)


@both
def test_a_video_with_too_few_pictures_is_named(root: Path, cached: bool) -> None:
    encode(_video(root), moving(FRAMES - 4))
    text = _line(root, cached)
    assert "episode 2" in text and "ends before" in text and "file-000.mp4" in text


@both
def test_a_video_of_another_rate_is_named(root: Path, cached: bool) -> None:
    encode(_video(root), moving(2 * FRAMES), fps=25)
    text = _line(root, cached)
    assert "frame 1 of episode 0" in text and "fps" in text


@both
def test_episodes_that_begin_between_pictures_are_named(root: Path, cached: bool) -> None:
    meta = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(meta)
    name = "videos/observation.images.front/from_timestamp"
    starts = table[name].to_numpy().copy()
    starts[1] += 0.01
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(starts)), meta)
    assert "episode 1" in _line(root, cached)


@both
def test_pictures_of_another_size_than_info_says(root: Path, cached: bool) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.images.front"]["shape"] = [32, 32, 3]
    path.write_text(json.dumps(info))
    assert "[64, 64, 3], not [32, 32, 3]" in _line(root, cached)


def test_another_video_makes_another_cache(root: Path) -> None:
    before = open_cache(EpisodeDataset(root), "front", workers=1).copy()
    encode(_video(root), [255 - picture for picture in moving(FRAMES)])
    after = open_cache(EpisodeDataset(root), "front", workers=1)
    assert np.abs(before.astype(int) - after).mean() > 50


def test_boxes_of_any_kind_do_no_harm(root: Path) -> None:
    """A file that only looks like one is refused; a box of size 0 or of 64 bits is walked over."""
    raw = _video(root).read_bytes()
    extra = struct.pack(">I4sQ", 1, b"free", 24) + bytes(8)
    _video(root).write_bytes(raw + extra)
    assert len(read_index(_video(root)).pts) == FRAMES
    _video(root).write_bytes(b"not a video at all")
    with pytest.raises(BadInput, match="file-000"):
        read_index(_video(root))
    shutil.rmtree(_video(root).parent)
    with pytest.raises(BadInput, match="missing"):
        read_index(_video(root))
