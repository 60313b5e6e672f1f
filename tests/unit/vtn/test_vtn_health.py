"""What a supervisor or a load balancer may ask the VTN."""

from __future__ import annotations

from aiohttp import ClientSession, web
from aiohttp.test_utils import RawTestServer, TestClient

from tests.unit.vtn.rig import MemoryStore, Rig, draft
from vtn_server.http import VERSION, front, serve
from vtn_server.peers import ClaimedNames
from vtn_server.store import StoreError


def asked(rig: Rig) -> TestClient[web.BaseRequest, None]:
    """Return a client of the rig's VTN."""
    return TestClient(RawTestServer(front(rig.service, ClaimedNames())))


async def test_ready_while_it_serves(rig: Rig) -> None:
    async with asked(rig) as client:
        response = await client.get("/ready")
        assert response.status == 200
        assert await response.json() == {"ready": True, "version": VERSION, "vtn_id": "vtn-1"}
        assert (await client.get("/health")).status == 200


async def test_neither_once_the_store_has_failed() -> None:
    store = MemoryStore()
    rig = await Rig(store).start()
    store.fail = True
    failed = False
    try:
        await rig.operator.publish_events((draft("e1"),))
    except StoreError:
        failed = True
    assert failed
    async with asked(rig) as client:
        response = await client.get("/ready")
        assert response.status == 503
        assert (await response.json())["ready"] is False
        assert (await client.get("/health")).status == 503


async def test_a_server_that_was_closed_takes_nothing(rig: Rig) -> None:
    server = await serve(rig.service, peers=ClaimedNames())
    async with ClientSession() as http:
        async with http.get(f"{server.url}/ready") as response:
            assert response.status == 200
        await server.close()
        refused = False
        try:
            await http.get(f"{server.url}/ready")
        except OSError:
            refused = True
        assert refused
