"""eiEventBaseline: from the operator's JSON over the VTN to the VEN."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, SignalType
from schemas.oadr20b.errors import InvalidData
from schemas.oadr20b.rules import Direction, check
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import FakeHome
from tests.unit.vtn.rig import ALICE, SETTINGS, START, Rig, draft
from ven_client.event_book import EventBook
from ven_client.settings import VenConfig
from vtn_server import event as rules
from vtn_server.api import application
from vtn_server.api_desk import Desk
from vtn_server.records import EventDraft
from vtn_server.sqlstore import SqlStore

HOUR = timedelta(hours=1)
BEARER = {"Authorization": "Bearer token"}
EVENT: dict[str, Any] = {
    "event_id": "e1",
    "market_context": "http://feederloop.example/market",
    "start": "2018-05-16T11:00:00Z",
    "duration": "PT2H",
    "ven_ids": [ALICE],
    "signals": [{"name": "SIMPLE", "type": "level", "intervals": [{"duration": "PT2H", "value": 1}]}],
}
BASELINE: dict[str, Any] = {
    "name": "last week",
    "unit": {"kind": "power:powerReal", "units": "W"},
    "resource_ids": ["meter-1", "meter-2"],
    "intervals": [{"duration": "PT1H", "value": 2100}, {"duration": "PT30M", "value": 1900.5}],
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    made = SqlStore(tmp_path / "vtn.sqlite")
    yield made
    await made.close()


async def publish(rig: Rig, **baseline: object) -> tuple[int, Any]:
    desk = Desk(operator=rig.operator, now=lambda: rig.now, new_id=lambda: "x", vtn_id="v", version="1")
    async with TestClient(TestServer(application(desk, "token"))) as client:
        body = EVENT | {"baseline": BASELINE | baseline}
        response = await client.post("/operator/events", headers=BEARER, json=body)
        return response.status, await response.json()


async def fetched(rig: Rig) -> m.DistributeEvent:
    return await rig.send(m.RequestEvent(request_id="q", ven_id=ALICE), m.DistributeEvent)


async def test_from_the_operator_to_the_ven_and_over_a_restart(store: SqlStore) -> None:
    rig = await Rig(store, SETTINGS).start()
    await rig.bootstrap("alice")
    status, told = await publish(rig)
    assert status == 201
    assert told["baseline"]["start"] == "2018-05-16T11:00:00Z"
    assert told["baseline"]["resource_ids"] == ["meter-1", "meter-2"]
    sent = await fetched(rig)
    expected = m.EventBaseline(
        dtstart=START + HOUR,
        duration=Duration(hours=1, minutes=30),
        intervals=(
            m.Interval.of_signal(0, Duration(hours=1), 2100.0),
            m.Interval.of_signal(1, Duration(minutes=30), 1900.5),
        ),
        baseline_id="baseline",
        resource_ids=("meter-1", "meter-2"),
        baseline_name="last week",
        item_base=WATT,
    )
    assert sent.events[0].event.signals.baseline == expected
    assert check(sent, direction=Direction.VTN_TO_VEN) == ()
    again = await Rig(store, SETTINGS).start()
    assert (await fetched(again)).events == sent.events
    await again.operator.modify_event("e1", signals=simple(2.0))
    modified = (await fetched(again)).events[0].event
    assert (modified.descriptor.modification_number, modified.signals.baseline) == (1, expected)


def simple(level: float) -> tuple[m.EventSignal, ...]:
    return (
        m.EventSignal(
            intervals=(m.Interval.of_signal(0, Duration(hours=2), level),),
            signal_name="SIMPLE",
            signal_type=SignalType.LEVEL,
            signal_id="signal",
        ),
    )


async def test_our_ven_takes_an_event_with_a_baseline(store: SqlStore) -> None:
    rig = await Rig(store, SETTINGS).start()
    await rig.bootstrap("alice")
    await publish(rig, start="2018-05-09T11:00:00Z")
    sent = wire.read(wire.write(await fetched(rig)))
    assert isinstance(sent, m.DistributeEvent)
    home = FakeHome()
    book = EventBook(VenConfig(ven_name="alice"), home, lambda low, high: low)
    (answer,) = book.receive(sent, ALICE, START)
    assert (answer.code, answer.opt_type) == ("200", OptType.OPT_IN)
    baseline = book.held[0].event.signals.baseline
    assert baseline is not None
    assert baseline.dtstart == START + HOUR - timedelta(days=7)


@pytest.mark.parametrize(
    "wrong",
    [
        {"intervals": []},
        {"intervals": [{"duration": "PT0S", "value": 1}]},
        {"intervals": [{"duration": "P9999Y", "value": 1}]},
        {"name": ""},
        {"start": "2018-05-16T11:00:00.5Z"},
        {"unit": {"kind": "oadr:currency"}},
        {"unknown": 1},
    ],
    ids=str,
)
async def test_what_is_no_baseline_is_refused(store: SqlStore, wrong: dict[str, object]) -> None:
    rig = await Rig(store, SETTINGS).start()
    status, told = await publish(rig, **wrong)
    assert status == 422, told
    assert rig.operator.events() == ()


def with_baseline(**changes: object) -> EventDraft:
    line = {
        "dtstart": START,
        "duration": Duration(hours=1),
        "intervals": (m.Interval.of_signal(0, Duration(hours=1), 1.0),),
        "baseline_id": "b",
        "baseline_name": "n",
    }
    values = {name: getattr(draft("e1"), name) for name in EventDraft.__dataclass_fields__}
    return EventDraft(**(values | {"baseline": m.EventBaseline(**(line | changes))}))  # type: ignore[arg-type]  # fields by name


def test_the_rules_of_a_baseline() -> None:
    rules.publish(with_baseline(), START)
    unnumbered = m.Interval.of_signal(1, Duration(hours=1), 1.0)
    for wrong in (
        {"duration": Duration(hours=2)},  # r102
        {"intervals": (unnumbered,)},  # r101
        {"intervals": (m.Interval(uid="0", payloads=unnumbered.payloads),)},  # r102
        {"intervals": (m.Interval.of_signal(0, Duration(hours=1), float("nan")),)},
        {"dtstart": START.replace(tzinfo=None)},
    ):
        with pytest.raises(InvalidData):
            rules.publish(with_baseline(**wrong), START)
