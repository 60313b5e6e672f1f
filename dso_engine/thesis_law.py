"""The law of the thesis (6.21) with its errata corrected, selectable as an alternative to the secant.

Per PCC, two numbers are iterated: sigma, what the homes are thought to do, and lambda, the multiplier of
the bounds::

    u      = D sigma + K lambda                              (6.12; errata 20)
    x0     = Proj_C(sigma + gamma K lambda)                  (6.16, corrected: errata 18 and 19)
    Gamma  = -(A ; 2 A - x0)                                 (6.20, A measured once under u: errata 22)
    w      = (I + eps M)^-1 ((sigma ; lambda) - eps Gamma)   M = [[1, 0], [1, 0]]  (6.19)
    next   = (1 - alpha) (sigma ; lambda) + alpha w          (6.21)

As printed, x0 = Proj_C(K (sigma - lambda)) and the law ends at the opposite bound (errata 18).

Quantities are sums per PCC in kWh per slot, not averages over all homes: with averages the gain would
shrink with the number of PCCs (errata 23). Sums and per-PCC means give the same iteration as long as K is
chosen from the slope of the same quantity, which it is here: K = `k_factor` / |dA/du| in c/kWh per kWh,
gamma = 1 / K, so that lambda is an energy as well and eps alone is the loop gain. The prior slope is the
steepest possible, so the true gain is at most eps. The linear limits at K = 1/slope are 1.23 (active) and
.67 (inactive; mechanisms.md 4.2); eps = 0.5 keeps a quarter of
distance from the lower one.

Three things are added to the thesis. C is shrunk by the tolerance, so that the slow last part of the
exponential is spent inside the bound. The law rests on the violation in kW per PCC (none, and little
over-control) instead of on Theta, whose 1e-2 kWh mean leaves 3 kW (errata 26). The price is capped and
lambda with it, and where the flow has not moved for `patience` measurements it stands still and the PCC
counts as saturated (anti-windup, mechanisms.md 4.5): lambda grows so slowly that the cap alone would come
after the slot is over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from dso_engine.game import (
    CAP_MILLICENT,
    MILLICENT_PER_CENT,
    TOLERANCE_KW,
    Aim,
    Measured,
    Mode,
    PriceState,
    to_grid,
)
from dso_engine.model import SLOT_H

_MIN_SLOPE: Final = 0.02
"""Smallest |dA/du| a gain is computed from, kW per c/kWh."""
_STILL_KW: Final = 0.03
"""Changes of flow below this count as none, kW."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThesisState(PriceState):
    """Memory of the law in one slot.

    Attributes:
        k_c_per_kwh2: K, c/kWh per kWh of the PCC's sum.
        sigma_kwh: Estimate of the aggregate, kWh per slot; None before the first measurement.
        lambda_kwh: Multiplier in units of energy; K times it is the penalty part of the price.
        still_flow_kw: Flow at the beginning of the present time without movement, kW.
        still_steps: Measurements since then.
    """

    k_c_per_kwh2: float
    sigma_kwh: float | None = None
    lambda_kwh: float = 0.0
    still_flow_kw: float | None = None
    still_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThesisLaw:
    """Parameters of the thesis law; implements `dso_engine.game.Law`.

    Attributes:
        eps: Step eps of 6.21.
        alpha: Averaging alpha of 6.21, constant.
        k_factor: K in units of 1/slope.
        d_c_per_kwh2: D, distribution fee on the aggregate, c/kWh per kWh of the PCC's sum. With D > 0 the
            price is not zero while the bounds are inactive; a fee belongs into the tariff (mechanisms.md
            4.3).
        tolerance_kw: How far inside an active bound the law aims, kW; the price rests from the bound to 1.5
            times this far inside.
        cap_millicent: Price cap, 1e-5 EUR/kWh.
        noise_fraction: One sigma of the measured flow as a fraction of it; only judges whether the flow
            moves.
        patience: Measurements without movement, the bound violated, after which the PCC counts as saturated.
    """

    eps: float = 0.5
    alpha: float = 1.0
    k_factor: float = 1.0
    d_c_per_kwh2: float = 0.0
    tolerance_kw: float = TOLERANCE_KW
    cap_millicent: int = CAP_MILLICENT
    noise_fraction: float = 0.0
    patience: int = 30

    def start(self, *, slope_kw_per_c: float) -> ThesisState:
        """See `dso_engine.game.Law.start`."""
        slope_kwh_per_c = max(abs(slope_kw_per_c), _MIN_SLOPE) * SLOT_H
        return ThesisState(k_c_per_kwh2=self.k_factor / slope_kwh_per_c)

    def step(self, state: PriceState, measured: Measured) -> ThesisState:
        """See `dso_engine.game.Law.step`."""
        if not isinstance(state, ThesisState):
            raise TypeError(f"state of another law: {type(state).__name__}")
        aim = Aim(bounds=measured.bounds, margin_kw=self.tolerance_kw)
        violation_kw = measured.bounds.violation_kw(measured.flow_kw)
        counted = self._counted(state, measured.flow_kw)
        if self._rests(counted, aim, measured.flow_kw):
            return replace(counted, mode=Mode.HOLD)
        counted = replace(counted, approach_steps=state.approach_steps + 1)
        if counted.still_steps >= self.patience and violation_kw != 0.0:
            return replace(counted, mode=Mode.SATURATED)
        sigma, lam = self.iterate(counted, aim, measured.flow_kw)
        limit = self.cap_millicent / MILLICENT_PER_CENT / counted.k_c_per_kwh2
        lam = min(max(lam, -limit), limit)
        u = to_grid(self.d_c_per_kwh2 * sigma + counted.k_c_per_kwh2 * lam, self.cap_millicent)
        exhausted = u == state.u_millicent and abs(u) == self.cap_millicent and u * violation_kw > 0.0
        mode = Mode.SATURATED if exhausted else Mode.APPROACH
        return replace(counted, u_millicent=u, mode=mode, sigma_kwh=sigma, lambda_kwh=lam)

    def _counted(self, state: ThesisState, flow_kw: float) -> ThesisState:
        """The state with this measurement counted."""
        band_kw = max(_STILL_KW, 3.0 * self.noise_fraction * abs(flow_kw))
        moved = state.still_flow_kw is None or abs(flow_kw - state.still_flow_kw) > band_kw
        return replace(
            state,
            steps=state.steps + 1,
            still_flow_kw=flow_kw if moved else state.still_flow_kw,
            still_steps=0 if moved else state.still_steps + 1,
        )

    def iterate(self, state: ThesisState, aim: Aim, flow_kw: float) -> tuple[float, float]:
        """One iteration of 6.21 (sigma, lambda in kWh per slot) from the measured aggregate."""
        a = flow_kw * SLOT_H
        sigma = a if state.sigma_kwh is None else state.sigma_kwh
        lam = state.lambda_kwh
        # gamma = 1 / K: gamma K lambda is lambda itself.
        x0 = min(max(sigma + lam, aim.export_aim_kw * SLOT_H), aim.import_aim_kw * SLOT_H)
        sigma_w = (sigma + self.eps * a) / (1.0 + self.eps)
        lam_w = lam + self.eps * (2.0 * a - x0) - self.eps * sigma_w
        return (
            (1.0 - self.alpha) * sigma + self.alpha * sigma_w,
            (1.0 - self.alpha) * lam + self.alpha * lam_w,
        )

    def _rests(self, state: ThesisState, aim: Aim, flow_kw: float) -> bool:
        inside = aim.bounds.violation_kw(flow_kw) == 0.0
        return inside and aim.beyond_kw(state.u_millicent, flow_kw) <= 1.5 * self.tolerance_kw
