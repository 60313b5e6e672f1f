"""Phases of the homes with a transfer switch: planned for the hour, planned again before each slot.

The hour's plan goes out at h - 50 min. Two minutes before each slot the rest of the hour is computed again,
from confirmed phases and the newest idea of the flows; only a different answer is sent, and only for
intervals to come. A home that opted out stays where it is for the rest of the hour.

Source: mechanisms.md 5 and 10; signals.md, "Phase command".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from dso_engine.feeder import Network
from dso_engine.hourly import HourBook, hour_slots
from dso_engine.model import SLOT, HomeId, Phase
from dso_engine.nowcast import Nowcast
from dso_engine.phase import allocate
from dso_engine.ports import Customer, HomeExchange, Recorder
from dso_engine.records import PhaseRecord

__all__ = ["PhasePlanner"]


class PhasePlanner:
    """Allocates the homes with a transfer switch to phases, per feeder and slot (mechanisms.md 5 and 10).

    Args:
        network: Where everybody is connected, as the DSO believes.
        customers: Who has a switch.
        exchange: The homes.
        book: Commitments: an hour without any is not planned.
        nowcast: The flows to balance.
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
        nowcast: Nowcast,
        recorder: Recorder,
        mu_kw2: float,
    ) -> None:
        self._network = network
        self._switched = frozenset(c.home for c in customers if c.has_switch)
        self._exchange = exchange
        self._book = book
        self._nowcast = nowcast
        self._recorder = recorder
        self._mu_kw2 = mu_kw2
        self._plans: dict[datetime, dict[HomeId, tuple[Phase, ...]]] = {}
        self._staying: dict[datetime, frozenset[HomeId]] = {}

    def planned(self, home: HomeId, slot: datetime) -> Phase | None:
        """Return the phase a home was told to be on in a slot; None without command, or where it declined."""
        hour = slot.replace(minute=0)
        if home in self._staying.get(hour, frozenset()):
            return None
        plan = self._plans.get(hour, {}).get(home)
        return plan[(slot - hour) // SLOT] if plan else None

    async def confirmed(self, now: datetime) -> dict[HomeId, Phase]:
        """Return the phase of every home: confirmed where there is a switch, else as built."""
        phases = {home.id: Phase(home.phase) for home in self._network.homes}
        phases.update(await self._exchange.confirmed_phases(now))
        return phases

    async def resume(self, hour: datetime) -> bool:
        """Take up the phases that are commanded for an hour; return whether there are any."""
        commanded = await self._exchange.phase_plans(hour)
        plan = {home: phases for home, phases in commanded.items() if home in self._switched}
        if plan:
            self._plans[hour] = plan
            self._staying[hour] = await self._exchange.phase_opt_outs(hour)
        return bool(plan)

    def forget(self, before: datetime) -> None:
        """Forget the plans of the hours before an instant."""
        self._plans = {hour: plan for hour, plan in self._plans.items() if hour >= before}
        self._staying = {hour: homes for hour, homes in self._staying.items() if hour >= before}

    async def plan_hour(self, hour: datetime, now: datetime) -> None:
        """Command the phases of an hour; nothing is sent where no commitment is known."""
        await self._plan(hour, hour_slots(hour), now)

    async def plan_again(self, slot: datetime, now: datetime) -> None:
        """Compute the rest of the slot's hour again; only a different answer is sent."""
        hour = slot.replace(minute=0)
        if hour in self._plans:
            await self._plan(hour, tuple(s for s in hour_slots(hour) if s >= slot), now)

    async def _plan(self, hour: datetime, slots: Sequence[datetime], now: datetime) -> None:
        if not self._switched or not self._book.commitments(slots[0]):
            return
        phases = await self.confirmed(now)
        fixed = await self._exchange.phase_opt_outs(hour) | await self._exchange.absent(slots[0])
        self._staying[hour] = fixed
        current = dict(phases)
        plan = {home: list(self._plans.get(hour, {}).get(home, ())) for home in self._switched - fixed}
        first = (slots[0] - hour) // SLOT
        for home, chain in plan.items():
            del chain[first:]
            chain.extend([current[home]] * (first - len(chain)))
        flows_kw = await self._nowcast.expected_each_kw(slots, now)
        for slot in slots:
            chosen = self._allocate(slot, flows_kw[slot], current, fixed)
            current.update(chosen)
            for home, chain in plan.items():
                chain.append(current[home])
        complete = {home: tuple(chain) for home, chain in plan.items()}
        if complete != {home: self._plans.get(hour, {}).get(home) for home in complete}:
            await self._exchange.publish_phases(hour, complete)
        self._plans.setdefault(hour, {}).update(complete)

    def _allocate(
        self,
        slot: datetime,
        flows_kw: Mapping[HomeId, float],
        current: Mapping[HomeId, Phase],
        fixed: frozenset[HomeId],
    ) -> dict[HomeId, Phase]:
        chosen: dict[HomeId, Phase] = {}
        operations, imbalance = 0, 0.0
        for feeder in self._network.feeders:
            base, movable = [0.0, 0.0, 0.0], []
            for home in self._network.homes:
                if home.feeder != feeder:
                    continue
                flow_kw = flows_kw.get(home.id, 0.0)
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
