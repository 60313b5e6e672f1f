"""What a decision comes to in a store that several processes share. Pure.

Rules:

1. Whatever is written about a VEN is conditional on the version of its aggregate that was decided upon.
2. Whatever later decisions depend on raises a version: the aggregate's, also for opts, and the delivery's.
   Readings need none: nothing is decided upon them.
3. A set of events that goes out, and that it is heard, is stored before the reply leaves. So no two processes
   take a set for due at the same time, and one that was heard by one process is done for all.
4. Who comes into being, or gets another name or certificate, is numbered: no two processes give away one.

Source: ARCHITECTURE.md 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from schemas.oadr20b.model import AnyMessage, Poll
from vtn_server.decision import (
    OK,
    Decision,
    Delivery,
    Distribution,
    FetchedEvent,
    RaiseVersion,
    SaveDelivery,
    SaveIdentity,
    SaveOpt,
    SaveVen,
    SharedWrite,
    Unchanged,
    Write,
)
from vtn_server.records import Fetched
from vtn_server.state import Ven, VenId
from vtn_server.world import Memory

__all__ = ["delivery_write", "is_doubtful", "shared_writes", "with_identities", "writes_of"]


def writes_of(decision: Decision, ven: Ven) -> tuple[Write, ...]:
    """Return what is to be stored of a decision about a VEN."""
    changed = decision.ven
    if changed is None or changed is ven:
        return decision.writes
    return (SaveVen(ven=replace(changed, version=ven.version + 1)), *decision.writes)


def shared_writes(
    decision: Decision, ven: Ven, memory: Memory, before: Delivery, now: datetime
) -> tuple[SharedWrite, ...]:
    """Return what is to be stored of a decision where other processes decide, too.

    Args:
        decision: What was decided.
        ven: The aggregate it was decided upon.
        memory: Where it was decided, with the delivery after the message was heard.
        before: The delivery before that: as the store has it, but for ``dirty`` and what is over.
        now: When.
    """
    writes = list(with_identities(writes_of(decision, ven), memory))
    delivery = _delivery_of(decision, ven, memory, before, now)
    if not any(isinstance(each, SaveVen) for each in writes):
        if any(isinstance(each, SaveOpt) for each in writes):
            writes.insert(0, RaiseVersion(ven_id=ven.ven_id, version=ven.version + 1))
        elif writes or delivery is not None:
            writes.insert(0, Unchanged(ven_id=ven.ven_id, version=ven.version))
    return tuple(writes) if delivery is None else (*writes, delivery)


def _delivery_of(
    decision: Decision, ven: Ven, memory: Memory, before: Delivery, now: datetime
) -> SaveDelivery | None:
    """Return how the VEN's delivery is stored, if it differs in what others have to know."""
    after = memory.delivery(ven.ven_id) if decision.delivery is None else decision.delivery
    sent = decision.reply if isinstance(decision.reply, Distribution) else None
    anew = decision.ven is not None and decision.delivery is not None  # whatever it was: we may not know yet
    heard = (after.unconfirmed, after.resent) != (before.unconfirmed, before.resent)
    told = sent is not None and (after.sent, after.retry_at) != (before.sent, before.retry_at)
    if not (anew or heard or told):  # what differs then is over
        return None
    return delivery_write(ven.ven_id, after, memory, sent, now)


def delivery_write(
    ven_id: VenId, delivery: Delivery, memory: Memory, sent: Distribution | None, now: datetime
) -> SaveDelivery:
    """Return the write of a VEN's delivery.

    Args:
        ven_id: The VEN.
        delivery: How it is now.
        memory: How it was.
        sent: The set that the VEN gets with it.
        now: When.
    """
    fetched = dict(memory.fetched_of(ven_id, delivery))
    for listed in () if sent is None else sent.listed:
        record = listed.record
        former = fetched.get(record.event_id)
        if former is None or former.modification_number != record.modification_number:
            fetched[record.event_id] = Fetched(modification_number=record.modification_number, at=now)
    return SaveDelivery(
        ven_id=ven_id,
        version=memory.delivery_version(ven_id) + 1,
        delivery=delivery,
        fetched=tuple(FetchedEvent(event_id=key, fetched=each) for key, each in fetched.items()),
    )


def with_identities(writes: Iterable[SharedWrite], memory: Memory) -> Iterator[SharedWrite]:
    """Yield writes, and the number of each change of who is who (rule 4)."""
    number = memory.identities
    for write in writes:
        yield write
        if isinstance(write, SaveVen) and _who(write.ven) != _who(memory.ven(write.ven.ven_id)):
            number += 1
            yield SaveIdentity(ven_id=write.ven.ven_id, number=number)


def _who(ven: Ven | None) -> tuple[str | None, str | None, bool]:
    if ven is None:
        return (None, None, False)
    return (ven.provision.ven_name, ven.provision.fingerprint, ven.provision.removed)


def is_doubtful(message: AnyMessage, decision: Decision, writes: Sequence[SharedWrite]) -> bool:
    """Return whether a decision has to be made again by what is certain.

    What writes is certain by its commit. Of the rest an empty poll may be a moment late; anything else that
    changes nothing, or is an error, might be so only because something has not been heard of yet.
    """
    return decision.code != OK or not (writes or isinstance(message, Poll))
