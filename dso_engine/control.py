"""The real-time price of the network, slot by slot: arm, measure, bound, step, curtail.

For the slot that starts at T:

1. At T - 90 s the trigger looks at the estimate of the running slot and at the forecast from the commitments.
   Where it arms, one event per PCC with u = 0 goes to the homes that will be behind it.
2. Every 10 s a tick reads the meters. A tick steps a PCC's law only if every home behind it has fetched the
   current version before the measurement, or 20 s have passed since publishing; slower homes count as silent.
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
from dso_engine.curtail import corrected_cap_kw, export_cap_kw
from dso_engine.estimate import Estimate, Response
from dso_engine.feedback import Feedback, Tightening
from dso_engine.game import FlowBounds, Law, Measured, Mode, PriceState, prior_slope_kw_per_c, project
from dso_engine.knowledge import Knowledge, pcc_stress, reading_of
from dso_engine.model import SLOT, FloatArray, HomeId, Limits, Pcc, PccReading, Phase
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import Customer, HomeExchange, Recorder
from dso_engine.powerflow import Injections
from dso_engine.records import ArmRecord, CurtailRecord, StepRecord
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


@dataclass(slots=True, kw_only=True)
class _PccRun:
    """One PCC in one controlled slot."""

    pcc: Pcc
    homes: tuple[HomeId, ...]
    state: PriceState
    wanted: PccBound
    """What the network needs, before the reachable set cuts it."""
    bounds: FlowBounds
    short: bool
    """Whether the homes cannot reach what the network needs."""
    tightening: Tightening = field(default_factory=Tightening)
    cap_kw: float | None = None
    capped_at: datetime | None = None

    @property
    def exhausted(self) -> bool:
        """Whether the price has done what it can: at its end, or at rest on a bound that was cut."""
        return self.state.saturated or (self.short and self.state.mode is Mode.HOLD)


@dataclass(slots=True, kw_only=True)
class _SlotRun:
    """One controlled slot."""

    slot: datetime
    phases: Mapping[HomeId, Phase]
    audience: Mapping[Pcc, tuple[HomeId, ...]]
    runs: tuple[_PccRun, ...] = ()
    prior: Injections | None = None
    baseline_kw: FloatArray | None = None
    energy_kwh: dict[Pcc, float] = field(default_factory=dict)
    last: tuple[PccReading, ...] = ()
    estimate: Estimate | None = None


class RealtimePrice:
    """Arms and runs the real-time price.

    Args:
        knowledge: Meters, commitments and the network model.
        customers: Who has PV that can be curtailed.
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
        self._pv = frozenset(c.home for c in customers if c.pv_kwp > 0.0)
        self._exchange = exchange
        self._planner = planner
        self._recorder = recorder
        self._settings = settings
        self._trigger = TriggerState.IDLE
        self._coming: _SlotRun | None = None
        self._running: _SlotRun | None = None

    @property
    def running(self) -> bool:
        """Whether the present slot is controlled."""
        return self._running is not None

    # --- before the slot -----------------------------------------------------------------------------------

    async def prepare(self, slot: datetime, now: datetime) -> None:
        """Decide whether the coming slot is controlled, and if so publish its prices at zero."""
        phases = await self._planner.confirmed(now)
        estimated = await self._estimate_now(slot - SLOT, phases, now)
        planned = {home: self._planner.planned(home, slot) for home in phases}
        expected = {home: p if (p := planned[home]) is not None else phases[home] for home in phases}
        forecast = await self._knowledge.forecast(slot, expected, now, self._settings.limits)
        known = tuple(s for s in (estimated, forecast) if s is not None)
        zero = self._running is None or all(run.state.u_millicent == 0 for run in self._running.runs)
        self._trigger = advance(self._trigger, known, price_was_zero=zero, limits=self._settings.limits)
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
        if self._trigger.armed:
            audience = self._audience(slot, expected)
            await self._exchange.open_prices(slot, audience)
            self._coming = _SlotRun(slot=slot, phases=expected, audience=audience)

    def begin(self, slot: datetime) -> None:
        """Make the coming slot the running one."""
        self._running = self._coming if self._coming and self._coming.slot == slot else None
        self._coming = None

    async def _estimate_now(
        self, slot: datetime, phases: Mapping[HomeId, Phase], now: datetime
    ) -> Stress | None:
        readings = await self._knowledge.read(now)
        run = self._running
        if run is not None and run.estimate is not None:
            estimate = self._answer(run, readings)
        else:
            prior = await self._knowledge.prior(slot, phases, now)
            estimate = self._knowledge.explain(prior, readings, f"slot {slot:%H:%M}, estimate")
        return self._knowledge.stress_of(estimate.state, self._settings.limits)

    def _audience(self, slot: datetime, phases: Mapping[HomeId, Phase]) -> dict[Pcc, tuple[HomeId, ...]]:
        absent = self._exchange.absent(slot)
        behind: dict[Pcc, list[HomeId]] = {pcc: [] for pcc in self._network.pccs}
        for home in self._network.homes:
            if home.id not in absent:
                behind[Pcc(feeder=home.feeder, phase=phases[home.id])].append(home.id)
        return {pcc: tuple(homes) for pcc, homes in behind.items() if homes}

    # --- in the slot ---------------------------------------------------------------------------------------

    async def tick(self, now: datetime) -> None:
        """Measure once; step where the measurement answers the current price."""
        run = self._running
        if run is None:
            return
        readings = await self._knowledge.read(now)
        self._integrate(run, readings)
        moved = not run.last or _differ(run.last, readings)
        run.last = readings
        if run.baseline_kw is None:
            await self._first(run, readings, now)
        elif moved:
            run.estimate = self._answer(run, readings)
            self._tighten(run, run.estimate)
        await self._step(run, now)
        await self._curtail(run, now)

    async def _first(self, run: _SlotRun, readings: Sequence[PccReading], now: datetime) -> None:
        """Baseline, bounds and a fresh law for every PCC."""
        run.baseline_kw = np.array([reading_of(readings, pcc).p_kw for pcc in self._network.pccs]).reshape(
            -1, 3
        )
        run.prior = prior = await self._knowledge.prior(run.slot, run.phases, now)
        label = f"slot {run.slot:%H:%M}, baseline"
        run.estimate = self._knowledge.explain(prior, readings, label)
        limits = self._settings.limits
        up_kw, down_kw = self._knowledge.flexibility(run.slot)
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
        runs: list[_PccRun] = []
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
                _PccRun(
                    pcc=bound.pcc,
                    homes=homes,
                    state=self._settings.law.start(slope_kw_per_c=self._slope(run.slot, homes)),
                    wanted=bound,
                    bounds=_flow_bounds(reachable),
                    short=short,
                )
            )
        run.runs = tuple(runs)

    def _integrate(self, run: _SlotRun, readings: Sequence[PccReading]) -> None:
        """Count the energy since the slot began; each reading stands for the time since the one before."""
        for reading in readings:
            before = next((r for r in run.last if r.pcc == reading.pcc), None)
            since = max(before.taken_at, run.slot) if before else run.slot
            mean_kw = (before.p_kw + reading.p_kw) / 2.0 if before else reading.p_kw
            hours = max(0.0, (reading.taken_at - since) / timedelta(hours=1))
            run.energy_kwh[reading.pcc] = run.energy_kwh.get(reading.pcc, 0.0) + mean_kw * hours

    async def _step(self, run: _SlotRun, now: datetime) -> None:
        """Step the laws whose current price this measurement answers; publish what changes."""
        changed: dict[Pcc, int] = {}
        for each in run.runs:
            reading = reading_of(run.last, each.pcc)
            p_kw, since = reading.p_kw, max(reading.taken_at, run.slot)
            remaining_h = max(0.0, (run.slot + SLOT - since) / timedelta(hours=1))
            flow_kw = project(e_done_kwh=run.energy_kwh[each.pcc], p_kw=p_kw, remaining_h=remaining_h)
            bounds = each.tightening.apply(each.bounds)
            ready = bool(each.homes) and each.cap_kw is None and self._answered(run, each.pcc)
            if ready:
                before = each.state.u_millicent
                each.state = self._settings.law.step(each.state, Measured(flow_kw=flow_kw, bounds=bounds))
                if each.state.u_millicent != before:
                    changed[each.pcc] = each.state.u_millicent
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
        if changed:
            await self._exchange.set_prices(run.slot, changed)

    def _answered(self, run: _SlotRun, pcc: Pcc) -> bool:
        """Return whether the last measurement was taken under the current version of the price."""
        taken_at = reading_of(run.last, pcc).taken_at
        delivery = self._exchange.delivery(run.slot, pcc)
        if delivery is None:
            return False
        if delivery.fetched_by_all_at is not None and delivery.fetched_by_all_at < taken_at:
            return True
        return taken_at - delivery.published_at >= _WAIT_FOR_SILENT

    def _tighten(self, run: _SlotRun, estimate: Estimate) -> None:
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

    def _answer(self, run: _SlotRun, readings: Sequence[PccReading]) -> Estimate:
        """Return the estimate while a price runs: what changed since the baseline is the homes' answer."""
        assert run.baseline_kw is not None
        assert run.prior is not None
        up_kw, down_kw = self._knowledge.flexibility(run.slot)
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

    # --- last resort ---------------------------------------------------------------------------------------

    async def _curtail(self, run: _SlotRun, now: datetime) -> None:
        """Bound exports where the price cannot do it, and correct the bound by what the meter shows."""
        for each in run.runs:
            needed = each.wanted.c_lo_kw
            if needed is None or not (each.exhausted or each.cap_kw is not None):
                continue
            target_kw = needed + each.tightening.export_kw
            shortage_kw = target_kw - reading_of(run.last, each.pcc).p_kw
            homes = tuple(home for home in each.homes if home in self._pv)
            if each.cap_kw is None:
                if shortage_kw <= 0.0 or not homes or run.estimate is None:
                    continue
                cap_kw = export_cap_kw(self._exports(run.estimate, homes), shortage_kw)
            else:
                if each.capped_at is not None and now - each.capped_at < _WAIT_FOR_SILENT:
                    continue
                cap_kw = corrected_cap_kw(each.cap_kw, homes=len(homes), shortage_kw=shortage_kw)
            if each.cap_kw is None or round(1000 * cap_kw) != round(1000 * each.cap_kw):
                each.cap_kw, each.capped_at = cap_kw, now
                bounds = {home: round(1000.0 * cap_kw) for home in homes}
                await self._exchange.curtail(run.slot, each.pcc, bounds)
                self._recorder.record(
                    CurtailRecord(slot=run.slot, at=now, pcc=each.pcc, export_w=tuple(bounds.items()))
                )

    def _exports(self, estimate: Estimate, homes: Sequence[HomeId]) -> list[float]:
        wanted = set(homes)
        return [
            max(0.0, -float(p))
            for home, p in zip(self._network.homes, estimate.p_kw, strict=True)
            if home.id in wanted
        ]


def _differ(before: Sequence[PccReading], now: Sequence[PccReading]) -> bool:
    return any(abs(reading_of(before, r.pcc).p_kw - r.p_kw) > 1e-3 for r in now)


def _flow_bounds(bound: PccBound) -> FlowBounds:
    return FlowBounds(
        c_lo_kw=-inf if bound.c_lo_kw is None else bound.c_lo_kw,
        c_hi_kw=inf if bound.c_hi_kw is None else bound.c_hi_kw,
    )


def _finite(value: float) -> float | None:
    return value if abs(value) < inf else None
