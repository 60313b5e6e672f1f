"""A neighbourhood of eight homes for whole runs that take a few seconds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from config.settings import data_path
from dso_engine.model import HomeId
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.records import EngineRecord
from feederloop.clock import Rank
from feederloop.simulation.assemble import assemble
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.result import RunResult
from feederloop.simulation.run import DayRun, RunOptions
from feederloop.simulation.scenario import Scenario, ScenarioOptions, load_scenario
from feederloop.simulation.street_certificates import StreetCertificates
from feederloop.simulation.uncontrolled import run_uncontrolled
from feederloop.simulation.vens import Link
from tests.e2e.remote_rig import RemoteLine, WrittenMeters
from ven_client.hems.program import Planner

HOMES: Final = tuple(HomeId(f"H0{k}") for k in range(1, 9))
OWNERS: Final = {
    "pv_battery": ["H01", "H02", "H03", "H04", "H05"],
    "pv_only": ["H06"],
    "battery_only": ["H07"],
    "none": ["H08"],
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A network of the eight homes and a stretch of the day.

    Attributes:
        longer: Factor on the lengths of the rural network's cables.
        pv_kwp: Rated power of each PV.
        start: First counted slot, local.
    """

    longer: float
    pv_kwp: float
    start: timedelta
    slots: int = 3


WEAK: Final = Site(longer=6.0, pv_kwp=7.0, start=timedelta(hours=10, minutes=30))
"""The voltage is at risk and the price is in use."""
CALM: Final = Site(longer=1.0, pv_kwp=5.0, start=timedelta(hours=11, minutes=30))
"""Homes trade, the price is never armed."""


@cache
def planner() -> Planner:
    """Return the compiled home programmes of this process."""
    return Planner()


def load_site(site: Site, folder: Path, seed: int) -> Scenario:
    """Write the network and who owns what as a user's own files, and load them."""
    text = data_path("networks", "lv_50h_rural.json").read_text(encoding="utf-8")
    network: dict[str, Any] = json.loads(text)
    network["name"] = "eight"
    network["households"] = [h for h in network["households"] if h["id"] in HOMES]
    network["pv"] = []  # the file's own generators belong to homes that are not here
    for home, phase in zip(network["households"], "AAABBBCC", strict=True):
        home["phase"] = phase
    for line in network["lines"]:
        line["length_m"] *= site.longer
    net, owners = folder / "eight.json", folder / "owners.json"
    net.write_text(json.dumps(network), encoding="utf-8")
    owners.write_text(json.dumps(OWNERS), encoding="utf-8")
    return load_scenario(ScenarioOptions(network=net, scenario=str(owners), seed=seed, pv_kwp=site.pv_kwp))


@dataclass(kw_only=True)
class Day:
    """A run to be, and what is done to it on the way."""

    folder: Path
    site: Site = WEAK
    scenario: Scenario | None = None
    seed: int = 1
    law: str = "secant"
    model_error: bool = False
    logged: HomeId | None = None
    link: Link | None = None
    tls: bool = False
    remote: bool = False
    """Whether the engine has nothing but the operator API and a file of meters, as in another process."""
    run: DayRun = field(init=False)
    options: RunOptions = field(init=False)
    _script: list[Coroutine[Any, Any, None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scenario = self.scenario or load_site(self.site, self.folder, self.seed)
        self.options = RunOptions(
            start=self.site.start,
            slots=self.site.slots,
            law=self.law,
            model_error=self.model_error,
            logged=self.logged,
            certificates=StreetCertificates(self.folder / "pki", HOMES) if self.tls else None,
            database=self.folder / "vtn.sqlite",
        )
        self.run = DayRun(self.scenario, self.options, planner=planner(), link=self.link)

    @property
    def first(self) -> datetime:
        """Start of the first counted slot."""
        return self.run.slots[0]

    @property
    def records(self) -> tuple[EngineRecord, ...]:
        """What the engine did, also where the run failed."""
        return tuple(self.run.tape.records)

    def household(self, home: HomeId) -> SimulatedHousehold:
        """Return a home."""
        return next(h for h in self.run.households if h.spec.home == home)

    def at(self, when: datetime, act: Callable[[], Awaitable[None] | None], rank: Rank = Rank.VTN) -> None:
        """Do something at an instant of the run, as one of those who act at it."""

        async def work() -> None:
            await self.run.clock.sleep_until(when, rank, "test")
            doing = act()
            if doing is not None:
                await doing

        self._script.append(work())

    def play(self) -> RunOutcome:
        """Play to the end."""

        async def main() -> RunOutcome:
            for work in self._script:
                self.run.clock.spawn(work, "script")
            async with AsyncExitStack() as stack:
                if self.remote:
                    self.run.desk = RemoteLine(self.run, stack)
                    meters = self.folder / "meters.csv"
                    self.run.telemetry = WrittenMeters(self.run.plant, self.run, meters)
                return await self.run.play()

        return asyncio.run(main())

    def result(self, outcome: RunOutcome) -> RunResult:
        """Return what ``feederloop demo`` would write."""
        assert self.scenario is not None
        limits, flow = self.run.limits, PandapowerFlow(self.scenario.network)
        uncontrolled = run_uncontrolled(self.scenario, self.run.slots, flow, limits, planner())
        return assemble(self.scenario, self.options, limits, uncontrolled, outcome)


def sent(outcome: RunOutcome) -> Counter[str]:
    """Return how often each request was sent by all VENs together."""
    total: Counter[str] = Counter()
    for stats in outcome.client_stats:
        total.update(dict(stats.sent))
    return total


def errors(outcome: RunOutcome) -> list[object]:
    """Return everything that went wrong on the wire."""
    bad: list[object] = [(s.application_errors, s.http_errors) for s in outcome.client_stats]
    return [each for each in bad if each != ((), ())]


def assert_sound(outcome: RunOutcome) -> None:
    """Assert what holds for every run: books balance, meters tell the truth, batteries within bounds."""
    accounts = outcome.accounts
    assert accounts.balance == 0
    assert accounts.homes_pay == sum(home.bill for home in accounts.homes)
    assert outcome.metered_wh == outcome.plant_wh
    for household, (low, high) in zip(outcome.households, outcome.battery_range_kwh, strict=True):
        battery = household.manager.parameters.battery
        if battery is None:
            assert low == high == 0.0
        else:
            assert battery.e_low_kwh - 1e-6 <= low <= high <= battery.e_high_kwh + 1e-6
