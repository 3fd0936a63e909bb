"""A policy server in a process of its own, and many clients of it in this one, without a thread for each."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from policies.runtime.benchmark.dialects import PATHS, Heard, Protocol, greetings, hear, new_episode, say
from policies.serving.options import Keys, Limits, Rest, Serving, VlaEval
from policies.serving.server import Address
from vla.errors import BadInput
from vla.interfaces import Observation

__all__ = ["Client", "connected", "rss_mib", "serving", "settings"]

_STATE = {"openpi": "observation/state", "vla_eval": "states", "rest": "state"}


def settings(limits: Limits) -> Serving:
    """Of a server on a free port of this machine, with the names that `dialects` uses."""
    pictures = {"front": "observation/image", "wrist": "observation/wrist_image"}
    return Serving(
        port=0,
        limits=limits,
        openpi=Keys({name: camera for camera, name in pictures.items()}, state=(_STATE["openpi"],)),
        vla_eval=VlaEval(
            {"images/front": "front", "images/wrist": "wrist"}, (), (_STATE["vla_eval"],), "task_description"
        ),
        rest=Rest({"image": "front", "wrist_image": "wrist"}, (), (_STATE["rest"],), "instruction"),
    )


@contextlib.contextmanager
def serving(
    policy: str, limits: Limits, call_ms: float = 0.0, each_ms: float = 0.0
) -> Iterator[tuple[Address, int]]:
    """A server in another process: its address and its process number. policy: as `policies.load`, or
    ``echo``, whose calls then take `call_ms`, and `each_ms` for each observation."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_serve, args=(policy, limits, call_ms, each_ms, there), daemon=True)
    process.start()
    there.close()
    try:
        try:
            host, port = here.recv()
        except EOFError:
            raise BadInput("the server's process ended before it listened; see what it printed") from None
        assert process.pid is not None
        yield Address(host, port, tls=False), process.pid
    finally:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
        process.join(30)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(policy: str, limits: Limits, call_ms: float, each_ms: float, told: Any) -> None:
    from policies import load
    from policies.base import Policy
    from policies.serving.echo import EchoPolicy
    from policies.serving.server import serve

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    served: Policy = (
        EchoPolicy(call_s=call_ms / 1000, each_s=each_ms / 1000)
        if policy == "echo"
        else load(policy, **({} if policy in ("random", "expert") else {"threads": 1}))
    )
    with contextlib.suppress(KeyboardInterrupt):
        serve(served, settings(limits), lambda address, facts: told.send((address.host, address.port)))


def rss_mib(process: int) -> float:
    """Memory that a process holds, MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Client:
    """One client of a protocol. Raises ConnectionError or EOFError where the connection is lost."""

    def __init__(self, protocol: Protocol, socket: Any, address: Address) -> None:
        self.protocol, self._socket = protocol, socket
        self._head = f"POST /act HTTP/1.1\r\nHost: {address.host}\r\nContent-Length: "

    async def ask(self, seen: Observation, number: int) -> Heard:
        """The first action of a whole chunk for an observation."""
        return await self.raw(say(self.protocol, seen, number), number)

    async def raw(self, data: bytes, number: int | None = None) -> Heard:
        """What is answered to anything. number: of a question that is to get a whole chunk."""
        if self.protocol != "rest":
            from websockets.exceptions import ConnectionClosed

            try:
                if self.protocol == "vla_eval" and number is not None:
                    await self._socket.send(new_episode(number))
                await self._socket.send(data)
                return hear(self.protocol, await self._socket.recv())
            except ConnectionClosed as error:
                raise ConnectionError(str(error)) from None
        reader, writer = self._socket
        writer.write(f"{self._head}{len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        return hear("rest", await reader.readexactly(length))


@contextlib.asynccontextmanager
async def connected(address: Address, protocol: Protocol) -> AsyncIterator[Client]:
    """A client that has greeted the server."""
    if protocol == "rest":
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=2**20)
        try:
            yield Client(protocol, (reader, writer), address)
        finally:
            writer.close()
        return
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    try:
        async with connect(
            address.url("ws", PATHS[protocol]), compression=None, proxy=None, max_size=None, close_timeout=1
        ) as socket:
            if protocol == "openpi":
                await socket.recv()
            for each in greetings(protocol):
                await socket.send(each)
                await socket.recv()
            yield Client(protocol, socket, address)
    except WebSocketException as error:
        raise ConnectionError(str(error)) from None
