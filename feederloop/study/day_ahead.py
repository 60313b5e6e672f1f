"""The day-ahead market of a study day: 24 hourly blocks, cleared before the wholesale market's gate.

Source: thesis chapter 3, section 2.2.4; docs/mechanisms.md 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from dso_engine.day_ahead import DAY_AHEAD
from dso_engine.market import Order, Side, clear, sequence_number
from dso_engine.model import SLOT, SLOTS_PER_HOUR, FloatArray, IntArray
from dso_engine.products import Product, day_ahead_products, product_trades
from feederloop.simulation.homes import mean_pv_kwh, parameters_of, price_sheet
from feederloop.simulation.profiles import SLOTS_PER_DAY
from feederloop.simulation.scenario import HomeSpec, Scenario
from ven_client.forecast import Known, Profile
from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.program import Planner
from ven_client.instructions import DayAheadResult
from ven_client.planning import HourPlanner

__all__ = ["DayAheadTrades", "known_days", "play_day_ahead"]

_WH_PER_KWH: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DayAheadTrades:
    """What the homes hold of a day before it begins, (slot, home)."""

    volume_wh: IntArray
    """Signed, + bought; every slot sums to zero."""
    price_millicent: IntArray
    """Zero where nothing was traded."""

    def held(self, scenario: Scenario, home: int) -> DayAheadResult:
        """Return what one home holds, as it would be told."""
        return DayAheadResult(
            day=scenario.midnight,
            price_millicent=tuple(self.price_millicent[::SLOTS_PER_HOUR, home].tolist()),
            volume_wh=tuple(self.volume_wh[::SLOTS_PER_HOUR, home].tolist()),
        )

    @property
    def volume_kwh(self) -> FloatArray:
        """The volumes in kWh."""
        volume_kwh: FloatArray = self.volume_wh / _WH_PER_KWH
        return volume_kwh

    @property
    def traded_kwh(self) -> FloatArray:
        """Energy traded per slot, (slot,)."""
        bought_kwh: FloatArray = np.maximum(self.volume_kwh, 0.0).sum(axis=1)
        return bought_kwh


def play_day_ahead(scenario: Scenario, planner: Planner) -> DayAheadTrades:
    """Play the day-ahead auctions of a day; without that market nobody holds anything.

    Raises:
        HemsError: if a home cannot plan.
    """
    shape = (SLOTS_PER_DAY, len(scenario.homes))
    volume, price = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    if scenario.parameters.market.day_ahead:
        column = {spec.home: j for j, spec in enumerate(scenario.homes)}
        products = day_ahead_products(scenario.midnight, DAY_AHEAD)
        offers = [_offer(scenario, spec, planner, products[0]) for spec in scenario.homes]
        for h, product in enumerate(products):
            for trade in product_trades(product, clear(_book(scenario, offers, product, h))):
                row = (trade.slot - scenario.midnight) // SLOT
                volume[row, column[trade.home]] = trade.volume_wh
                price[row, column[trade.home]] = trade.price_millicent
    return DayAheadTrades(volume_wh=volume, price_millicent=price)


def known_days(scenario: Scenario, spec: HomeSpec) -> Known:
    """Return the perfect forecast; a day on either side, since the real-time cycle looks around the day."""
    first = scenario.midnight - timedelta(days=1)
    slots = [first + k * SLOT for k in range(3 * SLOTS_PER_DAY)]
    load = Profile(start=first, step_s=600, kw=tuple(scenario.load_kw(spec, slot) for slot in slots))
    if not spec.pv_kwp:
        return Known(load=load, pv=None)
    return Known(
        load=load, pv=Profile(start=first, step_s=600, kw=tuple(scenario.pv_kw(spec, s) for s in slots))
    )


def _offer(scenario: Scenario, spec: HomeSpec, planner: Planner, first: Product) -> BlockOffer:
    """The blocks of a home from its plan of the whole day, made at the gate."""
    hours = HourPlanner(
        parameters=parameters_of(scenario, spec),
        planner=planner,
        forecaster=known_days(scenario, spec),
        prices=price_sheet(scenario, spec),
        mean_pv_kwh_day=mean_pv_kwh(scenario),
    )
    return hours.block_offer(scenario.midnight, first.gate)


def _book(scenario: Scenario, offers: list[BlockOffer], product: Product, h: int) -> list[Order]:
    return [
        Order(
            home=spec.home,
            side=Side.BUY if offer.volume_wh[h] > 0 else Side.SELL,
            price_millicent=offer.limit_millicent_per_kwh[h],
            volume_wh=abs(offer.volume_wh[h]),
            seq=sequence_number(product.start, spec.home, scenario.options.seed),
        )
        for spec, offer in zip(scenario.homes, offers, strict=True)
        if offer.volume_wh[h]
    ]
