"""Two homes in memory, an engine's settlement over them on simulated time, and its accounts in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from dso_engine.errors import ExchangeFailed
from dso_engine.guard import Guard, Loud
from dso_engine.hourly import TariffMillicent
from dso_engine.model import SLOT, Commitment, HomeId
from dso_engine.ports import HourResult
from dso_engine.resettlement import WINDOW, LateReading, MeterFault
from dso_engine.settlement import DayAccounts, Lines, RewardTerms, accounts_of
from dso_engine.settling import Members, Settling, SettlingRules
from feederloop.clock import SimClock
from feederloop.dso_ledger import AccountLedger
from tests.unit.engine.engine_fakes import HOUR, Tape

A, B = HomeId("H01"), HomeId("H02")
NO_REWARD = RewardTerms(reward_percent=Fraction(0), curvature_c_per_kwh2=Fraction(0))
ONE_HOUR = timedelta(hours=1)
DUE = HOUR + timedelta(minutes=75)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class Always(dict[datetime, TariffMillicent]):
    def __missing__(self, slot: datetime) -> TariffMillicent:
        return TariffMillicent(supplier=15_000, feed_in=10_000)


class Rebate(dict[datetime, int]):
    def __missing__(self, slot: datetime) -> int:
        return 0


@dataclass
class Homes:
    """Implements ``HourSource``: what a test puts in, as far as it has come by now.

    Attributes:
        readings: Energy of a home and slot, and when it came.
        away: Until when the homes' server does not answer.
    """

    now: Callable[[], datetime]
    told: dict[datetime, tuple[HourResult, ...]] = field(default_factory=dict)
    opted_in: frozenset[HomeId] = frozenset({A, B})
    committed: tuple[Commitment, ...] = ()
    readings: dict[tuple[HomeId, datetime], tuple[int, datetime]] = field(default_factory=dict)
    prices: dict[datetime, dict[HomeId, int]] = field(default_factory=dict)
    away: datetime | None = None
    faults: tuple[MeterFault, ...] = ()

    def meter(self, home: HomeId, slot: datetime, wh: int, *, late: timedelta = timedelta(0)) -> None:
        """Let a reading come, by default half a minute after its slot."""
        self.readings[home, slot] = (wh, slot + SLOT + timedelta(seconds=30) + late)

    def meter_hour(self, home: HomeId, hour: datetime, wh: int) -> None:
        for k in range(6):
            self.meter(home, hour + k * SLOT, wh)

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        self._ask()
        return self.opted_in

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        self._ask()
        return self.told.get(hour, ())

    async def binding_commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        self._ask()
        return tuple(each for each in self.committed if hour <= each.slot < hour + ONE_HOUR)

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        return {each.home: each.metered_wh for each in await self.arrivals(slot, slot + SLOT)}

    async def arrivals(self, start: datetime, end: datetime) -> tuple[LateReading, ...]:
        self._ask()
        return tuple(
            LateReading(home=home, slot=slot, metered_wh=wh, at=at)
            for (home, slot), (wh, at) in sorted(self.readings.items())
            if start <= slot < end and at <= self.now()
        )

    async def meter_faults(self, start: datetime, end: datetime) -> tuple[MeterFault, ...]:
        self._ask()
        return tuple(each for each in self.faults if start <= each.slot < end)

    async def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        self._ask()
        return self.prices.get(slot, {})

    def _ask(self) -> None:
        if self.away is not None and self.now() < self.away:
            raise ExchangeFailed("the VTN is away")


class Dso:
    """One life of an engine's settlement; a later one with the same file goes on where it ended."""

    def __init__(
        self,
        path: Path,
        start: datetime,
        *,
        guard: Callable[[SimClock], Guard] = lambda clock: Loud(),
        terms: RewardTerms = NO_REWARD,
        contract_kva: Mapping[HomeId, float] | None = None,
        first_hour: datetime = HOUR,
        window: timedelta = WINDOW,
    ) -> None:
        self.clock = SimClock(start)
        self.homes = Homes(now=self.clock.now)
        self.ledger = AccountLedger.kept(path, timezone="Etc/GMT-1", first_hour=first_hour)
        self.published: list[date] = []
        self.tape = Tape()
        self.settling = Settling(
            clock=self.clock,
            members=lambda hour: Members(homes=(A, B), contract_kva=contract_kva or {}, source=self.homes),
            ledger=self.ledger,
            rules=SettlingRules(
                tariff=Always(),
                rebate_millicent=Rebate(),
                terms=terms,
                window=window,
            ),
            publish=self._publish,
            guard=guard(self.clock),
            recorder=self.tape,
        )

    def take_over(self, before: Dso) -> Dso:
        """Go on with the same homes; they live on this clock now."""
        self.homes.__dict__.update(before.homes.__dict__ | {"now": self.clock.now})
        return self

    async def run(self, until: datetime) -> None:
        """Let it run up to an instant, and end it there without a word."""
        task = self.clock.spawn(self.settling.run(), "settlement")
        try:
            await self.clock.run(until)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def accounts(self, *, corrected: bool = False) -> DayAccounts:
        return accounts_of(
            self.ledger.statements(HOUR - 48 * ONE_HOUR, HOUR + 96 * ONE_HOUR, corrected=corrected)
        )

    async def _publish(self, day: date) -> None:
        self.published.append(day)
        self.ledger.published(day)


def reread(path: Path, *, corrected: bool = False) -> DayAccounts:
    """The accounts as another process reads them."""
    with closing(AccountLedger.of(path)) as ledger:
        span = (HOUR - 48 * ONE_HOUR, HOUR + 96 * ONE_HOUR)
        return accounts_of(ledger.statements(*span, corrected=corrected))


def sources(accounts: DayAccounts, home: HomeId) -> list[tuple[int, str]]:
    """Energy and where it comes from, slot by slot."""
    (found,) = (each for each in accounts.homes if each.home == home)
    return [(s.facts.metered_wh, s.facts.source.value) for s in found.slots]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.sqlite"


@pytest.fixture
def dso(path: Path) -> Iterator[Callable[[datetime], Dso]]:
    """Starts lives of an engine on one file, one after the other."""
    lives: list[Dso] = []

    def start(at: datetime) -> Dso:
        if lives:
            lives[-1].ledger.close()
        lives.append(Dso(path, at) if not lives else Dso(path, at).take_over(lives[-1]))
        return lives[-1]

    yield start
    lives[-1].ledger.close()


def traded(hour: datetime) -> tuple[HourResult, ...]:
    """In the second slot A buys 100 Wh at 12 c of B, who gets 11 c."""
    return tuple(
        HourResult(home=home, price_millicent=(1, price, 1, 1, 1, 1), volume_wh=(0, wh, 0, 0, 0, 0))
        for home, wh, price in ((A, 100, 12_000), (B, -100, 11_000))
    )


def commitments(hour: datetime, a_wh: int, b_wh: int) -> tuple[Commitment, ...]:
    return tuple(
        Commitment(home=home, slot=hour + k * SLOT, grid_energy_wh=wh, up_w=0, down_w=0)
        for k in range(6)
        for home, wh in ((A, a_wh), (B, b_wh))
    )


def lines(accounts: DayAccounts, home: HomeId) -> Lines:
    return next(each.lines for each in accounts.homes if each.home == home)
