"""Whom ``feederloop dso`` asks when it settles: the VENs on file when the gate of the hour closed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.dso_settings import DsoProgramSettings
from config.program import load
from config.settings import data_path
from dso_engine.feeder import Network, load_network
from dso_engine.gateway_desk import Change, EventState, Said
from dso_engine.guard import Loud
from dso_engine.settling import Settling
from feederloop.clock import SimClock
from feederloop.customers import read_connections
from feederloop.dso_ledger import AccountLedger
from feederloop.dso_settlement import SettlementParts, WallTariff, opened_ledger, settlement
from feederloop.statement_files import StatementFilesError
from tests.unit.engine.engine_fakes import Tape
from vtn_server.operator import EventDraft
from vtn_server.state import VenId

HOUR = datetime(2026, 5, 16, 10, tzinfo=UTC)
BEFORE_GATE = HOUR - timedelta(minutes=76)
NEEDED = 'network = "n.json"\nhomes = "h.csv"\nstate = "."\n[vtn]\ntoken = "x"\n[telemetry]\npath = "m.csv"\n'


class Listening:
    """A VTN that knows nothing and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def events(self, event_ids: Sequence[str]) -> Mapping[str, EventState]:
        self.asked += event_ids
        return {}

    async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        return ()

    async def distinct(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        return ()

    async def known(self) -> frozenset[VenId]:
        return frozenset()

    async def opted_out(self, at: datetime) -> frozenset[VenId]:
        return frozenset()

    async def publish(self, drafts: Sequence[EventDraft]) -> None:
        raise AssertionError("settlement publishes nothing")

    async def modify(self, changes: Sequence[Change]) -> None:
        raise AssertionError("settlement changes nothing")


class Programs:
    """Starts of the program at instants, each with the file of homes as it is then."""

    def __init__(self, folder: Path, network: Network) -> None:
        self._folder, self._network = folder, network
        (folder / "dso.toml").write_text(NEEDED, encoding="utf-8")
        self._settings = load(DsoProgramSettings, folder / "dso.toml", {}, {})
        self.desk = Listening()
        self.ledger: AccountLedger = opened_ledger(self._settings, BEFORE_GATE - timedelta(days=1))

    def start(self, at: datetime, homes: str, lead: timedelta = timedelta(0)) -> Settling:
        """Start at an instant of the VTN's; the clock of the machine is ahead of it."""
        (self._folder / "h.csv").write_text(f"home,ven_id,contract_kva\n{homes}", encoding="utf-8")
        parts = SettlementParts(
            since=at,
            clock=SimClock(at + lead),
            desk=self.desk,
            network=self._network,
            ledger=self.ledger,
            tariff=WallTariff(self._settings.tariff),
            guard=Loud(),
            recorder=Tape(),
        )
        return settlement(self._settings, parts, read_connections(self._folder / "h.csv", self._network))


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(data_path("networks", "lv_33h_17pv.json"))


@pytest.fixture
def programs(tmp_path: Path, network: Network) -> Iterator[Programs]:
    made = Programs(tmp_path, network)
    with closing(made.ledger):
        yield made


async def asked(programs: Programs, settling: Settling, hour: datetime) -> list[str]:
    """The VENs whose results are asked for."""
    programs.desk.asked.clear()
    await settling._members(hour).source.results(hour)
    return [each.rsplit("Z-", 1)[1] for each in programs.desk.asked]


async def test_homes_are_on_file_from_when_the_vtn_says(programs: Programs) -> None:
    programs.start(BEFORE_GATE - timedelta(hours=1), "H01,ven-1,9\n")
    settling = programs.start(BEFORE_GATE, "H02,ven-2,\n", lead=timedelta(days=1))
    assert settling._members(HOUR).homes == ("H02",)


async def test_a_home_that_left_after_the_gate_is_still_asked(programs: Programs) -> None:
    programs.start(BEFORE_GATE, "H01,ven-1,9\nH02,ven-2,\n")
    settling = programs.start(HOUR, "H01,ven-11,12\n")
    assert await asked(programs, settling, HOUR) == ["ven-1", "ven-2"]
    members = settling._members(HOUR)
    assert (members.homes, members.contract_kva) == (("H01", "H02"), {"H01": 9.0})
    assert await asked(programs, settling, HOUR + timedelta(hours=1)) == ["ven-1", "ven-2"]
    assert await asked(programs, settling, HOUR + timedelta(hours=2)) == ["ven-11"]
    assert settling._members(HOUR + timedelta(hours=2)).contract_kva == {"H01": 12.0}


async def test_day_ahead_goes_by_who_was_there_the_day_before(programs: Programs) -> None:
    """The gate of 16 May closed at 10:00 UTC of the 15th."""
    programs.start(datetime(2026, 5, 15, 10, tzinfo=UTC), "H01,ven-1,\n")
    settling = programs.start(datetime(2026, 5, 15, 10, 0, 1, tzinfo=UTC), "H01,ven-11,\n")
    for day, ven in ((16, "ven-1"), (17, "ven-11")):
        programs.desk.asked.clear()
        found = settling._members(datetime(2026, 5, day, 10, tzinfo=UTC)).day_ahead
        assert found is not None
        await found.day_ahead_results(datetime(2026, 5, day - 1, 23, tzinfo=UTC))
        assert [each.endswith(f"-{ven}") for each in programs.desk.asked] == [True]


async def test_who_came_after_the_gate_is_asked_for_trades_of_an_auction_held_late(
    programs: Programs,
) -> None:
    """An engine that starts with another file of homes, just after a gate, clears with that file's homes."""
    programs.start(BEFORE_GATE, "H01,ven-1,9\nH02,ven-2,9\n")
    programs.start(HOUR - timedelta(minutes=62), "H01,ven-11,9\nH03,ven-3,6\nH04,ven-2,6\n")
    settling = programs.start(HOUR - timedelta(minutes=59), "H05,ven-5,9\n")
    assert await asked(programs, settling, HOUR) == ["ven-1", "ven-2", "ven-3"]
    members = settling._members(HOUR)
    assert members.homes == ("H01", "H02"), "the others only where they hold a trade"
    assert members.contract_kva == {"H01": 9.0, "H02": 9.0, "H03": 6.0}


async def test_so_is_who_came_between_the_day_ahead_gate_and_noon(programs: Programs) -> None:
    programs.start(datetime(2026, 5, 15, 9, 59, tzinfo=UTC), "H01,ven-1,\n")
    programs.start(datetime(2026, 5, 15, 11, tzinfo=UTC), "H01,ven-1,\nH02,ven-2,\n")
    settling = programs.start(datetime(2026, 5, 15, 11, 1, tzinfo=UTC), "H03,ven-3,\n")
    found = settling._members(datetime(2026, 5, 16, 10, tzinfo=UTC)).day_ahead
    assert found is not None
    programs.desk.asked.clear()
    await found.day_ahead_results(datetime(2026, 5, 15, 23, tzinfo=UTC))
    assert [each.rsplit("Z-", 1)[1] for each in programs.desk.asked] == ["ven-1", "ven-2"]


async def test_homes_without_a_ven_are_not_settled(programs: Programs) -> None:
    settling = programs.start(BEFORE_GATE, "H01,ven-1,9\nH02,,9\n")
    await settling.round(HOUR + timedelta(days=0, hours=1))
    start, end = HOUR - timedelta(days=2), HOUR + timedelta(days=1)
    assert {each.home for each in programs.ledger.statements(start, end, corrected=False)} == {"H01"}


async def test_a_day_is_written_hour_by_hour_and_taken_off_the_list(
    programs: Programs, tmp_path: Path
) -> None:
    settling = programs.start(BEFORE_GATE, "H01,ven-1,9\n")
    day = tmp_path / "statements" / "2026-05-16"
    for hours in (1, 2):
        await settling.round(HOUR + timedelta(hours=hours, minutes=15))
        rows = (day / "H01.csv").read_text().splitlines()
        assert rows[-1].startswith(f"2026-05-16T{9 + hours}:50:00Z,0,none,")
        assert programs.ledger.unpublished() == ()
    (tmp_path / "statements" / "2026-05-17").write_text("in the way")
    with pytest.raises(StatementFilesError, match="2026-05-17"):
        await settling.round(HOUR + timedelta(hours=15))
    assert [each.isoformat() for each in programs.ledger.unpublished()] == ["2026-05-17"]
