"""What goes into a handler and what comes out of it: values only.

A handler is ``(message, ven, world, context) -> Decision``. It reads the world, changes nothing, and says
what to answer, what to write and what to remember. The service commits the writes before the reply leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.errors import ApplicationError
from schemas.oadr20b.model import AnyMessage, DistributeEvent, EiResponse
from vtn_server.event import wire_event
from vtn_server.records import EventOpt, EventRecord, Fetched
from vtn_server.series import Series
from vtn_server.settings import ReportPlan, VtnSettings
from vtn_server.state import PeerIdentity, Ven, VenId

__all__ = [
    "OK",
    "OK_NO_ID",
    "AddReadings",
    "Context",
    "Decision",
    "Delivery",
    "Distribution",
    "FetchedEvent",
    "Listed",
    "RaiseVersion",
    "Reply",
    "SaveDelivery",
    "SaveEvent",
    "SaveIdentity",
    "SaveNonce",
    "SaveOpt",
    "SaveVen",
    "Sent",
    "SharedWrite",
    "Unchanged",
    "World",
    "Write",
    "audience_of",
    "failed",
    "ok",
]

OK: Final = "200"
OK_NO_ID: Final = EiResponse(code=OK, description="OK", request_id="")
"""The answer to a request that has no requestID."""


def ok(request_id: str) -> EiResponse:
    """Return the eiResponse of success."""
    return EiResponse(code=OK, description="OK", request_id=request_id)


def failed(error: ApplicationError, request_id: str) -> EiResponse:
    """Return the eiResponse of an application error."""
    return EiResponse(code=error.code, description=error.description, request_id=request_id)


# --- writes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveVen:
    """Store an aggregate; its version is one more than the stored one's."""

    ven: Ven


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveEvent:
    """Store an event and its newest version; the earlier versions are stored already."""

    record: EventRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOpt:
    """Store a VEN's answer to an event."""

    event_id: str
    ven_id: VenId
    opt: EventOpt


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReadings:
    """Store readings; one of the same VEN, specifier, rID and start replaces the former."""

    series: tuple[Series, ...]


Write: TypeAlias = SaveVen | SaveEvent | SaveOpt | AddReadings
"""What handlers and operators decide on; any store takes it."""


def audience_of(writes: Sequence[object]) -> tuple[VenId, ...]:
    """Return the VENs some writes are about, each once."""
    found: dict[VenId, None] = {}
    for write in writes:
        match write:
            case SaveVen(ven=ven):
                found[ven.ven_id] = None
            case SaveEvent(record=record):
                found.update(dict.fromkeys(record.audience))
            case _:
                pass  # answers and data make no work
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveNonce:
    """Store the nonce of a signed message, unless it is there; no handler decides on that.

    Attributes:
        nonce: Different for every message of every signer, 64 characters.
        signed_at: The moment that was signed with it.
    """

    nonce: str
    signed_at: datetime


# --- deliveries of events; stored only where several processes share them -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was sent of one event to one VEN.

    Attributes:
        deliveries: How often this version was sent because it was due.
        attempt_at: When it was last sent because it was due.
    """

    event_id: str
    modification_number: int
    deliveries: int
    attempt_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far one VEN is with its events.

    Attributes:
        dirty: An event of the VEN changed since its set was last looked at.
        sent: One entry per event that was sent and is not over.
        retry_at: When the next unanswered event is due again.
        unconfirmed: The connection on which a set with nothing to answer went out, until it is confirmed.
        resent: That set has been sent once more.
    """

    dirty: bool = True
    sent: tuple[Sent, ...] = ()
    retry_at: datetime | None = None
    unconfirmed: str | None = None
    resent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedEvent:
    """The newest version of an event that was put into an answer to a VEN."""

    event_id: str
    fetched: Fetched


# --- what a store that several processes share is told besides; see vtn_server.settling ---------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveDelivery:
    """Store how far a VEN is with its events; its version is one more than the stored one's.

    Attributes:
        delivery: Stored as if it were not dirty: what a process has looked at is its own affair.
        fetched: Of the events in ``delivery.sent``.
    """

    ven_id: VenId
    version: int
    delivery: Delivery
    fetched: tuple[FetchedEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseVersion:
    """Store the version of an aggregate that is the same but for what is stored beside it, as opts are."""

    ven_id: VenId
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Store nothing; the transaction is conditional on the version of an aggregate."""

    ven_id: VenId
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveIdentity:
    """Note that a VEN, a name or a certificate came or went, as the change of this number.

    Names and certificates belong to one VEN each. Whoever gives one away must have seen all such changes
    before, and there is one change for each number.
    """

    ven_id: VenId
    number: int


SharedWrite: TypeAlias = Write | SaveDelivery | RaiseVersion | Unchanged | SaveIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An event in an answer, with the status it has there."""

    record: EventRecord
    status: EventStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An oadrDistributeEvent that has not been built yet, so that encoded events can be reused.

    Attributes:
        listed: In the order of r15.
        created_at: The common createdDateTime (r115).
    """

    response: EiResponse
    request_id: str
    vtn_id: str
    listed: tuple[Listed, ...]
    created_at: datetime

    def empty(self) -> DistributeEvent:
        """Return the message without its events."""
        return DistributeEvent(response=self.response, request_id=self.request_id, vtn_id=self.vtn_id)

    def message(self) -> DistributeEvent:
        """Return the message."""
        events = tuple(wire_event(each.record, each.status, self.created_at) for each in self.listed)
        return DistributeEvent(
            response=self.response, request_id=self.request_id, vtn_id=self.vtn_id, events=events
        )


Reply: TypeAlias = AnyMessage | Distribution


# --- in and out --------------------------------------------------------------------------------------------


class World(Protocol):
    """What a handler may read besides the VEN it serves."""

    def ven(self, ven_id: str) -> Ven | None:
        """Return a VEN by its venID."""
        ...

    def ven_named(self, ven_name: str) -> Ven | None:
        """Return a VEN by its name."""
        ...

    def ven_with(self, fingerprint: str) -> Ven | None:
        """Return the VEN a certificate is bound to."""
        ...

    def ven_count(self) -> int:
        """Return how many VENs there are."""
        ...

    def event(self, event_id: str) -> EventRecord | None:
        """Return an event."""
        ...

    def events_of(self, ven_id: VenId) -> tuple[EventRecord, ...]:
        """Return the events routed to a VEN that are not over."""
        ...

    def opt(self, event_id: str, ven_id: VenId) -> EventOpt | None:
        """Return a VEN's answer to an event."""
        ...

    def delivery(self, ven_id: VenId) -> Delivery:
        """Return how far a VEN is with its events."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The circumstances of one request.

    Attributes:
        signed: Whether an XML signature of the peer covers the message.
    """

    now: datetime
    peer: PeerIdentity
    signed: bool = False
    new_id: Callable[[], str]
    settings: VtnSettings
    report_plan: ReportPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a handler decided.

    Attributes:
        ven: The new aggregate; None where it does not change.
        writes: What else to store.
        delivery: The new state of the VEN's deliveries; None where it does not change.
        code: The code of the reply, for the counters.
        notices: Business facts for the log.
    """

    reply: Reply
    ven: Ven | None = None
    writes: tuple[Write, ...] = ()
    delivery: Delivery | None = None
    code: str = OK
    notices: tuple[str, ...] = field(default=())
