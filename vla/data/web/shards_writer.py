"""Records -> WebDataset shards: tar files of some thousand records that the webdataset library reads too.

A record is the files of one key, side by side in the tar: ``000000007.png`` (or ``.jpg``; several pictures:
``000000007.0.png``, ``000000007.1.png``) and ``000000007.json``::

    {"turns": [{"prompt": "where is the red cube", "answer": "{box}", "boxes": [[0.1, 0.2, 0.3, 0.4]],
                "others": ["..."]}]}

boxes: left, top, right, bottom in 0..1 of the picture (`Box`). Each ``{box}`` in an answer stands for the
next of them, told in the model's own location words. others: answers that are as right. Both may be left out.
Text alone has ``"images": []`` beside the turns, which tells it from a record whose picture was lost.
Readers take ``{"caption": "..."}``, LLaVA's ``conversations`` and a plain ``key.txt`` caption too.

A shard is written aside and renamed, so one that has its name is whole; the same samples give the same bytes.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from vla.data.web.sample import Turn, WebSample
from vla.data.web.tar_index import index_shard
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["NOTE", "Encoding", "shard_path", "write_shard", "write_shards"]

NOTE = "shards.json"
"""File beside the shards that says with which settings they were written."""

Encoding = Literal["png", "jpeg"]


def write_shards(
    samples: Iterable[WebSample] | Sequence[WebSample],
    folder: Path,
    per_shard: int = 1000,
    *,
    encoding: Encoding = "png",
    quality: int = 92,
    note: Mapping[str, Any] | None = None,
    title: str = "writing shards",
) -> list[Path]:
    """Write all `samples` as ``folder/000000.tar``, ``000001.tar``, ...; returns the files in order.

    Run again it goes on: shards that are whole are kept, and their samples are not even made where `samples`
    is a sequence (``__len__`` and ``__getitem__``). quality: of JPEG. note: plain settings that made the
    samples; a folder whose shards were made with others raises BadInput, naming the first that differs.
    """
    folder = writable_folder(Path(folder))
    _check_note(folder, {"per_shard": per_shard, "encoding": encoding, **(note or {})})
    total = len(samples) if isinstance(samples, Sequence) else None
    paths: list[Path] = []
    iterator = None if total is not None else iter(samples)
    with tqdm(total=total, desc=title, unit=" records", mininterval=1.0) as bar:
        for number in count():
            path, first = shard_path(folder, number), number * per_shard
            held = _records(path)
            if total is not None:
                wanted = min(per_shard, total - first)
                if wanted <= 0:
                    break
                if held != wanted:
                    rows = range(first, first + wanted)
                    made = (cast(Sequence[WebSample], samples)[row] for row in rows)
                    held = write_shard(made, path, first, encoding=encoding, quality=quality)
            else:
                part = islice(cast(Iterator[WebSample], iterator), per_shard)
                if held == per_shard:
                    held = sum(1 for _ in part)
                else:
                    held = write_shard(part, path, first, encoding=encoding, quality=quality)
                if held == 0:
                    path.unlink(missing_ok=True)
                    break
            paths.append(path)
            bar.update(held)
            if held < per_shard:
                break
    if shard_path(folder, len(paths)).exists():
        raise BadInput(f"{folder} holds more shards than the {len(paths)} of these samples: remove it first")
    return paths


def shard_path(folder: Path, number: int) -> Path:
    """Name of shard `number`."""
    return Path(folder) / f"{number:06d}.tar"


def write_shard(
    samples: Iterable[WebSample], path: Path, first: int = 0, *, encoding: Encoding = "png", quality: int = 92
) -> int:
    """Write one shard aside, then give it its name; returns its number of records.

    first: the number of its first record in the whole collection, which the keys tell. Several processes may
    each write shards of their own.
    """
    import webdataset

    if encoding not in ("png", "jpeg"):
        raise BadInput(f"encoding must be png or jpeg, not {encoding!r}")
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    written = 0
    try:
        with aside.open("wb") as file:
            # fixed owner and time: the same samples are the same bytes
            with webdataset.TarWriter(file, user="", group="", mtime=0, encoder=False) as tar:
                for number, sample in enumerate(samples, start=first):
                    tar.write(_files(f"{number:09d}", sample, encoding, quality))
                    written += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise BadInput(f"cannot write the shard {path}: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)
    return written


def _files(key: str, sample: WebSample, encoding: Encoding, quality: int) -> dict[str, Any]:
    """The record as webdataset wants it: extension -> bytes."""
    ending = "png" if encoding == "png" else "jpg"
    several = len(sample.images) > 1
    files: dict[str, Any] = {"__key__": key}
    for place, picture in enumerate(sample.images):
        files[f"{place}.{ending}" if several else ending] = _encode(picture, encoding, quality)
    content: dict[str, Any] = {"turns": [_plain(turn) for turn in sample.turns]}
    if not sample.images:
        content["images"] = []
    files["json"] = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return files


def _encode(picture: npt.NDArray[np.uint8], encoding: Encoding, quality: int) -> bytes:
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": quality, "subsampling": 0} if encoding == "jpeg" else {}
    Image.fromarray(picture).save(out, format=encoding.upper(), **options)
    return out.getvalue()


def _plain(turn: Turn) -> dict[str, Any]:
    plain: dict[str, Any] = {"prompt": turn.prompt, "answer": turn.answer}
    if turn.boxes:
        plain["boxes"] = [[box.left, box.top, box.right, box.bottom] for box in turn.boxes]
    if turn.others:
        plain["others"] = list(turn.others)
    return plain


def _records(path: Path) -> int:
    """Records in a shard that is there, else 0."""
    return len(index_shard(path).keys) if path.is_file() else 0


def _check_note(folder: Path, note: dict[str, Any]) -> None:
    file = folder / NOTE
    if not file.is_file():
        if shard_path(folder, 0).exists():
            raise BadInput(f"{folder} holds shards but no {NOTE}: give another folder, or remove them")
        write_whole(file, json.dumps(note, indent=1, sort_keys=True) + "\n")
        return
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInput(f"{file} is not JSON: remove the folder and write the shards anew") from None
    for key in sorted(held.keys() | note.keys()):
        if held.get(key) != note.get(key):
            raise BadInput(
                f"{folder} was written with {key}={held.get(key)!r}, not {note.get(key)!r}: "
                "give another folder, or remove it"
            )
