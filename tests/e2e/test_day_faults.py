"""What breaks in the field, broken in the middle of a run."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from dso_engine.model import HomeId
from dso_engine.records import StepRecord
from dso_engine.settlement import ReadingSource
from feederloop.clock import Rank
from feederloop.simulation.result import RunResult, to_json
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import TransportError
from tests.e2e.day_rig import CALM, HOMES, WEAK, Day, Site, assert_sound, errors, sent
from ven_client.ports import Transport

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Site], RunResult]:
    """Results of runs to which nothing happens, each played when it is first needed."""
    played: dict[Site, RunResult] = {}

    def of(site: Site) -> RunResult:
        if site not in played:
            day = Day(folder=tmp_path_factory.mktemp("undisturbed"), site=site)
            played[site] = day.result(day.play())
        return played[site]

    return of


def _but_traffic(result: RunResult) -> str:
    return to_json(replace(result, messages=None))


# --- the VTN -----------------------------------------------------------------------------------------------


async def _restart_vtn(day: Day) -> None:
    await day.run.host.stop()
    await day.run.host.start()


@pytest.mark.parametrize("after", [4 * MINUTE + 5 * SECOND, 10 * MINUTE], ids=str)
def test_a_restart_of_the_vtn_changes_nothing(
    tmp_path: Path, undisturbed: Callable[[Site], RunResult], after: timedelta
) -> None:
    day = Day(folder=tmp_path)
    day.at(day.first + after, lambda: _restart_vtn(day))
    outcome = day.play()
    assert_sound(outcome)
    assert sent(outcome)["CreatePartyRegistration"] == len(HOMES)
    assert not errors(outcome)
    assert _but_traffic(day.result(outcome)) == _but_traffic(undisturbed(WEAK))


def test_a_restart_of_the_vtn_in_the_search_for_a_price_costs_one_tick(tmp_path: Path) -> None:
    """Who has fetched which version is remembered in memory only, so homes must be seen to fetch again."""
    day = Day(folder=tmp_path)
    day.at(day.first + 30 * SECOND, lambda: _restart_vtn(day))
    outcome = day.play()
    assert_sound(outcome)
    assert sent(outcome)["CreatePartyRegistration"] == len(HOMES)
    assert not errors(outcome)
    steps = _steps(day)

    def stepped(seconds: int) -> set[str]:
        return {r.pcc.id for r in steps if r.stepped and r.at == day.first + seconds * SECOND}

    (moving,) = _moving(day, day.first + 20 * SECOND)
    assert moving in stepped(20) & stepped(40)
    assert moving not in stepped(30)


def test_a_restart_of_the_vtn_while_homes_report(tmp_path: Path) -> None:
    day = Day(folder=tmp_path)
    day.at(day.first + 10 * MINUTE, lambda: _restart_vtn(day), Rank.VEN)
    outcome = day.play()
    assert_sound(outcome)
    assert sent(outcome)["CreatePartyRegistration"] == len(HOMES)
    assert not errors(outcome)


# --- a VEN -------------------------------------------------------------------------------------------------


def test_a_ven_that_starts_anew_registers_and_gets_its_events_again(tmp_path: Path) -> None:
    day, home = Day(folder=tmp_path), HomeId("H03")
    before: set[str] = set()
    after: set[str] = set()

    def held() -> set[str]:
        return {each.event.descriptor.event_id for each in day.run.vens.client(home).session.events}

    async def restart() -> None:
        before.update(held())
        await day.run.vens.stop(home)
        day.run.vens.start(day.household(home))
        assert not held()

    day.at(day.first + MINUTE, restart)
    day.at(day.first + 5 * MINUTE, lambda: after.update(held()))
    outcome = day.play()
    assert any(each.startswith("rtc-") for each in before)
    assert before <= after
    assert_sound(outcome)
    assert not errors(outcome)
    assert sent(outcome)["CreatePartyRegistration"] == len(HOMES) + 1


def test_a_ven_runs_once_at_a_time(tmp_path: Path) -> None:
    day = Day(folder=tmp_path)

    def start() -> None:
        with pytest.raises(ValueError, match="runs already"):
            day.run.vens.start(day.household(HOMES[0]))

    day.at(day.first - 119 * MINUTE, start)
    day.at(day.first - 118 * MINUTE, lambda: 1 / 0)  # type: ignore[arg-type,return-value]  # ends the run
    with pytest.raises(ZeroDivisionError):
        day.play()


def test_a_silent_ven_holds_the_price_up_for_twenty_seconds_only(tmp_path: Path) -> None:
    day = Day(folder=tmp_path)
    gone = day.first + 15 * SECOND

    async def fall_silent() -> None:
        (moving,) = _moving(day, day.first + 10 * SECOND)
        event = day.run.host.operator.event(f"rtc-{moving}-{day.first:%Y%m%dT%H%MZ}")
        assert event is not None
        home = next(h for h, ven in day.run.ven_ids.items() if ven in event.audience)
        await day.run.vens.stop(home)

    day.at(gone, fall_silent)
    outcome = day.play()
    sources = [s.facts.source for home in outcome.accounts.homes for s in home.slots]
    assert ReadingSource.COMMITMENT in sources, "the reading that never came is substituted, and says so"
    assert sources.count(ReadingSource.METERED) == len(sources) - WEAK.slots
    assert outcome.accounts.balance == 0
    (moving,) = _moving(day, day.first + 10 * SECOND)
    steps = _steps(day)
    later = [r for r in steps if r.pcc.id == moving and r.at > gone]
    assert _longest_wait(later) == 20 * SECOND
    assert len({r.u_millicent for r in later}) > 1
    others = [r for r in steps if r.pcc.id in {"F1-A", "F1-B", "F1-C"} - {moving}]
    assert others
    assert any(r.stepped for r in others if r.at == day.first + 20 * SECOND)


def _moving(day: Day, at: datetime) -> set[str]:
    """Return the PCCs whose price is not zero after a tick."""
    return {r.pcc.id for r in _steps(day) if r.at == at and r.u_millicent}


def _steps(day: Day) -> list[StepRecord]:
    """Return the ticks of the first counted slot."""
    return [r for r in day.records if isinstance(r, StepRecord) and r.slot == day.first]


def _longest_wait(steps: list[StepRecord]) -> timedelta:
    """Return the longest time between two ticks that stepped."""
    stepped: list[datetime] = [r.at for r in steps if r.stepped]
    return max(b - a for a, b in pairwise(stepped))


class NeverAnswers:
    """A VEN whose answers to report requests never leave the house."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.dropped = 0

    async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
        if isinstance(message, m.CreatedReport):
            self.dropped += 1
            return m.Response(response=m.EiResponse(code="200", request_id=message.response.request_id))
        return await self._inner.exchange(service, message)

    async def close(self) -> None:
        await self._inner.close()


def test_a_ven_that_never_answers_a_report_request_still_gets_the_rest(tmp_path: Path) -> None:
    home = HomeId("H05")
    links: dict[HomeId, NeverAnswers] = {}

    def link(of: HomeId, inner: Transport) -> Transport:
        if of != home:
            return inner
        links[of] = NeverAnswers(inner)
        return links[of]

    day = Day(folder=tmp_path, link=link)
    given_up: dict[str, tuple[str, ...]] = {}
    pending: dict[str, int] = {}

    def look() -> None:
        for ven in day.run.host.operator.vens():
            given_up[ven.ven_name] = tuple(f"{each.what}: {each.reason}" for each in ven.given_up)
            pending[ven.ven_name] = ven.pending

    day.at(day.run.end, look)
    outcome = day.play()
    assert links[home].dropped == 5
    assert given_up.pop(home) == ("oadrCreateReport: no answer to 5 deliveries",)
    assert not any(given_up.values())
    assert not any(pending.values())
    assert_sound(outcome)  # its readings came, for it had understood the request
    assert not errors(outcome)


# --- the line ----------------------------------------------------------------------------------------------


class LosesReplies:
    """A line on which replies are lost at random after the VTN has acted."""

    def __init__(self, home: HomeId, inner: Transport, share: float) -> None:
        self._inner = inner
        self._share = share
        self._random = random.Random(home)
        self.lost = 0

    async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
        reply = await self._inner.exchange(service, message)
        if self._random.random() < self._share:
            self.lost += 1
            raise TransportError("the reply was lost")
        return reply

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_lost_replies_lose_and_double_nothing(
    tmp_path: Path, undisturbed: Callable[[Site], RunResult], share: float
) -> None:
    day = Day(folder=tmp_path, site=CALM, link=lambda home, inner: LosesReplies(home, inner, share))
    outcome = day.play()
    assert_sound(outcome)
    assert not errors(outcome)
    assert undisturbed(CALM).traded_kwh > 0
    assert _but_traffic(day.result(outcome)) == _but_traffic(undisturbed(CALM))


def test_lost_replies_while_the_price_runs(tmp_path: Path) -> None:
    day = Day(folder=tmp_path, link=lambda home, inner: LosesReplies(home, inner, 0.1))
    outcome = day.play()
    assert_sound(outcome)
    assert not errors(outcome)
    assert day.result(outcome).price_changes > 0
    assert not any(view.violations for view in outcome.views)
