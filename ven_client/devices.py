"""The devices of a home: what a vendor implements, and a simulated home that is exact.

Signs (mechanisms.md 0): net power and energy are positive for import; battery power is positive for
discharge, flexible power for consuming less. The simulated home counts power in whole mW, time in whole
microseconds and energy in whole mW us, so its meters do not depend on how often they are read.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, Protocol

from ven_client.forecast import Profile
from ven_client.hems.model import SLOT_H, Battery, FlexibleLoad

__all__ = [
    "DeviceError",
    "Devices",
    "Phase",
    "Registers",
    "SimulatedHome",
    "StaleReading",
    "TimeRunsBackwards",
]


class DeviceError(Exception):
    """Base of all errors of devices."""


class TimeRunsBackwards(DeviceError):
    """A device was asked about, or told to do something at, an instant that is over."""


class StaleReading(DeviceError):
    """A device has not said what was asked, or too long ago to act on."""


class Phase(IntEnum):
    """The phase a single-phase home is connected to; the numbers are the ones on the wire."""

    A = 1
    B = 2
    C = 3


class Devices(Protocol):
    """Meter, battery, PV, flexible load and transfer switch of a home.

    ``now`` never decreases from call to call. Real devices may ignore it: it is the present. Whatever reads
    may raise :class:`StaleReading`; the home then leaves its devices alone until the next slot.
    """

    def meter_wh(self, now: datetime) -> int:
        """Return the register of the grid meter: all import less all export so far, whole Wh."""
        ...

    def mean_w(self, start: datetime, end: datetime) -> int | None:
        """Return the mean net power of a past stretch, W; None if the meter does not hold it (any more)."""
        ...

    def net_kw(self, now: datetime) -> float:
        """Return the present exchange with the grid, kW."""
        ...

    def load_kw(self, now: datetime) -> float:
        """Return the present consumption as if nothing were shifted, kW."""
        ...

    def pv_available_kw(self, now: datetime) -> float:
        """Return what the PV could produce now without a limit, kW; 0 without PV."""
        ...

    def battery_kwh(self, now: datetime) -> float:
        """Return the stored energy, kWh; 0 without a battery."""
        ...

    def battery_kw(self, now: datetime) -> float:
        """Return the present power of the battery, kW."""
        ...

    def flexible_kwh(self, now: datetime) -> float:
        """Return the state of the flexible load as an equivalent battery, kWh; 0 without one."""
        ...

    def phase(self, now: datetime) -> Phase:
        """Return the phase the home is connected to."""
        ...

    def set_battery_kw(self, kw: float, now: datetime) -> None:
        """Let the battery run at a power until told otherwise; it stops by itself at its limits."""
        ...

    def set_flexible_kw(self, kw: float, now: datetime) -> None:
        """Shift flexible load at a power until told otherwise; it stops by itself at its limits."""
        ...

    def set_pv_limit_kw(self, limit_kw: float | None, now: datetime) -> None:
        """Limit the production of the PV, kW; None lifts the limit."""
        ...

    def set_phase(self, phase: Phase, now: datetime) -> None:
        """Connect the home to a phase."""
        ...


_MW: Final = 1_000_000
"""mW per kW."""
_US: Final = 1_000_000
"""Microseconds per second."""
_WH: Final = 1000 * 3600 * _US
"""Units of energy (mW us) per Wh."""
_KWH: Final = 1000 * _WH
_MICROSECOND: Final = timedelta(microseconds=1)
_KEPT_US: Final = 2 * 3600 * _US
"""The meter holds mean powers at least this long."""
_REMEMBERED_US: Final = 1200 * _US
"""How much of its record goes with :class:`Registers`: two windows of the power report."""


def _rounded(value: int, unit: int) -> int:
    """Return value / unit to the nearest whole number, halves upwards."""
    return (2 * value + unit) // (2 * unit)


class _Store:
    """An ideal store of energy between two levels, in whole units."""

    __slots__ = ("_high", "_limit_mw", "_low", "_power_mw", "level")

    def __init__(self, low_kwh: float, high_kwh: float, level_kwh: float, limit_kw: float) -> None:
        self._low, self._high, self.level = (round(e * _KWH) for e in (low_kwh, high_kwh, level_kwh))
        self._limit_mw = round(limit_kw * _MW)
        self._power_mw = 0

    def set_kw(self, kw: float) -> None:
        """Take a power, limited to what the store can do."""
        self._power_mw = min(max(round(kw * _MW), -self._limit_mw), self._limit_mw)

    @property
    def set_mw(self) -> int:
        """The power that was set."""
        return self._power_mw

    def resume(self, level: int, power_mw: int) -> None:
        """Go on with a level and a power."""
        self.level, self._power_mw = level, power_mw

    @property
    def power_mw(self) -> int:
        """The power that flows now: the one set, or zero at a limit."""
        return self._power_mw if self._room() else 0

    def span_us(self, most_us: int) -> int:
        """How long, at most ``most_us``, the present power flows evenly; at least 1 us."""
        power = abs(self._power_mw)
        room = self._room()
        return min(most_us, max(1, room // power)) if power and room else most_us

    def move(self, span_us: int) -> int:
        """Run for a span :meth:`span_us` allows; returns the energy that came out."""
        moved = self._power_mw * span_us
        room = self._room()
        moved = min(max(moved, -room), room)
        self.level -= moved
        return moved

    def _room(self) -> int:
        return self.level - self._low if self._power_mw > 0 else self._high - self.level


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """A simulated home at an instant, in its own whole units (mW, mW us), to go on from in another process.

    ``past_us`` and ``past`` are the end of the meter's record, counted in microseconds back from ``at``.
    """

    at: datetime
    energy: int
    curtailed: int
    battery: int
    battery_mw: int
    flexible: int
    flexible_mw: int
    limit_mw: int | None
    phase: Phase
    past_us: tuple[int, ...]
    past: tuple[int, ...]


class SimulatedHome:
    """A home whose load and production follow profiles, with an ideal battery and an ideal flexible load.

    Everything is advanced to ``now`` by whatever call brings it; nothing runs by itself.

    Args:
        start: The first instant; registers start at zero here.
        load: Consumption.
        pv: Production without a limit; None without PV.
        battery: Starts at ``e_start_kwh`` and stays in its real-time range; None without one.
        flexible: Starts half full; None without one.
        phase: The phase the home is connected to at first.
    """

    def __init__(
        self,
        *,
        start: datetime,
        load: Profile,
        pv: Profile | None = None,
        battery: Battery | None = None,
        flexible: FlexibleLoad | None = None,
        phase: Phase = Phase.A,
    ) -> None:
        self._start, self._load, self._pv, self._phase = start, load, pv, phase
        self._battery, self._flexible = _battery_store(battery), _flexible_store(flexible)
        self._now_us = self._energy = self._curtailed = 0
        self._edge_us = 0  # until when the two powers below hold; renewed only when they are needed
        self._load_mw = self._available_mw = 0
        self._limit_mw: int | None = None
        self._times, self._energies, self._slope = [0], [0], 0

    def advance(self, now: datetime) -> None:
        """Let time pass up to an instant.

        Raises:
            TimeRunsBackwards: if it lies before the last one.
            OutsideProfile: if a profile does not reach that far.
        """
        target = (now - self._start) // _MICROSECOND
        if target < self._now_us:
            raise TimeRunsBackwards(f"{now.isoformat()} is over")
        while self._now_us < target:
            self._renew()
            span = min(target, self._edge_us) - self._now_us
            span = self._flexible.span_us(self._battery.span_us(span))
            produced = self._produced_mw()
            moved = self._battery.move(span) + self._flexible.move(span)
            change = (self._load_mw - produced) * span - moved
            self._energy += change
            self._curtailed += (self._available_mw - produced) * span
            self._now_us += span
            self._note(change, span)

    def registers(self) -> Registers:
        """Return the state at the last instant the home was advanced to."""
        first = max(0, bisect_left(self._times, self._now_us - _REMEMBERED_US) - 1)
        return Registers(
            at=self._start + self._now_us * _MICROSECOND,
            energy=self._energy,
            curtailed=self._curtailed,
            battery=self._battery.level,
            battery_mw=self._battery.set_mw,
            flexible=self._flexible.level,
            flexible_mw=self._flexible.set_mw,
            limit_mw=self._limit_mw,
            phase=self._phase,
            past_us=tuple(self._now_us - us for us in self._times[first:]),
            past=tuple(self._energies[first:]),
        )

    def resume(self, registers: Registers) -> None:
        """Go on from the state of a former process; the time between is lived through when next advanced."""
        self._now_us = self._edge_us = (registers.at - self._start) // _MICROSECOND
        self._energy, self._curtailed = registers.energy, registers.curtailed
        self._battery.resume(registers.battery, registers.battery_mw)
        self._flexible.resume(registers.flexible, registers.flexible_mw)
        self._limit_mw, self._phase = registers.limit_mw, registers.phase
        self._times = [self._now_us - us for us in registers.past_us]
        self._energies, self._slope = list(registers.past), 0

    def meter_wh(self, now: datetime) -> int:
        """See :class:`Devices`."""
        self.advance(now)
        return _rounded(self._energy, _WH)

    def curtailed_wh(self, now: datetime) -> int:
        """Return the production lost to limits so far, whole Wh."""
        self.advance(now)
        return _rounded(self._curtailed, _WH)

    def mean_w(self, start: datetime, end: datetime) -> int | None:
        """See :class:`Devices`."""
        first, last = ((when - self._start) // _MICROSECOND for when in (start, end))
        if not self._times[0] <= first < last <= self._now_us:
            return None
        return _rounded(self._energy_at(last) - self._energy_at(first), 1000 * (last - first))

    def net_kw(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        self._renew()
        net_mw = self._load_mw - self._produced_mw() - self._battery.power_mw - self._flexible.power_mw
        return net_mw / _MW

    def load_kw(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        self._renew()
        return self._load_mw / _MW

    def pv_available_kw(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        self._renew()
        return self._available_mw / _MW

    def battery_kwh(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        return self._battery.level / _KWH

    def battery_kw(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        return self._battery.power_mw / _MW

    def flexible_kwh(self, now: datetime) -> float:
        """See :class:`Devices`."""
        self.advance(now)
        return self._flexible.level / _KWH

    def phase(self, now: datetime) -> Phase:
        """See :class:`Devices`."""
        self.advance(now)
        return self._phase

    def set_battery_kw(self, kw: float, now: datetime) -> None:
        """See :class:`Devices`."""
        self.advance(now)
        self._battery.set_kw(kw)

    def set_flexible_kw(self, kw: float, now: datetime) -> None:
        """See :class:`Devices`."""
        self.advance(now)
        self._flexible.set_kw(kw)

    def set_pv_limit_kw(self, limit_kw: float | None, now: datetime) -> None:
        """See :class:`Devices`."""
        self.advance(now)
        self._limit_mw = None if limit_kw is None else max(0, round(limit_kw * _MW))

    def set_phase(self, phase: Phase, now: datetime) -> None:
        """See :class:`Devices`."""
        self.advance(now)
        self._phase = phase

    def _produced_mw(self) -> int:
        return self._available_mw if self._limit_mw is None else min(self._available_mw, self._limit_mw)

    def _renew(self) -> None:
        """Read the profiles at the present instant, if the values at hand have run out."""
        if self._now_us < self._edge_us:
            return
        when = self._start + self._now_us * _MICROSECOND
        edges = []
        powers = []
        for profile in (self._load, self._pv):
            if profile is not None:
                index = profile.index(when)
                edges.append(profile.edge(index + 1))
                powers.append(round(profile.kw[index] * _MW))
        self._load_mw, self._available_mw = powers[0], sum(powers[1:])
        self._edge_us = (min(edges) - self._start) // _MICROSECOND

    def _note(self, change: int, span_us: int) -> None:
        """Keep the energy at the end of a span; neighbouring spans of equal power become one."""
        slope = change // span_us  # whole: power is, and a span that ends at a store's limit lasts 1 us
        if slope == self._slope and len(self._times) > 1:
            self._times[-1], self._energies[-1] = self._now_us, self._energy
            return
        self._times.append(self._now_us)
        self._energies.append(self._energy)
        self._slope = slope
        if len(self._times) > 1000 and self._times[500] < self._now_us - _KEPT_US:
            del self._times[:500], self._energies[:500]

    def _energy_at(self, us: int) -> int:
        k = bisect_left(self._times, us)
        if self._times[k] == us:
            return self._energies[k]
        rise, run = self._energies[k] - self._energies[k - 1], self._times[k] - self._times[k - 1]
        return self._energies[k - 1] + rise * (us - self._times[k - 1]) // run


def _battery_store(battery: Battery | None) -> _Store:
    if battery is None:
        return _Store(0.0, 0.0, 0.0, 0.0)
    return _Store(battery.e_low_kwh, battery.e_high_kwh, battery.e_start_kwh, battery.power_kw)


def _flexible_store(flexible: FlexibleLoad | None) -> _Store:
    if flexible is None:
        return _Store(0.0, 0.0, 0.0, 0.0)
    return _Store(0.0, flexible.energy_kwh, flexible.start_kwh, flexible.slot_limit_kwh / SLOT_H)
