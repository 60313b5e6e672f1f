"""What a customer wants of the home energy manager, put into the parameters that it works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ven_client.hems.model import HomeParameters, InvalidHome

__all__ = ["Preferences", "preferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """A customer's wishes; the defaults want nothing.

    Attributes:
        comfort_weight: Times what shifting the flexible load costs, > 0: 2 shifts half as much.
        reserve_kwh: Stored energy that is kept for the home's own use, kWh; neither plan nor price use it.
        no_discharge_hours: Local hours, 0 to 23, in which the battery does not discharge.

    Raises:
        InvalidHome: if a value is out of range.
    """

    comfort_weight: float = 1.0
    reserve_kwh: float = 0.0
    no_discharge_hours: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 < self.comfort_weight < float("inf"):
            raise InvalidHome("the comfort weight is positive")
        if not 0.0 <= self.reserve_kwh < float("inf"):
            raise InvalidHome("a reserve is not negative")
        if any(not 0 <= hour < 24 for hour in self.no_discharge_hours):
            raise InvalidHome("hours of the day are 0 to 23")


def preferred(home: HomeParameters, wishes: Preferences) -> HomeParameters:
    """Return a home's parameters as its customer wants them.

    A reserve raises the lower ends of both ranges of the battery, and where it lies above them also the start
    and end of the day and the upper end of the market's range; the cycle budgets stay.

    Args:
        home: Devices and costs as built.
        wishes: What the customer wants.

    Raises:
        InvalidHome: if the reserve is more than the battery may hold.
    """
    battery = home.battery
    if battery is not None and wishes.reserve_kwh > 0.0:
        if wishes.reserve_kwh > battery.e_high_kwh:
            raise InvalidHome(f"a reserve of {wishes.reserve_kwh} kWh is more than the battery may hold")
        battery = replace(
            battery,
            e_low_kwh=max(battery.e_low_kwh, wishes.reserve_kwh),
            e_market_low_kwh=max(battery.e_market_low_kwh, wishes.reserve_kwh),
            e_market_high_kwh=max(battery.e_market_high_kwh, wishes.reserve_kwh),
            e_start_kwh=max(battery.e_start_kwh, wishes.reserve_kwh),
        )
    return replace(
        home,
        battery=battery,
        comfort_weight=home.comfort_weight * wishes.comfort_weight,
        no_discharge_hours=tuple(sorted({*home.no_discharge_hours, *wishes.no_discharge_hours})),
    )
