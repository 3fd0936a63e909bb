"""Pictures of a source decoded once, at training size, into one flat uint8 file that is mapped into memory.

``pictures-<key>.u8`` holds uint8 [pictures, size, size, 3], record after record; beside it ``.npz`` has where
each record begins and how large its pictures were, and the note the damaged records; how the file is known to
be whole is told in `vla.data.decoded_file`. The key tells source, size and way of fitting. Work is done in
blocks by several processes; what was done is noted in ``.part``, so that a build that was stopped goes on.
"""

import io
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration import ImageConfig
from vla.data.decoded_file import mapped, reserve, seal, whole, writing
from vla.data.processes import in_processes
from vla.data.web.damage import Fault
from vla.data.web.files import held_by_one
from vla.data.web.fitting import fitted
from vla.data.web.sample import Damaged, WebSource
from vla.errors import BadInput

__all__ = ["Decoded", "open_decoded", "resized"]

BLOCK = 256
"""Records that one process does at a time."""


@dataclass(frozen=True)
class Decoded:
    """images: uint8 [pictures, size, size, 3], mapped; record r has those ``first[r]`` to ``first[r+1] - 1``.
    shapes: int64 [pictures, 2], height and width before. damaged: record -> (line, kind)."""

    images: npt.NDArray[np.uint8]
    first: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int64]
    damaged: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class _Plan:
    file: Path
    size: int
    image: ImageConfig
    first: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return int(self.first[-1]), self.size, self.size, 3

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape))


def resized(source: WebSource, number: int, size: int, image: ImageConfig) -> tuple[Any, list[list[int]]]:
    """One record with its pictures fitted, and their former heights and widths. Raises Damaged."""
    sample = source[number]
    try:
        pictures = tuple(fitted(picture, size, image) for picture in sample.images)
    except Fault as fault:
        raise Damaged(f"{sample.where or source.name}: {fault}", fault.kind) from None
    return (pictures, sample), [list(picture.shape[:2]) for picture in sample.images]


def open_decoded(
    source: WebSource, size: int, image: ImageConfig, folder: Path, key: str, *, workers: int | None = None
) -> Decoded:
    """Map the cache, built first where it is not there or is damaged. workers: None for one a core."""
    file = folder / f"pictures-{key}.u8"
    with held_by_one(file):
        found = _opened(file)
        if found is None:
            workers = max(1, workers if workers is not None else len(os.sched_getaffinity(0)))
            _build(source, _Plan(file, size, image, _first(source)), workers)
            found = _opened(file)
            assert found is not None
    return found


def _opened(file: Path) -> Decoded | None:
    """The finished cache; None where it is not there or, in one line, not what was written."""
    note = whole(file, _say)
    if note is None:
        return None
    try:
        table = file.with_suffix(".npz").read_bytes()
    except FileNotFoundError:
        table = b""
    if zlib.crc32(table) != note["table"]:
        _say(f"decoded pictures {file} are damaged (the .npz beside them); decoding again")
        return None
    with np.load(io.BytesIO(table), allow_pickle=False) as held:
        first, shapes = held["first"], held["shapes"]
    damaged = {int(number): (line, kind) for number, (line, kind) in note["damaged"].items()}
    return Decoded(mapped(file, tuple(note["shape"])), first, shapes, damaged)


def _say(line: str) -> None:
    print(line, flush=True)


def _first(source: WebSource) -> npt.NDArray[np.int64]:
    """Where each record's pictures begin. Whoever cannot tell their number without decoding decodes twice."""
    count = getattr(source, "pictures", None) or (lambda number: len(source[number].images))
    counts = np.zeros(len(source), np.int64)
    for number in tqdm(range(len(source)), desc=f"counting {source.name}", mininterval=1.0, delay=2.0):
        try:
            counts[number] = count(number)
        except Damaged:
            continue
    return np.concatenate([[0], np.cumsum(counts)])


def _build(source: WebSource, plan: _Plan, workers: int) -> None:
    scratch = plan.file.with_name(f".{plan.file.name}.part")
    log = plan.file.with_name(f".{plan.file.name}.part.jsonl")
    total = len(plan.first) - 1
    blocks = [range(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK)]
    shapes, damaged = np.zeros((int(plan.first[-1]), 2), np.int64), {}
    try:
        done = _done(log, scratch, plan)
        reserve(scratch, plan.bytes)
        left = [block for block in blocks if block.start not in done]
        with (
            log.open("a") as notes,
            tqdm(total=total, desc=f"decoding {source.name}", unit=" records", mininterval=1.0) as bar,
        ):
            bar.update(sum(len(block) for block in blocks if block.start in done))
            few = len(left) < 4  # a process takes seconds to start
            for result in in_processes(_block, (source, plan, scratch), left, 1 if few else workers):
                notes.write(json.dumps(result) + "\n")
                notes.flush()
                done[result["start"]] = result
                bar.update(result["records"])
        for result in done.values():
            row = int(plan.first[result["start"]])
            shapes[row : row + len(result["shapes"])] = np.array(result["shapes"], np.int64).reshape(-1, 2)
            damaged.update(result["damaged"])
        np.savez(table := io.BytesIO(), first=plan.first, shapes=shapes)
        plan.file.with_suffix(".npz").write_bytes(table.getbuffer())
        told = {"damaged": damaged, "table": zlib.crc32(table.getbuffer())}
        seal(scratch, plan.file, plan.shape, told)
        log.unlink()
    except OSError as error:
        line = f"cannot write the decoded pictures {plan.file} ({plan.bytes / 1e9:.2f} GB): {error.strerror}"
        raise BadInput(line) from None


def _done(log: Path, scratch: Path, plan: _Plan) -> dict[int, dict[str, Any]]:
    """What an earlier, stopped build has done: first record of a block -> its result."""
    if not log.is_file() or not scratch.is_file() or scratch.stat().st_size != plan.bytes:
        log.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)
        return {}
    done = {}
    for line in log.read_text().splitlines():
        try:
            result = json.loads(line)
            done[result["start"]] = result
        except (ValueError, KeyError):
            continue  # half a line, from a killed run
    log.write_text("".join(json.dumps(result) + "\n" for result in done.values()))
    return done


def _block(source: WebSource, plan: _Plan, scratch: Path, block: range) -> dict[str, Any]:
    """Decode some records into the file; what they were is told."""
    shapes: list[list[int]] = []
    damaged: dict[int, tuple[str, str]] = {}
    with writing(scratch, plan.shape) as images:
        for number in block:
            begin, end = int(plan.first[number]), int(plan.first[number + 1])
            try:
                (pictures, _), former = resized(source, number, plan.size, plan.image)
                for row, picture in zip(range(begin, end), pictures, strict=True):
                    images[row] = picture
                shapes += former
            except Damaged as error:
                damaged[number] = (str(error), error.kind)
                shapes += [[0, 0]] * (end - begin)
    return {"start": block.start, "records": len(block), "shapes": shapes, "damaged": damaged}
