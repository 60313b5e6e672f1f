"""What goes over the operator API where many events are acted on at once.

As :mod:`vtn_server.api_models`, except that a program which compares times with its own measurements gets
those of versions and deliveries to the microsecond.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, PlainSerializer

from vtn_server.api_models import EventCreate, EventModify, EventOptOut, EventOut
from vtn_server.api_parts import Model, Moment, Name

__all__ = [
    "AbsenceList",
    "AbsenceQuery",
    "DeliveryState",
    "EventBatch",
    "EventBatchOut",
    "EventChange",
    "EventChanges",
    "EventQuery",
    "EventState",
    "EventStates",
]

_MOST = 10_000


def _exact(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


ExactMoment = Annotated[AwareDatetime, PlainSerializer(_exact, return_type=str, when_used="json")]


class EventBatch(Model):
    """New events, published all or none."""

    events: Annotated[tuple[EventCreate, ...], Field(min_length=1, max_length=_MOST)]


class EventChange(EventModify):
    """A change of one of several events."""

    event_id: Name


class EventChanges(Model):
    """Changes of events, made all or none; each event once."""

    changes: Annotated[tuple[EventChange, ...], Field(min_length=1, max_length=_MOST)]


class EventBatchOut(Model):
    """The events as they are now, in the order of the request."""

    events: tuple[EventOut, ...]


class EventQuery(Model):
    """Which events; the ids of those that do not exist are no error."""

    event_ids: Annotated[tuple[Name, ...], Field(max_length=_MOST)]


class DeliveryState(Model):
    """The newest version a VEN was sent, and when it first was."""

    ven_id: str
    modification_number: int
    at: ExactMoment


class EventState(EventOut):
    """An event with how far it has come and what was answered."""

    version_at: Annotated[ExactMoment, Field(description="When the newest version was made.")]
    deliveries: Annotated[
        tuple[DeliveryState, ...], Field(description="Not kept for an event that is long over.")
    ]
    opts: tuple[EventOptOut, ...]


class EventStates(Model):
    """Those of the events that exist, however old, in the order of the request."""

    events: tuple[EventState, ...]


class AbsenceQuery(Model):
    """When."""

    at: Annotated[Moment | None, Field(description="Now if left out.")] = None


class AbsenceList(Model):
    """The VENs with an optOut schedule that covers an instant, by venID."""

    at: Moment
    ven_ids: tuple[str, ...]
