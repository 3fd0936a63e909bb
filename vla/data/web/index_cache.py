"""Indexes of large files, kept in a cache folder: made once, thrown away when the file changes."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "kept"]

Arrays = Mapping[str, npt.NDArray]


def kept(file: Path, kind: str, folder: Path, build: Callable[[], Arrays]) -> Arrays:
    """What `build` gives for the present state of `file` (told by size and time): from `folder`, or built.

    An index that cannot be read is built again; a folder that cannot be written is gone without.
    """
    stat = file.stat()
    place = hashlib.sha256(f"{kind}:{file.resolve()}".encode()).hexdigest()[:16]
    state = hashlib.sha256(f"{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:8]
    saved = folder / f"{place}-{state}.npz"
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*unreadable), np.load(saved, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}
    arrays = dict(build())
    aside = folder / f".{saved.name}.{os.getpid()}.tmp"
    try:
        with aside.open("wb") as out:
            np.savez(out, allow_pickle=False, **arrays)
        os.replace(aside, saved)
        for old in folder.glob(f"{place}-*.npz"):
            if old != saved:
                old.unlink(missing_ok=True)
    except OSError:
        pass
    finally:
        aside.unlink(missing_ok=True)
    return arrays
