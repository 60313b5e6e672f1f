"""From results, commitments and meters to the day's accounts.

Source: mechanisms.md 11 and docs/mechanisms.md 17; settlement.py has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Protocol

from dso_engine.hourly import DayAheadTrade, HourBook, TariffMillicent
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.ports import HourResult
from dso_engine.resettlement import WINDOW, LateReading, Resettlement, settle_again
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, settle_day
from dso_engine.substitute import Estimated, Metered, substitute

__all__ = ["AccountSource", "LateSource", "open_slots", "reward_terms", "settle_late", "settle_run"]


class AccountSource(Protocol):
    """What the accounts need of the homes."""

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        """Return the homes that opted in to their result."""
        ...

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        """Return the metered net energy of a slot."""
        ...

    async def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        """Return the real-time price in force at the end of a slot, 1e-5 EUR/kWh, where there was one."""
        ...


class LateSource(Protocol):
    """What settling again needs of the homes."""

    async def arrivals(self, start: datetime, end: datetime) -> tuple[LateReading, ...]:
        """Return the metered net energy of the slots in [start, end), each with when it came."""
        ...


async def settle_run(
    *,
    source: AccountSource,
    book: HourBook,
    homes: Sequence[HomeId],
    slots: Sequence[datetime],
    tariff: Mapping[datetime, TariffMillicent],
    rebate_millicent: Mapping[datetime, int],
    terms: RewardTerms,
    before: Mapping[HomeId, Metered] = MappingProxyType({}),
) -> DayAccounts:
    """Return the accounts of all homes over the slots.

    A reading that has not come is substituted, flagged on the statement, and can be settled again
    (:func:`settle_late`): one silent meter does not keep the others from their accounts.

    Args:
        source: The homes.
        book: Results and commitments.
        homes: Who is settled.
        slots: What is settled.
        tariff: Prices outside the market, by slot.
        rebate_millicent: Rebate on energy bought on the market, by slot.
        terms: Reward parameters.
        before: The newest reading of each home before the first slot, where there is one.
    """
    inputs: list[SlotInput] = []
    last = dict(before)
    accepted: dict[datetime, frozenset[HomeId]] = {}
    for slot in sorted(slots):
        hour = slot.replace(minute=0)
        if hour not in accepted:
            accepted = {hour: await source.accepted(hour)}
        known = _Slot(
            slot=slot,
            results={result.home: result for result in book.results(hour)},
            accepted=accepted[hour],
            day_ahead=book.day_ahead(slot),
            commitments=book.commitments(slot),
            prices=await source.price_at_end(slot),
            metered_wh=await source.metered_wh(slot),
            tariff=tariff[slot],
            rebate_millicent=rebate_millicent.get(slot, 0),
        )
        inputs += [known.input(home, last.get(home)) for home in homes]
        last.update((home, Metered(slot=slot, wh=wh)) for home, wh in known.metered_wh.items())
    return settle_day(inputs, terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """What is known of a slot."""

    slot: datetime
    results: Mapping[HomeId, HourResult]
    accepted: frozenset[HomeId]
    day_ahead: Mapping[HomeId, DayAheadTrade]
    commitments: Mapping[HomeId, Commitment]
    prices: Mapping[HomeId, int]
    metered_wh: Mapping[HomeId, int]
    tariff: TariffMillicent
    rebate_millicent: int

    def input(self, home: HomeId, last: Metered | None) -> SlotInput:
        """Return what settlement is told of one home; its newest reading before may stand in for this one."""
        result, held = self.results.get(home), self.day_ahead.get(home)
        commitment = self.commitments.get(home)
        energy = self._energy(home, commitment, last)
        k = (self.slot - self.slot.replace(minute=0)) // SLOT
        return SlotInput(
            home=home,
            slot=self.slot,
            metered_wh=energy.wh,
            source=energy.source,
            cleared_wh=result.volume_wh[k] if result else 0,
            refused=result is not None and home not in self.accepted,
            market_price_millicent=result.price_millicent[k] if result else 0,
            committed_wh=commitment.grid_energy_wh if commitment else None,
            supplier_price_millicent=self.tariff.supplier,
            feed_in_price_millicent=self.tariff.feed_in,
            u_end_millicent=self.prices.get(home, 0),
            rebate_millicent=self.rebate_millicent,
            day_ahead_wh=held.volume_wh if held else 0,
            day_ahead_price_millicent=held.price_millicent if held else 0,
        )

    def _energy(self, home: HomeId, commitment: Commitment | None, last: Metered | None) -> Estimated:
        if home in self.metered_wh:
            return Estimated(wh=self.metered_wh[home], source=ReadingSource.METERED)
        return substitute(
            self.slot, committed_wh=commitment.grid_energy_wh if commitment else None, last=last
        )


async def settle_late(
    *, source: LateSource, accounts: DayAccounts, terms: RewardTerms, window: timedelta = WINDOW
) -> Resettlement:
    """Ask again for the readings that were substituted, and settle again with those that have come.

    When a reading came is what its source says, not when it is asked for: an engine that was down meanwhile
    takes no reading too late.

    Args:
        source: The homes.
        accounts: As they were drawn.
        terms: Reward parameters, the same as before.
        window: How long after the end of its slot a reading is taken.
    """
    missing = open_slots(accounts)
    if not missing:
        return Resettlement(accounts=accounts, outcomes=(), corrections=())
    slots = [slot for slot, _ in missing]
    arrived = await source.arrivals(min(slots), max(slots) + SLOT)
    readings = [reading for reading in arrived if (reading.slot, reading.home) in missing]
    return settle_again(accounts, readings, terms, window=window)


def open_slots(accounts: DayAccounts) -> frozenset[tuple[datetime, HomeId]]:
    """Return the slots and homes that were settled on a substitute."""
    return frozenset(
        (statement.slot, home.home)
        for home in accounts.homes
        for statement in home.slots
        if statement.facts.source is not ReadingSource.METERED
    )


def reward_terms(*, reward_percent: float, curvature_c_per_kwh2: float) -> RewardTerms:
    """Return exact terms from settings; the decimal a person wrote, not its binary neighbour."""
    return RewardTerms(
        reward_percent=Fraction(str(reward_percent)),
        curvature_c_per_kwh2=Fraction(str(curvature_c_per_kwh2)),
    )
