"""What presses an emergency stop: each source listens in a thread of its own and calls `press`."""

import atexit
import contextlib
import os
import select
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from vla.errors import BadInput

__all__ = ["FileSource", "KeySource", "SocketSource", "Source"]

Press = Callable[[str], None]

POLL_SECONDS = 0.02
"""Between two looks for the file: fifty times a second."""

_KEY_NAMES = {" ": "space", "\x1b": "escape"}

LONGEST_LINE = 500
"""Bytes of a line on the socket; what is longer presses, too."""


class Source(Protocol):
    """One way to press. name: a phrase for people."""

    name: str

    def start(self) -> None:
        """Begin to listen."""

    def close(self) -> None:
        """Stop listening; may be called twice."""


class _Threaded:
    """A source whose `_run` returns soon after `_ending` is set."""

    name = ""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._thread = threading.Thread(target=self._run, name=f"emergency stop: {self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._ending.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class FileSource(_Threaded):
    """Pressed as soon as there is something at `path`, before the start as well."""

    def __init__(self, path: Path, press: Press) -> None:
        super().__init__()
        self._path, self._press, self.name = path, press, f"the file {path}"

    def start(self) -> None:
        """Begin to listen; the first look is taken before this returns."""
        self._look()
        super().start()

    def _look(self) -> bool:
        there = os.path.lexists(self._path)
        if there:
            self._press(f"emergency stop: the file {self._path} is there (remove it before the next run)")
        return there

    def _run(self) -> None:
        while not self._ending.wait(POLL_SECONDS):
            if self._look():
                return


class SocketSource(_Threaded):
    """A line protocol on a loopback port, one answer a line, on as many connections as come.

    ``status`` is answered with ``running`` or ``pressed: ...``. ``stop REASON``, and any other line, presses
    and is answered with ``stopped``: on an emergency nobody should have to spell. A connection that is closed
    without a line presses nothing.
    """

    def __init__(self, port: int, press: Press, pressed: Callable[[], str]) -> None:
        super().__init__()
        self._press, self._pressed = press, pressed
        self._server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._server.bind(("127.0.0.1", port))
            self._server.listen()
        except OSError as error:
            self._server.close()
            raise BadInput(
                f"safety: stop.port={port} cannot be listened on ({error.strerror}): choose another, or 0"
            ) from None
        self.port = int(self._server.getsockname()[1])
        self.name = f"port {self.port} of this machine"

    def close(self) -> None:
        """Stop listening, and close all connections."""
        super().close()
        self._server.close()

    def _run(self) -> None:
        connections: dict[socket.socket, bytes] = {}
        while not self._ending.is_set():
            ready, _, _ = select.select([self._server, *connections], [], [], POLL_SECONDS)
            for each in ready:
                if each is self._server:
                    with contextlib.suppress(OSError):
                        connections[self._server.accept()[0]] = b""
                else:
                    rest = self._read(each, connections[each])
                    if rest is None:
                        del connections[each]
                        each.close()
                    else:
                        connections[each] = rest
        for each in connections:
            each.close()

    def _read(self, connection: socket.socket, before: bytes) -> bytes | None:
        """Answer the lines that have come in; returns what is left of the last; None: it is closed."""
        try:
            new = connection.recv(4096)
        except OSError:
            return None
        *lines, rest = (before + new).split(b"\n")
        if not new or len(rest) > LONGEST_LINE:  # the end may come without a newline
            lines, rest = [*lines, rest], b""
        for line in lines:
            answer = self._answer(line[:LONGEST_LINE].decode("utf-8", "replace").strip())
            if answer:
                try:
                    connection.setblocking(False)
                    connection.sendall(answer.encode() + b"\n")
                except OSError:
                    return None
        return rest if new else None

    def _answer(self, line: str) -> str:
        if not line:
            return ""
        if line.lower() == "status":
            return f"pressed: {self._pressed()}" if self._pressed() else "running"
        reason = line[4:].strip() if line.lower().startswith("stop") else line
        printable = "".join(c if c.isprintable() else "?" for c in reason)
        self._press("emergency stop: by the socket" + (f" ({printable})" if printable else ""))
        return "stopped"


class KeySource(_Threaded):
    """Pressed by one of `keys` in the terminal, without Return. Off where standard input is no terminal, or
    one that belongs to another process group (a job in the background).

    The terminal is in cbreak mode meanwhile (Ctrl-C works as ever) and is restored at the end, also when the
    program exits without `close`. stream: a terminal; for tests.
    """

    def __init__(self, keys: str, press: Press, stream: Any = None) -> None:
        super().__init__()
        self._keys, self._press = keys, press
        self._stream = sys.stdin if stream is None else stream
        self.name = "the key " + " or ".join(_KEY_NAMES.get(key, key) for key in keys)
        self._saved: list[Any] | None = None

    @property
    def works(self) -> bool:
        """Whether there is a terminal to listen to."""
        try:
            descriptor = self._stream.fileno()
            return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
        except (AttributeError, OSError, ValueError):
            return False

    def start(self) -> None:
        """Begin to listen."""
        import termios
        import tty

        self._fd = self._stream.fileno()
        self._saved = termios.tcgetattr(self._fd)
        atexit.register(self._restore)
        tty.setcbreak(self._fd)
        super().start()

    def close(self) -> None:
        """Stop listening; the terminal is as it was."""
        super().close()
        self._restore()
        atexit.unregister(self._restore)

    def _restore(self) -> None:
        import termios

        saved, self._saved = self._saved, None
        if saved is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                ready, _, _ = select.select([self._fd], [], [], POLL_SECONDS)
                typed = os.read(self._fd, 64) if ready else None
            except OSError:
                typed = b""
            if typed == b"":  # the terminal is gone: nobody can press a key any more
                self._press("emergency stop: the terminal is gone")
                return
            for key in (typed or b"").decode("utf-8", "replace"):
                if key in self._keys:
                    self._press(f"emergency stop: by the key {_KEY_NAMES.get(key, key)}")
