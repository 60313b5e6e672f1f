"""What goes to a push VEN next, and what its answer means. Pure; the shell is :mod:`vtn_server.push`.

Rules:

1. Nothing is pushed until the VEN has announced its metadata (r309, r405), or some seconds have passed since
   its registration: before, it may not even have the reply to its registration.
2. First the outbox in its order, then the set of events if one is due (:mod:`vtn_server.distribute`). After a
   failure the two change places, so that one message a VEN chokes on does not hold back all others.
3. A VEN that cannot be reached, or answers with a status that may pass (5xx, 408, 429, 401, 403), gets the
   message again after a pause: 1 s, doubling, with 10 % jitter, up to a cap; not before what ``Retry-After``
   says. The pause is the VEN's, not the message's: nothing else goes to it meanwhile.
4. A status that says that repeating is pointless (400, 404, 405, 406, 410, 411, 413, 414, 415, 501) ends the
   message at once. So does ``max_push_deliveries`` without success. Either is kept in ``Ven.given_up``.
5. The synchronous reply is handed to the handler that would take it from a pull VEN. A 200 without a body to
   anything but events leaves the item in flight: a VEN may answer with a request of its own. But what is an
   answer of ours, an oadrCreatedReport, is done with any 200.
6. For a set of events an empty 200 is the transport's acknowledgement (G15), and so is an oadrResponse with a
   2xx code; an error code there ends the set. The VEN's opts come as its own oadrCreatedEvent, and an event
   that wants one is sent again after ``resend_after`` without it.
7. What is in the outbox is durable, so is the number of its deliveries. After a restart what was in flight
   goes out again, and so does the set of events.
8. A message is signed anew whenever it goes out, if it is to be signed (:mod:`.signing`). A synchronous reply
   whose signature is wrong, or missing where there should be one, is no answer: the message goes out again.

Source: OpenADR 2.0b sections 9.1.5 to 9.1.7; rules 309, 402, 405, 511; G15.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import InvalidId
from vtn_server import outbox
from vtn_server.decision import Context, Delivery, Distribution, Reply, Sent, World
from vtn_server.distribute import distribution, is_due
from vtn_server.state import GivenUp, ItemState, OutboxItem, Ven

__all__ = [
    "CONNECTION",
    "Link",
    "Outcome",
    "Parcel",
    "adapted",
    "gave_up",
    "is_under_way",
    "link_of",
    "next_due",
    "outcome_of",
    "parcel",
    "queued_again",
    "refused_set",
    "requeued",
    "retry_after",
    "service_for",
    "settled",
    "under_way",
    "undone_set",
    "url_of",
    "without",
]

CONNECTION: Final = "push"
"""The name of the connection that pushed sets go out on."""

_PATH: Final = "OpenADR2/Simple/2.0b"
_POINTLESS: Final = frozenset((400, 404, 405, 406, 410, 411, 413, 414, 415, 501))
_LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
_KEPT_GIVEN_UP: Final = 50
_SERVICES: Final[dict[type[m.AnyMessage], ServiceName]] = {
    m.RegisterReport: ServiceName.EI_REPORT,
    m.CreateReport: ServiceName.EI_REPORT,
    m.CreatedReport: ServiceName.EI_REPORT,
    m.CancelReport: ServiceName.EI_REPORT,
    m.CancelPartyRegistration: ServiceName.EI_REGISTER_PARTY,
    m.RequestReregistration: ServiceName.EI_REGISTER_PARTY,
}


# --- addresses ---------------------------------------------------------------------------------------------


def url_of(address: str, service: ServiceName) -> str:
    """Return where a service of a push VEN is: joined with exactly one slash (r511)."""
    return f"{address.rstrip('/')}/{_PATH}/{service.value}"


def service_for(message: Reply) -> ServiceName:
    """Return the service of a VEN that a pushed message goes to."""
    return ServiceName.EI_EVENT if isinstance(message, Distribution) else _SERVICES[type(message)]


# --- the state of the way to a VEN -------------------------------------------------------------------------


class Outcome(Enum):
    """What an HTTP exchange came to."""

    TAKEN = auto()
    REFUSED = auto()
    FAILED = auto()


def outcome_of(status: int | None) -> Outcome:
    """Return what an HTTP status means; None is none at all."""
    if status is not None and 200 <= status < 300:
        return Outcome.TAKEN
    return Outcome.REFUSED if status in _POINTLESS else Outcome.FAILED


def retry_after(header: str | None, now: datetime) -> timedelta:
    """Return how long a Retry-After header asks to wait, an hour at most; zero if it says nothing."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=min(int(text[:9]), 86_400)), _LONGEST_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(text) - now
    except (ValueError, TypeError, OverflowError):
        return timedelta(0)
    return min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How the way to one VEN is; in memory only.

    Attributes:
        registered_at: Of the registration this is about: a VEN that registers anew is there again.
        failures: Exchanges that failed in a row.
        blocked_until: Nothing is sent before.
        set_key: The set of events that failed last, by eventID and modificationNumber.
        set_failures: How often that one failed.
    """

    registered_at: datetime | None = None
    failures: int = 0
    blocked_until: datetime | None = None
    set_key: tuple[tuple[str, int], ...] = ()
    set_failures: int = 0

    @property
    def events_first(self) -> bool:
        """Whether the events have their turn before the outbox (rule 2)."""
        return self.failures % 2 == 1

    def answered(self) -> Link:
        """Return the link after the VEN answered, with whatever status but one of failure."""
        return replace(self, failures=0, blocked_until=None)

    def failed(self, now: datetime, *, factor: float, cap_s: float, at_least: timedelta) -> Link:
        """Return the link after one more failure (rule 3).

        Args:
            now: When it failed.
            factor: The jitter, 0.9 to 1.1.
            cap_s: The longest pause before jitter, seconds.
            at_least: What the VEN asked for.
        """
        pause = timedelta(seconds=min(cap_s, 2.0 ** min(self.failures, 32)) * factor)
        return replace(self, failures=self.failures + 1, blocked_until=now + max(pause, at_least))

    def set_failed(self, sent: Distribution) -> Link:
        """Return the link after a set failed: counted anew where its content is another."""
        key = tuple((each.record.event_id, each.record.modification_number) for each in sent.listed)
        count = self.set_failures + 1 if key == self.set_key else 1
        return replace(self, set_key=key, set_failures=count)


def link_of(link: Link, ven: Ven) -> Link:
    """Return the link, or a fresh one where the VEN has registered since."""
    at = None if ven.registration is None else ven.registration.at
    return link if link.registered_at == at else Link(registered_at=at)


# --- what goes next ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """The next thing to push.

    Attributes:
        message: None where nothing is due after all.
        ven: The aggregate afterwards; the same one if nothing changed.
        delivery: The deliveries afterwards; None where they do not change.
        item_id: Of the outbox item, if it is one.
    """

    message: Reply | None
    ven: Ven
    delivery: Delivery | None = None
    item_id: str = ""


def settled(delivery: Delivery) -> Delivery:
    """Return the deliveries of a push VEN with nothing in doubt: an exchange has succeeded or failed."""
    if delivery.unconfirmed is None and not delivery.resent:
        return delivery
    return replace(delivery, unconfirmed=None, resent=False)


def under_way(delivery: Delivery) -> Delivery:
    """Return the deliveries of a VEN while a set is on its way, so that another process knows."""
    return replace(delivery, unconfirmed=CONNECTION)


def is_under_way(delivery: Delivery) -> bool:
    """Return whether a set was on its way when these deliveries were stored."""
    return delivery.unconfirmed == CONNECTION


def _ready_at(ven: Ven, ctx: Context) -> datetime:
    """Return from when on something may be pushed (rule 1)."""
    if ven.registration is None or ven.metadata_at is not None:
        return ctx.now
    return ven.registration.at + ctx.settings.push_patience


def next_due(ven: Ven, world: World, ctx: Context) -> datetime | None:
    """Return when something may be due to a push VEN; None if nothing is, until something changes."""
    if not outbox.is_push(ven):
        return None
    moments = [
        ctx.now
        if each.state == ItemState.QUEUED or each.sent_at is None
        else each.sent_at + ctx.settings.resend_after
        for each in ven.outbox
    ]
    delivery = world.delivery(ven.ven_id)
    if delivery.dirty:
        moments.append(ctx.now)
    elif delivery.retry_at is not None:
        moments.append(delivery.retry_at)
    return max(min(moments), _ready_at(ven, ctx)) if moments else None


def parcel(ven: Ven, world: World, ctx: Context, *, events_first: bool = False) -> Parcel:
    """Return what to push now. Expects deliveries that are :func:`settled`."""
    ctx = outbox.terms(ctx, ven)
    if not outbox.is_push(ven) or ctx.now < _ready_at(ven, ctx):
        return Parcel(message=None, ven=ven)
    if events_first:
        events = _events(ven, world, ctx)
        return events if events.message is not None else replace(_item(ven, ctx), delivery=events.delivery)
    item = _item(ven, ctx)
    return item if item.message is not None else _events(item.ven, world, ctx)


def _item(ven: Ven, ctx: Context) -> Parcel:
    message, after = outbox.take(ven, ctx)
    if message is None:
        return Parcel(message=None, ven=after)
    item_id = next(each.item_id for each in after.outbox if each.message is message)
    return Parcel(message=replace(message, ven_id=ven.ven_id), ven=after, item_id=item_id)


def _events(ven: Ven, world: World, ctx: Context) -> Parcel:
    if not is_due(world.delivery(ven.ven_id), ctx.now):
        return Parcel(message=None, ven=ven)
    message, delivery = distribution(ven.ven_id, world, ctx, None)
    return Parcel(message=message, ven=ven, delivery=delivery)


# --- what came of it ---------------------------------------------------------------------------------------


def requeued(ven: Ven, item_id: str | None = None) -> Ven:
    """Return the VEN with an item, or everything in flight, waiting again; deliveries stay counted."""
    return replace(
        ven,
        outbox=tuple(
            replace(each, state=ItemState.QUEUED) if item_id in (None, each.item_id) else each
            for each in ven.outbox
        ),
    )


def queued_again(ven: Ven, item_id: str) -> Ven:
    """Return the VEN with an item waiting again; the same one if that is gone."""
    return requeued(ven, item_id) if any(each.item_id == item_id for each in ven.outbox) else ven


def without(ven: Ven, item_id: str) -> Ven:
    """Return the VEN without an item."""
    return replace(ven, outbox=tuple(each for each in ven.outbox if each.item_id != item_id))


def gave_up(ven: Ven, item_id: str, what: str, reason: str, ctx: Context) -> Ven:
    """Return the VEN with the record of what was given up, and without that item if it is one."""
    item = next((each for each in ven.outbox if each.item_id == item_id), None)
    if item is not None:
        return outbox.give_up(ven, item, reason, ctx)
    record = GivenUp(item_id=item_id, what=what, reason=reason, at=ctx.now)
    return replace(ven, given_up=(*ven.given_up, record)[-_KEPT_GIVEN_UP:])


def undone_set(current: Delivery, before: Delivery, after: Delivery) -> Delivery:
    """Return the deliveries as if a set had not been sent: it is due once more.

    Args:
        current: The deliveries now; events may have changed, or the VEN asked for them itself.
        before: Those before the set was taken.
        after: Those when it was.
    """
    if replace(current, dirty=after.dirty) != after:
        return current  # the VEN has asked for its events meanwhile
    return replace(before, dirty=True)


def refused_set(current: Delivery, sent: Distribution, ctx: Context, ven: Ven) -> Delivery:
    """Return the deliveries after a set was given up: its versions are not sent again on their own."""
    limit = outbox.terms(ctx, ven).settings.max_deliveries
    dead = {
        each.record.event_id: Sent(
            event_id=each.record.event_id,
            modification_number=each.record.modification_number,
            deliveries=limit,
            attempt_at=ctx.now - ctx.settings.resend_after,
        )
        for each in sent.listed
    }
    kept = tuple(each for each in current.sent if each.event_id not in dead)
    # looked at once more at once: it settles when the rest of the set is due
    return replace(settled(current), dirty=True, sent=(*kept, *dead.values()))


def adapted(reply: m.AnyMessage, ven: Ven, item: OutboxItem | None) -> m.AnyMessage:
    """Return a synchronous reply with the ids that a request of its own would have to carry.

    The exchange itself says which VEN answers and what: a missing venID, and a requestID other than the
    item's, do no harm.

    Raises:
        InvalidId: if it carries another venID.
    """
    names = {each.name for each in fields(reply)}
    if "ven_id" in names:
        said = getattr(reply, "ven_id")  # noqa: B009 - most messages have one, not all
        if said not in (None, ven.ven_id):
            raise InvalidId(f"{ven.ven_id} answered as {said}")
        reply = _with(reply, ven_id=ven.ven_id)
    wanted = "" if item is None else outbox.request_id_of(item.message)
    response = getattr(reply, "response", None)
    if wanted and isinstance(response, m.EiResponse) and response.request_id != wanted:
        reply = _with(reply, response=replace(response, request_id=wanted))
    return reply


def _with(reply: m.AnyMessage, **changes: object) -> m.AnyMessage:
    return replace(reply, **changes)  # type: ignore[arg-type]  # the names were looked at
