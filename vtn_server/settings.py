"""The values a VTN is composed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from certs.connections import ConnectionLimits
from certs.envelope import SignaturePolicy
from certs.xmldsig import DEFAULT_WINDOW
from schemas.oadr20b.model import Report
from schemas.oadr20b.wire import MAX_BYTES
from schemas.oadr20b.xmltypes import Duration
from vtn_server.push_targets import PushTargets
from vtn_server.state import ReportRequestDraft, VenId

__all__ = ["FollowLimits", "Identity", "ReportPlan", "VtnSettings", "no_reports"]

ReportPlan: TypeAlias = Callable[[VenId, tuple[Report, ...], datetime], tuple[ReportRequestDraft, ...]]
"""Which reports to ask of a VEN that has just announced its metadata. Must be pure."""

_USUAL_CONNECTIONS: Final = ConnectionLimits()
_PUBLIC: Final = PushTargets()
_POLL_PERIOD: Final = Duration(seconds=10)


class Identity(StrEnum):
    """What proves which VEN a peer is."""

    CERTIFICATE = "certificate"
    """Its client certificate: nobody without one is served, and each VEN has its own."""
    CLAIMED = "claimed"
    """Nothing: whoever says a venID is believed. Only for plain HTTP on a network that is trusted."""


def no_reports(ven_id: VenId, metadata: tuple[Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    """Ask for nothing."""
    del ven_id, metadata, now
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLimits:
    """How long what may take where several processes share the store; see :mod:`vtn_server.catchup`.

    Attributes:
        beat_s: Between two notes to itself.
        deaf_s: Without hearing itself, until the line counts as lost.
        stale_s: Without having caught up, until nothing is answered any more.
        patience_s: How long a request may wait for the others.
        gather_s: Between hearing of a change that nobody waits for and reading it.
        pause_s: Before a new line is tried for.
        push_delay_s: Before work of another process's commit is told of: its reply shall be out first.
    """

    beat_s: float = 1.0
    deaf_s: float = 3.0
    stale_s: float = 10.0
    patience_s: float = 5.0
    gather_s: float = 0.02
    pause_s: float = 0.5
    push_delay_s: float = 0.1


_USUAL_FOLLOW: Final = FollowLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class VtnSettings:
    """The values a VTN is composed with.

    Attributes:
        poll_period: The oadrRequestedOadrPollFreq.
        open_enrolment: Whether a VEN that nobody provisioned may register, and whether the first
            certificate a VEN registers with becomes its own.
        max_vens: How many VENs there may be under open enrolment; an operator may add more.
        market_contexts: The contexts an operator may use; empty is any.
        resend_after_s: How long an item in flight waits for its answer before it is sent again.
        max_deliveries: How often an item is sent before it is given up.
        push: Whether push VENs may register; whoever says yes runs a :class:`vtn_server.push.PushDispatcher`.
        push_targets: Where a push VEN may listen.
        max_push_deliveries: ``max_deliveries`` for a push VEN, whose deliveries follow each other in 1, 2,
            4, ... seconds.
        push_patience_s: How long nothing is pushed to a VEN that has registered, until it announces its
            metadata.
        max_bytes: The largest body that is read.
        read_timeout_s: How long a body may take to arrive.
        idle_timeout_s: How long a connection may stay without a complete request head.
        connection_limits: How many connections there may be, and how slow they may be.
        max_requests: How many requests are served at once; more are answered 503 with Retry-After.
        max_bytes_at_once: How many bytes of bodies may be coming at once, those that come with their heads
            apart; more are answered likewise.
        max_events: How many events that are not over there may be.
        validate_outgoing: Whether every reply is checked against the official schema before it leaves.
        accept_bare_root: Whether a message without oadrPayload around it is taken (G4).
        wrong_method_status: The HTTP status of any method but POST; some peers expect 405 (G12).
        check_rules: Whether the rules of the profile are checked on every message of both directions;
            breaches are counted and logged, no more.
        identity: What proves which VEN a peer is; plain HTTP has to be asked for.
        signatures: What is done about XML signatures; see :mod:`vtn_server.signing`.
        signature_window: How far the time stamp of a signature may be from now, in both directions.
        follow: How long what may take where several processes share the store.
        keep_completed: How long an event that is over stays in memory; it stays in the store until the
            retention deletes it.
    """

    vtn_id: str
    poll_period: Duration = _POLL_PERIOD
    open_enrolment: bool = False
    max_vens: int = 10_000
    market_contexts: tuple[str, ...] = ()
    resend_after_s: float = 30.0
    max_deliveries: int = 5
    push: bool = False
    push_targets: PushTargets = _PUBLIC
    max_push_deliveries: int = 12
    push_patience_s: float = 5.0
    max_bytes: int = MAX_BYTES
    read_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    connection_limits: ConnectionLimits = _USUAL_CONNECTIONS
    max_requests: int = 1000
    max_bytes_at_once: int = 64_000_000
    max_events: int = 50_000
    validate_outgoing: bool = False
    accept_bare_root: bool = False
    wrong_method_status: int = 501
    check_rules: bool = False
    identity: Identity = Identity.CERTIFICATE
    signatures: SignaturePolicy = SignaturePolicy.OFF
    signature_window: timedelta = DEFAULT_WINDOW
    keep_completed: timedelta = timedelta(days=2)
    follow: FollowLimits = _USUAL_FOLLOW

    @property
    def resend_after(self) -> timedelta:
        """``resend_after_s`` as a timedelta."""
        return timedelta(seconds=self.resend_after_s)

    def over_by(self, now: datetime) -> datetime:
        """Return the instant by which an event must have been over to leave memory."""
        try:
            return now - self.keep_completed
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)

    @property
    def push_patience(self) -> timedelta:
        """``push_patience_s`` as a timedelta."""
        return timedelta(seconds=self.push_patience_s)
