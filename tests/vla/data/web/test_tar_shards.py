"""Tar shards: random access against the webdataset library itself, the writer, and URLs."""

import contextlib
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from web_files import encoded, make_shards, member_at, pixels, png, tar, text_alone, turns_json

from vla.configuration.web import LlavaConfig, ShardsConfig
from vla.data.web import open_source
from vla.data.web.guarded import Guarded
from vla.data.web.sample import Box, Damaged, Turn, WebSample
from vla.data.web.shards_writer import write_shards
from vla.data.web.tar_index import index_shard
from vla.errors import BadInput


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))


def by_webdataset(*paths: Path) -> list[dict]:
    """All records, read one after another by the library."""
    stages = [webdataset.SimpleShardList([str(path) for path in paths]), webdataset.tarfile_to_samples()]
    return list(webdataset.DataPipeline(*stages))


def test_random_access_equals_reading_by_webdataset(tmp_path: Path) -> None:
    records = [
        {"png": png(0), "json": turns_json(0), "npy": b"\x00" * 700},  # left alone
        {"0.png": png(1), "1.png": png(2), "10.png": png(3), "json": turns_json(1)},
        text_alone("a café"),
        {"JPG": encoded(pixels(4), "JPEG"), "json": json.dumps({"caption": "four"}).encode()},
    ]
    path = tar(tmp_path / "x.tar", records)
    index = index_shard(path)
    data = path.read_bytes()
    for number, held in enumerate(by_webdataset(path)):
        assert index.keys[number].decode() == held["__key__"]
        members = index.members(number)
        assert set(members) == {key for key in held if not key.startswith("__")}
        for ending, (offset, size) in members.items():
            assert data[offset : offset + size] == held[ending]
    source = open_source("a", ShardsConfig(path=str(path)))
    assert [len(source[number].images) for number in range(4)] == [1, 3, 0, 1]
    np.testing.assert_array_equal(source[1].images[2], pixels(3))  # 10 comes after 1
    assert source[2].turns == (Turn("", "a café"),)
    assert source[0].turns == (Turn("what is 0", "thing 0", (Box(0.0, 0.25, 0.5, 0.75),)),)


@given(st.lists(st.lists(st.binary(max_size=1500), min_size=1, max_size=3), max_size=6), st.data())
def test_a_shard_cut_anywhere_keeps_what_stands_before(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[bytes]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    records = [{f"{k}.bin": part for k, part in enumerate(parts)} for parts in contents]
    whole = index_shard(tar(folder / "x.tar", records))
    assert not whole.cut and len(whole.keys) == len(records)
    used = int((whole.offsets[-1] + whole.sizes[-1] + 511) // 512 * 512) if records else 0
    size = data.draw(st.integers(0, used + 511))
    (folder / "cut.tar").write_bytes((folder / "x.tar").read_bytes()[:size])
    if size < 512:
        reason = "it has 0 bytes" if size == 0 else "truncated header"
        line = rf"cut\.tar is not a tar file \({reason}\): download it again, or remove it"
        with pytest.raises(BadInput, match=line):
            index_shard(folder / "cut.tar")
        return
    cut = index_shard(folder / "cut.tar")
    assert cut.cut
    for record in range(len(cut.keys) - 1):  # the last is the one that nobody can vouch for
        assert cut.members(record) == whole.members(record)
        assert all(offset + length <= size for offset, length in cut.members(record).values())


def test_the_record_at_the_cut_is_damage_and_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_shards(tmp_path / "data", 8)
    path = tmp_path / "data" / "a.tar"
    offset, _ = member_at(path, "00002.png")
    path.write_bytes(path.read_bytes()[: offset + 100])
    source = open_source("a", config)
    assert len(source) == 7  # 3 of the first shard, 4 of the second
    assert "a.tar is cut: 3 records begin before the cut" in capsys.readouterr().err
    with pytest.raises(Damaged, match=r"a\.tar: record 2 \(key 00002\): the shard is cut here"):
        source[2]
    assert [source[n].turns[0].answer for n in (0, 1, 3)] == ["thing 0", "thing 1", "thing 4"]
    guarded = Guarded(source, skip=0.5)
    assert guarded[2].turns == source[3].turns


def test_a_text_without_its_picture_is_not_taken_for_text_alone(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", [{"json": turns_json(0), "png": png(0)} for _ in range(2)])
    offset, size = member_at(path, "00001.json")
    path.write_bytes(path.read_bytes()[: offset + -(-size // 512) * 512])  # cut before the picture's header
    with pytest.raises(Damaged, match="cut"):
        open_source("a", ShardsConfig(path=str(path)))[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it has 0 bytes"),
        (b"<html>404 not found</html>" * 99, "bad checksum|invalid header"),
        (b"hello", "truncated header"),
        (bytes(1 << 16), "it begins with zeros"),  # a download whose space was made ready, and no more
    ],
)
def test_what_is_no_shard_is_told_with_the_remedy(data: bytes, reason: str, tmp_path: Path) -> None:
    config = make_shards(tmp_path / "data", 4)
    (tmp_path / "data/c.tar").write_bytes(data)
    line = rf"data/c\.tar is not a tar file \(({reason})\): download it again, or remove it$"
    with pytest.raises(BadInput, match=line) as caught:
        open_source("a", config)
    assert "\n" not in str(caught.value)
    tar(tmp_path / "data/c.tar", [])  # a whole one without records does no harm
    assert len(open_source("a", config)) == 4


BOXES = [[0.0, 0.25, 0.5, 0.75]]


@pytest.mark.parametrize(
    ("others", "content", "lost"),
    [
        # of what has pictures and never says so, each record has one unless it says that it has none
        ({"caption": "a"}, {"caption": "b"}, True),
        ({"caption": "a"}, {"caption": "b", "images": []}, False),
        ({"caption": "a"}, {"caption": "b", "image": None}, False),
        ({"caption": "a"}, {"caption": "<image> b", "images": []}, True),
        # where records with pictures say so, one that does not is text alone
        ({"caption": "<image> a"}, {"caption": "b"}, False),
        ({"caption": "a", "image": "a.jpg"}, {"caption": "b"}, False),
        ({"caption": "a", "image": "a.jpg"}, {"caption": "b", "image": "b.jpg"}, True),
        ({"caption": "<image> a"}, {"caption": "<image> b"}, True),
        ({"caption": "<image> a"}, {"turns": [{"prompt": "", "answer": "b", "boxes": BOXES}]}, True),
        # and so is all of a source without a picture
        (None, {"caption": "b"}, False),
        (None, {"caption": "b", "image": "b.jpg"}, True),
        (None, {"caption": "<image> b"}, True),
    ],
)
def test_a_lost_picture_is_told_from_text_alone(
    others: dict | None, content: dict, lost: bool, tmp_path: Path
) -> None:
    record = {"json": json.dumps(content).encode()}
    if others is not None:
        having = [{"png": png(n), "json": json.dumps(others).encode()} for n in range(3)]
        tar(tmp_path / "a.tar", having)
        tar(tmp_path / "c.tar", having)
    tar(tmp_path / "b.tar", [record])
    source = open_source("a", ShardsConfig(path=str(tmp_path)))
    number = 3 if others else 0
    if lost:
        with pytest.raises(Damaged, match=r"b\.tar: record 0 \(key 00000\): the picture is missing"):
            source.turns(number)
    else:
        assert source[number].images == () and source[number].turns[0].answer == "b"
    if others is not None:
        assert all(len(source[n].images) == 1 for n in (0, 1, 2, 4, 5, 6))


def test_a_changed_shard_is_indexed_anew(tmp_path: Path) -> None:
    config = make_shards(tmp_path / "data", 4)
    before = open_source("a", config)
    assert sorted((tmp_path / "data/.cache").glob("*.npz"))
    tar(tmp_path / "data/a.tar", [text_alone("new")] * 5)
    after = open_source("a", config)
    assert (len(before), len(after)) == (4, 7)
    assert len(list((tmp_path / "data/.cache").glob("*.npz"))) == 2


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    config = make_shards(tmp_path / "data", 4)
    open_source("a", config)
    for file in (tmp_path / "data/.cache").glob("*.npz"):
        file.write_bytes(file.read_bytes()[:50])
    assert open_source("a", config)[3].turns[0].answer == "thing 3"


def samples(count: int) -> list[WebSample]:
    box = Box(0.1, 1 / 3, 0.7, 0.9)
    made = [
        WebSample((pixels(n),), (Turn(f"where {n}", "{box}", (box,), ("there",)), Turn("", "naïve")))
        for n in range(count)
    ]
    made[1] = WebSample((), (Turn("", "words alone"),))
    made[2] = WebSample((pixels(100), pixels(101)), (Turn("which", "left"),))
    return made


def same(a: WebSample, b: WebSample) -> bool:
    return a.turns == b.turns and all(np.array_equal(p, q) for p, q in zip(a.images, b.images, strict=True))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = samples(7)
    paths = write_shards(made, tmp_path / "s", per_shard=3)
    assert [path.name for path in paths] == ["000000.tar", "000001.tar", "000002.tar"]
    source = open_source("a", ShardsConfig(path=str(tmp_path / "s")))
    assert len(source) == 7
    assert all(same(made[number], source[number]) for number in range(7))
    assert [held["__key__"] for held in by_webdataset(*paths)] == [f"{n:09d}" for n in range(7)]
    first = [path.read_bytes() for path in paths]
    assert [p.read_bytes() for p in write_shards(iter(made), tmp_path / "t", per_shard=3)] == first
    jpeg = write_shards(made, tmp_path / "j", per_shard=9, encoding="jpeg")
    assert b".jpg" in jpeg[0].read_bytes()


def test_writing_goes_on_where_it_was(tmp_path: Path) -> None:
    made = samples(8)
    whole = [path.read_bytes() for path in write_shards(made, tmp_path / "a", per_shard=3)]

    def stopped() -> Iterator[WebSample]:
        yield from made[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(stopped(), tmp_path / "b", per_shard=3)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["000000.tar", "shards.json"]

    asked = []

    class Counted(list):
        def __getitem__(self, number: int) -> WebSample:
            asked.append(number)
            return super().__getitem__(number)

    again = write_shards(Counted(made), tmp_path / "b", per_shard=3)
    assert [path.read_bytes() for path in again] == whole
    assert asked == [3, 4, 5, 6, 7]  # those of the whole shard are not even made
    more = write_shards(samples(10), tmp_path / "b", per_shard=3)  # the last one was not full
    assert len(more) == 4 and len(open_source("a", ShardsConfig(path=str(tmp_path / "b")))) == 10


def test_shards_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    write_shards(samples(4), tmp_path / "s", per_shard=2, note={"seed": 1})
    with pytest.raises(BadInput, match="was written with seed=1, not 2"):
        write_shards(samples(4), tmp_path / "s", per_shard=2, note={"seed": 2})
    with pytest.raises(BadInput, match="holds more shards than the 1"):
        write_shards(samples(3)[:2], tmp_path / "s", per_shard=2, note={"seed": 1})
    (tmp_path / "s/shards.json").unlink()
    with pytest.raises(BadInput, match=r"holds shards but no shards\.json"):
        write_shards(samples(4), tmp_path / "s", per_shard=2)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A server on the loopback interface, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_shards_behind_a_url_are_fetched_once(tmp_path: Path) -> None:
    make_shards(tmp_path / "data", 6)
    local = open_source("a", ShardsConfig(path=str(tmp_path / "data")))
    with served(tmp_path / "data") as (url, asked):
        config = ShardsConfig(path=url + "/{a,b}.tar", cache=str(tmp_path / "cache"))
        source = open_source("a", config)
        assert all(same(local[n], source[n]) for n in range(6))
        open_source("a", config)
        assert asked.count("/a.tar") == asked.count("/b.tar") == 1
        with pytest.raises(BadInput, match=r"cannot fetch http.*/c\.tar: the server has no such file"):
            open_source("a", ShardsConfig(path=url + "/c.tar", cache=str(tmp_path / "cache")))
    assert len(open_source("a", config)) == 6  # the server is gone
    left = [path.name for path in (tmp_path / "cache").iterdir() if "tmp" in path.name]
    assert not left


def test_pictures_behind_a_url(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a b.png").write_bytes(png(3))
    with served(tmp_path / "web") as (url, asked):
        lines = [{"image": name, "caption": "x"} for name in ("a b.png", f"{url}/a%20b.png", "c.png")]
        (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
        source = open_source("a", LlavaConfig(path=str(tmp_path / "x.jsonl"), images=url))
        for number in (0, 1):
            np.testing.assert_array_equal(source[number].images[0], pixels(3))
        with pytest.raises(Damaged, match=r"line 3: the picture is missing \(cannot fetch"):
            source[2]
    assert "/a%20b.png" in asked
