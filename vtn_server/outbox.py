"""The queue of what a VEN gets at its polls, events apart. Pure.

::

    queued --(poll)--> in flight --(the answering message)--> done, and gone
                          |  ^
             resend time  v  | poll, at most max_deliveries times in all; then given up, which shows

While one item is in flight the next poll gets the next item, so a VEN that never answers one message still
gets the others (G6 and the third interleaving of the standard's Annex C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, get_args

from vtn_server.decision import Context
from vtn_server.limits import Limit, LimitReached
from vtn_server.state import GivenUp, ItemState, OutboxItem, Queued, Ven

__all__ = [
    "ANY",
    "MOST_QUEUED",
    "describe",
    "drop",
    "enqueue",
    "find",
    "finish",
    "give_up",
    "is_push",
    "request_id_of",
    "take",
    "terms",
]

ANY: Final[tuple[type[Queued], ...]] = get_args(Queued)
MOST_QUEUED: Final = 100
"""Messages that may wait for one VEN."""
_KEEP_GIVEN_UP: Final = 50


def is_push(ven: Ven | None) -> bool:
    """Return whether a VEN is registered for the push model, and so never polls (r500)."""
    registration = None if ven is None else ven.registration
    return (
        registration is not None
        and not registration.http_pull_model
        and registration.transport_address is not None
    )


def terms(ctx: Context, ven: Ven | None) -> Context:
    """Return the circumstances with the number of deliveries that holds for a VEN's transport."""
    settings = ctx.settings
    if not is_push(ven) or settings.max_deliveries == settings.max_push_deliveries:
        return ctx
    return replace(ctx, settings=replace(settings, max_deliveries=settings.max_push_deliveries))


def describe(message: Queued) -> str:
    """Return a message's name for people."""
    return f"oadr{type(message).__name__}"


def request_id_of(message: Queued) -> str:
    """Return a message's requestID; empty for the one kind that has none."""
    return getattr(message, "request_id", "")


def enqueue(ven: Ven, message: Queued, new_id: Callable[[], str]) -> Ven:
    """Return the VEN with a message at the end of its queue.

    Raises:
        LimitReached: if as many wait as may.
    """
    if len(ven.outbox) >= MOST_QUEUED:
        raise LimitReached(Limit.QUEUE, f"{len(ven.outbox)} messages wait for {ven.ven_id}")
    return replace(ven, outbox=(*ven.outbox, OutboxItem(item_id=new_id(), message=message)))


def _overdue(item: OutboxItem, ctx: Context) -> bool:
    return item.sent_at is not None and ctx.now >= item.sent_at + ctx.settings.resend_after


def take(ven: Ven, ctx: Context) -> tuple[Queued | None, Ven]:
    """Return the message for this poll, if any, and the VEN afterwards (the same one if nothing changed)."""
    for item in ven.outbox:
        if item.state == ItemState.IN_FLIGHT and not _overdue(item, ctx):
            continue
        if item.deliveries >= ctx.settings.max_deliveries:
            ven = give_up(ven, item, f"no answer to {item.deliveries} deliveries", ctx)
            continue
        sent = replace(item, state=ItemState.IN_FLIGHT, deliveries=item.deliveries + 1, sent_at=ctx.now)
        return item.message, replace(ven, outbox=tuple(sent if each is item else each for each in ven.outbox))
    return None, ven


def give_up(ven: Ven, item: OutboxItem, reason: str, ctx: Context) -> Ven:
    """Return the VEN without an item, and with the record of why."""
    record = GivenUp(item_id=item.item_id, what=describe(item.message), reason=reason, at=ctx.now)
    return replace(
        ven,
        outbox=tuple(each for each in ven.outbox if each is not item),
        given_up=(*ven.given_up, record)[-_KEEP_GIVEN_UP:],
    )


def find(ven: Ven, kinds: tuple[type[Queued], ...], request_id: str) -> OutboxItem | None:
    """Return the item an answer belongs to: by its requestID, or the oldest in flight where it has none."""
    of_kind = [each for each in ven.outbox if isinstance(each.message, kinds)]
    if request_id:
        return next((each for each in of_kind if request_id_of(each.message) == request_id), None)
    return next((each for each in of_kind if each.state == ItemState.IN_FLIGHT), None)


def finish(
    ven: Ven, kinds: tuple[type[Queued], ...], request_id: str, code: str, ctx: Context
) -> tuple[Ven, OutboxItem | None]:
    """Return the VEN after an answer, and the item it answered; None for a late or repeated answer.

    An answer with an error is final too: the item is given up, which shows.
    """
    item = find(ven, kinds, request_id)
    if item is None:
        return ven, None
    if not code.startswith("2"):
        return give_up(ven, item, f"answered with {code}", ctx), item
    return replace(ven, outbox=tuple(each for each in ven.outbox if each is not item)), item


def drop(ven: Ven, kinds: tuple[type[Queued], ...]) -> Ven:
    """Return the VEN without the items of some kinds."""
    return replace(ven, outbox=tuple(each for each in ven.outbox if not isinstance(each.message, kinds)))
