"""``feederloop dso``: the engine of a feeder on the wall clock, against a VTN in another process.

Exit codes: 0 after SIGTERM or SIGINT, 1 if the engine failed in a way nobody expected (a supervisor starts it
anew, and it takes up where it was), 2 if it could not start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config.dso_settings import DsoProgramSettings, VtnSection
from config.settings import SettingsError
from dso_engine.assembly import EngineParts, assemble_engine
from dso_engine.control import ControlSettings
from dso_engine.errors import EngineError, ExchangeFailed
from dso_engine.feedback import Feedback
from dso_engine.feeder import Network, load_network
from dso_engine.game import Law
from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_day_ahead import DayAheadGateway
from dso_engine.gateway_messages import Contexts
from dso_engine.guard import Guard, Steadfast
from dso_engine.hourly import HourBook
from dso_engine.loop import Engine, RunPeriod
from dso_engine.model import MILLICENT_PER_EUR, Limits
from dso_engine.resumption import slot_of
from dso_engine.secant import SecantLaw
from dso_engine.settling import Settling
from dso_engine.thesis_law import ThesisLaw
from feederloop.clock import WallClock
from feederloop.customers import Connection, read_connections
from feederloop.dso_ledger import AccountLedger, LedgerError
from feederloop.dso_settlement import SettlementParts, WallTariff, opened_ledger, settlement
from feederloop.dso_state import RecordFolder
from feederloop.market_files import MarketFiles, Publishing
from feederloop.process import VERSION, length, stop_signal
from feederloop.remote_desk import RemoteDesk
from feederloop.telemetry.sources import Meters, first_line, meter_names, opened_meters
from feederloop.vtn_clock import GuardedByClock, VtnClock
from vtn_server.state import VenId

__all__ = ["RunningDso", "check_dso_config", "run_dso", "running_dso"]

_LOG: Final = logging.getLogger(__name__)
_STATUS_S: Final = 30.0
_SETTLED_LATE: Final = timedelta(hours=1)
"""After an hour was due, when it should have been settled; sooner is no news."""
_TOLD: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDso:
    """An engine that runs.

    Attributes:
        task: Ends only by an error.
        vens: The VENs the engine counts on.
    """

    network: Network
    vens: frozenset[VenId]
    task: asyncio.Task[None]


def check_dso_config(settings: DsoProgramSettings) -> tuple[str, ...]:
    """Return what would keep the engine from starting, as far as the files it reads tell; none is made."""
    try:
        _token(settings.vtn)
        network = load_network(settings.network)
        read_connections(settings.homes, network)
        meter_names(settings.telemetry, network)
    except (SettingsError, EngineError) as err:
        return (str(err),)
    return ()


async def run_dso(settings: DsoProgramSettings, say: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: What the program was told.
        say: Prints what somebody who starts it by hand wants to know.

    Raises:
        SettingsError, InvalidFeeder: if the settings do not allow to start.
    """
    stop = stop_signal()
    async with running_dso(settings) as dso:
        homes, pccs = len(dso.network.homes), ", ".join(pcc.id for pcc in dso.network.pccs)
        say(f"network: {dso.network.name}, {homes} homes, {len(dso.vens)} of them with a VEN")
        say(f"pccs: {pccs}\ntelemetry: {settings.telemetry.kind}\nvtn: {settings.vtn.url}")
        _LOG.info("network %s against %s, version %s", dso.network.name, settings.vtn.url, VERSION)
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait((dso.task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        failed = dso.task.done()
        if failed:
            _LOG.error("the engine failed", exc_info=dso.task.exception())
        _LOG.info("stopping")
    _LOG.info("stopped")
    return 1 if failed else 0


@asynccontextmanager
async def running_dso(settings: DsoProgramSettings) -> AsyncIterator[RunningDso]:
    """Hold an engine that runs; at the end nothing it was about to say is said.

    Raises:
        SettingsError, InvalidFeeder: see :func:`run_dso`.
    """
    clock = WallClock()
    network = load_network(settings.network)
    connections = read_connections(settings.homes, network)
    vens = frozenset(each.ven_id for each in connections if each.ven_id is not None)
    tariff, token = WallTariff(settings.tariff), _token(settings.vtn)
    async with AsyncExitStack() as stack:
        meters = await stack.enter_async_context(opened_meters(settings.telemetry, network, clock.now))
        records = RecordFolder(settings.state)
        stack.callback(records.close)
        compared = _compared(settings.vtn, clock, records)
        timeout_s = length(settings.vtn.timeout).total_seconds()
        desk = RemoteDesk(settings.vtn.url, token, timeout_s=timeout_s, clock=compared)
        stack.push_async_callback(desk.close)
        with suppress(ExchangeFailed):
            await desk.compare_clocks()
        since = clock.now() - compared.lead  # what is noted once and for good goes by the VTN's time
        ledger = opened_ledger(settings, since)
        stack.callback(ledger.close)
        guard = GuardedByClock(Steadfast(clock, records), compared, desk.compare_clocks)
        gateway, day_ahead = _gateways(settings, clock, network, connections, desk)
        engine = _engine(
            settings, clock, network, connections, gateway, day_ahead, meters, records, tariff, guard
        )
        parts = SettlementParts(
            since=since,
            clock=clock,
            desk=desk,
            network=network,
            ledger=ledger,
            tariff=tariff,
            guard=guard,
            recorder=records,
        )
        settling = settlement(settings, parts, connections)
        task = asyncio.create_task(_in_step(engine, settling, compared), name="dso")
        stack.push_async_callback(_end, task)
        late = length(settings.settlement.after) + _SETTLED_LATE
        watching = asyncio.create_task(
            _watch(meters, desk, records, ledger, vens, compared, late), name="status"
        )
        stack.push_async_callback(_end, watching)
        yield RunningDso(network=network, vens=vens, task=task)


async def _both(engine: Engine, settling: Settling) -> None:
    """Run both until one fails."""
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run(), name="engine")
        group.create_task(settling.run(), name="settlement")


async def _in_step(engine: Engine, settling: Settling, clock: VtnClock) -> None:
    """Run both; when the clocks agree again after they did not, take up as at a start.

    What was to be done meanwhile was refused and its timers have gone on, by a clock that was wrong.
    """
    while True:
        both = asyncio.create_task(_both(engine, settling), name="both")
        back = asyncio.create_task(clock.back(), name="clocks")
        try:
            await asyncio.wait((both, back), return_when=asyncio.FIRST_COMPLETED)
            if both.done():
                await both
        finally:
            for each in (both, back):
                await _end(each)
        _LOG.info("the clocks agree: taking up what was left")


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _gateways(
    settings: DsoProgramSettings,
    clock: WallClock,
    network: Network,
    connections: tuple[Connection, ...],
    desk: RemoteDesk,
) -> tuple[OpenAdrGateway, DayAheadGateway]:
    """Return the homes as the engine sees them, hour by hour and the day before."""
    vens = {each.customer.home: each.ven_id for each in connections if each.ven_id is not None}
    contexts = Contexts(base=settings.market_base)
    hourly = OpenAdrGateway(
        desk=desk,
        vens=vens,
        switches={each.customer.home: each.switch for each in connections if each.switch is not None},
        pccs=network.pccs,
        contexts=contexts,
        seed=settings.seed,
        clock=clock,
    )
    return hourly, DayAheadGateway(desk=desk, vens=vens, contexts=contexts, seed=settings.seed, clock=clock)


def _engine(
    settings: DsoProgramSettings,
    clock: WallClock,
    network: Network,
    connections: tuple[Connection, ...],
    gateway: OpenAdrGateway,
    day_ahead: DayAheadGateway,
    meters: Meters,
    records: RecordFolder,
    tariff: WallTariff,
    guard: Guard,
) -> Engine:
    control = settings.control
    published = MarketFiles(settings.state / "market", settings.seed)
    return assemble_engine(
        EngineParts(
            clock=clock,
            exchange=gateway,
            telemetry=meters,
            recorder=Publishing(records, published),
            network=network,
            customers=[each.customer for each in connections],
            tariff=tariff,
            book=HourBook(),
            control=_control(settings),
            mu_kw2=control.phase_mu_kw2,
            period=RunPeriod(start=slot_of(clock.now())),
            step=timedelta(seconds=control.step_s),
            lead=timedelta(seconds=control.publish_before_s),
            max_age=length(settings.telemetry.max_age),
            guard=guard,
            resumes=True,
            day_ahead=day_ahead if settings.market.day_ahead else None,
            lacks_hour=published.lacks_hour,
            lacks_block=published.lacks_block,
        )
    )


def _control(settings: DsoProgramSettings) -> ControlSettings:
    limits, costs = settings.limits, settings.costs
    cap = round(settings.control.max_price_eur_per_kwh * MILLICENT_PER_EUR)
    laws: dict[str, Law] = {"secant": SecantLaw(cap_millicent=cap), "thesis": ThesisLaw(cap_millicent=cap)}
    return ControlSettings(
        limits=Limits(
            v_band=limits.v_band,
            guard_v=limits.guard_voltage,
            guard_i=limits.guard_current,
            arm_v=limits.arm_voltage,
            release_v=limits.release_voltage,
            arm_i=limits.arm_current,
            release_i=limits.release_current,
        ),
        law=laws[settings.control.law],
        feedback=Feedback(relax_below=1.0 - limits.guard_voltage / limits.v_band),
        curvature_c_per_kwh2=costs.curvature_c_per_kwh2,
        reward_curvature_c_per_kwh2=costs.reward_curvature_c_per_kwh2,
        works_without_meters=True,
    )


async def _watch(
    meters: Meters,
    desk: RemoteDesk,
    records: RecordFolder,
    ledger: AccountLedger,
    vens: frozenset[VenId],
    clock: VtnClock,
    late: timedelta,
) -> None:
    """Write the status from time to time, and tell of VENs the VTN does not know."""
    told: frozenset[VenId] = frozenset()
    while True:
        missing: frozenset[VenId] | None = None
        try:
            missing = vens - await desk.known()
        except ExchangeFailed as err:
            _LOG.debug("status: %s", err)
        if missing is not None and missing != told:
            told = missing
            _LOG.warning("the VTN does not know %s: they hear nothing", ", ".join(sorted(missing)) or "none")
        await meters.read(clock.now())  # also while no price needs them: a gap should be seen before it hurts
        state = meters.state()
        records.write_status(
            {
                "at": clock.now().isoformat(),
                "version": VERSION,
                "vtn_reached": missing is not None,
                **_clocks(clock),
                "vens": len(vens),
                "vens_unknown_to_vtn": sorted(missing or ()),
                "readings_taken": state.taken,
                "readings_refused": {fault.value: count for fault, count in state.refused},
                "newest_readings": {
                    str(pcc.id): None if at is None else at.isoformat() for pcc, at in state.newest
                },
                "records": dict(records.counts),
                **_accounts(ledger, clock.now() - late),
            }
        )
        await asyncio.sleep(_STATUS_S)


def _clocks(clock: VtnClock) -> dict[str, object]:
    """Return how the clock of this machine stands to the VTN's."""
    compared = clock.compared_at
    return {
        "clock": clock.state.value,
        "clock_ahead_s": round(clock.lead.total_seconds(), 3),
        "clock_compared_at": None if compared is None else compared.isoformat(),
    }


def _compared(vtn: VtnSection, clock: WallClock, records: RecordFolder) -> VtnClock:
    warn, refuse = length(vtn.clock_warn), length(vtn.clock_refuse)
    return VtnClock(clock.now, warn=warn, refuse=refuse, recorder=records)


def _accounts(ledger: AccountLedger, ended_by: datetime) -> dict[str, object]:
    """Return how far the accounts are; nothing where they cannot be read, which the settlement tells of."""
    try:
        until, missing = ledger.settled_until(), ledger.unsettled(ended_by)
        return {
            "settled_until": None if until is None else until.isoformat(),
            "hours_not_settled": [hour.isoformat() for hour in missing[:_TOLD]],
            "hours_with_substitutes": len(ledger.open_hours()),
        }
    except LedgerError:
        return {}


def _token(settings: VtnSection) -> str:
    if settings.token is not None:
        return settings.token.get_secret_value()
    assert settings.token_file is not None  # the settings see to it
    return first_line(settings.token_file)
