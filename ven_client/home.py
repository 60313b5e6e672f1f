"""The energy manager of a home in real time: slots, set points, phases and meter readings. No OpenADR here.

At the edge of a slot, in this order: read the meter (the old slot ends), switch the phase if commanded, take
the plan of the new slot and the actual load and production, and play the best response to the price in force,
which is 0 if there is none. Within the slot the response is computed again when price or export bound change,
and the power set so that the slot's energy comes out right (thesis 6.22, 6.23).

A home that starts, or wakes up, more than :data:`LATEST_START` after an edge stays idle until the next one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ven_client.devices import Devices, Phase, StaleReading
from ven_client.forecast import Forecaster
from ven_client.hems.day_ahead import BlockOffer
from ven_client.hems.model import HomeParameters, Offer, Plan, Series
from ven_client.hems.program import Planner
from ven_client.hems.respond import Response, SetPoint, SlotState, curtail, set_point
from ven_client.instructions import DayAheadResult, Instructions, MarketResult
from ven_client.planning import HourPlanner, PriceSheet, millicent_to_c
from ven_client.programmes import DEFAULT_SHED, ShedTable, Situation, held_peak_kw, peak_since, situation
from ven_client.slot_response import Progress, keep_limit, slot_response
from ven_client.slots import DAY, HOUR, SLOT, day_start, hour_start, slot_of_day, slot_start, slots_from
from ven_client.state import ChargeKept, EdgeKept, HomeMemory, PhaseKept, RunningKept

__all__ = ["LATEST_START", "EdgeReading", "HomeManager"]

LATEST_START: Final = timedelta(seconds=30)
"""How late a slot may start and still be played, and its meter reading count as the edge's."""

_LOG = logging.getLogger(__name__)
_W: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeReading:
    """What the devices said at the edge of two slots, before anything was set for the new one."""

    meter_wh: int
    battery_kwh: float
    battery_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The slot being played."""

    slot: datetime
    state: SlotState
    price_millicent: int
    bound_w: int | None
    wanted: Situation
    response: Response


class HomeManager:
    """One home: devices, plans and what the network wants of it.

    Args:
        parameters, devices: What there is with its costs, and how to reach it.
        planner: Compiled programmes; may be shared by homes of one thread.
        forecaster: Forecasts for the market.
        nowcast: Forecast of the slot that starts now.
        prices: Prices of the home.
        mean_pv_kwh_day: See :class:`HourPlanner`.
        has_pv: Whether there is PV that can be curtailed.
        has_switch: Whether there is a transfer switch.
        shed: What the levels of SIMPLE mean to this home.
    """

    def __init__(
        self,
        *,
        parameters: HomeParameters,
        devices: Devices,
        planner: Planner,
        forecaster: Forecaster,
        nowcast: Forecaster,
        prices: PriceSheet,
        mean_pv_kwh_day: Series,
        has_pv: bool,
        has_switch: bool,
        shed: ShedTable = DEFAULT_SHED,
    ) -> None:
        self.parameters, self.has_pv, self.has_switch = parameters, has_pv, has_switch
        self.contract_violations = 0
        """Slots in which the devices could not keep the contract (errata 30)."""
        self._devices, self._nowcast, self._prices, self._shed = devices, nowcast, prices, shed
        self._hours = HourPlanner(
            parameters=parameters,
            planner=planner,
            forecaster=forecaster,
            prices=prices,
            mean_pv_kwh_day=mean_pv_kwh_day,
        )
        self._instructions = Instructions()
        self._slot: datetime | None = None
        self._running: _Running | None = None
        self._edges: dict[datetime, EdgeReading] = {}
        self._phases: tuple[PhaseKept, ...] = ()
        self._charges: dict[datetime, float] = {}
        """Stored energy at the start of intervals that relative battery targets count from, kWh."""

    # --- time ----------------------------------------------------------------------------------------------

    def advance(self, now: datetime) -> None:
        """Do what is due: cross the edge of a slot, or follow a price or bound that started or ended.

        Raises:
            HemsError: if the hour has no plan yet and cannot be planned.
        """
        slot = slot_start(now)
        try:
            if slot != self._slot:
                self._cross(slot, now)
            self._follow(now)
        except StaleReading as err:
            self._idle(slot, err, now)

    def _idle(self, slot: datetime, why: StaleReading, now: datetime) -> None:
        """Leave the devices alone for the rest of a slot: nothing is known to act on."""
        _LOG.warning("idle until the slot ends: %s", why)
        self._slot, self._running = slot, None
        self._set(SetPoint(battery_kw=0.0, flexible_kw=0.0), None, now)

    def next_wakeup(self, now: datetime) -> datetime:
        """Return the next instant at which :meth:`advance` has something to do."""
        edge = slot_start(now) + SLOT
        change = self._instructions.next_change(now)
        return edge if change is None else min(edge, change)

    def take(self, instructions: Instructions, now: datetime) -> None:
        """Take everything the network wants now; what is not in it is not wanted any more.

        Raises:
            HemsError: see :meth:`advance`.
        """
        self._instructions = instructions
        self._hours.take_results(instructions.results)
        self._hours.blocks.take(instructions.blocks)
        self._hours.take_programmes(instructions.programmes)
        self.advance(now)

    # --- restart -------------------------------------------------------------------------------------------

    def memory(self, now: datetime) -> HomeMemory:
        """Return what must survive a restart: words given, readings made, the slot that is played."""
        running = self._running
        return replace(
            self._hours.memory(now),
            edges=tuple(
                EdgeKept(at=at, meter_wh=e.meter_wh, battery_kwh=e.battery_kwh, battery_kw=e.battery_kw)
                for at, e in self._edges.items()
            ),
            phases=self._phases,
            running=() if running is None else (RunningKept(slot=running.slot, state=running.state),),
            charges=tuple(ChargeKept(start=at, e_kwh=one) for at, one in self._charges.items()),
        )

    def recall(self, memory: HomeMemory, now: datetime) -> None:
        """Take back what :meth:`memory` gave; a slot that still runs is played on, until told at price 0."""
        self._hours.recall(memory)
        self._edges = {
            kept.at: EdgeReading(
                meter_wh=kept.meter_wh, battery_kwh=kept.battery_kwh, battery_kw=kept.battery_kw
            )
            for kept in memory.edges
        }
        self._phases = memory.phases
        self._charges = {kept.start: kept.e_kwh for kept in memory.charges}
        for kept in memory.running:
            if kept.slot == slot_start(now):
                self._slot = kept.slot
                try:
                    self._play(kept.slot, kept.state, now)
                except StaleReading as err:
                    self._idle(kept.slot, err, now)

    # --- market --------------------------------------------------------------------------------------------

    def offer(self, hour: datetime, now: datetime) -> Offer:
        """Return the offer for a delivery hour.

        Raises:
            HemsError: see ``hems.plan.offer``.
        """
        self.advance(now)
        return self._hours.offer(hour, self._expected_kwh(hour, now), now)

    def block_offer(self, midnight: datetime, now: datetime) -> BlockOffer:
        """Return the offer for the hourly blocks of a day; raises what :meth:`offer` does."""
        return self._hours.block_offer(midnight, now)

    def fits(self, result: MarketResult | DayAheadResult) -> bool:
        """Whether a market result keeps to the offer this home made."""
        book = self._hours.blocks
        return book.fits(result) if isinstance(result, DayAheadResult) else self._hours.fits(result)

    def commitment(self, hour: datetime, now: datetime) -> Plan:
        """Return the plan of an hour, which binds from now on.

        Raises:
            HemsError: see ``hems.plan.commit``.
        """
        self.advance(now)
        expected = self._expected_kwh(hour, now)
        return self._hours.plan_hour(hour, expected, self._devices.flexible_kwh(now), now)

    def _expected_kwh(self, hour: datetime, now: datetime) -> float:
        """Stored energy at the start of an hour if everything until then goes as planned."""
        battery = self.parameters.battery
        if battery is None:
            return 0.0
        level = self._devices.battery_kwh(now)
        first = slot_start(now)
        if self._running is not None and first < hour:  # the rest of the slot that runs is decided
            running = self._running
            level = running.state.e0_kwh - running.response.battery_kwh
            first += SLOT
        level -= self._hours.planned_kwh(first, hour)
        return min(max(level, battery.e_low_kwh), battery.e_high_kwh)

    # --- readings ------------------------------------------------------------------------------------------

    def energy_wh(self, slot: datetime) -> int | None:
        """Return the metered net energy of a slot that is over, Wh; None if an edge was not read."""
        first, last = self._edges.get(slot), self._edges.get(slot + SLOT)
        return last.meter_wh - first.meter_wh if first is not None and last is not None else None

    def edge(self, when: datetime) -> EdgeReading | None:
        """Return what was read at the edge of a slot; None if nothing was."""
        return self._edges.get(when)

    def mean_w(self, start: datetime, end: datetime, now: datetime) -> int | None:
        """Return the mean net power of a past stretch, W; None if the meter does not hold it."""
        self._devices.meter_wh(now)  # a simulated meter counts as far as it is read
        return self._devices.mean_w(start, end)

    def phase_changes(self, start: datetime, end: datetime) -> tuple[PhaseKept, ...]:
        """Return the phase changes of a stretch, the first phase ever seen included, oldest first."""
        return tuple(change for change in self._phases if start <= change.at < end)

    def phase(self, now: datetime) -> Phase:
        """Return the phase the home is connected to."""
        return self._devices.phase(now)

    # --- a slot --------------------------------------------------------------------------------------------

    def _cross(self, slot: datetime, now: datetime) -> None:
        on_edge = now - slot <= LATEST_START
        if on_edge:
            self._edges[slot] = EdgeReading(
                meter_wh=self._devices.meter_wh(now),
                battery_kwh=self._devices.battery_kwh(now),
                battery_kw=self._devices.battery_kw(now),
            )
        for when in [when for when in self._edges if when < now - DAY]:
            del self._edges[when]
        for when in [when for when in self._charges if not self._instructions.counts_from(when)]:
            del self._charges[when]
        self._slot, self._running = slot, None
        self._switch(slot if on_edge else None, now)
        if on_edge:
            self._start(slot, now)
        else:
            self._set(SetPoint(battery_kw=0.0, flexible_kw=0.0), None, now)

    def _switch(self, slot: datetime | None, now: datetime) -> None:
        """Connect to the phase commanded for a slot that starts; note what the switch says afterwards."""
        wanted = self._instructions.phase(slot) if self.has_switch and slot is not None else None
        if wanted is not None and wanted != self._devices.phase(now):
            self._devices.set_phase(Phase(wanted), now)
        phase = self._devices.phase(now)
        if not self._phases or self._phases[-1].phase != phase:
            recent = tuple(change for change in self._phases if change.at >= now - DAY)
            self._phases = (*recent, PhaseKept(at=now, phase=phase))

    def _start(self, slot: datetime, now: datetime) -> None:
        hour = hour_start(slot)
        since = peak_since(self._instructions.programmes, now)
        self._hours.take_reached(self._metered_peak_kw(slot, since))
        e0_kwh, flexible_kwh = self._devices.battery_kwh(now), self._devices.flexible_kwh(now)
        plan = self._hours.slot(slot, hour, e0_kwh, flexible_kwh, now)
        charge, discharge = self._hours.allotment(slot)
        k = slot_of_day(slot)
        supplier, feed_in = self._prices.supplier_c_per_kwh[k], self._prices.feed_in_c_per_kwh[k]
        state = SlotState(
            r_kwh=self._nowcast.load_kwh(slot, now) - self._nowcast.pv_kwh(slot, now),
            s_hat_kwh=plan.battery_kwh,
            x_hat_kwh=plan.exchange_kwh,
            x_m_kwh=self._hours.traded_kwh(slot, hour),
            price_up_c_per_kwh=supplier,
            price_down_c_per_kwh=feed_in,
            stored_value_c_per_kwh=(supplier + feed_in) / 2.0,
            e0_kwh=e0_kwh,
            charge_allotment_kwh=charge,
            discharge_allotment_kwh=discharge,
            flexible_e0_kwh=flexible_kwh,
            may_discharge=self._hours.may_discharge(slot),
        )
        self._play(slot, state, now)
        if self._running is not None and self._running.response.contract_violated:
            self.contract_violations += 1

    def _follow(self, now: datetime) -> None:
        """Answer a price or bound that differs from the one the slot is played with."""
        running = self._running
        if running is None:
            return
        price, bound = self._instructions.price_millicent(now), self._instructions.bound_w(now)
        wanted = self._wanted(running.state, now)
        if (price, bound, wanted) != (running.price_millicent, running.bound_w, running.wanted):
            self._play(running.slot, running.state, now)

    def _play(self, slot: datetime, state: SlotState, now: datetime) -> None:
        price, bound = self._instructions.price_millicent(now), self._instructions.bound_w(now)
        wish = self._wanted(state, now)
        progress = self._progress(slot, state, wish, now)
        changed, response = slot_response(self.parameters, state, wish, millicent_to_c(price), progress)
        self._running = _Running(
            slot=slot,
            state=state,
            price_millicent=price,
            bound_w=bound,
            wanted=wish,
            response=response,
        )
        done_battery_kwh = state.e0_kwh - self._devices.battery_kwh(now)
        done_flexible_kwh = state.flexible_e0_kwh - self._devices.flexible_kwh(now)
        elapsed_s = (now - slot).total_seconds()
        wanted = set_point(
            self.parameters,
            response,
            done_battery_kwh=done_battery_kwh,
            done_flexible_kwh=done_flexible_kwh,
            elapsed_s=elapsed_s,
        )
        if wish.limits:
            done_kwh = done_battery_kwh + done_flexible_kwh
            wanted = keep_limit(self.parameters, wanted, response, done_kwh, progress.left_h)
        if bound is None:
            self._set(wanted, None, now)
            return
        cut = curtail(
            self.parameters,
            changed,
            export_bound_kw=bound / _W,
            load_kw=self._devices.load_kw(now),
            pv_kw=self._devices.pv_available_kw(now),
            wanted=wanted,
            done_battery_kwh=done_battery_kwh,
            done_flexible_kwh=done_flexible_kwh,
            elapsed_s=elapsed_s,
        )
        self._set(cut.set_point, cut.pv_limit_kw, now)

    def _wanted(self, state: SlotState, now: datetime) -> Situation:
        """What standard programmes want now."""
        return situation(
            self._instructions.programmes,
            now,
            home=self.parameters,
            shed=self._shed,
            planned_kwh=state.x_hat_kwh,
            prices_c_per_kwh=(state.price_up_c_per_kwh, state.price_down_c_per_kwh),
            stored_at=lambda start: self._charges.setdefault(start, self._devices.battery_kwh(now)),
        )

    def _progress(self, slot: datetime, state: SlotState, wanted: Situation, now: datetime) -> Progress:
        edge = self._edges.get(slot)
        exchanged_wh = self._devices.meter_wh(now) - edge.meter_wh if edge is not None else 0
        return Progress(
            exchanged_kwh=exchanged_wh / _W,
            left_h=(slot + SLOT - now) / HOUR,
            reached_kw=self._reached_kw(slot, state, wanted, now) if wanted.peak_c_per_kw else 0.0,
        )

    def _reached_kw(self, slot: datetime, state: SlotState, wanted: Situation, now: datetime) -> float:
        """The import that a peak price leaves free: what was reached since it holds, or cannot be avoided."""
        reached = self._metered_peak_kw(slot, wanted.peak_since)
        end = min(wanted.peak_until or slot + SLOT, day_start(slot) + DAY)
        coming = [self._hours.expected_gap_kwh(one, now) for one in slots_from(slot + SLOT, end)]
        return max(reached, held_peak_kw(self.parameters, state.e0_kwh, (state.r_kwh, *coming)))

    def _metered_peak_kw(self, slot: datetime, since: datetime | None) -> float:
        """The highest metered mean import of a slot since an instant, of the last day, kW; else 0."""
        first = slot if since is None else max(slot_start(since), slot - DAY)
        metered = (self.energy_wh(past) for past in slots_from(first, slot))
        return max((wh * (HOUR / SLOT) / _W for wh in metered if wh is not None), default=0.0)

    def _set(self, point: SetPoint, pv_limit_kw: float | None, now: datetime) -> None:
        self._devices.set_battery_kw(point.battery_kw, now)
        self._devices.set_flexible_kw(point.flexible_kw, now)
        self._devices.set_pv_limit_kw(pv_limit_kw if self.has_pv else None, now)
