"""Events and answers however old they are: from memory where they are still there, else from the store.

Memory forgets what has been over for two days; a settlement may come later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vtn_server.records import EventOpt, EventRecord
from vtn_server.state import VenId
from vtn_server.store import Store
from vtn_server.world import Memory

__all__ = ["answers_to", "events_of"]


async def events_of(memory: Memory, store: Store, event_ids: Sequence[str]) -> tuple[EventRecord, ...]:
    """Return those of some events that exist, in the order they are asked for."""
    known = {each: record for each in event_ids if (record := memory.event(each)) is not None}
    missing = [each for each in event_ids if each not in known]
    if missing:
        known.update((each.event_id, each) for each in await store.events(missing))
    return tuple(known[each] for each in dict.fromkeys(event_ids) if each in known)


async def answers_to(
    memory: Memory, store: Store, event_ids: Sequence[str]
) -> Mapping[str, Mapping[VenId, EventOpt]]:
    """Return the VENs' answers to some events."""
    found = {each: memory.opts(each) for each in event_ids}
    old = [each for each in found if memory.event(each) is None]
    for write in await store.opts(old) if old else ():
        found[write.event_id][write.ven_id] = write.opt
    return found
