"""How far a home's devices can move in one slot, and the share of the real-time cycle a slot gets."""

from __future__ import annotations

from dataclasses import dataclass

from ven_client.hems.model import Battery, FlexibleLoad, InvalidHome, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Lowest and highest energy a device can give in one slot, kWh, + discharge (less consumption)."""

    low_kwh: float
    high_kwh: float


NOTHING = Bounds(low_kwh=0.0, high_kwh=0.0)


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def battery_bounds(
    battery: Battery | None,
    *,
    e0_kwh: float,
    s_hat_kwh: float,
    charge_allotment_kwh: float,
    discharge_allotment_kwh: float,
    may_discharge: bool = True,
) -> Bounds:
    """Battery energies of a slot that obey range, power and the slot's share of the real-time cycle.

    The cycle share limits the deviation from the plan. Where the planned energy cannot be reached any more,
    physics (range and power) wins and the interval is the nearest feasible one, so it is never empty.

    Args:
        battery: The battery; None gives the interval [0, 0].
        e0_kwh: Stored energy at the start of the slot, kWh.
        s_hat_kwh: Planned battery energy of the slot, kWh, + discharge.
        charge_allotment_kwh: Charging beyond the plan allowed in this slot, kWh.
        discharge_allotment_kwh: Discharging beyond the plan allowed in this slot, kWh.
        may_discharge: Whether the customer lets the battery discharge in this slot; a battery above its
            range discharges all the same.

    Source: thesis (6.2); errata 8 (real-time range) and 30 (the battery set is never empty).
    """
    if battery is None:
        return NOTHING
    power = battery.slot_limit_kwh
    low = _clip(e0_kwh - battery.e_high_kwh, -power, power)
    high = _clip(e0_kwh - battery.e_low_kwh, -power, power)
    if not may_discharge:
        high = max(low, min(high, 0.0))
    return Bounds(
        low_kwh=_clip(s_hat_kwh - max(0.0, charge_allotment_kwh), low, high),
        high_kwh=_clip(s_hat_kwh + max(0.0, discharge_allotment_kwh), low, high),
    )


def flexible_bounds(flexible: FlexibleLoad | None, *, e0_kwh: float) -> Bounds:
    """Shifts of the flexible load possible in a slot, kWh, + consumes less.

    Args:
        flexible: The flexible load; None gives the interval [0, 0].
        e0_kwh: State of the equivalent battery at the start of the slot, kWh.

    Source: thesis 4.2 of chapter 6 (flexible loads as a small battery); mechanisms.md 12.
    """
    if flexible is None:
        return NOTHING
    limit = flexible.slot_limit_kwh
    return Bounds(
        low_kwh=_clip(e0_kwh - flexible.energy_kwh, -limit, limit),
        high_kwh=_clip(e0_kwh, -limit, limit),
    )


def realtime_allotment(
    forecast_pv_kwh_day: Series, slot_index: int, budget_kwh: float
) -> tuple[float, float]:
    """Share of the day's real-time cycle that one slot gets: (charge, discharge), kWh.

    The budget is spread in proportion to the production forecast, evenly on a day without any. A home without
    production passes the neighbourhood's mean forecast.

    Args:
        forecast_pv_kwh_day: Production forecast of every slot of the local day, kWh.
        slot_index: Index of the slot in the day.
        budget_kwh: Budget of the day, kWh, each way.

    Raises:
        InvalidHome: if the index is outside the day or a value is negative.

    Source: thesis 4.3 of chapter 6 (cycling capacity); mechanisms.md 12.
    """
    if not 0 <= slot_index < len(forecast_pv_kwh_day):
        raise InvalidHome(f"slot {slot_index} is outside a day of {len(forecast_pv_kwh_day)} slots")
    if budget_kwh < 0.0 or min(forecast_pv_kwh_day) < 0.0:
        raise InvalidHome("real-time budget and production forecast must not be negative")
    total = sum(forecast_pv_kwh_day)
    weight = forecast_pv_kwh_day[slot_index] / total if total > 0.0 else 1.0 / len(forecast_pv_kwh_day)
    return budget_kwh * weight, budget_kwh * weight
