"""A client's line to a policy server: made when it is needed, made anew with a back-off, questions answered.

Whatever goes wrong becomes a type (`policies.serving.errors`) and one line, within the time given. What it
is connected to must stay the same policy: another one in its place must not move the robot unasked.
"""

import dataclasses
import random
import time
from pathlib import Path
from typing import Any

from policies.serving.arrays import pack, unpack
from policies.serving.dial import checked, closed, dial
from policies.serving.errors import Late, ProtocolVersion, Refusal, UnknownSession, Unreachable
from policies.serving.protocol import VERSION, Facts, refused_from
from vla.optional import need

__all__ = ["Connection"]

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
"""Seconds between attempts to connect: doubled each time, and shortened by chance, so that many robots do
not come back at the same moment."""


class Connection:
    """url, token, authority, timeout: as in `policies.remote.RemotePolicy`.

    facts: of the server's policy; None before it was met. begun: lanes for which the server holds a session;
    it ends them with the connection. Raises BadInput for an address that is none. Not for two threads.
    """

    def __init__(self, url: str, token: str, authority: Path | str | None, timeout: float) -> None:
        self._url, self._tls = checked(url, authority)
        self._token, self._timeout = token, timeout
        self._socket: Any = None
        self._number, self._wait, self._next_try = 0, _FIRST_WAIT, 0.0
        self.begun: set[int] = set()
        self.facts: Facts | None = None

    def ready(self, until: float) -> None:
        """Connected and welcomed, tried again until then. Raises what the last attempt met."""
        while self._socket is None:
            pause = self._next_try - time.monotonic()
            if pause > 0:
                if time.monotonic() + pause > until:
                    line = "the server was not there a moment ago; trying again soon"
                    raise Unreachable(f"{self._url}: {line}")
                time.sleep(pause)
            try:
                self._greet(until)
                self._wait, self._next_try = _FIRST_WAIT, 0.0
            except Refusal as error:
                self.drop()
                self._next_try = time.monotonic() + self._wait * random.uniform(0.5, 1.0)
                self._wait = min(2 * self._wait, _LONGEST_WAIT)
                if not error.passing or self._next_try > until:
                    raise

    def ask(self, question: dict[str, Any], until: float) -> dict[str, Any]:
        """The answer to one question. Raises the server's Refusal, Late, or Unreachable."""
        websockets = need("websockets", "remote", "a remote policy")
        self._number += 1
        try:
            self._socket.send(pack(question | {"id": self._number}))
            while True:
                data = self._socket.recv(timeout=max(until - time.monotonic(), 0.001))
                answer = unpack(data) if isinstance(data, bytes) else {}
                if answer.get("id") == self._number or answer.get("id") is None:
                    break  # else: an answer to a question that was given up
        except TimeoutError:
            raise Late(f"{self._url}: no answer within {self._timeout:g} s") from None
        except websockets.exceptions.ConnectionClosed as error:
            self.drop()
            raise closed(self._url, error) from None
        except OSError as error:
            self.drop()
            raise Unreachable(f"{self._url}: the connection was lost: {error.strerror or error}") from None
        if answer.get("type") == "refused":
            refused = refused_from(answer)
            if isinstance(refused, UnknownSession):
                self.begun.clear()
            raise refused
        return answer

    def drop(self) -> None:
        """Hang up."""
        line, self._socket = self._socket, None
        self.begun.clear()
        if line is not None:
            line.close()

    def _greet(self, until: float) -> None:
        left = max(until - time.monotonic(), 0.05)
        self._socket = dial(self._url, self._tls, self._token, left, self._timeout)
        self.begun.clear()
        welcome = self.ask({"type": "hello", "version": VERSION, "client": "policies.remote"}, until)
        if welcome.get("type") != "welcome" or welcome.get("version") != VERSION:
            raise ProtocolVersion(f"{self._url}: the server does not speak version {VERSION} of the protocol")
        facts = Facts.read(welcome.get("policy"))
        if self.facts not in (None, facts):
            raise Refusal(f"{self._url}: another policy is served now: {_differs(self.facts, facts)}")
        self.facts = facts


def _differs(old: Any, new: Facts) -> str:
    """The first thing that is another one."""
    for field in dataclasses.fields(Facts):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now:
            return f"{'' if field.name == 'name' else f'{field.name} is '}{now!r} instead of {before!r}"
    return repr(new.name)
