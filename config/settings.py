"""Settings of the neighbourhood as frozen models; values come from TOML files in this folder.

A typo is an error: unknown keys are refused. Units are in the names.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "Battery",
    "Control",
    "Costs",
    "FlexibleLoad",
    "Homes",
    "Market",
    "Neighbourhood",
    "Preferences",
    "Pv",
    "SettingsError",
    "SwitchChoice",
    "Tariff",
    "data_path",
    "load_neighbourhood",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Hour = Annotated[int, Field(ge=0, le=24)]
SwitchChoice = Literal["highest_flow", "mean_based", "highest_average_flow", "hybrid", "greedy"]


class SettingsError(Exception):
    """A settings file is missing, is no TOML, or holds a value that does not fit."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Homes(_Model):
    """What every home has."""

    contract_kva: Positive
    load_q_per_p: NonNegative


class Pv(_Model):
    """Rated power of a home's PV, kWp, on the rural network and on the others."""

    kwp_rural: Positive
    kwp_other: Positive


class Tariff(_Model):
    """Supplier and feed-in tariff, EUR/kWh, by local hour.

    Three kinds, by what is given: flat (``supplier`` alone), time of use (the three peak values as well) and
    dynamic (``hourly`` as well: what the supplier charges in each hour of the day, in place of ``supplier``).
    """

    supplier: Positive
    supplier_peak: Positive | None = None
    peak_from_hour: Hour | None = None
    peak_to_hour: Hour | None = None
    hourly: Annotated[tuple[Price, ...], Field(min_length=24, max_length=24)] | None = None
    feed_in: NonNegative

    @model_validator(mode="after")
    def _check(self) -> Self:
        peak = (self.supplier_peak, self.peak_from_hour, self.peak_to_hour)
        if any(value is None for value in peak) and any(value is not None for value in peak):
            raise ValueError("a peak needs a price, a first and a last hour")
        if self.hourly is not None and self.supplier_peak is not None:
            raise ValueError("a tariff has a peak or hourly prices, not both")
        if self.peak_from_hour is not None and self.peak_from_hour > (self.peak_to_hour or 0):
            raise ValueError("the peak must end after it starts")
        if self.feed_in > min(self.supplier_at(hour) for hour in range(24)):
            raise ValueError("the feed-in tariff must not exceed the supplier's")
        return self

    def supplier_at(self, local_hour: int) -> float:
        """Return the supplier's price in a local hour (0 to 23), EUR/kWh."""
        if self.hourly is not None:
            return self.hourly[local_hour]
        if self.supplier_peak is None or self.peak_from_hour is None or self.peak_to_hour is None:
            return self.supplier
        return self.supplier_peak if self.peak_from_hour <= local_hour < self.peak_to_hour else self.supplier


class Market(_Model):
    """How homes draw their limit prices, and the rebate."""

    bid_factor_low: Positive
    bid_factor_high: Positive
    ask_factor_low: Positive
    ask_factor_high: Positive
    rebate_max_eur_per_kwh: NonNegative
    forecast_noise: NonNegative
    forecast: Literal["persistence", "perfect"] = "persistence"
    """What the noise comes on top of."""
    day_ahead: bool = False
    """Whether hourly blocks are traded the day before."""


class Battery(_Model):
    """A home's battery; states of charge as fractions of the capacity."""

    capacity_kwh: Positive
    power_kw: Positive
    soc_start: Fraction
    soc_market_low: Fraction
    soc_market_high: Fraction
    soc_low: Fraction
    soc_high: Fraction
    market_cycles_per_day: NonNegative
    realtime_cycles_per_day: NonNegative


class FlexibleLoad(_Model):
    """Load that can be shifted."""

    energy_kwh_per_day: NonNegative
    slot_limit_kwh: NonNegative


class Costs(_Model):
    """How homes value deviations, energy per slot in kWh."""

    curvature_c_per_kwh2: Positive
    reward_curvature_c_per_kwh2: NonNegative
    linear_c_per_kwh: NonNegative
    reward_percent: NonNegative
    tie_break_c_per_kwh: NonNegative


class Preferences(_Model):
    """What a customer wants of the home's energy manager, the same in all homes."""

    comfort_weight: Positive = 1.0
    reserve_soc: Fraction = 0.0
    no_discharge_hours: tuple[Annotated[int, Field(ge=0, le=23)], ...] = ()


class Control(_Model):
    """The DSO's side: price, phases."""

    step_s: Annotated[int, Field(gt=0, le=600)]
    publish_before_s: Annotated[int, Field(ge=90)]
    max_price_eur_per_kwh: Positive
    guard_voltage: Fraction
    guard_current: Fraction
    arm_voltage: Fraction
    release_voltage: Fraction
    phase_mu_kw2: NonNegative
    switches: Annotated[int, Field(ge=0)]
    switch_choice: SwitchChoice = "highest_flow"
    """How the homes with a transfer switch are chosen; see docs/mechanisms.md 14."""


class Neighbourhood(_Model):
    """All parameters of a neighbourhood (mechanisms.md 12)."""

    homes: Homes
    pv: Pv
    tariff: Tariff
    market: Market
    battery: Battery
    flexible_load: FlexibleLoad
    costs: Costs
    preferences: Preferences = Preferences()
    control: Control


def data_path(*parts: str) -> Path:
    """Return the path of a data file that ships in this folder."""
    return Path(__file__).parent.joinpath(*parts)


def load_neighbourhood(path: Path | None = None) -> Neighbourhood:
    """Return the parameters in a TOML file, by default the ones that ship with the product.

    Raises:
        SettingsError: if the file cannot be read or a key or value does not fit.
    """
    source = path or data_path("neighbourhood.toml")
    try:
        return Neighbourhood.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as err:
        raise SettingsError(f"{source.name}: {err}") from err
