"""Pictures of a source decoded once, at training size, into one flat uint8 file that is mapped into memory.

``pictures-<key>.u8`` holds uint8 [pictures, size, size, 3], record after record; beside it ``.npz`` has where
each record begins and how large its pictures were, and ``.json``, written last, the damaged records and
checksums of some rows. The key tells source, size and way of fitting. Work is done in blocks by several
processes; what was done is noted in ``.part``, so that a build that was stopped goes on.
"""

import json
import multiprocessing
import os
import signal
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vla.configuration import ImageConfig
from vla.data.web.damage import Fault
from vla.data.web.files import held_by_one
from vla.data.web.fitting import fitted
from vla.data.web.sample import Damaged, WebSource
from vla.errors import BadInput
from vla.folders import write_whole

__all__ = ["Decoded", "open_decoded", "resized"]

BLOCK = 256
"""Records that one process does at a time."""
CHECKED_ROWS = 64


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
        found = _opened(file, size)
        if found is None:
            workers = max(1, workers if workers is not None else len(os.sched_getaffinity(0)))
            _build(source, _Plan(file, size, image, _first(source)), workers)
            found = _opened(file, size)
            assert found is not None
    return found


def _opened(file: Path, size: int) -> Decoded | None:
    """The finished cache; None where it is not there or not what was written."""
    try:
        note = json.loads(file.with_suffix(".json").read_text())
        with np.load(file.with_suffix(".npz"), allow_pickle=False) as held:
            first, shapes = held["first"], held["shapes"]
        images = _mapped(file, (int(first[-1]), size, size, 3))
        if note["checks"] != _checks(images):
            print(f"decoded pictures {file} are damaged; decoding again", flush=True)
            return None
        return Decoded(images, first, shapes, {int(n): (a, b) for n, (a, b) in note["damaged"].items()})
    except (OSError, ValueError, KeyError):
        return None


def _mapped(file: Path, shape: tuple[int, ...], mode: Any = "r") -> npt.NDArray[np.uint8]:
    if not shape[0]:
        return np.zeros(shape, np.uint8)
    if mode == "r" and file.stat().st_size != int(np.prod(shape)):
        raise ValueError("another size")
    return np.memmap(file, dtype=np.uint8, mode=mode, shape=shape)


def _checks(images: npt.NDArray[np.uint8]) -> dict[str, int]:
    if not len(images):
        return {}
    rows = np.unique(np.linspace(0, len(images) - 1, CHECKED_ROWS).astype(int))
    return {str(row): zlib.crc32(np.ascontiguousarray(images[row])) for row in rows}


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
        with scratch.open("a+b") as out:
            if plan.bytes:  # the space now: a full disk under a memory map would kill the process instead
                os.posix_fallocate(out.fileno(), 0, plan.bytes)
        left = [block for block in blocks if block.start not in done]
        with (
            log.open("a") as notes,
            tqdm(total=total, desc=f"decoding {source.name}", unit=" records", mininterval=1.0) as bar,
        ):
            bar.update(sum(len(block) for block in blocks if block.start in done))
            for result in _run(source, plan, scratch, left, workers):
                notes.write(json.dumps(result) + "\n")
                notes.flush()
                done[result["start"]] = result
                bar.update(result["records"])
        for result in done.values():
            row = int(plan.first[result["start"]])
            shapes[row : row + len(result["shapes"])] = np.array(result["shapes"], np.int64).reshape(-1, 2)
            damaged.update(result["damaged"])
        with plan.file.with_suffix(".npz").open("wb") as out:
            np.savez(out, first=plan.first, shapes=shapes)
        checks = _checks(_mapped(scratch, plan.shape))
        os.replace(scratch, plan.file)
        write_whole(plan.file.with_suffix(".json"), json.dumps({"checks": checks, "damaged": damaged}))
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


def _run(
    source: WebSource, plan: _Plan, scratch: Path, blocks: Sequence[range], workers: int
) -> Iterator[dict[str, Any]]:
    if workers == 1 or len(blocks) < 4:  # a process takes seconds to start
        yield from (_block(source, plan, scratch, block) for block in blocks)
        return
    # spawn: a forked child could inherit a lock held by one of the parent's threads
    context = multiprocessing.get_context("spawn")
    arguments = (source, plan, scratch)
    with ProcessPoolExecutor(min(workers, len(blocks)), context, _prepare, arguments) as pool:
        try:
            for future in as_completed([pool.submit(_prepared_block, block) for block in blocks]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_held: list[Any] = []
"""Of a process that decodes: source, plan and file, sent once."""


def _prepare(*arguments: Any) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded: each process has one core
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its children
    _held[:] = arguments


def _prepared_block(block: range) -> dict[str, Any]:
    source, plan, scratch = _held
    return _block(source, plan, scratch, block)


def _block(source: WebSource, plan: _Plan, scratch: Path, block: range) -> dict[str, Any]:
    """Decode some records into the file; what they were is told."""
    images = _mapped(scratch, plan.shape, "r+")
    shapes: list[list[int]] = []
    damaged: dict[int, tuple[str, str]] = {}
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
    if isinstance(images, np.memmap):
        images.flush()
    return {"start": block.start, "records": len(block), "shapes": shapes, "damaged": damaged}
