"""A client of each protocol for the tests, over a real socket; it can also say what is wrong."""

from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import ClientConnection, connect

from policies.runtime.benchmark.dialects import PATHS, Heard, Protocol, greetings, hear, new_episode, say
from policies.serving.server import Address
from vla.interfaces import Observation


class Speaker:
    """Greets, asks, hears."""

    def __init__(self, address: Address, protocol: Protocol, token: str = "", ssl: Any = None) -> None:
        self.protocol = protocol
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if protocol == "rest":
            self.http = httpx.Client(
                base_url=address.url("http"), headers=headers, trust_env=False, timeout=10, verify=ssl or True
            )
            return
        self.line: ClientConnection = connect(
            address.url("ws", PATHS[protocol]),
            compression=None,
            proxy=None,
            additional_headers=headers,
            ssl=ssl,
            max_size=None,
            close_timeout=1,
        )
        self.greeted = [self.line.recv(10)] if protocol == "openpi" else []
        for each in greetings(protocol):
            self.line.send(each)
            self.greeted.append(self.line.recv(10))

    def raw(self, data: bytes | str) -> Heard:
        """Send anything; hear what is answered."""
        if self.protocol == "rest":
            return hear("rest", self.http.post("/act", content=data).content)
        self.line.send(data)
        return hear(self.protocol, self.line.recv(10))

    def ask(self, seen: Observation, number: int = 1) -> Heard:
        """A whole chunk's first row."""
        if self.protocol == "vla_eval":
            self.line.send(new_episode(number))
        heard = self.raw(say(self.protocol, seen, number))
        assert heard.number in (None, number)
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.http if self.protocol == "rest" else self.line).close()
