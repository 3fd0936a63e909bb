"""One arm with one seed is a cell: a folder with the settings it was begun with, its training, its numbers.

Whatever is in a cell's folder was made with the settings beside it; other settings are refused, never mixed
in and never written over.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.runtime.transfer.options import Arm, Budget
from vla.errors import BadInput
from vla.folders import writable_folder, write_whole

__all__ = ["Cell", "cells_of", "kept"]

SETTINGS = "cell.json"


@dataclass(frozen=True)
class Cell:
    """arm: its name. overrides: of ``vla train``. settings: what its numbers depend on, as plain data."""

    arm: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def policy(self) -> Path:
        """Where the trained policy is, or will be."""
        return self.folder / "train" / "policy"

    @property
    def trained(self) -> bool:
        """Whether the training came to its end."""
        return (self.policy / "config.json").is_file()

    def begin(self) -> None:
        """Make the folder and write the settings down. Raises BadInput where it was begun with others."""
        self.check()
        writable_folder(self.folder)
        write_whole(self.folder / SETTINGS, _text(self.settings))

    def check(self) -> None:
        """Raise BadInput where the folder was begun with other settings, naming the first that differs."""
        path = self.folder / SETTINGS
        if not path.is_file():
            if (self.folder / "train").exists():
                raise BadInput(f"{self.folder} holds a training but no {SETTINGS}: give another out=")
            return
        _same(path, json.loads(path.read_text(encoding="utf-8")), json.loads(_text(self.settings)))


def cells_of(
    arms: Mapping[str, Arm], seeds: Sequence[int], budget: Budget, shared: Mapping[str, Any], out: Path
) -> list[Cell]:
    """All arms with the first seed, then all with the next, so that a comparison stands early.

    shared: ``train`` (overrides of all arms) and what else their numbers depend on.
    """
    cells = []
    for seed in seeds:
        for name, arm in arms.items():
            overrides = (*shared["train"], *arm.training(budget), f"seed={seed}")
            settings = {**shared, "train": list(overrides)}
            cells.append(Cell(name, seed, out / name / f"seed{seed}", overrides, settings))
    return cells


def kept(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The numbers in a file, if it is there. Raises BadInput where they were found under other settings."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        numbers: dict[str, Any] = found["numbers"]
        before = found["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    _same(path, before, json.loads(_text(settings)))
    return numbers


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=1, default=str) + "\n"


def _same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old != new:
            if isinstance(old, list) and isinstance(new, list):
                old = [each for each in old if each not in new] or "without"
                new = [each for each in new if each not in before[key]] or "without"
            raise BadInput(f"{path} is of a run with {key}={old}, now it is {new}: give another out=")
