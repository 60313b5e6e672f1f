"""Connections to push VENs are kept alive up to a bound; beyond it one ends with its exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from vtn_server.push_http import Outbound, PushHttp, PushLimits
from vtn_server.push_targets import PushTargets

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@asynccontextmanager
async def listening(seen: list[tuple[object, str | None]]) -> AsyncIterator[str]:
    """A VEN that notes over which connection it was called, and whether it is to stay."""

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        seen.append((request.transport, request.headers.get("Connection")))
        return web.Response()

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


def pushing(kept: int) -> PushHttp:
    outbound = Outbound(targets=PushTargets.loopback(), tls=None, now=lambda: datetime.now(UTC))
    return PushHttp(PushLimits(kept=kept), outbound, 10_000)


@pytest.mark.parametrize(("kept", "connections", "not_kept"), [(1, 1, 0), (0, 3, 3)])
async def test_as_many_are_kept_as_may_be(kept: int, connections: int, not_kept: int) -> None:
    seen: list[tuple[object, str | None]] = []
    http = pushing(kept)
    async with listening(seen) as url:
        for _ in range(3):
            answer = await http.post(url, b"<a/>", None)
            assert answer.status == 200, answer.reason
        await http.close()
    assert len({id(transport) for transport, _ in seen}) == connections
    assert (http.kept, http.not_kept) == (kept, not_kept)
    assert {said for _, said in seen} == ({"close"} if not_kept else {None})


async def test_the_second_ven_is_not_kept_where_one_may_be() -> None:
    first: list[tuple[object, str | None]] = []
    second: list[tuple[object, str | None]] = []
    http = pushing(1)
    async with listening(first) as one, listening(second) as other:
        for _ in range(2):
            await http.post(one, b"<a/>", None)
            await http.post(other, b"<a/>", None)
        await http.close()
    assert len({id(transport) for transport, _ in first}) == 1
    assert len({id(transport) for transport, _ in second}) == 2
    assert http.not_kept == 2
