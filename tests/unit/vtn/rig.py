"""A VTN in memory and a hand to write its VENs' messages with: bytes in, bytes out, no sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ResponseRequired, ServiceName, SignalType
from schemas.oadr20b.units import EUR_PER_KWH, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from vtn_server import event as rules
from vtn_server.decision import AddReadings, SaveEvent, SaveOpt, SaveVen, SharedWrite
from vtn_server.dispatch import TABLE
from vtn_server.operator import Operator
from vtn_server.records import EventDraft, EventRecord
from vtn_server.service import VtnService
from vtn_server.settings import Identity, ReportPlan, VtnSettings, no_reports
from vtn_server.state import PeerIdentity, Provision, Reading, ReportRequestDraft, Ven, VenId
from vtn_server.store import Pruned, Snapshot, Store, StoreConflict, StoreFailed

T = TypeVar("T", bound=m.AnyMessage)

START = datetime(2018, 5, 16, 10, 0, tzinfo=UTC)
PT10M = Duration(minutes=10)
PT1H = Duration(hours=1)
ALICE = VenId("ven-alice")
BOB = VenId("ven-bob")
PROVISIONS = (
    Provision(ven_id=ALICE, ven_name="alice", resources=("switch-a", "battery-a")),
    Provision(ven_id=BOB, ven_name="bob"),
)
SETTINGS = VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED, validate_outgoing=True)


class MemoryStore:
    """A store that is gone with the process; ``fail`` makes the next commits fail."""

    sharing = None

    def __init__(self) -> None:
        self._vens: dict[str, Ven] = {}
        self._events: dict[str, EventRecord] = {}
        self._opts: dict[tuple[str, str], SaveOpt] = {}
        self._readings: dict[tuple[str, datetime, str, str], Reading] = {}
        self._nonces: dict[str, datetime] = {}
        self.commits = 0
        self.fail = False

    async def load(self, over_after: datetime) -> Snapshot:
        events = tuple(
            each for _, each in sorted(self._events.items()) if not rules.is_over(each, over_after)
        )
        ids = {each.event_id for each in events}
        return Snapshot(
            vens=tuple(self._vens[key] for key in sorted(self._vens)),
            events=events,
            opts=tuple(self._opts[key] for key in sorted(self._opts) if key[0] in ids),
        )

    async def commit(self, writes: Sequence[SharedWrite]) -> None:
        await asyncio.sleep(0)
        if self.fail:
            raise StoreFailed("told to")
        self._check_events(writes)
        for write in writes:
            self._check(write)
        for write in writes:
            self._put(write)
        self.commits += 1

    def _check(self, write: SharedWrite) -> None:
        if isinstance(write, SaveVen):
            former = self._vens.get(write.ven.ven_id)
            if (0 if former is None else former.version) != write.ven.version - 1:
                raise StoreConflict(write.ven.ven_id)

    def _check_events(self, writes: Sequence[SharedWrite]) -> None:
        for write in writes:
            if isinstance(write, SaveEvent):
                former = self._events.get(write.record.event_id)
                number = -1 if former is None else former.modification_number
                if write.record.modification_number != number + 1:
                    raise StoreConflict(write.record.event_id)

    def _put(self, write: SharedWrite) -> None:
        match write:
            case SaveVen(ven=ven):
                self._vens[ven.ven_id] = ven
            case SaveEvent(record=record):
                self._events[record.event_id] = record
            case SaveOpt():
                self._opts[(write.event_id, write.ven_id)] = write
            case AddReadings(series=series):
                for each in (reading for some in series for reading in some.readings()):
                    self._readings[(each.report_specifier_id, each.start, each.ven_id, each.r_id)] = each

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        if self.fail:
            raise StoreFailed("told to")
        new = nonce not in self._nonces
        self._nonces.setdefault(nonce, timestamp)
        await asyncio.sleep(0)
        return new

    async def forget_nonces(self, signed_before: datetime) -> None:
        self._nonces = {key: at for key, at in self._nonces.items() if at >= signed_before}

    async def readings(
        self, *, report_specifier_id: str, start: datetime, end: datetime, ven_id: VenId | None = None
    ) -> tuple[Reading, ...]:
        return tuple(
            reading
            for (specifier, moment, ven, _), reading in sorted(self._readings.items())
            if specifier == report_specifier_id and start <= moment < end and ven_id in (None, ven)
        )

    async def event(self, event_id: str) -> EventRecord | None:
        return self._events.get(event_id)

    async def events(self, event_ids: Sequence[str]) -> tuple[EventRecord, ...]:
        return tuple(self._events[each] for each in sorted(set(event_ids)) if each in self._events)

    async def opts(self, event_ids: Sequence[str]) -> tuple[SaveOpt, ...]:
        return tuple(self._opts[key] for key in sorted(self._opts) if key[0] in set(event_ids))

    async def known_events(self, event_ids: Sequence[str]) -> frozenset[str]:
        return frozenset(event_ids) & self._events.keys()

    async def prune(self, *, readings_before: datetime | None, events_before: datetime | None) -> Pruned:
        readings = [key for key in self._readings if readings_before is not None and key[1] < readings_before]
        events = [
            key
            for key, each in self._events.items()
            if events_before is not None and rules.is_over(each, events_before)
        ]
        for reading in readings:
            del self._readings[reading]
        for event in events:
            del self._events[event]
        opts = [key for key in self._opts if events_before is not None and key[0] not in self._events]
        for opt in opts:
            del self._opts[opt]
        return Pruned(readings=len(readings), events=len(events), opts=len(opts))

    async def close(self) -> None:
        return None


class Rig:
    """A VTN whose clock and ids a test holds."""

    def __init__(
        self, store: Store, settings: VtnSettings = SETTINGS, plan: ReportPlan = no_reports, name: str = ""
    ) -> None:
        self.name = name
        self.now = START
        self.store = store
        self.settings = settings
        self.plan = plan
        self._ids = itertools.count(1)
        self.service: VtnService
        self.operator: Operator

    async def start(self, provisions: Sequence[Provision] = PROVISIONS) -> Rig:
        self.service = await VtnService.start(
            self.settings,
            self.store,
            now=lambda: self.now,
            new_id=lambda: f"{self.name}id-{next(self._ids)}",
            report_plan=self.plan,
        )
        self.operator = Operator(self.service)
        await self.operator.provision(provisions)
        return self

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def post(
        self, message: m.AnyMessage, connection: str = "", service: ServiceName | None = None
    ) -> tuple[int, bytes]:
        """Send a message from a connection of its sender."""
        ven_id = getattr(message, "ven_id", None)
        peer = PeerIdentity(connection=connection or f"connection of {ven_id}")
        where = service or TABLE[type(message)].services[0]
        return await self.service.handle(wire.write(message), peer, where)

    async def send(
        self, message: m.AnyMessage, expect: type[T], code: str = "200", connection: str = ""
    ) -> T:
        """Send a message; return the answer, which must be valid, of the type and carry the code."""
        status, body = await self.post(message, connection)
        assert status == 200
        reply = wire.read(body)
        assert isinstance(reply, expect), reply
        response = getattr(reply, "response", None)
        assert response is None or response.code == code, response
        return reply

    async def poll(self, ven_id: str, expect: type[T], connection: str = "") -> T:
        return await self.send(m.Poll(ven_id=ven_id), expect, connection=connection)

    async def register(self, ven_name: str) -> m.CreatedPartyRegistration:
        message = m.CreatePartyRegistration(request_id="r0", ven_name=ven_name, http_pull_model=True)
        return await self.send(message, m.CreatedPartyRegistration)

    async def bootstrap(self, ven_name: str, reports: tuple[m.Report, ...] = ()) -> VenId:
        """Do what a pull VEN does after power-up (section 1.4); return its venID."""
        ven_id = VenId((await self.register(ven_name)).ven_id or "")
        await self.send(m.RegisterReport(request_id="r1", reports=reports, ven_id=ven_id), m.RegisteredReport)
        ours = await self.poll(ven_id, m.RegisterReport)
        await self.send(m.RegisteredReport(response=said(ours.request_id), ven_id=ven_id), m.Response)
        await self.send(m.RequestEvent(request_id="r2", ven_id=ven_id), m.DistributeEvent)
        return ven_id

    async def accept_reports(self, ven_id: VenId) -> tuple[str, ...]:
        """Fetch the oadrCreateReport and answer it; return the reportRequestIDs."""
        created = await self.poll(ven_id, m.CreateReport)
        ids = tuple(each.report_request_id for each in created.requests)
        await self.send(
            m.CreatedReport(response=said(created.request_id), pending=ids, ven_id=ven_id), m.Response
        )
        return ids


def said(request_id: str, code: str = "200") -> m.EiResponse:
    return m.EiResponse(code=code, request_id=request_id)


def price_signal(values: Sequence[float], length: Duration = PT10M) -> m.EventSignal:
    return m.EventSignal(
        intervals=tuple(m.Interval.of_signal(i, length, value) for i, value in enumerate(values)),
        signal_name="ELECTRICITY_PRICE",
        signal_type=SignalType.PRICE,
        signal_id="price",
        item_base=EUR_PER_KWH,
    )


def draft(
    event_id: str,
    *,
    values: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    length: Duration = PT10M,
    start: datetime = START + timedelta(hours=1),
    audience: tuple[VenId, ...] = (ALICE,),
    required: ResponseRequired = ResponseRequired.ALWAYS,
    priority: int = 0,
    startafter: Duration | None = None,
    ramp_up: Duration | None = None,
) -> EventDraft:
    return EventDraft(
        event_id=event_id,
        market_context="http://feederloop.example/local-market",
        dtstart=start,
        duration=Duration.of(len(values) * length.timedelta()),
        signals=(price_signal(values, length),),
        audience=audience,
        response_required=required,
        priority=priority,
        startafter=startafter,
        ramp_up=ramp_up,
    )


def opted(
    sent: m.DistributeEvent, ven_id: str, opt_type: OptType = OptType.OPT_IN, code: str = "200"
) -> m.CreatedEvent:
    """Return the answer to every event of a set that wants one."""
    answers = tuple(
        m.EventResponse(
            code=code,
            request_id=sent.request_id,
            qualified_event_id=m.QualifiedEventId(
                event_id=each.event.descriptor.event_id,
                modification_number=each.event.descriptor.modification_number,
            ),
            opt_type=opt_type,
        )
        for each in sent.events
        if each.response_required == ResponseRequired.ALWAYS
    )
    return m.CreatedEvent(response=said(""), event_responses=answers, ven_id=ven_id)


def ids_of(sent: m.DistributeEvent) -> list[str]:
    return [each.event.descriptor.event_id for each in sent.events]


def metadata(specifier: str = "meter-energy", r_ids: tuple[str, ...] = ("energy",)) -> m.Report:
    return m.Report(
        duration=PT1H,
        descriptions=tuple(
            m.ReportDescription(
                r_id=each,
                report_type="usage",
                item_base=WATT_HOUR,
                reading_type="Direct Read",
                sampling_rate=m.SamplingRate(min_period=PT10M, max_period=PT10M, on_change=False),
            )
            for each in r_ids
        ),
        report_request_id="0",
        report_specifier_id=specifier,
        report_name="METADATA_TELEMETRY_USAGE",
        created_date_time=START,
    )


def wanted(
    specifier: str = "meter-energy", r_ids: tuple[str, ...] = ("energy",), gate: timedelta | None = None
) -> ReportRequestDraft:
    return ReportRequestDraft(
        report_specifier_id=specifier,
        r_ids=r_ids,
        granularity=PT10M,
        report_back_duration=PT10M,
        start=START,
        gate=gate,
    )


def update(
    ven_id: str,
    report_request_id: str,
    values: Sequence[float],
    *,
    start: datetime = START,
    specifier: str = "meter-energy",
    r_id: str = "energy",
    request_id: str = "u1",
) -> m.UpdateReport:
    intervals = tuple(
        m.Interval(
            dtstart=start + i * timedelta(minutes=10),
            duration=PT10M,
            payloads=(m.ReportPayload.of(r_id, value),),
        )
        for i, value in enumerate(values)
    )
    report = m.Report(
        dtstart=start,
        duration=Duration.of(len(values) * timedelta(minutes=10)),
        intervals=intervals,
        report_request_id=report_request_id,
        report_specifier_id=specifier,
        report_name="TELEMETRY_USAGE",
        created_date_time=start,
    )
    return m.UpdateReport(request_id=request_id, reports=(report,), ven_id=ven_id)
