"""From results, commitments and meters to the day's accounts.

Source: mechanisms.md 11; settlement.py has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Protocol

from dso_engine.errors import EngineError
from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.model import SLOT, HomeId
from dso_engine.settlement import DayAccounts, RewardTerms, SlotInput, settle_day

__all__ = ["AccountSource", "MissingReading", "reward_terms", "settle_run"]


class MissingReading(EngineError):
    """A home's meter reading of a slot never came, so its account cannot be closed."""


class AccountSource(Protocol):
    """What the accounts need of the homes."""

    def accepted(self, hour: datetime) -> frozenset[HomeId]:
        """Return the homes that opted in to their result."""
        ...

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        """Return the metered net energy of a slot."""
        ...

    def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
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

    Raises:
        MissingReading: naming the home and slot.
    """
    inputs: list[SlotInput] = []
    for slot in slots:
        hour = slot.replace(minute=0)
        k = (slot - hour) // SLOT
        results = {result.home: result for result in book.results(hour)}
        accepted, metered = source.accepted(hour), await source.metered_wh(slot)
        prices = source.price_at_end(slot)
        for home in homes:
            if home not in metered:
                raise MissingReading(f"home {home} has no meter reading of {slot.isoformat()}")
            result, commitment = results.get(home), book.commitment(home, slot)
            inputs.append(
                SlotInput(
                    home=home,
                    slot=slot,
                    metered_wh=metered[home],
                    cleared_wh=result.volume_wh[k] if result else 0,
                    refused=result is not None and home not in accepted,
                    market_price_millicent=result.price_millicent[k] if result else 0,
                    committed_wh=commitment.grid_energy_wh if commitment else None,
                    supplier_price_millicent=tariff[slot].supplier,
                    feed_in_price_millicent=tariff[slot].feed_in,
                    u_end_millicent=prices.get(home, 0),
                    rebate_millicent=rebate_millicent.get(slot, 0),
                )
            )
    return settle_day(inputs, terms)


def reward_terms(*, reward_percent: float, curvature_c_per_kwh2: float) -> RewardTerms:
    """Return exact terms from settings; the decimal a person wrote, not its binary neighbour."""
    return RewardTerms(
        reward_percent=Fraction(str(reward_percent)),
        curvature_c_per_kwh2=Fraction(str(curvature_c_per_kwh2)),
    )
