"""The operator API over HTTP: a bearer token, JSON in and out, errors as JSON. Loopback only.

Rules:

1. Whoever has no token gets 401 and learns nothing else, not even which paths there are; only the OpenAPI
   document is for everybody.
2. What a request looks like is checked before the VTN sees it (422, with the place of every fault).
3. A rule of the profile that is broken is answered with its OpenADR code.
4. Nothing unexpected is told to the caller but a reference to the log.
5. Each request sees whatever was done before, by any process on the same store.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from schemas.oadr20b.errors import ApplicationError, NotAllowed, NotRegistered, WireError
from vtn_server.api_desk import Call, Desk, NotFound
from vtn_server.api_models import ErrorOut, Fault, Model
from vtn_server.api_openapi import document_text
from vtn_server.api_routes import CLOCK, METRICS, PREFIX, TABLE, Route
from vtn_server.api_stats import METRICS_TYPE, metrics_text
from vtn_server.limits import Limit, LimitReached
from vtn_server.store import StoreBusy, StoreError

__all__ = ["OPENAPI", "ApiServer", "application", "serve_api"]

OPENAPI: Final = f"{PREFIX}/openapi.json"
_LOG: Final = logging.getLogger(__name__)
_MAX_BODY: Final = 4_000_000
_MOST_REQUESTS: Final = 32
"""Requests served at once: each may hold a body, and an answer about ten thousand VENs."""
_BUSY_FOR_S: Final = "5"
_STATES: Final = (NotAllowed, NotRegistered)


class _Unreadable(Exception):
    """The body is no JSON object."""


def application(desk: Desk, token: str) -> web.Application:
    """Return the aiohttp application of the operator API.

    Args:
        desk: The VTN behind it.
        token: What a caller must bear.

    Raises:
        ValueError: if the token is empty.
    """
    if not token:
        raise ValueError("the operator API needs a token")
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_guard(desk, _digest(token))])
    text = document_text(desk.version)

    async def openapi(request: web.Request) -> web.Response:
        del request
        return web.Response(text=text, content_type="application/json")

    async def metrics(request: web.Request) -> web.Response:
        del request
        return web.Response(body=metrics_text(desk), headers={"Content-Type": METRICS_TYPE})

    async def tell_time(request: web.Request, response: web.StreamResponse) -> None:
        del request
        response.headers[CLOCK] = desk.now().isoformat()

    app.on_response_prepare.append(tell_time)
    app.router.add_get(OPENAPI, openapi)
    app.router.add_get(METRICS, metrics)
    for route in TABLE:
        app.router.add_route(route.method, PREFIX + route.path, _served(desk, route))
    return app


def _digest(text: str) -> bytes:
    """Return what tokens are compared by: of equal length whatever was sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _guard(desk: Desk, token: bytes) -> Middleware:
    serving = 0
    desk.operator.watch(Limit.OPERATOR_REQUESTS, _MOST_REQUESTS, lambda: serving)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal serving
        if serving >= _MOST_REQUESTS:
            desk.operator.count_limit(Limit.OPERATOR_REQUESTS)
            return _busy(f"{serving} requests are under way")
        serving += 1
        try:
            return await admitted(request, handler)
        finally:
            serving -= 1

    async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != OPENAPI:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if not hmac.compare_digest(_digest(given.strip()), token) or scheme.lower() != "bearer":
                error = ErrorOut(code="unauthorized", text="a bearer token is required")
                response = _failed(401, error)
                response.headers["WWW-Authenticate"] = "Bearer"
                return response
        try:
            return await handler(request)
        except Exception as err:  # noqa: BLE001 - the last resort of rule 4 is in _answer
            return _answer(err, desk)

    return guard


def _served(desk: Desk, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        query = None if route.query is None else route.query.model_validate(_query(request))
        if route.query is None and request.query:
            raise _Unreadable("this operation takes no query")
        body = None if route.body is None else route.body.model_validate(await _body(request))
        call = Call(path=dict(request.match_info), query=query, body=body)
        await desk.operator.catch_up()
        reply: Model = await route.handler(desk, call)
        if route.method != "GET":
            _LOG.info("operator: %s %s", route.name, request.rel_url.raw_path)
        return web.Response(
            text=reply.model_dump_json(), status=route.status, content_type="application/json"
        )

    return handle


def _query(request: web.Request) -> dict[str, str]:
    twice = [name for name, count in Counter(name for name, _ in request.query.items()).items() if count > 1]
    if twice:
        raise _Unreadable(f"{', '.join(twice)} comes twice in the query")
    return dict(request.query)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.read())
    except (ValueError, RecursionError) as err:
        raise _Unreadable("the body is no JSON") from err
    if not isinstance(found, dict):
        raise _Unreadable("the body is no JSON object")
    return found


def _answer(err: Exception, desk: Desk) -> web.Response:
    """Return the reply that tells of an error."""
    match err:
        case ValidationError():
            faults = tuple(
                Fault(where=".".join(str(part) for part in each["loc"]), text=each["msg"])
                for each in err.errors(include_url=False, include_input=False, include_context=False)
            )
            text = f"{len(faults)} faults" if len(faults) != 1 else f"{faults[0].where}: {faults[0].text}"
            return _failed(422, ErrorOut(code="invalid-request", text=text, faults=faults))
        case _Unreadable():
            return _failed(400, ErrorOut(code="invalid-request", text=str(err)))
        case NotFound():
            return _failed(404, ErrorOut(code="not-found", text=str(err)))
        case LimitReached():
            desk.operator.count_limit(err.limit)
            return _busy(err.description)
        case ApplicationError() if isinstance(err, _STATES):
            return _failed(409, ErrorOut(code="conflict", text=err.description, oadr_code=err.code))
        case ApplicationError():
            return _failed(422, ErrorOut(code="refused", text=err.description, oadr_code=err.code))
        case WireError():
            return _failed(422, ErrorOut(code="refused", text=f"no message can carry it: {err}"))
        case StoreBusy():
            return _busy(f"not now: {err}")
        case StoreError():
            _LOG.error("operator: the store failed: %s", err)
            return _failed(503, ErrorOut(code="unavailable", text="the store has failed; the VTN stops"))
        case web.HTTPException():
            words = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
            word = words.get(err.status, "invalid-request")
            return _failed(err.status, ErrorOut(code=word, text=err.reason))
    reference = desk.new_id()
    _LOG.error("operator: unexpected, reference %s", reference, exc_info=err)
    return _failed(500, ErrorOut(code="internal", text=f"unexpected; the log has it as {reference}"))


def _busy(text: str) -> web.Response:
    """Return the answer where a bound is reached that others, or time, will free."""
    response = _failed(503, ErrorOut(code="unavailable", text=text))
    response.headers["Retry-After"] = _BUSY_FOR_S
    return response


def _failed(status: int, error: ErrorOut) -> web.Response:
    return web.Response(text=error.model_dump_json(), status=status, content_type="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """An operator API that listens."""

    runner: web.AppRunner
    url: str

    async def close(self) -> None:
        """Stop listening and finish what is under way."""
        await self.runner.cleanup()


async def serve_api(
    desk: Desk, token: str, *, host: str = "127.0.0.1", port: int = 0, shared: bool = False
) -> ApiServer:
    """Start to listen; port 0 takes a free one.

    Args:
        desk: The VTN behind it.
        token: What a caller must bear.
        host: The address to listen on.
        port: The port.
        shared: Whether other processes listen there, too.

    Raises:
        OSError: if the address is taken.
    """
    runner = web.AppRunner(application(desk, token), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_port=shared or None).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return ApiServer(runner=runner, url=f"http://{shown}:{bound}")
