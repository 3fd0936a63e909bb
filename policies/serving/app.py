"""All codecs as one ASGI application. Every address but ``/healthz`` and ``/health`` asks for the token.

    WebSocket  /vla        our own protocol (`policies.remote`)
               /openpi     openpi-client, also at / where `Serving.root` is openpi
               /vla-eval   vla-eval, also at / where `Serving.root` is vla_eval
    POST       /act        OpenVLA's REST
    GET        /healthz, /health    200 where it can serve, else 503 and why
               /metrics    Prometheus' text;  /config   what is served, and what each protocol needs

The token comes as ``Authorization: Bearer TOKEN``, ``Api-Key TOKEN`` (openpi-client's api_key), or as the
password of ``Basic``, which is what a client makes of ws://any:TOKEN@host: vla-eval's has no other way.
"""

import base64
import contextlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from policies.serving import native, openpi, rest, vla_eval
from policies.serving.core import Core
from policies.serving.errors import Overloaded, Refusal, Stopping, Unauthorised
from policies.serving.keys import check_keys, needs
from policies.serving.options import Serving
from policies.serving.protocol import PATH, VERSION
from policies.serving.wire import Gone, Line, Server

__all__ = ["application"]

Converse = Callable[[Line, Server], Awaitable[None]]


def application(core: Core, serving: Serving, token: str = "") -> Starlette:
    """What uvicorn runs. Raises BadInput where the settings do not fit the policy."""
    for place in ("openpi", "vla_eval", "rest"):
        check_keys(getattr(serving, place), core.facts, place)
    server = Server(core, serving, token, ThreadPoolExecutor(2, "decoding"))
    root = openpi.converse if serving.root == "openpi" else vla_eval.converse

    def socket(path: str, converse: Converse, name: str) -> WebSocketRoute:
        async def endpoint(websocket: WebSocket) -> None:
            await _websocket(websocket, server, converse, name)

        return WebSocketRoute(path, endpoint)

    def asked(
        path: str, function: Callable[[Request, Server], Awaitable[Response]], method: str = "GET"
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                _authorise(request.headers, server)
            except Refusal as error:
                core.refused("http", error)
                return rest.refused(error)
            return await function(request, server)

        return Route(path, endpoint, methods=[method])

    async def health(request: Request) -> Response:
        trouble = core.trouble()
        return JSONResponse({"status": trouble or "ok"}, 503 if trouble else 200)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.readers.shutdown(wait=False, cancel_futures=True)

    routes = [
        socket(PATH, native.converse, native.NAME),
        socket("/openpi", openpi.converse, openpi.NAME),
        socket("/vla-eval", vla_eval.converse, vla_eval.NAME),
        socket("/", root, serving.root),
        asked("/act", rest.act, "POST"),
        asked("/metrics", _metrics),
        asked("/config", _config),
        Route("/healthz", health),
        Route("/health", health),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _websocket(websocket: WebSocket, server: Server, converse: Converse, name: str) -> None:
    core = server.core
    try:
        _authorise(websocket.headers, server)
        if core.trouble() == "stopping":
            raise Stopping("the server is stopping")
        if core.full:
            raise Overloaded("all sessions are taken; come later")
    except Refusal as error:
        core.refused(name, error)
        await websocket.send_denial_response(rest.refused(error))
        return
    await websocket.accept()
    line = Line(websocket, server.serving)
    try:
        await converse(line, server)
    except Gone:
        pass
    except Refusal as error:  # no session was left
        core.refused(name, error)
        await line.close(1013 if error.passing else 1008, str(error))
    else:
        return
    await line.close()


def _authorise(headers: Headers, server: Server) -> None:
    """Raise Unauthorised unless the token was shown. A browser, which names the page it shows, is never let
    in: any page could make it connect to this machine, and no robot asks from a page."""
    if "origin" in headers:
        raise Unauthorised("requests from pages in a browser are not answered")
    if not server.token:
        return
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        pair, shown = shown, ""
        with contextlib.suppress(ValueError):
            shown = base64.b64decode(pair, validate=True).decode("latin-1").partition(":")[2]
    elif scheme.lower() not in ("bearer", "api-key"):
        raise Unauthorised("a token is needed: Authorization: Bearer TOKEN")
    if not hmac.compare_digest(shown.strip().encode(), server.token.encode()):
        raise Unauthorised("the token is wrong")


async def _metrics(request: Request, server: Server) -> Response:
    return Response(server.core.metrics.text(), media_type="text/plain; version=0.0.4")


async def _config(request: Request, server: Server) -> Response:
    serving = server.serving
    found: dict[str, Any] = {
        "policy": asdict(server.core.facts),
        "protocol": {"path": PATH, "version": VERSION},
        "root": serving.root,
        "limits": asdict(serving.limits),
        "needs": {place: needs(getattr(serving, place)) for place in ("openpi", "vla_eval", "rest")},
    }
    return JSONResponse(found)
