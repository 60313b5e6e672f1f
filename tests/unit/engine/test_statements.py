"""Statements as text, and as files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dso_engine.model import HomeId
from dso_engine.resettlement import CorrectionNote, LateReading, settle_again
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, eur_text, settle_day
from dso_engine.statements import (
    accounts_csv,
    accounts_json,
    corrections_csv,
    corrections_json,
    statement_csv,
    statement_json,
)
from feederloop.statement_files import StatementFilesError, update_statements, write_statements

SLOT = datetime(2018, 5, 16, 10, tzinfo=UTC)
BUYER = SlotInput(
    home=HomeId("H01"),
    slot=SLOT,
    metered_wh=250,
    cleared_wh=200,
    market_price_millicent=13_000,
    committed_wh=260,
    supplier_price_millicent=15_000,
    feed_in_price_millicent=10_000,
    u_end_millicent=-5_000,
    rebate_millicent=1_500,
)
SELLER = replace(
    BUYER,
    home=HomeId("H02"),
    metered_wh=-300,
    cleared_wh=-200,
    market_price_millicent=11_000,
    committed_wh=-300,
)


def day(*more: SlotInput) -> DayAccounts:
    return settle_day((BUYER, SELLER, *more), RewardTerms())


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_says_what_happened_and_what_it_costs() -> None:
    (row,) = rows(statement_csv(day().homes[0]))
    # market 200 x 13 c; 50 more at 15 c; u on 10 less; R 5 % of 0.026 less 5 c x 0.01^2; rebate 200 x 1.5 c
    assert row == {
        "slot": "2018-05-16T10:00:00Z",
        "metered_wh": "250",
        "source": "metered",
        "day_ahead_wh": "0",
        "day_ahead_eur_per_kwh": "",
        "intraday_wh": "200",
        "intraday_eur_per_kwh": "0.13000",
        "refused_wh": "0",
        "committed_wh": "260",
        "deviation_wh": "-10",
        "supplier_eur_per_kwh": "0.15000",
        "feed_in_eur_per_kwh": "0.10000",
        "real_time_eur_per_kwh": "-0.05000",
        "rebate_eur_per_kwh": "0.01500",
        "market_eur": "0.02600000",
        "supplier_eur": "0.00750000",
        "feed_in_eur": "0.00000000",
        "real_time_price_eur": "0.00050000",
        "reward_eur": "-0.00129500",
        "rebate_eur": "-0.00300000",
        "refusal_eur": "0.00000000",
        "bill_eur": "0.02970500",
    }


def test_json_has_the_same_and_the_total() -> None:
    later = SLOT + timedelta(minutes=10)
    more = [replace(p, slot=later, source=ReadingSource.COMMITMENT) for p in (BUYER, SELLER)]
    home = day(*more).homes[0]
    tree = json.loads(statement_json(home))
    assert tree["home"] == "H01"
    assert tree["substituted_slots"] == 1
    assert [s["source"] for s in tree["slots"]] == ["metered", "commitment"]
    assert tree["slots"][0]["reward_units"] == -129_500
    assert tree["slots"][1]["reward_units"] == 0
    assert tree["total"]["bill_units"] == home.bill == sum(s["bill_units"] for s in tree["slots"])
    assert tree["total"]["bill_eur"] == eur_text(home.bill)


def test_a_refused_volume_is_shown() -> None:
    accounts = settle_day((replace(BUYER, refused=True), SELLER), RewardTerms())
    (row,) = rows(statement_csv(accounts.homes[0]))
    assert (row["intraday_wh"], row["refused_wh"], row["refusal_eur"]) == ("0", "200", "0.00600000")


def test_the_accounts_sum_to_zero_as_text() -> None:
    accounts = day()
    table = rows(accounts_csv(accounts))
    assert [row["account"] for row in table] == ["H01", "H02", "supplier", "dso"]
    assert sum(Decimal(row["receives_eur"]) for row in table) == 0
    tree = json.loads(accounts_json(accounts))
    assert tree["balance_units"] == 0
    assert tree["supplier_receives_units"] + tree["dso_receives_units"] == tree["total"]["bill_units"]


@given(st.integers(-(10**12), 10**12))
def test_amounts_are_exact(units: int) -> None:
    assert Decimal(eur_text(units)) * 10**8 == units


def test_files(tmp_path: Path) -> None:
    folder = tmp_path / "statements"
    write_statements(day(), folder)
    (folder / "H77.csv").write_text("of a former run")
    write_statements(day(), folder)
    names = [path.name for path in sorted(folder.iterdir())]
    assert names == ["H01.csv", "H01.json", "H02.csv", "H02.json", "accounts.csv", "accounts.json"]
    assert (folder / "H01.csv").read_text() == statement_csv(day().homes[0])


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StatementFilesError, match="file"):
        write_statements(day(), tmp_path / "file")


def test_an_id_that_is_no_name_for_a_file_gets_one(tmp_path: Path) -> None:
    ids = ("../up", "accounts", "a b", "home-accounts")
    accounts = settle_day((replace(BUYER, home=HomeId(each), cleared_wh=0) for each in ids), RewardTerms())
    with pytest.raises(StatementFilesError, match=r"home-accounts\.csv is there already"):
        write_statements(accounts, tmp_path / "out")
    few = settle_day((s.facts for home in accounts.homes[:-1] for s in home.slots), RewardTerms())
    write_statements(few, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").glob("*.csv")}
    assert names == {"accounts.csv", "home-..%2Fup.csv", "home-accounts.csv", "home-a%20b.csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- corrections -------------------------------------------------------------------------------------------


def corrected() -> tuple[DayAccounts, CorrectionNote]:
    """A buyer whose meter was silent, and says 300 Wh a day later: 40 more than it committed itself to."""
    told = replace(BUYER, metered_wh=260, source=ReadingSource.COMMITMENT)
    first = settle_day((told, SELLER), RewardTerms())
    late = LateReading(home=BUYER.home, slot=SLOT, metered_wh=300, at=SLOT + timedelta(days=1))
    (correction,) = settle_again(first, (late,), RewardTerms()).corrections
    return first, CorrectionNote(
        correction=correction,
        stated_at=SLOT + timedelta(hours=1),
        corrected_at=SLOT + timedelta(days=1, hours=1),
    )


def test_a_correction_says_what_was_stated_and_the_difference() -> None:
    _, note = corrected()
    (row,) = rows(corrections_csv((note,)))
    # 40 Wh more at 15 c; u = -5 c on them; R = 5 % of 0.026 EUR less 5 c/kWh2 on 0.04 kWh
    supplier, price, reward = 40 * 15_000, 40 * -5_000, -(130_000 - 5 * 40**2)
    assert row == {
        "slot": "2018-05-16T10:00:00Z",
        "home": "H01",
        "stated_at": "2018-05-16T11:00:00Z",
        "corrected_at": "2018-05-17T11:00:00Z",
        "metered_wh_before": "260",
        "source_before": "commitment",
        "metered_wh": "300",
        "source": "metered",
        "market_change_eur": "0.00000000",
        "supplier_change_eur": eur_text(supplier),
        "feed_in_change_eur": "0.00000000",
        "real_time_price_change_eur": eur_text(price),
        "reward_change_eur": eur_text(reward),
        "rebate_change_eur": "0.00000000",
        "refusal_change_eur": "0.00000000",
        "bill_before_eur": eur_text(200 * 13_000 + 60 * 15_000 - 200 * 1_500),
        "bill_eur": eur_text(200 * 13_000 + 60 * 15_000 - 200 * 1_500 + supplier + price + reward),
        "bill_change_eur": eur_text(supplier + price + reward),
    }


def test_corrections_sum_to_zero_over_all_accounts() -> None:
    _, note = corrected()
    told = json.loads(corrections_json((note, note)))
    (one, _) = told["corrections"]
    assert told["homes_pay_more_units"] == 2 * one["bill_change_units"]
    assert told["supplier_receives_more_eur"] == eur_text(2 * 40 * 15_000)
    assert (
        told["supplier_receives_more_units"] + told["dso_receives_more_units"] == 2 * one["bill_change_units"]
    )
    assert told["balance_units"] == 0
    assert one["bill_units"] - one["bill_before_units"] == one["bill_change_units"]
    nothing = json.loads(corrections_json(()))
    assert (nothing["corrections"], nothing["balance_units"]) == ([], 0)


def test_files_of_a_day_that_goes_on(tmp_path: Path) -> None:
    first, note = corrected()
    (tmp_path / "mine.csv").write_text("not ours")
    update_statements(first, (), tmp_path)
    assert not (tmp_path / "corrections.csv").exists()
    bill = (tmp_path / "H01.csv").read_text()
    update_statements(first, (note,), tmp_path)
    assert (tmp_path / "corrections.csv").read_text() == corrections_csv((note,))
    assert (tmp_path / "corrections.json").read_text() == corrections_json((note,))
    assert (tmp_path / "H01.csv").read_text() == bill
    assert (tmp_path / "mine.csv").read_text() == "not ours"
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(StatementFilesError, match=r"mine\.csv"):
        update_statements(first, (), tmp_path / "mine.csv")
