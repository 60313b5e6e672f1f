"""Settlement as ``feederloop dso`` does it, against a VTN with all that a neighbourhood has said.

The neighbourhood plays some hours in simulated time, dated yesterday. What it settles itself at the end,
knowing every reading, is what hour after hour of settlement must come to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.dso_settings import DsoProgramSettings, RebateSection, TariffSection
from config.program import load
from dso_engine.accounts import reward_terms
from dso_engine.gateway import OpenAdrGateway
from dso_engine.model import SLOT, HomeId
from dso_engine.settlement import DayAccounts, ReadingSource, SlotStatement, accounts_of
from dso_engine.settling import Members, Settling, SettlingRules
from feederloop.cli import app
from feederloop.dso_ledger import AccountLedger
from feederloop.dso_program import running_dso
from feederloop.dso_settlement import ACCOUNTS, WallRebate, WallTariff
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.profiles import LOCAL, local_midnight
from feederloop.simulation.scenario import Scenario
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError
from tests.e2e.day_rig import HOMES, Day, Site, load_site
from tests.e2e.test_dso_program import status_in
from tests.e2e.test_programs import TOKEN, program, until
from ven_client.ports import Transport

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.enable_socket]

SITE = Site(longer=1.0, pv_kwp=5.0, start=timedelta(hours=10), slots=6)
"""Homes trade; the price is never armed, which makes the hours short to play."""
SILENT = HomeId("H04")
ONE_HOUR = timedelta(hours=1)
AFTER = timedelta(minutes=2)
DUE_HOURS = 2
"""How many hours the program finds due, the neighbourhood's and one in which nobody said a thing."""
VTN = 'db = "sqlite:///vtn.sqlite"\nport = 0\nplain = true\nask_reports = "loop"\n[operator]\nport = 0\n'
DSO = """
network = "eight.json"
homes = "homes.csv"
state = "state"
[vtn]
url = "{url}"
token = "{token}"
[telemetry]
path = "meters.csv"
[settlement]
start = "{start}"
after = "PT{after_s}S"
"""


class CutOff:
    """A line that takes no meter reading for a while; the VEN keeps it and sends it again."""

    def __init__(self, inner: Transport, day: list[Day]) -> None:
        self._inner, self._day = inner, day
        self.refused = 0

    async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
        if isinstance(message, m.UpdateReport):
            (day,) = self._day
            cut = day.first - 4 * SLOT <= day.run.clock.now() < day.first + SLOT
            if cut and any(each.report_specifier_id == "meter-energy" for each in message.reports):
                self.refused += 1
                raise TransportError("no line")
        return await self._inner.exchange(service, message)

    async def close(self) -> None:
        await self._inner.close()


def yesterday(folder: Path) -> Scenario:
    """The eight homes as on the scenario's day, but a whole number of days later: yesterday."""
    found = load_site(SITE, folder, seed=1)
    market = found.parameters.market.model_copy(update={"rebate_max_eur_per_kwh": 0.0})
    day = (datetime.now(LOCAL) - timedelta(days=1)).date()
    shift = local_midnight(day) - found.midnight
    return replace(
        found,
        options=replace(found.options, day=day),
        parameters=found.parameters.model_copy(update={"market": market}),
        profiles=replace(found.profiles, start=found.profiles.start + shift),
    )


class Played:
    """The two hours, and the settlement that ran beside them, killed and started again in between."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        held: list[Day] = []
        self.lines: list[CutOff] = []

        def link(home: HomeId, inner: Transport) -> Transport:
            if home != SILENT:
                return inner
            self.lines.append(CutOff(inner, held))
            return self.lines[-1]

        self.day = Day(folder=folder, site=SITE, scenario=yesterday(folder), link=link, remote=True)
        held.append(self.day)
        self._ledger: AccountLedger | None = None
        self._task: asyncio.Task[None] | None = None
        self.first_hour = self.day.first - ONE_HOUR
        """Not counted by the neighbourhood, and without a market; the silent meter is silent in it."""
        self.day.at(self.first_hour, self._start)
        self.day.at(self.day.first + timedelta(minutes=20), self._kill)
        self.day.at(self.day.first + timedelta(minutes=25), self._start)
        self.outcome: RunOutcome = self.day.play()
        self.ledger.close()

    @property
    def ledger(self) -> AccountLedger:
        assert self._ledger is not None
        return self._ledger

    def _start(self) -> None:
        run = self.day.run
        costs = run.scenario.parameters.costs
        self._ledger = AccountLedger.kept(
            self.folder / "beside.sqlite", timezone="Etc/GMT-1", first_hour=self.first_hour
        )
        gateway = OpenAdrGateway(
            desk=run.desk,
            vens=run.ven_ids,
            switches=run.switches,
            pccs=run.scenario.network.pccs,
            contexts=run.contexts,
            seed=1,
            clock=run.clock,
        )
        settling = Settling(
            clock=run.clock,
            members=lambda hour: Members(homes=HOMES, contract_kva=dict.fromkeys(HOMES, 9.0), source=gateway),
            ledger=self._ledger,
            rules=SettlingRules(
                tariff=WallTariff(TariffSection()),
                rebate_millicent=WallRebate(RebateSection(), "UTC"),
                terms=reward_terms(
                    reward_percent=costs.reward_percent,
                    curvature_c_per_kwh2=costs.reward_curvature_c_per_kwh2,
                ),
                after=AFTER,
            ),
            publish=self._publish,
        )
        self._task = run.clock.spawn(settling.run(), "settlement")

    async def _publish(self, day: date) -> None:
        self.ledger.published(day)

    def _kill(self) -> None:
        assert self._task is not None
        self._task.cancel()
        self.ledger.close()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("yesterday"))


def statements(path: Path, hour: datetime, *, corrected: bool = False) -> tuple[SlotStatement, ...]:
    with closing(AccountLedger.of(path)) as ledger:
        return ledger.statements(hour, hour + ONE_HOUR, corrected=corrected)


def in_the_end(played: Played) -> dict[tuple[datetime, str], SlotStatement]:
    return {(s.slot, s.home): s for home in played.outcome.accounts.homes for s in home.slots}


# --- beside the neighbourhood ------------------------------------------------------------------------------


def test_hour_after_hour_comes_to_what_the_day_comes_to(played: Played) -> None:
    path = played.folder / "beside.sqlite"
    now = statements(path, played.day.first)
    assert {(s.slot, s.home): s for s in now} == in_the_end(played)
    assert accounts_of(now).lines.market != 0, "nothing was traded: the test shows nothing"
    assert accounts_of(now).balance == 0


def test_a_silent_meter_is_settled_by_what_it_said_before_and_again_when_it_speaks(played: Played) -> None:
    (line,) = played.lines
    assert line.refused > 0
    path = played.folder / "beside.sqlite"
    first = statements(path, played.first_hour)
    substituted = {(s.slot, s.home) for s in first if s.facts.source is not ReadingSource.METERED}
    # From the slot that ends when the line is cut to the last of the hour, which is settled before it is back
    assert substituted == {(played.first_hour + k * SLOT, SILENT) for k in range(1, 6)}
    with closing(AccountLedger.of(path)) as ledger:
        notes = ledger.notes(played.first_hour, played.day.first)
    assert {(n.correction.before.slot, n.correction.before.home) for n in notes} == substituted
    back = played.day.first + timedelta(minutes=25)
    assert {n.corrected_at for n in notes} == {back}, "as soon as there is an engine again"
    stated, now = accounts_of(first), accounts_of(statements(path, played.first_hour, corrected=True))
    assert stated.balance == now.balance == 0
    assert now.homes_pay - stated.homes_pay == sum(n.correction.bill for n in notes) != 0


# --- as a process ------------------------------------------------------------------------------------------


@asynccontextmanager
async def vtn_and_settings(played: Played) -> AsyncIterator[None]:
    """A VTN on the store of the two hours, and the settings of an engine beside it."""
    folder = played.folder
    (folder / "vtn.toml").write_text(VTN, encoding="utf-8")
    rows = "".join(f"{home},ven-{home},7,,9\n" for home in HOMES)
    (folder / "homes.csv").write_text(f"home,ven_id,pv_kwp,switch,contract_kva\n{rows}", encoding="utf-8")
    (folder / "meters.csv").write_text("time,pcc,p_kw,q_kvar,v_v\n", encoding="utf-8")
    async with program(folder, "vtn", "operator", "vtn", "--config", "vtn.toml") as vtn:
        (url,) = vtn.told["operator"]
        text = DSO.format(
            url=url,
            token=TOKEN,
            start=played.day.first.isoformat(),
            after_s=int((datetime.now(UTC) - played.day.first - DUE_HOURS * ONE_HOUR).total_seconds()),
        )
        (folder / "dso.toml").write_text(text, encoding="utf-8")
        yield


def settled(path: Path) -> datetime | None:
    if not path.exists():
        return None
    with closing(AccountLedger.of(path)) as ledger:
        return ledger.settled_until()


def unpublished(path: Path) -> tuple[date, ...]:
    with closing(AccountLedger.of(path)) as ledger:
        return ledger.unpublished()


async def test_the_program_settles_what_it_finds_and_a_kill_loses_and_doubles_nothing(played: Played) -> None:
    state = played.folder / "state"
    path = state / ACCOUNTS
    day = played.day.first.astimezone(LOCAL).date().isoformat()
    async with vtn_and_settings(played):
        async with program(played.folder, "dso", "vtn", "dso", "--config", "dso.toml") as first:
            await until(lambda: settled(path), lambda found: found is not None)
            first.process.kill()
            await first.process.wait()
        then = settled(path)
        assert then is not None
        due = played.day.first + DUE_HOURS * ONE_HOUR
        async with running_dso(load(DsoProgramSettings, played.folder / "dso.toml", {}, {})):
            await until(lambda: settled(path), lambda found: found == due)
            await until(lambda: unpublished(path), lambda days: days == ())
    assert {"settled_until", "hours_not_settled", "hours_with_substitutes"} <= status_in(state).keys()
    assert {(s.slot, s.home): s for s in statements(path, played.day.first)} == in_the_end(played)
    with closing(AccountLedger.of(path)) as ledger:
        assert ledger.unsettled(due) == ()
        everything = ledger.statements(played.day.first, datetime.now(UTC), corrected=False)
    assert len(everything) == len({(s.slot, s.home) for s in everything}) == len(HOMES) * 6 * DUE_HOURS
    assert_readable(state, day, accounts_of(everything))


def assert_readable(state: Path, day: str, accounts: DayAccounts) -> None:
    """The statements of the day are there as files, and a command shows the same."""
    rows = (state / "statements" / day / "accounts.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["account", *HOMES, "supplier", "dso"]
    assert sum(round(float(row.rsplit(",", 1)[1]) * 10**8) for row in rows[1:]) == 0
    assert (state / "statements" / day / f"{SILENT}.json").exists()
    told = CliRunner().invoke(app, ["statements", str(state), "--from", day, "--json", "--first"])
    assert told.exit_code == 0, told.output
    tree = json.loads(told.stdout)
    files = json.loads((state / "statements" / day / "accounts.json").read_text())
    assert tree == files
    assert tree["balance_units"] == 0
