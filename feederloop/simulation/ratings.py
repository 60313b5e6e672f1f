"""Devices and costs of a home as the settings of a neighbourhood have them."""

from __future__ import annotations

from config.settings import Neighbourhood
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters

__all__ = ["rated_battery", "rated_flexible", "rated_home"]


def rated_battery(neighbourhood: Neighbourhood) -> Battery:
    """Return the battery of a home that owns one."""
    b = neighbourhood.battery
    market_range = (b.soc_market_high - b.soc_market_low) * b.capacity_kwh
    return Battery(
        capacity_kwh=b.capacity_kwh,
        power_kw=b.power_kw,
        e_market_low_kwh=b.soc_market_low * b.capacity_kwh,
        e_market_high_kwh=b.soc_market_high * b.capacity_kwh,
        e_low_kwh=b.soc_low * b.capacity_kwh,
        e_high_kwh=b.soc_high * b.capacity_kwh,
        e_start_kwh=b.soc_start * b.capacity_kwh,
        market_cycle_kwh=b.market_cycles_per_day * market_range,
        realtime_cycle_kwh=b.realtime_cycles_per_day * market_range,
    )


def rated_flexible(neighbourhood: Neighbourhood) -> FlexibleLoad:
    """Return the load of a home that can wait."""
    load = neighbourhood.flexible_load
    return FlexibleLoad(energy_kwh=load.energy_kwh_per_day, slot_limit_kwh=load.slot_limit_kwh)


def rated_home(neighbourhood: Neighbourhood, battery: Battery | None) -> HomeParameters:
    """Return a home with a battery, or without; its customer's preferences are not in it."""
    costs = neighbourhood.costs
    return HomeParameters(
        battery=battery,
        flexible=rated_flexible(neighbourhood),
        contract_kw=neighbourhood.homes.contract_kva,
        curvature_c_per_kwh2=costs.curvature_c_per_kwh2,
        reward_curvature_c_per_kwh2=costs.reward_curvature_c_per_kwh2,
        linear_c_per_kwh=costs.linear_c_per_kwh,
        tie_break_c_per_kwh=costs.tie_break_c_per_kwh,
    )
