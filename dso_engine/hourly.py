"""The market hour on the DSO's side: clear, publish, hear commitments, allocate phases.

For the delivery hour that starts at h (all times relative to it, signals.md)::

    h - 80 min   homes send their offers
    h - 75       the gate closes; the six auctions clear
    h - 70       each home that made an offer gets its result
    h - 60       answers are due (silence until h refuses)
    h - 55       homes send their commitments
    h - 50       phases for the hour are commanded
    slot - 2     phases are computed again from confirmed ones; only a different answer is sent

Results and commitments stay here for the accounts and for control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dso_engine.feeder import Network
from dso_engine.market import Clearing, Side, clear
from dso_engine.model import SLOT, SLOTS_PER_HOUR, Commitment, HomeId, Phase
from dso_engine.phase import allocate
from dso_engine.ports import Customer, HomeExchange, HourResult, Recorder, SlotOrder
from dso_engine.records import MarketRecord, PhaseRecord

__all__ = ["GATE", "HourBook", "HourlyMarket", "PhasePlanner", "TariffMillicent", "hour_slots"]

OFFER: Final = timedelta(minutes=80)
GATE: Final = timedelta(minutes=75)
RESULT: Final = timedelta(minutes=70)
COMMITMENT: Final = timedelta(minutes=55)
PHASES: Final = timedelta(minutes=50)


def hour_slots(hour: datetime) -> tuple[datetime, ...]:
    """Return the starts of the six slots of an hour."""
    return tuple(hour + k * SLOT for k in range(SLOTS_PER_HOUR))


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffMillicent:
    """Prices outside the market in one slot, 1e-5 EUR/kWh."""

    supplier: int
    feed_in: int


class HourBook:
    """Results and commitments of the hours so far."""

    def __init__(self) -> None:
        self._results: dict[datetime, tuple[HourResult, ...]] = {}
        self._commitments: dict[tuple[HomeId, datetime], Commitment] = {}

    def keep_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """Remember the results of an hour."""
        self._results[hour] = tuple(results)

    def keep_commitments(self, commitments: Sequence[Commitment]) -> None:
        """Remember commitments."""
        for commitment in commitments:
            self._commitments[commitment.home, commitment.slot] = commitment

    def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """Return the results of an hour; empty if there was no market."""
        return self._results.get(hour, ())

    def commitment(self, home: HomeId, slot: datetime) -> Commitment | None:
        """Return what a home committed to for a slot, if anything."""
        return self._commitments.get((home, slot))


class HourlyMarket:
    """Clears the six auctions of an hour and publishes their results.

    Args:
        exchange: The homes.
        book: Where results are kept.
        recorder: Takes a record of every auction.
        tariff: Prices outside the market by slot, for homes that traded nothing.
    """

    def __init__(
        self,
        *,
        exchange: HomeExchange,
        book: HourBook,
        recorder: Recorder,
        tariff: Mapping[datetime, TariffMillicent],
    ) -> None:
        self._exchange = exchange
        self._book = book
        self._recorder = recorder
        self._tariff = tariff

    async def clear(self, hour: datetime) -> None:
        """Close the gate and clear; results are kept and wait for :meth:`publish`."""
        orders = await self._exchange.orders(hour)
        clearings: list[Clearing] = []
        for slot in hour_slots(hour):
            book = [entry.order for entry in orders if entry.slot == slot]
            clearings.append(clear(book))
            self._recorder.record(MarketRecord(slot=slot, orders=len(book), clearing=clearings[-1]))
        self._book.keep_results(hour, self._results(hour, orders, clearings))

    async def publish(self, hour: datetime) -> None:
        """Send every home that made an offer its result."""
        await self._exchange.publish_results(hour, self._book.results(hour))

    async def hear_commitments(self, hour: datetime) -> None:
        """Take the commitments that have come in."""
        self._book.keep_commitments(await self._exchange.commitments(hour))

    def _results(
        self, hour: datetime, orders: Sequence[SlotOrder], clearings: Sequence[Clearing]
    ) -> tuple[HourResult, ...]:
        sides: dict[tuple[HomeId, datetime], Side] = {(o.order.home, o.slot): o.order.side for o in orders}
        homes = sorted({entry.order.home for entry in orders})
        traded = [{trade.home: trade for trade in clearing.trades} for clearing in clearings]
        results: list[HourResult] = []
        for home in homes:
            prices: list[int] = []
            volumes: list[int] = []
            for slot, clearing, trades in zip(hour_slots(hour), clearings, traded, strict=True):
                side, trade = sides.get((home, slot)), trades.get(home)
                volumes.append(_signed(side, trade.volume_wh if trade else 0))
                prices.append(self._price(slot, side, clearing if trade else None))
            results.append(HourResult(home=home, price_millicent=tuple(prices), volume_wh=tuple(volumes)))
        return tuple(results)

    def _price(self, slot: datetime, side: Side | None, clearing: Clearing | None) -> int:
        outside = self._tariff[slot]
        if side is Side.SELL:
            price = clearing.ask_price_millicent if clearing else None
            return outside.feed_in if price is None else price
        price = clearing.bid_price_millicent if clearing else None
        return outside.supplier if price is None else price


def _signed(side: Side | None, volume_wh: int) -> int:
    return -volume_wh if side is Side.SELL else volume_wh


class PhasePlanner:
    """Allocates the homes with a transfer switch to phases, per feeder and slot (mechanisms.md 5 and 10).

    Args:
        network: Where everybody is connected, as the DSO believes.
        customers: Who has a switch.
        exchange: The homes.
        book: Commitments, the flows to balance.
        recorder: Takes a record of every plan.
        mu_kw2: Cost of one switching operation, kW2.
    """

    def __init__(
        self,
        *,
        network: Network,
        customers: Sequence[Customer],
        exchange: HomeExchange,
        book: HourBook,
        recorder: Recorder,
        mu_kw2: float,
    ) -> None:
        self._network = network
        self._switched = frozenset(c.home for c in customers if c.has_switch)
        self._exchange = exchange
        self._book = book
        self._recorder = recorder
        self._mu_kw2 = mu_kw2
        self._plans: dict[datetime, dict[HomeId, tuple[Phase, ...]]] = {}

    def planned(self, home: HomeId, slot: datetime) -> Phase | None:
        """Return the phase commanded for a slot, if any."""
        hour = slot.replace(minute=0)
        plan = self._plans.get(hour, {}).get(home)
        return plan[(slot - hour) // SLOT] if plan else None

    async def confirmed(self, now: datetime) -> dict[HomeId, Phase]:
        """Return the phase of every home: confirmed where there is a switch, else as built."""
        phases = {home.id: Phase(home.phase) for home in self._network.homes}
        phases.update(await self._exchange.confirmed_phases(now))
        return phases

    async def plan_hour(self, hour: datetime, now: datetime) -> None:
        """Command the phases of an hour; nothing is sent where no commitment is known."""
        await self._plan(hour, hour_slots(hour), await self.confirmed(now))

    async def plan_again(self, slot: datetime, now: datetime) -> None:
        """Compute the rest of the slot's hour again; only a different answer is sent."""
        hour = slot.replace(minute=0)
        if hour in self._plans:
            await self._plan(hour, tuple(s for s in hour_slots(hour) if s >= slot), await self.confirmed(now))

    async def _plan(self, hour: datetime, slots: Sequence[datetime], phases: Mapping[HomeId, Phase]) -> None:
        known = any(self._book.commitment(home.id, slots[0]) for home in self._network.homes)
        if not self._switched or not known:
            return
        fixed = self._exchange.phase_opt_outs(hour) | self._exchange.absent(slots[0])
        current = dict(phases)
        plan = {home: list(self._plans.get(hour, {}).get(home, ())) for home in self._switched - fixed}
        first = (slots[0] - hour) // SLOT
        for home, chain in plan.items():
            del chain[first:]
            chain.extend([current[home]] * (first - len(chain)))
        for slot in slots:
            chosen = self._allocate(slot, current, fixed)
            current.update(chosen)
            for home, chain in plan.items():
                chain.append(current[home])
        complete = {home: tuple(chain) for home, chain in plan.items()}
        if complete != {home: self._plans.get(hour, {}).get(home) for home in complete}:
            await self._exchange.publish_phases(hour, complete)
        self._plans.setdefault(hour, {}).update(complete)

    def _allocate(
        self, slot: datetime, current: Mapping[HomeId, Phase], fixed: frozenset[HomeId]
    ) -> dict[HomeId, Phase]:
        chosen: dict[HomeId, Phase] = {}
        operations, imbalance = 0, 0.0
        for feeder in self._network.feeders:
            base, movable = [0.0, 0.0, 0.0], []
            for home in self._network.homes:
                if home.feeder != feeder:
                    continue
                commitment = self._book.commitment(home.id, slot)
                flow_kw = commitment.grid_energy_wh * SLOTS_PER_HOUR / 1000.0 if commitment else 0.0
                if home.id in self._switched and home.id not in fixed:
                    movable.append((home.id, flow_kw))
                else:
                    base[current[home.id]] += flow_kw
            allocation = allocate(
                (base[0], base[1], base[2]),
                [flow for _, flow in movable],
                [current[home] for home, _ in movable],
                self._mu_kw2,
            )
            chosen.update((home, p) for (home, _), p in zip(movable, allocation.phases, strict=True))
            operations += allocation.operations
            imbalance += allocation.imbalance_kw2
        self._recorder.record(
            PhaseRecord(
                slot=slot,
                phases=tuple(sorted(chosen.items())),
                operations=operations,
                imbalance_kw2=imbalance,
            )
        )
        return chosen
