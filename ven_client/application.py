"""What the OpenADR session of a VEN asks of the application behind it, and nothing more.

The session knows messages, the application knows the home. Both are free of I/O: time comes as an argument,
and whatever the application wants done at a later time it says through :meth:`Application.next_wakeup`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.oadr20b.enums import OptType
from schemas.oadr20b.model import EiEvent, Event, Interval, Report, ReportRequest

__all__ = ["Application", "HeldEvent", "ReportWindow", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the application makes of one event: the eventResponse in substance (r48)."""

    opt_type: OptType
    code: str = "200"
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldEvent:
    """An event the VEN holds, as last received, with what it answered.

    Attributes:
        event: The latest version.
        received_at: When this version arrived (a running interval's new value holds from then, G20).
        opt_type: The VEN's own opt, optIn where no answer is wanted.
        start_offset_s: The randomised delay of the start in seconds (r30).
    """

    event: EiEvent
    received_at: datetime
    opt_type: OptType
    start_offset_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWindow:
    """The stretch of time one report is about, half open, and when it is due."""

    start: datetime
    end: datetime
    due: datetime


class Application(Protocol):
    """The home behind a VEN."""

    def metadata(self, now: datetime) -> tuple[Report, ...]:
        """Return one metadata report per specifier: descriptions only, no intervals (r305)."""
        ...

    def judge(self, event: Event, now: datetime) -> Verdict:
        """Return the verdict on a new or modified event; nothing is acted on yet."""
        ...

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None:
        """Take the complete set of events that are held now (cancelled ones are gone)."""
        ...

    def report(self, request: ReportRequest, window: ReportWindow, now: datetime) -> tuple[Interval, ...]:
        """Return the intervals of a report that is due; empty if there is nothing to send."""
        ...

    def next_wakeup(self, now: datetime) -> datetime | None:
        """Return the next instant, after now, at which :meth:`on_time` wants to run."""
        ...

    def on_time(self, now: datetime) -> None:
        """Do what is due at this instant (slot edges: plan, set devices, read meters)."""
        ...
