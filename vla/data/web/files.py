"""Where a source's files are: patterns, braces and folders spelt out, URLs fetched once into a cache."""

import contextlib
import fcntl
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlparse

from tqdm import tqdm

from vla.errors import BadInput
from vla.folders import writable_folder

__all__ = ["cache_folder", "fetched", "held_by_one", "is_url", "local_files"]

PIECE = 1 << 20


def is_url(path: str) -> bool:
    """Whether webdataset, not the file system, opens it."""
    return "://" in path or path.startswith("pipe:")


def cache_folder(given: str, beside: Path | None) -> Path:
    """`given`, else ``.cache`` in the folder `beside`, else (and where that is read-only) the user's own."""
    if given:
        return writable_folder(Path(given))
    if beside is not None and os.access(beside, os.W_OK | os.X_OK):
        return writable_folder(beside / ".cache")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return writable_folder(Path(home) / "vla" / "web")


def local_files(paths: Sequence[str], endings: Sequence[str], cache: str) -> list[Path]:
    """All files that `paths` mean, in their order (sorted within a folder or a pattern), URLs fetched first.

    Raises BadInput for what is not there, and for a folder without a file of one of the `endings`.
    """
    from braceexpand import braceexpand

    found: list[Path] = []
    for path in paths:
        try:
            spelt = list(braceexpand(path))
        except ValueError:
            raise BadInput(f"{path}: a brace is open, as in {{000..012}}") from None
        for name in spelt:
            found += [fetched(name, cache_folder(cache, None))] if is_url(name) else _expanded(name, endings)
    twice = {path for path in found if found.count(path) > 1} if len(set(found)) < len(found) else set()
    if twice:
        raise BadInput(f"{min(twice)} is named twice")
    return found


def _expanded(name: str, endings: Sequence[str]) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        inside = sorted(
            p for p in path.iterdir() if p.suffix.lower() in endings and not p.name.startswith(".")
        )
        if not inside:
            raise BadInput(f"the folder {path} holds no {' or '.join(endings)} file")
        return inside
    if path.exists():
        return [path]
    if glob.has_magic(name):
        matching = sorted(Path(match) for match in glob.glob(name, recursive=True))
        if matching:
            return matching
        raise BadInput(f"no file matches {name}")
    raise BadInput(f"there is no file {name}")


def fetched(url: str, cache: Path) -> Path:
    """The local copy of `url`, made with webdataset's opener where it is not there yet.

    It is written aside and renamed, by one process at a time; a later change behind the URL is not noticed.
    Raises BadInput.
    """
    name = Path(urlparse(url).path).name if not url.startswith("pipe:") else ""
    file = cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name[-80:] or 'data'}"
    if file.is_file():
        return file
    with held_by_one(file):
        if not file.is_file():  # another process has just done it
            _fetch(url, file)
    return file


def _fetch(url: str, file: Path) -> None:
    from webdataset.gopen import gopen, gopen_schemes

    scheme = url.split(":", 1)[0]
    if scheme not in gopen_schemes and scheme != "file":
        known = ", ".join(sorted(each for each in gopen_schemes if not each.startswith("_")))
        raise BadInput(f"webdataset cannot open {url}: it knows {known}; other tools go behind pipe:")
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        bar = tqdm(desc=f"fetching {url}", unit="B", unit_scale=True, mininterval=1.0, delay=2.0)
        with gopen(url, "rb") as stream, aside.open("wb") as out, bar:
            while piece := stream.read(PIECE):
                out.write(piece)
                bar.update(len(piece))
        os.replace(aside, file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or _status(str(error))
        raise BadInput(f"cannot fetch {url}: {reason}") from None
    finally:
        aside.unlink(missing_ok=True)


def _status(line: str) -> str:
    """What curl's exit status, which webdataset passes on, most likely means."""
    known = {
        "exit 6 ": "no such host",
        "exit 7 ": "the server does not answer",
        "exit 18 ": "it broke off before its end",
        "exit 22 ": "the server has no such file, or refuses it",
        "exit 28 ": "it took too long",
    }
    return next((meaning for status, meaning in known.items() if status in line), line.splitlines()[0])


@contextlib.contextmanager
def held_by_one(file: Path) -> Iterator[None]:
    """One process at a time makes `file`; the others wait. The lock ends with the process."""
    lock = file.with_name(f".{file.name}.lock")
    with lock.open("a") as handle:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
