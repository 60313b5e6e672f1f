"""Our VEN at openleadr 0.5.36 as the VTN, on real sockets.

What openleadr's VTN does that one has to know:

* it answers `oadrRequestEvent` with an `oadrResponse` where it has no events;
* its report requests come on the back of `oadrRegisteredReport` (r344);
* it never sends a metadata report of its own, so the bootstrap ends without one;
* it has no EiOpt service;
* it has no call that modifies an event: the test changes the event it holds, as its own tests do;
* it forgets the callback of an event with the first answer, so each version needs a new one;
* once its list is empty it answers `oadrPoll` with `oadrResponse`, so the last event cannot be cancelled by
  leaving it out; with others in the list it can.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openleadr import OpenADRServer, utils

from schemas.oadr20b.enums import OptType, ReadingType, ReportType
from schemas.oadr20b.model import (
    Event,
    Interval,
    Period,
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
from ven_client.opt import OptDraft
from ven_client.session import Session, State
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
        self.opt = OptType.OPT_IN
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
        return Verdict(opt_type=self.opt)

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None:
        del now
        self.held = events
        self.told.set()

    async def until_it_holds(self, *wanted: tuple[str, int]) -> None:
        """Return when exactly these events are held, as (eventID, modificationNumber)."""
        while {(h.event.descriptor.event_id, h.event.descriptor.modification_number) for h in self.held} != {
            *wanted
        }:
            self.told.clear()
            await self.told.wait()

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
        self.opted: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.server = OpenADRServer(
            vtn_id="OpenLEADR_VTN", http_port=self.port, requested_poll_freq=timedelta(seconds=1)
        )
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._register_report)

    def publish(self, event_id: str, level: float = 1.0) -> None:
        """Add an event for the VEN; its answer goes to :attr:`opted`."""
        interval = {
            "dtstart": datetime.now(UTC) + timedelta(minutes=10),
            "duration": timedelta(minutes=10),
            "signal_payload": level,
        }
        self.server.add_event(
            ven_id="ven-1",
            event_id=event_id,
            signal_name="simple",
            signal_type="level",
            intervals=[interval],
            callback=self._answered,
        )

    def modify(self, event_id: str, level: float) -> None:
        """Change the value of an event's only interval."""
        event = self._event(event_id)
        utils.setmember(event.event_signals[0].intervals[0], "signal_payload", level)
        utils.increment_event_modification_number(event)
        self.server.events_updated["ven-1"] = True
        self.expect_answer(event_id)

    def cancel(self, event_id: str) -> None:
        """Cancel an event."""
        self.expect_answer(event_id)
        self.server.cancel_event("ven-1", event_id)

    def leave_out(self, event_id: str) -> None:
        """Take an event off the list."""
        self.server.events["ven-1"].remove(self._event(event_id))
        self.server.events_updated["ven-1"] = True

    def expect_answer(self, event_id: str) -> None:
        """Set up the callback again, which the first answer has used up."""
        self.server.event_callbacks[event_id] = (self._event(event_id), self._answered)

    def _event(self, event_id: str) -> Any:
        return utils.find_by(self.server.events["ven-1"], "event_descriptor.event_id", event_id)

    async def _answered(self, ven_id: str, event_id: str, opt_type: str) -> None:
        assert ven_id == "ven-1"
        self.opted.put_nowait((event_id, opt_type))

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


async def test_its_reports_come_every_second(vtn: Vtn, ven: tuple[Session, Home, HttpPull]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            assert await vtn.values.get() == 740.0
    _, home, _ = ven
    assert len({each.report_request_id for each in home.asked}) == 1


@pytest.mark.parametrize(("opt", "said"), [(OptType.OPT_IN, "optIn"), (OptType.OPT_OUT, "optOut")])
async def test_an_event_is_taken_and_the_opt_comes_back(
    vtn: Vtn, ven: tuple[Session, Home, HttpPull], opt: OptType, said: str
) -> None:
    _, home, _ = ven
    home.opt = opt
    async with asyncio.timeout(PATIENCE_S):
        await vtn.values.get()  # bootstrapped
        vtn.publish("event-1")
        assert await vtn.opted.get() == ("event-1", said)
        await home.until_it_holds(("event-1", 0))
    (held,) = home.held
    assert held.opt_type is opt
    assert held.event.signals.signals[0].intervals[0].signal_value == 1.0


async def test_a_modification_and_a_cancellation_are_taken_and_answered(
    vtn: Vtn, ven: tuple[Session, Home, HttpPull]
) -> None:
    session, home, transport = ven
    async with asyncio.timeout(PATIENCE_S):
        await vtn.values.get()
        vtn.publish("event-1")
        vtn.publish("event-2")
        assert {(await vtn.opted.get())[0] for _ in range(2)} == {"event-1", "event-2"}
        home.opt = OptType.OPT_OUT
        vtn.modify("event-1", 3.0)
        assert await vtn.opted.get() == ("event-1", "optOut")
        await home.until_it_holds(("event-1", 1), ("event-2", 0))
        held = {each.event.descriptor.event_id: each for each in home.held}
        assert held["event-1"].event.signals.signals[0].intervals[0].signal_value == 3.0
        vtn.cancel("event-1")
        assert await vtn.opted.get() == ("event-1", "optIn")  # a cancellation is always agreed to (r36)
        await home.until_it_holds(("event-2", 0))
    assert [each.event_descriptor.event_id for each in vtn.server.events["ven-1"]] == ["event-2"]
    assert session.ven_id == "ven-1"
    assert transport.stats().failures == 0


async def test_an_event_that_is_left_out_is_cancelled(vtn: Vtn, ven: tuple[Session, Home, HttpPull]) -> None:
    _, home, _ = ven
    async with asyncio.timeout(PATIENCE_S):
        await vtn.values.get()
        for event_id in ("event-1", "event-2"):
            vtn.publish(event_id)
        await home.until_it_holds(("event-1", 0), ("event-2", 0))
        vtn.leave_out("event-1")
        await home.until_it_holds(("event-2", 0))


async def test_it_has_no_opt_service_and_our_ven_goes_on_without(
    vtn: Vtn, ven: tuple[Session, Home, HttpPull]
) -> None:
    """openleadr answers /EiOpt with 404: the opt is given up, nothing else suffers."""
    session, home, transport = ven
    async with asyncio.timeout(PATIENCE_S):
        await vtn.values.get()
        availability = (Period(dtstart=datetime.now(UTC), duration=Duration(hours=1)),)
        opt_id = session.send_opt(
            OptDraft(opt_type=OptType.OPT_OUT, reason="economic", availability=availability),
            datetime.now(UTC),
        )
        vtn.publish("event-1")
        await home.until_it_holds(("event-1", 0))
        while transport.stats().failures == 0:
            await vtn.values.get()
        await vtn.values.get()  # and it reports on
    assert session.opt_code(opt_id) is None
    assert session.state is State.OPERATIONAL
