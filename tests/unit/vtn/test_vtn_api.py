"""The operator API over a VTN in memory: each operation, who may ask, and what a wrong request is told."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn import rig as kit
from tests.unit.vtn.rig import ALICE, BOB, START, MemoryStore, Rig
from vtn_server.api import application
from vtn_server.api_desk import Desk
from vtn_server.api_models import ErrorOut
from vtn_server.api_routes import TABLE
from vtn_server.state import Provision, VenId
from vtn_server.store import StoreBusy

TOKEN = "a-token-of-the-operator"
PRICE: dict[str, Any] = {
    "event_id": "e1",
    "market_context": "http://feederloop.example/real-time-price",
    "start": "2018-05-16T11:00:00Z",
    "duration": "PT20M",
    "ven_ids": ["ven-alice"],
    "signals": [
        {
            "name": "ELECTRICITY_PRICE",
            "type": "price",
            "unit": {"kind": "oadr:currencyPerKWh", "units": "EUR"},
            "intervals": [{"duration": "PT10M", "value": 0.1}, {"duration": "PT10M", "value": 0.2}],
        }
    ],
}


class Console:
    """Somebody who bears the token."""

    def __init__(self, rig: Rig, client: TestClient[Any, Any]) -> None:
        self.rig = rig
        self.client = client

    async def raw(self, method: str, path: str, **rest: Any) -> tuple[int, Any]:
        rest.setdefault("headers", {"Authorization": f"Bearer {TOKEN}"})
        response = await self.client.request(method, f"/operator{path}", **rest)
        assert response.content_type == "application/json"
        return response.status, await response.json()

    async def ask(self, method: str, path: str, *, expect: int = 200, **rest: Any) -> Any:
        status, found = await self.raw(method, path, **rest)
        assert status == expect, found
        return found

    async def refused(self, method: str, path: str, status: int, **rest: Any) -> ErrorOut:
        found = await self.ask(method, path, expect=status, **rest)
        return ErrorOut.model_validate(found)


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    rig = await Rig(MemoryStore()).start()
    numbers = iter(range(1000))
    desk = Desk(
        operator=rig.operator,
        now=lambda: rig.now,
        new_id=lambda: f"n{next(numbers)}",
        vtn_id="vtn-1",
        version="1.2.3",
    )
    async with TestClient(TestServer(application(desk, TOKEN))) as client:
        yield Console(rig, client)


# --- who may ask -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
async def test_without_the_token_nothing_is_told(console: Console, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for route in TABLE:
        path = re.sub(r"\{\w+\}", "ven-alice", route.path)
        error = await console.refused(route.method, path, 401, headers=headers)
        assert error.code == "unauthorized"
    await console.refused("GET", "/nothing", 401, headers=headers)
    assert (await console.ask("GET", "/vens"))["total"] == 2  # nothing was removed


async def test_a_token_is_needed_to_have_an_api_at_all(console: Console) -> None:
    desk = Desk(operator=console.rig.operator, now=lambda: START, new_id=lambda: "x", vtn_id="v", version="1")
    with pytest.raises(ValueError, match="token"):
        application(desk, "")


async def test_the_scheme_is_not_case_sensitive(console: Console) -> None:
    await console.ask("GET", "/stats", headers={"Authorization": f"bearer {TOKEN}"})


# --- events ------------------------------------------------------------------------------------------------


async def test_an_event_from_publication_to_cancellation(console: Console) -> None:
    rig = console.rig
    made = await console.ask("POST", "/events", json=PRICE, expect=201)
    assert made["status"] == "far"
    assert made["end"] == "2018-05-16T11:20:00Z"
    assert made["audience"] == ["ven-alice"]
    assert made["signals"][0]["unit"]["description"] == "currencyPerKWh"
    ven_id = await rig.bootstrap("alice")
    sent = await rig.send(m.RequestEvent(request_id="q", ven_id=ven_id), m.DistributeEvent)
    await rig.send(kit.opted(sent, ven_id, OptType.OPT_IN), m.Response)

    shown = await console.ask("GET", "/events/e1")
    assert shown["deliveries"] == [
        {"ven_id": "ven-alice", "modification_number": 0, "at": "2018-05-16T10:00:00Z"}
    ]
    assert [(each["ven_id"], each["opt_type"], each["code"]) for each in shown["opts"]] == [
        ("ven-alice", "optIn", "200")
    ]
    assert len(shown["versions"]) == 1

    rig.now = START + timedelta(minutes=75)  # the first interval has elapsed
    change = {"values": [{"signal_id": "signal", "values": [0.1, 0.5]}]}
    changed = await console.ask("PATCH", "/events/e1", json=change)
    assert changed["modification_number"] == 1
    assert changed["status"] == "active"
    assert [each["value"] for each in changed["signals"][0]["intervals"]] == [0.1, 0.5]
    past = {"values": [{"signal_id": "signal", "values": [0.7, 0.5]}]}
    error = await console.refused("PATCH", "/events/e1", 409, json=past)
    assert (error.code, error.oadr_code) == ("conflict", "451")

    over = await console.ask("POST", "/events/e1/cancel")
    assert (over["status"], over["modification_number"]) == ("cancelled", 2)
    listed = await console.ask("GET", "/events")
    assert [each["event_id"] for each in listed["events"]] == ["e1"]
    assert [each["cancelled"] for each in (await console.ask("GET", "/events/e1"))["versions"]] == [
        False,
        False,
        True,
    ]


async def test_what_is_shown_can_be_sent_again(console: Console) -> None:
    signals: list[dict[str, Any]] = [
        {**PRICE["signals"][0], "id": "p"},
        {
            "name": "LOAD_DISPATCH",
            "type": "setpoint",
            "id": "w",
            "unit": {"kind": "power:powerReal", "units": "W", "scale": "k", "hertz": "60", "voltage": "120"},
            "intervals": [{"duration": "PT20M", "value": 3}],
            "device_classes": ["Thermostat"],
        },
        {"name": "x-OWN", "type": "delta", "id": "x", "intervals": [{"duration": "PT20M", "value": 1}]},
    ]
    full = PRICE | {
        "signals": signals,
        "priority": 2,
        "response_required": "never",
        "target": {"resource_ids": ["switch-a"], "meter_assets": ["m1"]},
        "notification": "PT5M",
        "startafter": "PT1M",
        "ramp_up": "PT2M",
        "recovery": "PT3M",
        "test_event": "true",
        "comment": "hello",
    }
    made = await console.ask("POST", "/events", json=full, expect=201)
    for name in ("priority", "response_required", "notification", "startafter", "ramp_up", "recovery"):
        assert made[name] == full[name]
    assert made["target"]["meter_assets"] == ["m1"]
    again = PRICE | {"event_id": "e2", "signals": made["signals"]}
    assert (await console.ask("POST", "/events", json=again, expect=201))["signals"] == made["signals"]
    changed = await console.ask("PATCH", "/events/e2", json={"signals": made["signals"]})
    assert changed["modification_number"] == 0  # nothing differs
    assert made["signals"][1]["unit"]["hertz"] == "60"
    first, second = console.rig.operator.event("e1"), console.rig.operator.event("e2")
    assert first is not None
    assert second is not None
    assert first.signals == second.signals


async def test_who_gets_an_event(console: Console) -> None:
    await console.rig.operator.provision(
        (Provision(ven_id=VenId("v3"), ven_name="carol", groups=("street", "town")),)
    )
    plain = {key: value for key, value in PRICE.items() if key not in ("ven_ids", "event_id", "start")}
    groups = await console.ask("POST", "/events", json=plain | {"groups": ["town"]}, expect=201)
    assert groups["audience"] == ["v3"]
    assert groups["event_id"].startswith("op-")
    assert groups["start"] == "2018-05-16T10:00:00Z"
    both = await console.ask(
        "POST", "/events", json=plain | {"groups": ["street"], "ven_ids": [BOB]}, expect=201
    )
    assert both["audience"] == ["v3", "ven-bob"]
    everybody = await console.ask("POST", "/events", json=plain | {"all_vens": True}, expect=201)
    assert everybody["audience"] == ["v3", "ven-alice", "ven-bob"]
    for nobody in ({"groups": ["nowhere"]}, {"ven_ids": ["ven-x", ALICE]}):
        error = await console.refused("POST", "/events", 422, json=plain | nobody)
        assert error.oadr_code == "452"
    error = await console.refused("POST", "/events", 422, json=plain)
    assert "who gets it" in error.text


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"duration": "20 minutes"}, "duration"),
        ({"start": "2018-05-16T11:00:00"}, "start"),
        ({"start": "0001-01-01T00:00:00+14:00"}, "start"),
        ({"strat": "2018-05-16T11:00:00Z"}, "strat"),
        ({"market_context": ""}, "market_context"),
        ({"market_context": None}, "market_context"),
        ({"signals": []}, "signals"),
        ({"signals": [{**PRICE["signals"][0], "type": "x-mine"}]}, "signals.0.type"),
        ({"signals": [{**PRICE["signals"][0], "intervals": [{"duration": "PT20M"}]}]}, "signals.0.intervals"),
        ({"priority": -1}, "priority"),
        ({"response_required": "maybe"}, "response_required"),
        ({"target": {"venID": "x"}}, "target.venID"),
        ({"event_id": "a\x00b"}, "event_id"),
        ({"comment": "a\x1bb"}, "comment"),
        ({"market_context": "\ud800"}, "market_context"),
        ({"notification": "-PT5M"}, "notification"),
    ],
)
async def test_a_wrong_event_is_told_where(console: Console, change: dict[str, Any], where: str) -> None:
    error = await console.refused("POST", "/events", 422, json=PRICE | change)
    assert error.code == "invalid-request"
    assert error.faults
    assert error.faults[0].where.startswith(where)


@pytest.mark.parametrize(
    ("change", "oadr"),
    [
        ({"duration": "PT30M"}, "454"),  # the intervals do not fill it
        ({"start": "9999-12-31T23:59:00Z"}, "454"),
        ({"signals": [{**PRICE["signals"][0], "unit": {"kind": "oadr:currency"}}]}, "454"),
        ({"signals": [{**PRICE["signals"][0], "unit": {"kind": "power:voltage", "units": "kV"}}]}, "454"),
        ({"signals": [{**PRICE["signals"][0], "name": "SIMPLE"}]}, "454"),
        ({"target": {"ven_ids": ["a", "b"]}}, "454"),
        ({"event_id": "there"}, "451"),
    ],
)
async def test_a_rule_that_is_broken_is_named(console: Console, change: dict[str, Any], oadr: str) -> None:
    await console.rig.operator.publish_events((kit.draft("there"),))
    status, found = await console.raw("POST", "/events", json=PRICE | change)
    assert status == (409 if oadr == "451" else 422)
    assert found["oadr_code"] == oadr


@pytest.mark.parametrize(
    "change",
    [
        {"signals": [{**PRICE["signals"][0], "name": "NO_SUCH_SIGNAL"}]},
        {
            "signals": [
                {
                    "name": "x-LONG",
                    "type": "delta",
                    "intervals": [{"duration": "PT1S", "value": k} for k in range(1200)],
                }
            ]
        },
    ],
)
async def test_what_no_message_can_carry_is_not_published(console: Console, change: dict[str, Any]) -> None:
    error = await console.refused("POST", "/events", 422, json=PRICE | change)
    assert error.code == "refused"
    assert "no message can carry it" in error.text
    assert console.rig.operator.events() == ()


@pytest.mark.parametrize(
    "change",
    [
        {"values": [{"signal_id": "nope", "values": [1, 2]}]},
        {"values": [{"signal_id": "signal", "values": [1]}]},
        {"values": [{"signal_id": "signal", "values": [1, 2]}] * 2},
        {},
        {"values": [{"signal_id": "signal", "values": [1, 2]}], "signals": PRICE["signals"]},
        {"values": [{"signal_id": "signal", "values": ["x", 2]}]},
    ],
)
async def test_a_wrong_change(console: Console, change: dict[str, Any]) -> None:
    await console.ask("POST", "/events", json=PRICE, expect=201)
    await console.refused("PATCH", "/events/e1", 422, json=change)
    record = console.rig.operator.event("e1")
    assert record is not None
    assert record.modification_number == 0


async def test_an_event_that_is_long_over_is_still_found(console: Console) -> None:
    await console.ask("POST", "/events", json=PRICE, expect=201)
    console.rig.now = START + timedelta(days=30)
    await console.ask("POST", "/events", json=PRICE | {"event_id": "e2", "start": None}, expect=201)
    listed = await console.ask("GET", "/events")
    assert [each["event_id"] for each in listed["events"]] == ["e2"]
    assert (await console.ask("GET", "/events/e1"))["status"] == "completed"
    error = await console.refused("POST", "/events/e1/cancel", 409)
    assert error.oadr_code == "451"


async def test_lists_take_a_limit(console: Console) -> None:
    for k in range(3):
        await console.ask("POST", "/events", json=PRICE | {"event_id": f"e{k}"}, expect=201)
    listed = await console.ask("GET", "/events?limit=2")
    assert [each["event_id"] for each in listed["events"]] == ["e0", "e1"]
    assert listed["total"] == 3
    for wrong in ("limit=0", "limit=x", "limit=100000", "limits=2"):
        error = await console.refused("GET", f"/events?{wrong}", 422)
        assert error.faults[0].where == wrong.partition("=")[0]
    await console.refused("GET", "/events?limit=1&limit=2", 400)
    await console.refused("GET", "/stats?limit=1", 400)


# --- VENs and registrations --------------------------------------------------------------------------------


async def test_a_ven_from_provisioning_to_removal(console: Console) -> None:
    rig = console.rig
    wanted = {
        "ven_id": "ven/c 3",
        "ven_name": "carol",
        "fingerprint": "aa:bb:cc:dd:ee:ff:00:11:22:33",
        "groups": ["street"],
    }
    made = await console.ask("POST", "/vens", json=wanted, expect=201)
    assert made["fingerprint"] == "AA:BB:CC:DD:EE:FF:00:11:22:33"
    assert made["registered"] is False
    path = "/vens/ven%2Fc%203"
    assert (await console.ask("GET", path)) == made
    ven_id = await rig.bootstrap("carol", (kit.metadata(),))
    assert ven_id == "ven/c 3"
    shown = await console.ask("GET", path)
    assert shown["registered"] is True
    assert shown["registration"]["transport"] == "simpleHttp"
    assert shown["metadata"] == [
        {
            "report_specifier_id": "meter-energy",
            "report_name": "METADATA_TELEMETRY_USAGE",
            "points": [
                {"r_id": "energy", "report_type": "usage", "reading_type": "Direct Read", "units": "Wh"}
            ],
        }
    ]
    await console.ask("DELETE", path)
    assert [each["ven_id"] for each in (await console.ask("GET", "/vens"))["vens"]] == [ALICE, BOB]
    await console.refused("GET", path, 404)
    await console.refused("DELETE", path, 404)
    await rig.send(m.Poll(ven_id=ven_id), m.Response, code="463")
    again = m.CreatePartyRegistration(request_id="r", ven_name="carol", http_pull_model=True)
    await rig.send(again, m.CreatedPartyRegistration, code="463")
    by_id = m.CreatePartyRegistration(request_id="r", ven_id=ven_id, http_pull_model=True)
    await rig.send(by_id, m.CreatedPartyRegistration, code="463")
    error = await console.refused("POST", "/events", 422, json=PRICE | {"ven_ids": [ven_id]})
    assert error.oadr_code == "452"

    other = await console.ask("POST", "/vens", json={"ven_name": "carol"}, expect=201)  # the name is free
    assert other["ven_id"] not in ("ven/c 3", "")
    await console.refused("POST", "/vens", 409, json=wanted)  # and now it is not
    back = await console.ask("POST", "/vens", json=wanted | {"ven_name": "carol again"}, expect=201)
    assert back["registered"] is False
    assert await rig.bootstrap("carol again") == "ven/c 3"


async def test_a_certificate_is_enrolled_replaced_and_taken_away(console: Console) -> None:
    mark = "aa:bb:cc:dd:ee:ff:00:11:22:33"
    path = f"/vens/{ALICE}/fingerprint"
    assert (await console.ask("PUT", path, json={"fingerprint": mark}))["fingerprint"] == mark.upper()
    kept = await console.ask("POST", "/vens", json={"ven_id": ALICE, "ven_name": "alice"}, expect=201)
    assert kept["fingerprint"] == mark.upper()
    error = await console.refused("PUT", f"/vens/{BOB}/fingerprint", 409, json={"fingerprint": mark})
    assert ALICE in error.text
    for wrong in ({}, {"fingerprint": "AA"}, {"fingerprint": mark, "more": 1}):
        await console.refused("PUT", path, 422, json=wrong)
    await console.refused("PUT", "/vens/nobody/fingerprint", 404, json={"fingerprint": None})
    assert (await console.ask("PUT", path, json={"fingerprint": None}))["fingerprint"] is None
    await console.ask("PUT", f"/vens/{BOB}/fingerprint", json={"fingerprint": mark})


async def test_an_event_goes_to_those_who_take_part_in_its_market(console: Console) -> None:
    for ven_id, name, context in ((ALICE, "alice", PRICE["market_context"]), (BOB, "bob", "http://other")):
        wanted = {"ven_id": ven_id, "ven_name": name, "groups": ["street"], "market_contexts": [context]}
        await console.ask("POST", "/vens", json=wanted, expect=201)
    group = {key: value for key, value in PRICE.items() if key != "ven_ids"} | {"groups": ["street"]}
    made = await console.ask("POST", "/events", json=group, expect=201)
    assert made["audience"] == [ALICE]
    error = await console.refused("POST", "/events", 422, json=PRICE | {"event_id": "e2", "ven_ids": [BOB]})
    assert (error.oadr_code, BOB in error.text) == ("462", True)
    nowhere = group | {"event_id": "e3", "market_context": "http://third"}
    error = await console.refused("POST", "/events", 422, json=nowhere)
    assert error.oadr_code == "462"
    same = group | {"event_id": "e4", "market_context": PRICE["market_context"].replace("http", "HTTP", 1)}
    assert (await console.ask("POST", "/events", json=same, expect=201))["audience"] == [ALICE]
    assert (await console.ask("GET", "/events"))["total"] == 2


async def test_a_removed_ven_stays_removed_after_a_restart() -> None:
    store = MemoryStore()
    rig = await Rig(store).start()
    await rig.bootstrap("alice")
    await rig.operator.remove(ALICE)
    rig = await Rig(store).start(())
    assert [each.ven_id for each in rig.operator.vens()] == [BOB]
    assert rig.operator.removed() == (ALICE,)
    await rig.send(m.Poll(ven_id=ALICE), m.Response, code="463")


@pytest.mark.parametrize(
    "wrong",
    [{}, {"ven_name": ""}, {"ven_name": "x", "fingerprint": "AA:BB"}, {"ven_name": "x", "groups": "street"}],
)
async def test_a_wrong_ven(console: Console, wrong: dict[str, Any]) -> None:
    await console.refused("POST", "/vens", 422, json=wrong)
    assert (await console.ask("GET", "/vens"))["total"] == 2


async def test_registrations(console: Console) -> None:
    rig = console.rig
    for what in ("cancel", "reregister"):
        error = await console.refused("POST", f"/vens/{ALICE}/registration/{what}", 409)
        assert error.oadr_code == "463"
        await console.refused("POST", f"/vens/ven-x/registration/{what}", 404)
    await rig.bootstrap("alice")
    told = await console.ask("POST", f"/vens/{ALICE}/registration/reregister", expect=202)
    assert told == {"ven_id": "ven-alice", "asked": "oadrRequestReregistration"}
    await rig.poll(ALICE, m.RequestReregistration)
    await console.ask("POST", f"/vens/{ALICE}/registration/cancel", expect=202)
    assert (await console.ask("GET", f"/vens/{ALICE}"))["pending"] == 2
    await rig.poll(ALICE, m.CancelPartyRegistration)


# --- reports, opts, counters -------------------------------------------------------------------------------


async def test_a_report_from_request_to_data(console: Console) -> None:
    rig = console.rig
    await rig.bootstrap("alice", (kit.metadata(r_ids=("energy", "other")),))
    wanted = {
        "report_specifier_id": "meter-energy",
        "r_ids": ["energy"],
        "start": "2018-05-16T10:00:00+02:00",
    }
    asked = await console.ask("POST", f"/vens/{ALICE}/reports", json=wanted, expect=202)
    assert asked["acknowledged"] is False
    assert asked["start"] == "2018-05-16T08:00:00Z"
    (request_id,) = await rig.accept_reports(ALICE)
    assert request_id == asked["report_request_id"]
    all_points = {"report_specifier_id": "meter-energy", "report_back": "PT0S"}
    once = await console.ask("POST", f"/vens/{ALICE}/reports", json=all_points, expect=202)
    assert once["r_ids"] == ["energy", "other"]
    listed = await console.ask("GET", f"/reports?ven_id={ALICE}")
    assert [each["acknowledged"] for each in listed["reports"]] == [True, False]
    assert (await console.ask("GET", f"/reports?ven_id={BOB}"))["total"] == 0

    await rig.send(kit.update(ALICE, request_id, (5.0, 7.0)), m.UpdatedReport)
    rig.wait(3600)
    found = await console.ask("GET", "/readings?report_specifier_id=meter-energy")
    assert [(each["start"], each["value"]) for each in found["readings"]] == [
        ("2018-05-16T10:00:00Z", 5.0),
        ("2018-05-16T10:10:00Z", 7.0),
    ]
    path = "/readings?report_specifier_id=meter-energy&limit=1&start=2018-05-16T10:10:00Z"
    found = await console.ask("GET", path)
    assert [each["value"] for each in found["readings"]] == [7.0]
    assert (await console.ask("GET", path + f"&ven_id={BOB}"))["total"] == 0
    await console.refused("GET", "/readings", 422)
    await console.refused("GET", "/readings?report_specifier_id=a&start=yesterday", 422)

    done = await console.ask("POST", f"/vens/{ALICE}/reports/{request_id}/cancel", expect=202)
    assert done["cancelled"] is True
    await console.refused("POST", f"/vens/{ALICE}/reports/nope/cancel", 404)
    await console.refused("POST", f"/vens/{BOB}/reports/{request_id}/cancel", 404)


async def test_a_report_that_cannot_be_had(console: Console) -> None:
    await console.rig.bootstrap("alice", (kit.metadata(),))
    path = f"/vens/{ALICE}/reports"
    for wrong in ({"report_specifier_id": "x"}, {"report_specifier_id": "meter-energy", "r_ids": ["x"]}):
        error = await console.refused("POST", path, 422, json=wrong)
        assert error.oadr_code == "452"
    error = await console.refused(
        "POST", path, 422, json={"report_specifier_id": "meter-energy", "granularity": "10"}
    )
    assert error.faults[0].where == "granularity"
    fine = {"report_specifier_id": "meter-energy", "granularity": "PT5S", "report_back": "PT10S"}
    error = await console.refused("POST", path, 422, json=fine)
    assert (error.oadr_code, "PT10M" in error.text) == ("454", True)
    assert (await console.ask("GET", "/reports"))["total"] == 0
    await console.refused("POST", f"/vens/{BOB}/reports", 409, json={"report_specifier_id": "meter-energy"})
    await console.refused("POST", "/vens/ven-x/reports", 404, json={"report_specifier_id": "meter-energy"})


async def test_opts(console: Console) -> None:
    rig = console.rig
    await console.ask("POST", "/events", json=PRICE | {"all_vens": True}, expect=201)
    for name in ("alice", "bob"):
        ven_id = await rig.bootstrap(name)
        sent = await rig.send(m.RequestEvent(request_id="q", ven_id=ven_id), m.DistributeEvent)
        rig.wait(1)
        await rig.send(kit.opted(sent, ven_id, OptType.OPT_OUT), m.Response)
    schedule = m.CreateOpt(
        opt_id="o1",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=BOB,
        availability=(m.Period(dtstart=START, duration=Duration(hours=2)),),
        created_date_time=START,
        request_id="q",
        target=m.Target(),
    )
    await rig.send(schedule, m.CreatedOpt)
    found = await console.ask("GET", "/opts")
    assert [(each["ven_id"], each["opt_type"]) for each in found["events"]] == [
        ("ven-bob", "optOut"),
        ("ven-alice", "optOut"),
    ]
    assert [each["opt_id"] for each in found["schedules"]] == ["o1"]
    assert found["schedules"][0]["availability"] == [{"start": "2018-05-16T10:00:00Z", "duration": "PT2H"}]
    assert found["total"] == 3
    assert (await console.ask("GET", f"/opts?ven_id={ALICE}"))["total"] == 1
    assert (await console.ask("GET", "/opts?event_id=e1"))["total"] == 2
    assert (await console.ask("GET", "/opts?event_id=nope"))["total"] == 0
    one = await console.ask("GET", "/opts?limit=1")
    assert (len(one["events"]), len(one["schedules"]), one["total"]) == (1, 0, 3)


async def test_stats(console: Console) -> None:
    await console.rig.bootstrap("alice")
    found = await console.ask("GET", "/stats")
    assert (found["version"], found["vtn_id"]) == ("1.2.3", "vtn-1")
    assert {"name": "CreatePartyRegistration", "count": 1} in found["messages_in"]


# --- what no operation is ----------------------------------------------------------------------------------


async def test_paths_and_methods_that_are_not_there(console: Console) -> None:
    assert (await console.refused("GET", "/nothing", 404)).code == "not-found"
    assert (await console.refused("PUT", "/events", 405)).code == "method-not-allowed"
    for path in ("/events/x", "/vens/x"):
        assert (await console.refused("GET", path, 404)).code == "not-found"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_no_json_object(console: Console, body: bytes) -> None:
    error = await console.refused("POST", "/events", 400, data=body)
    assert error.code == "invalid-request"


async def test_a_body_that_is_too_large(console: Console) -> None:
    error = await console.refused("POST", "/vens", 413, data=io.BytesIO(b" " * 4_000_001))
    assert error.code == "too-large"


async def test_a_store_that_fails(console: Console) -> None:
    store = console.rig.store
    assert isinstance(store, MemoryStore)
    store.fail = True
    error = await console.refused("POST", "/events", 503, json=PRICE)
    assert error.code == "unavailable"
    assert console.rig.service.is_broken


async def test_a_store_that_is_busy_can_be_come_back_to(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy() -> None:
        raise StoreBusy("the other processes could not be caught up with")

    monkeypatch.setattr(console.rig.operator, "catch_up", busy)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    response = await console.client.get("/operator/vens", headers=headers)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert not console.rig.service.is_broken


async def test_the_unexpected_is_in_the_log_and_nowhere_else(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burst() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(console.rig.operator, "stats", burst)
    with caplog.at_level(logging.ERROR):
        error = await console.refused("GET", "/stats", 500)
    assert error.code == "internal"
    assert "secret" not in error.text
    reference = error.text.rsplit(" ", 1)[-1]
    assert reference in caplog.text
    assert "secret detail" in caplog.text
