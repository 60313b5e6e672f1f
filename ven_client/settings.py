"""What a VEN is told at installation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["VenConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenConfig:
    """Plain values the session works with.

    Attributes:
        ven_name: oadrVenName of the registration.
        ven_id: Preconfigured venID, sent in the first registration; None to be given one (r402).
        vtn_id: The vtnID to expect; None to trust the one the registration brings.
        resources: resourceIDs behind this VEN, as event targets name them.
        groups: groupIDs this VEN belongs to.
        market_contexts: Contexts whose events are taken, others get 462; empty takes any (r48).
        xml_signature: What the registration says of XML signatures: that everything is signed, and everything
            that comes should be (r514). The transport and the listener must do as it says.
        report_only: Only EiReport and EiRegisterParty are used.
        query_first: Start with oadrQueryRegistration.
        push_address: Where the VTN reaches this VEN's listener, without the well-known path
            (oadrTransportAddress, r402); None is a pull VEN. A push VEN never polls (r500).
        idle_poll: Poll period without anything urgent; never below what the VTN asks for (r500).
        poll_jitter: Idle polls are spread by this fraction of the period, up and down.
        fast_contexts: Market contexts of real-time prices: their events are polled for fast.
        fast_poll: Poll period, without jitter, while such an event is active or near; never below the VTN's.
        fast_lead: How long before its start such an event counts as near.
        fast_phase: If set, fast polls fall on whole multiples of the fast period (from midnight UTC) plus
            this; None counts from the previous poll.
        drain_limit: Items taken by polls in immediate succession before the period applies again.
        registration_retry: Least time between two registrations, so that a refusal is not a busy loop.
        rejoin_after: When to register again after the VTN cancelled the registration; None is never (r401).
        spool_points: Unsent points kept per report request, at least (r510 asks for 100).
        request_attempts: How often a message the VTN answers with an HTTP error is sent before it is dropped.
    """

    ven_name: str
    ven_id: str | None = None
    vtn_id: str | None = None
    resources: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    market_contexts: tuple[str, ...] = ()
    xml_signature: bool = False
    report_only: bool = False
    query_first: bool = False
    push_address: str | None = None
    idle_poll: timedelta = timedelta(seconds=60)
    poll_jitter: float = 0.1
    fast_contexts: tuple[str, ...] = ()
    fast_poll: timedelta = timedelta(seconds=10)
    fast_lead: timedelta = timedelta(seconds=90)
    fast_phase: timedelta | None = None
    drain_limit: int = 100
    registration_retry: timedelta = timedelta(seconds=60)
    rejoin_after: timedelta | None = timedelta(minutes=10)
    spool_points: int = 1000
    request_attempts: int = 5

    def __post_init__(self) -> None:
        if self.idle_poll <= timedelta(0) or self.fast_poll <= timedelta(0):
            raise ValueError("poll periods are positive")
        if not 0 <= self.poll_jitter < 1:
            raise ValueError("poll_jitter is a fraction below one")
        if self.spool_points < 100:
            raise ValueError("at least 100 points are kept per report (r510)")
        if self.push_address is not None and not self.push_address.lower().startswith(
            ("http://", "https://")
        ):
            raise ValueError("push_address is an http or https URL")
        if self.drain_limit < 1 or self.request_attempts < 1:
            raise ValueError("drain_limit and request_attempts are at least one")
