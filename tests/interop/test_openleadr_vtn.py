"""Our VEN at openleadr 0.5.36 as the VTN, on real sockets.

What openleadr's VTN does that one has to know:

* it answers `oadrRequestEvent` with an `oadrResponse` where it has no events;
* its report requests come on the back of `oadrRegisteredReport` (r344);
* it never sends a metadata report of its own, so the bootstrap ends without one;
* it has no EiOpt service.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from openleadr import OpenADRServer

from schemas.oadr20b.enums import OptType, ReadingType, ReportType
from schemas.oadr20b.model import (
    Event,
    Interval,
    Report,
    ReportDescription,
    ReportPayload,
    ReportRequest,
    SamplingRate,
)
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import HeldEvent, ReportWindow, Verdict
from ven_client.client import VenClient
from ven_client.session import Session
from ven_client.settings import VenConfig
from ven_client.transport import HttpPull

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE_S = 20


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        del rank, key
        await asyncio.sleep(max(0.0, (when - self.now()).total_seconds()))


class Home:
    """A home with one meter that accepts everything and notes what it was told."""

    def __init__(self) -> None:
        self.held: tuple[HeldEvent, ...] = ()
        self.asked: list[ReportRequest] = []
        self.told = asyncio.Event()

    def metadata(self, now: datetime) -> tuple[Report, ...]:
        description = ReportDescription(
            r_id="power",
            report_type=ReportType.USAGE,
            item_base=WATT,
            reading_type=ReadingType.DIRECT_READ,
            sampling_rate=SamplingRate(
                min_period=Duration(seconds=1), max_period=Duration(hours=1), on_change=False
            ),
        )
        report = Report(
            duration=Duration(hours=1),
            descriptions=(description,),
            report_request_id="0",
            report_specifier_id="meter",
            report_name="METADATA_TELEMETRY_USAGE",
            created_date_time=now,
        )
        return (report,)

    def judge(self, event: Event, now: datetime) -> Verdict:
        del event, now
        return Verdict(opt_type=OptType.OPT_IN)

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None:
        del now
        self.held = events
        self.told.set()

    def report(self, request: ReportRequest, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        del now
        self.asked.append(request)
        return (Interval(dtstart=window.start, payloads=(ReportPayload.of("power", 740.0),)),)

    def next_wakeup(self, now: datetime) -> datetime | None:
        del now
        return None

    def on_time(self, now: datetime) -> None:
        del now


def free_port() -> int:
    """openleadr wants a port number; one that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Vtn:
    """openleadr's server with the handlers a deployment would write."""

    def __init__(self) -> None:
        self.port = free_port()
        self.values: asyncio.Queue[float] = asyncio.Queue()
        self.server = OpenADRServer(
            vtn_id="OpenLEADR_VTN", http_port=self.port, requested_poll_freq=timedelta(seconds=1)
        )
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._register_report)

    async def _register(self, info: dict[str, object]) -> tuple[str, str]:
        assert info["ven_name"] == "feederloop"
        return "ven-1", "registration-1"

    async def _register_report(self, report: dict[str, object]) -> list[tuple[str, object, timedelta]]:
        assert report["report_specifier_id"] == "meter"
        return [("power", self._update, timedelta(seconds=1))]

    async def _update(self, data: list[tuple[datetime, float]]) -> None:
        for _, value in data:
            self.values.put_nowait(value)


@pytest.fixture
async def vtn() -> AsyncIterator[Vtn]:
    peer = Vtn()
    await peer.server.run_async()
    yield peer
    await peer.server.stop()


@pytest.fixture
async def ven(vtn: Vtn) -> AsyncIterator[tuple[Session, Home, HttpPull]]:
    home, rng, clock = Home(), random.Random(1), WallClock()
    config = VenConfig(
        ven_name="feederloop", idle_poll=timedelta(seconds=1), poll_jitter=0.0, query_first=True
    )
    session = Session(config, home, lambda: f"{rng.getrandbits(64):016x}", rng.uniform)
    transport = HttpPull(f"http://127.0.0.1:{vtn.port}", now=clock.now)
    client = VenClient(session, transport, home, clock, rng)
    task = asyncio.create_task(client.run())
    yield session, home, transport
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.close()


async def test_it_registers_and_its_report_arrives(vtn: Vtn, ven: tuple[Session, Home, HttpPull]) -> None:
    session, home, transport = ven
    async with asyncio.timeout(PATIENCE_S):
        assert await vtn.values.get() == 740.0
    assert session.ven_id == "ven-1"
    assert session.registration_id == "registration-1"
    assert home.asked[0].specifier.report_specifier_id == "meter"
    assert transport.stats().failures == 0
    assert session.protocol_faults == 1  # the oadrResponse to oadrRequestEvent, counted and survived


async def test_an_event_is_taken_and_the_opt_comes_back(
    vtn: Vtn, ven: tuple[Session, Home, HttpPull]
) -> None:
    _, home, _ = ven
    opted: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def answered(ven_id: str, event_id: str, opt_type: str) -> None:
        opted.put_nowait((event_id, opt_type))

    async with asyncio.timeout(PATIENCE_S):
        await vtn.values.get()  # bootstrapped
        vtn.server.add_event(
            ven_id="ven-1",
            event_id="event-1",
            signal_name="simple",
            signal_type="level",
            intervals=[
                {
                    "dtstart": datetime.now(UTC) + timedelta(minutes=10),
                    "duration": timedelta(minutes=10),
                    "signal_payload": 1,
                }
            ],
            callback=answered,
        )
        assert await opted.get() == ("event-1", "optIn")
        while not home.held:
            home.told.clear()
            await home.told.wait()
    (held,) = home.held
    assert held.event.descriptor.event_id == "event-1"
    assert held.event.signals.signals[0].intervals[0].signal_value == 1.0
