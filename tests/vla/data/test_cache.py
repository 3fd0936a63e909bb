import errno
import io
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from synthetic_episodes import write_dataset

from vla.configuration import ImageConfig
from vla.data import cache, decoded_file
from vla.data.cache import open_cache
from vla.data.episodes import EpisodeDataset
from vla.data.pictures import sized
from vla.encoders.image import resize
from vla.errors import BadInput


@pytest.fixture
def data(tmp_path: Path) -> EpisodeDataset:
    return EpisodeDataset(write_dataset(tmp_path / "set", [6, 5]))


def _stored(data: EpisodeDataset, camera: str) -> list[np.ndarray]:
    cells = pq.read_table(data.data_files[0])[f"observation.images.{camera}"].to_pylist()
    return [np.asarray(Image.open(io.BytesIO(cell["bytes"]))) for cell in cells]


def test_equals_the_stored_pictures(data: EpisodeDataset) -> None:
    for camera in data.cameras:
        images = open_cache(data, camera, workers=1)
        assert images.shape == (11, 16, 16, 3)
        np.testing.assert_array_equal(images, _stored(data, camera))


def test_size_and_every(data: EpisodeDataset) -> None:
    images = open_cache(data, "front", size=8, every=3, workers=1)
    stored = torch.from_numpy(np.stack(_stored(data, "front")[::3]))
    np.testing.assert_array_equal(images, resize(stored, 8))  # as the running model resizes


def test_the_ways_of_resizing_do_not_share_a_file(data: EpisodeDataset) -> None:
    stored = torch.from_numpy(np.stack(_stored(data, "front")))
    for image in (ImageConfig(), ImageConfig(resize="bicubic")):
        for _ in range(2):
            images = open_cache(data, "front", size=12, image=image, workers=1)
            np.testing.assert_array_equal(images, sized(stored, 12, image))
    assert len(list((data.root / ".cache").glob("*front-12x12*.u8"))) == 2


def test_is_built_once_and_read_only(data: EpisodeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    open_cache(data, "front", workers=1)
    monkeypatch.setattr("vla.data.cache._build", lambda *a, **k: pytest.fail("built twice"))
    images = open_cache(data, "front")
    with pytest.raises(ValueError):
        images[0] = 0


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "note"])
def test_damage_is_found_and_mended(data: EpisodeDataset, damage: str) -> None:
    before = open_cache(data, "front", workers=1).copy()
    file = next((data.root / ".cache").glob("*front*.u8"))
    if damage == "truncate":
        os.truncate(file, 1000)
    elif damage == "remove":
        file.unlink()
    elif damage == "note":
        file.with_suffix(".json").write_text("{")
    else:
        raw = bytearray(file.read_bytes())
        raw[5000] ^= 255
        file.write_bytes(raw)
    said: list[str] = []
    after = open_cache(data, "front", workers=1, say=said.append)
    np.testing.assert_array_equal(after, before)
    assert len(said) == 1 and "damaged" in said[0]


def test_what_an_earlier_version_kept_is_decoded_once_more(data: EpisodeDataset) -> None:
    before = open_cache(data, "front", workers=1).copy()
    [note] = (data.root / ".cache").glob("*.json")
    note.write_text(json.dumps({"every": 1, "shape": list(before.shape), "checks": {}}))
    said: list[str] = []
    for _ in range(2):
        np.testing.assert_array_equal(open_cache(data, "front", workers=1, say=said.append), before)
    assert len(said) == 1 and "earlier version" in said[0] and "decoding again" in said[0]


def test_an_untouched_cache_is_mapped_without_reading_it(
    data: EpisodeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_cache(data, "front", workers=1)
    monkeypatch.setattr(decoded_file, "_read", lambda *_: pytest.fail("read again"))
    open_cache(data, "front", workers=1, say=pytest.fail)


def test_new_episodes_make_a_new_cache(data: EpisodeDataset) -> None:
    open_cache(data, "front", workers=1)
    write_dataset(data.root, [4], first=2)
    grown = EpisodeDataset(data.root)
    assert open_cache(grown, "front", workers=1).shape[0] == 15
    assert len(list((data.root / ".cache").glob("*front*"))) == 3  # pictures, note and stamp


def _open_and_count(root: str, barrier: Any, built: Any, sums: Any) -> None:
    """In a process of its own: open at the same moment as the others, slowly."""
    inner = cache._build

    def build(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.3)
        inner(*args, **kwargs)
        built.put(os.getpid())

    cache._build = build
    barrier.wait()
    images = open_cache(EpisodeDataset(root), "front", workers=1, say=lambda line: None)
    sums.put(int(images.astype(np.int64).sum()))


def test_of_processes_that_start_at_once_one_builds(data: EpisodeDataset) -> None:
    fork = multiprocessing.get_context("fork")
    barrier, built, sums = fork.Barrier(3), fork.Queue(), fork.Queue()
    started = [
        fork.Process(target=_open_and_count, args=(str(data.root), barrier, built, sums)) for _ in range(3)
    ]
    for process in started:
        process.start()
    found = [sums.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    assert len(set(found)) == 1
    built.get(timeout=5)
    assert built.empty()
    assert sorted(path.suffix for path in (data.root / ".cache").iterdir()) == [".json", ".stamp", ".u8"]


def test_a_cache_of_another_resolution_is_not_taken(data: EpisodeDataset) -> None:
    small = open_cache(data, "front", size=8, workers=1).copy()
    assert open_cache(data, "front", size=12, workers=1).shape == (11, 12, 12, 3)
    file = next((data.root / ".cache").glob("*front-8x8.u8"))
    for suffix in (".u8", ".json"):  # by hand under another's name
        file.with_suffix(suffix).replace(next((data.root / ".cache").glob(f"*front-12x12{suffix}")))
    said: list[str] = []
    assert open_cache(data, "front", size=12, workers=1, say=said.append).shape == (11, 12, 12, 3)
    assert len(said) == 1 and "damaged" in said[0]
    np.testing.assert_array_equal(open_cache(data, "front", size=8, workers=1), small)


def test_what_a_killed_process_left_is_removed(data: EpisodeDataset) -> None:
    open_cache(data, "front", workers=1)
    [note] = (data.root / ".cache").glob("*.json")
    left = note.with_name(f"{note.stem}.u8.123-abc.tmp")
    left.write_bytes(b"half")
    note.unlink()
    open_cache(data, "front", workers=1)
    assert not left.exists()


def test_a_folder_that_cannot_be_written_is_named(data: EpisodeDataset) -> None:
    (data.root / ".cache").write_text("a file")
    with pytest.raises(BadInput, match=r"\.cache.*reading\.cache=false"):
        open_cache(data, "front", workers=1)


def test_full_disk_leaves_nothing(data: EpisodeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInput, match="No space left"):
        open_cache(data, "front", workers=1)
    assert list((data.root / ".cache").iterdir()) == []


def test_undecodable_picture_is_named(data: EpisodeDataset) -> None:
    file = data.data_files[0]
    table = pq.read_table(file)
    cells = table["observation.images.front"].to_pylist()
    cells[3]["bytes"] = b"not a picture"
    index = table.column_names.index("observation.images.front")
    column = type(table["observation.images.front"].chunk(0)).from_pandas(
        cells, type=table.schema.field(index).type
    )
    pq.write_table(table.set_column(index, table.schema.field(index).name, column), file)
    with pytest.raises(BadInput, match="frame 3"):
        open_cache(data, "front", workers=1)
    assert list((data.root / ".cache").iterdir()) == []


def test_several_processes_agree_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = EpisodeDataset(write_dataset(tmp_path / "set", [6, 5]))
    table = pq.read_table(data.data_files[0])
    one = open_cache(data, "front", workers=1).copy()
    # the same frames in two files
    second = data.data_files[0].with_name("file-001.parquet")
    pq.write_table(table.slice(0, 6), data.data_files[0])
    pq.write_table(table.slice(6), second)
    split = EpisodeDataset(data.root)
    split.episode_meta["data/file_index"] = np.array([0, 1])
    two = open_cache(split, "front", workers=2)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_damaged_note_of_now_or_of_before_does_no_harm(tmp_path: Path, text: str) -> None:
    data = EpisodeDataset(write_dataset(tmp_path / "set", [3]))
    whole = open_cache(data, "front", workers=1).copy()
    [note] = (data.root / ".cache").glob("*.json")
    note.write_text(text)
    before = note.with_name(f"0123456789abcdef-front-{note.name.split('-')[-1]}")
    before.write_text(text)
    said: list[str] = []
    assert np.array_equal(open_cache(data, "front", workers=1, say=said.append), whole)
    assert len(said) == 1 and "not JSON" in said[0] and not before.exists()
