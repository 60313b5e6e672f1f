"""What an operator sees of a VEN. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.oadr20b.model import Report
from vtn_server import distribute
from vtn_server.decision import Context, World
from vtn_server.state import GivenUp, Provision, Registration, RequestedReport, Schedule, Ven, VenId

__all__ = ["VenView", "view_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenView:
    """What an operator sees of a VEN.

    Attributes:
        provision: What was known of it in advance.
        registration: The one in force.
        schedules: The availability schedules it has sent, whenever they hold.
        requests: Our report requests to it.
        pending: Messages in its queue, events apart.
        given_up: What it never answered, or answered with an error.
        unanswered_events: Events that want an answer and were sent as often as they are.
    """

    ven_id: VenId
    ven_name: str
    registered: bool
    metadata: tuple[Report, ...]
    requests: tuple[RequestedReport, ...]
    pending: int
    given_up: tuple[GivenUp, ...]
    unanswered_events: tuple[str, ...]
    provision: Provision
    registration: Registration | None
    schedules: tuple[Schedule, ...]


def view_of(ven: Ven, world: World, ctx: Context) -> VenView:
    """Return what an operator sees of a VEN."""
    unanswered = distribute.given_up(ven.ven_id, world, ctx)
    return VenView(
        ven_id=ven.ven_id,
        ven_name=ven.provision.ven_name,
        registered=ven.registration is not None,
        metadata=ven.metadata,
        requests=ven.requests,
        pending=len(ven.outbox),
        given_up=ven.given_up,
        unanswered_events=tuple(sorted(each.event_id for each in unanswered)),
        provision=ven.provision,
        registration=ven.registration,
        schedules=ven.schedules,
    )
