"""A folder that a command was stopped in is no dataset yet: this says so, with the command that goes on.

Whoever begins such a folder leaves a note in it, which goes away when the dataset is whole. So a conversion
that was killed is neither read as a dataset nor filled up by a collection.
"""

import json
from pathlib import Path

from vla.errors import BadInput
from vla.folders import write_whole

__all__ = ["STAGING", "aside_of", "check_finished", "check_no_conversion", "leave_note", "remove_note"]

STAGING = ".staging"
"""Folder within a dataset where episodes wait to be put together."""
_NOTE = "unfinished.json"


def aside_of(target: Path) -> Path:
    """Where a dataset that is built beside its place lies until it is whole."""
    return target.with_name(f".{target.name}.unfinished")


def leave_note(folder: Path, command: str) -> None:
    """Say in `folder`, where something is being built, which command goes on with it."""
    if not (folder / _NOTE).is_file():
        write_whole(folder / _NOTE, json.dumps({"command": command}))


def remove_note(folder: Path) -> None:
    """It is whole."""
    (folder / _NOTE).unlink(missing_ok=True)


def check_finished(root: Path) -> None:
    """Raise BadInput where `root`, which has no meta/info.json yet, was begun by a command that was stopped;
    the line tells how to go on."""
    if (root / "meta" / "info.json").is_file():
        return
    check_no_conversion(root)
    if any((root / STAGING).glob("episode-*.parquet")) or (root / STAGING / "commit").is_dir():
        raise BadInput(
            f"{root} was never finished: its episodes are not put together yet; run the command that was "
            f"making it again (python scripts/collect.py episodes=... out={root})"
        )


def check_no_conversion(root: Path) -> None:
    """Raise BadInput where a conversion into `root` was stopped: nothing else may add to what it left."""
    if (root / "meta" / "info.json").is_file():
        return
    for folder in (root / STAGING, aside_of(root), root):
        if (folder / _NOTE).is_file():
            raise BadInput(
                f"{root} was never finished: a conversion into it was stopped; go on with: {_command(folder)}"
            )


def _command(folder: Path) -> str:
    try:
        return str(json.loads((folder / _NOTE).read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return "python scripts/data.py convert, with the same data= and out= as before"
