"""The emergency stop: pressed by a key, a file, a line on a socket or the program; it stays pressed."""

import threading
import time
from types import TracebackType
from typing import Self

from policies.runtime.safety.config import StopSources
from policies.runtime.safety.sources import FileSource, KeySource, SocketSource, Source

__all__ = ["EmergencyStop"]


class EmergencyStop:
    """Latched and thread-safe. A context manager: `start` on entering, `close` on leaving.

    It stops nothing by itself: the control loop looks at `pressed` at each tick. There is no release: a new
    run makes a new one.
    """

    def __init__(self, sources: StopSources | None = None) -> None:
        self._config = sources or StopSources()
        self._pressed = ""
        self._lock, self._event = threading.Lock(), threading.Event()
        self._sources: list[Source] = []
        self._socket: SocketSource | None = None

    @property
    def pressed(self) -> str:
        """By whom and when; empty if it is not."""
        return self._pressed

    @property
    def port(self) -> int | None:
        """Of the socket, if there is one."""
        return None if self._socket is None else self._socket.port

    @property
    def sources(self) -> tuple[str, ...]:
        """What presses it now, one phrase each, to be shown to whoever starts the arm."""
        return tuple(source.name for source in self._sources)

    def press(self, reason: str) -> None:
        """Press it, from any thread. The first reason is kept."""
        with self._lock:
            if not self._pressed:
                self._pressed = f"{reason} at {time.strftime('%H:%M:%S')}"
        self._event.set()

    def wait(self, timeout: float) -> bool:
        """Whether it is pressed, waiting for that for up to `timeout` seconds."""
        return self._event.wait(timeout)

    def start(self) -> None:
        """Begin to listen. Raises BadInput where the socket's port is taken."""
        config = self._config
        try:
            if config.port is not None:
                self._socket = SocketSource(config.port, self.press, lambda: self._pressed)
                self._sources.append(self._socket)
            if config.file is not None:
                self._sources.append(FileSource(config.file, self.press))
            if config.keys:
                keys = KeySource(config.keys, self.press)
                if keys.works:
                    self._sources.append(keys)
            for source in self._sources:
                source.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening; the terminal is as it was. What is pressed stays so."""
        while self._sources:
            self._sources.pop().close()
        self._socket = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
