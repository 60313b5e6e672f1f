"""The counters: as JSON for people, as text for Prometheus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.unit.vtn.rig import ALICE, SETTINGS, MemoryStore, Rig, draft, metadata, wanted
from vtn_server.api import application
from vtn_server.api_desk import Desk
from vtn_server.state import PeerIdentity

TOKEN = "a token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def rig() -> Rig:
    return await Rig(MemoryStore(), replace(SETTINGS, check_rules=True, max_deliveries=1)).start()


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[TestClient[Any, Any]]:
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="vtn-1", version="1.2")
    async with TestClient(TestServer(application(desk, TOKEN))) as made:
        yield made


async def samples(client: TestClient[Any, Any]) -> dict[tuple[str, str], float]:
    """Return what Prometheus' own parser reads, by name and label value."""
    response = await client.get("/metrics", headers=BEARER)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (each.name, next(iter(each.labels.values()), "")): each.value
        for family in text_string_to_metric_families(await response.text())
        for each in family.samples
    }


async def test_who_has_no_token_sees_no_metrics(client: TestClient[Any, Any]) -> None:
    assert (await client.get("/metrics")).status == 401
    assert (await client.post("/metrics", headers=BEARER)).status == 405


async def test_both_tell_what_happened(rig: Rig, client: TestClient[Any, Any]) -> None:
    await rig.bootstrap("alice", (metadata(),))
    await rig.operator.request_reports(ALICE, [wanted()])
    await rig.operator.publish_events([draft("e1")])
    await rig.poll(ALICE, m.CreateReport)
    await rig.poll(ALICE, m.DistributeEvent)
    rig.wait(60)
    await rig.poll(ALICE, m.Response)  # the report request and the answer to the event are given up
    await rig.send(m.Poll(ven_id="nobody"), m.Response, "452")
    await rig.service.handle(b"<oops", PeerIdentity(), ServiceName.OADR_POLL)
    found = await samples(client)
    json = await (await client.get("/operator/stats", headers=BEARER)).json()

    def total(name: str) -> float:
        return found[(f"feederloop_vtn_{name}", "")]

    assert found[("feederloop_vtn_info", "1.2")] == 1
    assert found[("feederloop_vtn_messages_received_total", "Poll")] == 5
    assert found[("feederloop_vtn_messages_sent_total", "DistributeEvent")] == 2
    assert found[("feederloop_vtn_application_errors_total", "452")] == 1
    assert found[("feederloop_vtn_http_errors_total", "406")] == 1
    assert (total("vens"), total("registered_vens"), total("events")) == (2, 1, 1)
    assert (total("pending_items"), total("given_up_items"), total("unanswered_events")) == (0, 1, 1)
    assert total("commits_total") == json["commits"] > 0
    assert total("received_bytes_total") == json["bytes_in"] > 1000
    assert found[("process_resident_memory_bytes", "")] > 1e6
    assert (json["version"], json["vens"], json["given_up_items"]) == ("1.2", 2, 1)
    assert {"name": "Poll", "count": 5} in json["messages_in"]


async def test_breaches_of_rules_are_told_by_number(rig: Rig, client: TestClient[Any, Any]) -> None:
    await rig.bootstrap("alice")
    offer = replace(metadata(), report_name="TELEMETRY_USAGE")
    body = wire.write(m.RegisterReport(request_id="q", reports=(offer,), ven_id=ALICE))
    await rig.service.handle(body, PeerIdentity(), ServiceName.EI_REPORT)
    found = await samples(client)
    broken = {label: value for (name, label), value in found.items() if "rule_violations_total" in name}
    json = await (await client.get("/operator/stats", headers=BEARER)).json()
    assert broken
    assert {each["name"]: float(each["count"]) for each in json["rule_violations"]} == broken
