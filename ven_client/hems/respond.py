"""A home's best response to the real-time price, exact, and the powers that carry it out.

The home minimises over x, the energy it exchanges with the grid in the slot::

    J(x) = min over s_b + s_l = r - x of  a (s_b - s_hat)^2 + b |s_b - s_hat| + w (a s_l^2 + b |s_l|)
           + v (s_b - s_hat + s_l) + a_r (x - x_hat)^2 + P(x - x_m) + u x

with P(y) = P_u y for y >= 0, else P_f y; w is the customer's comfort weight. v is what a stored kWh is worth
later: it replaces a purchase or is sold. Without it a home would empty its battery at every feed-in price,
slot after slot, as if the energy had cost nothing, and nothing would be left for the price to move (ours; the
thesis has v = 0). With v half-way between P_f and P_u and b at least half their difference, a home at u = 0
moves nothing but what its forecast errors ask for.

Let m be the marginal cost of flexibility. Battery and load follow m as clipped lines, so r - x = s(m) is
piecewise linear and not decreasing, and the left side of the first-order condition
``m - 2 a_r (r - s(m) - x_hat) = u + p - v`` is piecewise linear and strictly increasing in m: its root lies
between two of at most eight breakpoints and is found by one interpolation. No iteration, no tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ven_client.hems.bounds import Bounds, battery_bounds, flexible_bounds, realtime_allotment
from ven_client.hems.model import SLOT_H, HomeParameters, InvalidHome, check_prices

__all__ = [
    "Curtailment",
    "Response",
    "SetPoint",
    "SlotState",
    "curtail",
    "realtime_allotment",
    "respond",
    "respond_to_peak",
    "set_point",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """What a home knows at the start of a slot. Energies of the whole slot in kWh, prices in c/kWh.

    Raises:
        InvalidPrices: if ``price_down_c_per_kwh`` exceeds ``price_up_c_per_kwh`` (errata 29).
    """

    r_kwh: float
    """Gap of load and production in the slot, by the forecast at its start."""
    s_hat_kwh: float
    """Planned battery energy, + discharge."""
    x_hat_kwh: float
    """Planned exchange with the grid (market + supplier)."""
    x_m_kwh: float
    """Part of it traded on the market."""
    price_up_c_per_kwh: float
    """Price of importing more than the market volume: the supplier's, P_u."""
    price_down_c_per_kwh: float
    """Price of importing less: the feed-in price, P_f."""
    e0_kwh: float
    """Stored energy at the start of the slot; of no meaning without a battery."""
    stored_value_c_per_kwh: float = 0.0
    """v: what a kWh kept in the battery, or not yet consumed by the flexible load, is worth later."""
    charge_allotment_kwh: float
    discharge_allotment_kwh: float
    """The slot's share of the real-time cycle: charging and discharging allowed beyond the plan."""
    flexible_e0_kwh: float
    """State of the flexible load at the start of the slot; of no meaning without one."""
    x_low_kwh: float | None = None
    x_high_kwh: float | None = None
    """Limits a programme sets to the exchange; the devices' own limits win over them. None is none."""
    e_target_kwh: float | None = None
    """Stored energy to reach as far as the battery can; None leaves it to the prices."""
    may_discharge: bool = True
    """Whether the customer lets the battery discharge in this slot."""

    def __post_init__(self) -> None:
        """Check the order of the prices."""
        check_prices(self.price_up_c_per_kwh, self.price_down_c_per_kwh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Energies of the whole slot, kWh: ``x + battery + flexible = r``."""

    x_kwh: float
    battery_kwh: float
    flexible_kwh: float
    contract_violated: bool
    """The devices cannot keep the exchange within the contract (errata 30)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPoint:
    """Powers for the rest of the slot, kW: + discharges the battery, + consumes less."""

    battery_kw: float
    flexible_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curtailment:
    """How a home keeps an export bound for the rest of a slot."""

    set_point: SetPoint
    pv_limit_kw: float
    """Highest production allowed, kW; no cut where the production is below it."""
    curtailed_kw: float
    """Production lost at the present output, kW, >= 0."""
    bound_kept: bool
    """False where even without production the export exceeds the bound (a battery that must discharge)."""


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flexibility:
    """Battery and flexible load as functions of the marginal cost m, c/kWh."""

    slope: float
    """2 a, c/kWh2."""
    kink: float
    """b, c/kWh."""
    comfort: float
    """Times both for the flexible load."""
    planned: float
    cells: Bounds
    loads: Bounds

    def battery(self, m: float) -> float:
        """Battery energy at marginal cost m, kWh."""
        beyond = m - _clip(m, -self.kink, self.kink)
        return _clip(self.planned + beyond / self.slope, self.cells.low_kwh, self.cells.high_kwh)

    def load(self, m: float) -> float:
        """Shift of the flexible load at marginal cost m, kWh."""
        kink = self.kink * self.comfort
        beyond = m - _clip(m, -kink, kink)
        return _clip(beyond / (self.slope * self.comfort), self.loads.low_kwh, self.loads.high_kwh)

    def total(self, m: float) -> float:
        """Both together, kWh."""
        return self.battery(m) + self.load(m)

    def breakpoints(self) -> list[float]:
        """Marginal costs where a slope changes, ascending, c/kWh."""
        cells = [self.slope * (bound - self.planned) for bound in (self.cells.low_kwh, self.cells.high_kwh)]
        loads = [self.slope * self.comfort * bound for bound in (self.loads.low_kwh, self.loads.high_kwh)]
        kink = self.kink * self.comfort
        ends = [_beyond(end, self.kink) for end in cells] + [_beyond(end, kink) for end in loads]
        return sorted({-self.kink, self.kink, -kink, kink, *ends})


def _beyond(end: float, kink: float) -> float:
    """A marginal cost moved away from zero by a kink."""
    return end + (kink if end > 0.0 else -kink if end < 0.0 else 0.0)


def _root(function: Callable[[float], float], points: list[float], target: float, tail_slope: float) -> float:
    """Where a non-decreasing piecewise linear function reaches a target.

    Args:
        function: The function; linear between neighbouring points.
        points: All its breakpoints, ascending, at least one.
        target: The value to reach.
        tail_slope: Slope beyond the outer points; zero: the outer point is the answer there.
    """
    values = [function(point) for point in points]
    if target <= values[0]:
        return points[0] - (values[0] - target) / tail_slope if tail_slope > 0.0 else points[0]
    for left, right, low, high in zip(points, points[1:], values, values[1:], strict=False):
        if target <= high:
            return left + (right - left) * ((target - low) / (high - low))
    return points[-1] + (target - values[-1]) / tail_slope if tail_slope > 0.0 else points[-1]


def respond(home: HomeParameters, state: SlotState, price_c_per_kwh: float) -> Response:
    """The exchange, battery energy and load shift that minimise the home's cost at a real-time price.

    Args:
        home: Devices, contract and curvatures.
        state: What the home knows at the start of the slot.
        price_c_per_kwh: u, the price added to every kWh imported (and taken from every kWh exported).

    Raises:
        InvalidHome: if the price is not finite.

    Source: thesis (6.2), (6.8) to (6.14), corrected: see mechanisms.md 1, errata 27 to 30, and 4.
    """
    if not abs(price_c_per_kwh) < float("inf"):
        raise InvalidHome("the real-time price is not finite")
    flexibility = _flexibility(home, state)
    points = flexibility.breakpoints()
    reward_slope = 2.0 * home.reward_curvature_c_per_kwh2

    def marginal(m: float) -> float:
        return m - reward_slope * (state.r_kwh - flexibility.total(m) - state.x_hat_kwh)

    def exchange(price: float) -> float:
        return state.r_kwh - flexibility.total(_root(marginal, points, price, 1.0))

    # x falls with the price: beyond x_m energy costs P_u, below it P_f, and between the two x_m is best.
    net_c = price_c_per_kwh - state.stored_value_c_per_kwh
    bought = exchange(net_c + state.price_up_c_per_kwh)
    sold = exchange(net_c + state.price_down_c_per_kwh)
    wanted = _clip(state.x_m_kwh, min(bought, sold), max(bought, sold))
    lowest = state.r_kwh - flexibility.cells.high_kwh - flexibility.loads.high_kwh
    highest = state.r_kwh - flexibility.cells.low_kwh - flexibility.loads.low_kwh
    # J is convex in x, so clipping its minimum to an interval gives the minimum on the interval. The devices'
    # interval comes last: it wins over programmes, and these over the contract.
    wanted = _clip(wanted, -home.contract_kwh, home.contract_kwh)
    if state.x_low_kwh is not None:
        wanted = max(wanted, state.x_low_kwh)
    if state.x_high_kwh is not None:
        wanted = min(wanted, state.x_high_kwh)
    x = _clip(wanted, lowest, highest)
    m = _root(flexibility.total, points, state.r_kwh - x, 0.0)
    battery, load = _split(flexibility, m, state.r_kwh - x)
    return Response(
        x_kwh=state.r_kwh - battery - load,
        battery_kwh=battery,
        flexible_kwh=load,
        contract_violated=lowest > home.contract_kwh or highest < -home.contract_kwh,
    )


def respond_to_peak(
    home: HomeParameters,
    state: SlotState,
    price_c_per_kwh: float,
    *,
    peak_c_per_kw: float,
    reached_kw: float,
) -> Response:
    """The best response where every kW of mean import above what has been reached has a price.

    The cost is convex, with one more kink at the import that was reached: below it the response is the plain
    one, above it the one at a price that is higher by ``peak / dt``, and between the two the kink is best.

    Args:
        home: Devices, contract and curvatures.
        state: What the home knows at the start of the slot.
        price_c_per_kwh: The real-time price.
        peak_c_per_kw: Price of a higher peak, c/kW, >= 0.
        reached_kw: Import that costs nothing more, kW.

    Raises:
        InvalidHome: if a price is not finite.

    Source: signals.md, "Standard events from an operator" (DEMAND_CHARGE).
    """
    free = respond(home, state, price_c_per_kwh)
    kink_kwh = reached_kw * SLOT_H
    if peak_c_per_kw <= 0.0 or free.x_kwh <= kink_kwh:
        return free
    dear = respond(home, state, price_c_per_kwh + peak_c_per_kw / SLOT_H)
    if dear.x_kwh >= kink_kwh:
        return dear
    return respond(home, replace(state, x_low_kwh=kink_kwh, x_high_kwh=kink_kwh), price_c_per_kwh)


def _flexibility(home: HomeParameters, state: SlotState) -> _Flexibility:
    target = state.e_target_kwh
    fixed = target is not None
    cells = battery_bounds(
        home.battery,
        e0_kwh=state.e0_kwh,
        s_hat_kwh=state.s_hat_kwh if target is None else state.e0_kwh - target,
        charge_allotment_kwh=0.0 if fixed else state.charge_allotment_kwh,
        discharge_allotment_kwh=0.0 if fixed else state.discharge_allotment_kwh,
        may_discharge=state.may_discharge,
    )
    return _Flexibility(
        slope=2.0 * home.curvature_c_per_kwh2,
        kink=home.linear_c_per_kwh,
        comfort=home.comfort_weight,
        planned=state.s_hat_kwh if home.battery is not None else 0.0,
        cells=cells,
        loads=flexible_bounds(home.flexible, e0_kwh=state.flexible_e0_kwh),
    )


def _split(flexibility: _Flexibility, m: float, total: float) -> tuple[float, float]:
    """Battery and load at marginal cost m; the battery takes the rounding error of the sum."""
    load = flexibility.load(m)
    return _clip(total - load, flexibility.cells.low_kwh, flexibility.cells.high_kwh), load


def set_point(
    home: HomeParameters,
    response: Response,
    *,
    done_battery_kwh: float,
    done_flexible_kwh: float,
    elapsed_s: float,
    slot_s: float = 600.0,
) -> SetPoint:
    """Powers that bring the slot's energies to the response by its end, within the devices' powers.

    Args:
        home: Devices.
        response: Energies wanted for the whole slot.
        done_battery_kwh: Battery energy since the start of the slot, kWh, + discharged.
        done_flexible_kwh: Shift since the start of the slot, kWh.
        elapsed_s: Time since the start of the slot, s.
        slot_s: Length of the slot, s.

    Returns:
        Powers in kW; both zero once the slot is over.

    Source: thesis (6.22), (6.23); errata 31.
    """
    left_h = (slot_s - elapsed_s) / 3600.0
    if left_h <= 0.0:
        return SetPoint(battery_kw=0.0, flexible_kw=0.0)
    battery_limit = home.battery.power_kw if home.battery is not None else 0.0
    flexible_limit = home.flexible.slot_limit_kwh / SLOT_H if home.flexible is not None else 0.0
    return SetPoint(
        battery_kw=_clip((response.battery_kwh - done_battery_kwh) / left_h, -battery_limit, battery_limit),
        flexible_kw=_clip(
            (response.flexible_kwh - done_flexible_kwh) / left_h, -flexible_limit, flexible_limit
        ),
    )


def curtail(
    home: HomeParameters,
    state: SlotState,
    *,
    export_bound_kw: float,
    load_kw: float,
    pv_kw: float,
    wanted: SetPoint,
    done_battery_kwh: float,
    done_flexible_kwh: float,
    elapsed_s: float,
    slot_s: float = 600.0,
) -> Curtailment:
    """Keep the net export below a bound for the rest of the slot: battery first, then flexible load, then PV.

    Battery and load move only as far as their bounds of the slot allow, spread over the time that is left.

    Args:
        home: Devices.
        state: The slot's state, for the bounds.
        export_bound_kw: Largest net export allowed, kW, >= 0.
        load_kw: Present load without flexibility, kW.
        pv_kw: Present production without a cut, kW.
        wanted: Powers the price alone would give.
        done_battery_kwh: Battery energy since the start of the slot, kWh, + discharged.
        done_flexible_kwh: Shift since the start of the slot, kWh.
        elapsed_s: Time since the start of the slot, s.
        slot_s: Length of the slot, s.

    Raises:
        InvalidHome: if the bound is negative or not finite.

    Source: signals.md, last resort; bounds of thesis (6.2).
    """
    if not 0.0 <= export_bound_kw < float("inf"):
        raise InvalidHome("an export bound is finite and not negative")
    lowest = set_point(
        home,
        _most_consumption(home, state),
        done_battery_kwh=done_battery_kwh,
        done_flexible_kwh=done_flexible_kwh,
        elapsed_s=elapsed_s,
        slot_s=slot_s,
    )
    excess = max(0.0, pv_kw - load_kw + wanted.battery_kw + wanted.flexible_kw - export_bound_kw)
    battery_kw = max(wanted.battery_kw - excess, min(lowest.battery_kw, wanted.battery_kw))
    excess = max(0.0, excess - (wanted.battery_kw - battery_kw))
    flexible_kw = max(wanted.flexible_kw - excess, min(lowest.flexible_kw, wanted.flexible_kw))
    room_kw = export_bound_kw + load_kw - battery_kw - flexible_kw
    limit_kw = max(0.0, room_kw)
    return Curtailment(
        set_point=SetPoint(battery_kw=battery_kw, flexible_kw=flexible_kw),
        pv_limit_kw=limit_kw,
        curtailed_kw=max(0.0, pv_kw - limit_kw),
        bound_kept=room_kw >= 0.0,
    )


def _most_consumption(home: HomeParameters, state: SlotState) -> Response:
    """Battery charged and load raised as far as the bounds of the slot allow."""
    devices = _flexibility(home, state)
    battery_kwh, flexible_kwh = devices.cells.low_kwh, devices.loads.low_kwh
    x_kwh = state.r_kwh - battery_kwh - flexible_kwh
    return Response(
        x_kwh=x_kwh,
        battery_kwh=battery_kwh,
        flexible_kwh=flexible_kwh,
        contract_violated=abs(x_kwh) > home.contract_kwh,
    )
