"""Pictures with and without the cache are the same bytes, in any order, size and shape of the request."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_episodes import write_dataset
from synthetic_video import make_video

from vla.configuration import ImageConfig
from vla.data.batches import ChunkData, Source
from vla.data.episodes import EpisodeDataset
from vla.data.pictures_source import Rows, open_pictures
from vla.data.stored_pictures import KEPT
from vla.errors import BadInput

LENGTHS = [6, 1, 12]
FRAMES = sum(LENGTHS)


@pytest.fixture(scope="module", params=["image", "av1", "h264"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("set") / "set", LENGTHS, size=64, width=64)
    if request.param != "image":
        make_video(root, codec=request.param)
    return root


@pytest.fixture(
    scope="module", params=[(None, "bilinear", 1, 1), (24, "bicubic", 1, 3), (24, "bilinear", 4, 2)]
)
def pair(root: Path, request: pytest.FixtureRequest) -> tuple[Rows, Rows, int]:
    size, resize, every, workers = request.param
    data, image = EpisodeDataset(root), ImageConfig(resize=resize)
    found = [
        open_pictures(data, "front", size, image=image, every=every, workers=workers, cached=cached)
        for cached in (True, False)
    ]
    return found[0], found[1], -(-FRAMES // every)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_equal_with_and_without_cache(pair: tuple[Rows, Rows, int], data: st.DataObject) -> None:
    cached, anew, count = pair
    batch, views = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 3))
    rows = np.array(
        data.draw(st.lists(st.integers(0, count - 1), min_size=batch * views, max_size=batch * views))
    )
    rows = rows.reshape((batch, views) if data.draw(st.booleans()) else (-1,))
    wanted, found = cached(rows), anew(rows)
    assert found.dtype == np.uint8 and found.shape == (*rows.shape, *wanted.shape[-3:])
    np.testing.assert_array_equal(found, wanted)


def test_several_threads_may_ask_at_once(root: Path) -> None:
    data = EpisodeDataset(root)
    cached, anew = (open_pictures(data, "front", cached=c, workers=2) for c in (True, False))
    requests = [np.random.default_rng(i).integers(0, FRAMES, 8) for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        for rows, found in zip(requests, pool.map(anew, requests), strict=True):
            np.testing.assert_array_equal(found, cached(rows))


def test_a_batch_gathers_from_either(root: Path) -> None:
    data = EpisodeDataset(root)
    chunks = ChunkData([Source(data)], horizon=4)
    frames = np.array([18, 0, 6, 5])
    batches = [
        chunks.gather(frames, {"front": [open_pictures(data, "front", 16, cached=cached, workers=1)]})
        for cached in (True, False)
    ]
    np.testing.assert_array_equal(batches[0]["images"]["front"], batches[1]["images"]["front"])


def test_few_bytes_are_kept_where_few_may(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = EpisodeDataset(root)
    cached, anew = (open_pictures(data, "wrist", cached=c, workers=1) for c in (True, False))
    KEPT.clear()
    monkeypatch.setattr(KEPT, "limit", 20_000)
    for rows in np.random.default_rng(0).integers(0, FRAMES, (6, 4)):
        np.testing.assert_array_equal(anew(rows), cached(rows))
    assert len(KEPT._columns) == 1
    KEPT.clear()
    assert KEPT.held == 0


def _replace(root: Path, cells: list[dict[str, object]]) -> None:
    file, name = root / "data/chunk-000/file-000.parquet", "observation.images.front"
    table = pq.read_table(file)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array(cells, table.schema.field(place).type)), file)


@pytest.mark.parametrize(("data", "line"), [(b"text", "cannot be decoded"), (None, "no picture bytes")])
def test_a_picture_that_is_none_is_named(tmp_path: Path, data: bytes | None, line: str) -> None:
    root = write_dataset(tmp_path / "set", [3, 4])
    file = root / "data/chunk-000/file-000.parquet"
    cells = pq.read_table(file)["observation.images.front"].to_pylist()
    cells[5]["bytes"] = data
    _replace(root, cells)
    anew = open_pictures(EpisodeDataset(root), "front", cached=False, workers=1)
    assert anew(np.array([0, 4])).shape == (2, 16, 16, 3)
    with pytest.raises(BadInput, match=line) as caught:
        anew(np.array([0, 5]))
    assert "file-000.parquet" in str(caught.value) and "frame 5" in str(caught.value)


def test_an_unknown_camera_is_named(tmp_path: Path) -> None:
    data = EpisodeDataset(write_dataset(tmp_path / "set", [3]))
    with pytest.raises(BadInput, match=r"no camera 'frint'.*front"):
        open_pictures(data, "frint", cached=False)


@pytest.mark.slow
def test_lerobot_gives_the_same_pictures(root: Path) -> None:
    datasets = pytest.importorskip("lerobot.datasets")
    theirs = datasets.LeRobotDataset("some/name", root=root, return_uint8=True)
    video = json.loads((root / "meta/info.json").read_text())["features"]["observation.images.front"]["dtype"]
    ours = open_pictures(EpisodeDataset(root), "front", cached=False, workers=1)(np.arange(FRAMES))
    for frame in range(FRAMES):
        picture = theirs[frame]["observation.images.front"].permute(1, 2, 0).numpy()
        whole = picture if video == "video" else (picture * 255).round().astype(np.uint8)
        np.testing.assert_array_equal(ours[frame], whole)
