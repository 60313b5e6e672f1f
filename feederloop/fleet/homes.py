"""Simulated homes of one feeder in one slot: the `Street` behind which real ones would be.

Load and production are those of the profiles; what a home plans with is wrong by the forecast noise of the
settings. A home does not solve its daily programme here (some 10 ms each): it plans to use its own
production, charging from its surplus and discharging into its own load inside the market range of its
battery. It answers the real-time price with the product's own best response (`ven_client.hems.respond`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from typing import Final

import numpy as np

from config.settings import Neighbourhood
from dso_engine.market import Clearing, Order, Side, sequence_number
from dso_engine.model import SLOT_H, SLOTS_PER_HOUR, FloatArray, IntArray
from dso_engine.street import Commitments, Exchange
from feederloop.fleet.generate import SyntheticFeeder
from feederloop.simulation.profiles import LOCAL, SLOTS_PER_DAY, Profiles
from feederloop.simulation.ratings import rated_battery, rated_flexible, rated_home
from ven_client.hems.bounds import battery_bounds, flexible_bounds
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters
from ven_client.hems.respond import Response, SlotState, respond

__all__ = ["Devices", "HomesState", "SimulatedStreet", "devices_of", "homes_at_start"]

_CENT: Final = 100.0
_MILLICENT_PER_CENT: Final = 1_000
_WH: Final = 1_000.0
_SLOTS_PER_WEEK: Final = 7 * SLOTS_PER_DAY
_SUNNY_SLOTS: Final = 48
"""A home's real-time cycle is spread evenly over so many slots, eight hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomesState:
    """What the homes' devices leave to the next slot, kWh, (home,)."""

    stored_kwh: tuple[float, ...]
    flexible_kwh: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The two kinds of home: with and without a battery."""

    battery: Battery
    flexible: FlexibleLoad
    with_battery: HomeParameters
    without: HomeParameters
    neighbourhood: Neighbourhood

    def of(self, has_battery: bool) -> HomeParameters:
        """Return the devices of a home."""
        return self.with_battery if has_battery else self.without


def devices_of(neighbourhood: Neighbourhood) -> Devices:
    """Return the homes' devices as the settings have them."""
    battery = rated_battery(neighbourhood)
    home = replace(
        rated_home(neighbourhood, battery), comfort_weight=neighbourhood.preferences.comfort_weight
    )
    return Devices(
        battery=battery,
        flexible=rated_flexible(neighbourhood),
        with_battery=home,
        without=replace(home, battery=None),
        neighbourhood=neighbourhood,
    )


def homes_at_start(feeder: SyntheticFeeder, devices: Devices) -> HomesState:
    """Return the devices as they are at the start of a run."""
    count = len(feeder.network.homes)
    return HomesState(
        stored_kwh=(devices.battery.e_start_kwh,) * count,
        flexible_kwh=(devices.flexible.start_kwh,) * count,
    )


class SimulatedStreet:
    """All homes of a feeder in one slot; a `dso_engine.street.Street`.

    Args:
        feeder: Who lives there.
        devices: What they own.
        profiles: Load and production.
        state: Their devices at the start of the slot.
        slot: Start of the slot, aware.
        seed: Of the forecast noise and the ties in the auction.

    Raises:
        ProfileError: if the slot lies outside the profiles' year.
    """

    def __init__(
        self,
        feeder: SyntheticFeeder,
        devices: Devices,
        profiles: Profiles,
        state: HomesState,
        slot: datetime,
        seed: int,
    ) -> None:
        self._feeder = feeder
        self._devices = devices
        self._slot = slot
        self._seed = seed
        self._stored, self._flexible = state.stored_kwh, state.flexible_kwh
        load_kw, pv_kw = _weather(feeder, profiles, slot)
        rng = np.random.default_rng([seed, feeder.number, profiles.index(slot)])
        sigma = devices.neighbourhood.market.forecast_noise
        noise = 1.0 + sigma * rng.standard_normal((2, len(load_kw)))
        self._load_kw, self._pv_kw = load_kw, pv_kw
        self._expected_kwh = (load_kw * noise[0] - pv_kw * noise[1]) * SLOT_H
        hour = slot.astimezone(LOCAL).hour
        tariff = devices.neighbourhood.tariff
        self._supplier_c = _CENT * tariff.supplier_at(hour)
        self._feed_in_c = _CENT * tariff.feed_in
        self._planned_kwh = np.array([self._plan(k) for k in range(len(load_kw))])
        self._slots: tuple[SlotState, ...] = ()
        self._answers: list[tuple[tuple[int, float], Response]] = []

    def orders(self) -> Sequence[Order]:
        """Return the orders: the whole planned exchange, at limits drawn once per home."""
        feeder = self._feeder
        wh = np.rint((self._expected_kwh - self._planned_kwh) * _WH).astype(np.int64)
        bids_c = self._supplier_c * feeder.bid_factor
        asks_c = np.minimum(self._feed_in_c * feeder.ask_factor, bids_c)
        limits = np.rint(np.where(wh > 0, bids_c, asks_c) * _MILLICENT_PER_CENT).astype(np.int64)
        return [
            Order(
                home=home.id,
                side=Side.BUY if volume > 0 else Side.SELL,
                price_millicent=limit,
                volume_wh=abs(volume),
                seq=sequence_number(self._slot, home.id, self._seed),
            )
            for home, volume, limit in zip(feeder.network.homes, wh.tolist(), limits.tolist(), strict=True)
            if volume
        ]

    def commit(self, clearing: Clearing) -> Commitments:
        """Take the trades and return plan and flexibility."""
        traded = {
            trade.home: (1 if trade.side is Side.BUY else -1) * trade.volume_wh / _WH
            for trade in clearing.trades
        }
        x_hat = self._expected_kwh - self._planned_kwh
        gap = (self._load_kw - self._pv_kw) * SLOT_H
        allotment = self._devices.battery.realtime_cycle_kwh / _SUNNY_SLOTS
        self._slots = tuple(
            SlotState(
                r_kwh=float(gap[k]),
                s_hat_kwh=float(self._planned_kwh[k]),
                x_hat_kwh=float(x_hat[k]),
                x_m_kwh=traded.get(home.id, 0.0),
                price_up_c_per_kwh=self._supplier_c,
                price_down_c_per_kwh=self._feed_in_c,
                stored_value_c_per_kwh=(self._supplier_c + self._feed_in_c) / 2.0,
                e0_kwh=self._stored[k],
                charge_allotment_kwh=allotment,
                discharge_allotment_kwh=allotment,
                flexible_e0_kwh=self._flexible[k],
            )
            for k, home in enumerate(self._feeder.network.homes)
        )
        self._answers = []
        flexibility = np.array([self._flexibility(k) for k in range(len(x_hat))]).reshape(-1, 2)
        return Commitments(
            p_kw=x_hat * SLOTS_PER_HOUR,
            q_kvar=self._q_kvar,
            up_kw=flexibility[:, 0],
            down_kw=flexibility[:, 1],
            can_curtail=self._feeder.pv_kwp > 0.0,
        )

    def answer(self, u_millicent: IntArray, export_cap_kw: FloatArray) -> Exchange:
        """Return what the homes exchange at these prices; below an export bound they cut their production."""
        asked = list(zip(u_millicent.tolist(), export_cap_kw.tolist(), strict=True))
        before: list[tuple[tuple[int, float], Response] | None] = [*self._answers] or [None] * len(asked)
        self._answers = [
            known if known is not None and known[0] == what else (what, self._respond(k, *what))
            for k, (what, known) in enumerate(zip(asked, before, strict=True))
        ]
        wanted = np.array([response.x_kwh for _, response in self._answers]) * SLOTS_PER_HOUR
        return Exchange(p_kw=np.maximum(wanted, -export_cap_kw), q_kvar=self._q_kvar)

    def after(self) -> HomesState:
        """Return the devices at the end of the slot, as the last answer moved them.

        Flexible load is half full again when a local day begins.
        """
        stored = [
            e - response.battery_kwh for e, (_, response) in zip(self._stored, self._answers, strict=True)
        ]
        flexible = [
            e - response.flexible_kwh for e, (_, response) in zip(self._flexible, self._answers, strict=True)
        ]
        local = self._slot.astimezone(LOCAL)
        if (local.hour, local.minute) == (23, 50):
            flexible = [self._devices.flexible.start_kwh] * len(flexible)
        return HomesState(stored_kwh=tuple(stored), flexible_kwh=tuple(flexible))

    @property
    def curtailed_kw(self) -> float:
        """Production that the last answer's export bounds cut."""
        return sum(
            max(0.0, -cap - response.x_kwh * SLOTS_PER_HOUR)
            for (_, cap), response in self._answers
            if isfinite(cap)
        )

    @property
    def _q_kvar(self) -> FloatArray:
        return self._load_kw * self._devices.neighbourhood.homes.load_q_per_p

    def _plan(self, k: int) -> float:
        """Battery energy planned for the slot, kWh, + discharge: own surplus in, own load out."""
        if not self._feeder.has_battery[k]:
            return 0.0
        battery, stored = self._devices.battery, self._stored[k]
        low = -min(battery.slot_limit_kwh, max(0.0, battery.e_market_high_kwh - stored))
        high = min(battery.slot_limit_kwh, max(0.0, stored - battery.e_market_low_kwh))
        return min(max(float(self._expected_kwh[k]), low), high)

    def _flexibility(self, k: int) -> tuple[float, float]:
        """How far the home can raise and lower its import from the plan, kW."""
        state = self._slots[k]
        home = self._devices.of(bool(self._feeder.has_battery[k]))
        cells = battery_bounds(
            home.battery,
            e0_kwh=state.e0_kwh,
            s_hat_kwh=state.s_hat_kwh,
            charge_allotment_kwh=state.charge_allotment_kwh,
            discharge_allotment_kwh=state.discharge_allotment_kwh,
        )
        loads = flexible_bounds(home.flexible, e0_kwh=state.flexible_e0_kwh)
        up = state.s_hat_kwh - cells.low_kwh - loads.low_kwh
        down = cells.high_kwh + loads.high_kwh - state.s_hat_kwh
        return max(0.0, up) * SLOTS_PER_HOUR, max(0.0, down) * SLOTS_PER_HOUR

    def _respond(self, k: int, u_millicent: int, cap_kw: float) -> Response:
        state = self._slots[k]
        if isfinite(cap_kw):
            state = replace(state, x_low_kwh=-cap_kw * SLOT_H)
        home = self._devices.of(bool(self._feeder.has_battery[k]))
        return respond(home, state, u_millicent / _MILLICENT_PER_CENT)


def _weather(feeder: SyntheticFeeder, profiles: Profiles, slot: datetime) -> tuple[FloatArray, FloatArray]:
    """Load and production of every home in a slot, kW."""
    index, length = profiles.index(slot), profiles.load_w.shape[1]
    at = (index + feeder.weeks * _SLOTS_PER_WEEK) % length
    load_kw = profiles.load_w[feeder.profile, at] / _WH * feeder.load_scale
    pv_kw = feeder.pv_kwp * feeder.pv_yield * profiles.pv_kw_per_kwp(slot)
    return np.asarray(load_kw, dtype=np.float64), np.asarray(pv_kw, dtype=np.float64)
