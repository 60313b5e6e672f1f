"""The whole service: any bytes, any message at any endpoint, concurrency, cancellation, counters."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired, ServiceName
from schemas.oadr20b.errors import NotRegistered, SchemaViolation
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    SETTINGS,
    START,
    MemoryStore,
    Rig,
    draft,
    metadata,
    price_signal,
    said,
    update,
)
from tests.unit.vtn.test_vtn_opt import schedule
from vtn_server import dispatch
from vtn_server import event as rules
from vtn_server.decision import Distribution, Listed, ok
from vtn_server.dispatch import TABLE
from vtn_server.encoder import Encoder
from vtn_server.service import Exchange, VtnService
from vtn_server.state import PeerIdentity

SERVICES = st.sampled_from(list(ServiceName))
PEER = PeerIdentity(connection="c")

SPECIMENS: tuple[m.AnyMessage, ...] = (
    m.QueryRegistration(request_id="1"),
    m.CreatePartyRegistration(request_id="1", ven_name="alice"),
    m.CancelPartyRegistration(request_id="1", registration_id="x", ven_id=ALICE),
    m.CanceledPartyRegistration(response=said("1"), ven_id=ALICE),
    m.Response(response=said("1"), ven_id=ALICE),
    m.Response(response=said("1", "452")),
    m.RegisterReport(request_id="1", reports=(metadata(),), ven_id=ALICE),
    m.RegisterReport(request_id="1"),
    m.RegisteredReport(response=said("1"), ven_id=ALICE),
    m.CreatedReport(response=said(""), ven_id=ALICE),
    m.UpdatedReport(response=said(""), ven_id=ALICE),
    m.CanceledReport(response=said(""), ven_id=ALICE),
    m.CancelReport(request_id="1", report_request_ids=("x",), report_to_follow=True, ven_id=ALICE),
    m.CreateReport(
        request_id="1",
        requests=(
            m.ReportRequest(
                report_request_id="a",
                specifier=m.ReportSpecifier(
                    report_specifier_id="METADATA",
                    granularity=Duration(),
                    report_back_duration=Duration(),
                    payloads=(m.SpecifierPayload(r_id="0", reading_type="x-notApplicable"),),
                ),
            ),
        ),
        ven_id=ALICE,
    ),
    update(ALICE, "unknown", [1.0]),
    m.RequestEvent(request_id="1", ven_id=ALICE, reply_limit=0),
    m.CreatedEvent(
        response=said(""),
        event_responses=(
            m.EventResponse(
                code="200",
                request_id="1",
                qualified_event_id=m.QualifiedEventId(event_id="e1", modification_number=0),
                opt_type=OptType.OPT_IN,
            ),
        ),
        ven_id=ALICE,
    ),
    schedule("o"),
    m.CancelOpt(request_id="1", opt_id="o", ven_id=ALICE),
    m.Poll(ven_id=ALICE),
    m.DistributeEvent(request_id="1", vtn_id="v"),
    m.CreatedPartyRegistration(response=said("1"), vtn_id="v", profiles=()),
    m.RequestReregistration(ven_id=ALICE),
    m.CreatedOpt(response=said("1"), opt_id="o"),
    m.CanceledOpt(response=said("1")),
)


def encoded(message: m.AnyMessage) -> bytes:
    return wire.write(message)


async def answer(rig: Rig, body: bytes, service: ServiceName) -> int:
    status, reply = await rig.service.handle(body, PEER, service)
    if status == 200:
        wire.parse(reply)  # every reply is valid
    return status


def test_the_table_has_every_message() -> None:
    assert set(TABLE) == set(get_args(m.AnyMessage))
    vtn_only = {cls.__name__ for cls, row in TABLE.items() if row.handler is None}
    assert vtn_only == {
        "DistributeEvent",
        "CreatedPartyRegistration",
        "RequestReregistration",
        "CreatedOpt",
        "CanceledOpt",
    }
    assert {type(each) for each in SPECIMENS} == set(TABLE)


async def test_a_handler_never_runs_without_a_ven(rig: Rig) -> None:
    for cls, row in TABLE.items():
        if row.handler is None or row.needs is dispatch.Needs.NOBODY:
            continue
        message = next(each for each in SPECIMENS if type(each) is cls)
        handler = dispatch.row_of(message).handler
        assert handler is not None
        with pytest.raises(NotRegistered):
            handler(message, None, rig.service.memory, rig.service.context(PEER))


@settings(max_examples=150, deadline=None)
@given(body=st.binary(max_size=300), service=SERVICES)
def test_any_bytes_get_a_status(body: bytes, service: ServiceName) -> None:
    async def run() -> None:
        rig = await Rig(MemoryStore()).start()
        assert await answer(rig, body, service) in (406, 413)

    asyncio.run(run())


@settings(max_examples=150, deadline=None)
@given(data=st.data(), service=SERVICES)
def test_any_damage_to_a_message_gets_a_status(data: st.DataObject, service: ServiceName) -> None:
    body = bytearray(encoded(data.draw(st.sampled_from([each for each in SPECIMENS if valid(each)]))))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    async def run() -> None:
        rig = await Rig(MemoryStore()).start()
        await rig.bootstrap("alice")
        assert await answer(rig, bytes(body), service) in (200, 406)

    asyncio.run(run())


def valid(message: m.AnyMessage) -> bool:
    try:
        wire.read(encoded(message))
    except SchemaViolation:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.tuples(st.integers(0, len(SPECIMENS) - 1), SERVICES, st.integers(0, 40)), max_size=25)
)
def test_any_sequence_of_messages_keeps_the_vtn_alive(steps: list[tuple[int, ServiceName, int]]) -> None:
    async def run() -> None:
        rig = await Rig(MemoryStore()).start()
        await rig.operator.publish_events([draft("e1"), draft("e2", required=ResponseRequired.NEVER)])
        for index, service, seconds in steps:
            rig.wait(seconds)
            assert await answer(rig, encoded(SPECIMENS[index]), service) in (200, 406)
        await rig.bootstrap("alice")
        again = await Rig(rig.store).start()  # what is stored is what is known
        assert again.service.memory.vens() == rig.service.memory.vens()
        assert again.operator.opts("e1") == rig.operator.opts("e1")
        assert "500" not in dict(rig.operator.stats().http_errors)

    asyncio.run(run())


async def test_the_wrong_endpoint_is_453_in_the_right_reply(rig: Rig) -> None:
    await rig.bootstrap("alice")
    status, body = await rig.post(m.Poll(ven_id=ALICE), service=ServiceName.EI_EVENT)
    reply = wire.read(body)
    assert status == 200
    assert isinstance(reply, m.Response)
    assert (reply.response.code, reply.ven_id) == ("453", ALICE)
    await rig.send(m.RequestReregistration(ven_id=ALICE), m.Response, "453")
    assert rig.operator.stats().rejected == 2


async def test_a_message_without_its_ven_id_is_459(rig: Rig) -> None:
    await rig.send(m.RegisterReport(request_id="1"), m.RegisteredReport, "459")


async def test_concurrent_requests_of_one_ven_lose_nothing(rig: Rig) -> None:
    await rig.bootstrap("alice")
    opts = [
        rig.send(schedule(f"o{i}", context=f"http://{i}.example"), m.CreatedOpt, connection=str(i))
        for i in range(20)
    ]
    await asyncio.gather(*opts, *(rig.send(m.Poll(ven_id=ALICE), m.Response) for _ in range(5)))
    assert len(rig.operator.schedules(START)[ALICE]) == 20


async def test_an_event_published_while_a_decision_commits_is_not_lost(rig: Rig) -> None:
    await rig.register("alice")
    await rig.operator.publish_events([draft("e1", required=ResponseRequired.NEVER)])
    polling = asyncio.create_task(rig.poll(ALICE, m.RegisterReport))
    publishing = asyncio.create_task(
        rig.operator.publish_events([draft("e2", required=ResponseRequired.NEVER)])
    )
    await asyncio.gather(polling, publishing)
    sent = await rig.poll(ALICE, m.DistributeEvent)
    assert len(sent.events) == 2


async def test_a_caller_that_goes_away_leaves_memory_and_store_agreeing(rig: Rig) -> None:
    await rig.bootstrap("alice")
    works: tuple[Coroutine[None, None, object], ...] = (
        rig.post(schedule("a")),
        rig.operator.publish_events([draft("e1")]),
    )
    for work in works:
        task = asyncio.create_task(work)
        await asyncio.sleep(0)  # up to where it waits for its commit
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await rig.service.close()
    again = await Rig(rig.store).start()
    assert again.service.memory.vens() == rig.service.memory.vens()
    assert again.operator.events() == rig.operator.events()
    assert len(rig.operator.events()) == 1
    await rig.send(schedule("b"), m.CreatedOpt)


async def test_an_empty_poll_writes_nothing(rig: Rig) -> None:
    await rig.bootstrap("alice")
    before = rig.store.commits
    for _ in range(5):
        await rig.poll(ALICE, m.Response)
    assert rig.store.commits == before


async def test_a_bug_is_a_500_with_a_reference(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(VtnService, "_sender", broken)
    status, body = await rig.post(m.Poll(ven_id=ALICE))
    assert status == 500
    assert body.startswith(b"reference id-")
    monkeypatch.undo()
    await rig.bootstrap("alice")  # the lock was freed


async def test_exchanges_can_be_listened_to() -> None:
    heard: list[Exchange] = []
    service = await VtnService.start(
        SETTINGS, MemoryStore(), now=lambda: START, new_id=lambda: "x", on_exchange=heard.append
    )
    body = wire.write(m.Poll(ven_id="nobody"))
    status, reply = await service.handle(body, PEER, ServiceName.OADR_POLL)
    assert heard == [
        Exchange(at=START, service="OadrPoll", ven_id="nobody", request=body, status=status, reply=reply)
    ]
    assert service.stats().bytes_in == len(body)
    assert service.stats().bytes_out == len(reply)


@pytest.mark.parametrize("request_id", ["plain", "<&>\"' €"])
def test_a_spliced_distribution_is_the_message_it_stands_for(request_id: str) -> None:
    records = (
        rules.publish(draft("e1", startafter=Duration(minutes=5)), START),
        rules.publish(replace(draft("e<2>"), comment="a & b", priority=3), START),
    )
    listed = tuple(Listed(record=each, status=EventStatus.FAR) for each in records)
    encoder = Encoder()
    for some in (listed, listed[:1], ()):
        reply = Distribution(
            response=ok(request_id), request_id=request_id, vtn_id="v", listed=some, created_at=START
        )
        for _ in range(2):  # the second time from what was kept
            body = encoder.encode(reply)
            assert wire.read(body) == reply.message()
            assert len(body) <= len(wire.write(reply.message()))


def test_a_changed_event_is_not_encoded_as_before() -> None:
    encoder = Encoder()
    record = rules.publish(draft("e1"), START)
    changed = rules.modify(record, (price_signal([9.0] * 6),), START)
    for each in (record, changed):
        for status in (EventStatus.FAR, EventStatus.ACTIVE):
            listed = (Listed(record=each, status=status),)
            reply = Distribution(response=ok(""), request_id="1", vtn_id="v", listed=listed, created_at=START)
            assert wire.read(encoder.encode(reply)) == reply.message()


PURE = (
    "decision",
    "dispatch",
    "distribute",
    "event",
    "opt",
    "outbox",
    "poll",
    "readings",
    "records",
    "registration",
    "replies",
    "report",
    "settings",
    "state",
)
IMPURE = {"aiohttp", "asyncio", "random", "sqlalchemy", "sqlmodel", "threading", "time", "uuid"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_take_time_and_ids_as_arguments(name: str) -> None:
    source = Path(dispatch.__file__).with_name(f"{name}.py").read_text()
    tree = ast.parse(source)
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert not imported & IMPURE
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not calls & {"utcnow", "today"}
    assert "datetime.now(" not in source


async def test_a_reply_that_is_not_valid_is_a_500(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", lambda *_: b"<oops/>")
    status, body = await rig.post(m.Poll(ven_id=ALICE))
    assert status == 500
    assert body.startswith(b"reference id-")
