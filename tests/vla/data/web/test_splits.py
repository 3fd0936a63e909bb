"""Which records are held for validation: no picture that is held is trained on, by any source."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_source import Made
from web_files import KINDS, SIDE

from vla.configuration.web import (
    CocoConfig,
    DocumentsConfig,
    LlavaConfig,
    ParquetConfig,
    RefcocoConfig,
    ShardsConfig,
    VqaConfig,
    WebSourceConfig,
)
from vla.data.sampler import in_validation
from vla.data.web import open_source
from vla.data.web.choosing import held_out
from vla.data.web.picture_names import name_of, named_pictures

COUNT = 400


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))


def coco(folder: Path, images: Path) -> CocoConfig:
    """The same picture in two files: COCO's parts are often given together."""
    for part in range(2):
        content = {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in range(COUNT)],
            "annotations": [{"image_id": n, "caption": f"thing {n}"} for n in range(COUNT)],
        }
        (folder / f"captions{part}.json").write_text(json.dumps(content))
    paths = tuple(str(folder / f"captions{part}.json") for part in range(2))
    return CocoConfig(path=paths, images=str(images))


def vqa(folder: Path, images: Path) -> VqaConfig:
    for part in range(2):
        asked = [{"image_id": n, "question": "what", "question_id": n} for n in range(COUNT)]
        given = [{"question_id": n, "multiple_choice_answer": "thing"} for n in range(COUNT)]
        (folder / f"q{part}.json").write_text(json.dumps({"data_subtype": "train2014", "questions": asked}))
        (folder / f"a{part}.json").write_text(json.dumps({"annotations": given}))
    questions, answers = (tuple(str(folder / f"{k}{part}.json") for part in range(2)) for k in "qa")
    return VqaConfig(path=questions, annotations=answers, images=str(images))


def refcoco(folder: Path, images: Path) -> RefcocoConfig:
    line = {"width": SIDE, "height": SIDE, "box": [1, 1, 4, 4], "expression": "it"}
    names = [f"COCO_train2014_{n:012d}.jpg" for n in range(COUNT)]
    lines = [{**line, "image": under + name} for under in ("", "train2014/") for name in names]
    (folder / "ref.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return RefcocoConfig(path=str(folder / "ref.jsonl"), images=str(images))


def llava(folder: Path, images: Path) -> LlavaConfig:
    records = [{"image": f"coco/train2017/{n % COUNT:012d}.jpg", "caption": "a"} for n in range(3 * COUNT)]
    (folder / "llava.json").write_text(json.dumps(records))
    return LlavaConfig(path=str(folder / "llava.json"), images=str(images))


def parquet(folder: Path, images: Path) -> ParquetConfig:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"{n % COUNT:012d}.jpg" for n in range(3 * COUNT)]
    pq.write_table(pa.table({"image": names, "caption": ["a"] * len(names)}), folder / "p.parquet")
    return ParquetConfig(path=str(folder / "p.parquet"), images=str(images), cache=str(folder / "mapped"))


def documents(folder: Path, images: Path) -> DocumentsConfig:
    pages = [
        {"texts": ["a", None, "b", None], "images": [None, f"{n:012d}.jpg", None, f"{n // 2:012d}.png"]}
        for n in range(COUNT)
    ]
    pages.insert(7, {"texts": ["only words"], "images": [None]})
    (folder / "pages.jsonl").write_text("\n".join(map(json.dumps, pages)) + "\nbroken")
    return DocumentsConfig(path=str(folder / "pages.jsonl"), images=str(images))


MAKERS: dict[str, Callable[[Path, Path], WebSourceConfig]] = {
    "coco": coco,
    "vqa": vqa,
    "refcoco": refcoco,
    "llava": llava,
    "parquet": parquet,
    "documents": documents,
}


def numbers(source: Any) -> Iterator[tuple[int, int]]:
    """Record, and the number that its picture's name ends in, from the record itself: not by `name_of`."""
    for number in range(len(source)):
        try:
            for read in source.raw(number).pictures:
                name = str(read.args[-1]) if len(read.args) == 1 else _named(source, read)
                yield number, int(Path(name).stem.rpartition("_")[2])
        except Exception as error:
            assert "broken" in str(error)


def _named(source: Any, read: Any) -> str:
    """Of a document, the reader is given the page and the place of the picture there."""
    content, _, spot = read.args
    return str(content["images"][spot])


def parts(source: Any, held: np.ndarray) -> tuple[set[int], set[int]]:
    """The pictures held for validation, and those that are trained on."""
    found: tuple[set[int], set[int]] = (set(), set())
    for record, picture in numbers(source):
        found[0 if held[record] else 1].add(picture)
    return found


def test_no_picture_is_both_trained_on_and_held_by_any_source(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    everywhere: list[tuple[set[int], set[int]]] = []
    for kind, make in MAKERS.items():
        config = replace(make(tmp_path, images), split=0.2)
        source = open_source(kind, config)
        held = held_out(source, config, seed=5)
        np.testing.assert_array_equal(held, held_out(open_source(kind, config), config, seed=5))
        assert (held != held_out(source, config, seed=6)).any()
        assert abs(held.mean() - 0.2) < 0.08, kind  # 4 deviations of 400 draws
        everywhere.append(parts(source, held))
        assert len(everywhere[-1][0]) + len(everywhere[-1][1]) == COUNT
    for validation, training in everywhere:
        assert validation == everywhere[0][0] and training == everywhere[0][1]
        assert not validation & training


def test_a_source_gives_up_what_another_one_asks_about(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    few, many = replace(coco(tmp_path, images), split=0.0), replace(vqa(tmp_path, images), split=0.25)
    captions, questions = open_source("captions", few), open_source("questions", many)
    held, asked = held_out(captions, few, 1, 0.25), held_out(questions, many, 1, 0.25)
    assert parts(captions, held)[0] == parts(questions, asked)[0] != set()
    assert not held_out(captions, few, 1).any()
    one = held_out(questions, replace(many, split=0.1), 1)
    assert not (one & ~asked).any()  # a smaller share is a part of the larger one


@pytest.mark.parametrize("kind", ["shards", "saved", "parquet", "document_table"])
def test_pictures_without_a_name_are_held_by_number_as_ever(kind: str, tmp_path: Path) -> None:
    config = replace(KINDS[kind](tmp_path / "data", 20), split=0.4)
    source = open_source("a", config)
    for pictures in (None, 0.4, 0.9):
        np.testing.assert_array_equal(held_out(source, config, 3, pictures), in_validation(20, 3, 0.4, "a"))


def test_recorded_draws_do_not_move() -> None:
    config = ShardsConfig(path="x", split=0.3)
    held = held_out(Made(20), config, 7)
    np.testing.assert_array_equal(held, in_validation(20, 7, 0.3, "made"))
    assert np.flatnonzero(held).tolist() == [7, 8, 10, 11, 16]


def test_texts_alone_are_held_by_number_beside_pictures_with_names(tmp_path: Path) -> None:
    lines = [{"caption": "a"} if n % 2 else {"image": f"{n // 4}.png", "caption": "a"} for n in range(300)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = LlavaConfig(path=str(tmp_path / "x.jsonl"), images=str(tmp_path), split=0.3)
    held = held_out(open_source("a", config), config, 3)
    np.testing.assert_array_equal(held[1::2], in_validation(300, 3, 0.3, "a")[1::2])
    np.testing.assert_array_equal(held[0::4], held[2::4])  # two records of one picture
    limited = replace(config, limit=100)
    np.testing.assert_array_equal(held_out(open_source("a", limited), limited, 3), held[:100])


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4), min_size=1, max_size=80), st.data())
def test_of_several_pictures_none_that_is_held_is_trained_on(
    records: list[list[int]], data: st.DataObject
) -> None:
    class Several(Made):
        named = named_pictures(([f"{n}.png" for n in names] for names in records), "")

    class Single(Made):
        named = named_pictures(([f"x/{n}.JPG"] for n in range(61)), "")

    config = ShardsConfig(path="x", split=data.draw(st.sampled_from([0.1, 0.5, 0.9])))
    chosen = set(np.flatnonzero(held_out(Single(61), config, 2)).tolist())
    held = held_out(Several(len(records), name="other"), config, 2)
    for names, out in zip(records, held.tolist(), strict=True):
        assert out == bool(chosen & set(names))


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["coco/train2017/000000000009.jpg", "COCO_train2014_000000000009.jpg", "000000000009.png"], ""),
        (["coco_val2014_000000000009", "./000000000009.JPEG", "https://a.b/c%20d/000000000009.jpg?w=3"], ""),
        (["scene/rgb.png", "/data/scene/rgb.png"], "somewhere"),
        (["rgb.png", "scene/rgb.png"], "/data/scene/"),
        (["rgb.png", "https://a.b/c/scene/rgb.png"], "https://a.b/c/scene"),
    ],
)
def test_one_picture_has_one_name(names: list[str], images: str) -> None:
    assert len({name_of(name, images) for name in names}) == 1


def test_other_pictures_have_other_names() -> None:
    names = [
        "9.jpg",
        "19.jpg",
        "a/rgb.png",
        "b/rgb.png",
        "https://a.b/show?id=1",
        "https://a.b/show?id=2",
        "1.2",
    ]
    assert len({name_of(name) for name in names}) == len(names)


def test_what_is_no_name_is_left_out() -> None:
    found = named_pictures([["1.png", None, 3, " "], [], [{"a": 1}], ["\ud83d.png"]], "")
    assert found.record.tolist() == [0, 3] and found.key.dtype == np.uint64


def test_cells_of_tables_with_and_without_bytes(tmp_path: Path) -> None:
    """A list of pictures, of which some lie in the row: those have no name, whatever path is noted there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [
        [{"bytes": None, "path": "1.png"}, {"bytes": b"x", "path": "2.png"}],
        None,
        [{"bytes": b"", "path": "3.png"}, None],
        [],
    ]
    pq.write_table(pa.table({"images": images, "caption": list("abcd")}), tmp_path / "p.parquet")
    config = ParquetConfig(path=str(tmp_path / "p.parquet"), images=str(tmp_path))
    source = open_source("a", config)
    assert list(map(list, source.names())) == [["1.png", None], [], ["3.png", None], []]
    assert source.named.record.tolist() == [0, 2]


def test_names_are_found_once_and_again_when_the_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    config = replace(llava(tmp_path, images), split=0.5)
    held = held_out(open_source("a", config), config, 0)
    with monkeypatch.context() as patch:
        patch.setattr("vla.data.web.base.named_pictures", lambda *_: pytest.fail("read again"))
        np.testing.assert_array_equal(held_out(open_source("a", config), config, 0), held)
    (tmp_path / "llava.json").write_text(json.dumps([{"image": "7.jpg", "caption": "a"}] * 9))
    source = open_source("a", config)
    assert len(set(source.named.key.tolist())) == 1 and len(source.named.key) == 9
