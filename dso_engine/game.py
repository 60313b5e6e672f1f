"""The real-time price of one PCC: what every control law shares.

A law sees one number per step, the aggregate flow of the homes behind a PCC, and answers with one number, the
price u that is added to what those homes pay per kWh. Homes are price takers with strongly convex costs, so
the aggregate best response A(u) is continuous and non-increasing: a higher price lowers import and raises
export (mechanisms.md 4). Everything here rests on that monotonicity and on nothing else about the homes.

Units and signs::

    flow_kw        sum over the homes of the PCC, mean power over the whole slot, import positive
    u_millicent    the published price, integer 1e-5 EUR/kWh; u_c_per_kwh is the same number / 1000
    export risk    flow below c_lo: the flow must rise, so u must fall below zero
    import risk    flow above c_hi: the flow must fall, so u must rise above zero

The price is zero unless a bound needs it (complementarity, errata 21): at u = 0 every flow inside the
bounds is an equilibrium, at u < 0 only the flow c_lo is, at u > 0 only c_hi. `Aim` puts that into one
monotone function.

Caller's duties: a measurement handed to `Law.step` belongs to the version of the price in the state (every
home has fetched it, or counts as silent, signals.md); the flow is projected to the end of the slot with
`project` (errata 31); the guard band is already inside the bounds; `Law.start` is called for every slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf, isfinite
from typing import Final, Protocol

from dso_engine.model import SLOT_H, SLOTS_PER_HOUR

MILLICENT_PER_CENT: Final = 1_000
CAP_MILLICENT: Final = 60_000
"""Default price cap, 0.60 EUR/kWh (mechanisms.md 9)."""
TOLERANCE_KW: Final = 0.3
"""Default tolerance on the violation of a bound, kW per PCC (mechanisms.md 4.3)."""
_ONLY_TIGHTEN_H: Final = 90.0 / 3600.0
_STAND_H: Final = 30.0 / 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowBounds:
    """The flows one PCC may have; an infinite side is no bound.

    Attributes:
        c_lo_kw: Lowest flow allowed (most export), kW.
        c_hi_kw: Highest flow allowed (most import), kW.
    """

    c_lo_kw: float = -inf
    c_hi_kw: float = inf

    def __post_init__(self) -> None:
        if not self.c_lo_kw <= self.c_hi_kw:  # also catches NaN
            raise ValueError(f"empty flow bounds [{self.c_lo_kw}, {self.c_hi_kw}] kW")

    def violation_kw(self, flow_kw: float) -> float:
        """Violation in kW: negative beyond the export bound, positive beyond the import bound, else 0."""
        if flow_kw < self.c_lo_kw:
            return flow_kw - self.c_lo_kw
        return max(flow_kw - self.c_hi_kw, 0.0)


def export_first(*, c_lo_kw: float, c_hi_kw: float) -> FlowBounds:
    """The bounds of a PCC whose two directions were searched for on their own and may contradict each other.

    Strong export on two phases of a weak feeder lowers the voltage of the third, where homes import: then one
    search asks for less export and the other for less import than that. The export bound stays, because only
    it can be enforced (curtailment), and less export also takes away what lowered the third phase.

    Args:
        c_lo_kw: Lowest flow allowed, -inf is no bound.
        c_hi_kw: Highest flow allowed, inf is no bound.
    """
    return FlowBounds(c_lo_kw=c_lo_kw, c_hi_kw=c_hi_kw if c_hi_kw >= c_lo_kw else inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement of a PCC, taken while the price of the current version was in force.

    Attributes:
        flow_kw: Sum of the PCC projected to the mean over the slot, kW (`project`).
        bounds: The bounds as they are now; they may move from step to step (feedback).
    """

    flow_kw: float
    bounds: FlowBounds

    def __post_init__(self) -> None:
        if not isfinite(self.flow_kw):
            raise ValueError("a measured flow must be finite; a missing value is no measurement")


class Mode(Enum):
    """What a law is doing."""

    APPROACH = "approach"
    """Searching: the price changes at every step."""
    HOLD = "hold"
    """At the equilibrium within tolerance: the price changes only when the flow drifts."""
    SATURATED = "saturated"
    """A bound stays violated and the price can do no more: the caller curtails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceState:
    """The part of a law's state that the loop reads; each law adds its memory in a subclass.

    Attributes:
        u_millicent: The price to publish, 1e-5 EUR/kWh.
        mode: What the law is doing.
        steps: Measurements used in this slot.
        approach_steps: Of these, measurements that did not yet satisfy the law.
    """

    u_millicent: int = 0
    mode: Mode = Mode.APPROACH
    steps: int = 0
    approach_steps: int = 0

    @property
    def u_c_per_kwh(self) -> float:
        """The published price in c/kWh."""
        return self.u_millicent / MILLICENT_PER_CENT

    @property
    def saturated(self) -> bool:
        """Whether the price is exhausted and the PCC needs the last resort (signals.md)."""
        return self.mode is Mode.SATURATED


class Law(Protocol):
    """A control law for the price of one PCC. Laws hold parameters only; all memory is in the state."""

    def start(self, *, slope_kw_per_c: float) -> PriceState:
        """State for a new slot: u = 0 and nothing remembered (reset per slot, mechanisms.md 4.5).

        Args:
            slope_kw_per_c: Prior for dA/du, see `prior_slope_kw_per_c`; only its magnitude is used, 0 is
                allowed.
        """
        ...

    def step(self, state: PriceState, measured: Measured) -> PriceState:
        """Next state and with it the next price.

        Args:
            state: What `start` or the last `step` of the same law returned.
            measured: Flow under exactly `state.u_millicent`, and the bounds now.

        Raises:
            TypeError: If the state belongs to another law.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where the flow should go at a price, as a monotone function of u that is zero at the equilibrium.

    Attributes:
        bounds: The bounds now.
        margin_kw: How far inside an active bound to aim, so that a search ends on its safe side.
    """

    bounds: FlowBounds
    margin_kw: float

    def gap_kw(self, u_millicent: int, flow_kw: float) -> float:
        """How far the flow lies above the aim: positive asks for a higher price, negative for a lower one.

        Non-increasing in u along any non-increasing A(u). At u = 0 it is zero everywhere inside the bounds,
        so no search pushes the price past zero to make use of headroom. Infinite where the price has no
        bound to serve.
        """
        if u_millicent == 0 and self.bounds.violation_kw(flow_kw) == 0.0:
            return 0.0
        if self._serves_export(u_millicent, flow_kw):
            return flow_kw - self.export_aim_kw
        return flow_kw - self.import_aim_kw

    def beyond_kw(self, u_millicent: int, flow_kw: float) -> float:
        """Over-control of a non-zero price: how far inside the bound it serves the flow is, kW."""
        if u_millicent == 0:
            return 0.0
        if u_millicent < 0:
            return max(flow_kw - self.bounds.c_lo_kw, 0.0)
        return max(self.bounds.c_hi_kw - flow_kw, 0.0)

    @property
    def export_aim_kw(self) -> float:
        """Flow to aim at when the export bound is active, kW."""
        return self.bounds.c_lo_kw + self._margin_kw()

    @property
    def import_aim_kw(self) -> float:
        """Flow to aim at when the import bound is active, kW."""
        return self.bounds.c_hi_kw - self._margin_kw()

    def _margin_kw(self) -> float:
        return min(self.margin_kw, (self.bounds.c_hi_kw - self.bounds.c_lo_kw) / 2.0)

    def _serves_export(self, u_millicent: int, flow_kw: float) -> bool:
        if u_millicent == 0:
            return flow_kw < self.bounds.c_lo_kw
        return u_millicent < 0


def to_grid(u_c_per_kwh: float, cap_millicent: int) -> int:
    """Price on the published grid (1e-5 EUR/kWh) and inside the cap.

    Args:
        u_c_per_kwh: Price wanted, c/kWh; may be infinite.
        cap_millicent: Largest magnitude, 1e-5 EUR/kWh.
    """
    bounded = min(max(u_c_per_kwh * MILLICENT_PER_CENT, -cap_millicent), cap_millicent)
    return round(bounded)


def project(*, e_done_kwh: float, p_kw: float, remaining_h: float) -> float:
    """Mean power over the whole slot if the present power lasts to its end, kW.

    A home catches up inside the slot (6.22, 6.23), so its present power times the slot is not its answer to
    the price; the energy done plus what the present power still brings is.

    Args:
        e_done_kwh: Net energy through the PCC since the slot began, kWh.
        p_kw: Power now, kW.
        remaining_h: Time left in the slot, h.

    Raises:
        ValueError: If the remaining time does not lie inside a slot.

    Source: mechanisms.md errata 31.
    """
    if not -1e-9 <= remaining_h <= SLOT_H + 1e-9:
        raise ValueError(f"remaining time {remaining_h} h lies outside a slot of {SLOT_H} h")
    return (e_done_kwh + p_kw * remaining_h) / SLOT_H


def stricter_kw(bounds: FlowBounds, *, projected_kw: float, p_kw: float) -> float:
    """The flow to hand to a law: the projection, or the present power where that is nearer to the bound.

    Limits hold for powers, a projection is an energy. After a price that was too strong for a while the
    energy so far leaves room, and homes that were told to use it would break the limit for the rest of the
    slot. At u = 0 and while homes catch up, the projection is the stricter one.

    Args:
        bounds: The bounds now; with two finite sides the nearer one counts.
        projected_kw: From `project`.
        p_kw: Power now, kW.
    """
    if projected_kw - bounds.c_lo_kw <= bounds.c_hi_kw - projected_kw:
        return min(projected_kw, p_kw)
    return max(projected_kw, p_kw)


def worth_a_step(*, remaining_h: float, violation_kw: float) -> bool:
    """Whether a new price can still do good in a slot.

    Homes make up for the time that is over (6.22, 6.23): what a price moves in a slot's energy it moves in
    power by the slot over the time left, so a price that is relaxed near the end, because the energy so far
    leaves room, breaks limits with the last minutes' power. In the last 90 s a price is only made stronger,
    and in the last 30 s it stands: it would reach the homes when hardly any time is left.

    Args:
        remaining_h: Time left in the slot when the measurement was taken, h.
        violation_kw: Of the bounds by the projected flow, kW, 0 inside.
    """
    if violation_kw == 0.0:
        return remaining_h > _ONLY_TIGHTEN_H
    return remaining_h > _STAND_H


def prior_slope_kw_per_c(n_homes: int, a: float, a_r: float) -> float:
    """Slope dA/du of n equal homes that all respond, kW per c/kWh (<= 0): the steepest the PCC can be.

    Args:
        n_homes: Price-responsive homes behind the PCC.
        a: Degradation (discomfort) curvature, c/kWh2.
        a_r: Reward curvature, c/kWh2.

    Source: derivative of the closed-form best response, l = 2(a + a_r) (mechanisms.md 4, errata 23, 28).
    """
    if a + a_r <= 0.0:
        raise ValueError("a + a_r must be positive: the best response is not unique otherwise")
    return -n_homes * SLOTS_PER_HOUR / (2.0 * (a + a_r))
