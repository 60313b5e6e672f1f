"""EiPoll: one item a poll (r500). Pure.

First what waits in the outbox, in order, then the events if they are due, then nothing.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.oadr20b.errors import ComplianceError
from schemas.oadr20b.model import Poll, Response
from vtn_server.decision import OK_NO_ID, Context, Decision, World
from vtn_server.distribute import distribution, is_due
from vtn_server.outbox import describe, is_push, take
from vtn_server.state import Queued, Ven

__all__ = ["poll"]


def poll(message: Poll, ven: Ven, world: World, ctx: Context) -> Decision:
    """Answer a poll with the next item, or with an empty oadrResponse.

    Raises:
        ComplianceError: to a push VEN (r500).
    """
    if is_push(ven):
        raise ComplianceError("polls are for VENs of the pull model (r500)")
    after = ven
    if ven.outbox:
        item, after = take(ven, ctx)
        if item is not None:
            reply = _addressed(item, ven)
            return Decision(reply=reply, ven=after, notices=(f"sent {describe(item)}",))
    changed = None if after is ven else after
    nothing = Response(response=OK_NO_ID, ven_id=ven.ven_id)
    delivery = world.delivery(ven.ven_id)
    if not is_due(delivery, ctx.now):
        return Decision(reply=nothing, ven=changed)
    reply_set, delivery = distribution(ven.ven_id, world, ctx, None)
    return Decision(reply=nothing if reply_set is None else reply_set, ven=changed, delivery=delivery)


def _addressed(message: Queued, ven: Ven) -> Queued:
    """Return the message with the venID of its receiver (r508)."""
    return replace(message, ven_id=ven.ven_id)
