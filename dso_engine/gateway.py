"""The one place where the engine meets OpenADR: homes are VENs, results are events, offers are reports.

Source: signals.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Final

from dso_engine.gateway_desk import Desk, EventState, Said, publish_once
from dso_engine.gateway_messages import (
    Contexts,
    curtail_id,
    curtailment,
    export_signal,
    phase_event,
    phase_id,
    phase_signal,
    phases_of,
    price_event,
    price_id,
    price_signal,
    result_event,
    result_id,
    result_of,
    to_millicent,
)
from dso_engine.hourly import PHASES
from dso_engine.market import MAX_PRICE_MILLICENT, MAX_VOLUME_WH, Order, Side, sequence_number
from dso_engine.metering import EnergyReading, MeterOutcome, SlotEnergy, slot_energy
from dso_engine.model import SLOT, Commitment, HomeId, Pcc, Phase
from dso_engine.ports import Clock, Delivery, HourResult, OpenPrice, SlotOrder
from dso_engine.resettlement import LateReading, MeterFault
from schemas.oadr20b.enums import OptType
from vtn_server.operator import EventDraft
from vtn_server.state import VenId

__all__ = ["OpenAdrGateway"]

ENERGY: Final = "energy"
"""The rID of the energy that is settled, where a meter says more than one thing."""
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class OpenAdrGateway:
    """Implements :class:`dso_engine.ports.HomeExchange` over a VTN.

    A VEN the VTN does not know, or no longer, gets nothing and keeps nobody else from getting his.

    Args:
        desk: The VTN.
        vens: The VEN of each home that has one.
        switches: The resourceID of each transfer switch.
        pccs: The PCCs of the network: their prices have ids of their own.
        contexts: Market contexts.
        seed: Seed of the auction's sequence numbers.
        clock: For the start of a curtailment.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        vens: Mapping[HomeId, VenId],
        switches: Mapping[HomeId, str],
        pccs: Sequence[Pcc],
        contexts: Contexts,
        seed: int,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._vens = dict(vens)
        self._homes = {ven: home for home, ven in vens.items()}
        self._switches = dict(switches)
        self._pccs = tuple(pccs)
        self._contexts = contexts
        self._seed = seed
        self._clock = clock

    # --- market --------------------------------------------------------------------------------------------

    async def orders(self, hour: datetime, of: frozenset[HomeId] | None = None) -> tuple[SlotOrder, ...]:
        """See :class:`HomeExchange`; a slot without volume, or with one nobody can mean, is no order.

        Nor is the energy of an interval that is no slot: nobody said how much of it is for which slot.
        Neither is that of a VEN the VTN does not know any more: it could not be told of its trade.
        """
        readings = await self._readings("offer", hour, hour + _HOUR)
        volumes = {
            (r.ven_id, r.start): round(r.value or 0.0)
            for r in readings
            if r.r_id == "volume" and r.lasts(SLOT)
        }
        prices = {(r.ven_id, r.start): r.value for r in readings if r.r_id == "limit-price"}
        heard = (await self.reachable()) - await self.absent(hour) if of is None else of
        orders: list[SlotOrder] = []
        for (ven, slot), volume in sorted(volumes.items()):
            price, home = prices.get((ven, slot)), self._homes.get(ven)
            if price is None or home is None or home not in heard:
                continue
            if not 1 <= abs(volume) <= MAX_VOLUME_WH or abs(to_millicent(price)) > MAX_PRICE_MILLICENT:
                continue
            order = Order(
                home=home,
                side=Side.BUY if volume > 0 else Side.SELL,
                price_millicent=to_millicent(price),
                volume_wh=abs(volume),
                seq=sequence_number(slot, home, self._seed),
            )
            orders.append(SlotOrder(slot=slot, order=order))
        return tuple(orders)

    async def reachable(self) -> frozenset[HomeId]:
        """See :class:`HomeExchange`."""
        return frozenset(self._homes[ven] for ven in await self._desk.known() if ven in self._homes)

    async def publish_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """See :class:`HomeExchange`."""
        drafts = [result_event(hour, self._vens[r.home], r, self._contexts) for r in results]
        await publish_once(self._desk, drafts, self._clock.now(), whole=True)

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """See :class:`HomeExchange`."""
        events = await self._by_home(hour, result_id)
        found = {home: result_of(home, event.signals) for home, event in events.items()}
        return tuple(found[home] for home in sorted(found))

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`; an answer that came after the hour began does not count."""
        found = set()
        for home, event in (await self._by_home(hour, result_id)).items():
            opt = event.opts.get(self._vens[home])
            if opt is not None and opt.opt_type is OptType.OPT_IN and opt.at < hour:
                found.add(home)
        return frozenset(found)

    async def commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        """See :class:`HomeExchange`."""
        return self._committed(await self._readings("commitment", hour, hour + _HOUR))

    async def binding_commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        """See :class:`dso_engine.settling.HourSource`; phases rest on what was said by then."""
        found = await self._readings("commitment", hour, hour + _HOUR)
        return self._committed([each for each in found if each.received_at <= hour - PHASES])

    def _committed(self, readings: Sequence[Said]) -> tuple[Commitment, ...]:
        table: dict[tuple[HomeId, datetime], dict[str, float]] = {}
        for reading in readings:
            home = self._homes.get(reading.ven_id)
            if home is not None and reading.value is not None and reading.lasts(SLOT):
                table.setdefault((home, reading.start), {})[reading.r_id] = reading.value
        return tuple(
            Commitment(
                home=home,
                slot=slot,
                grid_energy_wh=round(values["grid-energy"]),
                up_w=max(0, round(values.get("flexibility-up", 0.0))),
                down_w=max(0, round(values.get("flexibility-down", 0.0))),
            )
            for (home, slot), values in sorted(table.items())
            if "grid-energy" in values
        )

    # --- phases --------------------------------------------------------------------------------------------

    async def publish_phases(self, hour: datetime, plan: Mapping[HomeId, tuple[Phase, ...]]) -> None:
        """See :class:`HomeExchange`."""
        known = await self._by_home(hour, phase_id)
        new, changed = [], []
        for home, phases in sorted(plan.items()):
            event = known.get(home)
            if event is None:
                if home in self._vens:
                    switch = self._switches[home]
                    new.append(phase_event(hour, self._vens[home], switch, phases, self._contexts))
            elif phases_of(event.signals) != phases:
                changed.append((event.event_id, phase_signal(phases)))
        await self._publish(new)
        if changed:
            await self._desk.modify(changed)

    async def phase_plans(self, hour: datetime) -> Mapping[HomeId, tuple[Phase, ...]]:
        """See :class:`HomeExchange`."""
        events = await self._by_home(hour, phase_id)
        return {home: phases_of(event.signals) for home, event in events.items()}

    async def phase_opt_outs(self, hour: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`."""
        declined = set()
        for home, event in (await self._by_home(hour, phase_id)).items():
            opt = event.opts.get(self._vens[home])
            if opt is not None and opt.opt_type is OptType.OPT_OUT:
                declined.add(home)
        return frozenset(declined)

    async def confirmed_phases(self, now: datetime) -> Mapping[HomeId, Phase]:
        """See :class:`HomeExchange`; the newest status of each switch counts."""
        phases: dict[HomeId, Phase] = {}
        for said in await self._desk.distinct("switch", now - _DAY, now + SLOT):
            home = self._homes.get(said.ven_id)
            if home is None or said.set_point is None or not isfinite(said.set_point):
                continue
            value = round(said.set_point)
            if 1 <= value <= len(Phase):
                phases[home] = Phase(value - 1)
        return phases

    # --- metering ------------------------------------------------------------------------------------------

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        """See :class:`HomeExchange`."""
        return {each.home: each.metered_wh for each in await self.arrivals(slot, slot + SLOT)}

    async def arrivals(self, start: datetime, end: datetime) -> tuple[LateReading, ...]:
        """See :class:`dso_engine.accounts.LateSource`."""
        found = await self._energies(start, start, end)
        return tuple(
            LateReading(home=home, slot=slot, metered_wh=energy.wh, at=energy.at)
            for slot, home, energy in found
            if energy.at is not None
        )

    async def meter_faults(self, start: datetime, end: datetime) -> tuple[MeterFault, ...]:
        """See :class:`dso_engine.settling.HourSource`; a reading may have begun an hour before."""
        found = await self._energies(start - _HOUR, start, end)
        return tuple(
            MeterFault(home=home, slot=slot, outcome=energy.outcome)
            for slot, home, energy in found
            if energy.outcome not in (MeterOutcome.METERED, MeterOutcome.MISSING)
        )

    async def _energies(
        self, since: datetime, start: datetime, end: datetime
    ) -> list[tuple[datetime, HomeId, SlotEnergy]]:
        """Return what each home's meter says of the slots in [start, end), by slot and home.

        Args:
            since: First start of a reading that is looked at.
            start: First slot.
            end: Last instant, excluded.
        """
        meters: dict[HomeId, dict[str, list[EnergyReading]]] = {}
        for said in await self._readings("meter-energy", since, end):
            home = self._homes.get(said.ven_id)
            if home is not None and said.value is not None:
                reading = EnergyReading(start=said.start, end=said.end, wh=said.value, at=said.received_at)
                meters.setdefault(home, {}).setdefault(said.r_id, []).append(reading)
        # A meter that says one thing only says it by whatever name.
        of = {h: next(iter(m.values())) if len(m) == 1 else m.get(ENERGY, []) for h, m in meters.items()}
        slots = [start + k * SLOT for k in range(-(-(end - start) // SLOT))]
        return [(slot, home, slot_energy(slot, of[home])) for slot in slots for home in sorted(of)]

    # --- real-time price -----------------------------------------------------------------------------------

    async def open_prices(self, slot: datetime, audience: Mapping[Pcc, tuple[HomeId, ...]]) -> None:
        """See :class:`HomeExchange`."""
        await self._publish(
            [
                price_event(slot, pcc, tuple(self._vens[h] for h in homes if h in self._vens), self._contexts)
                for pcc, homes in audience.items()
            ]
        )

    async def prices(self, slot: datetime) -> Mapping[Pcc, OpenPrice]:
        """See :class:`HomeExchange`."""
        ids = {pcc: price_id(slot, pcc) for pcc in self._pccs}
        bounds = {pcc: curtail_id(slot, pcc) for pcc in self._pccs}
        events = await self._desk.events((*ids.values(), *bounds.values()))
        return {
            pcc: OpenPrice(
                homes=tuple(self._homes[v] for v in events[ids[pcc]].audience if v in self._homes),
                u_millicent=to_millicent(events[ids[pcc]].signals[0].intervals[0].signal_value),
                curtailed=bounds[pcc] in events,
            )
            for pcc in self._pccs
            if ids[pcc] in events
        }

    async def set_prices(self, slot: datetime, prices_millicent: Mapping[Pcc, int]) -> None:
        """See :class:`HomeExchange`."""
        await self._desk.modify(
            [(price_id(slot, pcc), price_signal(u)) for pcc, u in prices_millicent.items()]
        )

    async def deliveries(self, slot: datetime, pccs: Sequence[Pcc]) -> Mapping[Pcc, Delivery]:
        """See :class:`HomeExchange`."""
        ids = {pcc: price_id(slot, pcc) for pcc in pccs}
        events = await self._desk.events(tuple(ids.values()))
        return {pcc: _delivery(events[each]) for pcc, each in ids.items() if each in events}

    async def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        """See :class:`dso_engine.accounts.AccountSource`; the last version of each price counts."""
        prices = await self.prices(slot)
        return {home: price.u_millicent for price in prices.values() for home in price.homes}

    async def curtail(self, slot: datetime, pcc: Pcc, export_w: Mapping[HomeId, int]) -> None:
        """See :class:`HomeExchange`; the bound is the same for all homes, so one event carries it."""
        now = self._clock.now().replace(microsecond=0)
        if now >= slot + SLOT:
            return  # a rest of zero would be an event without end (r47)
        bound, event_id = max(export_w.values()), curtail_id(slot, pcc)
        known = (await self._desk.events((event_id,))).get(event_id)
        if known is not None:
            await self._desk.modify([(event_id, export_signal(bound, known.duration))])
            return
        audience = tuple(self._vens[home] for home in export_w if home in self._vens)
        await self._publish([curtailment(slot, now, pcc, audience, bound, self._contexts)])

    # --- the VTN -------------------------------------------------------------------------------------------

    async def absent(self, now: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`."""
        return frozenset(self._homes[ven] for ven in await self._desk.opted_out(now) if ven in self._homes)

    async def _publish(self, drafts: Sequence[EventDraft]) -> None:
        await publish_once(self._desk, drafts, self._clock.now())

    async def _by_home(
        self, hour: datetime, event_id: Callable[[datetime, VenId], str]
    ) -> Mapping[HomeId, EventState]:
        """Return the event each home has of a kind that every VEN gets one of."""
        ids = {home: event_id(hour, ven) for home, ven in self._vens.items()}
        events = await self._desk.events(tuple(ids.values()))
        return {home: events[each] for home, each in ids.items() if each in events}

    async def _readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        """Return readings that start in [start, end); an infinite value is no measurement."""
        found = await self._desk.readings(specifier, start, end)
        return tuple(reading for reading in found if reading.value is None or isfinite(reading.value))


def _delivery(event: EventState) -> Delivery:
    times = []
    for ven in event.audience:
        seen = event.fetched.get(ven)
        if seen is None or seen.modification_number < event.modification_number:
            return Delivery(published_at=event.modified_at, fetched_by_all_at=None)
        times.append(seen.at)
    return Delivery(published_at=event.modified_at, fetched_by_all_at=max(times, default=None))
