"""The state of a VEN as rows of bytes and back. Pure.

A row is ``(kind, key) -> body``. Messages are kept as the XML they are on the wire, the rest is JSON made
from the declared types. A message that the official schema would refuse comes back as it was, so that the VTN
can say so; one that cannot be written at all could never leave, and is not kept. One record is one row, so a
commit writes only what has changed. Each kind's form may only grow by fields with defaults; any other change
needs a new :data:`FORMAT`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_message
from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.errors import WireError
from ven_client.application import HeldEvent, Verdict
from ven_client.devices import Registers
from ven_client.event_book import EventEntry, HeldSpan
from ven_client.report_book import JobKind, ReportJob
from ven_client.spool import Spooled
from ven_client.state import (
    AbsenceKept,
    BlockOfferKept,
    ChargeKept,
    EdgeKept,
    HomeMemory,
    OfferKept,
    PhaseKept,
    PlanKept,
    RegistrationState,
    RunningKept,
    SentOpt,
    SessionState,
    SlotKept,
    SlotMeasured,
    VenState,
)

__all__ = ["FORMAT", "Key", "RowReader", "RowWriter", "UnreadableRow"]

_LOG = logging.getLogger(__name__)

FORMAT: Final = 1
"""Version of the form; a file of another version is refused."""

Key = tuple[str, str]
"""Kind of the record and its own key."""
T = TypeVar("T")
M = TypeVar("M", bound=m.Message)


class UnreadableRow(ValueError):
    """A row that does not hold what its kind says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    xml: str
    received_at: datetime
    opt_type: OptType
    start_offset_s: int
    verdict_opt: OptType
    verdict_code: str
    verdict_description: str | None
    shown: bool
    market_context: str
    start: datetime
    end: datetime | None
    startafter_s: int
    stopping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    xml: str
    kind: JobKind
    start: datetime
    back_s: float
    end: datetime | None
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opt:
    xml: str
    code: str | None


_FORMS: Final[dict[str, TypeAdapter[Any]]] = {
    "registration": TypeAdapter(RegistrationState),
    "event": TypeAdapter(_Event),
    "job": TypeAdapter(_Job),
    "opt": TypeAdapter(_Opt),
    "home-offer": TypeAdapter(OfferKept),
    "home-block": TypeAdapter(BlockOfferKept),
    "home-plan": TypeAdapter(PlanKept),
    "home-slot": TypeAdapter(SlotKept),
    "home-edge": TypeAdapter(EdgeKept),
    "home-phase": TypeAdapter(PhaseKept),
    "home-running": TypeAdapter(RunningKept),
    "home-absence": TypeAdapter(AbsenceKept),
    "home-charge": TypeAdapter(ChargeKept),
    "home-registers": TypeAdapter(Registers),
    "home-measured": TypeAdapter(SlotMeasured),
}


class RowWriter:
    """Turns states into rows; a record that has not changed since the last call is not written anew."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[object, bytes]] = {}

    def rows(self, state: VenState) -> dict[Key, bytes]:
        """Return all rows of a state."""
        rows = {}
        for key, record in _records(state):
            known = self._known.get(key)
            if known is None or (known[0] is not record and known[0] != record):
                try:
                    known = (record, _body(key[0], record))
                except WireError as err:
                    _LOG.warning("%s %s cannot be written and is not kept: %s", *key, err)
                    continue
            rows[key] = known
        self._known = rows
        return {key: body for key, (_, body) in rows.items()}


class RowReader:
    """Turns rows into the state they came from.

    Args:
        rows: All rows.
    """

    def __init__(self, rows: Mapping[Key, bytes]) -> None:
        self._rows = rows

    def state(self) -> VenState:
        """Return the state.

        Raises:
            UnreadableRow: if a row is damaged or its kind is unknown.
        """
        unknown = {kind for kind, _ in self._rows} - set(_FORMS) - {"offer", "unsent", "outgoing"}
        if unknown:
            raise UnreadableRow(f"unknown kinds of records: {', '.join(sorted(unknown))}")
        registration = self._json("registration", RegistrationState)
        registers = self._json("home-registers", Registers)
        home = HomeMemory(
            offers=self._json("home-offer", OfferKept),
            blocks=self._json("home-block", BlockOfferKept),
            plans=self._json("home-plan", PlanKept),
            slots=self._json("home-slot", SlotKept),
            edges=self._json("home-edge", EdgeKept),
            phases=self._json("home-phase", PhaseKept),
            running=self._json("home-running", RunningKept),
            absences=self._json("home-absence", AbsenceKept),
            charges=self._json("home-charge", ChargeKept),
            measured=self._json("home-measured", SlotMeasured),
            registers=registers[0] if registers else None,
        )
        session = SessionState(
            registration=registration[0] if registration else None,
            events=tuple(_read_event(row) for row in self._json("event", _Event)),
            offers=tuple(_only(_message(body, m.RegisterReport).reports) for _, body in self._of("offer")),
            jobs=tuple(_read_job(row) for row in self._json("job", _Job)),
            unsent=tuple(
                Spooled(number=int(key), report=_only(_message(body, m.UpdateReport).reports))
                for key, body in self._of("unsent")
            ),
            opts=tuple(
                SentOpt(message=_message(row.xml.encode(), m.CreateOpt), code=row.code)
                for row in self._json("opt", _Opt)
            ),
            outgoing=tuple(_any(body) for _, body in self._of("outgoing")),
        )
        return VenState(session=session, home=home)

    def _of(self, kind: str) -> list[tuple[str, bytes]]:
        return sorted((key, body) for (of, key), body in self._rows.items() if of == kind)

    def _json(self, kind: str, cls: type[T]) -> tuple[T, ...]:
        records = []
        for key, body in self._of(kind):
            try:
                record = _FORMS[kind].validate_json(body)
            except ValidationError as err:
                raise UnreadableRow(f"{kind} {key}: {err}") from err
            assert isinstance(record, cls)
            records.append(record)
        return tuple(records)


# --- writing -----------------------------------------------------------------------------------------------


def _records(state: VenState) -> Iterator[tuple[Key, object]]:
    session, home = state.session, state.home
    if session.registration is not None:
        yield ("registration", ""), session.registration
    for entry in session.events:
        yield ("event", entry.held.event.descriptor.event_id), entry
    for offer in session.offers:
        yield ("offer", offer.report_specifier_id), offer
    for job in session.jobs:
        yield ("job", job.request.report_request_id), job
    for spooled in session.unsent:
        yield ("unsent", f"{spooled.number:016d}"), spooled.report
    for opt in session.opts:
        yield ("opt", opt.message.opt_id), opt
    for index, message in enumerate(session.outgoing):
        yield ("outgoing", f"{index:06d}"), message
    yield from _timed("home-offer", ((kept.hour, kept) for kept in home.offers))
    yield from _timed("home-block", ((kept.day, kept) for kept in home.blocks))
    yield from _timed("home-plan", ((kept.hour, kept) for kept in home.plans))
    yield from _timed("home-slot", ((kept.slot, kept) for kept in home.slots))
    yield from _timed("home-edge", ((kept.at, kept) for kept in home.edges))
    yield from _timed("home-phase", ((kept.at, kept) for kept in home.phases))
    yield from _timed("home-running", ((kept.slot, kept) for kept in home.running))
    yield from _timed("home-charge", ((kept.start, kept) for kept in home.charges))
    yield from _timed("home-measured", ((kept.slot, kept) for kept in home.measured))
    if home.registers is not None:
        yield ("home-registers", ""), home.registers
    yield from _timed("home-absence", ((kept.start, kept) for kept in home.absences))


def _timed(kind: str, records: Iterable[tuple[datetime, object]]) -> Iterator[tuple[Key, object]]:
    for when, record in records:
        yield (kind, when.isoformat()), record


def _body(kind: str, record: object) -> bytes:
    match record:
        case EventEntry():
            return _FORMS["event"].dump_json(_event_row(record))
        case ReportJob():
            return _FORMS["job"].dump_json(_job_row(record))
        case SentOpt():
            xml = wire.write(record.message).decode()
            return _FORMS["opt"].dump_json(_Opt(xml=xml, code=record.code))
        case m.Report() if kind == "offer":
            return wire.write(m.RegisterReport(request_id="0", reports=(record,)))
        case m.Report():
            return wire.write(m.UpdateReport(request_id="0", reports=(record,)))
        case m.Message():
            return wire.write(record)  # type: ignore[arg-type]  # every concrete Message is in AnyMessage
    return _FORMS[kind].dump_json(record)


def _event_row(entry: EventEntry) -> _Event:
    held, verdict, span = entry.held, entry.verdict, entry.span
    enveloped = m.DistributeEvent(
        request_id="0",
        vtn_id="0",
        events=(m.Event(event=held.event, response_required=ResponseRequired.NEVER),),
    )
    return _Event(
        xml=wire.write(enveloped).decode(),
        received_at=held.received_at,
        opt_type=held.opt_type,
        start_offset_s=held.start_offset_s,
        verdict_opt=verdict.opt_type,
        verdict_code=verdict.code,
        verdict_description=verdict.description,
        shown=entry.shown,
        market_context=span.market_context,
        start=span.start,
        end=span.end,
        startafter_s=entry.startafter_s,
        stopping=entry.stopping,
    )


def _job_row(job: ReportJob) -> _Job:
    return _Job(
        xml=wire.write(m.CreateReport(request_id="0", requests=(job.request,))).decode(),
        kind=job.kind,
        start=job.start,
        back_s=job.back.total_seconds(),
        end=job.end,
        due=job.due,
    )


# --- reading -----------------------------------------------------------------------------------------------


def _read_event(row: _Event) -> EventEntry:
    event = _only(_message(row.xml.encode(), m.DistributeEvent).events).event
    return EventEntry(
        held=HeldEvent(
            event=event,
            received_at=row.received_at,
            opt_type=row.opt_type,
            start_offset_s=row.start_offset_s,
        ),
        verdict=Verdict(opt_type=row.verdict_opt, code=row.verdict_code, description=row.verdict_description),
        shown=row.shown,
        span=HeldSpan(market_context=row.market_context, start=row.start, end=row.end),
        startafter_s=row.startafter_s,
        stopping=row.stopping,
    )


def _read_job(row: _Job) -> ReportJob:
    return ReportJob(
        request=_only(_message(row.xml.encode(), m.CreateReport).requests),
        kind=row.kind,
        start=row.start,
        back=timedelta(seconds=row.back_s),
        end=row.end,
        due=row.due,
    )


def _any(body: bytes) -> m.AnyMessage:
    try:
        return decode_message(wire.parse_unvalidated(body))
    except (WireError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as err:
        raise UnreadableRow(f"{type(err).__name__}: {err}") from err


def _message(body: bytes, kind: type[M]) -> M:
    message = _any(body)
    if not isinstance(message, kind):
        raise UnreadableRow(f"expected {kind.__name__}, found {type(message).__name__}")
    return message


def _only(items: tuple[T, ...]) -> T:
    if len(items) != 1:
        raise UnreadableRow(f"expected one item, found {len(items)}")
    return items[0]
