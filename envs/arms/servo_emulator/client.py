"""Talks with an emulator in this or another process through its control socket."""

import contextlib
import json
import socket
from typing import Any, Self

import numpy as np

from vla.arm import ArmFault, Picture
from vla.errors import BadInput

__all__ = ["EmulatorClient"]


class EmulatorClient:
    """address: ``HOST:PORT`` as the emulator prints it. One thread at a time may use it.

    Raises ArmFault where nobody is there, BadInput for what the emulator does not do.
    """

    def __init__(self, address: str, timeout_s: float = 5.0) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise BadInput(f"the emulator's address is HOST:PORT, not {address!r}")
        try:
            self._socket = socket.create_connection((host, int(port)), timeout_s)
        except (OSError, OverflowError) as error:
            raise ArmFault(f"no emulator answers at {address} ({error}); start scripts/emulator.py") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Let it do something: about, reset, verdict, positions, fault, clear, calibration."""
        return self._exchange({"do": do, **what})

    def picture(self, camera: str, after: float = 0.0, wait_s: float = 0.0) -> Picture:
        """The newest picture; waits up to `wait_s` for one taken later than `after`."""
        told = self._exchange({"do": "picture", "camera": camera, "after": after, "wait_s": wait_s})
        with self._lost():
            raw = self._file.read(told["bytes"])
        if len(raw) != told["bytes"]:
            raise ArmFault(f"the emulator at {self.address} is gone")
        pixels = np.frombuffer(raw, np.uint8).reshape(told["shape"])
        return Picture(pixels, told["time"], told["number"])

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lost():
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ArmFault(f"the emulator at {self.address} is gone")
        told: dict[str, Any] = json.loads(line)
        if not told.pop("ok"):
            raise BadInput(told["error"])
        return told

    def _lost(self) -> "contextlib.AbstractContextManager[None]":
        return _as_fault(self.address)


@contextlib.contextmanager
def _as_fault(address: str) -> Any:
    try:
        yield
    except OSError as error:
        raise ArmFault(f"the emulator at {address} does not answer: {error}") from None
