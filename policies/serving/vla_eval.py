"""vla-eval's WebSocket protocol, for `vla_eval.connection.Connection`: the client speaks first.

Frames are msgpack maps {type, payload, seq, timestamp}: HELLO is answered by a HELLO of the same seq;
EPISODE_START and EPISODE_END by nothing; an OBSERVATION by an ACTION {actions: float32 [dim]} or an ERROR
{error: line, kind}, of the same seq. Its benchmarks execute one action an observation, so a chunk's rows are
handed out one by one, and the policy is asked again after `VlaEval.steps` of them; a refusal, and a policy
that holds, is an ERROR, and no row of an older chunk takes its place.
"""

import io
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from policies.serving.arrays import array, pack, unpack
from policies.serving.batching import Session
from policies.serving.errors import Held, Malformed, ProtocolVersion, Refusal, TooLarge, line_of
from policies.serving.keys import needs, observe, too_many_pixels
from policies.serving.wire import Line, Server, answer, within
from vla.interfaces import Observation

__all__ = ["NAME", "VERSION", "converse", "picture"]

NAME = "vla_eval"
VERSION = 1
_TYPES = ("hello", "observation", "episode_start", "episode_end", "error")


async def converse(line: Line, server: Server) -> None:
    """Speak with one client until it is gone."""
    session = server.core.open(NAME)
    episode = _Episode(server, session)
    read = partial(unpack, image=partial(picture, pixels=server.core.limits.pixels))
    try:
        while True:
            message = await line.receive()
            seq: Any = 0
            try:
                if isinstance(message, str):
                    raise Malformed("a frame must come as a binary message, not as text")
                raw = await server.decode(read, message, heavy=b"__image__" in message)
                seq = raw.get("seq") if isinstance(raw.get("seq"), int) else 0
                kind, payload = _frame(raw)
                if kind == "hello":
                    await line.send(_reply("hello", _hello(server, payload), seq))
                elif kind == "observation":
                    await line.send(_reply("action", {"actions": await episode.action(payload)}, seq))
                elif kind in ("episode_start", "episode_end"):
                    await episode.begin()
            except Refusal as error:
                server.core.refused(NAME, error)
                await line.send(
                    _reply("error", {"error": f"{error.kind}: {line_of(error)}", "kind": error.kind}, seq)
                )
                if isinstance(error, ProtocolVersion):
                    await line.close(1002, str(error))
                    return
    finally:
        server.core.end(session, "the client is gone")


class _Episode:
    """One client's episode: the rows of the last chunk that are still to be handed out."""

    def __init__(self, server: Server, session: Session) -> None:
        self._core, self._keys, self._session = server.core, server.serving.vla_eval, session
        self._rows: deque[Any] = deque()

    async def begin(self) -> None:
        """A new one: nothing of the last one is left."""
        self._rows.clear()
        self._session.task = ""
        await within(
            self._core, self._session, self._core.begin(self._session), self._core.limits.answer_s
        )  # fmt: skip

    async def action(self, payload: Mapping[Any, Any]) -> Any:
        """The action for an observation, float32 [dim]."""
        core, session = self._core, self._session
        seen: Observation = observe(payload, self._keys, session.task, core.limits.pixels)
        if self._rows and seen.task == session.task:
            if core.facts.watching:
                await within(core, session, core.observe(session, seen), core.limits.answer_s)
            return self._rows.popleft()
        self._rows.clear()
        session.task = seen.task
        chunk = await answer(core, session, seen, core.limits.answer_s)
        if chunk.hold:
            raise Held(chunk.hold)
        self._rows.extend(chunk.actions[: self._keys.steps or core.facts.execute])
        return self._rows.popleft()


def picture(found: Mapping[str, Any], pixels: int) -> Any:
    """A picture sent raw, as JPEG or as PNG, uint8 ``[height, width, channels]``; its size is looked at
    before it is decompressed. Raises Malformed or TooLarge."""
    shape, data, form = found.get("shape"), found.get("data"), found.get("format")
    if form == "raw":
        return array(data, found.get("dtype"), shape)
    if form not in ("jpeg", "png") or not isinstance(data, bytes):
        raise Malformed("an encoded picture must be raw, jpeg or png, and its data bytes")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape) or len(shape) != 3:
        raise Malformed("an encoded picture needs its shape [height, width, channels]")
    from PIL import Image

    too_many_pixels(shape[0], shape[1], pixels)
    try:
        with Image.open(io.BytesIO(data), formats=(form.upper(),)) as image:
            if image.size != (shape[1], shape[0]):
                raise TooLarge(f"a picture said to be {shape[:2]} is {[image.height, image.width]}")
            return np.array(image)
    except Refusal:
        raise
    except Exception as error:  # damaged files make Pillow raise almost anything
        raise Malformed(f"a {form} picture cannot be read: {type(error).__name__}") from None


def _frame(raw: Mapping[Any, Any]) -> tuple[str, Mapping[Any, Any]]:
    absent = [key for key in ("type", "payload", "seq", "timestamp") if key not in raw]
    if absent:
        raise Malformed(f"a frame needs type, payload, seq and timestamp; missing: {', '.join(absent)}")
    kind, payload = raw["type"], raw["payload"]
    if kind not in _TYPES:
        raise Malformed(f"a frame's type must be one of {', '.join(_TYPES)}")
    if not isinstance(payload, Mapping):
        raise Malformed("a frame's payload must be a map")
    return str(kind), payload


def _hello(server: Server, payload: Mapping[Any, Any]) -> dict[str, Any]:
    theirs = payload.get("protocol_version")
    if theirs != VERSION:
        came = f"version {theirs}" if isinstance(theirs, int) and abs(theirs) < 10**6 else "another version"
        raise ProtocolVersion(
            f"the client speaks {came} of vla-eval's protocol, this server version {VERSION}"
        )
    keys = server.serving.vla_eval
    wanted = {"observation_params": dict(keys.observation_params)} if keys.observation_params else {}
    return {
        "protocol_version": VERSION,
        "harness_version": "",
        "model_server": server.core.facts.name,
        "capabilities": {},
        "needs": needs(keys),
        **wanted,
    }


def _reply(kind: str, payload: Mapping[str, Any], seq: Any) -> bytes:
    return pack({"type": kind, "payload": dict(payload), "seq": seq, "timestamp": time.time()})
