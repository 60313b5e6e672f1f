"""What the homes of a neighbourhood exchange with the grid in one day, with and without the local market.

These days are played by the engine's and the homes' own code without messages: a study plays hundreds of
them. Forecasts are perfect, commitments are kept to the Wh, nobody refuses, there is no real-time price; what
is compared is the market alone.

*Baseline* (without market): each home minimises its own bill at supplier and feed-in prices over the day it
knows, with a cost of 1e-4 c/kWh on throughput that decides between equal plans (mechanisms.md 12).

*With market*: hour by hour, each home offers, the six auctions clear, and the home plans the rest of its day
around the result (thesis 4.4 to 4.6, corrected).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from dso_engine.hourly import hour_slots
from dso_engine.market import Clearing, Order, Side, clear, sequence_number
from dso_engine.model import MILLICENT_PER_EUR, SLOT, SLOTS_PER_HOUR, FloatArray, IntArray
from feederloop.simulation.homes import mean_pv_kwh, parameters_of, price_sheet
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.scenario import HomeSpec, Scenario
from feederloop.simulation.uncontrolled import own_plan
from feederloop.study.day_ahead import known_days, play_day_ahead
from ven_client.hems.model import Offer
from ven_client.hems.program import Planner
from ven_client.instructions import DayAheadResult, MarketResult
from ven_client.planning import HourPlanner

__all__ = ["DayFlows", "load_only", "market_day", "own_day"]

_HOURS: Final = 24
_WH_PER_KWH: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayFlows:
    """One day of all homes, in the order of the network.

    Attributes:
        net_kw: Mean exchange with the grid, + import, (slot, home).
        load_kw: Mean consumption, (slot, home); its reactive power follows from it.
        traded_kwh: Energy traded on the market per slot, (slot,).
        bill_eur: What each home pays over the day, market and rebate included, (home,).
        tradable_slots: Slots with at least one trade.
    """

    net_kw: FloatArray
    load_kw: FloatArray
    traded_kwh: FloatArray
    bill_eur: FloatArray

    @classmethod
    def joined(cls, days: Sequence[DayFlows]) -> DayFlows:
        """Return several days as one stretch."""
        return cls(
            net_kw=np.vstack([day.net_kw for day in days]),
            load_kw=np.vstack([day.load_kw for day in days]),
            traded_kwh=np.concatenate([day.traded_kwh for day in days]),
            bill_eur=np.sum([day.bill_eur for day in days], axis=0),
        )

    def slots(self, chosen: IntArray) -> DayFlows:
        """Return some slots in another order; bills stay those of the whole stretch."""
        return replace(
            self,
            net_kw=self.net_kw[chosen],
            load_kw=self.load_kw[chosen],
            traded_kwh=self.traded_kwh[chosen],
        )

    @property
    def tradable_slots(self) -> int:
        """Slots with at least one trade."""
        return int(np.count_nonzero(self.traded_kwh))


def load_only(scenario: Scenario) -> DayFlows:
    """Return the day of the same homes without PV and batteries."""
    load, _ = _load_and_pv(scenario)
    return _flows(scenario, load, load, np.zeros_like(load), np.zeros(SLOTS_PER_DAY))


def own_day(scenario: Scenario, planner: Planner) -> DayFlows:
    """Return the day in which every home minds its own bill only.

    Raises:
        PlanFailed: if a home's programme has no optimum.
    """
    load, pv = _load_and_pv(scenario)
    day = _day(scenario)
    battery = np.array([own_plan(scenario, spec, day, planner) for spec in scenario.homes]).T
    net = load - pv - battery * SLOTS_PER_HOUR
    return _flows(scenario, net, load, np.zeros_like(load), np.zeros(SLOTS_PER_DAY))


def market_day(scenario: Scenario, planner: Planner) -> DayFlows:
    """Return the day with the local market, after the day-ahead one if the neighbourhood has it.

    Raises:
        HemsError: if a home cannot plan.
    """
    load, _ = _load_and_pv(scenario)
    before = play_day_ahead(scenario, planner)
    traders = [
        _Trader(scenario, spec, planner, before.held(scenario, j)) for j, spec in enumerate(scenario.homes)
    ]
    bought, traded = before.volume_kwh, before.traded_kwh
    net, paid = np.zeros_like(load), bought * before.price_millicent / MILLICENT_PER_EUR
    for h in range(_HOURS):
        hour = scenario.midnight + h * timedelta(hours=1)
        rows = slice(SLOTS_PER_HOUR * h, SLOTS_PER_HOUR * (h + 1))
        offers = [trader.offer(hour) for trader in traders]
        clearings = [clear(_book(scenario, offers, slot, k)) for k, slot in enumerate(hour_slots(hour))]
        results = _results(scenario, hour, clearings)
        traded[rows] += [clearing.traded_wh / _WH_PER_KWH for clearing in clearings]
        for j, (trader, result) in enumerate(zip(traders, results, strict=True)):
            net[rows, j] = trader.plan(hour, result)
            volume = np.array(result.volume_wh) / _WH_PER_KWH
            bought[rows, j] += volume
            paid[rows, j] += volume * np.array(result.price_millicent) / MILLICENT_PER_EUR
    return _flows(scenario, net, load, paid, traded, bought)


class _Trader:
    """One home in the market, and what it holds already."""

    def __init__(self, scenario: Scenario, spec: HomeSpec, planner: Planner, held: DayAheadResult) -> None:
        self._parameters = parameters_of(scenario, spec)
        battery = self._parameters.battery
        self._e_kwh = battery.e_start_kwh if battery is not None else 0.0
        self._planner = HourPlanner(
            parameters=self._parameters,
            planner=planner,
            forecaster=known_days(scenario, spec),
            prices=price_sheet(scenario, spec),
            mean_pv_kwh_day=mean_pv_kwh(scenario),
        )
        self._planner.blocks.take((held,))

    def offer(self, hour: datetime) -> Offer:
        return self._planner.offer(hour, self._e_kwh, hour)

    def plan(self, hour: datetime, result: MarketResult) -> FloatArray:
        """Take the result and return the mean exchange of the six slots, kW."""
        self._planner.take_results((result,))
        flexible = self._parameters.flexible
        state = flexible.start_kwh if flexible is not None else 0.0
        plan = self._planner.plan_hour(hour, self._e_kwh, state, hour)
        self._e_kwh = plan.energy_kwh[SLOTS_PER_HOUR - 1]
        exchange_kwh = np.array(plan.grid_energy_wh, dtype=np.float64) / _WH_PER_KWH
        return exchange_kwh * SLOTS_PER_HOUR


def _book(scenario: Scenario, offers: list[Offer], slot: datetime, k: int) -> list[Order]:
    return [
        Order(
            home=spec.home,
            side=Side.BUY if offer.volume_wh[k] > 0 else Side.SELL,
            price_millicent=offer.limit_millicent_per_kwh[k],
            volume_wh=abs(offer.volume_wh[k]),
            seq=sequence_number(slot, spec.home, scenario.options.seed),
        )
        for spec, offer in zip(scenario.homes, offers, strict=True)
        if offer.volume_wh[k]
    ]


def _results(scenario: Scenario, hour: datetime, clearings: list[Clearing]) -> list[MarketResult]:
    """Return what each home is told; a price counts only where a volume was traded."""
    volumes = [{t.home: t for t in clearing.trades} for clearing in clearings]
    results = []
    for spec in scenario.homes:
        prices, amounts = [], []
        for clearing, trades in zip(clearings, volumes, strict=True):
            trade = trades.get(spec.home)
            sells = trade is not None and trade.side is Side.SELL
            price = clearing.ask_price_millicent if sells else clearing.bid_price_millicent
            prices.append(price if trade is not None and price is not None else 0)
            amounts.append(0 if trade is None else -trade.volume_wh if sells else trade.volume_wh)
        results.append(MarketResult(hour=hour, price_millicent=tuple(prices), volume_wh=tuple(amounts)))
    return results


def _flows(
    scenario: Scenario,
    net_kw: FloatArray,
    load_kw: FloatArray,
    market_eur: FloatArray,
    traded_kwh: FloatArray,
    bought_kwh: FloatArray | None = None,
) -> DayFlows:
    """Return a day with its bills: market payments, rebate on what was bought there, the rest by tariff."""
    p = scenario.parameters
    bought = np.zeros_like(net_kw) if bought_kwh is None else bought_kwh
    rest_kwh = net_kw / SLOTS_PER_HOUR - bought
    supplier = np.array([p.tariff.supplier_at(k // SLOTS_PER_HOUR) for k in range(SLOTS_PER_DAY)])[:, None]
    expected = np.array(mean_pv_kwh(scenario))
    peak = float(expected.max())
    share = (expected / peak if peak > 0.0 else expected)[:, None]
    rebate = p.market.rebate_max_eur_per_kwh * share * np.maximum(bought, 0.0)
    by_tariff = np.maximum(rest_kwh, 0.0) * supplier + np.minimum(rest_kwh, 0.0) * p.tariff.feed_in
    bills = by_tariff + market_eur - rebate
    return DayFlows(net_kw=net_kw, load_kw=load_kw, traded_kwh=traded_kwh, bill_eur=bills.sum(axis=0))


def _day(scenario: Scenario) -> list[datetime]:
    return [scenario.midnight + k * SLOT for k in range(SLOTS_PER_DAY)]


def _load_and_pv(scenario: Scenario) -> tuple[FloatArray, FloatArray]:
    day = _day(scenario)
    load = np.array([[scenario.load_kw(spec, slot) for spec in scenario.homes] for slot in day])
    pv = np.array([[scenario.pv_kw(spec, slot) for spec in scenario.homes] for slot in day])
    return load, pv
