"""What a home offers on the local market, and what it plans once the market has cleared."""

from __future__ import annotations

import math
from typing import Final

from ven_client.hems.bounds import battery_bounds, flexible_bounds
from ven_client.hems.model import (
    MILLICENT_PER_CENT,
    SLOT_H,
    SLOTS_PER_HOUR,
    WH_PER_KWH,
    HomeParameters,
    Horizon,
    InvalidHome,
    InvalidPrices,
    MarketLimits,
    Offer,
    Plan,
    RealtimeReserve,
    Series,
    Tariffs,
)
from ven_client.hems.program import Planner, Prices, Schedule

SNAP: Final = 1e-4
"""Solver and float noise forgiven when rounding to whole Wh, W or millicents: a fraction of the unit."""


def offer(planner: Planner, home: HomeParameters, horizon: Horizon, market: MarketLimits) -> Offer:
    """The home's offer for the six slots of the next hour: everything the battery does not take or give.

    Where the home has traded the day before, the offer is the difference to that.

    A purchase costs the bid limit less the rebate in the plan, while the auction gets the gross bid limit.

    Args:
        planner: Compiled programmes.
        home: Devices and costs; without a battery the offer is the expected gap.
        horizon: From the first slot of the offered hour, at least six slots.
        market: Limits per slot of the horizon, c/kWh.

    Raises:
        InvalidHome: if the horizon is shorter than an hour.
        InvalidPrices: if the limits do not cover the horizon.
        PlanFailed: if the solver finds no optimum.

    Source: thesis (4.4), (4.5), corrected: see mechanisms.md 1, errata 1 to 5 and 7; volumes are rounded
    towards zero (mechanisms.md 2).
    """
    _check_hour(horizon)
    prices = _market_prices(market)
    _check_cover(horizon, prices.buy_c_per_kwh)
    schedule = _schedule(planner, home, horizon, prices)
    volumes = tuple(
        _toward_zero_wh(
            _grid_kwh(horizon, schedule, k) - horizon.held(k),
            surplus_kwh=horizon.pv_kwh[k] - horizon.load_kwh[k] + horizon.held(k),
        )
        for k in range(SLOTS_PER_HOUR)
    )
    limits = tuple(
        _ask_millicent(market.ask_c_per_kwh[k]) if volume < 0 else _bid_millicent(market.bid_c_per_kwh[k])
        for k, volume in enumerate(volumes)
    )
    return Offer(
        volume_wh=volumes,
        limit_millicent_per_kwh=limits,
        battery_kwh=schedule.battery_kwh,
        energy_kwh=schedule.energy_kwh,
    )


def commit(
    planner: Planner,
    home: HomeParameters,
    horizon: Horizon,
    tariffs: Tariffs,
    market: MarketLimits,
    cleared_wh: tuple[int, ...],
    reserve: RealtimeReserve,
) -> Plan:
    """The plan after the auction: cleared volumes are met, the rest is traded with the supplier.

    Supplier and feed-in prices hold in the six cleared slots, the market's limits afterwards. A sale the home
    can no longer cover is bought from the supplier; a purchase the battery can no longer take is given back.

    Args:
        planner: Compiled programmes.
        home: Devices and costs.
        horizon: From the first slot of the cleared hour, at least six slots.
        tariffs: Per slot of the horizon, c/kWh.
        market: Limits per slot of the horizon, c/kWh.
        cleared_wh: Six signed volumes, Wh, + bought.
        reserve: What real time may use in the hour.

    Raises:
        InvalidHome: if the horizon is shorter than an hour, or volumes or reserve are not six values.
        InvalidPrices: if prices do not cover the horizon.
        PlanFailed: if the solver finds no optimum.

    Source: thesis (4.6), corrected: see mechanisms.md 1, errata 6.
    """
    _check_hour(horizon)
    if len(cleared_wh) != SLOTS_PER_HOUR:
        raise InvalidHome(f"expected {SLOTS_PER_HOUR} cleared volumes, got {len(cleared_wh)}")
    later = _market_prices(market)
    prices = Prices(
        buy_c_per_kwh=tariffs.supplier_c_per_kwh[:SLOTS_PER_HOUR] + later.buy_c_per_kwh[SLOTS_PER_HOUR:],
        sell_c_per_kwh=tariffs.feed_in_c_per_kwh[:SLOTS_PER_HOUR] + later.sell_c_per_kwh[SLOTS_PER_HOUR:],
    )
    _check_cover(horizon, tariffs.supplier_c_per_kwh, later.buy_c_per_kwh)
    schedule = _schedule(planner, home, horizon, prices, tuple(wh / WH_PER_KWH for wh in cleared_wh))
    return as_plan(home, horizon, schedule, reserve)


def without_market(
    planner: Planner, home: HomeParameters, horizon: Horizon, tariffs: Tariffs, reserve: RealtimeReserve
) -> Plan:
    """The plan when there is no market: the same problem at supplier and feed-in prices.

    Args:
        planner: Compiled programmes.
        home: Devices and costs.
        horizon: Any number of slots; what is said about the hour covers at most the first six.
        tariffs: Per slot of the horizon, c/kWh.
        reserve: What real time may use in the first slots.

    Raises:
        InvalidPrices: if prices do not cover the horizon.
        PlanFailed: if the solver finds no optimum.

    Source: signals.md (before the first gate of a run); mechanisms.md 12 (without control).
    """
    _check_cover(horizon, tariffs.supplier_c_per_kwh)
    prices = Prices(buy_c_per_kwh=tariffs.supplier_c_per_kwh, sell_c_per_kwh=tariffs.feed_in_c_per_kwh)
    return as_plan(home, horizon, _schedule(planner, home, horizon, prices), reserve)


def as_plan(home: HomeParameters, horizon: Horizon, schedule: Schedule, reserve: RealtimeReserve) -> Plan:
    """A schedule with what the home says about its first hour: exchange and flexibility per slot.

    Flexibility assumes that the slots before it go as planned.

    Args:
        home: Devices and contract.
        horizon: The horizon of the schedule.
        schedule: Battery and stored energy, kWh per slot.
        reserve: What real time may use, one allotment per slot of the first hour.

    Raises:
        InvalidHome: if the reserve has fewer values than the hour has slots.

    Source: signals.md (commitment); bounds of thesis (6.2), (6.9).
    """
    hour = min(SLOTS_PER_HOUR, horizon.slots)
    if min(len(reserve.charge_kwh), len(reserve.discharge_kwh)) < hour:
        raise InvalidHome("the real-time reserve does not cover the hour")
    loads = flexible_bounds(home.flexible, e0_kwh=reserve.flexible_kwh)
    grid: list[int] = []
    up: list[int] = []
    down: list[int] = []
    for k in range(hour):
        s_hat, x_hat = schedule.battery_kwh[k], _grid_kwh(horizon, schedule, k)
        cells = battery_bounds(
            home.battery,
            e0_kwh=schedule.energy_kwh[k] + s_hat,
            s_hat_kwh=s_hat,
            charge_allotment_kwh=reserve.charge_kwh[k],
            discharge_allotment_kwh=reserve.discharge_kwh[k],
            may_discharge=not (horizon.no_discharge and horizon.no_discharge[k]),
        )
        grid.append(round(x_hat * WH_PER_KWH))
        up.append(_watts(min(s_hat - cells.low_kwh - loads.low_kwh, home.contract_kwh - x_hat)))
        down.append(_watts(min(cells.high_kwh - s_hat + loads.high_kwh, home.contract_kwh + x_hat)))
    return Plan(
        battery_kwh=schedule.battery_kwh,
        energy_kwh=schedule.energy_kwh,
        grid_energy_wh=tuple(grid),
        flexibility_up_w=tuple(up),
        flexibility_down_w=tuple(down),
    )


def _schedule(
    planner: Planner, home: HomeParameters, horizon: Horizon, prices: Prices, volumes_kwh: Series = ()
) -> Schedule:
    if home.battery is None:
        idle = (0.0,) * horizon.slots
        return Schedule(battery_kwh=idle, energy_kwh=idle)
    return planner.schedule(home, home.battery, horizon, prices, volumes_kwh)


def _market_prices(market: MarketLimits) -> Prices:
    """Costs of the plan at the limits: net of rebate (errata 5), sale not above purchase (errata 4)."""
    buy = tuple(b - r for b, r in zip(market.bid_c_per_kwh, market.rebate_c_per_kwh, strict=True))
    return Prices(buy_c_per_kwh=buy, sell_c_per_kwh=tuple(map(min, market.ask_c_per_kwh, buy)))


def _check_hour(horizon: Horizon) -> None:
    if horizon.slots < SLOTS_PER_HOUR:
        raise InvalidHome(f"a market hour needs {SLOTS_PER_HOUR} slots, the horizon has {horizon.slots}")


def _check_cover(horizon: Horizon, *series: Series) -> None:
    if any(len(values) != horizon.slots for values in series):
        raise InvalidPrices(f"prices do not cover the {horizon.slots} slots of the horizon")


def _grid_kwh(horizon: Horizon, schedule: Schedule, k: int) -> float:
    return horizon.load_kwh[k] - horizon.pv_kwh[k] - schedule.battery_kwh[k]


def _toward_zero_wh(energy_kwh: float, *, surplus_kwh: float) -> int:
    """Whole Wh, rounded towards zero and never beyond what the home has to sell (errata 3)."""
    wh = max(energy_kwh, -max(0.0, surplus_kwh)) * WH_PER_KWH
    return math.trunc(wh + math.copysign(SNAP, wh))


def _bid_millicent(price_c_per_kwh: float) -> int:
    return math.floor(price_c_per_kwh * MILLICENT_PER_CENT + SNAP)


def _ask_millicent(price_c_per_kwh: float) -> int:
    return math.ceil(price_c_per_kwh * MILLICENT_PER_CENT - SNAP)


def _watts(energy_kwh: float) -> int:
    """Mean power of a slot's energy, whole W, rounded down: flexibility is never overstated."""
    return max(0, math.floor(energy_kwh / SLOT_H * 1000.0 + SNAP))
