"""A TCP proxy on the loopback that delays, swallows and cuts: the network between a policy and its server."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["Proxy"]


class Proxy:
    """Passes bytes between whoever connects to `port` and `target`, a port of the loopback.

    delay_s: on the way there and again on the way back. silent: nothing is passed on any more. asked: set
    whenever a client has sent something. A context manager.
    """

    def __init__(self, target: int) -> None:
        self.target, self.delay_s = target, 0.0
        self.silent = False
        self.asked = threading.Event()
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._ready = threading.Event()

    def cut(self) -> None:
        """Reset all connections, as a crash does."""
        self._loop.call_soon_threadsafe(self._cut)

    def shut(self) -> None:
        """Reset all connections and refuse new ones, as a machine without the server does."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(5)

    def open(self, target: int | None = None) -> None:
        """Take connections again, on the same port. target: for another server."""
        self.target = self.target if target is None else target
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(5)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(5)

    # -- the proxy's thread -----------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server: asyncio.Server | None = None
        self._loop.run_until_complete(self._open())
        self._ready.set()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_forever()
        if self._server is not None:
            self._server.close()
        self._cut()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _stop(self) -> None:
        self._loop.stop()

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    def _cut(self) -> None:
        for writer in list(self._writers):
            raw: Any = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # linger 0: a reset instead of an orderly end
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(there)
            ways = [self._pump(reader, there, self.asked.set), self._pump(back, writer, lambda: None)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        except OSError:
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Callable[[], None]
    ) -> None:
        due = 0.0
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                told()
                if not self.silent:
                    due = max(due, self._loop.time() + self.delay_s)  # never before what was sent earlier
                    self._loop.call_at(due, writer.write, data)
