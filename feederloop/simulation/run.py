"""One day of a neighbourhood, end to end: VTN, VENs, engine and plant in lockstep simulated time.

Nothing is faked between the parts: the VENs talk to the VTN over real HTTP sockets on loopback, the VTN keeps
its state in a SQLite file, the engine talks to homes only through the VTN and sees the network only through
its PCC meters. What is simulated is time, the homes' devices and the network.

A run that starts in mid-day first plays the two hours before it, so that its market is under way; those hours
do not count in the result. A run with a day-ahead market first plays its gate on the day before
(:mod:`feederloop.simulation.day_before`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dso_engine.gateway_desk import Desk, LocalDesk
from dso_engine.gateway_messages import Contexts, report_requests
from dso_engine.hourly import HourBook
from dso_engine.loop import RunPeriod
from dso_engine.model import SLOT, HomeId, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.ports import TelemetrySource
from feederloop.clock import Rank, SimClock
from feederloop.hosting import VtnHost
from feederloop.simulation.day_before import DayBefore, opening
from feederloop.simulation.dso_side import DsoSide
from feederloop.simulation.homes import SimulatedHousehold, build_household
from feederloop.simulation.outcome import RunOutcome, SlotProgress, Tape, Traffic, outcome_of
from feederloop.simulation.plant import Plant
from feederloop.simulation.scenario import Scenario
from feederloop.simulation.street_certificates import StreetCertificates
from feederloop.simulation.vens import FleetOfVens, Link
from feederloop.simulation.watch import Watch
from schemas.oadr20b.model import Report
from schemas.oadr20b.xmltypes import Duration
from ven_client.hems.program import Planner
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import Provision, ReportRequestDraft, VenId

__all__ = ["DayRun", "RunOptions", "slots_of"]

WARM_UP: Final = timedelta(hours=2)
BOOT: Final = SLOT
"""VENs register in the slot before the run."""
_LINGER: Final = timedelta(minutes=3)
"""After the last slot, so that its meter readings arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a user chooses about a run.

    Attributes:
        start: Offset of the first slot from local midnight.
        slots: Number of slots; the day's end cuts it.
        law: ``secant`` or ``thesis``.
        price: Whether there is a real-time price; without it market and phases remain.
        model_error: Whether the DSO's network model differs from the plant.
        logged: The home whose messages are kept.
        certificates: For mutual TLS between VTN and homes; None is plain HTTP.
    """

    start: timedelta = timedelta(0)
    slots: int = 144
    law: str = "secant"
    price: bool = True
    model_error: bool = False
    logged: HomeId | None = None
    certificates: StreetCertificates | None = None
    database: Path


def slots_of(scenario: Scenario, options: RunOptions) -> tuple[datetime, ...]:
    """Return the slots a run counts."""
    first = options.start // SLOT
    last = min(first + options.slots, 144)
    return tuple(scenario.midnight + k * SLOT for k in range(first, last))


class DayRun:
    """Builds the parts of one run and plays it.

    Args:
        scenario: The neighbourhood.
        options: What to play.
        planner: Compiled home programmes.
        on_slot: Called after each slot.
        link: What lies between the VENs and the VTN besides HTTP.
    """

    def __init__(
        self,
        scenario: Scenario,
        options: RunOptions,
        *,
        planner: Planner | None = None,
        on_slot: Callable[[SlotProgress], None] | None = None,
        link: Link | None = None,
    ) -> None:
        self.scenario = scenario
        self.options = options
        self.slots = slots_of(scenario, options)
        self.begin = self.slots[0] - (WARM_UP if options.start > timedelta(0) else timedelta(0))
        self.end = self.slots[-1] + SLOT
        day_ahead = scenario.parameters.market.day_ahead
        self.clock = SimClock(opening(scenario) if day_ahead else self.begin - BOOT)
        self.contexts = Contexts()
        self.limits = _limits(scenario)
        self.tape = Tape()
        self._on_slot = on_slot
        planner = planner or Planner()
        self.households = tuple(
            build_household(scenario, spec, self.begin - BOOT, planner) for spec in scenario.homes
        )
        self.ven_ids = {spec.home: VenId(f"ven-{spec.home}") for spec in scenario.homes}
        self.switches = {s.home: f"switch-{s.home}" for s in scenario.homes if s.has_switch}
        self.host = self._host()
        self.plant = Plant(
            flow=PandapowerFlow(scenario.network),
            homes=[h.devices for h in self.households],
            limits=self.limits,
            q_per_p=scenario.parameters.homes.load_q_per_p,
        )
        self.desk: Desk = LocalDesk(lambda: self.host.operator)
        """How the engine reaches the VTN; a test may put something else in its place before the run."""
        self.telemetry: TelemetrySource = self.plant
        """Where the engine's measurements come from; likewise."""
        self.book = HourBook()
        self.vens = self._fleet(link)
        self._before = None
        if day_ahead:
            self._before = DayBefore(scenario=scenario, clock=self.clock, planner=planner, vens=self.vens)
        self._watch = Watch(clock=self.clock, plant=self.plant, households=self.households)

    async def play(self) -> RunOutcome:
        """Run to the end and settle.

        Raises:
            EngineError: what broke in the engine or the plant, and in which slot.
            HemsError: what broke in a home.
        """
        try:
            await self.host.start()
            await self.host.operator.provision([self._provision(home) for home in self.households])
            dso = self._dso()
            gateway = dso.gateway()
            engine = dso.engine(gateway)
            if self._before is None:
                self._start_vens()
            else:
                self.clock.spawn(self._start_after(self._before), "day-before")
            for name, work in engine.timers():
                self.clock.spawn(work, name)
            self.clock.spawn(self._watch.run(self.begin, self.slots[0], self.end, self._show), "observer")
            await self.clock.run(self.end + _LINGER)
            return outcome_of(
                slots=self.slots,
                end=self.end,
                watch=self._watch,
                tape=self.tape,
                accounts=await dso.settle(gateway, self.slots),
                households=self.households,
                traffic=Traffic(
                    client_stats=self.vens.stats(),
                    refused_by_vtn=self.host.refused,
                    exchanges=self.vens.exchanges,
                ),
            )
        finally:
            await self._stop()

    # --- the homes -----------------------------------------------------------------------------------------

    def _fleet(self, link: Link | None) -> FleetOfVens:
        return FleetOfVens(
            clock=self.clock,
            url=lambda: self.host.url,
            seed=self.scenario.options.seed,
            contexts=self.contexts,
            switches=self.switches,
            logged=self.options.logged,
            certificates=self.options.certificates,
            link=link,
            day_ahead=self.scenario.parameters.market.day_ahead,
        )

    async def _start_after(self, before: DayBefore) -> None:
        """Play the gate of the day before; then the homes come up with what they offered there."""
        remembered = await before.play()
        await self.clock.sleep_until(self.begin - BOOT, Rank.VEN, "boot")
        for household in self.households:
            household.manager.recall(remembered[household.spec.home], self.clock.now())
        self._start_vens()

    def _start_vens(self) -> None:
        for household in self.households:
            self.vens.start(household)

    # --- the DSO -------------------------------------------------------------------------------------------

    def _host(self) -> VtnHost:
        certificates = self.options.certificates
        tls, peers = certificates.server() if certificates is not None else (None, None)
        return VtnHost(
            settings=VtnSettings(
                vtn_id="Feederloop_VTN",
                identity=Identity.CLAIMED if tls is None else Identity.CERTIFICATE,
                poll_period=Duration(seconds=10),
            ),
            database=self.options.database,
            now=self.clock.now,
            report_plan=self._report_plan,
            seed=self.scenario.options.seed,
            peers=peers,
            tls=None if tls is None else tls.context,
        )

    def _provision(self, household: SimulatedHousehold) -> Provision:
        home, certificates = household.spec.home, self.options.certificates
        return Provision(
            ven_id=self.ven_ids[home],
            ven_name=str(home),
            fingerprint=None if certificates is None else certificates.fingerprint(home),
            resources=(self.switches[home],) if home in self.switches else (),
            market_contexts=self.contexts.all,
        )

    def _report_plan(
        self, ven_id: VenId, metadata: tuple[Report, ...], now: datetime
    ) -> tuple[ReportRequestDraft, ...]:
        del ven_id, now
        return report_requests(metadata, self.begin)

    def _dso(self) -> DsoSide:
        return DsoSide(
            scenario=self.scenario,
            clock=self.clock,
            desk=self.desk,
            telemetry=self.telemetry,
            recorder=self.tape,
            book=self.book,
            contexts=self.contexts,
            vens=self.ven_ids,
            switches=self.switches,
            limits=self.limits,
            period=RunPeriod(start=self.begin, end=self.end),
            law=self.options.law,
            price=self.options.price,
            model_error=self.options.model_error,
        )

    # --- the end -------------------------------------------------------------------------------------------

    def _show(self, slot: datetime) -> None:
        if self._on_slot is not None:
            self._on_slot(
                SlotProgress(
                    slot=slot,
                    counted=slot >= self.slots[0],
                    market=self.tape.market(slot),
                    armed=self.tape.armed(slot),
                )
            )

    async def _stop(self) -> None:
        await self.vens.close()
        await self.host.stop()


def _limits(scenario: Scenario) -> Limits:
    control = scenario.parameters.control
    return Limits(
        guard_v=control.guard_voltage,
        guard_i=control.guard_current,
        arm_v=control.arm_voltage,
        release_v=control.release_voltage,
    )
