"""The real-time price of the network, slot by slot: arm, measure, bound, step, curtail.

For the slot that starts at T:

1. At T - 90 s the trigger looks at the estimate of the running slot and at the forecast from the commitments.
   Where it arms, one event per PCC with u = 0 goes to the homes that will be behind it.
2. Every 10 s a tick reads the meters; what was read before the slot does not count. It steps a PCC's law only
   if every home behind it has fetched the current version before the measurement, or 20 s have passed since
   publishing; slower homes count as silent.
3. The first usable tick (u = 0) gives the baseline: estimate, bounds, a fresh state of the law.
4. Later ticks estimate again whenever the meters moved; where the flows obey and the estimate still breaks a
   limit, the bounds are tightened.
5. A PCC whose price is exhausted, or whose homes cannot reach the bound, has its exports bounded.

All memory of the search ends with the slot (mechanisms.md 4.5).

Source: mechanisms.md 4 and 9, signals.md "Real-time price" and "Last resort".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import Final

import numpy as np

from dso_engine.bounds import PccBound, clip_to_reachable, directions_at_risk, find_bounds
from dso_engine.errors import StaleMeasurement
from dso_engine.estimate import Estimate, Response
from dso_engine.feedback import Feedback, Tightening
from dso_engine.game import (
    FlowBounds,
    Law,
    Measured,
    export_first,
    prior_slope_kw_per_c,
    project,
    stricter_kw,
    worth_a_step,
)
from dso_engine.knowledge import Knowledge, pcc_stress, reading_of
from dso_engine.last_resort import LastResort
from dso_engine.model import SLOT, HomeId, Limits, Pcc, PccReading, Phase
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import Customer, Delivery, HomeExchange, OpenPrice, Recorder
from dso_engine.records import ArmRecord, FaultRecord, GridRecord, StepRecord
from dso_engine.slot_figures import figures_of
from dso_engine.slot_run import PccRun, SlotRun
from dso_engine.trigger import Stress, TriggerState, advance

__all__ = ["ControlSettings", "RealtimePrice"]

_WAIT_FOR_SILENT: Final = timedelta(seconds=20)
_OBEYS_KW: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Settings of the control loop (mechanisms.md 9, defaults)."""

    limits: Limits
    law: Law
    feedback: Feedback = field(default_factory=Feedback)
    curvature_c_per_kwh2: float = 5.0
    reward_curvature_c_per_kwh2: float = 5.0
    works_without_meters: bool = False
    """Whether a look ahead without usable readings goes by the forecast alone, on record, as on a real
    feeder; else it is an error, as in a simulation, where nothing may be missing."""


class RealtimePrice:
    """Arms and runs the real-time price.

    Args:
        knowledge: Meters, commitments and the network model.
        customers: Who takes part, and has PV that can be curtailed.
        exchange: The homes.
        planner: Confirmed and commanded phases.
        recorder: Takes a record of every step.
        settings: Limits, law, step.
    """

    def __init__(
        self,
        *,
        knowledge: Knowledge,
        customers: Sequence[Customer],
        exchange: HomeExchange,
        planner: PhasePlanner,
        recorder: Recorder,
        settings: ControlSettings,
    ) -> None:
        self._knowledge = knowledge
        self._network = knowledge.network
        self._deaf = frozenset(c.home for c in customers if not c.participates)
        self._exchange = exchange
        self._planner = planner
        self._recorder = recorder
        self._settings = settings
        self._last_resort = LastResort(
            network=knowledge.network,
            customers=customers,
            exchange=exchange,
            recorder=recorder,
            wait=_WAIT_FOR_SILENT,
        )
        self._trigger = TriggerState.IDLE
        self._coming: SlotRun | None = None
        self._running: SlotRun | None = None

    @property
    def running(self) -> bool:
        """Whether the present slot is controlled."""
        return self._running is not None

    # --- before the slot -----------------------------------------------------------------------------------

    async def prepare(self, slot: datetime, now: datetime) -> None:
        """Decide whether the coming slot is controlled, and if so publish its prices at zero.

        May be called again, after an error or for a slot that is prepared already.
        """
        if self._coming is not None and self._coming.slot == slot:
            return
        phases = await self._planner.confirmed(now)
        estimated = await self._estimate_now(slot - SLOT, phases, now)
        planned = {home: self._planner.planned(home, slot) for home in phases}
        expected = {home: p if (p := planned[home]) is not None else phases[home] for home in phases}
        forecast = await self._knowledge.forecast(slot, expected, now, self._settings.limits)
        known = tuple(s for s in (estimated, forecast) if s is not None)
        zero = self._running is None or not self._running.priced
        trigger = advance(self._trigger, known, price_was_zero=zero, limits=self._settings.limits)
        audience = await self._audience(slot, expected) if trigger.armed else {}
        if trigger.armed:
            await self._exchange.open_prices(slot, audience)
        self._trigger = trigger
        self._recorder.record(
            ArmRecord(
                slot=slot,
                armed=self._trigger.armed,
                v_dev_estimate=estimated.v_dev if estimated else None,
                v_dev_forecast=forecast.v_dev if forecast else None,
                i_load=max((s.i_load for s in known), default=0.0),
            )
        )
        self._coming = None
        if trigger.armed:
            self._coming = SlotRun(slot=slot, phases=expected, audience=audience)

    def begin(self, slot: datetime) -> None:
        """Make the coming slot the running one; one that runs already goes on."""
        if self._running is not None and self._running.slot == slot:
            return
        self._running = self._coming if self._coming and self._coming.slot == slot else None
        if self._coming is not None and self._coming.slot <= slot:
            self._coming = None

    async def resume(self, slot: datetime, now: datetime) -> None:
        """Take up the prices another engine left: of the running slot, and of the coming one.

        Which slot was calm is not known any more, so the price counts as armed. A running slot whose prices
        are zero is controlled from here on; otherwise they stay, because the search rests on the flows at
        u = 0, which went with the engine that measured them.
        """
        running = await self._take_up(slot, now)
        coming = await self._take_up(slot + SLOT, now)
        if running is not None or coming is not None:
            self._trigger = TriggerState.ARMED
        self._running, self._coming = running, coming

    async def _take_up(self, slot: datetime, now: datetime) -> SlotRun | None:
        prices = await self._exchange.prices(slot)
        if not prices:
            return None
        phases = await self._planner.confirmed(now)
        return SlotRun(
            slot=slot,
            phases=phases,
            audience={pcc: price.homes for pcc, price in prices.items()},
            held=any(_is_under_way(price) for price in prices.values()),
        )

    async def _estimate_now(
        self, slot: datetime, phases: Mapping[HomeId, Phase], now: datetime
    ) -> Stress | None:
        try:
            readings = await self._knowledge.read(now)
        except StaleMeasurement as err:
            if not self._settings.works_without_meters:
                raise
            self._recorder.record(FaultRecord.of(err, slot=slot + SLOT, at=now, what="estimate"))
            return None
        run = self._running
        if run is not None and run.estimate is not None:
            estimate = await self._answer(run, readings)
        else:
            prior = await self._knowledge.prior(slot, phases, now)
            estimate = self._knowledge.explain(prior, readings, f"slot {slot:%H:%M}, estimate")
        self._recorder.record(GridRecord(slot=slot, at=now, figures=figures_of(estimate.state)))
        return self._knowledge.stress_of(estimate.state, self._settings.limits)

    async def _audience(
        self, slot: datetime, phases: Mapping[HomeId, Phase]
    ) -> dict[Pcc, tuple[HomeId, ...]]:
        absent = await self._exchange.absent(slot) | self._deaf
        behind: dict[Pcc, list[HomeId]] = {pcc: [] for pcc in self._network.pccs}
        for home in self._network.homes:
            if home.id not in absent:
                behind[Pcc(feeder=home.feeder, phase=phases[home.id])].append(home.id)
        return {pcc: tuple(homes) for pcc, homes in behind.items() if homes}

    # --- in the slot ---------------------------------------------------------------------------------------

    async def tick(self, now: datetime) -> None:
        """Measure once; step where the measurement answers the current price."""
        run = self._running
        if run is None or run.held:
            return
        await self._send(run)
        readings = await self._knowledge.read(now)
        if any(reading.taken_at < run.slot for reading in readings):
            return  # taken at the plans and prices of the slot before
        run.take(readings)
        if run.baseline_kw is None:
            await self._first(run, readings, now)
        elif run.estimate_due:
            run.estimate = await self._answer(run, readings)
            self._tighten(run, run.estimate)
        run.estimate_due = False
        await self._step(run, now)
        await self._last_resort.apply(run, now)

    async def _first(self, run: SlotRun, readings: Sequence[PccReading], now: datetime) -> None:
        """Baseline, bounds and a fresh law for every PCC."""
        baseline_kw = np.array([reading_of(readings, pcc).p_kw for pcc in self._network.pccs])
        run.prior = prior = await self._knowledge.prior(run.slot, run.phases, now)
        label = f"slot {run.slot:%H:%M}, baseline"
        run.estimate = self._knowledge.explain(prior, readings, label)
        limits = self._settings.limits
        up_kw, down_kw = await self._knowledge.flexibility(run.slot)
        found = find_bounds(
            search=self._knowledge.search,
            record=self._knowledge.record,
            injections=run.estimate.injections,
            limits=limits,
            directions=directions_at_risk(self._network, run.estimate.state, limits),
            label=label,
            up_kw=up_kw,
            down_kw=down_kw,
        )
        index = self._network.pcc_of(prior.phase)
        runs: list[PccRun] = []
        for k, bound in enumerate(found.bounds):
            homes = run.audience.get(bound.pcc, ())
            behind = index == k
            reachable, short = clip_to_reachable(
                bound,
                flow_kw=reading_of(readings, bound.pcc).p_kw,
                up_kw=float(up_kw[behind].sum()),
                down_kw=float(down_kw[behind].sum()),
            )
            runs.append(
                PccRun(
                    pcc=bound.pcc,
                    homes=homes,
                    state=self._settings.law.start(slope_kw_per_c=self._slope(run.slot, homes)),
                    wanted=bound,
                    bounds=_flow_bounds(reachable),
                    short=short,
                )
            )
        run.runs = tuple(runs)
        run.baseline_kw = baseline_kw.reshape(-1, len(Phase))  # last: a slot that has it has all the rest

    async def _step(self, run: SlotRun, now: datetime) -> None:
        """Step the laws whose current price this measurement answers; publish what changes."""
        deliveries = await self._exchange.deliveries(run.slot, [each.pcc for each in run.runs])
        for each in run.runs:
            reading = reading_of(run.last, each.pcc)
            p_kw, since = reading.p_kw, max(reading.taken_at, run.slot)
            remaining_h = max(0.0, (run.slot + SLOT - since) / timedelta(hours=1))
            flow_kw = project(e_done_kwh=run.energy_kwh[each.pcc], p_kw=p_kw, remaining_h=remaining_h)
            bounds = each.tightening.apply(each.bounds)
            strict_kw = stricter_kw(bounds, projected_kw=flow_kw, p_kw=p_kw)
            ready = (
                bool(each.homes)
                and each.cap_kw is None
                and self._answered(run, each.pcc, deliveries)
                and worth_a_step(remaining_h=remaining_h, violation_kw=bounds.violation_kw(strict_kw))
            )
            if ready:
                before = each.state.u_millicent
                each.state = self._settings.law.step(each.state, Measured(flow_kw=strict_kw, bounds=bounds))
                if each.state.u_millicent != before:
                    run.unsent[each.pcc] = each.state.u_millicent
            self._recorder.record(
                StepRecord(
                    slot=run.slot,
                    at=now,
                    pcc=each.pcc,
                    p_kw=p_kw,
                    projected_kw=flow_kw,
                    c_lo_kw=_finite(bounds.c_lo_kw),
                    c_hi_kw=_finite(bounds.c_hi_kw),
                    u_millicent=each.state.u_millicent,
                    stepped=ready,
                    mode=each.state.mode.value,
                )
            )
        await self._send(run)

    async def _send(self, run: SlotRun) -> None:
        """Publish the prices that were decided; after an error the next tick does it, before it measures."""
        if run.unsent:
            await self._exchange.set_prices(run.slot, run.unsent)
            run.unsent = {}

    def _answered(self, run: SlotRun, pcc: Pcc, deliveries: Mapping[Pcc, Delivery]) -> bool:
        """Return whether the last measurement was taken under the current version of the price."""
        taken_at = reading_of(run.last, pcc).taken_at
        delivery = deliveries.get(pcc)
        if delivery is None:
            return False
        if delivery.fetched_by_all_at is not None and delivery.fetched_by_all_at < taken_at:
            return True
        return taken_at - delivery.published_at >= _WAIT_FOR_SILENT

    def _tighten(self, run: SlotRun, estimate: Estimate) -> None:
        """Take from the bounds what the network still shows too much of."""
        limits = self._settings.limits
        for each in run.runs:
            bounds = each.tightening.apply(each.bounds)
            obeys = abs(bounds.violation_kw(reading_of(run.last, each.pcc).p_kw)) < _OBEYS_KW
            high, low = pcc_stress(self._network, estimate.state, limits, each.pcc)
            step = self._settings.feedback.step
            each.tightening = Tightening(
                export_kw=step(
                    each.tightening.export_kw,
                    bound_kw=each.bounds.c_lo_kw,
                    stress_ratio=high,
                    obeys=obeys,
                    saturated=each.exhausted,
                ),
                import_kw=step(
                    each.tightening.import_kw,
                    bound_kw=each.bounds.c_hi_kw,
                    stress_ratio=low,
                    obeys=obeys,
                    saturated=each.exhausted,
                ),
            )

    async def _answer(self, run: SlotRun, readings: Sequence[PccReading]) -> Estimate:
        """Return the estimate while a price runs: what changed since the baseline is the homes' answer."""
        assert run.baseline_kw is not None
        assert run.prior is not None
        up_kw, down_kw = await self._knowledge.flexibility(run.slot)
        return self._knowledge.explain(
            run.prior,
            readings,
            f"slot {run.slot:%H:%M}, estimate",
            Response(baseline_kw=run.baseline_kw, up_kw=up_kw, down_kw=down_kw),
        )

    def _slope(self, slot: datetime, homes: Sequence[HomeId]) -> float:
        return prior_slope_kw_per_c(
            self._knowledge.responsive(slot, homes),
            self._settings.curvature_c_per_kwh2,
            self._settings.reward_curvature_c_per_kwh2,
        )


def _is_under_way(price: OpenPrice) -> bool:
    return price.u_millicent != 0 or price.curtailed


def _flow_bounds(bound: PccBound) -> FlowBounds:
    return export_first(
        c_lo_kw=-inf if bound.c_lo_kw is None else bound.c_lo_kw,
        c_hi_kw=inf if bound.c_hi_kw is None else bound.c_hi_kw,
    )


def _finite(value: float) -> float | None:
    return value if abs(value) < inf else None
