"""The bounds of what a VTN keeps in memory, shown among its counters."""

from __future__ import annotations

from vtn_server.event import MOST_VERSIONS
from vtn_server.limits import Limit
from vtn_server.opt import MOST_SCHEDULES
from vtn_server.outbox import MOST_QUEUED
from vtn_server.report import MOST_POINTS, MOST_REQUESTS
from vtn_server.settings import VtnSettings
from vtn_server.stats import Tally
from vtn_server.world import Memory

__all__ = ["watch_memory"]


def watch_memory(tally: Tally, settings: VtnSettings, memory: Memory) -> None:
    """Show from now on how full memory is."""
    tally.watch(Limit.VENS, settings.max_vens, memory.ven_count)
    tally.watch(Limit.EVENTS, settings.max_events, memory.open_events)
    expiry = memory.expiry
    tally.watch(Limit.EVENTS_OVER, expiry.most_over, lambda: expiry.over, lambda: expiry.crowded_out)
    for limit, most in (
        (Limit.QUEUE, MOST_QUEUED),
        (Limit.REPORT_REQUESTS, MOST_REQUESTS),
        (Limit.POINTS, MOST_POINTS),
        (Limit.SCHEDULES, MOST_SCHEDULES),
        (Limit.VERSIONS, MOST_VERSIONS),
    ):
        tally.watch(limit, most, None)
