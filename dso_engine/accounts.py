"""From results, commitments and meters to the day's accounts.

Source: mechanisms.md 11 and docs/mechanisms.md 17; settlement.py has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Protocol

from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.model import SLOT, HomeId
from dso_engine.resettlement import WINDOW, LateReading, Resettlement, settle_again
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, settle_day
from dso_engine.substitute import Estimated, Metered, substitute

__all__ = ["AccountSource", "reward_terms", "settle_late", "settle_run"]


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


async def settle_run(
    *,
    source: AccountSource,
    book: HourBook,
    homes: Sequence[HomeId],
    slots: Sequence[datetime],
    tariff: Mapping[datetime, TariffMillicent],
    rebate_millicent: Mapping[datetime, int],
    terms: RewardTerms,
) -> DayAccounts:
    """Return the accounts of all homes over the slots.

    A reading that has not come is substituted, flagged on the statement, and can be settled again
    (:func:`settle_late`): one silent meter does not keep the others from their accounts.
    """
    inputs: list[SlotInput] = []
    last: dict[HomeId, Metered] = {}
    accepted: frozenset[HomeId] = frozenset()
    accepted_hour: datetime | None = None
    for slot in sorted(slots):
        hour = slot.replace(minute=0)
        k = (slot - hour) // SLOT
        results = {result.home: result for result in book.results(hour)}
        if hour != accepted_hour:
            accepted, accepted_hour = await source.accepted(hour), hour
        metered, prices = await source.metered_wh(slot), await source.price_at_end(slot)
        for home in homes:
            result, commitment = results.get(home), book.commitment(home, slot)
            committed_wh = commitment.grid_energy_wh if commitment else None
            if home in metered:
                last[home] = Metered(slot=slot, wh=metered[home])
                energy = Estimated(wh=metered[home], source=ReadingSource.METERED)
            else:
                energy = substitute(slot, committed_wh=committed_wh, last=last.get(home))
            inputs.append(
                SlotInput(
                    home=home,
                    slot=slot,
                    metered_wh=energy.wh,
                    source=energy.source,
                    cleared_wh=result.volume_wh[k] if result else 0,
                    refused=result is not None and home not in accepted,
                    market_price_millicent=result.price_millicent[k] if result else 0,
                    committed_wh=committed_wh,
                    supplier_price_millicent=tariff[slot].supplier,
                    feed_in_price_millicent=tariff[slot].feed_in,
                    u_end_millicent=prices.get(home, 0),
                    rebate_millicent=rebate_millicent.get(slot, 0),
                )
            )
    return settle_day(inputs, terms)


async def settle_late(
    *,
    source: AccountSource,
    accounts: DayAccounts,
    now: datetime,
    terms: RewardTerms,
    window: timedelta = WINDOW,
) -> Resettlement:
    """Ask again for the readings that were substituted, and settle again with those that have come.

    Args:
        source: The homes.
        accounts: As they were drawn.
        now: When the readings are taken to have come.
        terms: Reward parameters, the same as before.
        window: How long after the end of its slot a reading is taken.
    """
    open_slots = {
        (statement.slot, home.home)
        for home in accounts.homes
        for statement in home.slots
        if statement.facts.source is not ReadingSource.METERED
    }
    readings: list[LateReading] = []
    for slot in sorted({slot for slot, _ in open_slots}):
        metered = await source.metered_wh(slot)
        readings += [
            LateReading(home=home, slot=slot, metered_wh=metered[home], at=now)
            for each, home in sorted(open_slots)
            if each == slot and home in metered
        ]
    return settle_again(accounts, readings, terms, window=window)


def reward_terms(*, reward_percent: float, curvature_c_per_kwh2: float) -> RewardTerms:
    """Return exact terms from settings; the decimal a person wrote, not its binary neighbour."""
    return RewardTerms(
        reward_percent=Fraction(str(reward_percent)),
        curvature_c_per_kwh2=Fraction(str(curvature_c_per_kwh2)),
    )
