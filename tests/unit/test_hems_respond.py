"""The real-time response: hand-computed cases, errata 27 to 31, set points and curtailment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ven_client.hems.bounds import battery_bounds, flexible_bounds
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters, InvalidHome, InvalidPrices
from ven_client.hems.respond import (
    Response,
    SetPoint,
    SlotState,
    curtail,
    realtime_allotment,
    respond,
    set_point,
)

BATTERY = Battery(
    capacity_kwh=6.0,
    power_kw=3.0,
    e_market_low_kwh=0.6,
    e_market_high_kwh=3.3,
    e_low_kwh=0.6,
    e_high_kwh=5.4,
    e_start_kwh=1.8,
    market_cycle_kwh=2.7,
    realtime_cycle_kwh=2.7,
)
HOME = HomeParameters(
    battery=BATTERY,
    flexible=None,
    contract_kw=9.0,
    curvature_c_per_kwh2=5.0,
    reward_curvature_c_per_kwh2=5.0,
    linear_c_per_kwh=0.0,
    tie_break_c_per_kwh=1e-4,
)
LOAD = FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03)
STATE = SlotState(
    r_kwh=-0.5,
    s_hat_kwh=-0.1,
    x_hat_kwh=-0.4,
    x_m_kwh=-0.4,
    price_up_c_per_kwh=15.0,
    price_down_c_per_kwh=10.0,
    e0_kwh=2.0,
    charge_allotment_kwh=10.0,
    discharge_allotment_kwh=10.0,
    flexible_e0_kwh=0.5,
)


def test_inside_the_price_kink_nothing_moves() -> None:
    """At x_m the marginal price jumps from 10 to 15: u between -15 and -10 leaves the plan alone."""
    for u in (-15.0, -12.0, -10.0):
        assert respond(HOME, STATE, u).x_kwh == pytest.approx(-0.4)


def test_hand_computed_interior_point() -> None:
    """2a (s - s_hat) = 2 a_r (x - x_hat) + P + u with both sides moving by d: -20 d = P + u.

    u = -20 with P_u = 15: d = 0.25, x = -0.15, s = -0.35. u = -7 with P_f = 10: d = -0.15, x = -0.55.
    """
    up = respond(HOME, STATE, -20.0)
    assert (up.x_kwh, up.battery_kwh) == pytest.approx((-0.15, -0.35))
    down = respond(HOME, STATE, -7.0)
    assert (down.x_kwh, down.battery_kwh) == pytest.approx((-0.55, 0.05))


def test_load_shares_with_battery_by_equal_marginal_cost() -> None:
    """No reward: marginal 2a s_l = 2a (s_b - s_hat) = P + u = -0.2 -> 0.02 kWh each."""
    home = replace(HOME, flexible=LOAD, reward_curvature_c_per_kwh2=0.0)
    response = respond(home, STATE, -15.2)
    assert response.flexible_kwh == pytest.approx(-0.02)
    assert response.battery_kwh == pytest.approx(-0.12)
    assert response.x_kwh == pytest.approx(-0.36)
    assert respond(home, STATE, -16.0).flexible_kwh == -0.03


def test_errata_27_a_linear_cost_never_pays_for_charging() -> None:
    """b |s - s_hat| opens a dead band of the same width on both sides; (6.3) as printed would shift it."""
    home = replace(HOME, linear_c_per_kwh=2.0)
    assert respond(home, STATE, -17.0).battery_kwh == pytest.approx(-0.1)
    assert respond(home, STATE, -8.0).battery_kwh == pytest.approx(-0.1)
    assert respond(home, STATE, -18.0).battery_kwh == pytest.approx(-0.15)
    assert respond(home, STATE, -7.0).battery_kwh == pytest.approx(-0.05)


def test_a_home_with_a_sense_of_what_stored_energy_is_worth_rests_at_zero_price() -> None:
    """v between P_f and P_u, b half their gap: nothing moves at u = 0, but beyond b - |v - P| it does."""
    home = replace(HOME, flexible=LOAD, linear_c_per_kwh=2.5)
    state = replace(STATE, stored_value_c_per_kwh=12.5)
    rest = respond(home, state, 0.0)
    assert (rest.battery_kwh, rest.flexible_kwh) == pytest.approx((state.s_hat_kwh, 0.0))
    assert respond(home, state, -4.9).battery_kwh == pytest.approx(state.s_hat_kwh)
    assert respond(home, state, -5.5).battery_kwh < state.s_hat_kwh
    # Without a value it sells its reserve for the feed-in tariff, as far as the bounds of the slot let it.
    assert respond(HOME, STATE, 0.0).battery_kwh > STATE.s_hat_kwh


def test_errata_28_battery_cost_depends_on_what_is_left_of_the_gap() -> None:
    """With a forecast error of 0.2 and no net price, battery and grid share it by a and a_r."""
    state = replace(STATE, r_kwh=-0.3, price_up_c_per_kwh=0.0, price_down_c_per_kwh=0.0)
    response = respond(replace(HOME, curvature_c_per_kwh2=15.0), state, 0.0)
    assert response.battery_kwh == pytest.approx(-0.1 + 0.05)
    assert response.x_kwh == pytest.approx(-0.4 + 0.15)


def test_errata_29_feed_in_above_supplier_is_refused() -> None:
    with pytest.raises(InvalidPrices, match="exceeds"):
        replace(STATE, price_down_c_per_kwh=15.01)


def test_errata_30_the_battery_wins_over_the_contract() -> None:
    """Surplus of 2 kWh, contract 1.5 kWh, charging limited to 0.3 kWh: 1.7 kWh leave the home, flagged."""
    state = replace(STATE, r_kwh=-2.0, charge_allotment_kwh=0.2)
    response = respond(HOME, state, 0.0)
    assert response.x_kwh == pytest.approx(-1.7)
    assert response.battery_kwh == pytest.approx(-0.3)
    assert response.contract_violated


def test_the_contract_holds_where_the_battery_can_keep_it() -> None:
    response = respond(HOME, replace(STATE, r_kwh=-1.9), 60.0)
    assert response.x_kwh == pytest.approx(-1.5)
    assert response.battery_kwh == pytest.approx(-0.4)
    assert not response.contract_violated


def test_without_devices_the_gap_goes_to_the_grid() -> None:
    response = respond(replace(HOME, battery=None), STATE, -60.0)
    assert response == Response(x_kwh=-0.5, battery_kwh=0.0, flexible_kwh=0.0, contract_violated=False)


def test_a_price_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidHome, match="finite"):
        respond(HOME, STATE, float("nan"))


@pytest.mark.parametrize(
    ("e0", "s_hat", "charge", "discharge", "expected"),
    [
        (2.0, -0.1, 0.05, 0.02, (-0.15, -0.08)),
        (5.3, -0.1, 0.05, 0.02, (-0.1, -0.08)),
        (0.65, 0.1, 0.0, 0.5, (0.05, 0.05)),
        (2.0, 0.0, 9.0, 9.0, (-0.5, 0.5)),
        (5.5, -0.2, 0.1, 0.1, (0.1, 0.1)),
        (6.0, 0.0, 0.0, 0.0, (0.5, 0.5)),
    ],
)
def test_battery_bounds(
    e0: float, s_hat: float, charge: float, discharge: float, expected: tuple[float, float]
) -> None:
    """Share of the cycle, upper level, lower level, power, plan out of reach, level out of range."""
    bounds = battery_bounds(
        BATTERY, e0_kwh=e0, s_hat_kwh=s_hat, charge_allotment_kwh=charge, discharge_allotment_kwh=discharge
    )
    assert (bounds.low_kwh, bounds.high_kwh) == pytest.approx(expected)


def test_flexible_bounds_follow_the_state() -> None:
    for e0, low, high in ((0.5, -0.03, 0.03), (0.01, -0.03, 0.01), (0.98, -0.02, 0.03)):
        bounds = flexible_bounds(LOAD, e0_kwh=e0)
        assert (bounds.low_kwh, bounds.high_kwh) == pytest.approx((low, high))


def test_allotment_follows_production_and_adds_up() -> None:
    day = (0.0,) * 60 + (1.0, 3.0) + (0.0,) * 82
    assert realtime_allotment(day, 61, 2.0) == (1.5, 1.5)
    assert realtime_allotment(day, 0, 2.0) == (0.0, 0.0)
    assert sum(realtime_allotment(day, k, 2.0)[0] for k in range(144)) == pytest.approx(2.0)
    assert realtime_allotment((0.0,) * 144, 3, 1.44) == pytest.approx((0.01, 0.01))
    with pytest.raises(InvalidHome, match="outside"):
        realtime_allotment(day, 144, 1.0)
    with pytest.raises(InvalidHome, match="negative"):
        realtime_allotment(day, 0, -1.0)


def test_errata_31_set_point_catches_up() -> None:
    """A third of the slot went by idle: 0.3 kWh in the 400 s left are 2.7 kW; at 590 s power limits."""
    response = Response(x_kwh=0.0, battery_kwh=-0.3, flexible_kwh=0.02, contract_violated=False)
    home = replace(HOME, flexible=LOAD)
    start = set_point(home, response, done_battery_kwh=0.0, done_flexible_kwh=0.0, elapsed_s=0.0)
    assert (start.battery_kw, start.flexible_kw) == pytest.approx((-1.8, 0.12))
    later = set_point(home, response, done_battery_kwh=0.0, done_flexible_kwh=0.01, elapsed_s=200.0)
    assert (later.battery_kw, later.flexible_kw) == pytest.approx((-2.7, 0.09))
    late = set_point(home, response, done_battery_kwh=0.0, done_flexible_kwh=0.0, elapsed_s=590.0)
    assert (late.battery_kw, late.flexible_kw) == pytest.approx((-3.0, 0.18))
    over = set_point(home, response, done_battery_kwh=0.0, done_flexible_kwh=0.0, elapsed_s=600.0)
    assert (over.battery_kw, over.flexible_kw) == pytest.approx((0.0, 0.0))


def test_curtailment_charges_first_then_cuts() -> None:
    """Export 4 - 1 = 3 kW, bound 1 kW: charging may take 0.12 kWh in 300 s = 1.44 kW, PV loses 0.56 kW."""
    state = replace(STATE, s_hat_kwh=0.0, charge_allotment_kwh=0.12)
    result = curtail(
        HOME, state, export_bound_kw=1.0, load_kw=1.0, pv_kw=4.0, done_battery_kwh=0.0,
        wanted=SetPoint(battery_kw=0.0, flexible_kw=0.0), done_flexible_kwh=0.0, elapsed_s=300.0,
    )  # fmt: skip
    assert result.set_point.battery_kw == pytest.approx(-1.44)
    assert result.pv_limit_kw == pytest.approx(3.44)
    assert result.curtailed_kw == pytest.approx(0.56)
    assert result.bound_kept


def test_curtailment_leaves_a_home_below_the_bound_alone() -> None:
    wanted = SetPoint(battery_kw=-0.5, flexible_kw=0.0)
    result = curtail(
        HOME, STATE, export_bound_kw=2.0, load_kw=1.0, pv_kw=2.0, wanted=wanted,
        done_battery_kwh=0.0, done_flexible_kwh=0.0, elapsed_s=0.0,
    )  # fmt: skip
    assert result.set_point == wanted
    assert result.curtailed_kw == 0.0
    assert result.pv_limit_kw == pytest.approx(3.5)


def test_curtailment_says_when_the_bound_cannot_be_kept() -> None:
    """A battery above its upper level must discharge: even without production the home exports."""
    state = replace(STATE, e0_kwh=5.7, s_hat_kwh=0.3)
    result = curtail(
        HOME, state, export_bound_kw=0.0, load_kw=0.2, pv_kw=1.0, done_battery_kwh=0.0,
        wanted=SetPoint(battery_kw=1.8, flexible_kw=0.0), done_flexible_kwh=0.0, elapsed_s=0.0,
    )  # fmt: skip
    assert result.pv_limit_kw == 0.0
    assert result.curtailed_kw == 1.0
    assert not result.bound_kept
    with pytest.raises(InvalidHome, match="bound"):
        curtail(
            HOME, state, export_bound_kw=-1.0, load_kw=0.2, pv_kw=1.0, done_battery_kwh=0.0,
            wanted=SetPoint(battery_kw=0.0, flexible_kw=0.0), done_flexible_kwh=0.0, elapsed_s=0.0,
        )  # fmt: skip
