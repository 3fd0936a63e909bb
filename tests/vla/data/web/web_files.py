"""Small files of every kind of picture-text data, as their makers write them."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

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

SIDE = 16


def pixels(number: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A picture of which no two are equal."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(out, format=kind, **options)
    return out.getvalue()


def png(number: int, height: int = SIDE, width: int = SIDE) -> bytes:
    return encoded(pixels(number, height, width))


def tar(path: Path, records: Sequence[dict[str, bytes]], first: int = 0) -> Path:
    """A shard, by the webdataset library's own writer."""
    with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0) as out:
        for number, record in enumerate(records, start=first):
            out.write({"__key__": f"{number:05d}", **record})
    return path


def turns_json(number: int) -> bytes:
    turn = {"prompt": f"what is {number}", "answer": f"thing {number}", "boxes": [[0.0, 0.25, 0.5, 0.75]]}
    return json.dumps({"turns": [turn]}).encode()


def text_alone(caption: str) -> dict[str, bytes]:
    """Files of a record that says it has no picture."""
    return {"json": json.dumps({"caption": caption, "images": []}).encode()}


def pictures_folder(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(number))
    return folder


def make_shards(folder: Path, count: int) -> WebSourceConfig:
    folder.mkdir(parents=True)
    half = count // 2
    tar(folder / "a.tar", [{"png": png(n), "json": turns_json(n)} for n in range(half)])
    tar(folder / "b.tar", [{"png": png(n), "json": turns_json(n)} for n in range(half, count)], first=half)
    return ShardsConfig(path=str(folder))


def make_llava(folder: Path, count: int) -> WebSourceConfig:
    images = pictures_folder(folder / "images", count)
    records = [
        {
            "id": str(n),
            "image": f"{n}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nwhat is {n}"},
                {"from": "gpt", "value": f"thing {n}"},
                {"from": "human", "value": "and what é else"},
                {"from": "gpt", "value": "nothing"},
            ],
        }
        for n in range(count)
    ]
    (folder / "llava.json").write_text(json.dumps(records, indent=1, ensure_ascii=False))
    return LlavaConfig(path=str(folder / "llava.json"), images=str(images))


def make_lines(folder: Path, count: int) -> WebSourceConfig:
    config = make_llava(folder, count)
    records = json.loads((folder / "llava.json").read_text())
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    (folder / "llava.jsonl").write_text(lines + "\n\n")
    return LlavaConfig(path=str(folder / "llava.jsonl"), images=config.images)


def table_rows(count: int) -> dict[str, list[Any]]:
    return {
        "images": [[{"bytes": png(n), "path": None}] for n in range(count)],
        "texts": [[{"user": f"what is {n}", "assistant": f"thing {n}"}] for n in range(count)],
    }


def make_saved(folder: Path, count: int) -> WebSourceConfig:
    import datasets

    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "texts": datasets.List({"user": datasets.Value("string"), "assistant": datasets.Value("string")}),
        }
    )
    table = datasets.Dataset.from_dict(table_rows(count), features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(str(folder / "saved"))
    return ParquetConfig(path=str(folder / "saved"))


def make_parquet(folder: Path, count: int) -> WebSourceConfig:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    pq.write_table(pa.table(table_rows(count)), folder / "part.parquet")
    return ParquetConfig(path=str(folder / "*.parquet"))


def make_coco(folder: Path, count: int) -> WebSourceConfig:
    images = pictures_folder(folder / "images", count)
    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(count)],
        "annotations": [
            {"id": 2 * n + k, "image_id": n, "caption": f" thing {n} again {k}\n"}
            for k in range(2)
            for n in range(count)
        ],
    }
    (folder / "captions.json").write_text(json.dumps(content))
    return CocoConfig(path=str(folder / "captions.json"), images=str(images))


def make_vqa(folder: Path, count: int) -> WebSourceConfig:
    images = folder / "images"
    images.mkdir(parents=True)
    questions, annotations = [], []
    for n in range(count):
        (images / f"COCO_train2014_{n:012d}.jpg").write_bytes(encoded(pixels(n), "JPEG"))
        for k in range(2):
            number = 10 * n + k
            questions.append({"image_id": n, "question": f"what is {k}", "question_id": number})
            answers = [{"answer": f"thing {n}"}] * 9 + [{"answer": "other"}]
            annotations.append(
                {"question_id": number, "multiple_choice_answer": f"thing {n}", "answers": answers}
            )
    (folder / "q.json").write_text(json.dumps({"data_subtype": "train2014", "questions": questions}))
    (folder / "a.json").write_text(json.dumps({"annotations": annotations}))
    return VqaConfig(path=str(folder / "q.json"), annotations=str(folder / "a.json"), images=str(images))


def make_refcoco(folder: Path, count: int) -> WebSourceConfig:
    images = pictures_folder(folder / "images", count)
    lines = [
        {
            "image": f"{n}.png",
            "width": SIDE,
            "height": SIDE,
            "box": [4, 0, 8, SIDE],
            "expressions": [f"thing {n}", "that"] if k else [f"other {n}"],
        }
        for k in range(2)
        for n in range(count)
    ]
    (folder / "ref.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return RefcocoConfig(path=str(folder / "ref.jsonl"), images=str(images))


def make_documents(folder: Path, count: int) -> WebSourceConfig:
    images = pictures_folder(folder / "images", count)
    lines = [
        {
            "texts": [f"before {n}", None, f"after {n}", "more", None, None],
            "images": [None, f"{n}.png", None, None, f"{n}.png", f"{n}.png"],
        }
        for n in range(count)
    ]
    lines.append({"texts": ["only words"], "images": [None]})
    (folder / "pages.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return DocumentsConfig(path=str(folder / "pages.jsonl"), images=str(images))


def make_document_table(folder: Path, count: int) -> WebSourceConfig:
    import datasets

    rows = {
        "images": [[None, {"bytes": png(n), "path": None}, None] for n in range(count)],
        "texts": [[f"before {n}", None, f"after {n}"] for n in range(count)],
    }
    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "texts": datasets.List(datasets.Value("string"))}
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder / "saved"))
    return DocumentsConfig(path=str(folder / "saved"))


KINDS: dict[str, Callable[[Path, int], WebSourceConfig]] = {
    "shards": make_shards,
    "llava": make_llava,
    "lines": make_lines,
    "saved": make_saved,
    "parquet": make_parquet,
    "coco": make_coco,
    "vqa": make_vqa,
    "refcoco": make_refcoco,
    "documents": make_documents,
    "document_table": make_document_table,
}


def member_at(path: Path, name: str) -> tuple[int, int]:
    """(offset, size) of a member's bytes."""
    with tarfile.open(path) as held:
        member = held.getmember(name)
        return member.offset_data, member.size
