"""The thread that puts a run's journal on the disk, and what it does when the disk cannot.

Whoever logs appends to a queue and goes on; this thread empties it several times a second, packs, writes and
flushes. A disk that is too slow loses pictures, which are counted, and never a decision; a full one is
fought with a reserve that was set aside at the start. A write that failed is cut off the file and tried
again, so that the journal never holds half a record in its middle.
"""

import errno
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from policies.runtime.log.options import LogOptions
from vla.errors import BadInput

__all__ = ["JOURNAL", "JournalWriter", "in_use"]

JOURNAL = "journal.bin"
_RESERVE = "journal.reserve"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEAST_FREE = 32 * 2**20


class JournalWriter:
    """Writes what `put` was given to `folder`/journal.bin.

    pack: entries -> records; it runs in the thread. Heavy entries (those with pictures) are packed one by
    one, after all others that wait. starved: the disk is full, and what is large should not be given any
    more. The file is locked while it is open, so that nobody takes it for a crashed run's.
    """

    def __init__(
        self, folder: Path, options: LogOptions, pack: Callable[[Sequence[Any]], list[bytes]]
    ) -> None:
        self.path, self._options, self._pack = folder / JOURNAL, options, pack
        self._reserve = folder / _RESERVE
        self.starved = False
        self._failure, self._broken = "", ""
        self._light: deque[Any] = deque()
        self._heavy: deque[Any] = deque()
        self._unwritten: list[bytes] = []
        self._size, self._dirty, self._synced = 0, False, time.monotonic()
        self._empty_at = time.monotonic()
        self._file = self._open(folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run log", daemon=True)
        self._thread.start()

    def put(self, entry: Any, heavy: bool = False) -> None:
        """Have it written soon. Costs less than a microsecond, whatever the disk does."""
        (self._heavy if heavy else self._light).append(entry)

    @property
    def trouble(self) -> str:
        """Why what is logged does not reach the disk; empty if it does."""
        if self._broken or self._failure:
            return self._broken or self._failure
        behind = time.monotonic() - self._empty_at
        if behind > self._options.late_s and self._thread.is_alive():
            return f"the log is {behind:.0f} s behind: the disk of {self.path}, or the processor, is too slow"
        return ""

    def close(self) -> None:
        """Write what is left, flush, let go of the file. Raises BadInput where not all could be written."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            os.close(self._file)
            self._reserve.unlink(missing_ok=True)
        if self._light or self._heavy or self._unwritten:
            raise BadInput(f"the end of the log is lost: {self.trouble or 'it could not be written'}")

    def _open(self, folder: Path) -> int:
        space = os.statvfs(folder)
        free, needed = space.f_bavail * space.f_frsize, _LEAST_FREE + int(self._options.reserve_mb * 2**20)
        if free < needed:
            raise BadInput(
                f"only {free / 2**20:.0f} MB are free on the disk of {folder}; a run's log needs at least "
                f"{needed / 2**20:.0f} MB: free some, or give another log.folder="
            )
        if self._options.reserve_mb:
            with suppress(OSError), open(self._reserve, "wb") as kept:  # a file system that cannot: without
                os.posix_fallocate(kept.fileno(), 0, int(self._options.reserve_mb * 2**20))
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sync_folder(folder)
        return file

    # -- the thread's side -------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            stopping = self._stop.wait(self._options.write_s)
            try:
                self._write_all()
                self._sync_if_due(at_once=stopping)
            except OSError as error:
                self._fail(error)
            except Exception as error:  # whatever it is: the run must learn that nothing is logged any more
                self._broken = f"the log failed: {type(error).__name__}: {error}"
                return
            if stopping and (self._failure or not (self._light or self._heavy)):
                return

    def _write_all(self) -> None:
        """All that waits; before each of the heavy ones, what came meanwhile of the light ones."""
        while True:
            began = time.monotonic()
            if not self._unwritten:  # else the last write failed: that first
                self._unwritten = self._pack([self._light.popleft() for _ in range(len(self._light))])
            self._write_packed()
            self._empty_at = began
            self._sync_if_due()
            if not self._heavy:
                return
            self._unwritten = self._pack([self._heavy.popleft()])
            self._write_packed()

    def _write_packed(self) -> None:
        while self._unwritten:
            self._write(self._unwritten[0])
            self._unwritten.pop(0)
        self._failure = ""

    def _write(self, record: bytes) -> None:
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            if error.errno not in _FULL or self.starved:
                raise
            self._use_reserve()
            self._write(record)
            return
        self._size += len(record)
        self._dirty = True

    def _use_reserve(self) -> None:
        self.starved = True
        self._broken = f"no space left on the disk of {self.path}: the log goes on without pictures"
        self._reserve.unlink(missing_ok=True)

    def _sync_if_due(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if not self._dirty or not (at_once or now - self._synced >= self._options.sync_s):
            return
        self._synced = now
        self._dirty = False
        try:
            os.fsync(self._file)
        except OSError as error:
            # The kernel forgets what it could not write: no later flush would tell.
            self._broken = f"{self.path} cannot be flushed to the disk: {error.strerror}"

    def _fail(self, error: OSError) -> None:
        full = error.errno in _FULL
        what = f"no space left on the disk of {self.path}" if full else f"{self.path} cannot be written"
        self._failure = what if full else f"{what}: {error.strerror}"


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk, as far as its file system offers that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def in_use(journal: Path) -> bool:
    """Whether a running process is still writing this journal."""
    with open(journal, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks: nobody can say
            return False
    return False
