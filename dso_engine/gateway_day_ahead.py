"""The day-ahead market as OpenADR messages: offers are reports, results are events.

On the wire a block's energy is that of its whole hour, as the interval of an hour says it: six times what is
traded in each of its slots, and so a multiple of 6 Wh. Here and in the VEN it is turned into the energy of a
slot; nowhere else.

Source: signals.md, "The day before".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import Final

from dso_engine.gateway_desk import Desk, Said, publish_once
from dso_engine.gateway_messages import Contexts, signal_of, stamp, to_eur, to_millicent
from dso_engine.intake import Arrival
from dso_engine.market import Order, Side, sequence_number
from dso_engine.model import SLOTS_PER_HOUR, HomeId
from dso_engine.ports import BlockOrder, Clock, DayResult
from schemas.oadr20b.enums import ResponseRequired, SignalName, SignalType
from schemas.oadr20b.model import EventSignal
from schemas.oadr20b.units import EUR_PER_KWH, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from vtn_server.records import EventDraft
from vtn_server.state import VenId

__all__ = ["COMMITTED_BLOCK", "DayAheadGateway", "day_event", "day_id", "day_result_of"]

COMMITTED_BLOCK: Final = "x-COMMITTED_BLOCK"
_HOUR: Final = timedelta(hours=1)
_HOURS: Final = 24
_TOO_MUCH_EUR: Final = 1e9
"""More than an order may say, and less than what a float cannot be rounded from."""


class DayAheadGateway:
    """Implements :class:`dso_engine.ports.DayAheadExchange` over a VTN.

    Args:
        desk: The VTN.
        vens: The VEN of each home that has one.
        contexts: Market contexts.
        seed: Seed of the auction's sequence numbers.
        clock: For what is not to be published any more.
    """

    def __init__(
        self, *, desk: Desk, vens: Mapping[HomeId, VenId], contexts: Contexts, seed: int, clock: Clock
    ) -> None:
        self._desk = desk
        self._vens = dict(vens)
        self._homes = {ven: home for home, ven in vens.items()}
        self._contexts = contexts
        self._seed = seed
        self._clock = clock

    async def day_ahead_orders(
        self, midnight: datetime, of: frozenset[HomeId] | None = None
    ) -> tuple[BlockOrder, ...]:
        """See :class:`DayAheadExchange`.

        A block with volume 0 or of another length than an hour, without a limit price, or in which its home
        is absent, is no order.
        """
        readings = await self._desk.readings("day-ahead-offer", midnight, midnight + _HOURS * _HOUR)
        numbers = [r for r in readings if r.value is not None and isfinite(r.value)]
        prices = {(r.ven_id, r.start): r for r in numbers if r.r_id == "block-limit-price"}
        volumes = [r for r in numbers if r.r_id == "block-volume" and r.value and r.lasts(_HOUR)]
        heard: dict[datetime, frozenset[HomeId]] = {}
        if of is None:
            known = await self._desk.known()
            for hour in sorted({r.start for r in volumes}):
                there = known - await self._desk.opted_out(hour)
                heard[hour] = frozenset(self._homes[ven] for ven in there if ven in self._homes)
        orders: list[BlockOrder] = []
        for said in sorted(volumes, key=lambda r: (r.start, r.ven_id)):
            home, price = self._homes.get(said.ven_id), prices.get((said.ven_id, said.start))
            if home is None or price is None or home not in (heard[said.start] if of is None else of):
                continue
            orders.append(BlockOrder(hour=said.start, arrival=self._arrival(home, said, price)))
        return tuple(orders)

    def _arrival(self, home: HomeId, volume: Said, price: Said) -> Arrival:
        """Return an order as it was said; whether it is a good one is for the intake to decide."""
        block_wh, eur = volume.value or 0.0, price.value or 0.0
        slot_wh = abs(block_wh) / SLOTS_PER_HOUR
        order = Order(
            home=home,
            side=Side.BUY if block_wh > 0 else Side.SELL,
            price_millicent=to_millicent(max(-_TOO_MUCH_EUR, min(eur, _TOO_MUCH_EUR))),
            volume_wh=int(slot_wh) if slot_wh.is_integer() else slot_wh,  # type: ignore[arg-type]  # the intake says why such an order does not count
            seq=sequence_number(volume.start, home, self._seed),
        )
        return Arrival(order=order, at=max(volume.received_at, price.received_at))

    async def publish_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        """See :class:`DayAheadExchange`."""
        drafts = [day_event(midnight, self._vens[each.home], each, self._contexts) for each in results]
        await publish_once(self._desk, drafts, self._clock.now(), whole=True)

    async def day_ahead_results(self, midnight: datetime) -> tuple[DayResult, ...]:
        """See :class:`DayAheadExchange`."""
        ids = {home: day_id(midnight, ven) for home, ven in self._vens.items()}
        events = await self._desk.events(tuple(ids.values()))
        return tuple(
            day_result_of(home, events[ids[home]].signals) for home in sorted(ids) if ids[home] in events
        )


def day_id(midnight: datetime, ven: VenId) -> str:
    """Return the eventID of a home's day-ahead result."""
    return f"day-{stamp(midnight)}-{ven}"


def day_event(midnight: datetime, ven: VenId, result: DayResult, contexts: Contexts) -> EventDraft:
    """Return the event that tells one home what it holds of a delivery day."""
    prices = [to_eur(price) for price in result.price_millicent]
    energies = [float(SLOTS_PER_HOUR * wh) for wh in result.volume_wh]
    return EventDraft(
        event_id=day_id(midnight, ven),
        market_context=contexts.day_ahead,
        dtstart=midnight,
        duration=Duration(hours=_HOURS),
        signals=(
            signal_of(
                SignalName.ELECTRICITY_PRICE,
                SignalType.PRICE,
                "price",
                prices,
                Duration(hours=1),
                EUR_PER_KWH,
            ),
            signal_of(COMMITTED_BLOCK, SignalType.SETPOINT, "energy", energies, Duration(hours=1), WATT_HOUR),
        ),
        audience=(ven,),
        response_required=ResponseRequired.ALWAYS,
        priority=0,
    )


def day_result_of(home: HomeId, signals: Sequence[EventSignal]) -> DayResult:
    """Return what a home was told by a :func:`day_event`."""
    price, energy = ([each.signal_value for each in signal.intervals] for signal in signals)
    return DayResult(
        home=home,
        price_millicent=tuple(to_millicent(value) for value in price),
        volume_wh=tuple(round(value) // SLOTS_PER_HOUR for value in energy),
    )
