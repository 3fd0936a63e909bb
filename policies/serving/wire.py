"""What the codecs share: one WebSocket with its limits, and a core's answers awaited."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from policies.serving.batching import Session
from policies.serving.core import Core
from policies.serving.errors import Late
from policies.serving.options import Serving
from vla.interfaces import ActionChunk, Observation

__all__ = ["Gone", "Line", "Server", "answer", "within"]

_SMALL = 2**18
"""Bytes below which a message is read at once; larger ones, which take milliseconds, beside the loop."""


class Gone(Exception):
    """The client is not there any more, or does not take what it is sent."""


@dataclass(frozen=True)
class Server:
    """What a codec works with. token: what clients must show. readers: threads that decode."""

    core: Core
    serving: Serving
    token: str
    readers: ThreadPoolExecutor

    async def decode[T](self, function: Callable[[bytes], T], data: bytes, heavy: bool = False) -> T:
        """``function(data)``, which may raise a Refusal. heavy: pictures in it are compressed."""
        if len(data) < _SMALL and not heavy:
            return function(data)
        return await asyncio.get_running_loop().run_in_executor(self.readers, function, data)


class Line:
    """One accepted WebSocket. Raises Gone wherever the client is."""

    def __init__(self, socket: WebSocket, serving: Serving) -> None:
        self._socket, self._limits = socket, serving.limits

    async def receive(self) -> bytes | str:
        """The next message; Gone after `Limits.idle_s` of silence."""
        try:
            async with asyncio.timeout(self._limits.idle_s):
                message = await self._socket.receive()
        except TimeoutError:
            await self.close(1001, f"silent for {self._limits.idle_s:g} s")
            raise Gone from None
        if message["type"] == "websocket.disconnect":
            raise Gone
        found: Any = message.get("bytes")
        return message.get("text", "") if found is None else found

    async def send(self, data: bytes | str) -> None:
        """Give it to the client; Gone where it does not take it within `Limits.send_s`."""
        sent = self._socket.send_bytes(data) if isinstance(data, bytes) else self._socket.send_text(data)
        try:
            async with asyncio.timeout(self._limits.send_s):
                await sent
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            raise Gone from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; a reason is at most 123 bytes."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            try:
                async with asyncio.timeout(self._limits.send_s):
                    await self._socket.close(code, reason.encode()[:120].decode(errors="ignore"))
            except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
                pass


async def answer(core: Core, session: Session, observation: Observation, seconds: float) -> ActionChunk:
    """The core's chunk for a client whose protocol has no word for what lies between two questions.

    Raises its refusal, or Late, also where the policy itself is stuck.
    """
    return await within(core, session, core.act(session, observation, watched=True), seconds)


async def within[T](core: Core, session: Session, future: "Future[T]", seconds: float) -> T:
    """What the core answers. Raises its refusal, or Late after `seconds`."""
    try:
        async with asyncio.timeout(seconds + 0.5):  # the core's own line comes first, if it can
            return await asyncio.wrap_future(future)
    except TimeoutError:
        late = Late(f"no answer within {seconds:g} s: the policy is busy or stuck")
        core.refused(session.protocol, late)
        raise late from None
