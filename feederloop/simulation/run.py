"""One day of a neighbourhood, end to end: VTN, VENs, engine and plant in lockstep simulated time.

Nothing is faked between the parts: the VENs talk to the VTN over real HTTP sockets on loopback, the VTN keeps
its state in a SQLite file, the engine talks to homes only through the VTN and sees the network only through
its PCC meters. What is simulated is time, the homes' devices and the network.

A run that starts in mid-day first plays the two hours before it, so that its market is under way; those hours
do not count in the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dso_engine.accounts import reward_terms, settle_run
from dso_engine.assembly import EngineParts, assemble_engine
from dso_engine.control import ControlSettings
from dso_engine.feedback import Feedback
from dso_engine.feeder import Network, with_model_error
from dso_engine.game import Law
from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_desk import Desk, LocalDesk
from dso_engine.gateway_messages import Contexts, report_requests
from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.loop import Engine, RunPeriod
from dso_engine.model import MILLICENT_PER_EUR, SLOT, HomeId, Limits, Phase
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.ports import Customer, TelemetrySource
from dso_engine.rebate import RebateTerms, rebates
from dso_engine.records import ArmRecord, EngineRecord, MarketRecord
from dso_engine.secant import SecantLaw
from dso_engine.settlement import DayAccounts
from dso_engine.thesis_law import ThesisLaw
from feederloop.clock import Rank, SimClock
from feederloop.hosting import VtnHost
from feederloop.simulation.homes import SimulatedHousehold, build_household, mean_pv_kwh
from feederloop.simulation.plant import Plant, SlotView
from feederloop.simulation.scenario import Scenario, ScenarioError
from feederloop.simulation.street_certificates import StreetCertificates
from feederloop.simulation.vens import FleetOfVens, Link
from schemas.oadr20b.model import Report
from schemas.oadr20b.xmltypes import Duration
from ven_client.hems.program import Planner
from ven_client.stats import ClientStats
from ven_client.transport import Exchange
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import Provision, ReportRequestDraft, VenId

__all__ = ["DayRun", "RunOptions", "RunOutcome", "SlotProgress", "slots_of", "wrong_phase"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotProgress:
    """What a progress bar shows after each slot."""

    slot: datetime
    counted: bool
    """False while warming up."""
    market: MarketRecord | None
    armed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunOutcome:
    """What a run left behind, before it is put into words."""

    slots: tuple[datetime, ...]
    views: tuple[SlotView, ...]
    records: tuple[EngineRecord, ...]
    accounts: DayAccounts
    households: tuple[SimulatedHousehold, ...]
    plant_wh: tuple[int, ...]
    """Net energy of each home over the counted slots, by the plant."""
    metered_wh: tuple[int, ...]
    """The same as it was settled: by the meters, or what stands in for a reading that never came."""
    curtailed_wh: tuple[int, ...]
    battery_range_kwh: tuple[tuple[float, float], ...]
    """Lowest and highest stored energy seen at slot edges."""
    stored_kwh: tuple[tuple[float, float], ...]
    """Stored energy of each home at the start and at the end of the counted slots."""
    client_stats: tuple[ClientStats, ...]
    refused_by_vtn: int
    exchanges: tuple[Exchange, ...]


def slots_of(scenario: Scenario, options: RunOptions) -> tuple[datetime, ...]:
    """Return the slots a run counts."""
    first = options.start // SLOT
    last = min(first + options.slots, 144)
    return tuple(scenario.midnight + k * SLOT for k in range(first, last))


def wrong_phase(network: Network) -> dict[HomeId, Phase]:
    """Return the home that ``--model-error`` puts on a wrong phase: the last one of the first feeder."""
    home = [h for h in network.homes if h.feeder == network.feeders[0]][-1]
    return {home.id: Phase((home.phase + 1) % len(Phase))}


class _Tape:
    """The engine's recorder."""

    def __init__(self) -> None:
        self.records: list[EngineRecord] = []

    def record(self, record: EngineRecord) -> None:
        self.records.append(record)

    def market(self, slot: datetime) -> MarketRecord | None:
        """Return the auction of a slot."""
        return next(
            (r for r in reversed(self.records) if isinstance(r, MarketRecord) and r.slot == slot), None
        )

    def armed(self, slot: datetime) -> bool:
        return any(isinstance(r, ArmRecord) and r.slot == slot and r.armed for r in reversed(self.records))


@dataclass(slots=True)
class _Watch:
    """What the observer of the plant writes down at every slot edge."""

    views: list[SlotView] = field(default_factory=list)
    registers: dict[datetime, tuple[int, ...]] = field(default_factory=dict)
    curtailed: dict[datetime, tuple[int, ...]] = field(default_factory=dict)
    levels: dict[datetime, tuple[float, ...]] = field(default_factory=dict)
    low_kwh: list[float] = field(default_factory=list)
    high_kwh: list[float] = field(default_factory=list)


class DayRun:
    """Builds the parts of one run and plays it.

    Args:
        scenario: The neighbourhood.
        options: What to play.
        planner: Compiled home programmes.
        on_slot: Called after each slot.
        link: What lies between the VENs and the VTN besides HTTP.

    Raises:
        ScenarioError: if the neighbourhood has a day-ahead market, for which there are no messages yet.
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
        if scenario.parameters.market.day_ahead:
            raise ScenarioError("a run over messages plays the intraday market only; the studies play both")
        self.scenario = scenario
        self.options = options
        self.slots = slots_of(scenario, options)
        self.begin = self.slots[0] - (WARM_UP if options.start > timedelta(0) else timedelta(0))
        self.end = self.slots[-1] + SLOT
        self.clock = SimClock(self.begin - BOOT)
        self.contexts = Contexts()
        control = scenario.parameters.control
        self.limits = Limits(
            guard_v=control.guard_voltage,
            guard_i=control.guard_current,
            arm_v=control.arm_voltage,
            release_v=control.release_voltage,
        )
        self.tape = _Tape()
        self._on_slot = on_slot
        planner = planner or Planner()
        self.households = tuple(
            build_household(scenario, spec, self.begin - BOOT, planner) for spec in scenario.homes
        )
        self.ven_ids = {spec.home: VenId(f"ven-{spec.home}") for spec in scenario.homes}
        self.switches = {s.home: f"switch-{s.home}" for s in scenario.homes if s.has_switch}
        certificates = options.certificates
        tls, peers = certificates.server() if certificates is not None else (None, None)
        self.host = VtnHost(
            settings=VtnSettings(
                vtn_id="Feederloop_VTN",
                identity=Identity.CLAIMED if tls is None else Identity.CERTIFICATE,
                poll_period=Duration(seconds=10),
            ),
            database=options.database,
            now=self.clock.now,
            report_plan=self._report_plan,
            seed=scenario.options.seed,
            peers=peers,
            tls=None if tls is None else tls.context,
        )
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
        self.vens = FleetOfVens(
            clock=self.clock,
            url=lambda: self.host.url,
            seed=scenario.options.seed,
            contexts=self.contexts,
            switches=self.switches,
            logged=options.logged,
            certificates=certificates,
            link=link,
        )
        self._watch = _Watch()

    async def play(self) -> RunOutcome:
        """Run to the end and settle.

        Raises:
            EngineError: what broke in the engine or the plant, and in which slot.
            HemsError: what broke in a home.
        """
        try:
            await self.host.start()
            await self.host.operator.provision([self._provision(home) for home in self.households])
            gateway = self._gateway()
            engine = self._engine(gateway)
            for household in self.households:
                self.vens.start(household)
            for name, work in engine.timers():
                self.clock.spawn(work, name)
            self.clock.spawn(self._observe(), "observer")
            await self.clock.run(self.end + _LINGER)
            accounts = await self._settle(gateway)
            return self._outcome(accounts)
        finally:
            await self._stop()

    # --- the DSO -------------------------------------------------------------------------------------------

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

    def _gateway(self) -> OpenAdrGateway:
        return OpenAdrGateway(
            desk=self.desk,
            vens=self.ven_ids,
            switches=self.switches,
            pccs=self.scenario.network.pccs,
            contexts=self.contexts,
            seed=self.scenario.options.seed,
            clock=self.clock,
        )

    def _engine(self, gateway: OpenAdrGateway) -> Engine:
        control = self.scenario.parameters.control
        network = self.scenario.network
        if self.options.model_error:
            network = with_model_error(network, r_factor=1.05, wrong_phase=wrong_phase(network))
        customers = [
            Customer(
                home=s.home,
                pv_kwp=s.pv_kwp,
                has_switch=s.has_switch,
                contract_kva=self.scenario.parameters.homes.contract_kva,
            )
            for s in self.scenario.homes
        ]
        return assemble_engine(
            EngineParts(
                clock=self.clock,
                exchange=gateway,
                telemetry=self.telemetry,
                recorder=self.tape,
                network=network,
                customers=customers,
                tariff=self._tariff(self._all_slots()),
                book=self.book,
                control=self._control_settings(),
                mu_kw2=control.phase_mu_kw2,
                period=RunPeriod(start=self.begin, end=self.end),
                step=timedelta(seconds=control.step_s),
                lead=timedelta(seconds=control.publish_before_s),
            )
        )

    def _control_settings(self) -> ControlSettings:
        p = self.scenario.parameters
        cap = round(p.control.max_price_eur_per_kwh * MILLICENT_PER_EUR)
        laws: dict[str, Law] = {
            "secant": SecantLaw(cap_millicent=cap),
            "thesis": ThesisLaw(cap_millicent=cap),
        }
        return ControlSettings(
            limits=self.limits,
            law=laws[self.options.law],
            feedback=Feedback(relax_below=1.0 - self.limits.guard_v / self.limits.v_band),
            curvature_c_per_kwh2=p.costs.curvature_c_per_kwh2,
            reward_curvature_c_per_kwh2=p.costs.reward_curvature_c_per_kwh2,
        )

    def _all_slots(self) -> list[datetime]:
        """Every slot an auction may be about: the run's and, since hours are whole, the hour after it."""
        count = (self.end - self.begin) // SLOT + 12
        return [self.begin.replace(minute=0) + k * SLOT for k in range(count)]

    def _tariff(self, slots: Sequence[datetime]) -> dict[datetime, TariffMillicent]:
        tariff = self.scenario.parameters.tariff
        feed_in = round(tariff.feed_in * MILLICENT_PER_EUR)
        found = {}
        for slot in slots:
            hour = ((slot - self.scenario.midnight) // timedelta(hours=1)) % 24
            supplier = round(tariff.supplier_at(hour) * MILLICENT_PER_EUR)
            found[slot] = TariffMillicent(supplier=supplier, feed_in=feed_in)
        return found

    # --- watching ------------------------------------------------------------------------------------------

    async def _observe(self) -> None:
        """Look at the plant at the end of every slot, before anybody acts at the edge."""
        slot = self.begin
        self._note(slot, await self._at(slot))
        while slot < self.end:
            edge = slot + SLOT
            now = await self._at(edge)
            view = self.plant.look(now)
            counted = slot >= self.slots[0]
            if counted:
                self._watch.views.append(view)
            self._note(edge, now)
            if self._on_slot is not None:
                self._on_slot(
                    SlotProgress(
                        slot=slot, counted=counted, market=self.tape.market(slot), armed=self.tape.armed(slot)
                    )
                )
            slot = edge

    async def _at(self, when: datetime) -> datetime:
        await self.clock.sleep_until(when, Rank.PLANT, "plant")
        return self.clock.now()

    def _note(self, edge: datetime, now: datetime) -> None:
        devices = [h.devices for h in self.households]
        self._watch.registers[edge] = tuple(d.meter_wh(now) for d in devices)
        self._watch.curtailed[edge] = tuple(d.curtailed_wh(now) for d in devices)
        self._watch.levels[edge] = levels = tuple(d.battery_kwh(now) for d in devices)
        if not self._watch.low_kwh:
            self._watch.low_kwh, self._watch.high_kwh = list(levels), list(levels)
        self._watch.low_kwh = list(map(min, self._watch.low_kwh, levels))
        self._watch.high_kwh = list(map(max, self._watch.high_kwh, levels))

    # --- the end -------------------------------------------------------------------------------------------

    async def _settle(self, gateway: OpenAdrGateway) -> DayAccounts:
        p = self.scenario.parameters
        rebate = rebates(
            RebateTerms(
                max_millicent=round(p.market.rebate_max_eur_per_kwh * MILLICENT_PER_EUR),
                mean_production=mean_pv_kwh(self.scenario),
            )
        )
        return await settle_run(
            source=gateway,
            book=self.book,
            homes=[spec.home for spec in self.scenario.homes],
            slots=self.slots,
            tariff=self._tariff(self.slots),
            rebate_millicent={slot: rebate[(slot - self.scenario.midnight) // SLOT] for slot in self.slots},
            terms=reward_terms(
                reward_percent=p.costs.reward_percent,
                curvature_c_per_kwh2=p.costs.reward_curvature_c_per_kwh2,
            ),
        )

    def _outcome(self, accounts: DayAccounts) -> RunOutcome:
        first, last = self.slots[0], self.end
        watch = self._watch
        return RunOutcome(
            slots=self.slots,
            views=tuple(watch.views),
            records=tuple(self.tape.records),
            accounts=accounts,
            households=self.households,
            plant_wh=_difference(watch.registers, first, last),
            metered_wh=_metered(accounts, self.households),
            curtailed_wh=_difference(watch.curtailed, first, last),
            battery_range_kwh=tuple(zip(watch.low_kwh, watch.high_kwh, strict=True)),
            stored_kwh=tuple(zip(watch.levels[first], watch.levels[last], strict=True)),
            client_stats=self.vens.stats(),
            refused_by_vtn=self.host.refused,
            exchanges=self.vens.exchanges,
        )

    async def _stop(self) -> None:
        await self.vens.close()
        await self.host.stop()


def _metered(accounts: DayAccounts, households: Sequence[SimulatedHousehold]) -> tuple[int, ...]:
    totals = {home.home: sum(slot.facts.metered_wh for slot in home.slots) for home in accounts.homes}
    return tuple(totals[household.spec.home] for household in households)


def _difference(
    registers: dict[datetime, tuple[int, ...]], first: datetime, last: datetime
) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(registers[first], registers[last], strict=True))
