"""The loop's OpenADR messages, as pure functions: ids, signals and report requests of signals.md.

Only ``gateway`` uses this module. Prices cross from milli-cent per kWh to EUR per kWh here and nowhere else
on the DSO's side; 1e-5 EUR survive the 24-bit floats of the wire and are rounded back to the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dso_engine.day_ahead import DAY_AHEAD
from dso_engine.hourly import COMMITMENT, GATE, OFFER, PHASES
from dso_engine.model import MILLICENT_PER_EUR, SLOT, HomeId, Pcc, Phase
from dso_engine.ports import HourResult
from dso_engine.products import local_midnight
from schemas.oadr20b.enums import ResponseRequired, SignalName, SignalType
from schemas.oadr20b.model import EventSignal, Interval, Report, Target
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR, ItemBase
from schemas.oadr20b.xmltypes import Duration
from vtn_server.records import EventDraft
from vtn_server.state import ReportRequestDraft, VenId

__all__ = [
    "Contexts",
    "curtail_id",
    "curtailment",
    "export_signal",
    "phase_event",
    "phase_id",
    "phase_signal",
    "phases_of",
    "price_event",
    "price_id",
    "price_signal",
    "report_requests",
    "result_event",
    "result_id",
    "result_of",
    "signal_of",
    "stamp",
    "to_eur",
    "to_millicent",
]

_TEN_MINUTES: Final = Duration(minutes=10)
_HOUR: Final = Duration(hours=1)
_DAY: Final = Duration(days=1)
_DAY_OFFER: Final = timedelta(minutes=5)
"""How long before its gate a day-ahead offer is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """The market contexts under one base URI."""

    base: str = "http://feederloop.example"

    @property
    def market(self) -> str:
        """Offers, results, commitments."""
        return f"{self.base}/local-market"

    @property
    def day_ahead(self) -> str:
        """Offers and results of the day before."""
        return f"{self.base}/day-ahead-market"

    @property
    def phases(self) -> str:
        """Phase commands."""
        return f"{self.base}/phase-switching"

    @property
    def price(self) -> str:
        """The real-time price and the last resort."""
        return f"{self.base}/real-time-price"

    @property
    def all(self) -> tuple[str, ...]:
        """All of them, for provisioning."""
        return self.market, self.day_ahead, self.phases, self.price


def to_eur(millicent: int) -> float:
    """Return a price on the grid of 1e-5 EUR/kWh as EUR/kWh."""
    return millicent / MILLICENT_PER_EUR


def to_millicent(eur: float) -> int:
    """Return a price from the wire on its grid, 1e-5 EUR/kWh."""
    return round(eur * MILLICENT_PER_EUR)


def stamp(when: datetime) -> str:
    """Return an instant as part of an eventID."""
    return when.astimezone(UTC).strftime("%Y%m%dT%H%MZ")


def result_id(hour: datetime, ven: VenId) -> str:
    """Return the eventID of a home's market result."""
    return f"mkt-{stamp(hour)}-{ven}"


def phase_id(hour: datetime, ven: VenId) -> str:
    """Return the eventID of a phase command."""
    return f"phase-{stamp(hour)}-{ven}"


def price_id(slot: datetime, pcc: Pcc) -> str:
    """Return the eventID of a PCC's real-time price."""
    return f"rtc-{pcc.id}-{stamp(slot)}"


def curtail_id(slot: datetime, pcc: Pcc) -> str:
    """Return the eventID of a PCC's export bound."""
    return f"curtail-{pcc.id}-{stamp(slot)}"


def signal_of(
    name: str,
    kind: SignalType,
    signal_id: str,
    values: Sequence[float],
    step: Duration,
    unit: ItemBase | None,
) -> EventSignal:
    """Return a signal of equal steps."""
    return EventSignal(
        intervals=tuple(Interval.of_signal(i, step, float(value)) for i, value in enumerate(values)),
        signal_name=name,
        signal_type=kind,
        signal_id=signal_id,
        item_base=unit,
    )


def result_event(hour: datetime, ven: VenId, result: HourResult, contexts: Contexts) -> EventDraft:
    """Return the event that tells one home the outcome of the six auctions of an hour."""
    prices = [to_eur(price) for price in result.price_millicent]
    volumes = [float(volume) for volume in result.volume_wh]
    return EventDraft(
        event_id=result_id(hour, ven),
        market_context=contexts.market,
        dtstart=hour,
        duration=_HOUR,
        signals=(
            signal_of(
                SignalName.ELECTRICITY_PRICE, SignalType.PRICE, "price", prices, _TEN_MINUTES, EUR_PER_KWH
            ),
            signal_of("x-COMMITTED_ENERGY", SignalType.SETPOINT, "energy", volumes, _TEN_MINUTES, WATT_HOUR),
        ),
        audience=(ven,),
        response_required=ResponseRequired.ALWAYS,
        priority=0,
    )


def result_of(home: HomeId, signals: Sequence[EventSignal]) -> HourResult:
    """Return what a home was told by a :func:`result_event`."""
    price, energy = ([each.signal_value for each in signal.intervals] for signal in signals)
    return HourResult(
        home=home,
        price_millicent=tuple(to_millicent(value) for value in price),
        volume_wh=tuple(round(value) for value in energy),
    )


def phases_of(signals: Sequence[EventSignal]) -> tuple[Phase, ...]:
    """Return the phases of a :func:`phase_signal`."""
    return tuple(Phase(round(each.signal_value) - 1) for each in signals[0].intervals)


def phase_signal(phases: Sequence[Phase]) -> tuple[EventSignal, ...]:
    """Return the signal of six phases; 1, 2, 3 on the wire."""
    values = [float(phase + 1) for phase in phases]
    return (signal_of("x-PHASE_ALLOCATION", SignalType.SETPOINT, "phase", values, _TEN_MINUTES, None),)


def phase_event(
    hour: datetime, ven: VenId, resource: str, phases: Sequence[Phase], contexts: Contexts
) -> EventDraft:
    """Return the phase command of an hour; it targets the switch only, since targets are alternatives."""
    return EventDraft(
        event_id=phase_id(hour, ven),
        market_context=contexts.phases,
        dtstart=hour,
        duration=_HOUR,
        signals=phase_signal(phases),
        audience=(ven,),
        response_required=ResponseRequired.ALWAYS,
        target=Target(resource_ids=(resource,)),
    )


def price_signal(u_millicent: int) -> tuple[EventSignal, ...]:
    """Return the signal of the real-time price."""
    return (
        signal_of(
            SignalName.ELECTRICITY_PRICE,
            SignalType.PRICE_RELATIVE,
            "u",
            [to_eur(u_millicent)],
            _TEN_MINUTES,
            EUR_PER_KWH,
        ),
    )


def price_event(slot: datetime, pcc: Pcc, audience: tuple[VenId, ...], contexts: Contexts) -> EventDraft:
    """Return the real-time price of a PCC for a slot, at zero; no target, so one body serves all."""
    return EventDraft(
        event_id=price_id(slot, pcc),
        market_context=contexts.price,
        dtstart=slot,
        duration=_TEN_MINUTES,
        signals=price_signal(0),
        audience=audience,
        response_required=ResponseRequired.NEVER,
        priority=1,
    )


def export_signal(export_w: int, length: Duration) -> tuple[EventSignal, ...]:
    """Return the bound on exports, as the largest export allowed."""
    values = [float(export_w)]
    return (signal_of(SignalName.LOAD_DISPATCH, SignalType.SETPOINT, "export", values, length, WATT),)


def curtailment(
    slot: datetime, now: datetime, pcc: Pcc, audience: tuple[VenId, ...], export_w: int, contexts: Contexts
) -> EventDraft:
    """Return the bound on exports for the rest of a slot."""
    rest = Duration.of(slot + SLOT - now)
    return EventDraft(
        event_id=curtail_id(slot, pcc),
        market_context=contexts.price,
        dtstart=now,
        duration=rest,
        signals=export_signal(export_w, rest),
        audience=audience,
        response_required=ResponseRequired.ALWAYS,
        priority=1,
    )


def report_requests(metadata: Sequence[Report], start: datetime) -> tuple[ReportRequestDraft, ...]:
    """Return the reports to ask of a VEN that announced its metadata, all rhythms of signals.md.

    Args:
        metadata: What the VEN can report.
        start: A slot edge; reports are due from here on, market reports at their minutes of the hour.
    """
    hour = start.replace(minute=0, second=0, microsecond=0)
    before = local_midnight(start) - DAY_AHEAD.day_ahead_gate - _DAY_OFFER
    rhythms = {
        "offer": (_due(hour, OFFER), _TEN_MINUTES, _HOUR, GATE),
        "day-ahead-offer": (before - timedelta(days=1), _HOUR, _DAY, DAY_AHEAD.day_ahead_gate),
        "commitment": (_due(hour, COMMITMENT), _TEN_MINUTES, _HOUR, PHASES),
        "meter-energy": (start, _TEN_MINUTES, _TEN_MINUTES, None),
        "meter-power": (start, Duration(minutes=1), _TEN_MINUTES, None),
        "storage": (start, _TEN_MINUTES, _TEN_MINUTES, None),
        "status": (start, _TEN_MINUTES, _TEN_MINUTES, None),
        "switch": (start, Duration(), Duration(minutes=1), None),
    }
    drafts: list[ReportRequestDraft] = []
    for report in metadata:
        rhythm = rhythms.get(report.report_specifier_id)
        if rhythm is None:
            continue
        first, granularity, back, gate = rhythm
        drafts.append(
            ReportRequestDraft(
                report_specifier_id=report.report_specifier_id,
                r_ids=tuple(each.r_id for each in report.descriptions),
                granularity=granularity,
                report_back_duration=back,
                start=first,
                gate=gate,
                gate_from=None if gate is None else local_midnight(start),
            )
        )
    return tuple(drafts)


def _due(hour: datetime, before: timedelta) -> datetime:
    """Return an instant whose later whole hours are the moments ``before`` a delivery hour.

    A periodic report is due one period after its start, so the start lies a whole hour before the first.
    """
    return hour - timedelta(hours=1) + (-before) % timedelta(hours=1)
