"""The emulator's control socket: JSON lines on the loopback, and pictures as bytes after such a line.

Each request is one line, ``{"do": "reset", "seed": 3}``, and each answer one line, ``{"ok": true, ...}`` or
``{"ok": false, "error": "..."}``. After the answer to ``picture`` come so many raw bytes as it says.
"""

import json
import socket
import socketserver
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.arms.servo_emulator.faults import BusFault
from vla.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from envs.arms.servo_emulator.emulator import Emulator

__all__ = ["Server"]

_LONGEST = 65536
"""Bytes of a request."""


class Server:
    """Serves `emulator` on the loopback. port: 0 for a free one."""

    def __init__(self, emulator: "Emulator", port: int) -> None:
        self._emulator, self._port = emulator, port
        self._server: _Sockets | None = None

    @property
    def address(self) -> str:
        """``HOST:PORT``; empty while it is not started."""
        return "" if self._server is None else "{}:{}".format(*self._server.server_address[:2])

    def start(self) -> None:
        """Listen. Raises BadInput for a port that is taken."""
        try:
            self._server = _Sockets(self._emulator, self._port)
        except OSError as error:
            raise BadInput(f"cannot listen on 127.0.0.1:{self._port}: {error.strerror}") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="emulator control", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close it and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.hang_up()
            server.server_close()
            self._thread.join()


class _Sockets(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, emulator: "Emulator", port: int) -> None:
        self.emulator, self.closing = emulator, threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Client)

    def admit(self, connection: socket.socket, there: bool) -> None:
        with self._lock:
            (self._open.add if there else self._open.discard)(connection)

    def hang_up(self) -> None:
        self.closing.set()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Client(socketserver.StreamRequestHandler):
    server: _Sockets
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.admit(self.connection, True)
        try:
            while not self.server.closing.is_set():
                line = self.rfile.readline(_LONGEST)
                if not line.endswith(b"\n"):
                    return
                self.wfile.write(self._answer(line))
        except OSError:
            return
        finally:
            self.server.admit(self.connection, False)

    def _answer(self, line: bytes) -> bytes:
        raw = b""
        try:
            answer, raw = self._do(line)
        except BadInput as error:
            answer = {"ok": False, "error": str(error)}
        return json.dumps({"ok": True, **answer}).encode() + b"\n" + raw

    def _do(self, line: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            request = json.loads(line)
            what = request.pop("do")
        except (ValueError, KeyError, AttributeError, RecursionError):
            raise BadInput('a request is one line of JSON with "do"') from None
        if what == "picture":
            return self._picture(**_only(request, "camera", "after", "wait_s"))
        known = {name.removeprefix("_do_"): name for name in dir(self) if name.startswith("_do_")}
        if what not in known:
            raise BadInput(f"the emulator cannot do {what!r}{did_you_mean(str(what), [*known, 'picture'])}")
        try:
            return getattr(self, known[what])(**request), b""
        except (TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{what}: {str(error).split('() ')[-1]}") from None

    def _picture(self, camera: str = "front", after: float = 0.0, wait_s: float = 0.0) -> Any:
        """The newest picture of a camera; waits for one that is newer than `after`."""
        end = time.monotonic() + min(wait_s, 2.0)
        while True:
            pictures = self.server.emulator.pictures
            if camera not in pictures:
                raise BadInput(f"the emulator has no camera '{camera}'{did_you_mean(str(camera), pictures)}")
            picture = pictures[camera]
            if picture.time > after or time.monotonic() >= end or self.server.closing.is_set():
                break
            self.server.closing.wait(0.002)
        shape = list(picture.pixels.shape)
        told = {"time": picture.time, "number": picture.number, "shape": shape}
        return {**told, "bytes": picture.pixels.nbytes}, picture.pixels.tobytes()

    def _do_about(self) -> dict[str, Any]:
        emulator = self.server.emulator
        return {"port": emulator.port, "cameras": sorted(emulator.pictures), "task": emulator.task}

    def _do_reset(self, seed: int, **how: Any) -> dict[str, Any]:
        return {"task": self.server.emulator.reset(int(seed), **how)}

    def _do_verdict(self) -> dict[str, Any]:
        verdict = self.server.emulator.verdict()
        told = {"ended": verdict.ended, "success": verdict.success, "steps": verdict.steps}
        return {**told, "outcome": verdict.outcome}

    def _do_positions(self) -> dict[str, Any]:
        return {"positions": self.server.emulator.positions.tolist()}

    def _do_registers(self, joint: str, names: list[str]) -> dict[str, Any]:
        try:
            return {"registers": self.server.emulator.registers(joint, *names)}
        except KeyError as error:
            raise BadInput(f"there is no joint or register {error}") from None

    def _do_fault(self, **fault: Any) -> dict[str, Any]:
        self.server.emulator.inject(BusFault(**fault))
        return {}

    def _do_push(self, torques: list[float]) -> dict[str, Any]:
        self.server.emulator.push(torques)
        return {}

    def _do_clear(self) -> dict[str, Any]:
        self.server.emulator.clear()
        return {}

    def _do_calibration(self, folder: str, id: str) -> dict[str, Any]:
        return {"file": str(self.server.emulator.write_calibration(Path(folder), id))}


def _only(request: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in request:
        if name not in names:
            raise BadInput(f"unknown key '{name}'{did_you_mean(name, names)}")
    return request
