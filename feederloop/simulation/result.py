"""What a run leaves behind: frozen values that become ``result.json``, the table and the page.

Nothing in here depends on the wall clock, on random ids or on how often something was retried, so two runs
with the same seed write the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from schemas.oadr20b.xmltypes import format_datetime

__all__ = [
    "CurtailResult",
    "DayAheadBlock",
    "DayAheadSummary",
    "GridSeries",
    "HomeResult",
    "MarketSlot",
    "MessageCounts",
    "PhaseSlot",
    "PriceStep",
    "RunResult",
    "Summary",
    "to_json",
]


_LEFT_OUT: Final = "left out"
"""Marks a field that is not written where it is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSeries:
    """The plant at the end of every slot; outer index slot, inner index phase or PCC."""

    v_max_pct: tuple[tuple[float, ...], ...]
    """Highest deviation from nominal per phase, per cent, signed."""
    v_min_pct: tuple[tuple[float, ...], ...]
    vuf_pct: tuple[float, ...]
    pcc_p_kw: tuple[tuple[float, ...], ...]
    transformer_loading_pct: tuple[float, ...]
    line_loss_kw: tuple[float, ...]
    neutral_loss_kw: tuple[float, ...]
    transformer_loss_kw: tuple[float, ...]
    violations: tuple[int, ...]
    """Limits broken at the end of the slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSlot:
    """One auction."""

    slot: datetime
    orders: int
    status: str
    traded_wh: int
    bought_wh: int
    sold_wh: int
    bid_price_millicent: int | None
    ask_price_millicent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadBlock:
    """One auction of the day before; energies are those of the whole hour."""

    hour: datetime
    orders: int
    refused: int
    """Orders that did not count."""
    status: str
    traded_wh: int
    bid_price_millicent: int | None
    ask_price_millicent: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadSummary:
    """The day-ahead market of the delivery day."""

    blocks: tuple[DayAheadBlock, ...]
    """All 24, also where a run plays a part of the day."""
    traded_kwh: float
    """Energy traded for the slots of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSlot:
    """The last plan of a slot's phases."""

    slot: datetime
    phases: tuple[tuple[str, str], ...]
    operations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """One tick of one PCC in a controlled slot."""

    slot: datetime
    at: datetime
    pcc: str
    p_kw: float
    projected_kw: float
    c_lo_kw: float | None
    c_hi_kw: float | None
    u_millicent: int
    stepped: bool
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailResult:
    """One bound on exports."""

    slot: datetime
    at: datetime
    pcc: str
    homes: tuple[str, ...]
    export_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeResult:
    """One home's day; money in EUR, rounded to 1e-8 from exact integers."""

    home: str
    pv_kwp: float
    battery: bool
    switch: bool
    metered_wh: int
    plant_wh: int
    """The same energy by the plant's own account."""
    curtailed_wh: int
    battery_min_kwh: float
    battery_max_kwh: float
    bill_eur: float
    bill_uncontrolled_eur: float
    market_eur: float
    supplier_eur: float
    feed_in_eur: float
    real_time_price_eur: float
    reward_eur: float
    rebate_eur: float
    refusal_eur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCounts:
    """Traffic between VENs and VTN, by message name; requests and their replies."""

    sent_by_vens: tuple[tuple[str, int], ...]
    received_by_vens: tuple[tuple[str, int], ...]
    application_errors: int
    http_errors: int
    rejected: int
    """Messages that the schema or the parser refused, at either end."""

    @property
    def total(self) -> int:
        """All messages, both ways."""
        return sum(n for _, n in (*self.sent_by_vens, *self.received_by_vens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One column of the table."""

    imported_kwh: float
    exported_kwh: float
    peak_p_kw: float
    peak_s_kva: float
    par: float | None
    v_high_pct: tuple[float, ...]
    v_low_pct: tuple[float, ...]
    vuf_pct: float
    line_loss_kwh: float
    neutral_loss_kwh: float
    transformer_loss_kwh: float
    slots_beyond_voltage_limit: int
    slots_with_violations: int
    curtailed_kwh: float
    bills_eur: float
    stored_change_kwh: float
    """Energy in the batteries at the end less at the start: a bill alone does not show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Everything a run leaves behind."""

    version: str
    network: str
    scenario: str
    day: str
    seed: int
    law: str
    model_error: bool
    slots: tuple[datetime, ...]
    pccs: tuple[str, ...]
    v_nominal_v: float
    v_band_pct: float
    with_control: Summary | None
    without_control: Summary
    grid: GridSeries | None
    grid_uncontrolled: GridSeries
    market: tuple[MarketSlot, ...] = ()
    traded_kwh: float = 0.0
    phases: tuple[PhaseSlot, ...] = ()
    switch_operations: int = 0
    armed_slots: tuple[datetime, ...] = ()
    steps: tuple[PriceStep, ...] = ()
    price_changes: int = 0
    curtailments: tuple[CurtailResult, ...] = ()
    homes: tuple[HomeResult, ...] = ()
    supplier_receives_eur: float = 0.0
    dso_receives_eur: float = 0.0
    homes_pay_eur: float = 0.0
    market_surplus_eur: float = 0.0
    balance_units: int = 0
    """Sum of all accounts in units of 1e-8 EUR; zero, or settlement is wrong."""
    messages: MessageCounts | None = None
    day_ahead: DayAheadSummary | None = field(default=None, metadata={_LEFT_OUT: True})


def to_json(result: RunResult) -> str:
    """Return a result as JSON: sorted keys, numbers as they are, instants in UTC."""
    return json.dumps(_plain(result), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401  # walks any tree of the dataclasses above
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: _plain(v) for f, v in fields if v is not None or _LEFT_OUT not in f.metadata}
    if isinstance(value, datetime):
        return format_datetime(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
