"""OpenVLA's REST protocol: ``POST /act`` with {"image", "instruction", "unnorm_key"?} in json_numpy's form.

The answer is an array in the same form: the chunk's first action ``[dim]``, or the chunk (`Rest.answer`).
With OpenVLA's "double encoding" ({"encoded": "..."}) it is that array's text, as there. A refusal, and a
policy that holds, has its HTTP status and {"error": {"kind", "line"}}. Nothing is kept between two requests:
each is a session of its own, so that a policy that looks back has nothing to look at.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from policies.serving.arrays import jsonable, unpack_json
from policies.serving.errors import BadObservation, Held, Late, Malformed, Refusal, TooLarge, line_of
from policies.serving.keys import observe
from policies.serving.wire import Server, answer
from vla.interfaces import ActionChunk

__all__ = ["NAME", "act", "refused"]

NAME = "rest"


async def act(request: Request, server: Server) -> Response:
    """Answer one request."""
    try:
        data = await _body(request, server)
        raw = await server.decode(unpack_json, data)
        twice = "encoded" in raw
        if twice:
            if len(raw) != 1 or not isinstance(raw["encoded"], str):
                raise Malformed("'encoded' must be the only name, and text")
            raw = await server.decode(unpack_json, raw["encoded"].encode())
        chunk = await _infer(raw, server)
    except Refusal as error:
        server.core.refused(NAME, error)
        return refused(error)
    found = jsonable(chunk.actions if server.serving.rest.answer == "chunk" else chunk.actions[0])
    return JSONResponse(json.dumps(found) if twice else found)


def refused(error: Refusal) -> Response:
    """A refusal over HTTP."""
    ask = (
        {"WWW-Authenticate": "Bearer"}
        if error.status == 401
        else {"Retry-After": "1"}
        if error.passing
        else {}
    )
    body = {"error": {"kind": error.kind, "line": line_of(error)}}
    return JSONResponse(body, error.status, headers=ask)


async def _infer(raw: Mapping[str, Any], server: Server) -> ActionChunk:
    core, keys = server.core, server.serving.rest
    own = {key: value for key, value in raw.items() if key != "unnorm_key"}
    name = raw.get("unnorm_key")
    if name is not None and name not in keys.unnorm_keys:
        known = ", ".join(keys.unnorm_keys) or "none; leave it out"
        raise BadObservation(
            f"unnorm_key {str(name)[:60]!r} is not known: the policy has its own statistics only "
            f"(names for them in rest.unnorm_keys: {known})"
        )
    seen = observe(own, keys, "", core.limits.pixels)
    session = core.open(NAME)
    try:
        chunk = await answer(core, session, seen, core.limits.answer_s)
    finally:
        core.end(session, "the request is over")
    if chunk.hold:
        raise Held(chunk.hold)
    return chunk


async def _body(request: Request, server: Server) -> bytes:
    """The body, never more of it than the limit."""
    most = server.core.limits.message_bytes
    large = TooLarge(f"a body of more than {most} bytes is not read")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > most:
        raise large
    parts, size = [], 0
    try:
        async with asyncio.timeout(server.core.limits.send_s):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise large
                parts.append(part)
    except TimeoutError:
        raise Late(f"the body did not come within {server.core.limits.send_s:g} s") from None
    except ClientDisconnect:
        raise Malformed("the client left before its body was whole") from None
    return b"".join(parts)
