"""Ways through a message, with the path of every stop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from schemas.oadr20b.enums import SignalName
from schemas.oadr20b.model import (
    AnyMessage,
    CreateReport,
    DistributeEvent,
    EiEvent,
    EventBaseline,
    EventSignal,
    Interval,
    PayloadFloat,
    RegisteredReport,
    RegisterReport,
    Report,
    ReportRequest,
    SignalPayload,
    UpdateReport,
)

__all__ = [
    "METADATA",
    "PlacedEvent",
    "PlacedSignal",
    "baselines_of",
    "data_of",
    "events_of",
    "is_simple",
    "metadata_of",
    "name_of",
    "number_in",
    "numbered",
    "requests_of",
    "signals_of",
]

METADATA: Final = "METADATA"
"""The reportSpecifierID that asks for metadata (r327)."""

_T = TypeVar("_T")


def name_of(message: AnyMessage) -> str:
    """Return the name of a message's element."""
    return f"oadr{type(message).__name__}"


def numbered(items: Iterable[_T], path: str) -> Iterator[tuple[str, _T]]:
    """Yield items with their paths, counted from 1."""
    for position, item in enumerate(items, 1):
        yield f"{path}[{position}]", item


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """An event and where it stands."""

    path: str
    event: EiEvent


@dataclass(frozen=True, slots=True)
class PlacedSignal:
    """A signal, where it stands, and its event."""

    path: str
    signal: EventSignal
    event: EiEvent


def events_of(message: AnyMessage) -> Iterator[PlacedEvent]:
    """Yield the events of a distribution."""
    if isinstance(message, DistributeEvent):
        for path, event in numbered(message.events, "oadrDistributeEvent/oadrEvent"):
            yield PlacedEvent(f"{path}/eiEvent", event.event)


def signals_of(message: AnyMessage) -> Iterator[PlacedSignal]:
    """Yield the signals of all events."""
    for at in events_of(message):
        for path, signal in numbered(at.event.signals.signals, f"{at.path}/eiEventSignals/eiEventSignal"):
            yield PlacedSignal(path, signal, at.event)


def baselines_of(message: AnyMessage) -> Iterator[tuple[str, EventBaseline]]:
    """Yield the baselines of all events."""
    for at in events_of(message):
        if at.event.signals.baseline is not None:
            yield f"{at.path}/eiEventSignals/eiEventBaseline", at.event.signals.baseline


def number_in(interval: Interval) -> float | None:
    """Return the one number of a signal's interval; None if it holds anything else."""
    match interval.payloads:
        case (SignalPayload(payload=PayloadFloat(value=value)),):
            return value
    return None


def is_simple(signal: EventSignal) -> bool:
    """Return whether a signal is SIMPLE, in either spelling of the schema."""
    return signal.signal_name in (SignalName.SIMPLE, SignalName.SIMPLE_LOWER)


def metadata_of(message: AnyMessage) -> Iterator[tuple[str, Report]]:
    """Yield the metadata reports of an announcement."""
    if isinstance(message, RegisterReport):
        yield from numbered(message.reports, "oadrRegisterReport/oadrReport")


def data_of(message: AnyMessage) -> Iterator[tuple[str, Report]]:
    """Yield the reports with data."""
    if isinstance(message, UpdateReport):
        yield from numbered(message.reports, "oadrUpdateReport/oadrReport")


def requests_of(message: AnyMessage) -> Iterator[tuple[str, ReportRequest]]:
    """Yield the report requests of a message, those on the back of a reply included."""
    if isinstance(message, CreateReport | RegisteredReport):
        yield from numbered(message.requests, f"{name_of(message)}/oadrReportRequest")
