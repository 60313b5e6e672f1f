"""openleadr 0.5.36 as the VEN of our VTN, on real sockets.

What openleadr does that one has to know, and what our VTN does about it:

* it answers with a 452 for a vtnID written in lower case only, so ours has a capital in it;
* its polls take one item and do not drain; the test polls itself instead of waiting for its scheduler;
* it acknowledges `oadrCreateReport` after it has queued the first report: data may come before the answer;
* it guesses types on reading: an id of digits loses its leading zeros;
* on `stop()` it does not say goodbye: the registration stays;
* a one-shot report whose start is more than a second past when it is asked for is never made (its scheduler
  drops late jobs): the fixture gives it more patience, or a busy machine would fail the test.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openleadr import OpenADRClient, enums

from schemas.oadr20b.enums import OptType, ResponseRequired, SignalName, SignalType
from schemas.oadr20b.model import EventSignal, Interval, Report
from schemas.oadr20b.units import EUR_PER_KWH
from schemas.oadr20b.xmltypes import Duration
from vtn_server.http import serve
from vtn_server.operator import EventDraft, Operator, Provision, Reading, ReportRequestDraft, VenId
from vtn_server.peers import ClaimedNames
from vtn_server.service import Exchange, VtnService
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

VEN = VenId("VEN_001")
CONTEXT = "http://feederloop.example/programme"
PATIENCE_S = 20


def now() -> datetime:
    return datetime.now(UTC)


def one_shot(ven_id: VenId, metadata: tuple[Report, ...], at: datetime) -> tuple[ReportRequestDraft, ...]:
    """Ask once for everything that was announced."""
    del ven_id
    return tuple(
        ReportRequestDraft(
            report_specifier_id=report.report_specifier_id,
            r_ids=tuple(each.r_id for each in report.descriptions),
            granularity=Duration(),
            report_back_duration=Duration(),
            start=at,
        )
        for report in metadata
    )


class Peers:
    """Our VTN and what came over the wire."""

    def __init__(self, service: VtnService, url: str, seen: list[Exchange]) -> None:
        self.service = service
        self.operator = Operator(service)
        self.url = f"{url}/OpenADR2/Simple/2.0b"
        self.seen = seen
        self.changed = asyncio.Event()

    async def until(self, *markers: bytes, times: int = 1) -> None:
        """Return when so many requests that contain all markers were answered."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(all(m in each.request for m in markers) for each in self.seen) < times:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    ids, seen = itertools.count(1), []
    holder: list[Peers] = []

    def note(exchange: Exchange) -> None:
        seen.append(exchange)
        if holder:
            holder[0].changed.set()

    store = SqlStore(tmp_path / "vtn.sqlite")
    service = await VtnService.start(
        VtnSettings(vtn_id="Feederloop_VTN", identity=Identity.CLAIMED, validate_outgoing=True),
        store,
        now=now,
        new_id=lambda: f"id-{next(ids)}",
        report_plan=one_shot,
        on_exchange=note,
    )
    server = await serve(service, peers=ClaimedNames())
    holder.append(Peers(service, server.url, seen))
    await holder[0].operator.provision(
        [Provision(ven_id=VEN, ven_name="openleadr", market_contexts=(CONTEXT,))]
    )
    yield holder[0]
    await server.close()
    await service.close()
    await store.close()


@pytest.fixture
async def client(peers: Peers) -> AsyncIterator[OpenADRClient]:
    ven = OpenADRClient(ven_name="openleadr", vtn_url=peers.url, allow_jitter=False)
    ven.scheduler.configure(job_defaults={"misfire_grace_time": PATIENCE_S})
    yield ven
    await ven.stop()


def price(*values: float) -> tuple[EventSignal, ...]:
    return (
        EventSignal(
            intervals=tuple(Interval.of_signal(i, Duration(minutes=10), v) for i, v in enumerate(values)),
            signal_name=SignalName.ELECTRICITY_PRICE,
            signal_type=SignalType.PRICE,
            signal_id="s0",
            item_base=EUR_PER_KWH,
        ),
    )


def draft(event_id: str, *values: float) -> EventDraft:
    return EventDraft(
        event_id=event_id,
        market_context=CONTEXT,
        dtstart=now().replace(microsecond=0) + timedelta(hours=1),
        duration=Duration(minutes=10 * len(values)),
        signals=price(*values),
        audience=(VEN,),
        response_required=ResponseRequired.ALWAYS,
    )


async def test_it_registers_is_bootstrapped_and_polls(peers: Peers, client: OpenADRClient) -> None:
    await client.run()
    await client._poll()
    assert client.ven_id == VEN
    view = next(v for v in peers.operator.vens() if v.ven_id == VEN)
    assert view.registered
    assert client.poll_frequency == timedelta(seconds=10)
    assert {exchange.status for exchange in peers.seen} == {200}
    assert peers.operator.stats().application_errors == ()


@pytest.mark.parametrize(("answer", "expected"), [("optIn", OptType.OPT_IN), ("optOut", OptType.OPT_OUT)])
async def test_an_event_is_answered(
    peers: Peers, client: OpenADRClient, answer: str, expected: OptType
) -> None:
    received = []

    async def on_event(event: dict[str, object]) -> str:
        received.append(event)
        return answer

    client.add_handler("on_event", on_event)
    await client.run()
    await peers.operator.publish_events([draft("Event1", 0.1, 0.2, 0.3)])
    await client._poll()
    opt = peers.operator.opts("Event1")[VEN]
    assert (opt.opt_type, opt.modification_number) == (expected, 0)
    intervals = received[0]["event_signals"][0]["intervals"]  # type: ignore[index]
    assert [each["signal_payload"] for each in intervals] == [0.1, 0.2, 0.3]


async def test_a_modification_and_a_cancellation_arrive(peers: Peers, client: OpenADRClient) -> None:
    updates = []

    async def on_event(event: dict[str, object]) -> str:
        del event
        return "optIn"

    async def on_update_event(event: dict[str, object]) -> str:
        updates.append(event["event_descriptor"])
        return "optOut"

    client.add_handler("on_event", on_event)
    client.add_handler("on_update_event", on_update_event)
    await client.run()
    await peers.operator.publish_events([draft("Event1", 0.1)])
    await client._poll()
    await peers.operator.modify_event("Event1", signals=price(0.4))
    await client._poll()
    opt = peers.operator.opts("Event1")[VEN]
    assert (opt.opt_type, opt.modification_number) == (OptType.OPT_OUT, 1)
    await peers.operator.cancel_event("Event1")
    await client._poll()
    assert [each["event_status"] for each in updates] == ["far", "cancelled"]  # type: ignore[index]
    assert peers.operator.opts("Event1")[VEN].modification_number == 2


async def report_once(
    peers: Peers, client: OpenADRClient, r_id: str, every: timedelta = timedelta(seconds=10)
) -> tuple[Reading, ...]:
    """Let openleadr announce one data point, be asked for it and send it; return what arrived."""
    client.add_report(
        callback=lambda: 123.5,
        report_specifier_id="Specifier1",
        r_id=r_id,
        resource_id="Device001",
        measurement="powerReal",
        report_type=enums.REPORT_TYPE.USAGE,
        sampling_rate=every,
    )
    await client.run()
    for _ in range(3):  # one item a poll: our metadata, the report request, nothing
        await client._poll()
    await peers.until(b"oadrUpdateReport")
    await peers.until(b"oadrCreatedReport")
    start = now() - timedelta(hours=1)
    return await peers.operator.readings(
        report_specifier_id="Specifier1", start=start, end=start + timedelta(hours=2)
    )


async def test_a_report_is_announced_requested_and_delivered(peers: Peers, client: OpenADRClient) -> None:
    readings = await report_once(peers, client, "power")
    assert [(each.r_id, each.value) for each in readings] == [("power", 123.5)]
    assert peers.operator.stats().application_errors == ()


async def test_its_type_guessing_loses_an_id_of_digits_and_we_say_so(
    peers: Peers, client: OpenADRClient
) -> None:
    """openleadr reads the rID 00123 as the number 123, does not find it and sends an empty report (459)."""
    assert await report_once(peers, client, "00123") == ()
    assert peers.operator.stats().application_errors == (("459", 1),)


async def test_it_cancels_its_registration_and_comes_back(peers: Peers, client: OpenADRClient) -> None:
    await client.run()
    first = client.registration_id
    await client.cancel_party_registration()
    assert not next(v for v in peers.operator.vens() if v.ven_id == VEN).registered
    client.registration_id = None
    await client.create_party_registration()
    assert next(v for v in peers.operator.vens() if v.ven_id == VEN).registered
    assert client.registration_id not in (None, first)


async def periodic_reports(peers: Peers, client: OpenADRClient) -> str:
    """Let openleadr bootstrap, and ask it for a reading every second; return the reportRequestID."""
    await report_once(peers, client, "power", every=timedelta(seconds=1))
    wanted = ReportRequestDraft(
        report_specifier_id="Specifier1",
        r_ids=("power",),
        granularity=Duration(seconds=1),
        report_back_duration=Duration(seconds=1),
        start=now().replace(microsecond=0),
    )
    (request_id,) = await peers.operator.request_reports(VEN, [wanted])
    await client._poll()
    await peers.until(b"oadrUpdateReport", request_id.encode(), times=3)
    return request_id


async def test_periodic_reports_arrive(peers: Peers, client: OpenADRClient) -> None:
    request_id = await periodic_reports(peers, client)
    start = now() - timedelta(hours=1)
    readings = await peers.operator.readings(
        report_specifier_id="Specifier1", start=start, end=start + timedelta(hours=2)
    )
    found = [each for each in readings if each.report_request_id == request_id]
    assert len(found) >= 3
    assert {(each.r_id, each.value) for each in found} == {("power", 123.5)}
    (view,) = (each for each in peers.operator.vens() if each.ven_id == VEN)
    assert all(each.acknowledged for each in view.requests)
    assert peers.operator.stats().application_errors == ()


async def test_a_periodic_report_is_cancelled(peers: Peers, client: OpenADRClient) -> None:
    request_id = await periodic_reports(peers, client)
    await peers.operator.cancel_reports(VEN, [request_id])
    await client._poll()
    await peers.until(b"oadrCanceledReport")
    (view,) = (each for each in peers.operator.vens() if each.ven_id == VEN)
    assert request_id not in [each.report_request_id for each in view.requests]
    assert {exchange.status for exchange in peers.seen} == {200}


async def test_it_registers_again_when_it_is_asked_to(peers: Peers, client: OpenADRClient) -> None:
    await client.run()
    first = client.registration_id
    for _ in range(2):  # our metadata, nothing
        await client._poll()
    await peers.operator.request_reregistration(VEN)
    await client._poll()
    assert client.registration_id == first
    assert len([each for each in peers.seen if b"<oadr:oadrCreatePartyRegistration" in each.request]) == 2
    assert {exchange.status for exchange in peers.seen} == {200}
    assert peers.operator.stats().application_errors == ()
