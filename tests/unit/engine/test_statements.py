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
from dso_engine.settlement import DayAccounts, ReadingSource, RewardTerms, SlotInput, eur_text, settle_day
from dso_engine.statements import accounts_csv, accounts_json, statement_csv, statement_json
from feederloop.statement_files import StatementFilesError, write_statements

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


def test_a_folder_that_is_a_file_and_an_id_that_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StatementFilesError, match="file"):
        write_statements(day(), tmp_path / "file")
    strange = replace(BUYER, home=HomeId("../up"), cleared_wh=0)
    with pytest.raises(StatementFilesError, match="no name for a file"):
        write_statements(settle_day((strange,), RewardTerms()), tmp_path / "out")
    assert not (tmp_path / "out").exists()
