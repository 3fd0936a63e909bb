"""Our own protocol (`policies.serving.protocol`), for `policies.remote`: nothing of the nouns is lost."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from policies.serving.arrays import pack, unpack
from policies.serving.batching import Session
from policies.serving.errors import BadObservation, Malformed, ProtocolVersion, Refusal, UnknownSession
from policies.serving.keys import check_cameras, check_sentence, too_many_pixels
from policies.serving.protocol import VERSION, chunk_to, observation_from, plan_from, refused_to
from policies.serving.wire import Line, Server, within
from vla.errors import BadInput
from vla.interfaces import Observation

__all__ = ["NAME", "converse"]

NAME = "native"
_LANES = 256


async def converse(line: Line, server: Server) -> None:
    """Speak with one client until it is gone."""
    client = _Client(server)
    try:
        while True:
            message = await line.receive()
            number: Any = None
            try:
                if isinstance(message, str):
                    raise Malformed("a message must be binary, not text")
                raw = await server.decode(unpack, message)
                number = raw.get("id") if isinstance(raw.get("id"), int) else None
                reply = await client.reply(raw)
            except BadInput as error:
                reply = refused_to(error)
                server.core.refused(NAME, error)
            await line.send(pack(reply | {"id": number}))
            if reply.get("kind") == ProtocolVersion.kind:
                await line.close(1002, reply["line"])
                return
    finally:
        client.end()


class _Client:
    """One connection: a session for each of its lanes."""

    def __init__(self, server: Server) -> None:
        self._core, self._optional = server.core, server.serving.optional_cameras
        self._sessions: dict[int, Session] = {}
        self._greeted = False

    def end(self) -> None:
        """Its sessions are over."""
        for session in self._sessions.values():
            self._core.end(session, "the client is gone")

    async def reply(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one message. Raises BadInput."""
        kind = raw.get("type")
        if kind == "hello":
            if raw.get("version") != VERSION:
                came = raw.get("version")
                came = f"version {came}" if isinstance(came, int) and abs(came) < 10**6 else "another version"
                raise ProtocolVersion(
                    f"the client speaks {came} of the protocol, this server version {VERSION}"
                )
            self._greeted = True
            return {"type": "welcome", "version": VERSION, "policy": asdict(self._core.facts)}
        if not self._greeted:
            raise Malformed("the first message must be a hello")
        if kind == "begin":
            seed = raw.get("seed")
            if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
                raise Malformed("a seed must be a whole number from 0 to 4294967295")
            await self._begin(_lane(raw.get("lane")), seed)
            return {"type": "done"}
        if kind == "end":
            session = self._sessions.pop(_lane(raw.get("lane")), None)
            if session is not None:
                self._core.end(session, "the client ended it")
            return {"type": "done"}
        if kind == "observe":
            await self._observe(raw)
            return {"type": "done"}
        if kind == "act":
            return {"type": "chunks", "chunks": await self._act(raw)}
        raise Malformed("a message's type must be hello, begin, observe, act or end")

    async def _begin(self, lane: int, seed: int | None) -> None:
        session = self._sessions.get(lane)
        if session is None or session.ended:
            self._sessions[lane] = self._core.open(NAME, seed)
        else:
            await within(self._core, session, self._core.begin(session, seed), self._core.limits.answer_s)

    async def _observe(self, raw: Mapping[str, Any]) -> None:
        core = self._core
        for lane, seen in self._seen(raw):
            session = self._session(lane)
            await within(core, session, core.observe(session, seen), core.limits.answer_s)

    async def _act(self, raw: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All lanes of one question at once, so that they can share a batch; each has its own answer."""
        asked, plans, seconds = self._seen(raw), raw.get("in_flight"), raw.get("seconds")
        plans = [None] * len(asked) if plans is None else plans
        if not isinstance(plans, list) or len(plans) != len(asked):
            raise Malformed("in_flight must be a list with a plan, or nothing, for each observation")
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < 1e6):
            raise Malformed("seconds must be a number above 0")
        answers = [
            self._one(lane, seen, plan, seconds) for (lane, seen), plan in zip(asked, plans, strict=True)
        ]
        return list(await asyncio.gather(*answers))

    async def _one(self, lane: int, seen: Observation, plan: Any, seconds: float | None) -> dict[str, Any]:
        core = self._core
        most = min(seconds or core.limits.answer_s, core.limits.answer_s)
        try:
            session = self._session(lane)
            future = core.act(session, seen, plan_from(plan), seconds=most)
            return chunk_to(await within(core, session, future, most))
        except BadInput as error:
            core.refused(NAME, error)
            return refused_to(error)

    def _seen(self, raw: Mapping[str, Any]) -> list[tuple[int, Observation]]:
        lanes, observations = raw.get("lanes"), raw.get("observations")
        if (
            not isinstance(lanes, list)
            or not isinstance(observations, list)
            or len(lanes) != len(observations)
        ):
            raise Malformed("lanes and observations must be lists of equal length")
        if len(set(map(_lane, lanes))) != len(lanes):
            raise Malformed("a lane is named twice in one message")
        try:
            seen = [observation_from(each) for each in observations]
        except Refusal:
            raise
        except BadInput as error:
            raise BadObservation(str(error)) from None
        for observation in seen:
            check_sentence(observation.task, "task")
            check_cameras(observation.images, self._core.facts, self._optional)
            for image in observation.images.values():
                too_many_pixels(image.shape[0], image.shape[1], self._core.limits.pixels)
        return list(zip(lanes, seen, strict=True))

    def _session(self, lane: int) -> Session:
        if lane not in self._sessions:
            raise UnknownSession(f"lane {lane} has not begun")
        return self._sessions[lane]


def _lane(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LANES:
        raise Malformed(f"a lane must be a whole number from 0 to {_LANES - 1}")
    return value
