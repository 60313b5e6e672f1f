"""Distribution of events: what is due to a VEN, and its answers. Pure.

Rules of the delivery of events:

1. Whatever is sent is the complete set of the VEN's events that are not over (r50), in the order of r15.
2. A set is due when an event of it is new or changed (r502), or when one that wants an answer has been
   without one for the resend time, at most so many times; then that event is given up, which shows.
3. A set in which nothing waits for an answer is done at the VEN's next request on the same connection. If a
   poll comes on another connection first, it is sent once more, and then done.
4. A cancelled event is listed until it is answered, given up or would be over (r52, G7); one that wants no
   answer until it is done.
5. Where one process serves, delivery is remembered in memory only: after a restart each set goes out once
   more, which is legal. Where several do, they share it (:mod:`.settling`). What a VEN answered is durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

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

_GOOD: Final = ok("")


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
    return record.draft.response_required is ResponseRequired.ALWAYS


def _is_given_up(sent: Sent | None, record: EventRecord, ctx: Context) -> bool:
    return (
        sent is not None
        and sent.modification_number == record.modification_number
        and sent.deliveries >= ctx.settings.max_deliveries
        and ctx.now >= sent.attempt_at + ctx.settings.resend_after
    )


def _is_live(
    record: EventRecord, sent: Sent | None, delivery: Delivery, *, wants: bool, answered: bool, ctx: Context
) -> bool:
    """Return whether an event is listed to the VEN (rules 1 and 4)."""
    if rules.is_over(record, ctx.now):
        return False
    if not record.cancelled:
        return True
    if wants:
        return not answered and not _is_given_up(sent, record, ctx)
    current = sent is not None and sent.modification_number == record.modification_number
    return not current or delivery.unconfirmed is not None


def _event_due(record: EventRecord, sent: Sent | None, *, wants: bool, answered: bool, ctx: Context) -> bool:
    """Return whether this event alone makes the set due (rule 2)."""
    if sent is None or sent.modification_number != record.modification_number:
        return not (wants and answered and sent is None)
    if not wants or answered:
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
    live: list[EventRecord] = []
    unanswered: set[str] = set()
    due: set[str] = set()
    for record in _in_order(world.events_of(ven_id), ctx.now):
        event_id = record.event_id
        sent, opt = sent_of.get(event_id), world.opt(event_id, ven_id)
        wants, answered = _wants_answer(record), _answered(record, opt)
        if not _is_live(record, sent, delivery, wants=wants, answered=answered, ctx=ctx):
            continue
        live.append(record)
        if wants and not answered:
            unanswered.add(event_id)
        if _event_due(record, sent, wants=wants, answered=answered, ctx=ctx):
            due.add(event_id)
    lost = delivery.unconfirmed is not None
    if response is None and not due and not (lost and live):
        kept = _kept(live, sent_of)
        return None, Delivery(dirty=False, sent=kept, retry_at=_retry_at(kept, unanswered, ctx))
    listed = live if limit is None else live[:limit]
    waiting = False
    for each in listed:
        event_id = each.event_id
        mark = sent_of[event_id] = _mark(each, sent_of.get(event_id), event_id in due, ctx.now)
        if event_id in unanswered and mark.deliveries < ctx.settings.max_deliveries:
            waiting = True
    kept = _kept(live, sent_of)
    after = Delivery(
        dirty=len(listed) < len(live),
        sent=kept,
        unconfirmed=ctx.peer.connection if listed and not waiting else None,
        resent=lost and not due and response is None,
        retry_at=_retry_at(kept, unanswered, ctx),
    )
    return _set_of(listed, ctx, response), after


def _kept(live: list[EventRecord], sent_of: dict[str, Sent]) -> tuple[Sent, ...]:
    return tuple([sent_of[each.event_id] for each in live if each.event_id in sent_of])


def _in_order(records: tuple[EventRecord, ...], now: datetime) -> Sequence[EventRecord]:
    """Return events in the order of r15; mostly there is one."""
    return records if len(records) < 2 else sorted(records, key=lambda each: rules.order_key(each, now))


def _set_of(listed: list[EventRecord], ctx: Context, response: EiResponse | None) -> Distribution:
    now = ctx.now
    entries: list[Listed] = []
    created_at: datetime | None = None
    for each in listed:
        changed_at = rules.changed_at(each, now)
        if created_at is None or changed_at > created_at:
            created_at = changed_at
        entries.append(Listed(record=each, status=rules.status(each, now)))
    return Distribution(
        response=_GOOD if response is None else response,
        request_id=ctx.new_id(),
        vtn_id=ctx.settings.vtn_id,
        listed=tuple(entries),
        created_at=now if created_at is None else created_at,
    )


def _retry_at(kept: tuple[Sent, ...], unanswered: set[str], ctx: Context) -> datetime | None:
    settings = ctx.settings
    first: datetime | None = None
    for sent in kept:
        if sent.event_id in unanswered and sent.deliveries < settings.max_deliveries:
            first = sent.attempt_at if first is None else min(first, sent.attempt_at)
    return None if first is None else first + settings.resend_after


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
