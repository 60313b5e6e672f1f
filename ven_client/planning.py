"""What a home offers, accepts and plans, hour by hour: the market's side of its energy manager.

Rules:

1. An hour is planned once, and its plan is what the home has said about it: asking again gives the same.
2. The plan follows the market's result if one was accepted. A home that had nothing to offer plans as after a
   result of zero. Without a result the market does not work for this hour: the plan is the one without it.
   What was traded the day before is in every plan and offer: hour by hour the home trades the difference.
3. A horizon starts with the planned hour and ends with that hour's local day; stored energy shall then be
   back at its start. Of every plan only its first hour is kept, the rest is planned again.
4. The day's market cycle is what the plans of that day have not used.

Source: signals.md, "The market hour" and "The day before"; mechanisms.md 3, 12 and 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ven_client.block_book import BlockBook, keeps_to
from ven_client.forecast import Forecaster
from ven_client.hems.bounds import realtime_allotment
from ven_client.hems.day_ahead import BlockOffer, block_offer
from ven_client.hems.model import (
    MILLICENT_PER_CENT,
    SLOTS_PER_HOUR,
    WH_PER_KWH,
    HomeParameters,
    Horizon,
    MarketLimits,
    Offer,
    Plan,
    RealtimeReserve,
    Series,
    Tariffs,
)
from ven_client.hems.plan import commit, offer, without_market
from ven_client.hems.program import Planner
from ven_client.instructions import MarketResult, Programme
from ven_client.programmes import planned_limits, planned_peak, planned_tariffs
from ven_client.slots import DAY, HOUR, SLOT, SLOTS_PER_DAY, day_start, hour_start, slot_of_day, slots_from
from ven_client.state import HomeMemory, OfferKept, PlanKept, SlotKept

__all__ = ["HourPlanner", "PriceSheet", "SlotPlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSheet:
    """Prices of a home for every slot of a local day, 144 values each, c/kWh.

    Raises:
        ValueError: if a series has another length.
    """

    supplier_c_per_kwh: Series
    feed_in_c_per_kwh: Series
    bid_c_per_kwh: Series
    """Most the home pays on the market, gross."""
    ask_c_per_kwh: Series
    """Least the home takes on the market."""
    rebate_c_per_kwh: Series
    """What the home values local energy above its price."""

    def __post_init__(self) -> None:
        """Check the lengths."""
        series = (self.supplier_c_per_kwh, self.feed_in_c_per_kwh, self.bid_c_per_kwh, self.ask_c_per_kwh)
        if any(len(values) != SLOTS_PER_DAY for values in (*series, self.rebate_c_per_kwh)):
            raise ValueError(f"a price sheet has {SLOTS_PER_DAY} values per series")

    def tariffs(self, start: datetime) -> Tariffs:
        """Return supplier and feed-in price from a slot to the end of its local day."""
        first = slot_of_day(start)
        return Tariffs(
            supplier_c_per_kwh=self.supplier_c_per_kwh[first:],
            feed_in_c_per_kwh=self.feed_in_c_per_kwh[first:],
        )

    def market(self, start: datetime) -> MarketLimits:
        """Return the market's limits from a slot to the end of its local day."""
        first = slot_of_day(start)
        return MarketLimits(
            bid_c_per_kwh=self.bid_c_per_kwh[first:],
            ask_c_per_kwh=self.ask_c_per_kwh[first:],
            rebate_c_per_kwh=self.rebate_c_per_kwh[first:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """What is planned for one slot, kWh."""

    battery_kwh: float
    """s_hat, + discharge."""
    exchange_kwh: float
    """x_hat, + import: market and supplier, in whole Wh as it was committed."""


class HourPlanner:
    """Offers and plans of one home.

    Args:
        parameters: Devices and costs.
        planner: Compiled programmes; may be shared by homes of one thread.
        forecaster: Forecasts for the market.
        prices: Prices of the home.
        mean_pv_kwh_day: The neighbourhood's mean production forecast, 144 slots, kWh: spreads the real-time
            cycle of a home that expects no production of its own.

    Attributes:
        blocks: What was offered and traded the day before.
    """

    def __init__(
        self,
        *,
        parameters: HomeParameters,
        planner: Planner,
        forecaster: Forecaster,
        prices: PriceSheet,
        mean_pv_kwh_day: Series,
    ) -> None:
        self._parameters, self._planner, self._forecaster = parameters, planner, forecaster
        self._prices, self._mean_pv = prices, mean_pv_kwh_day
        self.blocks = BlockBook()
        self._offers: dict[datetime, Offer] = {}
        self._plans: dict[datetime, Plan] = {}
        self._slots: dict[datetime, SlotPlan] = {}
        self._results: dict[datetime, MarketResult] = {}
        self._weights: dict[datetime, Series] = {}
        self._programmes: tuple[Programme, ...] = ()
        self._reached_kw = 0.0

    def offer(self, hour: datetime, e0_kwh: float, now: datetime) -> Offer:
        """Return the offer for an hour; the same one when asked again.

        Args:
            hour: Start of the delivery hour.
            e0_kwh: Stored energy expected at its start.
            now: When the forecasts are made.

        Raises:
            HemsError: see ``hems.plan.offer``.
        """
        known = self._offers.get(hour)
        if known is not None:
            return known
        made = offer(self._planner, self._parameters, self._horizon(hour, e0_kwh, now), self._market(hour))
        self._offers[hour] = made
        return made

    def block_offer(self, midnight: datetime, now: datetime) -> BlockOffer:
        """Return the offer for the blocks of a day; the same one when asked again.

        The day is planned from the stored energy that every day begins and ends with (rule 3).

        Raises:
            HemsError: see ``hems.plan.offer``.
        """
        known = self.blocks.offer(midnight)
        if known is not None:
            return known
        battery = self._parameters.battery
        horizon = self._horizon(midnight, battery.e_start_kwh if battery is not None else 0.0, now)
        market = self._market(midnight)
        planned = offer(self._planner, self._parameters, horizon, market).battery_kwh
        rows = zip(horizon.load_kwh, horizon.pv_kwh, planned, strict=True)
        made = block_offer(tuple(load - pv - s for load, pv, s in rows), market)
        self.blocks.keep(midnight, made)
        return made

    def fits(self, result: MarketResult) -> bool:
        """Whether a result keeps to the offer made: side, volume and limit price of every slot."""
        made = self._offers.get(result.hour)
        return made is not None and keeps_to(made, result)

    def take_results(self, results: tuple[MarketResult, ...]) -> None:
        """Take all results that were accepted and still stand."""
        self._results = {result.hour: result for result in results}

    def take_programmes(self, programmes: tuple[Programme, ...]) -> None:
        """Take the programmes that hold or will hold: their tariffs go into plans made from now on."""
        self._programmes = programmes

    def take_reached(self, reached_kw: float) -> None:
        """Take the highest mean import metered since a demand charge holds: it costs nothing more."""
        self._reached_kw = max(0.0, reached_kw)

    def may_discharge(self, slot: datetime) -> bool:
        """Whether the customer lets the battery discharge in a slot."""
        return slot_of_day(slot) // SLOTS_PER_HOUR not in self._parameters.no_discharge_hours

    def expected_gap_kwh(self, slot: datetime, now: datetime) -> float:
        """Return the expected load less production of a slot, kWh."""
        return self._forecaster.load_kwh(slot, now) - self._forecaster.pv_kwh(slot, now)

    def traded_kwh(self, slot: datetime, hour: datetime) -> float:
        """Return the volume of both markets in a slot of an hour, kWh, 0 without an accepted result."""
        result = self._results.get(hour)
        intraday_wh = result.volume_wh[(slot - hour) // SLOT] if result is not None else 0
        return (intraday_wh + self.blocks.held_wh(slot)) / WH_PER_KWH

    def plan_hour(self, hour: datetime, e0_kwh: float, flexible_kwh: float, now: datetime) -> Plan:
        """Return the plan of a whole hour, by rule 2; the same one when asked again.

        Args:
            hour: Start of the hour.
            e0_kwh: Stored energy expected at its start.
            flexible_kwh: State of the flexible load.
            now: When the forecasts are made.

        Raises:
            HemsError: see ``hems.plan.commit`` and ``hems.plan.without_market``.
        """
        known = self._plans.get(hour)
        if known is not None:
            return known
        result, made = self._results.get(hour), self._offers.get(hour)
        if result is not None:
            cleared = result.volume_wh
        elif made is not None and not any(made.volume_wh):
            cleared = (0,) * SLOTS_PER_HOUR
        else:
            return self._keep(hour, hour, self._plan_alone(hour, e0_kwh, flexible_kwh, now))
        plan = commit(
            self._planner,
            self._parameters,
            self._horizon(hour, e0_kwh, now),
            self._tariffs(hour),
            self._market(hour),
            cleared,
            self._reserve(hour, flexible_kwh),
        )
        return self._keep(hour, hour, plan)

    def slot(
        self, slot: datetime, hour: datetime, e0_kwh: float, flexible_kwh: float, now: datetime
    ) -> SlotPlan:
        """Return what is planned for a slot that starts now; without a plan yet, plan the rest of the hour.

        Raises:
            HemsError: see :meth:`plan_hour`.
        """
        self._forget(slot)
        if slot not in self._slots:
            if slot == hour:
                self.plan_hour(hour, e0_kwh, flexible_kwh, now)
            else:
                self._keep(slot, hour, self._plan_alone(slot, e0_kwh, flexible_kwh, now))
        return self._slots[slot]

    def planned_kwh(self, start: datetime, end: datetime) -> float:
        """Return the battery energy planned in the slots of a stretch, kWh; unplanned slots count as 0."""
        planned = (self._slots.get(slot) for slot in slots_from(start, end))
        return sum(plan.battery_kwh for plan in planned if plan is not None)

    def allotment(self, slot: datetime) -> tuple[float, float]:
        """Return a slot's share of the day's real-time cycle: (charge, discharge), kWh."""
        battery = self._parameters.battery
        if battery is None:
            return 0.0, 0.0
        return realtime_allotment(
            self._day_pv(day_start(slot)), slot_of_day(slot), battery.realtime_cycle_kwh
        )

    def memory(self, now: datetime) -> HomeMemory:
        """Return offers and plans of the hours at hand and what is planned for the slots of the day."""
        hour, today = hour_start(now), day_start(now)
        return HomeMemory(
            offers=tuple(OfferKept(hour=at, offer=one) for at, one in self._offers.items() if at >= hour),
            blocks=self.blocks.memory(now),
            plans=tuple(PlanKept(hour=at, plan=one) for at, one in self._plans.items() if at >= hour),
            slots=tuple(
                SlotKept(slot=at, battery_kwh=one.battery_kwh, exchange_kwh=one.exchange_kwh)
                for at, one in self._slots.items()
                if at >= today
            ),
        )

    def recall(self, memory: HomeMemory) -> None:
        """Take back what :meth:`memory` gave; results come with the events."""
        self._offers = {kept.hour: kept.offer for kept in memory.offers}
        self.blocks.recall(memory.blocks)
        self._plans = {kept.hour: kept.plan for kept in memory.plans}
        self._slots = {
            kept.slot: SlotPlan(battery_kwh=kept.battery_kwh, exchange_kwh=kept.exchange_kwh)
            for kept in memory.slots
        }

    def _plan_alone(self, start: datetime, e0_kwh: float, flexible_kwh: float, now: datetime) -> Plan:
        return without_market(
            self._planner,
            self._parameters,
            self._horizon(start, e0_kwh, now),
            self._tariffs(start),
            self._reserve(start, flexible_kwh),
        )

    def _keep(self, start: datetime, hour: datetime, plan: Plan) -> Plan:
        """Keep a plan that starts at a slot of an hour, as far as the hour goes."""
        if start == hour:
            self._plans[hour] = plan
        for k, slot in enumerate(slots_from(start, hour + HOUR)):
            self._slots[slot] = SlotPlan(
                battery_kwh=plan.battery_kwh[k], exchange_kwh=plan.grid_energy_wh[k] / WH_PER_KWH
            )
        return plan

    def _tariffs(self, start: datetime) -> Tariffs:
        return planned_tariffs(self._prices.tariffs(start), self._programmes, start)

    def _market(self, start: datetime) -> MarketLimits:
        supplier = self._tariffs(start).supplier_c_per_kwh
        return planned_limits(self._prices.market(start), supplier, self._programmes, start)

    def _horizon(self, start: datetime, e0_kwh: float, now: datetime) -> Horizon:
        today = day_start(start)
        slots = slots_from(start, today + DAY)
        battery = self._parameters.battery
        budget = battery.market_cycle_kwh if battery is not None else 0.0
        held = [self.blocks.held_wh(slot) for slot in slots]
        used = [self._slots[slot].battery_kwh for slot in slots_from(today, start) if slot in self._slots]
        return Horizon(
            load_kwh=tuple(self._forecaster.load_kwh(slot, now) for slot in slots),
            pv_kwh=tuple(self._forecaster.pv_kwh(slot, now) for slot in slots),
            e0_kwh=e0_kwh,
            e_end_kwh=battery.e_start_kwh if battery is not None else 0.0,
            charge_budget_kwh=budget - sum(max(0.0, -s) for s in used),
            discharge_budget_kwh=budget - sum(max(0.0, s) for s in used),
            no_discharge=tuple(not self.may_discharge(slot) for slot in slots),
            peak=planned_peak(self._programmes, start, len(slots), self._reached_kw),
            held_kwh=tuple(wh / WH_PER_KWH for wh in held) if any(held) else (),
        )

    def _reserve(self, start: datetime, flexible_kwh: float) -> RealtimeReserve:
        shares = [self.allotment(slot) for slot in slots_from(start, start + HOUR)]
        return RealtimeReserve(
            charge_kwh=tuple(charge for charge, _ in shares),
            discharge_kwh=tuple(discharge for _, discharge in shares),
            flexible_kwh=flexible_kwh,
        )

    def _day_pv(self, today: datetime) -> Series:
        """The production forecast that spreads the real-time cycle, made as the day begins."""
        if today not in self._weights:
            own = tuple(self._forecaster.pv_kwh(slot, today) for slot in slots_from(today, today + DAY))
            self._weights[today] = own if any(own) else self._mean_pv
        return self._weights[today]

    def _forget(self, now: datetime) -> None:
        """Drop what no budget or report needs any more."""
        self.blocks.forget(now)
        for kept in (self._offers, self._plans, self._slots, self._weights):
            for when in [when for when in kept if when < now - 2 * DAY]:
                del kept[when]


def millicent_to_c(price_millicent: int) -> float:
    """Return a price of 1e-5 EUR/kWh in c/kWh."""
    return price_millicent / MILLICENT_PER_CENT
