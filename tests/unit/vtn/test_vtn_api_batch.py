"""Many events at once over the operator API: all or none, and their state however old they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn import rig as kit
from tests.unit.vtn.rig import START, MemoryStore, Rig
from vtn_server.api import application
from vtn_server.api_desk import Desk

TOKEN = "0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Caller:
    def __init__(self, rig: Rig, client: TestClient[Any, Any]) -> None:
        self.rig, self._client = rig, client

    async def ask(self, method: str, path: str, *, expect: int = 200, **rest: Any) -> Any:
        response = await self._client.request(method, f"/operator{path}", headers=HEADERS, **rest)
        found = await response.json()
        assert response.status == expect, found
        return found

    def ids(self) -> list[str]:
        return [each.event_id for each in self.rig.operator.events()]


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    rig = await Rig(MemoryStore()).start()
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="vtn-1", version="1")
    async with TestClient(TestServer(application(desk, TOKEN))) as client:
        yield Caller(rig, client)


def price(event_id: str, value: float = 0.1, **other: Any) -> dict[str, Any]:
    unit = {"kind": "oadr:currencyPerKWh", "units": "EUR"}
    signal = {
        "name": "ELECTRICITY_PRICE",
        "type": "price",
        "id": "p",
        "unit": unit,
        "intervals": [{"duration": "PT10M", "value": value}],
    }
    return {
        "event_id": event_id,
        "market_context": "http://feederloop.example/real-time-price",
        "start": "2018-05-16T11:00:00Z",
        "duration": "PT10M",
        "signals": [signal],
        "ven_ids": ["ven-alice"],
    } | other


def change(event_id: str, value: float) -> dict[str, Any]:
    return {"event_id": event_id, "values": [{"signal_id": "p", "values": [value]}]}


async def test_events_are_published_in_one_transaction(caller: Caller) -> None:
    store = caller.rig.service.store
    before = store.commits
    found = await caller.ask(
        "POST", "/batch/events", json={"events": [price("b"), price("a", ven_ids=["ven-bob"])]}, expect=201
    )
    assert [each["event_id"] for each in found["events"]] == ["b", "a"]
    assert store.commits == before + 1


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (price("c", ven_ids=["ven-nobody"]), 422),
        (price("a"), 409),  # twice in the request
        (price("there"), 409),
        (price("c", duration="PT20M"), 422),
        (price("c", ven_ids=[]), 422),
    ],
)
async def test_one_that_is_refused_keeps_all_from_being_published(
    caller: Caller, bad: dict[str, Any], status: int
) -> None:
    await caller.ask("POST", "/batch/events", json={"events": [price("there")]}, expect=201)
    await caller.ask("POST", "/batch/events", json={"events": [price("a"), bad]}, expect=status)
    assert caller.ids() == ["there"]


async def test_changes_are_made_all_or_none(caller: Caller) -> None:
    await caller.ask("POST", "/batch/events", json={"events": [price("a"), price("b")]}, expect=201)
    found = await caller.ask("PATCH", "/batch/events", json={"changes": [change("a", 0.2), change("b", 0.3)]})
    assert [each["modification_number"] for each in found["events"]] == [1, 1]
    for bad, status in ((change("c", 0.1), 404), (change("a", 0.5), 409)):
        await caller.ask("PATCH", "/batch/events", json={"changes": [change("a", 0.4), bad]}, expect=status)
    values = [each.signals[0].intervals[0].signal_value for each in caller.rig.operator.events()]
    assert values == [0.2, 0.3]


async def test_the_state_of_events_with_times_to_the_microsecond(caller: Caller) -> None:
    rig = caller.rig
    ven_id = await rig.bootstrap("alice")
    rig.now = START + timedelta(microseconds=250_001)
    await caller.ask("POST", "/batch/events", json={"events": [price("a"), price("b")]}, expect=201)
    rig.now = START + timedelta(seconds=1, microseconds=7)
    sent = await rig.send(m.RequestEvent(request_id="q", ven_id=ven_id), m.DistributeEvent)
    await rig.send(kit.opted(sent, ven_id, OptType.OPT_OUT), m.Response)
    query = {"event_ids": ["b", "nothing", "a"]}
    found = (await caller.ask("POST", "/batch/events/query", json=query))["events"]
    assert [each["event_id"] for each in found] == ["b", "a"]
    assert found[0]["version_at"] == "2018-05-16T10:00:00.250001Z"
    assert found[0]["deliveries"] == [
        {"ven_id": "ven-alice", "modification_number": 0, "at": "2018-05-16T10:00:01.000007Z"}
    ]
    assert [each["opt_type"] for each in found[0]["opts"]] == ["optOut"]

    rig.now = START + timedelta(days=5)
    rig.service.memory.forget_over(rig.now, rig.now)
    assert caller.ids() == []
    (old,) = (await caller.ask("POST", "/batch/events/query", json={"event_ids": ["a"]}))["events"]
    assert (old["status"], old["deliveries"]) == ("completed", [])
    assert [each["opt_type"] for each in old["opts"]] == ["optOut"], "answers are kept in the store"


async def test_who_is_absent_when(caller: Caller) -> None:
    rig = caller.rig
    ven_id = await rig.bootstrap("alice")
    schedule = m.CreateOpt(
        opt_id="o1",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ven_id,
        availability=(m.Period(dtstart=START, duration=Duration(hours=1)),),
        created_date_time=rig.now,
        request_id="o",
        target=m.Target(ven_ids=(ven_id,)),
    )
    await rig.send(schedule, m.CreatedOpt)
    assert (await caller.ask("GET", "/absences"))["ven_ids"] == ["ven-alice"]
    assert (await caller.ask("GET", "/absences?at=2018-05-16T11:00:00Z"))["ven_ids"] == []
