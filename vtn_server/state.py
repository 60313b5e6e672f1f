"""What the VTN knows of one VEN: the aggregate that is decided on, committed and kept in memory.

Values only. A :class:`Ven` is replaced as a whole; its ``version`` counts the commits. Events live outside,
because one event is shared by its whole audience; see :mod:`vtn_server.records`.

Source: ARCHITECTURE.md 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NewType, TypeAlias

from schemas.oadr20b.enums import OptType, ProfileName, TransportName
from schemas.oadr20b.model import (
    CancelPartyRegistration,
    CancelReport,
    CreatedReport,
    CreateReport,
    Period,
    RegisterReport,
    Report,
    ReportRequest,
    RequestReregistration,
    ResourceStatus,
    Target,
)
from schemas.oadr20b.uris import is_among
from schemas.oadr20b.xmltypes import Duration

__all__ = [
    "GivenUp",
    "ItemState",
    "OutboxItem",
    "PeerIdentity",
    "Provision",
    "Queued",
    "Reading",
    "Registration",
    "ReportRequestDraft",
    "RequestedReport",
    "Schedule",
    "Taken",
    "Ven",
    "VenId",
    "takes_part",
]

VenId = NewType("VenId", str)

_FOR_EVER: Final = Duration()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """Who sent a request, as far as the transport knows.

    Attributes:
        fingerprint: That of the client's certificate; None without TLS.
        connection: A name of the connection, different for every connection of the process.
        certificate: The certificate as DER; XML signatures of this peer are verified with its key.
    """

    fingerprint: str | None = None
    connection: str = ""
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """A VEN known in advance.

    Attributes:
        fingerprint: That of its certificate, upper case; None until one is enrolled.
        market_contexts: Those it takes part in; empty is all. It gets no event of another one.
        removed: The operator wants nothing more to do with it; what it did stays on record.
    """

    ven_id: VenId
    ven_name: str
    fingerprint: str | None = None
    resources: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    market_contexts: tuple[str, ...] = ()
    removed: bool = False


def takes_part(provision: Provision, market_context: str) -> bool:
    """Return whether a VEN takes part in a market context; one without any takes part in all (r48, r512)."""
    return not provision.market_contexts or is_among(market_context, provision.market_contexts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registration in force (r402, r403).

    Attributes:
        xml_signature: What the VEN said of itself.
        signs: It said so in a message that it had signed, and is held to it; see :mod:`vtn_server.signing`.
    """

    registration_id: str
    profile_name: ProfileName
    transport_name: TransportName
    transport_address: str | None
    report_only: bool
    xml_signature: bool
    http_pull_model: bool
    at: datetime
    signs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequestDraft:
    """A report the VTN wants from a VEN.

    Attributes:
        start: First instant of the reportInterval.
        duration: Length of the reportInterval; zero is for ever.
        gate: A report whose first interval starts at t is taken until t - gate. Later, new content is
            refused (454); a repeat of content that was taken is answered 200 at any time.
        gate_from: Reports belong to periods of reportBackDuration, counted from this instant, and t is the
            start of the period: who leaves out its first intervals has no later gate. None: t is what it is.
    """

    report_specifier_id: str
    r_ids: tuple[str, ...]
    granularity: Duration
    report_back_duration: Duration
    start: datetime
    duration: Duration = _FOR_EVER
    gate: timedelta | None = None
    gate_from: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The contents that were taken before a gate closed, for one first interval.

    Attributes:
        start: Of the first interval.
        digests: Of each content taken, oldest first.
    """

    start: datetime
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedReport:
    """One report request to a VEN and what became of it.

    Attributes:
        acknowledged: The VEN answered the oadrCreateReport.
        cancelled: We asked to stop; data is still welcome until the VEN confirms.
        taken: Only for a gated request.
        refused: The response code with which the VEN turned it down; nothing comes of such a request.
    """

    request: ReportRequest
    gate: timedelta | None = None
    gate_from: datetime | None = None
    acknowledged: bool = False
    cancelled: bool = False
    taken: tuple[Taken, ...] = ()
    refused: str | None = None

    @property
    def report_request_id(self) -> str:
        """The id by which data reports refer to the request."""
        return self.request.report_request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """An availability schedule of a VEN (EiOpt, r200 to r205)."""

    opt_id: str
    opt_type: OptType
    opt_reason: str
    market_context: str | None
    availability: tuple[Period, ...]
    target: Target
    device_class: Target | None
    created_at: datetime


Queued: TypeAlias = (
    RegisterReport
    | CreateReport
    | CreatedReport
    | CancelReport
    | CancelPartyRegistration
    | RequestReregistration
)
"""What can wait for a poll; an oadrCreatedReport waits to be pushed only, for no poll may bring it. Events do
not wait: what is due follows from the events themselves."""


class ItemState(StrEnum):
    """Where an outbox item stands; a done item is gone."""

    QUEUED = "queued"
    IN_FLIGHT = "inFlight"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """A message that waits for a VEN's poll or, in flight, for its answer."""

    item_id: str
    message: Queued
    state: ItemState = ItemState.QUEUED
    deliveries: int = 0
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """An outbox item the VEN never answered, or answered with an error."""

    item_id: str
    what: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ven:
    """The aggregate of one VEN.

    Attributes:
        version: Number of commits so far; 0 has never been stored.
        registration: None while unregistered.
        metadata: The VEN's metadata reports, from its newest oadrRegisterReport.
        metadata_at: When that came; None before the first.
        requests: Our report requests to the VEN.
        opt_ids: Every optID of a schedule ever sent and not cancelled, newest last (r211).
        ended: The registrationID the VEN cancelled last, until it registers anew: it may repeat that.
    """

    ven_id: VenId
    provision: Provision
    version: int = 0
    registration: Registration | None = None
    metadata: tuple[Report, ...] = ()
    metadata_at: datetime | None = None
    requests: tuple[RequestedReport, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    opt_ids: tuple[str, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    ended: str | None = None

    def request(self, report_request_id: str) -> RequestedReport | None:
        """Return our report request of that id, unless the VEN refused it."""
        open_ = (each for each in self.requests if each.refused is None)
        return next((each for each in open_ if each.report_request_id == report_request_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One value of a report.

    Attributes:
        duration: None for point data.
        value: None where the payload is a status, or not a number.
    """

    ven_id: VenId
    report_request_id: str
    report_specifier_id: str
    report_name: str
    r_id: str
    start: datetime
    duration: Duration | None
    value: float | None
    status: ResourceStatus | None
    data_quality: str | None
    received_at: datetime
