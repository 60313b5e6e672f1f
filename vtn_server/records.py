"""Events as the operator makes them and as the VTN keeps them.

An event is one record with every version it ever had, shared by its audience. Its status is computed from
the time, never stored. What a VEN was sent and what it answered is kept beside it, per VEN.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.model import EventBaseline, EventSignal, Target
from schemas.oadr20b.xmltypes import Duration
from vtn_server.state import VenId

__all__ = ["EventDraft", "EventOpt", "EventRecord", "EventVersion", "Fetched"]

_ANYTHING: Final = Target()
_ZERO: Final = Duration()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """What an operator says about a new event.

    Attributes:
        audience: The VENs it is sent to: routing data, not part of the message.
        target: The eiTarget of the message; empty is the VEN with all its resources.
        baseline: What is expected of the VENs without the event; the same in every version.
    """

    event_id: str
    market_context: str
    dtstart: datetime
    duration: Duration
    signals: tuple[EventSignal, ...]
    audience: tuple[VenId, ...]
    response_required: ResponseRequired
    priority: int = 0
    target: Target = _ANYTHING
    notification: Duration = _ZERO
    startafter: Duration | None = None
    ramp_up: Duration | None = None
    recovery: Duration | None = None
    test_event: str | None = None
    comment: str | None = None
    baseline: EventBaseline | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventVersion:
    """One version of an event: settlement needs to know what held when."""

    modification_number: int
    at: datetime
    signals: tuple[EventSignal, ...]
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """An event with its history; ``versions`` is never empty, oldest first.

    Attributes:
        near_at: When the ramp up begins; None where none is defined before the start.
        end: The end of the active period; None for an open-ended event (r47).
        over_at: When the event is no longer listed to anybody (r66); None for an open-ended event.

    Raises:
        InvalidValue: if one of these instants lies outside the calendar.
    """

    draft: EventDraft
    versions: tuple[EventVersion, ...]
    near_at: datetime | None = field(init=False, repr=False, compare=False)
    end: datetime | None = field(init=False, repr=False, compare=False)
    over_at: datetime | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the instants once: every answer to a VEN asks for them."""
        draft = self.draft
        end = None if draft.duration.is_zero else draft.duration.after(draft.dtstart)
        over_at = end if end is None or draft.startafter is None else draft.startafter.after(end)
        object.__setattr__(self, "near_at", _near_at(draft))
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "over_at", over_at)

    @property
    def event_id(self) -> str:
        """The eventID."""
        return self.draft.event_id

    @property
    def audience(self) -> tuple[VenId, ...]:
        """The VENs the event is sent to."""
        return self.draft.audience

    @property
    def dtstart(self) -> datetime:
        """The start of the active period."""
        return self.draft.dtstart

    @property
    def duration(self) -> Duration:
        """The length of the active period; zero is open-ended (r47)."""
        return self.draft.duration

    @property
    def signals(self) -> tuple[EventSignal, ...]:
        """The signals of the newest version."""
        return self.versions[-1].signals

    @property
    def modification_number(self) -> int:
        """The number of the newest version."""
        return self.versions[-1].modification_number

    @property
    def created_at(self) -> datetime:
        """When the first version was made."""
        return self.versions[0].at

    @property
    def modified_at(self) -> datetime:
        """When the newest version was made."""
        return self.versions[-1].at

    @property
    def cancelled(self) -> bool:
        """Whether the newest version is a cancellation."""
        return self.versions[-1].cancelled


def _near_at(draft: EventDraft) -> datetime | None:
    ramp_up = draft.ramp_up
    if ramp_up is None or ramp_up.is_zero or ramp_up.negative:
        return None  # a negative ramp lies inside the active period
    return replace(ramp_up, negative=True).after(draft.dtstart)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOpt:
    """A VEN's answer to an event (r16).

    Attributes:
        code: The responseCode of its answer.
        qualified: Set by oadrCreateOpt; later opts by oadrCreatedEvent do not change it (r206).
    """

    opt_type: OptType
    code: str
    modification_number: int
    at: datetime
    qualified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The newest version of an event that was put into an answer to a VEN, and when it first was."""

    modification_number: int
    at: datetime
