"""Distribution of events: what is due to a VEN, and its answers. Pure.

Rules of the delivery of events:

1. Whatever is sent is the complete set of the VEN's events that are not over (r50), in the order of r15.
2. A set is due when an event of it is new or changed (r502), or when one that wants an answer has been
   without one for the resend time, at most so many times; then that event is given up, which shows.
3. A set in which nothing waits for an answer is done at the VEN's next request on the same connection. If a
   poll comes on another connection first, it is sent once more, and then done.
4. A cancelled event is listed until it is answered, given up or would be over (r52, G7); one that wants no
   answer until it is done.
5. Delivery is remembered in memory only: after a restart each set goes out once more, which is legal. What
   a VEN answered is durable.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.errors import ApplicationError, InvalidId, OutOfSequence
from schemas.oadr20b.model import CreatedEvent, EiResponse, EventResponse, RequestEvent, Response
from vtn_server import event as rules
from vtn_server import outbox
from vtn_server.decision import (
    OK,
    Context,
    Decision,
    Delivery,
    Distribution,
    Listed,
    SaveOpt,
    Sent,
    World,
    failed,
    ok,
)
from vtn_server.records import EventOpt, EventRecord
from vtn_server.state import Ven, VenId

__all__ = ["created_event", "distribution", "given_up", "heard", "is_due", "request_event"]


def heard(delivery: Delivery, connection: str) -> Delivery:
    """Return the delivery after any request of the VEN (rule 3)."""
    if delivery.unconfirmed is None or not (delivery.resent or delivery.unconfirmed == connection):
        return delivery
    return replace(delivery, unconfirmed=None, resent=False)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Return whether a set may be due; False is certain, and cheap. Expects a delivery that was heard."""
    return (
        delivery.dirty
        or delivery.unconfirmed is not None
        or (delivery.retry_at is not None and now >= delivery.retry_at)
    )


def _answered(record: EventRecord, opt: EventOpt | None) -> bool:
    return opt is not None and opt.modification_number == record.modification_number


def _wants_answer(record: EventRecord) -> bool:
    return record.draft.response_required == ResponseRequired.ALWAYS


def _is_given_up(sent: Sent | None, record: EventRecord, ctx: Context) -> bool:
    return (
        sent is not None
        and sent.modification_number == record.modification_number
        and sent.deliveries >= ctx.settings.max_deliveries
        and ctx.now >= sent.attempt_at + ctx.settings.resend_after
    )


def _is_live(
    record: EventRecord, sent: Sent | None, delivery: Delivery, opt: EventOpt | None, ctx: Context
) -> bool:
    """Return whether an event is listed to the VEN (rules 1 and 4)."""
    if rules.is_over(record, ctx.now):
        return False
    if not record.cancelled:
        return True
    if _wants_answer(record):
        return not _answered(record, opt) and not _is_given_up(sent, record, ctx)
    current = sent is not None and sent.modification_number == record.modification_number
    return not current or delivery.unconfirmed is not None


def _event_due(record: EventRecord, sent: Sent | None, opt: EventOpt | None, ctx: Context) -> bool:
    """Return whether this event alone makes the set due (rule 2)."""
    if sent is None or sent.modification_number != record.modification_number:
        return not (_wants_answer(record) and _answered(record, opt) and sent is None)
    if not _wants_answer(record) or _answered(record, opt):
        return False
    overdue = ctx.now >= sent.attempt_at + ctx.settings.resend_after
    return overdue and sent.deliveries < ctx.settings.max_deliveries


def _mark(record: EventRecord, sent: Sent | None, own_due: bool, now: datetime) -> Sent:
    if sent is None or sent.modification_number != record.modification_number:
        return Sent(
            event_id=record.event_id,
            modification_number=record.modification_number,
            deliveries=1,
            attempt_at=now,
        )
    return replace(sent, deliveries=sent.deliveries + 1, attempt_at=now) if own_due else sent


def distribution(
    ven_id: VenId, world: World, ctx: Context, response: EiResponse | None, limit: int | None = None
) -> tuple[Distribution | None, Delivery]:
    """Return the set to send, if one is due, and the delivery afterwards.

    Args:
        ven_id: Whose set.
        world: What is known.
        ctx: When, and on which connection.
        response: The eiResponse where the VEN asked for its events; then a set is always returned.
        limit: The replyLimit (r27).
    """
    ctx = outbox.terms(ctx, world.ven(ven_id))
    delivery = world.delivery(ven_id)
    sent_of = {sent.event_id: sent for sent in delivery.sent}
    records = sorted(world.events_of(ven_id), key=lambda each: rules.order_key(each, ctx.now))
    opts = {each.event_id: world.opt(each.event_id, ven_id) for each in records}
    live = [
        each
        for each in records
        if _is_live(each, sent_of.get(each.event_id), delivery, opts[each.event_id], ctx)
    ]
    due = {
        each.event_id
        for each in live
        if _event_due(each, sent_of.get(each.event_id), opts[each.event_id], ctx)
    }
    lost = delivery.unconfirmed is not None
    if response is None and not due and not (lost and live):
        kept = tuple(sent_of[each.event_id] for each in live if each.event_id in sent_of)
        return None, Delivery(dirty=False, sent=kept, retry_at=_retry_at(live, kept, opts, ctx))
    listed = live if limit is None else live[:limit]
    for each in listed:
        mark = _mark(each, sent_of.get(each.event_id), each.event_id in due, ctx.now)
        sent_of[each.event_id] = mark
    kept = tuple(sent_of[each.event_id] for each in live if each.event_id in sent_of)
    waiting = any(
        _wants_answer(each)
        and not _answered(each, opts[each.event_id])
        and sent_of[each.event_id].deliveries < ctx.settings.max_deliveries
        for each in listed
    )
    after = Delivery(
        dirty=len(listed) < len(live),
        sent=kept,
        unconfirmed=ctx.peer.connection if listed and not waiting else None,
        resent=lost and not due and response is None,
        retry_at=_retry_at(live, kept, opts, ctx),
    )
    return _set_of(listed, ctx, response), after


def _set_of(listed: list[EventRecord], ctx: Context, response: EiResponse | None) -> Distribution:
    created_at = max((rules.changed_at(each, ctx.now) for each in listed), default=ctx.now)
    return Distribution(
        response=response or ok(""),
        request_id=ctx.new_id(),
        vtn_id=ctx.settings.vtn_id,
        listed=tuple(Listed(record=each, status=rules.status(each, ctx.now)) for each in listed),
        created_at=created_at,
    )


def _retry_at(
    live: list[EventRecord], kept: tuple[Sent, ...], opts: dict[str, EventOpt | None], ctx: Context
) -> datetime | None:
    wanted = {
        each.event_id for each in live if _wants_answer(each) and not _answered(each, opts[each.event_id])
    }
    moments = (
        sent.attempt_at + ctx.settings.resend_after
        for sent in kept
        if sent.event_id in wanted and sent.deliveries < ctx.settings.max_deliveries
    )
    return min(moments, default=None)


def given_up(ven_id: VenId, world: World, ctx: Context) -> tuple[EventRecord, ...]:
    """Return the events a VEN never answered although they were sent as often as the settings say."""
    ctx = outbox.terms(ctx, world.ven(ven_id))
    sent_of = {sent.event_id: sent for sent in world.delivery(ven_id).sent}
    return tuple(
        each
        for each in world.events_of(ven_id)
        if _wants_answer(each)
        and not _answered(each, world.opt(each.event_id, ven_id))
        and _is_given_up(sent_of.get(each.event_id), each, ctx)
    )


# --- handlers ----------------------------------------------------------------------------------------------


def request_event(message: RequestEvent, ven: Ven, world: World, ctx: Context) -> Decision:
    """Answer with the complete set, whether or not anything changed (r50, r115)."""
    reply, delivery = distribution(ven.ven_id, world, ctx, ok(message.request_id), message.reply_limit)
    assert reply is not None
    return Decision(reply=reply, delivery=delivery)


def created_event(message: CreatedEvent, ven: Ven, world: World, ctx: Context) -> Decision:
    """Record a VEN's opts (r16, r17, r25, r48); the good ones count although others are wrong."""
    writes: list[SaveOpt] = []
    first: ApplicationError | None = None
    accepted = message.response.code.startswith("2")
    for answer in (message.event_responses or ()) if accepted else ():
        try:
            write = _opt_of(answer, ven, world, ctx)
        except ApplicationError as err:
            first = first or err
            continue
        if write is not None:
            writes.append(write)
    request_id = message.response.request_id
    response = ok(request_id) if first is None else failed(first, request_id)
    return Decision(
        reply=Response(response=response, ven_id=ven.ven_id),
        writes=tuple(writes),
        code=OK if first is None else first.code,
        notices=tuple(f"{each.opt.opt_type} of {each.event_id}" for each in writes),
    )


def _opt_of(answer: EventResponse, ven: Ven, world: World, ctx: Context) -> SaveOpt | None:
    """Return the write of one answer; None where it is tolerated but means nothing.

    Raises:
        InvalidId: for an event that is not the VEN's.
        OutOfSequence: for a version that is not the newest.
    """
    qualified = answer.qualified_event_id
    record = world.event(qualified.event_id)
    if record is None or ven.ven_id not in record.audience:
        raise InvalidId(f"no event {qualified.event_id}")
    if not _wants_answer(record):
        return None
    if qualified.modification_number != record.modification_number:
        raise OutOfSequence(
            f"event {record.event_id} is at {record.modification_number}, not {qualified.modification_number}"
        )
    former = world.opt(record.event_id, ven.ven_id)
    by_create_opt = former is not None and former.qualified
    opt = EventOpt(
        opt_type=OptType(former.opt_type) if former is not None and by_create_opt else answer.opt_type,
        code=answer.code,
        modification_number=record.modification_number,
        at=ctx.now,
        qualified=by_create_opt,
    )
    if former is not None and replace(former, at=ctx.now) == opt:
        return None  # a retry
    return SaveOpt(event_id=record.event_id, ven_id=ven.ven_id, opt=opt)
