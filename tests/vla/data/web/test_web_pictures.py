"""Pictures at training size, with and without the decoded cache; choices; numbers for a table."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_source import Made
from web_files import make_shards, pixels, png, tar, text_alone, turns_json

from vla.configuration import ImageConfig
from vla.configuration.web import ShardsConfig
from vla.data import decoded_file
from vla.data.pictures import sized
from vla.data.web import decoded, open_source
from vla.data.web.choosing import prompted
from vla.data.web.fitting import fitted, moved
from vla.data.web.guarded import Guarded
from vla.data.web.inspection import inspect
from vla.data.web.pictures import WebPictures
from vla.data.web.sample import Box, Damaged, Turn
from vla.errors import BadInput

LETTERBOX = ImageConfig(fit="letterbox")


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 30), (31, 18)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_they_are_what_the_running_robot_would_see(
    cached: bool, height: int, width: int, fit: Any, tmp_path: Path
) -> None:
    image = ImageConfig(fit=fit)
    source = Made(5, frozenset([2]), height, width)
    seen = WebPictures(source, 12, image, cached, folder=tmp_path, workers=1)
    for number in (0, 1, 3, 4):
        expected = sized(torch.from_numpy(pixels(number, height, width))[None], 12, image)[0]
        np.testing.assert_array_equal(seen[number].images[0], expected)
        assert seen[number].turns == seen.turns(number) == moved(source.turns(number), (height, width), image)
    for ask in (seen.__getitem__, seen.turns):
        with pytest.raises(Damaged, match="record 2: rotten") as caught:
            ask(2)
        assert caught.value.kind == "rotten"
    guarded = Guarded(seen, skip=1.0)
    pictures, there = guarded.first(np.array([2, 4, 2]))
    np.testing.assert_array_equal(pictures, np.stack([seen[n].images[0] for n in (3, 4, 3)]))
    assert there.all()


@given(st.integers(8, 40), st.integers(8, 40), st.data())
def test_a_box_stays_on_what_it_shows(height: int, width: int, data: st.DataObject) -> None:
    """White where the box is: after fitting, the box's own edges bound what is white."""
    left, top = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[top:bottom, left:right] = 255
    box = Box(left / width, top / height, right / width, bottom / height)
    image = ImageConfig(fit="letterbox")
    [turn] = moved((Turn("", "a", (box,)),), (height, width), image)
    up, across = (
        (width - height) // 2 if width > height else 0,
        (height - width) // 2 if height > width else 0,
    )
    padded = (height + 2 * up, width + 2 * across)
    edges = turn.boxes[0]
    assert edges.left * padded[1] == pytest.approx(left + across)
    assert edges.right * padded[1] == pytest.approx(right + across)
    assert edges.top * padded[0] == pytest.approx(top + up)
    assert edges.bottom * padded[0] == pytest.approx(bottom + up)
    if padded[0] == padded[1]:
        shown = fitted(picture, padded[0], image)[..., 0] == 255
        rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
        assert rows[0] == top + up and rows[-1] + 1 == bottom + up
        assert columns[0] == left + across and columns[-1] + 1 == right + across


def test_a_picture_that_is_not_square_is_damage_where_the_model_wants_squares(tmp_path: Path) -> None:
    for cached in (True, False):
        seen = WebPictures(Made(3, height=20), 12, ImageConfig(), cached, folder=tmp_path, workers=1)
        with pytest.raises(Damaged, match=r"not square.*16 x 20; model.image.fit=letterbox"):
            seen[0]


def test_it_is_built_once_for_each_size_and_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("a", make_shards(tmp_path / "data", 4))
    for size, image in ((12, LETTERBOX), (16, LETTERBOX), (12, ImageConfig(resize="bicubic"))):
        WebPictures(source, size, image, workers=1)
    assert len(list((tmp_path / "data/.cache").glob("pictures-*.u8"))) == 3
    monkeypatch.setattr(decoded, "_build", lambda *_: pytest.fail("built twice"))
    again = WebPictures(source, 12, LETTERBOX)
    assert again[3].turns == source[3].turns
    with pytest.raises(ValueError):
        again[3].images[0][:] = 0


@pytest.mark.parametrize("harm", ["short", "changed", "note", "table", "no table", "old"])
def test_a_damaged_cache_is_made_again(harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Made(6)
    seen = WebPictures(source, 12, LETTERBOX, folder=tmp_path, workers=1)
    wanted = np.array(seen[4].images[0])
    [file] = tmp_path.glob("*.u8")
    if harm == "short":
        file.write_bytes(file.read_bytes()[:-5])
    elif harm == "changed":
        file.write_bytes(bytes(file.stat().st_size))
    elif harm == "table":
        raw = bytearray(file.with_suffix(".npz").read_bytes())
        raw[len(raw) // 3] ^= 1
        file.with_suffix(".npz").write_bytes(raw)
    elif harm == "no table":
        file.with_suffix(".npz").unlink()
    elif harm == "old":
        file.with_suffix(".json").write_text(json.dumps({"checks": {}, "damaged": {}}))
    else:
        file.with_suffix(".json").write_text("{")
    capsys.readouterr()
    again = WebPictures(source, 12, LETTERBOX, folder=tmp_path, workers=1)
    np.testing.assert_array_equal(again[4].images[0], wanted)
    [line] = capsys.readouterr().out.splitlines()
    assert str(file) in line and "decoding again" in line


def test_an_untouched_cache_is_mapped_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    WebPictures(Made(6), 12, LETTERBOX, folder=tmp_path, workers=1)
    monkeypatch.setattr(decoded_file, "_read", lambda *_: pytest.fail("read again"))
    again = WebPictures(Made(6), 12, LETTERBOX, folder=tmp_path, workers=1)
    assert len(again[4].images) == 1 and not capsys.readouterr().out


class Stopped(Made):
    """Ctrl-C at some record."""

    stop = 20

    def __getitem__(self, number: int) -> Any:
        if number == self.stop:
            raise KeyboardInterrupt
        return super().__getitem__(number)

    def pictures(self, number: int) -> int:
        return 1


def test_a_build_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "BLOCK", 8)
    source = Stopped(30, frozenset([3, 25]))
    with pytest.raises(KeyboardInterrupt):
        WebPictures(source, 12, LETTERBOX, folder=tmp_path, workers=1)
    [log] = tmp_path.glob(".*.part.jsonl")
    log.write_text(log.read_text() + '{"start": 8, "rec')  # killed while it wrote
    source.stop = -1
    source.asked.clear()
    went_on = WebPictures(source, 12, LETTERBOX, folder=tmp_path, workers=1)
    assert min(source.asked) == 16  # two blocks were done
    whole = WebPictures(Made(30, frozenset([3, 25])), 12, LETTERBOX, folder=tmp_path / "..", workers=1)
    for number in (0, 7, 15, 16, 29):
        np.testing.assert_array_equal(went_on[number].images[0], whole[number].images[0])
    for number in (3, 25):
        with pytest.raises(Damaged):
            went_on[number]
    assert not list(tmp_path.glob(".*.part*"))


def _open(config: ShardsConfig, out: Any) -> None:
    seen = WebPictures(open_source("a", config), 12, LETTERBOX, workers=1)
    out.put([int(seen[number].images[0].sum()) for number in range(len(seen))])


@pytest.mark.slow
def test_processes_that_start_at_once_share_one_cache(tmp_path: Path) -> None:
    config = make_shards(tmp_path / "data", 6)
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [context.Process(target=_open, args=(config, out)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [out.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sums[0] == sums[1] and len(sums[0]) == 6
    assert len(list((tmp_path / "data/.cache").glob("pictures-*.u8"))) == 1


@pytest.mark.slow
def test_several_processes_build_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source("a", make_shards(tmp_path / "data", 40))
    monkeypatch.setattr(decoded, "BLOCK", 5)
    one = WebPictures(source, 12, LETTERBOX, folder=tmp_path, workers=1)
    (tmp_path / "b").mkdir()
    two = WebPictures(source, 12, LETTERBOX, folder=tmp_path / "b", workers=2)
    for number in range(40):
        np.testing.assert_array_equal(one[number].images[0], two[number].images[0])


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded_file.os, "posix_fallocate", full)
    with pytest.raises(BadInput, match=r"cannot write the decoded pictures .*GB\): No space left"):
        WebPictures(Made(3), 12, LETTERBOX, folder=tmp_path, workers=1)


def test_text_alone_and_several_pictures(tmp_path: Path) -> None:
    records = [text_alone("words"), {"0.png": png(0), "1.png": png(1), "json": turns_json(0)}]
    source = open_source("a", ShardsConfig(path=str(tar(tmp_path / "x.tar", records))))
    for cached in (True, False):
        seen = WebPictures(source, 12, LETTERBOX, cached, workers=1)
        assert [len(seen[number].images) for number in range(2)] == [0, 2]
        pictures, there = seen.first(np.array([1, 0]))
        assert there.tolist() == [True, False] and not pictures[1].any()
        np.testing.assert_array_equal(pictures[0], seen[1].images[0])


def test_phrases_stand_for_empty_prompts_only() -> None:
    turns = (Turn("", "one"), Turn("asked", "two"), Turn("", "three"))
    prompts = ("describe", "tell", "what")
    drawn = [prompted(turns, prompts, record, draw) for record in range(20) for draw in range(3)]
    assert drawn == [prompted(turns, prompts, record, draw) for record in range(20) for draw in range(3)]
    assert {each[0].prompt for each in drawn} == {each[2].prompt for each in drawn} == set(prompts)
    assert all(each[1] == turns[1] for each in drawn)
    assert any(each[0].prompt != each[2].prompt for each in drawn)
    assert prompted(turns, (), 0, 0) == turns


def test_numbers_for_a_table(tmp_path: Path) -> None:
    source = Made(50, frozenset(range(0, 50, 5)), 16, 24)
    found = inspect(source, 50, 0)
    assert (found.records, found.looked_at, found.damaged) == (50, 50, {"rotten": 10})
    assert found.prompt_words.most == 3 and found.answer_words.median == 2 and found.boxes == 40
    assert (found.widths.least, found.heights.most) == (24, 16)
    assert dict(found.words)["thing"] == 40 and len(found.samples) == 12
    rows = dict(found.rows())
    assert rows["damaged"] == "10 (20.0%): 10 x rotten" and "record" in rows["  rotten"]
    assert inspect(source, 7, 1).rows() == inspect(source, 7, 1).rows()
    assert inspect(Made(3, frozenset(range(3))), 5).looked_at == 3
    assert json.dumps(rows)
