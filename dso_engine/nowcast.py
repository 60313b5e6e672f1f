"""What each home will exchange in a slot, as far as the engine can know before it begins.

A commitment is an hour old and rests on the home's forecast; the meter has since shown how far off that is.
The error of the last metered slot is carried forward: it is mostly the sun, which does not change from one
slot to the next. On a clear day after a cloudy one this is the difference between a plan and a guess.

Source: mechanisms.md 9 starts from the commitment, else from the last metered slot; using both is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf

from dso_engine.hourly import HourBook
from dso_engine.model import SLOT, SLOTS_PER_HOUR, Commitment, HomeId
from dso_engine.ports import Customer, HomeExchange

__all__ = ["Nowcast"]

_LOOK_BACK = 3


class Nowcast:
    """Expected exchange of homes.

    Args:
        exchange: Where metered energy comes from.
        book: Commitments.
        customers: Whose contract bounds what they are expected to exchange. A finite number nobody can mean,
            in a commitment or a meter report, must not reach the power flow.
    """

    def __init__(self, *, exchange: HomeExchange, book: HourBook, customers: Sequence[Customer] = ()) -> None:
        self._exchange = exchange
        self._book = book
        self._contract_kw = {customer.home: customer.contract_kva for customer in customers}

    async def expected_kw(self, slot: datetime, now: datetime) -> Mapping[HomeId, float]:
        """Return the expected mean exchange of every home that is known at all, kW.

        Commitment of the slot plus (metered - commitment) of the newest metered slot; the part that is not
        known is left out.
        """
        return (await self.expected_each_kw((slot,), now))[slot]

    async def expected_each_kw(
        self, slots: Sequence[datetime], now: datetime
    ) -> Mapping[datetime, Mapping[HomeId, float]]:
        """Return the same for several slots; the meters are asked once."""
        metered_slot, metered = await self._last_metered(now)
        before = self._book.commitments(metered_slot)
        return {slot: self._expected(slot, metered, before) for slot in slots}

    def _expected(
        self, slot: datetime, metered: Mapping[HomeId, int], before: Mapping[HomeId, Commitment]
    ) -> Mapping[HomeId, float]:
        committed = self._book.commitments(slot)
        expected: dict[HomeId, float] = {}
        for home in committed.keys() | metered.keys():
            plan, was = committed.get(home), before.get(home)
            seen = metered.get(home)
            if seen is None:
                kw = self._kw(home, plan.grid_energy_wh) if plan else 0.0
            elif plan is not None and was is not None and self._can_mean(plan) and self._can_mean(was):
                kw = self._kw(home, plan.grid_energy_wh + seen - was.grid_energy_wh)
            else:
                kw = self._kw(home, seen)
            expected[home] = kw
        return expected

    def _can_mean(self, commitment: Commitment) -> bool:
        """Return whether a commitment lies inside the home's contract; if not, its error says nothing."""
        kw = abs(commitment.grid_energy_wh) * SLOTS_PER_HOUR / 1000.0
        return kw <= self._contract_kw.get(commitment.home, inf)

    def _kw(self, home: HomeId, wh: int) -> float:
        """Return the mean power of a slot, inside the home's contract."""
        most_kw = self._contract_kw.get(home, inf)
        return min(max(wh * SLOTS_PER_HOUR / 1000.0, -most_kw), most_kw)

    async def _last_metered(self, now: datetime) -> tuple[datetime, Mapping[HomeId, int]]:
        edge = now - (now - now.replace(minute=0, second=0, microsecond=0)) % SLOT
        for back in range(1, _LOOK_BACK + 1):
            if metered := await self._exchange.metered_wh(edge - back * SLOT):
                return edge - back * SLOT, metered
        return edge - SLOT, {}
