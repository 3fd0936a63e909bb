"""How a client finds a policy server: an address that is one, a connection, and what each failure means."""

import json
import socket
import ssl
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from policies.serving.errors import (
    Overloaded,
    ProtocolVersion,
    Refusal,
    Stopping,
    TooLarge,
    Unauthorised,
    Unreachable,
)
from policies.serving.protocol import PATH
from vla.errors import BadInput
from vla.optional import need

__all__ = ["checked", "closed", "dial"]


def dial(url: str, tls: ssl.SSLContext | None, token: str, seconds: float, send_s: float) -> Any:
    """An open WebSocket, within `seconds`; none of its sends waits longer than `send_s`. Raises a Refusal."""
    websockets = need("websockets", "remote", "a remote policy")
    client = need("websockets.sync.client", "remote", "a remote policy")
    try:
        found = client.connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"} if token else {},
            ssl=tls,
            open_timeout=seconds,
            close_timeout=1.0,
            compression=None,
            max_size=64 * 2**20,
            proxy=None,  # a robot's question takes no way round
        )
    except websockets.exceptions.InvalidStatus as error:
        raise _denied(url, error.response) from None
    except ssl.SSLCertVerificationError as error:
        trust = "give its authority's PEM file as authority"
        line = f"{url}: its certificate is not trusted: {error.verify_message}; {trust}"
        raise Unauthorised(line) from None
    except ssl.SSLError as error:
        raise ProtocolVersion(f"{url}: no TLS there ({error.reason}); is it a ws:// server?") from None
    except TimeoutError:
        raise Unreachable(f"{url}: no server answered within {send_s:g} s") from None
    except OSError as error:
        raise Unreachable(f"{url}: {error.strerror or error}; is the server running?") from None
    except (websockets.exceptions.WebSocketException, ValueError) as error:
        hint = "" if tls else "; if it has TLS, wss://... is its address"
        if isinstance(error.__cause__, EOFError):  # a proxy without its server, or a server that is ending
            raise Unreachable(f"{url}: the connection was closed before an answer came{hint}") from None
        raise ProtocolVersion(f"{url}: no policy server there: {_line(error)}{hint}") from None
    # A peer that is gone, or never reads, must not make a send wait for ever.
    limit = struct.pack("ll", int(send_s), int(send_s % 1 * 1e6))
    found.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    return found


def checked(url: str, authority: Path | str | None) -> tuple[str, ssl.SSLContext | None]:
    """The whole address, and whom to trust. Raises BadInput."""
    parts = urlsplit(url)
    try:
        right = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        right = False
    if not right or parts.query or parts.fragment:
        raise BadInput(
            f"'{url}' is no address of a policy server: ws://HOST:PORT (wss:// with TLS) is needed"
        )
    if parts.username or parts.password:
        raise BadInput("an address must not hold a password; give the token by itself")
    whole = url.rstrip("/") + (PATH if parts.path in ("", "/") else "")
    if parts.scheme == "ws":
        if authority is not None:
            raise BadInput(f"'{url}' has no TLS, so authority={authority} would check nothing: use wss://")
        return whole, None
    if authority is not None and not Path(authority).is_file():
        raise BadInput(f"authority: there is no file {authority}")
    try:
        return whole, ssl.create_default_context(cafile=None if authority is None else str(authority))
    except (ssl.SSLError, OSError):
        raise BadInput(f"authority: {authority} holds no certificate in PEM form") from None


def _denied(url: str, response: Any) -> Refusal:
    """What a server says instead of opening the WebSocket."""
    status = response.status_code
    try:
        line = str(json.loads(bytes(response.body or b""))["error"]["line"])
    except (ValueError, KeyError, TypeError):
        line = ""
    if status == 401:
        return Unauthorised(f"{url}: {line or 'the token is missing or wrong'}")
    if status == 503:
        kind = Stopping if "stopping" in line else Overloaded
        return kind(f"{url}: {line or 'the server is overloaded'}")
    return ProtocolVersion(f"{url}: no policy server at this address (HTTP status {status})")


def closed(url: str, error: Any) -> Refusal:
    """What the end of a connection means."""
    code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
    if code == 1009:
        return TooLarge(
            f"{url}: the message is larger than the server reads{f': {reason}' if reason else ''}"
        )
    if code == 1012:
        return Stopping(f"{url}: the server has stopped")
    return Unreachable(f"{url}: the connection was lost{f': {reason}' if reason else ''}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
