"""The three programs around a day-ahead gate, on a clock that a test moves; engine and VEN start anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from pydantic import SecretStr

from config.dso_settings import DsoProgramSettings, TelemetrySection, VtnSection
from config.dso_settings import MarketSection as DsoMarket
from config.settings import data_path
from config.ven_settings import Home, VenProgramSettings
from config.ven_settings import MarketSection as VenMarket
from config.vtn_settings import OperatorApi, VtnProgramSettings
from feederloop import dso_program, vtn_program, wall_home
from feederloop.clock import WallClock
from feederloop.dso_program import RunningDso, running_dso
from feederloop.market_files import read_records
from feederloop.simulation.scenario import ScenarioOptions, load_scenario
from feederloop.ven_program import RunningVen, running_ven
from feederloop.vtn_program import RunningVtn, running_vtn
from ven_client.hems.program import Planner

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.enable_socket]

T = TypeVar("T")
GATE: Final = datetime(2026, 6, 10, 10, tzinfo=UTC)
MIDNIGHT: Final = GATE + timedelta(hours=13)
TOKEN: Final = "0123456789abcdef"
PATIENCE_S: Final = 120.0
STEP: Final = timedelta(seconds=30)


class MovedClock(WallClock):
    """Stands still until it is moved; then everybody who waits looks at it again."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        del rank, key
        await asyncio.sleep(0)
        while self._now < when:
            await self._moved.wait()

    def move(self, step: timedelta = STEP) -> None:
        self._now += step
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


@cache
def traders() -> tuple[str, ...]:
    """Three homes with PV and three without."""
    homes = load_scenario(ScenarioOptions()).homes
    with_pv = [spec.home for spec in homes if spec.pv_kwp][:3]
    return (*with_pv, *[spec.home for spec in homes if not spec.pv_kwp][:3])


class Street:
    """A VTN, six VENs and an engine, each of which can be stopped and started anew."""

    def __init__(self, folder: Path, clock: MovedClock, stack: AsyncExitStack) -> None:
        self.folder, self.clock, self._stack = folder, clock, stack
        self._parts: dict[str, AsyncExitStack] = {}
        self.vtn: RunningVtn

    async def start_vtn(self) -> None:
        rows = "".join(f"{home},ven-{home}\n" for home in traders())
        (self.folder / "vens.csv").write_text("name,ven_id\n" + rows, encoding="utf-8")
        settings = VtnProgramSettings(
            db=f"sqlite:///{self.folder / 'vtn.sqlite'}",
            vens=self.folder / "vens.csv",
            port=0,
            plain=True,
            ask_reports="loop",
            operator=OperatorApi(port=0, token=SecretStr(TOKEN)),
        )
        self.vtn = await self._stack.enter_async_context(running_vtn(settings))

    async def start_ven(self, home: str) -> RunningVen:
        settings = VenProgramSettings(
            vtn=self.vtn.url,
            name=home,
            plain=True,
            state=self.folder / f"{home}.sqlite",
            home=Home(id=home),
            market=VenMarket(day_ahead=True),
        )
        return await self._part(home).enter_async_context(running_ven(settings, self.clock))

    async def start_dso(self) -> RunningDso:
        rows = "".join(f"{home},ven-{home},0,,9\n" for home in traders())
        (self.folder / "homes.csv").write_text("home,ven_id,pv_kwp,switch,contract_kva\n" + rows, "utf-8")
        (self.folder / "meters.csv").write_text("time,pcc,p_kw,q_kvar,v_v\n", encoding="utf-8")
        assert self.vtn.api_url is not None
        settings = DsoProgramSettings(
            network=data_path("networks", "lv_50h_rural.json"),
            homes=self.folder / "homes.csv",
            state=self.folder / "state",
            vtn=VtnSection(url=self.vtn.api_url, token=SecretStr(TOKEN)),
            telemetry=TelemetrySection(path=self.folder / "meters.csv"),
            market=DsoMarket(day_ahead=True),
        )
        return await self._part("dso").enter_async_context(running_dso(settings))

    async def stop(self, part: str) -> None:
        await self._parts.pop(part).aclose()

    async def stop_all(self) -> None:
        for part in [*self._parts]:
            await self.stop(part)

    def _part(self, name: str) -> AsyncExitStack:
        return self._parts.setdefault(name, AsyncExitStack())

    async def until(self, ask: Callable[[], T], fits: Callable[[T], bool], *, to: datetime) -> T:
        """Move the clock, but not beyond an instant, until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not fits(found := ask()):
                if self.clock.now() + STEP <= to:
                    self.clock.move()
                await asyncio.sleep(0.05)  # the programs talk over sockets
            return found

    async def on_to(self, when: datetime) -> None:
        await self.until(self.clock.now, lambda now: now >= when, to=when)

    def told(self) -> dict[str, tuple[float, ...]]:
        """Energies of the day's blocks by VEN."""
        events = (self.vtn.operator.event(f"day-20260610T2300Z-ven-{home}") for home in traders())
        return {
            event.audience[0]: tuple(each.signal_value for each in event.signals[1].intervals)
            for event in events
            if event is not None
        }

    def records(self) -> list[dict[str, Any]]:
        texts = [path.read_text("utf-8") for path in sorted((self.folder / "state").glob("records-*.jsonl"))]
        lines = [json.loads(line) for text in texts for line in text.splitlines()]
        return [each for each in lines if each["kind"] == "DayAheadRecord"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """The wall clock of all programs, and one set of compiled home programmes for all."""
    moved, planner = MovedClock(GATE - timedelta(minutes=12)), Planner()
    monkeypatch.setattr(vtn_program, "WallClock", lambda: moved)
    monkeypatch.setattr(dso_program, "WallClock", lambda: moved)
    monkeypatch.setattr(wall_home, "Planner", lambda: planner)
    return moved


async def test_the_gate_and_restarts_around_it(tmp_path: Path, clock: MovedClock) -> None:
    async with AsyncExitStack() as stack:
        street = Street(tmp_path, clock, stack)
        await street.start_vtn()
        stack.push_async_callback(street.stop_all)
        vens = {home: await street.start_ven(home) for home in traders()}
        await street.start_dso()
        offers = {home: f"ven-{home}" for home in traders()}
        await street.on_to(GATE - timedelta(minutes=4))
        assert street.told() == {}

        # An engine that is not there at the gate: the next one holds the auction, once.
        await street.stop("dso")
        await street.on_to(GATE + timedelta(minutes=2))
        assert street.told() == {}
        await street.start_dso()
        told = await street.until(street.told, bool, to=GATE + timedelta(minutes=10))
        assert set(told) == set(offers.values())
        assert [sum(block) for block in zip(*told.values(), strict=True)] == [0.0] * 24
        assert any(any(blocks) for blocks in told.values()), "somebody trades"
        await street.until(street.records, lambda found: len(found) == 24, to=GATE + timedelta(minutes=10))

        # Everybody holds what he was told, and answers.
        def held() -> dict[str, list[int]]:
            return {f"ven-{home}": blocks_of(ven) for home, ven in vens.items()}

        expected = {ven: [round(wh) // 6 for wh in blocks] for ven, blocks in told.items()}
        await street.until(held, lambda found: found == expected, to=GATE + timedelta(minutes=20))

        # A VEN and the engine start anew: nothing is lost, nothing is cleared again.
        reborn = next(ven.removeprefix("ven-") for ven, blocks in told.items() if any(blocks))
        await street.stop(reborn)
        await street.stop("dso")
        vens[reborn] = await street.start_ven(reborn)
        await street.start_dso()
        await street.until(held, lambda found: found == expected, to=GATE + timedelta(minutes=23))
        await street.on_to(GATE + timedelta(minutes=25))
        assert street.told() == told
        assert held() == expected
        assert len(street.records()) == 24
        verdicts = read_records([tmp_path / "state" / "market"])
        assert [each.verdict.findings for each in verdicts] == [()] * len(verdicts)
        assert sum("day-ahead" in each.path.name for each in verdicts) == 24


def blocks_of(ven: RunningVen) -> list[int]:
    """What a home holds of each hour, energy of a slot."""
    blocks = ven.home.manager._hours.blocks
    return [blocks.held_wh(MIDNIGHT + timedelta(hours=h)) for h in range(24)]
