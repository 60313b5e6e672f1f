"""Settles hour after hour and says so after each; a test kills it. ``ledger_child FILE HOURS``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dso_engine.hourly import hour_slots
from dso_engine.model import HomeId
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, settle_day
from feederloop.dso_ledger import AccountLedger

FIRST: Final = datetime(2026, 5, 16, tzinfo=UTC)
HOMES: Final = tuple(HomeId(f"H{k:02}") for k in range(1, 21))


def of(hour: datetime) -> DayAccounts:
    """What a child states of an hour: no home is metered in its first slot."""
    return settle_day(
        (
            SlotInput(
                home=home,
                slot=slot,
                metered_wh=k,
                cleared_wh=0,
                market_price_millicent=0,
                committed_wh=None,
                supplier_price_millicent=15_000,
                feed_in_price_millicent=10_000,
                source=ReadingSource.NONE if slot == hour else ReadingSource.METERED,
            )
            for slot in hour_slots(hour)
            for k, home in enumerate(HOMES)
        ),
        RewardTerms(),
    )


def main() -> None:
    """Settle what is not settled."""
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    ledger = AccountLedger.kept(path, timezone="UTC", first_hour=FIRST)
    for hour in ledger.unsettled(FIRST + count * timedelta(hours=1)):
        ledger.state(hour, of(hour), RewardTerms(), hour)
        sys.stdout.write(".")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
