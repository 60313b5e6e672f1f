"""Forecasts of a home with real devices, made of what the devices report. Pure.

*For the market*: persistence, as in a simulated home: a slot is expected to be like the same slot of the day
before if that is over, else of the newest day on which it is. Where that slot was not measured (a stop, a
broken meter), one of the two days before it counts. Before there is a day of history:

* load: the mean of all slots measured so far; of none, the present reading;
* production: that of the newest slot measured, for slots within two hours of it, else none. A home does not
  promise what it has never seen.

*For the slot that starts now*: the present readings, held for ten minutes.

Readings that are stale raise :class:`ven_client.devices.StaleReading`, as everywhere: the home then waits.

Source: mechanisms.md 12, forecast in the market.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

from ven_client.forecast import newest_past
from ven_client.hems.model import SLOT_H
from ven_client.slots import DAY, SLOT, slot_start, slots_from
from ven_client.state import SlotMeasured

__all__ = ["LiveForecast", "LiveNowcast", "Measuring"]

_KEPT: Final = 4 * DAY
_HELD_BY_DEVICES: Final = timedelta(hours=2)
_NEAR: Final = timedelta(hours=2)
_DAYS_TRIED: Final = 3


class Measuring(Protocol):
    """Devices that remember the means of the last two hours, such as MqttDevices."""

    def load_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        ...

    def pv_available_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        ...

    def mean_load_kw(self, start: datetime, end: datetime) -> float | None:
        """Return the mean consumption of a past stretch, kW; None if it is not known throughout."""
        ...

    def mean_pv_kw(self, start: datetime, end: datetime) -> float | None:
        """Return the mean production of a past stretch, kW; None if it is not known throughout."""
        ...


class LiveForecast:
    """Implements :class:`ven_client.forecast.Forecaster` for the market.

    Args:
        devices: Where measurements come from.
    """

    def __init__(self, devices: Measuring) -> None:
        self._devices = devices
        self._slots: dict[datetime, SlotMeasured] = {}
        self._next: datetime | None = None

    def measured(self, now: datetime) -> tuple[SlotMeasured, ...]:
        """Return the slots measured so far, oldest first: what must survive a restart."""
        self._learn(now)
        return tuple(self._slots.values())

    def recall(self, measured: tuple[SlotMeasured, ...]) -> None:
        """Take them back."""
        self._slots = {one.slot: one for one in sorted(measured, key=lambda one: one.slot)}

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected consumption in a slot, kWh.

        Raises:
            StaleReading: if nothing was ever measured and the devices say nothing either.
        """
        known = self._like(slot, now)
        if known is not None:
            return known.load_kwh
        if not self._slots:
            return self._devices.load_kw(now) * SLOT_H
        return sum(one.load_kwh for one in self._slots.values()) / len(self._slots)

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected production in a slot, kWh."""
        known = self._like(slot, now)
        if known is not None:
            return known.pv_kwh
        newest = max(self._slots, default=None)
        return self._slots[newest].pv_kwh if newest is not None and slot - newest <= _NEAR else 0.0

    def _like(self, slot: datetime, now: datetime) -> SlotMeasured | None:
        self._learn(now)
        first = newest_past(slot, now)
        tried = (self._slots.get(first - k * DAY) for k in range(_DAYS_TRIED))
        return next((one for one in tried if one is not None), None)

    def _learn(self, now: datetime) -> None:
        """Take the slots that are over since the last time, as far as the devices hold them."""
        last = slot_start(now)
        held = slot_start(now - _HELD_BY_DEVICES)
        first = held if self._next is None else max(self._next, held)
        if first >= last:
            return
        for slot in slots_from(first, last):
            load_kw = self._devices.mean_load_kw(slot, slot + SLOT)
            pv_kw = self._devices.mean_pv_kw(slot, slot + SLOT)
            if load_kw is not None and pv_kw is not None:
                self._slots[slot] = SlotMeasured(
                    slot=slot, load_kwh=load_kw * SLOT_H, pv_kwh=max(0.0, pv_kw) * SLOT_H
                )
        self._next = last
        for slot in [one for one in self._slots if one < now - _KEPT]:
            del self._slots[slot]


class LiveNowcast:
    """Implements :class:`ven_client.forecast.Forecaster` for the slot that starts now.

    Args:
        devices: Where measurements come from.
    """

    def __init__(self, devices: Measuring) -> None:
        self._devices = devices

    def load_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the consumption in a slot if it stays as it is, kWh.

        Raises:
            StaleReading: if it is not known.
        """
        del slot
        return self._devices.load_kw(now) * SLOT_H

    def pv_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the production in a slot if it stays as it is, kWh.

        Raises:
            StaleReading: if it is not known.
        """
        del slot
        return max(0.0, self._devices.pv_available_kw(now)) * SLOT_H
