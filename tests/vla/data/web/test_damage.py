"""Everything that a record can have wrong with it: told in one line, with its file and number."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from web_files import encoded, pictures_folder, pixels, png, tar

from vla.configuration.web import LlavaConfig, RefcocoConfig, ShardsConfig
from vla.data.web import open_source
from vla.data.web.damage import Fault
from vla.data.web.decoding import decode
from vla.data.web.sample import Damaged


def one(folder: Path, record: Any, **settings: Any) -> Any:
    """A source with this one line, or bytes, below pictures 0.png and 1.png."""
    images = pictures_folder(folder / "images", 2)
    line = record if isinstance(record, bytes) else json.dumps(record).encode()
    (folder / "x.jsonl").write_bytes(b'{"caption": "fine"}\n' + line + b"\n")
    return open_source("a", LlavaConfig(path=str(folder / "x.jsonl"), images=str(images), **settings))


TURN = {"prompt": "p", "answer": "a"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b'{"caption": "cut of', "the JSON is broken"),
        (b'{"caption": "\xff"}', "the text is not UTF-8"),
        (b"[1, 2]", "the JSON is no mapping (list)"),
        (b"[" * 100_000, "the JSON is broken"),
        ({"image": "0.png"}, "no text (one of turns, conversations"),
        ({"caption": ""}, "empty answer"),
        ({"caption": " \n"}, "empty answer"),
        ({"captions": []}, "no text"),
        ({"caption": 7}, "'caption' has another form"),
        ({"captions": ["a", None]}, "'captions' has another form"),
        ({"caption": "word " * 600}, "a text is longer than max_words (3,000 characters; at most 512 words)"),
        ({"caption": "x" * 100_000}, "a text is longer than max_words (100,000 characters"),
        (b'{"caption": "\\ud83d alone"}', "a text holds half a character"),
        ({"turns": [{"prompt": "p"}]}, "'turns' has another form (KeyError: 'answer')"),
        ({"turns": "text"}, "'turns' has another form"),
        (
            {"turns": [{**TURN, "boxes": [[0, 0, 2, 1]]}]},
            "wrong box ([0.0, 0.0, 2.0, 1.0] leaves the picture",
        ),
        ({"turns": [{**TURN, "boxes": [[0.5, 0, 0.2, 1]]}]}, "wrong box ([0.5, 0.0, 0.2, 1.0]: its edges"),
        ({"turns": [{**TURN, "boxes": [[0, 0, 1]]}]}, "wrong box (four numbers"),
        ({"turns": [{**TURN, "boxes": [[0, 0, 1, float("nan")]]}]}, "wrong box"),
        ({"turns": [{"prompt": "p", "answer": "{box}"}]}, "the answer tells more boxes than it has (1, 0)"),
        ({"conversations": [{"from": "human", "value": "a"}]}, "the last question has no answer"),
        ({"conversations": [{"from": "human", "value": "a"}] * 2}, "two questions without an answer"),
        ({"conversations": [{"from": "cat", "value": "a"}]}, "unknown speaker ('cat'"),
        (
            {"image": "0.png", "caption": "<image> and <image>"},
            "its texts speak of another number of pictures (2, 1)",
        ),
        ({"image": "9.png", "caption": "a"}, "the picture is missing"),
        ({"image": {"a": 1}, "caption": "a"}, "the picture has no name"),
        ({"image": 3, "caption": "a"}, "the picture has no name"),
    ],
)
def test_a_line_that_is_wrong(record: Any, reason: str, tmp_path: Path) -> None:
    source = one(tmp_path, record)
    with pytest.raises(Damaged) as caught:
        source[1]
    line = str(caught.value)
    assert reason in line and "x.jsonl: line 2: " in line and "\n" not in line and len(line) < 400
    assert caught.value.kind and caught.value.kind in line
    assert source[0].turns[0].answer == "fine"
    assert next(source.texts()) == "fine"


def _bomb() -> bytes:
    """A PNG of a few bytes that says it is 100,000 x 100,000 pixels large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the picture is empty"),
        (b"<html>404 not found</html>", "the picture's file is no picture (it begins with '<html>404"),
        (b"\x00\xff" * 99, "the picture's file is no picture"),
        (png(0)[:200], "the picture is broken"),
        (encoded(pixels(0, 64, 64), "JPEG")[:-300], "the picture is broken"),
        (_bomb(), "the picture is larger than max_side"),
        (png(0, 16, 80), "the picture is larger than max_side (80 x 16, not 64)"),
        (png(0, 16, 7), "the picture is smaller than 8 pixels (7 x 16)"),
        (encoded(Image.new("F", (16, 16)), "TIFF"), "no known range (mode F)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", "the picture's file is no picture"),
    ],
)
def test_a_picture_that_is_wrong(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        decode(data, 64)
    assert reason in str(caught.value)
    path = tar(tmp_path / "x.tar", [{"jpg": data, "txt": b"a thing"}])
    source = open_source("a", ShardsConfig(path=str(path), max_side=64))
    with pytest.raises(Damaged, match=r"x\.tar: record 0 \(key 00000\): "):
        source[0]
    assert source.turns(0)  # its text is fine


def test_pictures_of_every_sort_become_rgb() -> None:
    colours = pixels(5, 16, 24)
    plain = Image.fromarray(colours)

    def seen(image: Image.Image, kind: str, **options: Any) -> np.ndarray:
        return decode(encoded(image, kind, **options), 64)

    np.testing.assert_array_equal(seen(plain, "PNG"), colours)
    for kind in ("BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(seen(plain, kind), colours)
    np.testing.assert_array_equal(seen(plain, "WEBP", lossless=True), colours)
    grey = plain.convert("L")
    np.testing.assert_array_equal(seen(grey, "PNG"), np.asarray(grey.convert("RGB")))
    np.testing.assert_array_equal(
        seen(plain.convert("1"), "PNG"), np.asarray(plain.convert("1").convert("RGB"))
    )

    deep = Image.fromarray((np.asarray(grey).astype(np.uint16) << 8) | 77)
    np.testing.assert_array_equal(seen(deep, "PNG"), np.asarray(grey.convert("RGB")))  # 16 bits
    cmyk = seen(plain.convert("CMYK"), "TIFF")
    assert np.abs(cmyk.astype(int) - colours).max() <= 1

    alpha = np.zeros((16, 24), np.uint8)
    alpha[:8] = 255
    glass = Image.fromarray(np.dstack([colours, alpha]))
    np.testing.assert_array_equal(seen(glass, "PNG")[:8], colours[:8])
    assert (seen(glass, "PNG")[8:] == 255).all()  # what is not there is white
    palette = plain.quantize(16)
    palette.info["transparency"] = 0
    clear = np.asarray(palette) == 0
    assert (seen(palette, "PNG", transparency=0)[clear] == 255).all() and clear.any()

    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    moving = seen(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (moving == (255, 0, 0)).all()  # the first picture of an animation


def test_pictures_stand_upright() -> None:
    colours = pixels(5, 16, 24)
    for orientation, turned in {
        1: colours,
        3: colours[::-1, ::-1],
        6: np.rot90(colours, -1),
        8: np.rot90(colours),
        2: colours[:, ::-1],
    }.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(decode(encoded(colours, "PNG", exif=exif), 64), turned)


def test_a_cmyk_jpeg(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(out, "JPEG")
    red, green, blue = decode(out.getvalue(), 64)[8, 8].tolist()
    assert red > 250 and green < 5 and blue < 5


def test_boxes_a_hair_outside_are_taken_in(tmp_path: Path) -> None:
    source = one(tmp_path, {"turns": [{**TURN, "boxes": [[-0.004, 0, 1.004, 1]]}]})
    box = source.turns(1)[0].boxes[0]
    assert (box.left, box.right) == (0.0, 1.0)


def test_a_box_in_a_picture_of_another_size_is_damage(tmp_path: Path) -> None:
    images = pictures_folder(tmp_path / "images", 3)
    line = {"width": 16, "height": 16, "box": [1, 1, 4, 4], "expression": "it"}
    lines = [
        {**line, "image": "0.png"},
        {**line, "image": "1.png"},
        {**line, "image": "2.png", "width": 32, "height": 32},
        {**line, "image": "1.png", "height": 15},  # one of its boxes is enough
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = open_source("a", RefcocoConfig(path=str(tmp_path / "r.jsonl"), images=str(images)))
    assert source[0].turns[0].boxes
    for number, where, said in ((1, 2, "16 x 15"), (2, 3, "32 x 32")):
        with pytest.raises(Damaged) as caught:
            source[number]
        assert "another size" in caught.value.kind
        assert f"r.jsonl: line {where}: " in str(caught.value)
        assert f"{number}.png: 16 x 16, not {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"box": [10, 0, 30, 5]}, "wrong box"),
        ({"box": None}, "wrong box ([x, y, width, height] is needed"),
        ({"width": 0}, "wrong box"),
        ({"expressions": ["fine", ""]}, "empty expression"),
        ({"image": None}, "the picture has no name"),
    ],
)
def test_referring_lines_that_are_wrong(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    images = pictures_folder(tmp_path / "images", 1)
    line = {"image": "0.png", "width": 16, "height": 16, "box": [1, 1, 4, 4], "expressions": ["it"]}
    (tmp_path / "r.jsonl").write_text(json.dumps({**line, **change}) + "\nbroken\n")
    source = open_source("a", RefcocoConfig(path=str(tmp_path / "r.jsonl"), images=str(images)))
    with pytest.raises(Damaged) as caught:
        source[0]
    assert reason in str(caught.value) and "r.jsonl: line 1" in str(caught.value)
    with pytest.raises(Damaged, match="line 2: the JSON is broken"):
        source[1]
