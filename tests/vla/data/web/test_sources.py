"""What holds for every kind of source, and what each makes of its files."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_files import KINDS, pictures_folder, pixels, png

from vla.configuration.web import CocoConfig, DocumentsConfig, LlavaConfig, ParquetConfig, WebSourceConfig
from vla.data.web import open_source
from vla.data.web.sample import Box, Damaged, Turn, WebSample
from vla.errors import BadInput
from vla.structured import to_dataclass


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user_cache"))


def same(a: WebSample, b: WebSample) -> bool:
    return (
        a.turns == b.turns and all(map(np.array_equal, a.images, b.images)) and len(a.images) == len(b.images)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_reading_in_any_order_and_again_gives_the_same(kind: str, tmp_path: Path) -> None:
    config = KINDS[kind](tmp_path / "data", 5)
    source = open_source(kind, config)
    good = [number for number in range(len(source)) if kind != "documents" or number % 3 != 2]
    forwards = {number: source[number] for number in good}
    backwards = {number: source[number] for number in good[::-1]}
    again = open_source(kind, config)  # from the kept index
    for number, sample in forwards.items():
        assert same(sample, backwards[number])
        assert same(sample, again[number])
        assert sample.turns == source.turns(number)
        assert source.pictures(number) == len(sample.images)
        assert sample.where and sample.where in str(source.place(number))
        for image in sample.images:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert again.identity == source.identity
    texts = list(source.texts())
    assert all(turn.answer in texts for sample in forwards.values() for turn in sample.turns)
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize("kind", KINDS)
def test_identity_changes_with_the_data(kind: str, tmp_path: Path) -> None:
    few = open_source(kind, KINDS[kind](tmp_path / "few", 4)).identity
    same_again = open_source(kind, KINDS[kind](tmp_path / "same", 4)).identity
    many = open_source(kind, KINDS[kind](tmp_path / "many", 6)).identity
    assert few != many
    if kind not in ("saved", "document_table"):  # datasets writes a random fingerprint of its own
        assert few == same_again


def test_identity_tells_pictures_and_settings_that_matter(tmp_path: Path) -> None:
    config = KINDS["coco"](tmp_path / "data", 3)
    before = open_source("a", config).identity
    assert open_source("b", config).identity == before
    (tmp_path / "data/images/1.png").write_bytes(png(1, 24, 24))
    assert open_source("a", config).identity != before
    words = CocoConfig(path=config.path, images=config.images, max_words=7)
    heavy = CocoConfig(path=config.path, images=config.images, weight=7)
    now = open_source("a", config).identity
    assert open_source("a", words).identity != now
    assert open_source("a", heavy).identity == now


def test_limit_uses_the_first_records(tmp_path: Path) -> None:
    config = KINDS["lines"](tmp_path / "data", 5)
    source = open_source("a", LlavaConfig(path=config.path, images=config.images, limit=2))
    assert len(source) == 2
    with pytest.raises(IndexError):
        source[2]


@pytest.mark.parametrize("kind", ["llava", "lines"])
def test_llava(kind: str, tmp_path: Path) -> None:
    sample = open_source("a", KINDS[kind](tmp_path / "data", 4))[3]
    assert sample.turns == (Turn("what is 3", "thing 3"), Turn("and what é else", "nothing"))
    np.testing.assert_array_equal(sample.images[0], pixels(3))


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_tables(kind: str, tmp_path: Path) -> None:
    source = open_source("a", KINDS[kind](tmp_path / "data", 4))
    assert len(source) == 4
    assert source[2].turns == (Turn("what is 2", "thing 2"),)
    np.testing.assert_array_equal(source[2].images[0], pixels(2))


def test_a_table_without_texts_or_without_the_part(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    KINDS["saved"](tmp_path / "data", 2)
    with pytest.raises(BadInput, match=r"has no part 'trian'.*did you mean 'train'"):
        open_source("a", ParquetConfig(path=str(tmp_path / "data/saved"), part="trian"))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"has the columns x; one of turns, .* is needed"):
        open_source("a", ParquetConfig(path=str(tmp_path / "x.parquet")))
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"x\.parquet is not a whole parquet file"):
        open_source("a", ParquetConfig(path=str(tmp_path / "x.parquet")))


def test_coco_and_vqa_gather_what_is_about_one_picture(tmp_path: Path) -> None:
    coco = open_source("a", KINDS["coco"](tmp_path / "coco", 3))
    assert len(coco) == 3
    assert coco[1].turns == (Turn("", "thing 1 again 0"), Turn("", "thing 1 again 1"))
    vqa = open_source("a", KINDS["vqa"](tmp_path / "vqa", 3))
    assert len(vqa) == 3
    assert [turn.prompt for turn in vqa[2].turns] == ["what is 0", "what is 1"]
    assert vqa[2].turns[0].answer == "thing 2"
    assert vqa[2].turns[0].others == ("thing 2",) * 9 + ("other",)  # the score counts them


def test_captions_of_an_unknown_picture_are_damage(tmp_path: Path) -> None:
    config = KINDS["coco"](tmp_path / "data", 2)
    file = tmp_path / "data/captions.json"
    content = json.loads(file.read_text())
    content["annotations"].append({"image_id": 77, "caption": "a ghost"})
    content["images"].append({"id": 5, "file_name": "no caption.png"})
    file.write_text(json.dumps(content))
    source = open_source("a", config)
    assert len(source) == 3
    with pytest.raises(Damaged, match=r"image_id 77.*its picture is not among the file's 'images'"):
        source[2]


def test_refcoco_asks_for_boxes_in_parts_of_the_picture(tmp_path: Path) -> None:
    config = KINDS["refcoco"](tmp_path / "data", 3)
    source = open_source("a", config)
    box = (Box(0.25, 0.0, 0.75, 1.0),)
    assert len(source) == 3
    asked = ["where is other 2", "where is thing 2", "where is that"]
    assert source.turns(2) == tuple(Turn(prompt, "{box}", box) for prompt in asked)


def test_documents_become_pictures_between_their_texts(tmp_path: Path) -> None:
    source = open_source("a", KINDS["documents"](tmp_path / "data", 2))
    assert len(source) == 7  # three pictures on each of two pages, and a page of text
    assert source.turns(0) == (Turn("before 0", "after 0\nmore"),)
    assert source.turns(1) == (Turn("", "after 0\nmore"),)  # nothing follows: the text before it
    assert source[6].turns == (Turn("", "only words"),) and source[6].images == ()
    with pytest.raises(Damaged, match="line 1, picture at 5: empty answer"):
        source[2]
    table = open_source("a", KINDS["document_table"](tmp_path / "table", 2))
    assert table[1].turns == (Turn("before 1", "after 1"),)
    np.testing.assert_array_equal(table[1].images[0], pixels(1))


def test_documents_cut_the_text_to_the_nearest_words(tmp_path: Path) -> None:
    config = KINDS["documents"](tmp_path / "data", 1)
    line = {"texts": ["one two three", None, "four five six"], "images": [None, "0.png", None]}
    Path(str(config.path)).write_text(json.dumps(line))
    source = open_source("a", DocumentsConfig(path=config.path, images=config.images, context=2))
    assert source.turns(0) == (Turn("two three", "four five"),)


def test_pictures_and_texts_of_messages(tmp_path: Path) -> None:
    images = pictures_folder(tmp_path / "images", 2)
    asked = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "which is older"}]
    record = {
        "images": ["0.png", "1.png"],
        "messages": [
            {"role": "system", "content": "be brief."},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": "the left"},
        ],
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    source = open_source("a", LlavaConfig(path=str(tmp_path / "x.jsonl"), images=str(images)))
    assert len(source[0].images) == 2
    assert source[0].turns[0].prompt.split() == ["be", "brief.", "which", "is", "older"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", "leaves the folder"),
        ("/etc/hostname", "leaves the folder"),
        ("http://127.0.0.1:1/x.png", "at a URL that 'images' does not begin"),
        ("pipe:touch pwned", "at a URL that 'images' does not begin"),
        ("", "has no name"),
        ("nothing.png", "missing.*No such file"),
    ],
)
def test_names_from_data_stay_inside(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.png").write_bytes(png(0))
    images = pictures_folder(tmp_path / "images", 1)
    record = {"image": [name], "caption": "a thing"}
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    source = open_source("a", LlavaConfig(path="x.jsonl", images=str(images)))
    with pytest.raises(Damaged, match=reason):
        source[0]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"kind": "llava", "path": "nowhere.json"}, "there is no file nowhere.json"),
        ({"kind": "llava", "path": "*.nothing"}, r"no file matches \*.nothing"),
        ({"kind": "llava", "path": "a{0..json"}, "a brace is open|there is no file"),
        ({"kind": "llava", "path": "empty"}, "the folder empty holds no .json or .jsonl file"),
        ({"kind": "llava", "path": ["x.json", "x.json"]}, "x.json is named twice"),
        ({"kind": "llava", "path": "x.json"}, "holds no record"),
        (
            {"kind": "llava", "path": "cut.json"},
            "cut.json.*record 2 of the list is broken, or the file is cut",
        ),
        ({"kind": "llava", "path": "open.json"}, "open.json is cut: its list of 1 records has no end"),
        ({"kind": "coco", "path": "x.json", "images": "empty"}, "has no list 'images'; is it the right file"),
        ({"kind": "coco", "path": "x.json", "images": "gone"}, "web.a.images: there is no folder gone"),
        ({"kind": "shards", "path": "text.tar"}, "text.tar is not a tar file"),
        ({"kind": "shards", "path": "x.tar.gz"}, "x.tar.gz is compressed.*gunzip it"),
        (
            {"kind": "shards", "path": "s3://bucket/x.tar"},
            "webdataset cannot open s3://bucket/x.tar: it knows",
        ),
    ],
)
def test_what_cannot_be_opened_is_told_at_the_start(
    config: dict, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.json").write_text("[]")
    (tmp_path / "cut.json").write_text('[{"caption": "a"}, {"caption": "b')
    (tmp_path / "open.json").write_text('[{"caption": "a"},\n')
    (tmp_path / "text.tar").write_text("not a tar" * 300)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(2048)))
    with pytest.raises(BadInput, match=line) as caught:
        open_source("a", _config(config))
    assert "\n" not in str(caught.value)


def _config(given: dict) -> Any:
    holder = make_dataclass("Holder", [("web", WebSourceConfig)], frozen=True)
    return to_dataclass({"web": given}, holder).web


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"kind": "cocoo", "path": "a"}, "did you mean 'coco'"),
        ({"kind": "coco"}, "'web.path' has no value"),
        ({"kind": "coco", "path": "a"}, "images is empty"),
        ({"kind": "coco", "path": "a", "images": "b", "splitt": 1}, "did you mean 'split'"),
        ({"kind": "llava", "path": "a", "split": 1.0}, "split=1.0: a share"),
        ({"kind": "llava", "path": "a", "weight": -1}, "weight=-1.0: at least 0"),
        ({"kind": "llava", "path": []}, "path is empty"),
        ({"kind": "llava", "path": "a", "prompts": [" "]}, "an empty phrase"),
        ({"kind": "llava", "path": "a", "images": "pipe:cat "}, "cannot be a pipe"),
        ({"kind": "refcoco", "path": "a", "images": "b", "prompts": ["where"]}, "'where' needs {}"),
        ({"kind": "vqa", "path": "a", "images": "b"}, "annotations is empty"),
        (
            {"kind": "vqa", "path": "a", "images": "b", "annotations": "c", "file_name": "{image_id.real}"},
            "it may use {image_id}",
        ),
    ],
)
def test_strict_settings(config: dict, line: str) -> None:
    with pytest.raises(BadInput) as caught:
        _config(config)
    assert line in str(caught.value)


def test_settings_need_no_torch() -> None:
    code = (
        "import sys, vla.configuration.web; assert not {'torch', 'webdataset', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


@pytest.mark.parametrize("kind", ["shards", "llava", "parquet", "coco", "vqa", "refcoco", "documents"])
def test_shipped_settings_are_whole(kind: str) -> None:
    from omegaconf import OmegaConf

    from vla.config import config_dir

    given = OmegaConf.to_container(OmegaConf.load(config_dir() / "web" / f"{kind}.yaml"))
    assert isinstance(given, dict)
    config = _config({key: "x" if value == "???" else value for key, value in given.items()})
    assert config.kind == kind
