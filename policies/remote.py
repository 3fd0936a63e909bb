"""A policy on another machine, as if it were here: numpy, msgpack and a WebSocket, nothing else.

    with RemotePolicy("ws://gpu-box:8000", token=...) as policy:
        policy.reset(1)
        [chunk] = policy.act([observation], [0])

It is what `scripts/serve.py` serves, with all that the policy there can do: several environments in one
question, past observations (`Watcher`), the plan in flight (`Continuing`), seeds (`Seeded`).

Whatever goes wrong becomes one line and a type (`policies.serving.errors`) within `timeout`: a control loop
that asks from its inference thread holds the arm meanwhile. A lost connection is made anew by the next call,
with a back-off; the environments' episodes then go on with the same seeds, but what a policy that looks back
had seen is gone.
"""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from policies.serving.arrays import pack, unpack
from policies.serving.dial import checked, closed, dial
from policies.serving.errors import (
    Late,
    Malformed,
    ProtocolVersion,
    Refusal,
    UnknownSession,
    Unreachable,
)
from policies.serving.protocol import (
    VERSION,
    Facts,
    chunk_from,
    plan_to,
    refused_from,
)
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight, Observation
from vla.optional import need

__all__ = ["RemotePolicy"]

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
"""Seconds between attempts to connect: doubled each time, and shortened by chance, so that many robots do
not come back at the same moment."""


class RemotePolicy:
    """See Policy, Watcher, Continuing and Seeded in `policies.base`.

    url: ``ws://host:port``, or wss:// with TLS. token: what the server wants to be shown. authority: a PEM
    file of the authority that signed the server's certificate; None: the machine's own trust. timeout:
    seconds within which each call answers or raises, connecting included. lost: what `act` does where the
    server cannot answer now but may later (unreachable, overloaded, too late): ``raise`` the error, or answer
    with chunks that ``hold``, so that a robot stands until the server is back.

    name, horizon, execute, watching, continues: of the server's policy. cameras: that it looks through.
    Raises Unreachable, Unauthorised, ProtocolVersion (no such server there) or BadInput (the settings).
    Not for two threads at once.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        authority: Path | str | None = None,
        timeout: float = 10.0,
        lost: Literal["raise", "hold"] = "raise",
    ) -> None:
        if lost not in ("raise", "hold"):
            raise BadInput(f"lost cannot be {lost!r}: raise or hold")
        if not 0 < timeout < 1e6:
            raise BadInput(f"timeout={timeout}: seconds above 0 are needed")
        self._url, self._tls = checked(url, authority)
        self._token, self._timeout, self._lost = token, timeout, lost
        self._socket: Any = None
        self._number, self._wait, self._next_try = 0, _FIRST_WAIT, 0.0
        self._seeds: dict[int, int | None] = {}
        self._begun: set[int] = set()
        self._dim = 0
        self.facts: Facts | None = None
        self._connect(time.monotonic() + timeout)

    # -- the policy -------------------------------------------------------------------------------

    def reset(self, count: int) -> None:
        """See Policy: every environment begins anew."""
        self._seeds = dict.fromkeys(range(count))
        until = self._until()
        try:
            for lane in sorted(self._begun):
                self._ask({"type": "end", "lane": lane}, until)
        except Refusal as error:
            if not error.passing:
                raise
            self._drop()  # the server ends the lanes of a lost connection
        self._begun.clear()

    def begin(self, which: int, seed: int) -> None:
        """See Seeded. Nothing is sent before the environment's next observation."""
        self._seeds[which] = int(seed)
        self._begun.discard(which)

    def forget(self, which: int) -> None:
        """See Watcher."""
        self._seeds.setdefault(which, None)
        self._begun.discard(which)

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """See Watcher. Where it cannot be sent now, the step is missing from what the policy saw."""
        if not self.watching or not observations:
            return
        until = self._until()
        try:
            self._ready(which, until)
            self._ask(_question("observe", observations, which), until)
        except Refusal as error:
            if not (self._lost == "hold" and error.passing):
                raise

    def act(
        self,
        observations: Sequence[Observation],
        which: Sequence[int],
        in_flight: Sequence[InFlight | None] | None = None,
    ) -> list[ActionChunk]:
        """See Policy and Continuing. Raises a Refusal: the first of the answers that is one."""
        if not observations:
            return []
        try:
            found: list[ActionChunk | Refusal] = self._act(observations, which, in_flight)
        except Refusal as error:
            found = [error] * len(observations)
        out = []
        for each, observation in zip(found, observations, strict=True):
            if isinstance(each, ActionChunk):
                self._dim = each.actions.shape[1]
                out.append(each)
            elif self._lost == "hold" and each.passing:
                out.append(ActionChunk.holding(f"{each.kind}: {each}", observation, self._dim))
            else:
                raise each
        return out

    def _act(
        self, observations: Sequence[Observation], which: Sequence[int], plans: Any
    ) -> list[ActionChunk | Refusal]:
        until = self._until()
        self._ready(which, until)
        question = _question("act", observations, which)
        if plans is not None and self.continues:
            question["in_flight"] = [plan_to(plan) for plan in plans]
        question["seconds"] = max(until - time.monotonic(), 0.001)
        answers = self._ask(question, until).get("chunks")
        if not isinstance(answers, list) or len(answers) != len(observations):
            self._drop()
            raise Malformed("the server's answer does not have a chunk for each observation")
        return [
            refused_from(each)
            if isinstance(each, dict) and each.get("type") == "refused"
            else chunk_from(each)
            for each in answers
        ]

    # -- the connection ---------------------------------------------------------------------------

    def close(self) -> None:
        """Hang up."""
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _until(self) -> float:
        return time.monotonic() + self._timeout

    def _ready(self, which: Sequence[int], until: float) -> None:
        """Connected, and every environment of `which` begun."""
        if self._socket is None:
            self._connect(until)
        for lane in which:
            if lane not in self._begun:
                self._ask({"type": "begin", "lane": int(lane), "seed": self._seeds.get(lane)}, until)
                self._begun.add(lane)

    def _connect(self, until: float) -> None:
        """Connect and be welcomed, trying again until then. Raises what the last attempt met."""
        while True:
            pause = self._next_try - time.monotonic()
            if pause > 0:
                if time.monotonic() + pause > until:
                    raise Unreachable(
                        f"{self._url}: the server was not there a moment ago; trying again soon"
                    )
                time.sleep(pause)
            try:
                self._dial(until)
                self._wait, self._next_try = _FIRST_WAIT, 0.0
                return
            except Refusal as error:
                self._drop()
                self._next_try = time.monotonic() + self._wait * random.uniform(0.5, 1.0)
                self._wait = min(2 * self._wait, _LONGEST_WAIT)
                if not error.passing or self._next_try > until:
                    raise

    def _dial(self, until: float) -> None:
        left = max(until - time.monotonic(), 0.05)
        self._socket = dial(self._url, self._tls, self._token, left, self._timeout)
        self._begun.clear()
        welcome = self._ask({"type": "hello", "version": VERSION, "client": "policies.remote"}, until)
        if welcome.get("type") != "welcome" or welcome.get("version") != VERSION:
            raise ProtocolVersion(f"{self._url}: the server does not speak version {VERSION} of the protocol")
        self._meet(Facts.read(welcome.get("policy")))

    def _meet(self, facts: Facts) -> None:
        """Take over what the policy is. Another one in its place must not move the robot unasked."""
        if self.facts is not None and facts != self.facts:
            raise Refusal(
                f"{self._url}: another policy is served now: '{facts.name}' instead of '{self.facts.name}'"
            )
        self.facts, self._dim = facts, self._dim or facts.dim
        self.name, self.horizon, self.execute = facts.name, facts.horizon, facts.execute
        self.watching, self.continues, self.cameras = facts.watching, facts.continues, facts.cameras

    def _ask(self, question: dict[str, Any], until: float) -> dict[str, Any]:
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
            self._drop()
            raise closed(self._url, error) from None
        except OSError as error:
            self._drop()
            raise Unreachable(f"{self._url}: the connection was lost: {error.strerror or error}") from None
        if answer.get("type") == "refused":
            refused = refused_from(answer)
            if isinstance(refused, UnknownSession):
                self._begun.clear()
            raise refused
        return answer

    def _drop(self) -> None:
        line, self._socket = self._socket, None
        self._begun.clear()
        if line is not None:
            line.close()


def _question(kind: str, observations: Sequence[Observation], which: Sequence[int]) -> dict[str, Any]:
    sent = []
    for each in observations:
        each.validate()
        sent.append(
            {key: np.asarray(v) if isinstance(v, np.ndarray) else v for key, v in each.to_dict().items()}
        )
    return {"type": kind, "lanes": [int(lane) for lane in which], "observations": sent}
