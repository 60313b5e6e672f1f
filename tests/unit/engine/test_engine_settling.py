"""Settlement on a schedule: when hours are settled, what stands in, what comes late, what a kill leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.metering import MeterOutcome
from dso_engine.model import SLOT, HomeId
from dso_engine.records import FaultRecord
from dso_engine.resettlement import MeterFault
from dso_engine.settlement import Lines, RewardTerms, SlotStatement
from feederloop.dso_ledger import AccountLedger
from tests.unit.engine.engine_fakes import HOUR
from tests.unit.engine.settling_rig import (
    DAY,
    DUE,
    ONE_HOUR,
    SECOND,
    A,
    B,
    Dso,
    commitments,
    dso,
    lines,
    path,
    reread,
    sources,
    traded,
)

__all__ = ["dso", "path"]  # the fixtures


async def test_readings_that_are_of_no_use_are_on_record_once(
    dso: Callable[[datetime], Dso], caplog: pytest.LogCaptureFixture
) -> None:
    made = dso(HOUR)
    made.homes.faults = (
        *(MeterFault(home=A, slot=HOUR + k * SLOT, outcome=MeterOutcome.STRADDLES) for k in range(6)),
        MeterFault(home=B, slot=HOUR, outcome=MeterOutcome.GAPS),
        MeterFault(home=B, slot=HOUR + ONE_HOUR, outcome=MeterOutcome.GAPS),
    )
    made.homes.meter_hour(B, HOUR, 5)
    await made.run(DUE)
    text = "H01: 6 slots straddles, H02: 1 slots gaps"
    assert [r.text for r in made.tape.records if isinstance(r, FaultRecord)] == [text]
    assert text in caplog.text
    assert sources(made.accounts(), A)[0][1] == "none"


# --- schedule ----------------------------------------------------------------------------------------------


async def test_an_hour_is_settled_when_its_readings_can_be_expected(
    dso: Callable[[datetime], Dso], path: Path
) -> None:
    made = dso(HOUR - timedelta(minutes=7))
    made.homes.told[HOUR] = traded(HOUR)
    made.homes.meter_hour(A, HOUR, 100)
    made.homes.meter_hour(B, HOUR, -100)
    await made.run(DUE - SECOND)
    made = dso(DUE - SECOND)
    await made.run(DUE - SECOND)
    assert made.accounts().homes == (), "not by an engine that starts just before, either"
    made = dso(DUE - SECOND)
    await made.run(DUE)
    accounts = reread(path)
    # A buys 100 Wh at 12 c and, in the five other slots, 100 Wh each of the supplier at 15 c
    assert lines(accounts, A) == Lines(market=100 * 12_000, supplier=500 * 15_000)
    assert lines(accounts, B) == Lines(market=-100 * 11_000, feed_in=-500 * 10_000)
    assert accounts.balance == 0
    assert accounts.market_surplus == 100 * 1_000
    assert made.published == [date(2018, 5, 16)]
    assert made.ledger.open_hours() == ()


async def test_hour_after_hour(dso: Callable[[datetime], Dso]) -> None:
    made = dso(HOUR)
    for k in range(3):
        made.homes.meter_hour(A, HOUR + k * ONE_HOUR, 10 + k)
        made.homes.meter_hour(B, HOUR + k * ONE_HOUR, -5)
    await made.run(DUE + 2 * ONE_HOUR)
    assert [wh for wh, _ in sources(made.accounts(), A)] == [10] * 6 + [11] * 6 + [12] * 6
    assert made.ledger.settled_until() == HOUR + 3 * ONE_HOUR
    assert made.ledger.unsettled(HOUR + 4 * ONE_HOUR) == (HOUR + 3 * ONE_HOUR,)


async def test_hours_before_the_accounts_began_are_left_alone(path: Path) -> None:
    made = Dso(path, HOUR, first_hour=HOUR + ONE_HOUR)
    with closing(made.ledger):
        await made.run(DUE)
        assert made.accounts().homes == ()
        await made.run(DUE + ONE_HOUR)
        assert len(sources(made.accounts(), A)) == 6


# --- restart -----------------------------------------------------------------------------------------------


async def test_an_engine_that_was_down_settles_what_is_due_once_and_at_once(
    dso: Callable[[datetime], Dso], path: Path
) -> None:
    first = dso(HOUR)
    for k in range(4):
        first.homes.meter_hour(A, HOUR + k * ONE_HOUR, k)
        first.homes.meter_hour(B, HOUR + k * ONE_HOUR, k)
    await first.run(DUE)
    stated = first.accounts()
    at = DUE + timedelta(hours=3, minutes=11)
    second = dso(at)
    await second.run(at)
    accounts = reread(path)
    assert [wh for wh, _ in sources(accounts, A)] == [k for k in range(4) for _ in range(6)]
    assert accounts.homes[0].slots[:6] == stated.homes[0].slots
    third = dso(at)
    third.homes.meter_hour(A, HOUR, 999)  # what is settled on a reading stands
    await third.run(at + timedelta(minutes=4))
    assert reread(path) == accounts
    assert third.published == []


async def test_the_hour_an_engine_died_in_is_settled(dso: Callable[[datetime], Dso]) -> None:
    """It never came to settle anything: where its accounts begin is on disk all the same."""
    await dso(HOUR + timedelta(minutes=5)).run(HOUR + timedelta(minutes=20))
    late = dso(DUE)
    await late.run(DUE)
    assert len(sources(late.accounts(), A)) == 6


async def test_a_kill_between_two_statements_of_an_hour_leaves_none_of_it(
    dso: Callable[[datetime], Dso], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = dso(HOUR)
    add = AccountLedger._add
    count = 0

    def dies(self: AccountLedger, statement: SlotStatement, revision: int, at: datetime) -> None:
        nonlocal count
        count += 1
        if count == 8:
            raise SystemExit
        add(self, statement, revision, at)

    monkeypatch.setattr(AccountLedger, "_add", dies)
    with pytest.raises(SystemExit):
        await made.settling.round(DUE)
    assert reread(path).homes == ()
    assert made.ledger.unpublished() == ()
    monkeypatch.undo()
    again = dso(DUE)
    await again.run(DUE)
    assert [len(home.slots) for home in reread(path).homes] == [6, 6]


async def test_a_day_is_published_after_a_kill_before_it_was(dso: Callable[[datetime], Dso]) -> None:
    first = dso(HOUR)
    first.settling._publish = lambda day: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        await first.settling.round(DUE)
    assert first.ledger.unpublished() == (date(2018, 5, 16),)
    second = dso(DUE + SECOND)
    await second.run(DUE + SECOND)
    assert second.published == [date(2018, 5, 16)]


# --- readings that do not come, or late --------------------------------------------------------------------


async def test_what_is_missing_is_substituted_says_so_and_is_settled_again(
    dso: Callable[[datetime], Dso], path: Path
) -> None:
    """B is silent: its commitment stands in. Next day it says 40 Wh more; the bill stays, a note comes."""
    made = dso(HOUR)
    made.homes.committed = commitments(HOUR, 100, 60)
    made.homes.meter_hour(A, HOUR, 100)
    for k in range(6):
        made.homes.meter(B, HOUR + k * SLOT, 100, late=DAY)
    await made.run(DUE)
    first = reread(path)
    assert sources(first, A) == [(100, "metered")] * 6
    assert sources(first, B) == [(60, "commitment")] * 6
    assert made.ledger.open_hours() == (HOUR,)
    await dso(DUE + DAY).run(DUE + DAY)
    assert reread(path).homes[1].slots[:6] == first.homes[1].slots[:6], "what was stated stays"
    now = reread(path, corrected=True)
    assert sources(now, B)[:6] == [(100, "metered")] * 6
    with closing(AccountLedger.of(path)) as ledger:
        notes = ledger.notes(HOUR, HOUR + ONE_HOUR)
    assert [note.correction.bill for note in notes] == [40 * 15_000] * 6
    assert {note.stated_at for note in notes} == {DUE}
    assert {note.corrected_at for note in notes} == {DUE + DAY}
    assert now.homes_pay - reread(path).homes_pay == 6 * 40 * 15_000
    assert now.balance == reread(path).balance == 0


async def test_a_reading_of_the_hour_before_goes_on(dso: Callable[[datetime], Dso]) -> None:
    made = dso(HOUR)
    made.homes.meter(A, HOUR - SLOT, 33)
    made.homes.meter(A, HOUR - 2 * SLOT, 44)
    await made.run(DUE)
    assert sources(made.accounts(), A) == [(33, "last_reading")] * 6
    assert sources(made.accounts(), B) == [(0, "none")] * 6


@pytest.mark.parametrize(("past", "taken"), [(timedelta(0), 1), (SECOND, 0)])
async def test_the_window_goes_by_when_a_reading_came(
    dso: Callable[[datetime], Dso], past: timedelta, taken: int
) -> None:
    """The engine is down from the first statement until days after the window."""
    made = dso(HOUR)
    slot, lateness = HOUR + 5 * SLOT, 2 * DAY - timedelta(seconds=30) + past
    made.homes.meter(A, slot, 7, late=lateness)
    await made.run(DUE)
    at = DUE + 5 * DAY
    await dso(at).run(at)
    back = dso(at + SECOND)
    notes = back.ledger.notes(HOUR, HOUR + ONE_HOUR)
    assert [(n.correction.after.facts.metered_wh, n.correction.after.slot) for n in notes] == [
        (7, slot)
    ] * taken
    assert HOUR not in back.ledger.open_hours(), "nothing is waited for any more"


async def test_an_hour_is_asked_for_until_its_window_is_over(dso: Callable[[datetime], Dso]) -> None:
    made = dso(HOUR)
    await made.run(DUE + 2 * DAY - SECOND)
    assert made.ledger.open_hours()[0] == HOUR
    last = dso(DUE + 2 * DAY)
    await last.run(DUE + 2 * DAY)
    assert last.ledger.open_hours()[0] == HOUR + ONE_HOUR


async def test_late_readings_are_settled_by_the_terms_of_their_hour(
    dso: Callable[[datetime], Dso], path: Path
) -> None:
    made = dso(HOUR)
    made.homes.committed = commitments(HOUR, 100, 60)
    made.homes.meter(A, HOUR, 90, late=2 * ONE_HOUR)
    await made.run(DUE)
    made.ledger.close()
    other = Dso(path, DUE + SECOND, terms=RewardTerms()).take_over(made)
    await other.run(DUE + 2 * ONE_HOUR)
    (note,) = other.ledger.notes(HOUR, HOUR + ONE_HOUR)
    assert note.correction.after.lines.reward == 0, "the hour was settled without a reward"
    other.ledger.close()


# --- sums --------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    energies=st.lists(
        st.tuples(st.integers(-2_000, 2_000), st.integers(-2_000, 2_000)), min_size=6, max_size=6
    ),
    lateness=st.lists(st.sampled_from([0, 1, 2, 4]), min_size=12, max_size=12),
    accepted=st.sets(st.sampled_from([A, B])),
    u=st.integers(-60_000, 60_000),
    down=st.integers(0, 6),
)
async def test_all_accounts_sum_to_zero_whatever_comes_when(
    tmp_path_factory: pytest.TempPathFactory,
    energies: list[tuple[int, int]],
    lateness: list[int],
    accepted: set[HomeId],
    u: int,
    down: int,
) -> None:
    """Readings come at once, within the window (3 h) or after it; the engine is down for a while."""
    path = tmp_path_factory.mktemp("sums") / "accounts.sqlite"
    window = 3 * ONE_HOUR
    first = Dso(path, HOUR, terms=RewardTerms(), window=window)
    first.homes.told[HOUR], first.homes.opted_in = traded(HOUR), frozenset(accepted)
    first.homes.committed = commitments(HOUR, 120, -90)
    first.homes.prices[HOUR + SLOT] = {A: u, B: -u}
    for k, (a, b) in enumerate(energies):
        first.homes.meter(A, HOUR + k * SLOT, a, late=lateness[k] * ONE_HOUR)
        first.homes.meter(B, HOUR + k * SLOT, b, late=lateness[6 + k] * ONE_HOUR)
    with closing(first.ledger):
        await first.run(DUE)
    at = DUE + down * ONE_HOUR
    second = Dso(path, at, terms=RewardTerms(), window=window).take_over(first)
    with closing(second.ledger):
        await second.run(at + 5 * ONE_HOUR)
    stated, now = reread(path), reread(path, corrected=True)
    assert stated.balance == now.balance == 0
    assert now.homes_pay == now.supplier_receives + now.dso_receives
    in_time = [late <= 2 for late in lateness]
    expected = [[e[k] for e in energies] for k in (0, 1)]
    for k, home in enumerate((A, B)):
        got = [wh if source == "metered" else None for wh, source in sources(now, home)[:6]]
        assert got == [
            wh if ok else None for wh, ok in zip(expected[k], in_time[6 * k : 6 * k + 6], strict=True)
        ]
    with closing(AccountLedger.of(path)) as ledger:
        notes = ledger.notes(HOUR, HOUR + ONE_HOUR)
    assert now.homes_pay - stated.homes_pay == sum(note.correction.bill for note in notes)
