"""The process that serves: one address, TLS where it is wanted, and a stop that first answers what it took.

`serve` runs until a signal; `running` serves from a thread of its own, for whoever wants a server beside
their own work (tests, the load measurement, a control loop that keeps inference in another process).
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from policies.base import Policy
from policies.serving.core import Core
from policies.serving.options import Serving, Tls
from policies.serving.protocol import Facts
from vla.errors import BadInput
from vla.optional import need

__all__ = ["Address", "running", "serve"]

_STEP = 0.02
_LEAVE = 2.0
"""Seconds for connections to close after the last answer."""


class Address:
    """Where a server listens."""

    def __init__(self, host: str, port: int, tls: bool) -> None:
        self.host, self.port, self.tls = host, port, tls

    def url(self, scheme: str, path: str = "") -> str:
        """scheme: ``ws`` or ``http``; it becomes wss or https where there is TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{'s' if self.tls else ''}://{host}:{self.port}{path}"


def serve(policy: Policy, serving: Serving, ready: Callable[[Address, Facts], None]) -> None:
    """Serve until SIGINT or SIGTERM. ready: told the address and the policy, once it listens. Raises
    BadInput."""
    with Core(policy, serving.limits) as core, _bound(serving) as (place, address):
        server = _server(core, serving)
        ready(address, core.facts)
        asyncio.run(_run(server, core, serving, place))


@contextlib.contextmanager
def running(policy: Policy, serving: Serving) -> Iterator[Address]:
    """Serve from a thread as long as the context lasts. Raises BadInput."""
    with Core(policy, serving.limits) as core, _bound(serving) as (place, address):
        server = _server(core, serving)
        thread = threading.Thread(
            target=lambda: asyncio.run(_run(server, core, serving, place)), name="server", daemon=True
        )
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.005)
        try:
            yield address
        finally:
            server.stopped = True
            thread.join()


def _server(core: Core, serving: Serving) -> Any:
    uvicorn: Any = need("uvicorn", "serving", "a policy server")
    need("starlette", "serving", "a policy server")
    need("websockets", "serving", "a policy server")
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from policies.serving.app import application

    limits, tls = serving.limits, serving.tls
    config = uvicorn.Config(
        application(core, serving, serving.token()),
        http=_impatient(AutoHTTPProtocol, limits.send_s),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_ping_interval=serving.ping_s,
        ws_ping_timeout=serving.gone_s,
        ws_per_message_deflate=False,  # a few bytes could unfold to very many
        limit_concurrency=4 * limits.sessions + 64,
        timeout_graceful_shutdown=int(_LEAVE),
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
    )

    class Server(uvicorn.Server):
        """Whose signals begin a stop that drains, instead of one that cuts connections off."""

        stopped = False

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.stopped:  # asked twice: at once
                self.force_exit = self.should_exit = True
            self.stopped = True

    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a stranger's bad handshake is no news
    return Server(config)


def _impatient(protocol: Any, seconds: float) -> Any:
    """uvicorn's protocol, but a connection that has asked for nothing after `seconds` is cut off."""

    class Impatient(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(seconds, self.look)

        def look(self) -> None:
            if self.cycle is None and self.transport.get_protocol() is self:
                self.transport.abort()

    return Impatient


async def _run(server: Any, core: Core, serving: Serving, place: socket.socket) -> None:
    stop = asyncio.ensure_future(_drain(server, core, serving))
    try:
        await server.serve([place])
    finally:
        stop.cancel()


async def _drain(server: Any, core: Core, serving: Serving) -> None:
    """Once told to stop: refuse what is new, answer what was accepted, then let uvicorn close."""
    while not server.stopped:
        await asyncio.sleep(_STEP)
    core.stop_asking()
    end = time.monotonic() + serving.limits.stop_s
    while core.waiting and time.monotonic() < end:
        await asyncio.sleep(_STEP)
    await asyncio.sleep(_STEP)  # the last answers are written
    server.should_exit = True


@contextlib.contextmanager
def _bound(serving: Serving) -> Iterator[tuple[socket.socket, Address]]:
    """A listening socket. Raises BadInput where the address or the certificate cannot be used."""
    if serving.tls is not None:
        _check_tls(serving.tls)
    try:
        found = socket.getaddrinfo(serving.host, serving.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, where = found[0]
        # asyncio sends small answers at once only where the socket itself says that it is TCP's.
        place = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadInput(f"host={serving.host}: {error.strerror}") from None
    with place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every connection: what a peer does not take for so long, dead or not reading, ends it.
        # Without this, bytes that were written and a connection that was closed could stay for ever.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            place.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * serving.gone_s))
        try:
            place.bind(where)
            place.listen(1024)
        except OSError as error:
            raise BadInput(
                f"cannot listen on {serving.host}, port {serving.port}: {error.strerror}"
            ) from None
        host, port = place.getsockname()[:2]
        yield place, Address(host, port, serving.tls is not None)


def _check_tls(tls: Tls) -> None:
    for what, file in (("certificate", tls.certificate), ("key", tls.key)):
        if not file.is_file():
            raise BadInput(f"tls.{what}: there is no file {file}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or error
        raise BadInput(f"tls: {tls.certificate} and {tls.key} cannot be used: {why}") from None
