"""Folders that commands write into: made, or refused in one line, and held by one run at a time."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from vla.errors import BadInput

__all__ = ["output_folder", "writable_folder", "write_whole"]


def writable_folder(path: Path) -> Path:
    """Make `path` if need be. Raises BadInput where that cannot be, or nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise BadInput(f"cannot write into the folder {path}: permission denied")
    return path


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Make `path` and hold it to the end. Raises BadInput where it cannot be written or another run holds it.

    The lock is on the folder itself and ends with the process, so that nothing is left after ``kill -9``.
    """
    handle = os.open(writable_folder(path), os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another run is writing into {path}; wait for it, or give another out=") from None
        except OSError:
            pass  # a file system without locks
        yield path
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Write a text file aside, then give it its name: it is there whole or as it was, and nothing is left."""
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")  # pids of two machines
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
