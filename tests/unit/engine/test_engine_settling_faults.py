"""What settlement believes, whom it settles, and what faults do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dso_engine.errors import EngineError, ExchangeFailed, InvalidSettlement
from dso_engine.guard import Steadfast
from dso_engine.model import SLOT, HomeId
from dso_engine.ports import BlockOrder, DayResult
from dso_engine.records import FaultRecord
from dso_engine.settling import Members
from feederloop.clock import SimClock
from feederloop.dso_ledger import AccountLedger, LedgerError
from tests.unit.engine.engine_fakes import HOUR, Tape
from tests.unit.engine.settling_rig import (
    DUE,
    ONE_HOUR,
    A,
    B,
    Dso,
    commitments,
    dso,
    lines,
    path,
    sources,
    traded,
)

__all__ = ["dso", "path"]  # the fixtures


# --- what is believed --------------------------------------------------------------------------------------


async def test_a_contract_bounds_what_a_home_commits_to_and_what_a_meter_can_show(path: Path) -> None:
    """9 kVA are 1,500 Wh a slot: more is no commitment, and more than three times as much is no reading."""
    made = Dso(path, HOUR, contract_kva={A: 9.0})
    with closing(made.ledger):
        made.homes.committed = commitments(HOUR, -(10**7), -(10**7))
        made.homes.meter(A, HOUR, 4_500)
        made.homes.meter(A, HOUR + SLOT, -4_501)
        made.homes.meter(B, HOUR, 10**6)
        await made.run(DUE)
        found = made.accounts()
        assert sources(found, A)[:2] == [(4_500, "metered"), (-1_500, "commitment")]
        assert {s.facts.committed_wh for s in found.homes[0].slots} == {-1_500}
        assert sources(found, B)[:2] == [(10**6, "metered"), (-(10**7), "commitment")], "no contract on file"
        made.homes.meter(A, HOUR + 2 * SLOT, 5_000, late=ONE_HOUR)
        await made.run(DUE + 2 * ONE_HOUR)
        assert made.ledger.notes(HOUR, HOUR + ONE_HOUR) == ()


async def test_without_a_contract_no_number_is_beyond_what_an_order_can_hold(path: Path) -> None:
    """A meter that sends 1e300 would make every amount of the day one that no table can show."""
    made = Dso(path, HOUR)
    with closing(made.ledger):
        made.homes.committed = commitments(HOUR, 10**300, 0)
        made.homes.meter(A, HOUR, 10**9)
        made.homes.meter(A, HOUR + SLOT, -(10**300))
        await made.run(DUE)
        assert sources(made.accounts(), A)[:2] == [(10**9, "metered"), (10**9, "commitment")]


async def test_who_refused_was_silent_and_the_price_at_the_end(dso: Callable[[datetime], Dso]) -> None:
    made = dso(HOUR)
    made.homes.told[HOUR], made.homes.opted_in = traded(HOUR), frozenset({A})
    made.homes.prices[HOUR] = {A: -5_000}
    made.homes.meter_hour(A, HOUR, 0)
    made.homes.meter_hour(B, HOUR, 0)
    made.homes.meter(A, HOUR, 40)
    await made.run(DUE)
    found = made.accounts()
    assert lines(found, A).real_time_price == 40 * -5_000
    assert lines(found, B).refusal == (15_000 - 11_000) * 100
    assert found.balance == 0


async def test_who_holds_a_trade_is_settled_also_when_it_is_gone(dso: Callable[[datetime], Dso]) -> None:
    """B is on no list of members any more; without its half of the trade nobody could be settled."""
    made = dso(HOUR)
    made.homes.told[HOUR] = traded(HOUR)
    asked: list[datetime] = []

    def members(hour: datetime) -> Members:
        asked.append(hour)
        return Members(homes=(A,), contract_kva={}, source=made.homes)

    made.settling._members = members
    made.homes.meter_hour(A, HOUR, 100)
    await made.run(DUE + ONE_HOUR)
    found = made.accounts()
    assert [(home.home, len(home.slots)) for home in found.homes] == [(A, 12), (B, 6)]
    assert lines(found, B).market == -100 * 11_000
    assert found.balance == 0
    assert set(asked) == {HOUR, HOUR + ONE_HOUR}


class Blocks:
    """Knows that A bought 100 Wh of each slot of B the day before, at 12 c."""

    async def day_ahead_results(self, midnight: datetime) -> tuple[DayResult, ...]:
        assert midnight == datetime(2018, 5, 15, 23, tzinfo=UTC)
        return tuple(
            DayResult(home=home, price_millicent=(12_000,) * 24, volume_wh=(wh,) * 24)
            for home, wh in ((A, 100), (B, -100))
        )

    async def day_ahead_orders(
        self, midnight: datetime, of: frozenset[HomeId] | None = None
    ) -> tuple[BlockOrder, ...]:
        raise AssertionError("settlement asks for results only")

    async def publish_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        raise AssertionError("settlement publishes nothing")


async def test_what_was_traded_the_day_before_is_settled_and_comes_on_top_of_the_contract(
    dso: Callable[[datetime], Dso],
) -> None:
    """1.2 kVA are 200 Wh a slot, with the block 300; B is on no list, but holds its half of the trade."""
    made = dso(HOUR)
    made.homes.committed = commitments(HOUR, 350, 0)
    made.settling._members = lambda hour: Members(
        homes=(A,), contract_kva={A: 1.2}, source=made.homes, day_ahead=Blocks()
    )
    await made.run(DUE)
    found = made.accounts()
    assert {s.facts.committed_wh for s in found.homes[0].slots} == {300}
    assert [lines(found, home).market for home in (A, B)] == [600 * 12_000, -600 * 12_000]
    assert found.balance == 0


# --- faults ------------------------------------------------------------------------------------------------


def steadfast(tape: Tape) -> Callable[[SimClock], Steadfast]:
    return lambda clock: Steadfast(clock, tape)


def faults(tape: Tape) -> list[tuple[str, str]]:
    return [(r.what, r.error) for r in tape.records if isinstance(r, FaultRecord)]


async def test_a_server_that_is_away_delays_and_loses_nothing(path: Path) -> None:
    tape = Tape()
    made = Dso(path, HOUR, guard=steadfast(tape))
    with closing(made.ledger):
        made.homes.meter_hour(A, HOUR, 3)
        made.homes.meter_hour(B, HOUR, 3)
        made.homes.away = DUE + timedelta(minutes=90)
        await made.run(DUE + timedelta(minutes=89))
        assert made.accounts().homes == ()
        await made.run(DUE + 2 * ONE_HOUR)
        assert [len(home.slots) for home in made.accounts().homes] == [18, 18]
    assert set(faults(tape)) == {("settlement", "ExchangeFailed")}


async def test_an_hour_that_cannot_be_settled_keeps_no_other_from_it(path: Path) -> None:
    """The result of a home is missing: volumes do not balance. Once it is there again, it is settled."""
    tape = Tape()
    made = Dso(path, HOUR, guard=steadfast(tape))
    with closing(made.ledger):
        made.homes.told[HOUR] = traded(HOUR)[:1]
        await made.run(DUE + ONE_HOUR)
        assert made.ledger.unsettled(HOUR + 2 * ONE_HOUR) == (HOUR,)
        assert made.accounts().homes[0].slots[0].slot == HOUR + ONE_HOUR
        made.homes.told[HOUR] = traded(HOUR)
        await made.run(DUE + 2 * ONE_HOUR)
        assert made.ledger.unsettled(HOUR + 2 * ONE_HOUR) == ()
    assert faults(tape) == [("settlement", "InvalidSettlement")] * 2
    assert issubclass(InvalidSettlement, EngineError)


async def test_accounts_that_cannot_be_written_are_a_fault_and_not_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = Tape()
    made = Dso(path, HOUR, guard=steadfast(tape))

    def full(*given: object) -> object:
        raise LedgerError("disk full")

    with closing(made.ledger):
        monkeypatch.setattr(AccountLedger, "state", full)
        await made.run(DUE)
        monkeypatch.undo()
        await made.run(DUE + ONE_HOUR)
        assert [len(home.slots) for home in made.accounts().homes] == [12, 12]
    assert faults(tape) == [("settlement", "LedgerError")]


async def test_in_a_simulation_a_fault_is_the_end(dso: Callable[[datetime], Dso]) -> None:
    made = dso(HOUR)
    made.homes.away = DUE + ONE_HOUR
    with pytest.raises(ExchangeFailed):
        await made.run(DUE)
