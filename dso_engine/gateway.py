"""The one place where the engine meets OpenADR: homes are VENs, results are events, offers are reports.

Source: signals.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Final

from dso_engine.gateway_messages import (
    Contexts,
    curtail_id,
    curtailment,
    export_signal,
    phase_event,
    phase_id,
    phase_signal,
    price_event,
    price_id,
    price_signal,
    result_event,
    result_id,
    to_millicent,
)
from dso_engine.market import MAX_PRICE_MILLICENT, MAX_VOLUME_WH, Order, Side, sequence_number
from dso_engine.model import SLOT, Commitment, HomeId, Pcc, Phase
from dso_engine.ports import Clock, Delivery, HourResult, SlotOrder
from schemas.oadr20b.enums import OptType
from vtn_server.operator import Operator, Reading
from vtn_server.state import VenId

__all__ = ["OpenAdrGateway"]

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class OpenAdrGateway:
    """Implements :class:`dso_engine.ports.HomeExchange` over a VTN's operator facade.

    Args:
        operator: Returns the facade; a function, because a VTN may be restarted while the engine runs.
        vens: The VEN of each home.
        switches: The resourceID of each transfer switch.
        contexts: Market contexts.
        seed: Seed of the auction's sequence numbers.
        clock: For the start of a curtailment.
    """

    def __init__(
        self,
        *,
        operator: Callable[[], Operator],
        vens: Mapping[HomeId, VenId],
        switches: Mapping[HomeId, str],
        contexts: Contexts,
        seed: int,
        clock: Clock,
    ) -> None:
        self._operator = operator
        self._vens = dict(vens)
        self._homes = {ven: home for home, ven in vens.items()}
        self._switches = dict(switches)
        self._contexts = contexts
        self._seed = seed
        self._clock = clock

    # --- market --------------------------------------------------------------------------------------------

    async def orders(self, hour: datetime) -> tuple[SlotOrder, ...]:
        """See :class:`HomeExchange`; a slot without volume, or with one nobody can mean, is no order."""
        readings = await self._readings("offer", hour, hour + _HOUR)
        volumes = {(r.ven_id, r.start): round(r.value or 0.0) for r in readings if r.r_id == "volume"}
        prices = {(r.ven_id, r.start): r.value for r in readings if r.r_id == "limit-price"}
        absent = self.absent(hour)
        orders: list[SlotOrder] = []
        for (ven, slot), volume in sorted(volumes.items()):
            price, home = prices.get((ven, slot)), self._homes.get(ven)
            if price is None or home is None or home in absent:
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

    async def publish_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """See :class:`HomeExchange`."""
        drafts = [result_event(hour, self._vens[r.home], r, self._contexts) for r in results]
        if drafts:
            await self._operator().publish_events(drafts)

    def accepted(self, hour: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`; an answer that came after the hour began does not count."""
        found = set()
        for home, ven in self._vens.items():
            opt = self._operator().opts(result_id(hour, ven)).get(ven)
            if opt is not None and opt.opt_type is OptType.OPT_IN and opt.at < hour:
                found.add(home)
        return frozenset(found)

    async def commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        """See :class:`HomeExchange`."""
        table: dict[tuple[HomeId, datetime], dict[str, float]] = {}
        for reading in await self._readings("commitment", hour, hour + _HOUR):
            home = self._homes.get(reading.ven_id)
            if home is not None and reading.value is not None:
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
        operator = self._operator()
        new, changed = [], []
        for home, phases in sorted(plan.items()):
            ven = self._vens[home]
            known = operator.event(phase_id(hour, ven))
            if known is None:
                new.append(phase_event(hour, ven, self._switches[home], phases, self._contexts))
            elif known.signals != phase_signal(phases):
                changed.append((known.event_id, phase_signal(phases)))
        if new:
            await operator.publish_events(new)
        if changed:
            await operator.modify_events(changed)

    def phase_opt_outs(self, hour: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`."""
        declined = set()
        for home in self._switches:
            ven = self._vens[home]
            opt = self._operator().opts(phase_id(hour, ven)).get(ven)
            if opt is not None and opt.opt_type is OptType.OPT_OUT:
                declined.add(home)
        return frozenset(declined)

    async def confirmed_phases(self, now: datetime) -> Mapping[HomeId, Phase]:
        """See :class:`HomeExchange`; the newest status of each switch counts."""
        phases: dict[HomeId, Phase] = {}
        for reading in await self._readings("switch", now - _DAY, now + SLOT):
            home = self._homes.get(reading.ven_id)
            state = reading.status.load_control_state if reading.status else None
            if home is None or state is None or state.set_point is None:
                continue
            if not isfinite(state.set_point.current):
                continue
            value = round(state.set_point.current)
            if 1 <= value <= len(Phase):
                phases[home] = Phase(value - 1)
        return phases

    # --- metering ------------------------------------------------------------------------------------------

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        """See :class:`HomeExchange`."""
        return {
            self._homes[r.ven_id]: round(r.value)
            for r in await self._readings("meter-energy", slot, slot + SLOT)
            if r.ven_id in self._homes and r.value is not None
        }

    # --- real-time price -----------------------------------------------------------------------------------

    async def open_prices(self, slot: datetime, audience: Mapping[Pcc, tuple[HomeId, ...]]) -> None:
        """See :class:`HomeExchange`."""
        await self._operator().publish_events(
            [
                price_event(slot, pcc, tuple(self._vens[home] for home in homes), self._contexts)
                for pcc, homes in audience.items()
                if homes
            ]
        )

    async def set_prices(self, slot: datetime, prices_millicent: Mapping[Pcc, int]) -> None:
        """See :class:`HomeExchange`."""
        await self._operator().modify_events(
            [(price_id(slot, pcc), price_signal(u)) for pcc, u in prices_millicent.items()]
        )

    def delivery(self, slot: datetime, pcc: Pcc) -> Delivery | None:
        """See :class:`HomeExchange`."""
        event = self._operator().event(price_id(slot, pcc))
        if event is None:
            return None
        fetched = self._operator().fetched(event.event_id)
        times = []
        for ven in event.audience:
            seen = fetched.get(ven)
            if seen is None or seen.modification_number < event.modification_number:
                return Delivery(published_at=event.modified_at, fetched_by_all_at=None)
            times.append(seen.at)
        return Delivery(published_at=event.modified_at, fetched_by_all_at=max(times, default=None))

    def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        """See :class:`dso_engine.accounts.AccountSource`; the last version of each price counts."""
        prices: dict[HomeId, int] = {}
        for event in self._operator().events():
            if event.event_id.startswith("rtc-") and event.dtstart == slot:
                u = to_millicent(event.signals[0].intervals[0].signal_value)
                prices.update((self._homes[ven], u) for ven in event.audience if ven in self._homes)
        return prices

    async def curtail(self, slot: datetime, pcc: Pcc, export_w: Mapping[HomeId, int]) -> None:
        """See :class:`HomeExchange`; the bound is the same for all homes, so one event carries it."""
        operator, now = self._operator(), self._clock.now().replace(microsecond=0)
        bound = max(export_w.values())
        audience = tuple(self._vens[home] for home in export_w)
        known = operator.event(curtail_id(slot, pcc))
        if known is None:
            await operator.publish_events([curtailment(slot, now, pcc, audience, bound, self._contexts)])
        else:
            await operator.modify_event(known.event_id, signals=export_signal(bound, known.duration))

    def absent(self, now: datetime) -> frozenset[HomeId]:
        """See :class:`HomeExchange`."""
        return frozenset(self._homes[ven] for ven in self._operator().schedules(now) if ven in self._homes)

    async def _readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """Return readings that start in [start, end); an infinite value is no measurement."""
        found = await self._operator().readings(report_specifier_id=specifier, start=start, end=end)
        return tuple(reading for reading in found if reading.value is None or isfinite(reading.value))
