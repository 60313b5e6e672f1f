"""Settlement on a schedule: each hour once its readings can be expected, and again when late ones come.

For the delivery hour that starts at h, with a while ``after``::

    h + 1 h + after   the hour is settled: results, answers and commitments as the homes' server has them,
                      meters, prices at the end of slots; what is not metered is substituted and says so
    each hour after   readings that have come since are settled again, while the window for them is open
    after the window  the hour is closed

What was stated stays as it was; a correction is a statement beside it. Nothing is kept here between two
rounds: what is settled is in the ledger, everything else is asked of the homes' server. So an engine that was
killed, or was down for days, does what is missing in its next round, and nothing twice.

Source: docs/mechanisms.md 17.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from math import inf
from typing import Final, Protocol

from dso_engine.accounts import AccountSource, LateSource, settle_late, settle_run
from dso_engine.guard import Guard, Loud
from dso_engine.hourly import DayAheadTrade, HourBook, TariffMillicent, hour_slots
from dso_engine.market import MAX_VOLUME_WH
from dso_engine.model import SLOTS_PER_HOUR, Commitment, HomeId
from dso_engine.ports import Clock, DayAheadExchange, HourResult, Recorder
from dso_engine.products import local_midnight
from dso_engine.records import FaultRecord
from dso_engine.resettlement import WINDOW, Correction, LateReading, MeterFault
from dso_engine.settlement import DayAccounts, RewardTerms
from dso_engine.substitute import Metered

__all__ = ["HourSource", "Ledger", "Members", "Settling", "SettlingRules", "StatedHour"]

_LOG: Final = logging.getLogger(__name__)
_RANK: Final = 3
_HOUR: Final = timedelta(hours=1)
_PATIENCE: Final = timedelta(minutes=20)
"""How long a round goes on where the homes' server is away; the next one begins an hour after it."""
_FUSE: Final = 3.0
"""Times the contract: a reading beyond is none, the fuse would have blown."""


class HourSource(AccountSource, LateSource, Protocol):
    """What settling an hour asks of the homes."""

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """Return what the homes were told about an hour."""
        ...

    async def binding_commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        """Return the commitments that were in when they were due; what is said later binds nobody."""
        ...

    async def meter_faults(self, start: datetime, end: datetime) -> tuple[MeterFault, ...]:
        """Return the slots in [start, end) that are not metered although readings came, and why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedHour:
    """An hour as it stands, with the terms it was settled by."""

    accounts: DayAccounts
    terms: RewardTerms


class Ledger(Protocol):
    """Keeps what was stated; each method that writes does all of it or nothing, for good.

    Raises:
        EngineError: from every method, if it cannot be read or written.
    """

    def unsettled(self, ended_by: datetime) -> tuple[datetime, ...]:
        """Return the hours that have ended by an instant and are not settled, in order."""
        ...

    def state(self, hour: datetime, accounts: DayAccounts, terms: RewardTerms, at: datetime) -> None:
        """Keep the first statements of an hour; there must be none yet."""
        ...

    def open_hours(self) -> tuple[datetime, ...]:
        """Return the hours that rest on substitutes and are not closed, in order."""
        ...

    def stated(self, hour: datetime) -> StatedHour:
        """Return an hour with its corrections so far."""
        ...

    def correct(self, hour: datetime, corrections: tuple[Correction, ...], at: datetime) -> None:
        """Keep corrections beside what was stated."""
        ...

    def close_hour(self, hour: datetime) -> None:
        """Take no more readings for an hour."""
        ...

    def unpublished(self) -> tuple[date, ...]:
        """Return the local days whose statements have changed since they were published, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The homes that took part in an hour, and who is asked for them.

    Attributes:
        homes: Who is settled, besides those that hold a trade.
        contract_kva: Largest exchange of each home, kVA; a home that is missing has no bound.
        source: The homes.
        day_ahead: Knows what was traded the day before; None: nothing was.
    """

    homes: tuple[HomeId, ...]
    contract_kva: Mapping[HomeId, float]
    source: HourSource
    day_ahead: DayAheadExchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingRules:
    """How hours are settled.

    Attributes:
        tariff: Prices outside the market, by slot.
        rebate_millicent: Rebate on energy bought on the market, by slot, 1e-5 EUR/kWh.
        terms: Reward parameters.
        after: How long after its end an hour is settled.
        window: How long after the end of its slot a reading is taken.
    """

    tariff: Mapping[datetime, TariffMillicent]
    rebate_millicent: Mapping[datetime, int]
    terms: RewardTerms
    after: timedelta = timedelta(minutes=15)
    window: timedelta = WINDOW


class Settling:
    """Settles hour after hour.

    Args:
        clock: Time.
        members: Returns the homes of an hour: those that were there when its gate closed.
        ledger: Where statements are kept.
        rules: How hours are settled.
        publish: Writes the statements of a local day for people to read, and takes it off the ledger's list.
        guard: What becomes of an expected error; by default it ends the run.
        recorder: Is told of readings that are not what can be settled; None: nobody is.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        members: Callable[[datetime], Members],
        ledger: Ledger,
        rules: SettlingRules,
        publish: Callable[[date], Awaitable[None]],
        guard: Guard | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._members = members
        self._ledger = ledger
        self._rules = rules
        self._publish = publish
        self._guard = guard or Loud()

    async def run(self) -> None:
        """Settle at once what is due, then hour after hour."""
        while True:
            begun = self._clock.now()
            hour = _hour_of(begun - self._rules.after)
            await self._guard.run("accounts", hour, partial(self.round, begun), begun + _PATIENCE)
            await self._clock.sleep_until(hour + _HOUR + self._rules.after, _RANK, "settlement")

    async def round(self, begun: datetime) -> None:
        """Settle every hour that is due, settle late readings, publish what has changed.

        An hour that cannot be settled keeps no other from it and is tried again in the next round.

        Args:
            begun: The present instant.
        """
        until = begun + _PATIENCE
        for hour in self._ledger.unsettled(begun - self._rules.after):
            if self._clock.now() < until:
                await self._guard.run("settlement", hour, partial(self._settle, hour), until)
        for hour in self._ledger.open_hours():
            if self._clock.now() < until:
                await self._guard.run("late readings", hour, partial(self._settle_again, hour, begun), until)
        for day in self._ledger.unpublished():
            await self._guard.run("statements", begun, partial(self._publish, day), None)

    async def _settle(self, hour: datetime) -> None:
        members, rules, slots = self._members(hour), self._rules, hour_slots(hour)
        source = _Believed(members)
        book = await self._book(hour, members, source)
        held = {home for slot in slots for home in book.day_ahead(slot)}
        last = {
            each.home: Metered(slot=each.slot, wh=each.metered_wh)
            for each in sorted(await source.arrivals(hour - _HOUR, hour), key=lambda each: each.slot)
        }
        accounts = await settle_run(
            source=source,
            book=book,
            homes=sorted({*members.homes, *(each.home for each in book.results(hour)), *held}),
            slots=slots,
            tariff=rules.tariff,
            rebate_millicent={slot: rules.rebate_millicent[slot] for slot in slots},
            terms=rules.terms,
            before=last,
        )
        faults = await source.meter_faults(hour, hour + _HOUR)
        self._ledger.state(hour, accounts, rules.terms, self._clock.now())
        self._tell(hour, faults)

    def _tell(self, hour: datetime, faults: Sequence[MeterFault]) -> None:
        """Say once whose readings came and were of no use; the statements say that it was substituted."""
        counts = Counter((each.home, each.outcome.value) for each in faults)
        if self._recorder is None or not counts:
            return
        text = ", ".join(
            f"{home}: {count} slots {outcome}" for (home, outcome), count in sorted(counts.items())
        )
        _LOG.warning("meters for %s: not settled on readings: %s", hour.isoformat(), text)
        at = self._clock.now()
        self._recorder.record(FaultRecord(slot=hour, at=at, what="meters", error="NotMetered", text=text))

    async def _book(self, hour: datetime, members: Members, source: _Believed) -> HourBook:
        """Return what was traded and committed for an hour."""
        book = HourBook()
        book.keep_results(hour, await source.results(hour))
        if members.day_ahead is not None:
            midnight = local_midnight(hour)
            book.keep_day_ahead(midnight, await members.day_ahead.day_ahead_results(midnight))
        said = await source.binding_commitments(hour)
        book.keep_commitments([source.cut(each, book.day_ahead(each.slot).get(each.home)) for each in said])
        return book

    async def _settle_again(self, hour: datetime, begun: datetime) -> None:
        known = self._ledger.stated(hour)
        again = await settle_late(
            source=_Believed(self._members(hour)),
            accounts=known.accounts,
            terms=known.terms,
            window=self._rules.window,
        )
        if again.corrections:
            self._ledger.correct(hour, again.corrections, self._clock.now())
        if begun >= hour + _HOUR + self._rules.window + self._rules.after:
            self._ledger.close_hour(hour)


class _Believed:
    """The homes, as far as they are believed: a contract bounds what anybody can commit to or exchange.

    A commitment is cut to the contract, as it is for the control; a reading beyond three times it is none. A
    real overload is metered and paid for. Without a contract no number is beyond what an order can hold.
    """

    def __init__(self, members: Members) -> None:
        self._source = members.source
        self._contract_kva = members.contract_kva

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        return await self._source.accepted(hour)

    async def price_at_end(self, slot: datetime) -> Mapping[HomeId, int]:
        return await self._source.price_at_end(slot)

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        return await self._source.results(hour)

    async def binding_commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        return await self._source.binding_commitments(hour)

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        found = await self._source.metered_wh(slot)
        return {home: wh for home, wh in found.items() if self._can_be(home, wh)}

    async def arrivals(self, start: datetime, end: datetime) -> tuple[LateReading, ...]:
        found = await self._source.arrivals(start, end)
        return tuple(each for each in found if self._can_be(each.home, each.metered_wh))

    async def meter_faults(self, start: datetime, end: datetime) -> tuple[MeterFault, ...]:
        return await self._source.meter_faults(start, end)

    def _most_wh(self, home: HomeId) -> float:
        return self._contract_kva.get(home, inf) * 1000.0 / SLOTS_PER_HOUR

    def _can_be(self, home: HomeId, wh: int) -> bool:
        return abs(wh) <= min(_FUSE * self._most_wh(home), MAX_VOLUME_WH)

    def cut(self, commitment: Commitment, held: DayAheadTrade | None) -> Commitment:
        """Return what is believed of a commitment; what was traded the day before comes on top."""
        most, wh = self._most_wh(commitment.home), commitment.grid_energy_wh
        most += abs(held.volume_wh) if held else 0
        most = min(most, MAX_VOLUME_WH)
        if abs(wh) <= most:
            return commitment
        return replace(commitment, grid_energy_wh=int(most) if wh > 0 else -int(most))


def _hour_of(when: datetime) -> datetime:
    return when.replace(minute=0, second=0, microsecond=0)
