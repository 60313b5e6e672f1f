"""What must hold of a run of the whole neighbourhood at its most critical hour, under every option."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from dso_engine.market import Side
from dso_engine.model import HomeId
from dso_engine.records import ArmRecord, MarketRecord
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.scenario import ScenarioOptions, load_scenario
from schemas.oadr20b import wire
from schemas.oadr20b.declare import clark
from schemas.oadr20b.model import AnyMessage
from tests.e2e.day_rig import Day, Site, assert_sound, errors

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.enable_socket]

NOON: Final = Site(longer=1.0, pv_kwp=4.5, start=timedelta(hours=13, minutes=30), slots=3)
LOGGED: Final = HomeId("H07")


@pytest.fixture(scope="module", params=["secant", "model error", "thesis"])
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Day, RunOutcome]:
    law = "thesis" if request.param == "thesis" else "secant"
    day = Day(
        folder=tmp_path_factory.mktemp("noon"),
        scenario=load_scenario(ScenarioOptions()),
        site=NOON,
        law=law,
        model_error=request.param == "model error",
        logged=LOGGED,
    )
    return day, day.play()


def test_no_limit_is_broken_at_the_end_of_a_slot(played: tuple[Day, RunOutcome]) -> None:
    day, outcome = played
    without = day.result(outcome).grid_uncontrolled
    assert any(without.violations), "the hour is not critical: the test shows nothing"
    assert any(isinstance(r, ArmRecord) and r.armed and r.slot >= day.first for r in outcome.records)
    assert [len(view.violations) for view in outcome.views] == [0] * NOON.slots


def test_the_books_balance_and_meters_tell_the_truth(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    assert_sound(outcome)
    accounts = outcome.accounts
    assert accounts.homes_pay == accounts.supplier_receives + accounts.dso_receives
    assert len(accounts.homes) == 50
    assert all(len(home.slots) == NOON.slots for home in accounts.homes)


def test_every_auction_sells_what_is_bought(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    clearings = [r.clearing for r in outcome.records if isinstance(r, MarketRecord)]
    for clearing in clearings:
        volume = {side: sum(t.volume_wh for t in clearing.trades if t.side is side) for side in Side}
        assert volume[Side.BUY] == volume[Side.SELL] == clearing.traded_wh
    assert sum(clearing.traded_wh for clearing in clearings) > 0


def test_traded_energy_is_paid_for_once(played: tuple[Day, RunOutcome]) -> None:
    """The homes' market lines are what the auctions say; the DSO keeps what buyers pay more."""
    _, outcome = played
    surplus = 0
    for record in outcome.records:
        if isinstance(record, MarketRecord) and record.slot in outcome.slots:
            clearing = record.clearing
            bid, ask = clearing.bid_price_millicent or 0, clearing.ask_price_millicent or 0
            surplus += clearing.traded_wh * (bid - ask)
    accounts = outcome.accounts
    assert accounts.lines.refusal == 0
    assert accounts.market_surplus == accounts.lines.market == surplus


def test_every_message_is_valid_both_ways(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    assert len(outcome.exchanges) > 100
    kinds = set()
    for exchange in outcome.exchanges:
        assert exchange.http_status == 200
        for body in (exchange.request, exchange.response):
            kinds.add(type(_valid(body)).__name__)
    assert kinds >= {
        "CreatePartyRegistration", "CreatedPartyRegistration", "RegisterReport", "RegisteredReport",
        "CreateReport", "CreatedReport", "UpdateReport", "UpdatedReport", "RequestEvent",
        "DistributeEvent", "CreatedEvent", "Poll", "Response",
    }  # fmt: skip


def _valid(body: bytes) -> AnyMessage:
    """Return a message that the official schema accepts and that says its version."""
    root = wire.parse(body)  # raises where the schema refuses it
    (signed,) = (each for each in root if each.tag == clark("oadr:oadrSignedObject"))
    (message,) = signed
    assert message.get(clark("ei:schemaVersion")) == "2.0b"
    return wire.read(body)


def test_nothing_goes_wrong_on_the_wire(played: tuple[Day, RunOutcome]) -> None:
    _, outcome = played
    assert not errors(outcome)
    assert not any(stats.failures or stats.reconnects for stats in outcome.client_stats)
    assert outcome.refused_by_vtn == 0
