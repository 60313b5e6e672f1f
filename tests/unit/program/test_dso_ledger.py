"""The accounts of ``feederloop dso`` as a file, and ``feederloop statements`` that reads them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dso_engine.hourly import hour_slots
from dso_engine.model import SLOT, HomeId
from dso_engine.resettlement import Correction, LateReading, settle_again
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, settle_day
from feederloop.cli import app
from feederloop.dso_ledger import AccountLedger, LedgerError, Member
from feederloop.dso_settlement import ACCOUNTS

HOUR = datetime(2026, 5, 16, 21, tzinfo=UTC)
"""The last but one of the 16th in UTC+1."""
ONE_HOUR = timedelta(hours=1)
A, B = HomeId("H01"), HomeId("H02")
TERMS = RewardTerms(reward_percent=Fraction(1, 3), curvature_c_per_kwh2=Fraction("0.1"))


def settled(hour: datetime, source: ReadingSource = ReadingSource.METERED) -> DayAccounts:
    """A buys 100 Wh of B in every slot; A takes 250 Wh in all, by the meter or by a substitute."""
    buyer = SlotInput(
        home=A,
        slot=hour,
        metered_wh=250,
        cleared_wh=100,
        market_price_millicent=12_000,
        committed_wh=250,
        supplier_price_millicent=15_000,
        feed_in_price_millicent=10_000,
        source=source,
    )
    seller = replace(
        buyer,
        home=B,
        metered_wh=-100,
        cleared_wh=-100,
        committed_wh=-100,
        source=ReadingSource.METERED,
    )
    return settle_day(
        (replace(home, slot=slot) for slot in hour_slots(hour) for home in (buyer, seller)), TERMS
    )


def correct(ledger: AccountLedger, hour: datetime, slot: datetime, wh: int) -> None:
    """Let a reading of A come a day late."""
    known = ledger.stated(hour)
    late = LateReading(home=A, slot=slot, metered_wh=wh, at=slot + timedelta(days=1))
    again = settle_again(known.accounts, (late,), known.terms)
    ledger.correct(hour, again.corrections, slot + timedelta(days=1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ACCOUNTS


@pytest.fixture
def ledger(path: Path) -> Iterator[AccountLedger]:
    with closing(AccountLedger.kept(path, timezone="Etc/GMT-1", first_hour=HOUR)) as found:
        yield found


def test_accounts_go_on_where_they_began(ledger: AccountLedger, path: Path) -> None:
    ledger.state(HOUR, settled(HOUR), TERMS, HOUR + ONE_HOUR)
    ledger.close()
    with closing(AccountLedger.kept(path, timezone="Europe/Paris", first_hour=HOUR + 9 * ONE_HOUR)) as again:
        assert again.unsettled(HOUR + 3 * ONE_HOUR) == (HOUR + ONE_HOUR, HOUR + 2 * ONE_HOUR)
        assert again.unsettled(HOUR + 3 * ONE_HOUR - SLOT) == (HOUR + ONE_HOUR,)
        assert str(again.zone) == "Europe/Paris"
        assert again.stated(HOUR).terms == TERMS, "exact thirds"
        assert again.stated(HOUR).accounts == settled(HOUR)


def test_hours_that_are_missing_in_between_stay_on_the_list(ledger: AccountLedger) -> None:
    for k in (0, 1, 3):
        ledger.state(HOUR + k * ONE_HOUR, settled(HOUR + k * ONE_HOUR), TERMS, HOUR)
    for _ in range(2):
        assert ledger.unsettled(HOUR + 5 * ONE_HOUR) == (HOUR + 2 * ONE_HOUR, HOUR + 4 * ONE_HOUR)
    ledger.state(HOUR + 2 * ONE_HOUR, settled(HOUR + 2 * ONE_HOUR), TERMS, HOUR)
    assert ledger.unsettled(HOUR + 5 * ONE_HOUR) == (HOUR + 4 * ONE_HOUR,)
    assert ledger.settled_until() == HOUR + 4 * ONE_HOUR


def test_an_hour_is_stated_once(ledger: AccountLedger) -> None:
    ledger.state(HOUR, settled(HOUR), TERMS, HOUR + ONE_HOUR)
    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.state(HOUR, settled(HOUR, ReadingSource.NONE), TERMS, HOUR + 2 * ONE_HOUR)
    assert ledger.stated(HOUR).accounts == settled(HOUR)
    assert ledger.open_hours() == ()


def test_numbers_of_any_size_are_exact(ledger: AccountLedger) -> None:
    facts = settled(HOUR).homes[0].slots[0].facts
    huge = settle_day((replace(facts, metered_wh=10**30 + 1, cleared_wh=0, committed_wh=-(10**25)),), TERMS)
    ledger.state(HOUR, huge, TERMS, HOUR)
    assert ledger.stated(HOUR).accounts == huge


def test_corrections_follow_each_other_and_change_nothing_before(ledger: AccountLedger) -> None:
    ledger.state(HOUR, settled(HOUR, ReadingSource.COMMITMENT), TERMS, HOUR + ONE_HOUR)
    assert ledger.open_hours() == (HOUR,)
    for k, slot in enumerate(hour_slots(HOUR)):
        assert ledger.open_hours() == (HOUR,)
        correct(ledger, HOUR, slot, 300 + k)
    assert ledger.open_hours() == (), "every slot is metered"
    end = HOUR + ONE_HOUR
    assert ledger.statements(HOUR, end, corrected=False, home=A) == (
        settled(HOUR, ReadingSource.COMMITMENT).homes[0].slots
    )
    now = ledger.statements(HOUR, end, corrected=True, home=A)
    assert [s.facts.metered_wh for s in now] == [300, 301, 302, 303, 304, 305]
    assert len(ledger.statements(HOUR, end, corrected=True)) == 12
    assert len(ledger.notes(HOUR, HOUR + 2 * SLOT)) == 2
    assert ledger.notes(HOUR, end, home=B) == ()


def test_a_correction_of_a_correction_goes_on_from_the_one_before(ledger: AccountLedger) -> None:
    ledger.state(HOUR, settled(HOUR, ReadingSource.COMMITMENT), TERMS, HOUR + ONE_HOUR)
    correct(ledger, HOUR, HOUR, 300)
    (first,) = ledger.notes(HOUR, HOUR + ONE_HOUR)
    statement = first.correction.after
    again = replace(statement, facts=replace(statement.facts, metered_wh=310))
    ledger.correct(HOUR, (Correction(before=statement, after=again),), HOUR + 30 * ONE_HOUR)
    notes = ledger.notes(HOUR, HOUR + ONE_HOUR)
    read = [(n.correction.before.facts.metered_wh, n.correction.after.facts.metered_wh) for n in notes]
    assert read == [(250, 300), (300, 310)]
    assert (notes[1].stated_at, notes[1].corrected_at) == (first.corrected_at, HOUR + 30 * ONE_HOUR)


def test_days_are_local_ones(path: Path) -> None:
    """29 March 2026 has 23 hours in Paris, 25 October 25."""
    with closing(AccountLedger.kept(path, timezone="Europe/Paris", first_hour=HOUR)) as ledger:
        start, end = ledger.span(date(2026, 3, 29), date(2026, 3, 29))
        assert end - start == 23 * ONE_HOUR
        start, end = ledger.span(date(2026, 10, 24), date(2026, 10, 25))
        assert end - start == 49 * ONE_HOUR
        assert start == datetime(2026, 10, 23, 22, tzinfo=UTC)


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_a_day_is_as_long_as_its_clock_says(path: Path, day: date, hours: int) -> None:
    """Every hour of the three days is in one of them, the one its statement is published with."""
    with closing(AccountLedger.kept(path, timezone="Europe/Vienna", first_hour=HOUR)) as found:
        start, end = found.span(day, day)
        assert end - start == hours * ONE_HOUR
        assert found.span(day - timedelta(days=1), day - timedelta(days=1))[1] == start
        assert found.span(day + timedelta(days=1), day + timedelta(days=1))[0] == end
        for hour in (start, end - ONE_HOUR):
            found.state(hour, settled(hour), TERMS, hour + ONE_HOUR)
        assert found.unpublished() == (day,)
        assert len(found.statements(start, end, corrected=False)) == 2 * 6 * 2


def test_a_day_with_news_stands_on_the_list_until_it_is_published(ledger: AccountLedger) -> None:
    for k in range(3):
        ledger.state(HOUR + k * ONE_HOUR, settled(HOUR + k * ONE_HOUR), TERMS, HOUR)
    assert ledger.unpublished() == (date(2026, 5, 16), date(2026, 5, 17))
    ledger.published(date(2026, 5, 16))
    ledger.published(date(2026, 5, 17))
    assert ledger.unpublished() == ()
    late = HOUR + 3 * ONE_HOUR
    ledger.state(late, settled(late, ReadingSource.NONE), TERMS, late)
    ledger.published(date(2026, 5, 17))
    correct(ledger, late, late, 1)
    assert ledger.unpublished() == (date(2026, 5, 17),)


def test_who_was_a_home_when(ledger: AccountLedger) -> None:
    old = Member(home=A, ven_id="ven-1", contract_kva=9.0)
    new, other = replace(old, ven_id="ven-9"), Member(home=B, ven_id="ven-2", contract_kva=None)
    assert ledger.enrolled(HOUR) == ()
    changes = ((0, (old, other)), (1, (old, other)), (2, (new,)), (3, (old, other)))
    for k, members in changes:
        ledger.enrol(members, HOUR + k * ONE_HOUR)
    assert ledger.enrolled(HOUR - ONE_HOUR) == (old, other), "before there were any: the first"
    for k, members in changes:
        assert ledger.enrolled(HOUR + k * ONE_HOUR) == members
        assert ledger.enrolled(HOUR + (k + 1) * ONE_HOUR - SLOT) == members


def test_a_snapshot_is_of_one_moment(ledger: AccountLedger, path: Path) -> None:
    """The engine corrects a slot between a reader's two questions: he hears of it in neither."""
    ledger.state(HOUR, settled(HOUR, ReadingSource.COMMITMENT), TERMS, HOUR + ONE_HOUR)
    with closing(AccountLedger.of(path)) as reader:
        with reader.snapshot():
            before = reader.statements(HOUR, HOUR + ONE_HOUR, corrected=True)
            correct(ledger, HOUR, HOUR, 400)
            assert reader.notes(HOUR, HOUR + ONE_HOUR) == ()
            assert reader.statements(HOUR, HOUR + ONE_HOUR, corrected=True) == before
        assert len(reader.notes(HOUR, HOUR + ONE_HOUR)) == 1
        assert reader.statements(HOUR, HOUR + ONE_HOUR, corrected=True) != before


def test_who_may_only_read_reads_also_when_no_engine_runs(
    ledger: AccountLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would have to make its log beside the file, which a reader may not."""
    ledger.state(HOUR, settled(HOUR), TERMS, HOUR + ONE_HOUR)
    monkeypatch.setattr("feederloop.dso_ledger.os.access", lambda path, mode: False)
    with closing(AccountLedger.of(path)) as beside:
        assert beside.settled_until() == HOUR + ONE_HOUR, "an engine runs: what it wrote is in the log yet"
    ledger.close()
    with closing(AccountLedger.of(path)) as after:
        assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing is made"
        assert after.settled_until() == HOUR + ONE_HOUR


def test_files_that_are_no_accounts(tmp_path: Path, ledger: AccountLedger, path: Path) -> None:
    (tmp_path / "text").write_text("no database, and quite a bit longer than its header would be" * 9)
    with pytest.raises(LedgerError, match="no accounts"):
        AccountLedger.of(tmp_path / "nowhere")
    for opened in (AccountLedger.of, lambda p: AccountLedger.kept(p, timezone="UTC", first_hour=HOUR)):
        with pytest.raises(LedgerError, match="not a database"):
            opened(tmp_path / "text")
    with pytest.raises(LedgerError, match="no time zone"):
        AccountLedger.kept(tmp_path / "new", timezone="Moon/Base", first_hour=HOUR)
    ledger.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=9")
    with pytest.raises(LedgerError, match="version 9, this is version 1"):
        AccountLedger.kept(path, timezone="UTC", first_hour=HOUR)


def test_a_statement_that_was_tampered_with_is_told(ledger: AccountLedger, path: Path) -> None:
    ledger.state(HOUR, settled(HOUR), TERMS, HOUR)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE statements SET statement = replace(statement, 'market', 'mrket')")
    with pytest.raises(LedgerError, match="cannot be read"):
        ledger.stated(HOUR)


# --- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(ledger: AccountLedger, path: Path) -> Path:
    """Two hours of the 16th and one of the 17th; a reading of the first hour came late. The engine runs."""
    ledger.state(HOUR, settled(HOUR, ReadingSource.COMMITMENT), TERMS, HOUR + ONE_HOUR)
    for k in (1, 2):
        ledger.state(HOUR + k * ONE_HOUR, settled(HOUR + k * ONE_HOUR), TERMS, HOUR + (k + 1) * ONE_HOUR)
    correct(ledger, HOUR, HOUR, 400)
    return path.parent


def statements(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["statements", *map(str, words)])


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_of_all_accounts_of_a_day(folder: Path) -> None:
    told = statements(folder, "--from", "2026-05-16")
    assert told.exit_code == 0, told.output
    named = {line.split()[0]: line.split()[1:] for line in told.stdout.splitlines()}
    # 12 slots: 100 Wh at 12 c, 150 Wh at 15 c, and 150 Wh more at 15 c in the slot that was corrected
    assert named["H01"][:2] == ["0.14", "0.29"]
    assert named["sum"] == ["0.00"]
    assert "5 of 24 slots rest on a substitute; 1 were settled again" in told.stdout


def test_exact_accounts_as_stated_first_and_as_they_are(folder: Path) -> None:
    days = ("--from", "2026-05-16", "--to", "2026-05-17")
    first = json.loads(statements(folder, *days, "--first", "--json").stdout)
    now = json.loads(statements(folder, *days, "--json").stdout)
    told = json.loads(statements(folder, *days, "--corrections", "--json").stdout)
    assert first["balance_units"] == now["balance_units"] == told["balance_units"] == 0
    more = now["total"]["bill_units"] - first["total"]["bill_units"]
    assert more == told["homes_pay_more_units"] != 0
    assert now["supplier_receives_units"] - first["supplier_receives_units"] == 150 * 15_000
    (note,) = rows(statements(folder, *days, "--corrections").stdout)
    assert (note["home"], note["metered_wh_before"], note["metered_wh"]) == ("H01", "250", "400")


def test_one_home_slot_by_slot(folder: Path) -> None:
    found = rows(statements(folder, "--from", "2026-05-17", "--home", "H01").stdout)
    assert [row["slot"] for row in found][:2] == ["2026-05-16T23:00:00Z", "2026-05-16T23:10:00Z"]
    assert len(found) == 6
    tree = json.loads(statements(folder / ACCOUNTS, "--from", "2026-05-16", "--home", "H01", "--json").stdout)
    assert (tree["home"], len(tree["slots"]), tree["substituted_slots"]) == ("H01", 12, 5)


def test_files_for_a_period(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "may"
    told = statements(folder, "--from", "2026-05-16", "--to", "2026-05-17", "--out", out)
    assert told.stdout == f"2 homes: {out}\n"
    assert {path.name for path in out.iterdir()} == {
        f"{name}.{kind}" for name in ("H01", "H02", "accounts", "corrections") for kind in ("csv", "json")
    }
    assert len(rows((out / "H01.csv").read_text())) == 18


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "yesterday"), "no day such as"),
        (("--from", "0001-01-01"), "the year is none of"),
        (("--from", "9999-12-31"), "the year is none of"),
        (("--from", "2026-05-17", "--to", "2026-05-16"), "is before"),
        (("--from", "2024-05-17", "--to", "2026-05-16", "--home", "H01"), "more than a year"),
        (("--from", "2026-05-16", "--to", "2026-08-17"), "more than 93 days of all homes"),
        (("--from", "2026-05-01"), "nothing is settled of any home"),
        (("--from", "2026-05-16", "--home", "H99"), "nothing is settled of H99"),
    ],
)
def test_what_cannot_be_shown(folder: Path, words: tuple[str, ...], told: str) -> None:
    found = statements(folder, *words)
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stdout == ""


def test_a_folder_without_accounts(tmp_path: Path) -> None:
    found = statements(tmp_path)
    assert (found.exit_code, "no accounts are kept here" in found.stderr) == (2, True)
