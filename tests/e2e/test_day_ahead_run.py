"""A run with a day-ahead market: its gate on the day before, and what becomes of it on the day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from dso_engine.market_record import verify_chain
from dso_engine.model import SLOT, HomeId
from dso_engine.records import DayAheadRecord, MarketRecord
from dso_engine.settlement import SlotStatement
from feederloop.market_files import read_records, write_market
from feederloop.simulation.day_before import opening
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.result import to_json
from feederloop.simulation.scenario import Scenario
from schemas.oadr20b import wire
from tests.e2e.day_rig import CALM, HOMES, Day, assert_sound, errors, load_site, sent

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

SITE: Final = replace(CALM, slots=2)
LOGGED, LATE, REBORN = HomeId("H07"), HomeId("H06"), HomeId("H02")
MINUTE: Final = timedelta(minutes=1)


def two_markets(folder: Path) -> Scenario:
    """The calm street with blocks the day before."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = load_site(SITE, folder, seed=1)
    market = scenario.parameters.market.model_copy(update={"day_ahead": True})
    return replace(scenario, parameters=scenario.parameters.model_copy(update={"market": market}))


def statements(outcome: RunOutcome) -> Iterable[SlotStatement]:
    return (statement for home in outcome.accounts.homes for statement in home.slots)


def the_day(folder: Path, *, remote: bool = False) -> Day:
    """One VEN is off at the gate, another loses power during the day; neither costs the others anything."""
    day = Day(folder=folder, site=SITE, scenario=two_markets(folder), logged=LOGGED, remote=remote)
    assert day.scenario is not None

    async def off_at_the_gate() -> None:
        await day.run.vens.stop(LATE)

    async def without_power() -> None:
        await day.run.vens.stop(REBORN)
        day.run.vens.start(day.household(REBORN))

    day.at(opening(day.scenario) + MINUTE, off_at_the_gate)
    day.at(day.first - SLOT + MINUTE, without_power)
    return day


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, RunOutcome]:
    day = the_day(tmp_path_factory.mktemp("two-markets"))
    return day, day.play()


def test_nothing_goes_wrong(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    assert_sound(outcome)
    assert not errors(outcome)
    assert outcome.refused_by_vtn == 0
    assert not any(stats.failures for stats in outcome.client_stats)


def test_the_auctions_are_held_and_settled(played: tuple[Day, RunOutcome]) -> None:
    """What the statements say is what the auctions said: six times in each slot of the hour, one price."""
    day, outcome = played
    records = {r.slot: r for r in outcome.records if isinstance(r, DayAheadRecord)}
    assert len(records) == 24
    assert sum(record.clearing.traded_wh > 0 for record in records.values()) > 3
    assert not any(record.refused for record in records.values())
    held = 0
    for statement in statements(outcome):
        clearing = records[statement.slot.replace(minute=0)].clearing
        trades = {trade.home: trade for trade in clearing.trades}
        trade, facts = trades.get(statement.home), statement.facts
        assert abs(facts.day_ahead_wh) == (trade.volume_wh if trade else 0)
        if facts.day_ahead_wh:
            held += 1
            bought = facts.day_ahead_wh > 0
            price = clearing.bid_price_millicent if bought else clearing.ask_price_millicent
            assert facts.day_ahead_price_millicent == price
    assert held > 0
    summary = day.result(outcome).day_ahead
    assert summary is not None
    bought_wh = sum(max(0, s.facts.day_ahead_wh) for s in statements(outcome))
    assert summary.traded_kwh == pytest.approx(bought_wh / 1000.0)


def test_the_records_are_published_and_sound(played: tuple[Day, RunOutcome], tmp_path: Path) -> None:
    day, outcome = played
    assert day.scenario is not None
    write_market(outcome.records, tmp_path, day.scenario.options.seed)
    verdicts = read_records([tmp_path])
    assert [each.verdict.findings for each in verdicts] == [()] * len(verdicts)
    records = [each.verdict.record for each in verdicts if each.verdict.record is not None]
    assert [record.product for record in records].count("day_ahead") == 24
    assert verify_chain(records) == ()


def test_homes_plan_with_what_they_hold(played: tuple[Day, RunOutcome]) -> None:
    """The VENs were off for almost a day and registered anew, one of them twice; they were told again."""
    day, outcome = played
    assert sent(outcome)["CreatePartyRegistration"] == 2 * len(
        HOMES
    )  # one did not at the gate, one once more
    by_home = {home.home: home.slots[0].facts.day_ahead_wh for home in outcome.accounts.homes}
    assert by_home[REBORN] != 0
    for home, wh in by_home.items():
        manager = day.household(home).manager
        assert manager._hours.blocks.held_wh(day.first) == wh


def test_the_messages_are_those_of_signals_md(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    texts = []
    for exchange in outcome.exchanges:
        for body in (exchange.request, exchange.response):
            wire.parse(body)  # the official schema
            texts.append(body)
    for part in (
        b"x-METADATA_DAY_AHEAD_OFFER",
        b"x-DAY_AHEAD_OFFER",
        b"x-COMMITTED_BLOCK",
        b"/day-ahead-market",
    ):
        assert any(part in text for text in texts), part


def test_the_same_bytes_over_the_operator_api(played: tuple[Day, RunOutcome], tmp_path: Path) -> None:
    day, outcome = played
    again = the_day(tmp_path, remote=True)
    assert to_json(again.result(again.play())) == to_json(day.result(outcome))


def test_who_comes_after_the_gate_trades_hour_by_hour_only(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    blocks = [record for record in outcome.records if isinstance(record, DayAheadRecord)]
    assert {order.home for record in blocks for order in record.book} == set(HOMES) - {LATE}
    facts = {home.home: [each.facts for each in home.slots] for home in outcome.accounts.homes}
    assert [each.day_ahead_wh for each in facts[LATE]] == [0] * SITE.slots
    hourly = [record for record in outcome.records if isinstance(record, MarketRecord)]
    assert any(order.home == LATE for record in hourly for order in record.book)
