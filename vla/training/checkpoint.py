"""Checkpoints that are there whole or not at all. safetensors and JSON only.

``<out>/checkpoints/step-000012000/`` holds ``policy/`` (the averaged weights as a model folder that loads
anywhere), ``training.safetensors`` (raw weights, average, both AdamW moments; under FSDP one such file from
each process) and ``state.json`` (counters). A checkpoint is written into a hidden folder, flushed to the disk
and renamed by the first process, when all have written. Any number of processes reads it again.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from vla.errors import BadInput
from vla.training.distributed import agree, everywhere, rank
from vla.training.shards import Saved, shard_name, write_tensors

__all__ = ["POLICY", "Checkpoints", "replace_folder"]

POLICY = "policy"
STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")


class Checkpoints:
    """The checkpoints of one run: the last `keep` and the best one stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is or would be."""
        return self.folder / f"step-{step:09d}"

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = ((_NAME.fullmatch(entry.name), entry) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match, entry in found if match and (entry / STATE).is_file())

    def save(
        self,
        step: int,
        pieces: Mapping[str, tuple[Tensor, tuple[int, ...]]] | None,
        state: Mapping[str, Any],
        write_policy: Callable[[Path], None],
        shares: int = 1,
    ) -> Path:
        """Write the checkpoint of `step`, whole or not at all; then drop the ones no longer kept.

        Every process calls it. pieces: what this one writes, if anything; shares: how many do.
        """
        final = self.path(step)
        aside = self.folder / f".writing-{final.name}"

        def clear() -> None:
            shutil.rmtree(aside, ignore_errors=True)
            if rank() == 0:
                aside.mkdir(parents=True)

        def write() -> None:
            if pieces is not None:
                file = aside / shard_name(rank(), shares)
                write_tensors(file, pieces)
                _flush_file(file)

        def finish() -> None:
            write_policy(aside / POLICY)
            for number in range(shares):
                if not (aside / shard_name(number, shares)).is_file():
                    raise OSError(f"{shard_name(number, shares)} of another process is not seen from here")
            (aside / STATE).write_text(json.dumps({"step": step, **state}, indent=1))
            _flush(aside)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
            _flush_folder(self.folder)
            self._prune()

        first = rank() == 0
        for doing in (clear if first else None, write, finish if first else None):
            self._together(doing, final, aside)
        return final

    def _together(self, doing: Callable[[], None] | None, final: Path, aside: Path) -> None:
        """Do a part of the saving; where any process fails in it, all raise."""
        reason = None
        try:
            if doing is not None:
                doing()
        except (OSError, SafetensorError) as error:
            reason = _reason(error)
        if everywhere(reason is None):
            return
        if rank() == 0:
            shutil.rmtree(aside, ignore_errors=True)
        last = self.steps()
        kept = f"the last whole one is {self.path(last[-1])}" if last else "there is none yet"
        reason = reason or "another process could not write its share"
        raise BadInput(f"cannot write the checkpoint {final}: {reason}; {kept}")

    def open_latest(self) -> tuple[Saved, dict[str, Any]] | None:
        """The newest whole checkpoint's tensors, open, and its state; or None. What a killed save left is
        removed. Every process calls it."""
        newest = -1
        if rank() == 0:
            for leftover in self.folder.glob(".writing-*") if self.folder.is_dir() else ():
                shutil.rmtree(leftover, ignore_errors=True)
            newest = self.steps()[-1] if self.steps() else -1
        newest = int(agree(newest)[0])
        if newest < 0:
            return None
        path = self.path(newest)
        try:
            state = json.loads((path / STATE).read_text())
            return Saved(path), state
        except (OSError, ValueError) as error:  # a BadInput is a ValueError
            raise BadInput(
                f"cannot read the checkpoint {path} (delete it to go on without): {error}"
            ) from None

    # -- the best one ------------------------------------------------------------------------------

    def best(self) -> dict[str, Any] | None:
        """{"step", "metric", "value"} of the best checkpoint so far, or None."""
        path = self.folder / "best.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def offer_best(self, step: int, metric: str, value: float, higher: bool) -> bool:
        """Remember `step` as the best if it is; the comparison is within one metric only."""
        old = self.best()
        if old is not None and old["metric"] == metric:
            better = value >= old["value"] if higher else value <= old["value"]
            if not better:
                return False
        text = json.dumps({"step": step, "metric": metric, "value": value})
        _replace_text(self.folder / "best.json", text)
        self._prune()
        return True

    def _prune(self) -> None:
        best = self.best()
        steps = self.steps()
        for step in steps[: -self.keep]:
            if best is None or step != best["step"]:
                shutil.rmtree(self.path(step), ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Copy folder `source` to `target`, putting it in place in one rename."""
    aside = target.with_name(f".{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(source, aside)
    _flush(aside)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)


def _replace_text(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text)
    os.replace(aside, path)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "no space left on the disk" if "No space left" in text else text


def _flush(folder: Path) -> None:
    """fsync every file under `folder`, then the folders."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            _flush_file(entry)
        else:
            _flush_folder(entry)
    _flush_folder(folder)


def _flush_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
