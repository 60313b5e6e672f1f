"""Home energy manager against independent oracles: a fine grid search and an integer dynamic programme."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ven_client.hems.bounds import battery_bounds, flexible_bounds
from ven_client.hems.model import (
    Battery,
    FlexibleLoad,
    HomeParameters,
    Horizon,
    MarketLimits,
    RealtimeReserve,
    Series,
    Tariffs,
)
from ven_client.hems.plan import commit, offer
from ven_client.hems.program import Planner
from ven_client.hems.respond import SlotState, respond, set_point

UNIT_KWH = 0.1
"""Grid of the dynamic programme."""
PLANNER = Planner()
RESERVE = RealtimeReserve(charge_kwh=(0.05,) * 6, discharge_kwh=(0.05,) * 6, flexible_kwh=0.5)


def make_battery(power_units: int = 5) -> Battery:
    return Battery(
        capacity_kwh=6.0,
        power_kw=6 * power_units * UNIT_KWH,
        e_market_low_kwh=0.6,
        e_market_high_kwh=3.3,
        e_low_kwh=0.6,
        e_high_kwh=5.4,
        e_start_kwh=1.8,
        market_cycle_kwh=2.7,
        realtime_cycle_kwh=2.7,
    )


def make_home(
    battery: Battery | None,
    flexible: FlexibleLoad | None = None,
    *,
    a: float = 5.0,
    a_r: float = 5.0,
    b: float = 0.0,
    contract_kw: float = 9.0,
    tie: float = 0.0,
) -> HomeParameters:
    return HomeParameters(
        battery=battery,
        flexible=flexible,
        contract_kw=contract_kw,
        curvature_c_per_kwh2=a,
        reward_curvature_c_per_kwh2=a_r,
        linear_c_per_kwh=b,
        tie_break_c_per_kwh=tie,
    )


def slot_cost_c(grid_kwh: float, buy: float, sell: float) -> float:
    return grid_kwh * (buy if grid_kwh >= 0.0 else sell)


def dp_cost_c(gap: list[int], buy: Series, sell: Series, *, start: int, end: int, power: int) -> float:
    """Least bill by dynamic programming over stored energy in units; no cycle rows, end level met exactly."""
    low, high, contract = 6, 33, 15
    best = {start: 0.0}
    for d, b, a in zip(gap, buy, sell, strict=True):
        after: dict[int, float] = {}
        for e, cost in best.items():
            for s in range(-power, power + 1):
                x = d - s
                if not (low <= e - s <= high and min(0, d) <= x <= max(contract, d)):
                    continue
                total = cost + slot_cost_c(x * UNIT_KWH, b, a)
                if total < after.get(e - s, float("inf")):
                    after[e - s] = total
        best = after
    return best[end]


prices = st.integers(0, 30).map(float)
hours = st.integers(6, 12)


@st.composite
def days(draw: st.DrawFn, *, whole_units: bool) -> tuple[list[float], Series, Series, Series]:
    """Gap in units per slot, bid, ask, rebate."""
    slots = draw(hours)
    unit = st.integers(-8, 8).map(float) if whole_units else st.floats(-8.0, 8.0)
    column = st.lists(prices, min_size=slots, max_size=slots)
    gap = draw(st.lists(unit, min_size=slots, max_size=slots))
    rebate = draw(st.lists(st.sampled_from((0.0, 1.0, 2.0)), min_size=slots, max_size=slots))
    return gap, tuple(draw(column)), tuple(draw(column)), tuple(rebate)


def make_horizon(
    gap_kwh: list[float], *, e0: float = 1.8, end: float = 1.8, charge: float = 99.0, discharge: float = 99.0
) -> Horizon:
    return Horizon(
        load_kwh=tuple(max(0.0, g) + 0.2 for g in gap_kwh),
        pv_kwh=tuple(max(0.0, -g) + 0.2 for g in gap_kwh),
        e0_kwh=e0,
        e_end_kwh=end,
        charge_budget_kwh=charge,
        discharge_budget_kwh=discharge,
    )


def limits(bid: Series, ask: Series, rebate: Series) -> MarketLimits:
    return MarketLimits(bid_c_per_kwh=bid, ask_c_per_kwh=ask, rebate_c_per_kwh=rebate)


@given(day=days(whole_units=True), power=st.integers(1, 5), start=st.integers(6, 33))
@settings(max_examples=40, deadline=None)
def test_plan_costs_as_much_as_the_dynamic_programme(
    day: tuple[list[float], Series, Series, Series], power: int, start: int
) -> None:
    """Without cycle rows the matrix is a network matrix: the linear optimum is the integer one."""
    gap, bid, ask, rebate = day
    buy = tuple(b - r for b, r in zip(bid, rebate, strict=True))
    sell = tuple(map(min, ask, buy))
    end = start
    expected = dp_cost_c([int(g) for g in gap], buy, sell, start=start, end=end, power=power)
    home = make_home(make_battery(power))
    horizon = make_horizon([g * UNIT_KWH for g in gap], e0=start * UNIT_KWH, end=end * UNIT_KWH)
    plan = offer(PLANNER, home, horizon, limits(bid, ask, rebate))
    found = sum(
        slot_cost_c(g * UNIT_KWH - s, b, a)
        for g, s, b, a in zip(gap, plan.battery_kwh, buy, sell, strict=True)
    )
    # Costs are multiples of 0.1 c; 3.3 kWh as a float may start a hair above the range, with 1 mWh of room.
    assert found == pytest.approx(expected, abs=1e-4)
    assert plan.energy_kwh[-1] == pytest.approx(end * UNIT_KWH, abs=2e-6)


@given(
    day=days(whole_units=False),
    e0=st.floats(0.0, 6.0),
    end=st.floats(0.6, 3.3),
    charge=st.floats(-0.1, 2.7),
    discharge=st.floats(-0.1, 2.7),
    share=st.floats(0.0, 1.0),
    moved=st.floats(-0.5, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_whatever_clears_the_second_plan_exists_and_obeys_the_bounds(
    day: tuple[list[float], Series, Series, Series],
    e0: float,
    end: float,
    charge: float,
    discharge: float,
    share: float,
    moved: float,
) -> None:
    """Any share of the offer may clear and real time may have moved the battery: there is always a plan."""
    gap, bid, ask, rebate = day
    gap_kwh = [g * UNIT_KWH for g in gap]
    home = make_home(make_battery(), FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03), tie=1e-4)
    market = limits(bid, ask, rebate)
    before = make_horizon(gap_kwh, e0=e0, end=end, charge=charge, discharge=discharge)
    offered = offer(PLANNER, home, before, market)
    for volume, g, s in zip(offered.volume_wh, gap_kwh, offered.battery_kwh, strict=False):
        exact = (g - s) * 1000.0
        assert abs(volume) <= abs(exact) + 1e-3
        assert abs(volume - exact) < 1.0 + 1e-3
        assert volume >= min(0.0, g * 1000.0) - 1e-3

    cleared = tuple(int(v * share) for v in offered.volume_wh)
    tariffs = Tariffs(supplier_c_per_kwh=tuple(b + 5.0 for b in bid), feed_in_c_per_kwh=bid)
    e0_now = min(max(e0 + moved, 0.0), 6.0)
    after = make_horizon(gap_kwh, e0=e0_now, end=end, charge=charge, discharge=discharge)
    plan = commit(PLANNER, home, after, tariffs, market, cleared, RESERVE)
    energy = np.array((e0_now, *plan.energy_kwh))
    battery = np.array(plan.battery_kwh)
    assert -np.diff(energy) == pytest.approx(battery, abs=1e-12)
    assert energy.max() <= max(3.3, e0_now) + 1e-9
    assert energy.min() >= min(0.6, e0_now) - 1e-9
    assert np.abs(battery).max() <= 0.5 + 1e-6
    assert np.maximum(-battery, 0.0).sum() <= max(0.0, charge) + 1e-6
    assert np.maximum(battery, 0.0).sum() <= max(0.0, discharge) + 1e-6
    for grid, up, down, g, s in zip(
        plan.grid_energy_wh, plan.flexibility_up_w, plan.flexibility_down_w, gap_kwh, battery, strict=False
    ):
        assert abs(grid - (g - s) * 1000.0) <= 0.5 + 1e-6
        assert up >= 0
        assert down >= 0


@given(day=days(whole_units=False), end=st.floats(0.7, 3.2))
@settings(max_examples=30, deadline=None)
def test_a_fully_cleared_offer_is_delivered_to_the_watt_hour(
    day: tuple[list[float], Series, Series, Series], end: float
) -> None:
    """All that was offered clears: sales leave the home and purchases enter it, but for the rounding."""
    gap, bid, ask, rebate = day
    gap_kwh = [g * UNIT_KWH for g in gap]
    home = make_home(make_battery(), tie=1e-4)
    market = limits(bid, ask, rebate)
    horizon = make_horizon(gap_kwh, end=end)
    offered = offer(PLANNER, home, horizon, market)
    tariffs = Tariffs(supplier_c_per_kwh=(100.0,) * len(gap), feed_in_c_per_kwh=(-100.0,) * len(gap))
    plan = commit(PLANNER, home, horizon, tariffs, market, offered.volume_wh, RESERVE)
    for grid, volume in zip(plan.grid_energy_wh, offered.volume_wh, strict=True):
        assert abs(grid - volume) <= 7


small = st.floats(-0.6, 0.6)
share_kwh = st.one_of(st.just(0.0), st.floats(0.0, 0.6))


@st.composite
def cases(draw: st.DrawFn) -> tuple[HomeParameters, SlotState]:
    battery = draw(st.sampled_from((None, make_battery())))
    flexible = draw(st.sampled_from((None, FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.1))))
    home = make_home(
        battery,
        flexible,
        a=draw(st.floats(0.5, 20.0)),
        a_r=draw(st.one_of(st.just(0.0), st.floats(0.5, 20.0))),
        b=draw(st.one_of(st.just(0.0), st.floats(0.1, 5.0))),
        contract_kw=draw(st.sampled_from((1.2, 9.0))),
    )
    down = draw(st.floats(-5.0, 15.0))
    return home, SlotState(
        r_kwh=draw(small),
        s_hat_kwh=draw(small),
        x_hat_kwh=draw(small),
        x_m_kwh=draw(small),
        price_up_c_per_kwh=down + draw(st.one_of(st.just(0.0), st.floats(0.0, 10.0))),
        price_down_c_per_kwh=down,
        e0_kwh=draw(st.floats(0.6, 5.4)),
        stored_value_c_per_kwh=draw(st.one_of(st.just(0.0), st.floats(-5.0, 20.0))),
        charge_allotment_kwh=draw(share_kwh),
        discharge_allotment_kwh=draw(share_kwh),
        flexible_e0_kwh=draw(st.floats(0.0, 1.0)),
    )


def intervals(home: HomeParameters, state: SlotState) -> tuple[tuple[float, float], tuple[float, float]]:
    cells = battery_bounds(
        home.battery,
        e0_kwh=state.e0_kwh,
        s_hat_kwh=state.s_hat_kwh,
        charge_allotment_kwh=state.charge_allotment_kwh,
        discharge_allotment_kwh=state.discharge_allotment_kwh,
    )
    loads = flexible_bounds(home.flexible, e0_kwh=state.flexible_e0_kwh)
    return (cells.low_kwh, cells.high_kwh), (loads.low_kwh, loads.high_kwh)


def cost_c(
    home: HomeParameters, state: SlotState, u: float, s_b: NDArray[np.float64], s_l: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The home's cost as chapter 6 states it (corrected), for any use of the devices."""
    x = state.r_kwh - s_b - s_l
    off = s_b - (state.s_hat_kwh if home.battery is not None else 0.0)
    wear = home.curvature_c_per_kwh2 * (off**2 + s_l**2)
    wear = wear + home.linear_c_per_kwh * (np.abs(off) + np.abs(s_l))
    wear = wear + state.stored_value_c_per_kwh * (off + s_l)
    reward = home.reward_curvature_c_per_kwh2 * (x - state.x_hat_kwh) ** 2
    price = np.where(x >= state.x_m_kwh, state.price_up_c_per_kwh, state.price_down_c_per_kwh)
    return np.asarray(wear + reward + price * (x - state.x_m_kwh) + u * x)


@given(case=cases(), u=st.floats(-60.0, 60.0))
@settings(max_examples=150, deadline=None)
def test_response_is_at_least_as_good_as_a_fine_grid(
    case: tuple[HomeParameters, SlotState], u: float
) -> None:
    home, state = case
    (s_low, s_high), (l_low, l_high) = intervals(home, state)
    response = respond(home, state, u)
    assert response.x_kwh + response.battery_kwh + response.flexible_kwh == pytest.approx(
        state.r_kwh, abs=1e-12
    )
    assert s_low <= response.battery_kwh <= s_high
    assert l_low <= response.flexible_kwh <= l_high

    s_b, s_l = np.meshgrid(np.linspace(s_low, s_high, 201), np.linspace(l_low, l_high, 101))
    # The kink of the price is a line of the grid too: without it the grid would miss minima on it.
    kink = np.clip(state.r_kwh - state.x_m_kwh - s_l[:, 0], s_low, s_high)
    s_b = np.hstack([s_b, kink[:, None]])
    s_l = np.hstack([s_l, s_l[:, :1]])
    x = state.r_kwh - s_b - s_l
    allowed = np.abs(x) <= home.contract_kwh + 1e-12
    if response.contract_violated:
        # Nothing keeps the contract with room to spare: the exchange is the one nearest to it.
        assert not (np.abs(x) <= home.contract_kwh - 1e-12).any()
        assert abs(response.x_kwh) == pytest.approx(float(np.abs(x).min()))
        return
    assert abs(response.x_kwh) <= home.contract_kwh + 1e-12
    found = float(cost_c(home, state, u, np.array(response.battery_kwh), np.array(response.flexible_kwh)))
    costs = np.where(allowed, cost_c(home, state, u, s_b, s_l), np.inf)
    assert found <= float(costs.min()) + 1e-9


@given(case=cases(), first=st.floats(-60.0, 60.0), second=st.floats(-60.0, 60.0))
@settings(max_examples=150, deadline=None)
def test_a_higher_price_never_raises_the_exchange(
    case: tuple[HomeParameters, SlotState], first: float, second: float
) -> None:
    """What the safeguarded search of the DSO relies on; the slope is at most 1 / (2 (a / n + a_r))."""
    home, state = case
    low, high = sorted((first, second))
    before, after = respond(home, state, low).x_kwh, respond(home, state, high).x_kwh
    assert after <= before + 1e-12
    devices = (home.battery is not None) + (home.flexible is not None)
    if devices:
        slope = 1.0 / (2.0 * (home.curvature_c_per_kwh2 / devices + home.reward_curvature_c_per_kwh2))
        assert before - after <= slope * (high - low) + 1e-9


@given(case=cases(), prices_seen=st.lists(st.floats(-60.0, 60.0), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_following_the_set_points_ends_the_slot_where_wanted(
    case: tuple[HomeParameters, SlotState], prices_seen: list[float]
) -> None:
    """The price moves in the first minute only; the energy of the slot is the response to the last price."""
    home, state = case
    done_b = done_l = 0.0
    for k in range(60):
        response = respond(home, state, prices_seen[min(k, len(prices_seen) - 1)])
        powers = set_point(
            home, response, done_battery_kwh=done_b, done_flexible_kwh=done_l, elapsed_s=10.0 * k
        )
        if home.battery is not None:
            assert abs(powers.battery_kw) <= home.battery.power_kw
        done_b += powers.battery_kw / 360.0
        done_l += powers.flexible_kw / 360.0
    # A target at full power cannot make up for the first minute: at most its energy twice is missing.
    assert abs(done_b - response.battery_kwh) <= 2.0 * 3.0 / 60.0 + 1e-9
    if abs(response.battery_kwh) <= 0.3:
        assert done_b == pytest.approx(response.battery_kwh, abs=1e-9)
