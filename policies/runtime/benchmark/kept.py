"""Measurements that are done, in one JSON file, so that the same command again goes on where it stopped.

A measurement is known by its settings alone: change one of them, and it is another one. The file may hold
those of several commands.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla.errors import BadInput
from vla.folders import write_whole

__all__ = ["Kept"]


class Kept:
    """path: the file, written anew after each measurement; None: nothing is kept. commit: of the code, told
    with each. again: forget those that are asked for, and measure them anew. Raises BadInput for a file of
    something else."""

    def __init__(self, path: Path | None = None, commit: str = "", again: bool = False) -> None:
        self._path, self._commit, self._again = path, commit, again
        self._cells: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self._cells = _read(path)

    def get(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What came of it, with ``at`` and ``commit``; None where it is still to be measured."""
        if self._again:
            return None
        return next((cell for cell in self._cells if cell["settings"] == _plain(settings)), None)

    def put(self, settings: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Keep it, in place of an earlier one of the same settings; as `get` gives it."""
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        told = _plain({"settings": settings, "found": found, "at": at, "commit": self._commit})
        self._cells = [cell for cell in self._cells if cell["settings"] != told["settings"]]
        self._cells.append(told)
        if self._path is not None:
            write_whole(self._path, json.dumps({"cells": self._cells}, indent=1) + "\n")
        return told


def _plain(what: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(what, default=str))
    return plain


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if all({"settings", "found", "at", "commit"} <= cell.keys() for cell in cells):
            return list(cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BadInput(
        f"{path} holds no measurements that could be gone on with; delete it, or give another out="
    )
