"""openpi's WebSocket protocol, for `openpi_client.WebsocketClientPolicy`: the server speaks first.

On connect it sends its metadata; then each binary message is an observation and is answered by a map with
``actions`` float32 [steps, dim] and ``server_timing`` {infer_ms}. The protocol's only word for anything else
is a text frame, which the client raises as RuntimeError: so a refusal, and a policy that holds, is the text
``kind: line``. The connection stays, and the next observation is answered.
"""

import time
from typing import Any

from policies.serving.arrays import pack_openpi, unpack
from policies.serving.batching import Session
from policies.serving.core import Core
from policies.serving.errors import Held, Malformed, Refusal, line_of
from policies.serving.keys import needs, observe
from policies.serving.protocol import Facts
from policies.serving.wire import Line, Server, answer
from vla.interfaces import Observation

__all__ = ["NAME", "converse"]

NAME = "openpi"


async def converse(line: Line, server: Server) -> None:
    """Speak with one client until it is gone."""
    core, keys = server.core, server.serving.openpi
    session = core.open(NAME)
    try:
        await line.send(pack_openpi(_metadata(core.facts) | {"needs": needs(keys)}))
        while True:
            message = await line.receive()
            try:
                if isinstance(message, str):
                    raise Malformed("an observation must come as a binary message, not as text")
                raw = await server.decode(unpack, message)
                seen = observe(raw, keys, session.task, core.limits.pixels)
            except Refusal as error:
                core.refused(NAME, error)
                await line.send(f"{error.kind}: {line_of(error)}")
                continue
            session.task = seen.task
            await line.send(await _infer(core, session, seen))
    finally:
        core.end(session, "the client is gone")


async def _infer(core: Core, session: Session, seen: Observation) -> bytes | str:
    start = time.perf_counter()
    try:
        chunk = await answer(core, session, seen, core.limits.answer_s)
        if chunk.hold:
            raise Held(chunk.hold)
    except Refusal as error:
        return f"{error.kind}: {line_of(error)}"
    timing = {"infer_ms": 1000 * (time.perf_counter() - start)}
    return pack_openpi({"actions": chunk.actions, "server_timing": timing})


def _metadata(facts: Facts) -> dict[str, Any]:
    return {"policy": facts.name, "action_horizon": facts.horizon, "execute": facts.execute}
