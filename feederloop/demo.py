"""``feederloop demo``: play a day, show it, keep it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from certs.files import PkiError
from config.settings import Neighbourhood, SettingsError, load_neighbourhood
from dso_engine.errors import EngineError
from dso_engine.model import HomeId, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from feederloop.market_files import write_market
from feederloop.process import run_loop
from feederloop.quiet import quiet_stdout
from feederloop.report import LoggedExchange, Progress, render_table, write_report
from feederloop.report.wording import headline
from feederloop.simulation.assemble import assemble
from feederloop.simulation.outcome import RunOutcome, SlotProgress
from feederloop.simulation.profiles import SLOTS_PER_DAY, ProfileError
from feederloop.simulation.result import RunResult, to_json
from feederloop.simulation.run import DayRun, RunOptions, slots_of
from feederloop.simulation.scenario import Scenario, ScenarioError, ScenarioOptions, load_scenario
from feederloop.simulation.street_certificates import StreetCertificates
from feederloop.simulation.uncontrolled import run_uncontrolled
from feederloop.statement_files import write_statements
from schemas.oadr20b.errors import OadrError
from ven_client.hems.model import HemsError
from ven_client.hems.program import Planner
from ven_client.transport import Exchange
from vtn_server.store import StoreError

__all__ = ["DemoError", "DemoRequest", "run_demo"]

_MIDDAY: Final = "10:30"
_DAY: Final = timedelta(days=1)
_FIRST_DAY: Final = date(2018, 1, 4)
_LAST_DAY: Final = date(2018, 12, 30)


_EXPECTED: Final = (
    ScenarioError,
    SettingsError,
    ProfileError,
    EngineError,
    HemsError,
    OadrError,
    PkiError,
    StoreError,
    SQLAlchemyError,
    OSError,
)


class DemoError(Exception):
    """What was asked cannot be played, or playing it failed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """What the user asked for; see ``feederloop demo --help``."""

    homes: int = 50
    network: Path | None = None
    scenario: str | None = None
    day: str = "2018-05-16"
    start: str | None = None
    slots: int | None = None
    seed: int = 1
    pv_kwp: float | None = None
    day_ahead: bool = False
    control: bool = True
    plain: bool = False
    model_error: bool = False
    law: str = "secant"
    json: Path | None = None
    out: Path = Path("out")


def run_demo(request: DemoRequest) -> RunResult:
    """Play, print the table and write the folder.

    Raises:
        DemoError: if the request does not fit the data, or something broke on the way; nothing half-written
            is passed off as a result.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        start = _start(request)
        _check_targets(request)
        scenario = load_scenario(
            ScenarioOptions(
                day=_day(request),
                homes=request.homes,
                network=request.network,
                scenario=request.scenario,
                seed=request.seed,
                pv_kwp=request.pv_kwp,
            ),
            _parameters(request),
        )
        result, exchanges = _play(request, scenario, start)
        page = _write(request, result, exchanges)
    except _EXPECTED as err:
        raise DemoError(str(err)) from err
    _show(result, page)
    return result


def _parameters(request: DemoRequest) -> Neighbourhood:
    """Return the neighbourhood's parameters, with the markets that are asked for."""
    found = load_neighbourhood()
    if not request.day_ahead:
        return found
    return found.model_copy(update={"market": found.market.model_copy(update={"day_ahead": True})})


def _day(request: DemoRequest) -> date:
    """Return the day to play.

    Raises:
        DemoError: if the text is no date.
    """
    try:
        day = date.fromisoformat(request.day)
    except ValueError as err:
        raise DemoError(f"--date {request.day}: a date YYYY-MM-DD is needed") from err
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise DemoError(
            f"--date {request.day}: from {_FIRST_DAY} to {_LAST_DAY}; forecasts look three days back, "
            "and the last market hours a day ahead"
        )
    return day


def _check_targets(request: DemoRequest) -> None:
    """Make the output folder and see that the copy can be written, before minutes are spent.

    Raises:
        DemoError: naming the option that does not fit.
    """
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DemoError(f"--out {request.out}: {err.strerror}") from err
    if request.json is not None and not request.json.parent.is_dir():
        raise DemoError(f"--json {request.json}: there is no folder {request.json.parent}")


def _start(request: DemoRequest) -> timedelta:
    """Return the first slot's offset from local midnight.

    Raises:
        DemoError: if the text is no time of day on a slot edge.
    """
    text = request.start or ("00:00" if request.slots is None else _MIDDAY)
    match = re.fullmatch(r"(\d\d?):(\d\d)", text)
    offset = timedelta(hours=int(match[1]), minutes=int(match[2])) if match else None
    if offset is None or offset >= _DAY or int(match[2] if match else 0) % 10:
        raise DemoError(f"--start {text}: a time of day HH:MM on a ten-minute edge is needed")
    return offset


def _play(
    request: DemoRequest, scenario: Scenario, start: timedelta
) -> tuple[RunResult, tuple[LoggedExchange, ...]]:
    options = RunOptions(
        start=start,
        slots=request.slots or SLOTS_PER_DAY,
        law=request.law,
        model_error=request.model_error,
        logged=_logged(scenario),
        database=_fresh_database(request.out) if request.control else request.out,
    )
    planner = Planner()
    run: DayRun | None = None
    with quiet_stdout():
        uncontrolled = run_uncontrolled(
            scenario, slots_of(scenario, options), PandapowerFlow(scenario.network), Limits(), planner
        )
    outcome: RunOutcome | None = None
    if request.control:
        with _certificates(request, scenario) as certificates:
            run, outcome = _controlled(scenario, replace(options, certificates=certificates), planner)
    limits = run.limits if run is not None else Limits()
    exchanges = outcome.exchanges if outcome is not None else ()
    result = assemble(scenario, options, limits, uncontrolled, outcome)
    if outcome is not None:
        write_market(outcome.records, request.out / "market", scenario.options.seed)
        write_statements(outcome.accounts, request.out / "statements")
    return result, tuple(_logged_exchange(each) for each in exchanges)


@contextmanager
def _certificates(request: DemoRequest, scenario: Scenario) -> Iterator[StreetCertificates | None]:
    """Hold certificates for the run, in a folder that is gone after it; none for plain HTTP."""
    if request.plain:
        yield None
        return
    with TemporaryDirectory(prefix="feederloop-pki-") as folder:
        yield StreetCertificates(Path(folder), [spec.home for spec in scenario.homes])


def _fresh_database(out: Path) -> Path:
    """Return the VTN's file in the output folder; what a former run left of it is removed."""
    for old in out.glob("demo-vtn.sqlite*"):
        old.unlink()
    return out / "demo-vtn.sqlite"


def _controlled(scenario: Scenario, options: RunOptions, planner: Planner) -> tuple[DayRun, RunOutcome]:
    progress = Progress()

    def show(seen: SlotProgress) -> None:
        clearing = seen.market.clearing if seen.market is not None else None
        traded = "no auction" if clearing is None else f"{clearing.status.value} {clearing.traded_wh} Wh"
        state = "armed" if seen.armed else "off"
        progress.slot(seen.slot, traded if seen.counted else f"{traded} (warming up)", state)

    run = DayRun(scenario, options, planner=planner, on_slot=show)
    progress.start((run.end - run.begin) // timedelta(minutes=10))
    try:
        return run, run_loop(run.play())
    finally:
        progress.stop()


def _logged(scenario: Scenario) -> HomeId:
    """Return the home whose messages are kept: the first with everything, else the first."""
    rich = [s for s in scenario.homes if s.has_switch and s.has_battery and s.pv_kwp > 0.0]
    return (rich or list(scenario.homes))[0].home


def _logged_exchange(exchange: Exchange) -> LoggedExchange:
    return LoggedExchange(
        at=exchange.sent_at,
        service=exchange.service.value,
        request=exchange.request,
        response=exchange.response,
        http_status=exchange.http_status,
    )


def _write(request: DemoRequest, result: RunResult, exchanges: tuple[LoggedExchange, ...]) -> Path:
    text = to_json(result)
    (request.out / "result.json").write_text(text, encoding="utf-8")
    if request.json is not None:
        request.json.write_text(text, encoding="utf-8")
    return write_report(result, exchanges, request.out)


def _show(result: RunResult, page: Path) -> None:
    console = Console()
    console.print(render_table(result))
    console.print(headline(result))
    console.print(f"The page with plots and the message log: {page}")
