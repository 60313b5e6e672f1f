"""What a home knows or expects of its load and production: profiles in time, and forecasts made from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ven_client.hems.model import SLOT_H, Series
from ven_client.slots import DAY, SLOT, slot_start

__all__ = ["Forecaster", "Known", "OutsideProfile", "Persistence", "Profile", "newest_past"]


class OutsideProfile(Exception):
    """An instant the profile says nothing about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Power over time, constant within each step.

    Raises:
        ValueError: if a step does not divide a slot or the first step does not start with a slot.
    """

    start: datetime
    step_s: int
    kw: Series
    """Mean power of each step, kW."""

    def __post_init__(self) -> None:
        """Check that steps and slots share their edges."""
        if self.step_s <= 0 or SLOT.total_seconds() % self.step_s or slot_start(self.start) != self.start:
            raise ValueError("steps divide a slot of ten minutes and start with one")

    def index(self, when: datetime) -> int:
        """Return the step an instant lies in.

        Raises:
            OutsideProfile: if it lies before or behind the profile.
        """
        index = (when - self.start) // timedelta(seconds=self.step_s)
        if not 0 <= index < len(self.kw):
            raise OutsideProfile(
                f"the profile from {self.start.isoformat()} does not hold {when.isoformat()}"
            )
        return index

    def edge(self, index: int) -> datetime:
        """Return the start of a step."""
        return self.start + index * timedelta(seconds=self.step_s)

    def kwh(self, slot: datetime) -> float:
        """Return the energy of a slot, kWh.

        Raises:
            OutsideProfile: if the slot is not inside the profile.
        """
        first = self.index(slot)
        steps = int(SLOT.total_seconds()) // self.step_s
        if first + steps > len(self.kw):
            raise OutsideProfile(f"the profile ends inside the slot of {slot.isoformat()}")
        return sum(self.kw[first : first + steps]) * (SLOT_H / steps)


class Forecaster(Protocol):
    """Expected load and production of a slot, made at ``now``."""

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected consumption in a slot, kWh."""
        ...

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected production in a slot, kWh; 0 without PV."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A forecast that is right: for the slot that starts now, and for studies of perfect foresight."""

    load: Profile
    pv: Profile | None

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the consumption in a slot, kWh."""
        del now
        return self.load.kwh(slot)

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the production in a slot, kWh."""
        del now
        return self.pv.kwh(slot) if self.pv is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """The same slot of the day before if it is over, else of the newest day on which it is.

    Attributes:
        load: Metered consumption; only what lies in the past is looked at.
        pv: Metered production, None without PV.

    Source: mechanisms.md 12, forecast in the market.
    """

    load: Profile
    pv: Profile | None

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the consumption of the slot's latest predecessor that is over, kWh."""
        return self.load.kwh(newest_past(slot, now))

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the production of the slot's latest predecessor that is over, kWh."""
        return self.pv.kwh(newest_past(slot, now)) if self.pv is not None else 0.0


def newest_past(slot: datetime, now: datetime) -> datetime:
    """Return the same slot of the newest day, before its own, on which it is over."""
    days = max(1, -((now - SLOT - slot) // DAY))
    return slot - days * DAY
