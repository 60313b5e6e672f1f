"""One slot of one network in two pure steps, for a loop over many networks.

1. `plan_slot`: auction, phases, forecast, trigger; where the price is armed, the state at u = 0 and the
   bounds of every PCC.
2. `settle_slot`: rounds of prices, feedback on the bounds and export bounds where the price is exhausted,
   against the homes' answers, until nothing moves any more; and the state the slot ends in.

Between the two, and after the second, the caller verifies what was promised (`dso_engine.block_verified`): no
price is set on bounds that the model of record has not confirmed, and no state counts that it has not.

It is the loop of `dso_engine.control` and `hourly` with the same parts, less what a fleet does not play: the
auction is of one slot, the state is known at every bus and not estimated from the feeder heads, and all homes
have answered a price before the next step, so flows are means of the slot.

Source: mechanisms.md 2 (auction), 4 (price), 5 and 10 (phases), 9 (trigger, bounds, last resort).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dso_engine.block_verified import Promise, PromisedRecord
from dso_engine.bounds import Bounds, PccBound, clip_to_reachable, directions_at_risk, find_bounds
from dso_engine.curtail import corrected_cap_kw, export_cap_kw
from dso_engine.day_phases import slot_phases
from dso_engine.feedback import Feedback, Tightening
from dso_engine.fixed_point import FixedPoint
from dso_engine.game import Law, Measured, export_first, prior_slope_kw_per_c
from dso_engine.knowledge import pcc_stress
from dso_engine.market import Clearing, clear
from dso_engine.model import FloatArray, IntArray, Limits
from dso_engine.powerflow import GridState, Injections, stress
from dso_engine.slot_run import PccRun
from dso_engine.street import Commitments, Exchange, Street
from dso_engine.trigger import Stress, TriggerState, advance

__all__ = [
    "FeederModel",
    "FeederState",
    "PlannedSlot",
    "SettledSlot",
    "SlotSettings",
    "plan_slot",
    "settle_slot",
]

_MAX_ROUNDS: Final = 28
"""Rounds of messages that fit into a slot: one every 20 s, the longest a silent home is waited for."""
_OBEYS_KW: Final = 0.3
"""As in `dso_engine.control`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSettings:
    """What holds for all networks."""

    limits: Limits
    law: Law
    feedback: Feedback
    mu_kw2: float
    """Cost of one switching operation."""
    curvature_c_per_kwh2: float
    reward_curvature_c_per_kwh2: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeederModel:
    """What of a network is the same in every slot."""

    search: FixedPoint
    with_switch: NDArray[np.bool_]
    """Homes with a transfer switch, (home,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederState:
    """What a slot leaves to the next one."""

    phases: tuple[int, ...]
    """Phase of each home, 0 to 2."""
    trigger: TriggerState = TriggerState.IDLE
    last: Stress | None = None
    """Of the state the last slot ended in; None where it is not known."""
    price_was_zero: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlannedSlot:
    """A slot before any price is set."""

    clearing: Clearing
    commitments: Commitments
    phases: IntArray
    """Phase of each home in the slot, (home,)."""
    operations: int
    """Switches that move."""
    trigger: TriggerState
    baseline: Injections
    """What the homes do at u = 0."""
    state: GridState
    """Of the baseline."""
    bounds: Bounds | None
    """None where nothing is at risk, or the price is not armed."""
    promises: tuple[Promise, ...]
    """What has to be verified before the bounds may be used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SettledSlot:
    """A slot at its end."""

    injections: Injections
    state: GridState
    prices_millicent: tuple[int, ...]
    """Of every PCC, in the order of `Network.pccs`; 0 where none was set."""
    rounds: int
    """Rounds until nothing moved, 0 without bounds."""
    export_cap_kw: FloatArray
    """Bound on the export of each home, infinite without one, (home,)."""
    promise: Promise
    """The end of the slot, to be verified."""


def plan_slot(
    model: FeederModel, state: FeederState, street: Street, settings: SlotSettings, label: str
) -> PlannedSlot:
    """Clear the market, allocate the phases and, where the price is armed, find the bounds.

    Args:
        model: The network.
        state: From the slot before.
        street: The homes in this slot.
        settings: Limits, law, costs.
        label: Network and slot, for error messages.

    Raises:
        PowerFlowDiverged: if the forecast or the state at u = 0 has no solution.
        InvalidOrder: if an order breaks rule R0.
        InvalidAllocation: if a feeder has too many switches.
    """
    network, limits = model.search.network, settings.limits
    clearing = clear(tuple(street.orders()))
    commitments = street.commit(clearing)
    before = np.array(state.phases, dtype=np.int64)
    phases = slot_phases(network, commitments.p_kw, before, model.with_switch, settings.mu_kw2)
    expected = Injections(p_kw=commitments.p_kw, q_kvar=commitments.q_kvar, phase=phases)
    forecast = _stress(model.search.solve(expected, f"{label}, forecast"), model, limits)
    known = (forecast,) if state.last is None else (state.last, forecast)
    trigger = advance(state.trigger, known, price_was_zero=state.price_was_zero, limits=limits)
    free = np.full(len(network.homes), inf)
    baseline = _on(street.answer(np.zeros(len(network.homes), dtype=np.int64), free), phases)
    at_zero = model.search.solve(baseline, f"{label}, baseline")
    directions = directions_at_risk(network, at_zero, limits) if trigger.armed else ()
    record = PromisedRecord(model.search)
    bounds = None
    if directions:
        bounds = find_bounds(
            search=model.search,
            record=record,
            injections=baseline,
            limits=limits,
            directions=directions,
            label=label,
            up_kw=commitments.up_kw,
            down_kw=commitments.down_kw,
        )
    return PlannedSlot(
        clearing=clearing,
        commitments=commitments,
        phases=phases,
        operations=int((phases != before).sum()),
        trigger=trigger,
        baseline=baseline,
        state=at_zero,
        bounds=bounds,
        promises=record.promises,
    )


def settle_slot(
    model: FeederModel,
    planned: PlannedSlot,
    street: Street,
    settings: SlotSettings,
    label: str,
    *,
    bounds_hold: bool,
) -> SettledSlot:
    """Set prices and export bounds until the flows obey, and return how the slot ends.

    Args:
        model: The network.
        planned: From `plan_slot`.
        street: The homes in this slot.
        settings: Limits, law, costs.
        label: Network and slot, for error messages.
        bounds_hold: Whether the model of record has confirmed what was promised; without it no price is set.

    Raises:
        PowerFlowDiverged: if a state on the way has no solution.
    """
    bounds = planned.bounds if bounds_hold else None
    loop = _Loop(model=model, planned=planned, street=street, settings=settings, label=label)
    if bounds is not None:
        loop.run(bounds)
    return SettledSlot(
        injections=loop.injections,
        state=loop.state,
        prices_millicent=tuple(run.state.u_millicent for run in loop.runs) or (0,) * len(loop.pccs),
        rounds=loop.rounds,
        export_cap_kw=loop.cap_kw,
        promise=Promise(injections=loop.injections, state=loop.state, label=f"{label}, end of slot"),
    )


def _stress(state: GridState, model: FeederModel, limits: Limits) -> Stress:
    seen = stress(model.search.network, state, limits)
    return Stress(v_dev=seen.v_dev_max, i_load=seen.thermal)


def _on(exchange: Exchange, phases: IntArray) -> Injections:
    return Injections(p_kw=exchange.p_kw, q_kvar=exchange.q_kvar, phase=phases)


@dataclass(slots=True, kw_only=True, eq=False)
class _Loop:
    """Prices of one network through one slot."""

    model: FeederModel
    planned: PlannedSlot
    street: Street
    settings: SlotSettings
    label: str
    injections: Injections = field(init=False)
    state: GridState = field(init=False)
    cap_kw: FloatArray = field(init=False)
    runs: tuple[PccRun, ...] = ()
    rounds: int = 0
    _behind: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Start at u = 0."""
        self.injections, self.state = self.planned.baseline, self.planned.state
        self.cap_kw = np.full(len(self.planned.phases), inf)
        self._behind = self.model.search.network.pcc_of(self.planned.phases)

    @property
    def pccs(self) -> tuple[object, ...]:
        return self.model.search.network.pccs

    def run(self, bounds: Bounds) -> None:
        """Play rounds until nothing moves."""
        self.runs = tuple(self._start(k, bound) for k, bound in enumerate(bounds.bounds))
        while self.rounds < _MAX_ROUNDS and self._round():
            self._ask()

    def _start(self, k: int, bound: PccBound) -> PccRun:
        said, behind = self.planned.commitments, self._behind == k
        reachable, short = clip_to_reachable(
            bound,
            flow_kw=float(self.state.pcc_p_kw.ravel()[k]),
            up_kw=float(said.up_kw[behind].sum()),
            down_kw=float(said.down_kw[behind].sum()),
        )
        homes = tuple(self.model.search.network.homes[h].id for h in np.flatnonzero(behind))
        slope = prior_slope_kw_per_c(
            int(((said.up_kw > 0.0) | (said.down_kw > 0.0))[behind].sum()),
            self.settings.curvature_c_per_kwh2,
            self.settings.reward_curvature_c_per_kwh2,
        )
        return PccRun(
            pcc=bound.pcc,
            homes=homes,
            state=self.settings.law.start(slope_kw_per_c=slope),
            wanted=bound,
            bounds=export_first(
                c_lo_kw=-inf if reachable.c_lo_kw is None else reachable.c_lo_kw,
                c_hi_kw=inf if reachable.c_hi_kw is None else reachable.c_hi_kw,
            ),
            short=short,
        )

    def _round(self) -> bool:
        """Tighten, step and bound behind every PCC; return whether anything changed."""
        flows = self.state.pcc_p_kw.ravel()
        changed = False
        for k, run in enumerate(self.runs):
            flow_kw = float(flows[k])
            if self.rounds:
                changed |= self._tighten(run, flow_kw)
            if run.homes and run.cap_kw is None:
                before = run.state.u_millicent
                bounds = run.tightening.apply(run.bounds)
                run.state = self.settings.law.step(run.state, Measured(flow_kw=flow_kw, bounds=bounds))
                changed |= run.state.u_millicent != before
            changed |= self._bound_exports(k, run, flow_kw)
        self.rounds += 1
        return changed

    def _tighten(self, run: PccRun, flow_kw: float) -> bool:
        """Take from the bounds what the network still shows too much of; return whether that changed them."""
        before, step = run.tightening, self.settings.feedback.step
        obeys = abs(before.apply(run.bounds).violation_kw(flow_kw)) < _OBEYS_KW
        high, low = pcc_stress(self.model.search.network, self.state, self.settings.limits, run.pcc)
        run.tightening = Tightening(
            export_kw=step(
                before.export_kw,
                bound_kw=run.bounds.c_lo_kw,
                stress_ratio=high,
                obeys=obeys,
                saturated=run.exhausted and run.cap_kw is None,
            ),
            import_kw=step(
                before.import_kw,
                bound_kw=run.bounds.c_hi_kw,
                stress_ratio=low,
                obeys=obeys,
                saturated=run.exhausted,
            ),
        )
        return run.tightening != before

    def _bound_exports(self, k: int, run: PccRun, flow_kw: float) -> bool:
        """Bound the exports behind an exhausted PCC, or correct their bound; return whether it changed."""
        able = np.flatnonzero((self._behind == k) & self.planned.commitments.can_curtail)
        if run.wanted.c_lo_kw is None or not len(able):
            return False
        shortage_kw = run.wanted.c_lo_kw + run.tightening.export_kw - flow_kw
        if run.cap_kw is not None:
            cap_kw = corrected_cap_kw(run.cap_kw, homes=len(able), shortage_kw=shortage_kw)
        elif run.exhausted and shortage_kw > 0.0:
            exports_kw = np.maximum(0.0, -self.injections.p_kw[able])
            cap_kw = export_cap_kw(exports_kw.tolist(), shortage_kw)
        else:
            return False
        cap_kw = round(1e3 * cap_kw) / 1e3  # a bound travels as whole watts
        if cap_kw == run.cap_kw:
            return False
        run.cap_kw = self.cap_kw[able] = cap_kw
        return True

    def _ask(self) -> None:
        """Let the homes answer prices and bounds, and solve what comes of it."""
        u_millicent = np.array([run.state.u_millicent for run in self.runs], dtype=np.int64)[self._behind]
        self.injections = _on(self.street.answer(u_millicent, self.cap_kw), self.planned.phases)
        self.state = self.model.search.solve(self.injections, f"{self.label}, round {self.rounds}")
