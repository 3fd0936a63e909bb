"""One process at a time in a folder: of several that start at once, one builds and the others wait for it."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vla.errors import BadInput

__all__ = ["alone_in"]


@contextlib.contextmanager
def alone_in(folder: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """Hold the folder, so that one process builds while the others wait; the lock ends with the process.
    Yields whether that is so: on a file system without locks all build, and whoever is last leaves the same.
    """
    try:
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise BadInput(
            f"cannot write the decoded cache {folder}: {error.strerror}; make the dataset's folder writable, "
            "or read without the cache: reading.cache=false"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            say(f"another process checks or builds a decoded cache in {folder}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        except OSError:
            alone = False
        yield alone
    finally:
        os.close(handle)
