"""The DSO of a run: its engine over the VTN, what it believes of the network, its tariff and its accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dso_engine.accounts import reward_terms, settle_run
from dso_engine.assembly import EngineParts, assemble_engine
from dso_engine.control import ControlSettings
from dso_engine.feedback import Feedback
from dso_engine.feeder import Network, with_model_error
from dso_engine.game import Law
from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_day_ahead import DayAheadGateway
from dso_engine.gateway_desk import Desk
from dso_engine.gateway_messages import Contexts
from dso_engine.hourly import HourBook, TariffMillicent
from dso_engine.loop import Engine, RunPeriod
from dso_engine.model import MILLICENT_PER_EUR, SLOT, HomeId, Limits, Phase
from dso_engine.ports import Customer, Recorder, TelemetrySource
from dso_engine.rebate import RebateTerms, rebates
from dso_engine.secant import SecantLaw
from dso_engine.settlement import DayAccounts
from dso_engine.thesis_law import ThesisLaw
from feederloop.clock import SimClock
from feederloop.simulation.homes import mean_pv_kwh
from feederloop.simulation.scenario import Scenario
from feederloop.tariffs import tariff_in
from vtn_server.state import VenId

__all__ = ["DsoSide", "wrong_phase"]

_HOUR = timedelta(hours=1)
_HOURS_PER_DAY = 24


def wrong_phase(network: Network) -> dict[HomeId, Phase]:
    """Return the home that ``--model-error`` puts on a wrong phase: the last one of the first feeder."""
    home = [h for h in network.homes if h.feeder == network.feeders[0]][-1]
    return {home.id: Phase((home.phase + 1) % len(Phase))}


@dataclass(frozen=True, slots=True, kw_only=True)
class DsoSide:
    """What the DSO of a run is made of.

    Attributes:
        desk: How it reaches the VTN.
        telemetry: Where its measurements come from.
        period: When its engine runs.
        law: ``secant`` or ``thesis``.
        price: Whether there is a real-time price.
        model_error: Whether its network model differs from the plant.
    """

    scenario: Scenario
    clock: SimClock
    desk: Desk
    telemetry: TelemetrySource
    recorder: Recorder
    book: HourBook
    contexts: Contexts
    vens: Mapping[HomeId, VenId]
    switches: Mapping[HomeId, str]
    limits: Limits
    period: RunPeriod
    law: str
    price: bool
    model_error: bool

    def gateway(self) -> OpenAdrGateway:
        """Return the homes as the engine sees them."""
        return OpenAdrGateway(
            desk=self.desk,
            vens=self.vens,
            switches=self.switches,
            pccs=self.scenario.network.pccs,
            contexts=self.contexts,
            seed=self.scenario.options.seed,
            clock=self.clock,
        )

    def engine(self, gateway: OpenAdrGateway) -> Engine:
        """Return the engine; nothing of it runs yet."""
        control = self.scenario.parameters.control
        network = self.scenario.network
        if self.model_error:
            network = with_model_error(network, r_factor=1.05, wrong_phase=wrong_phase(network))
        return assemble_engine(
            EngineParts(
                clock=self.clock,
                exchange=gateway,
                telemetry=self.telemetry,
                recorder=self.recorder,
                network=network,
                customers=self._customers(),
                tariff=self._tariff(self._auctioned()),
                book=self.book,
                control=self._control_settings(),
                mu_kw2=control.phase_mu_kw2,
                period=self.period,
                step=timedelta(seconds=control.step_s),
                lead=timedelta(seconds=control.publish_before_s),
                day_ahead=self._day_ahead(),
                priced=self.price,
            )
        )

    async def settle(self, gateway: OpenAdrGateway, slots: Sequence[datetime]) -> DayAccounts:
        """Return the accounts of some slots of the scenario's day."""
        p, midnight = self.scenario.parameters, self.scenario.midnight
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
            slots=slots,
            tariff=self._tariff(slots),
            rebate_millicent={slot: rebate[(slot - midnight) // SLOT] for slot in slots},
            terms=reward_terms(
                reward_percent=p.costs.reward_percent,
                curvature_c_per_kwh2=p.costs.reward_curvature_c_per_kwh2,
            ),
        )

    def _customers(self) -> list[Customer]:
        contract_kva = self.scenario.parameters.homes.contract_kva
        return [
            Customer(home=s.home, pv_kwp=s.pv_kwp, has_switch=s.has_switch, contract_kva=contract_kva)
            for s in self.scenario.homes
        ]

    def _day_ahead(self) -> DayAheadGateway | None:
        if not self.scenario.parameters.market.day_ahead:
            return None
        return DayAheadGateway(
            desk=self.desk,
            vens=self.vens,
            contexts=self.contexts,
            seed=self.scenario.options.seed,
            clock=self.clock,
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
            law=laws[self.law],
            feedback=Feedback(relax_below=1.0 - self.limits.guard_v / self.limits.v_band),
            curvature_c_per_kwh2=p.costs.curvature_c_per_kwh2,
            reward_curvature_c_per_kwh2=p.costs.reward_curvature_c_per_kwh2,
        )

    def _auctioned(self) -> list[datetime]:
        """Every slot an auction may be about: the run's and the hours after it, or the whole day's."""
        first, last = self.period.start.replace(minute=0), self.period.start
        if self.period.end is not None:
            last = self.period.end + 2 * _HOUR
        if self.scenario.parameters.market.day_ahead:
            first = min(first, self.scenario.midnight)
            last = max(last, self.scenario.midnight + _HOURS_PER_DAY * _HOUR)
        return [first + k * SLOT for k in range((last - first) // SLOT)]

    def _tariff(self, slots: Sequence[datetime]) -> dict[datetime, TariffMillicent]:
        tariff = self.scenario.parameters.tariff
        midnight = self.scenario.midnight
        return {slot: tariff_in(tariff, ((slot - midnight) // _HOUR) % _HOURS_PER_DAY) for slot in slots}
