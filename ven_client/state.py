"""Everything a VEN must not lose, as frozen values: what is on its disk before a promise leaves. Pure.

What is not here is not needed: answers to events are asked for again (the VEN's first message after a restart
is oadrRequestEvent), polls and back-off start anew, and a registration that was not answered is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from schemas.oadr20b.model import AnyMessage, CreateOpt, Report
from ven_client.devices import Phase, Registers
from ven_client.event_book import EventEntry
from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.model import Offer, Plan
from ven_client.hems.respond import SlotState
from ven_client.report_book import ReportJob
from ven_client.spool import Spooled

__all__ = [
    "AbsenceKept",
    "BlockOfferKept",
    "ChargeKept",
    "EdgeKept",
    "HomeMemory",
    "OfferKept",
    "PhaseKept",
    "PlanKept",
    "RegistrationState",
    "Remembering",
    "RunningKept",
    "SentOpt",
    "SessionState",
    "SlotKept",
    "SlotMeasured",
    "StateStore",
    "VenState",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationState:
    """Who the two parties are to each other, and how far they have come.

    Attributes:
        ven_id: The venID in use.
        vtn_id: The vtnID the VTN gave.
        registration_id: The registrationID.
        operational: Whether the bootstrap was over.
        poll_least: The poll period the VTN asks for, zero for none.
        push_address: Where the VTN was told to reach this VEN; None is pull.
    """

    ven_id: str
    vtn_id: str | None
    registration_id: str
    operational: bool
    poll_least: timedelta
    push_address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentOpt:
    """An opt the VEN has sent, or is about to send, and the VTN's code if it has answered."""

    message: CreateOpt
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The protocol's part.

    Attributes:
        registration: None while there is none; then the rest is empty but for the events, and the answer to
            the cancellation of the last one while that is outgoing.
        events: Held events with versions, opts given and randomised offsets.
        offers: The metadata that was announced.
        jobs: Report requests accepted, with their next windows.
        unsent: Report data the VTN has not acknowledged, oldest first.
        opts: Opts the VEN took the initiative for.
        outgoing: Other messages that are not answered yet, in order.
    """

    registration: RegistrationState | None = None
    events: tuple[EventEntry, ...] = ()
    offers: tuple[Report, ...] = ()
    jobs: tuple[ReportJob, ...] = ()
    unsent: tuple[Spooled, ...] = ()
    opts: tuple[SentOpt, ...] = ()
    outgoing: tuple[AnyMessage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferKept:
    """The offer made for an hour."""

    hour: datetime
    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOfferKept:
    """The offer made for the hourly blocks of a day."""

    day: datetime
    offer: BlockOffer


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanKept:
    """The plan that binds for an hour."""

    hour: datetime
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotKept:
    """What is planned for a slot, kWh."""

    slot: datetime
    battery_kwh: float
    exchange_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeKept:
    """What was read at the edge of two slots."""

    at: datetime
    meter_wh: int
    battery_kwh: float
    battery_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseKept:
    """A phase the home was connected to from an instant on."""

    at: datetime
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningKept:
    """The slot being played and what the home knew at its start."""

    slot: datetime
    state: SlotState


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsenceKept:
    """A time the home has opted out of, half open; ``end`` None is open-ended."""

    opt_id: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeKept:
    """The stored energy a relative battery target counts from, as it was when its interval began."""

    start: datetime
    e_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotMeasured:
    """Consumption and production of a slot that is over, kWh, as real devices measured them."""

    slot: datetime
    load_kwh: float
    pv_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeMemory:
    """The home's part: what it has said and read, as far as anything still depends on it."""

    offers: tuple[OfferKept, ...] = ()
    blocks: tuple[BlockOfferKept, ...] = ()
    plans: tuple[PlanKept, ...] = ()
    slots: tuple[SlotKept, ...] = ()
    edges: tuple[EdgeKept, ...] = ()
    phases: tuple[PhaseKept, ...] = ()
    running: tuple[RunningKept, ...] = ()
    absences: tuple[AbsenceKept, ...] = ()
    charges: tuple[ChargeKept, ...] = ()
    measured: tuple[SlotMeasured, ...] = ()
    """Of a home with real devices: its forecast is made of them."""
    registers: Registers | None = None
    """Of a simulated home: real devices keep their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenState:
    """Both parts."""

    session: SessionState
    home: HomeMemory


class Remembering(Protocol):
    """An application with a memory."""

    def memory(self, now: datetime) -> HomeMemory:
        """Return what must survive a restart."""
        ...

    def recall(self, memory: HomeMemory, now: datetime) -> None:
        """Take it back, before anything else is asked of the application."""
        ...


class StateStore(Protocol):
    """Where the state is kept."""

    def load(self) -> VenState | None:
        """Return what was committed last, None if nothing was.

        Raises:
            StateError: if it cannot be read.
        """
        ...

    def commit(self, state: VenState) -> None:
        """Make a state durable; returns when it is.

        Raises:
            StateError: if it cannot be written.
        """
        ...
