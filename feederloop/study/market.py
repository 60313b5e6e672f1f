"""The market study: chapter 4, figures 4.2 to 4.8. The days that are played, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from dso_engine.metrics import Metrics
from feederloop.study.flows import DayFlows, market_day, own_day
from feederloop.study.grid import GridDay, NetworkModel
from feederloop.study.settings import BATTERIES_KWH, DAYS, SEEDS, Setting, scenario_of
from feederloop.study.work import Work
from ven_client.hems.program import Planner

__all__ = ["Figure", "MarketRow", "Pairs", "Side", "main_days", "market_work", "reduction_pct"]

Pairs = Sequence[tuple[Setting, "MarketRow"]]

_REBATES_EUR: Final = (0.0, 0.01, 0.02, 0.04, 0.06)
_NETWORK: Final = "lv_33h_17pv.json"
_SCENARIO: Final = "chapter4_33h"
_PEAK_EUR: Final = 0.45
_REBATE_EUR: Final = 0.02
_LAST_HOUR: Final = 23 * 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One day, with or without market.

    Attributes:
        peak_to_23h_kw: The peak of the hours before 23:00. In the last hour equal prices leave open when the
            batteries go back to their start, and a linear programme then takes a corner: many at once.
    """

    exported_kwh: float
    imported_kwh: float
    peak_kw: float
    peak_to_23h_kw: float
    par: float
    transformer_loss_kwh: float
    phase_loss_kwh: float
    neutral_loss_kwh: float
    vuf_max_pct: float
    vuf_mean_pct: float
    v_high_pct: tuple[float, ...]
    v_low_pct: tuple[float, ...]
    bills_eur: float

    @classmethod
    def of(cls, grid: GridDay, flows: DayFlows) -> Side:
        """Return the figures of a day."""
        m: Metrics = grid.metrics
        return cls(
            exported_kwh=m.exported_kwh,
            imported_kwh=m.imported_kwh,
            peak_kw=m.peak_p_kw,
            peak_to_23h_kw=float(np.abs(grid.transformer_p_kw[:_LAST_HOUR]).sum(axis=1).max()),
            par=m.par or 0.0,
            transformer_loss_kwh=m.transformer_loss_kwh,
            phase_loss_kwh=m.phase_loss_kwh,
            neutral_loss_kwh=m.neutral_loss_kwh,
            vuf_max_pct=m.vuf_pct,
            vuf_mean_pct=grid.mean_vuf_pct,
            v_high_pct=m.v_high_pct,
            v_low_pct=m.v_low_pct,
            bills_eur=float(flows.bill_eur.sum()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRow:
    """One day without and with market."""

    without: Side
    with_market: Side
    traded_kwh: float
    slots_with_trade: int
    homes_worse_off: int
    """Homes whose bill of the day is higher with the market, by more than a cent."""


def market_work(*, quick: bool) -> Work[Setting, MarketRow]:
    """Return the days to play; the quick form has two days, two sizes and one seed."""
    days, sizes, seeds = (DAYS[:2], BATTERIES_KWH[:2], SEEDS[:1]) if quick else (DAYS, BATTERIES_KWH, SEEDS)
    rebates = _REBATES_EUR[:3] if quick else _REBATES_EUR
    main = [_setting(day, battery, seed, _REBATE_EUR) for day in days for battery in sizes for seed in seeds]
    more = [
        _setting(day, 6.0, 1, rebate)
        for day in days[: 1 if quick else None]
        for rebate in rebates
        if rebate != _REBATE_EUR
    ]
    return Work(name="market", jobs=(*main, *more), run=play, row=MarketRow)


def _setting(day: date, battery_kwh: float, seed: int, rebate: float) -> Setting:
    return Setting(
        network=_NETWORK,
        scenario=_SCENARIO,
        day=day,
        seed=seed,
        battery_kwh=battery_kwh,
        rebate_eur_per_kwh=rebate,
        peak_eur_per_kwh=_PEAK_EUR,
    )


def play(setting: Setting) -> MarketRow:
    """Play one day without and with market."""
    scenario, planner = scenario_of(setting), Planner()
    model = NetworkModel(scenario.network, scenario.parameters.homes.load_q_per_p)
    own, market = own_day(scenario, planner), market_day(scenario, planner)
    return MarketRow(
        without=Side.of(model.day(own), own),
        with_market=Side.of(model.day(market), market),
        traded_kwh=float(market.traded_kwh.sum()),
        slots_with_trade=market.tradable_slots,
        homes_worse_off=int(np.count_nonzero(market.bill_eur > own.bill_eur + 0.01)),
    )


Figure = Callable[[Side], float]
"""A figure of a day."""


def reduction_pct(row: MarketRow, figure: Figure) -> float:
    """Return by how much the market makes a figure smaller, %."""
    before, after = figure(row.without), figure(row.with_market)
    return 100.0 * (before - after) / before if before else 0.0


def main_days(pairs: Pairs) -> list[tuple[Setting, MarketRow]]:
    """Return the days with the usual rebate: all sizes and seeds."""
    return [(setting, row) for setting, row in pairs if setting.rebate_eur_per_kwh == _REBATE_EUR]
