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

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from policies.serving.connection import Connection
from policies.serving.errors import Malformed, Refusal
from policies.serving.protocol import Facts, chunk_from, plan_to, refused_from
from vla.errors import BadInput
from vla.interfaces import ActionChunk, InFlight, Observation

__all__ = ["RemotePolicy"]


class RemotePolicy:
    """See Policy, Watcher, Continuing and Seeded in `policies.base`.

    url: ``ws://host:port``, or wss:// with TLS. token: what the server wants to be shown. authority: a PEM
    file of the authority that signed the server's certificate; None: the machine's own trust. timeout:
    seconds within which each call answers or raises, connecting included. lost: what `act` does where the
    server cannot answer now but may later (unreachable, overloaded, too late): ``raise`` the error, or answer
    with chunks that ``hold``, so that a robot stands until the server is back.

    name, horizon, execute, watching, continues: of the server's policy. cameras: that it looks through.
    about: its rate, its robots and joints, as far as the server tells them.
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
        self._timeout, self._lost = timeout, lost
        self._seeds: dict[int, int | None] = {}
        self._line = Connection(url, token, authority, timeout)
        self._line.ready(self._until())
        assert self._line.facts is not None
        self.facts: Facts = self._line.facts
        self._dim = self.facts.dim
        self.name, self.horizon, self.execute = self.facts.name, self.facts.horizon, self.facts.execute
        self.watching, self.continues = self.facts.watching, self.facts.continues
        self.cameras, self.about = self.facts.cameras, self.facts.about

    # -- the policy -------------------------------------------------------------------------------

    def reset(self, count: int) -> None:
        """See Policy: every environment begins anew."""
        self._seeds = dict.fromkeys(range(count))
        until = self._until()
        try:
            for lane in sorted(self._line.begun):
                self._line.ask({"type": "end", "lane": lane}, until)
        except Refusal as error:
            if not error.passing:
                raise
            self._line.drop()  # the server ends the lanes of a lost connection
        self._line.begun.clear()

    def begin(self, which: int, seed: int) -> None:
        """See Seeded. Nothing is sent before the environment's next observation."""
        self._seeds[which] = int(seed)
        self._line.begun.discard(which)

    def forget(self, which: int) -> None:
        """See Watcher."""
        self._seeds.setdefault(which, None)
        self._line.begun.discard(which)

    def observe(self, observations: Sequence[Observation], which: Sequence[int]) -> None:
        """See Watcher. Where it cannot be sent now, the step is missing from what the policy saw."""
        if not self.watching or not observations:
            return
        until = self._until()
        try:
            self._ready(which, until)
            self._line.ask(_question("observe", observations, which), until)
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
        answers = self._line.ask(question, until).get("chunks")
        if not isinstance(answers, list) or len(answers) != len(observations):
            self._line.drop()
            raise Malformed("the server's answer does not have a chunk for each observation")
        return [
            refused_from(each)
            if isinstance(each, dict) and each.get("type") == "refused"
            else chunk_from(each)
            for each in answers
        ]

    def close(self) -> None:
        """Hang up."""
        self._line.drop()

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
        self._line.ready(until)
        for lane in which:
            if lane not in self._line.begun:
                self._line.ask({"type": "begin", "lane": int(lane), "seed": self._seeds.get(lane)}, until)
                self._line.begun.add(lane)


def _question(kind: str, observations: Sequence[Observation], which: Sequence[int]) -> dict[str, Any]:
    sent = []
    for each in observations:
        each.validate()
        sent.append(
            {key: np.asarray(v) if isinstance(v, np.ndarray) else v for key, v in each.to_dict().items()}
        )
    return {"type": kind, "lanes": [int(lane) for lane in which], "observations": sent}
