"""The response under programmes, against a search on a grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.home.rig import PARAMETERS
from ven_client.hems.bounds import battery_bounds, flexible_bounds
from ven_client.hems.model import SLOT_H
from ven_client.hems.respond import SlotState, respond, respond_to_peak
from ven_client.programmes import Situation, water_level_kw
from ven_client.slot_response import Progress, slot_response

BATTERY, FLEXIBLE = PARAMETERS.battery, PARAMETERS.flexible
assert BATTERY is not None
assert FLEXIBLE is not None

numbers = st.floats(-0.6, 0.6).map(lambda x: round(x, 4))
states = st.builds(
    SlotState,
    r_kwh=numbers,
    s_hat_kwh=numbers,
    x_hat_kwh=numbers,
    x_m_kwh=numbers,
    price_up_c_per_kwh=st.floats(10, 30),
    price_down_c_per_kwh=st.floats(0, 10),
    stored_value_c_per_kwh=st.floats(5, 15),
    e0_kwh=st.floats(0.6, 5.4),
    charge_allotment_kwh=st.floats(0, 0.5),
    discharge_allotment_kwh=st.floats(0, 0.5),
    flexible_e0_kwh=st.floats(0, 1),
)


def cost(state: SlotState, x: float, price: float, peak: float, reached: float) -> float:
    """J(x) of :mod:`ven_client.hems.respond`, minimised over the split on a grid."""
    h = PARAMETERS
    cells = battery_bounds(
        h.battery,
        e0_kwh=state.e0_kwh,
        s_hat_kwh=state.s_hat_kwh,
        charge_allotment_kwh=state.charge_allotment_kwh,
        discharge_allotment_kwh=state.discharge_allotment_kwh,
    )
    loads = flexible_bounds(h.flexible, e0_kwh=state.flexible_e0_kwh)
    load = np.linspace(loads.low_kwh, loads.high_kwh, 241)
    cell = state.r_kwh - x - load
    fits = (cell >= cells.low_kwh - 1e-9) & (cell <= cells.high_kwh + 1e-9)
    if not fits.any():
        return float("inf")
    a, b, v = h.curvature_c_per_kwh2, h.linear_c_per_kwh, state.stored_value_c_per_kwh
    off = cell - state.s_hat_kwh
    devices = a * off**2 + b * abs(off) + a * load**2 + b * abs(load) + v * (off + load)
    y = x - state.x_m_kwh
    bill = (state.price_up_c_per_kwh if y >= 0 else state.price_down_c_per_kwh) * y
    reward = h.reward_curvature_c_per_kwh2 * (x - state.x_hat_kwh) ** 2
    above = peak * max(0.0, x / SLOT_H - reached)
    return float(np.min(devices[fits])) + bill + reward + price * x + above


@settings(max_examples=60, deadline=None)
@given(state=states, price=st.floats(-20, 20), peak=st.floats(0, 50), reached=st.floats(0, 4))
def test_no_exchange_is_cheaper_under_a_peak_price(
    state: SlotState, price: float, peak: float, reached: float
) -> None:
    answer = respond_to_peak(PARAMETERS, state, price, peak_c_per_kw=peak, reached_kw=reached)
    mine = cost(state, answer.x_kwh, price, peak, reached)
    reach = np.linspace(answer.x_kwh - 1.0, answer.x_kwh + 1.0, 401)
    contract = PARAMETERS.contract_kwh
    best = min(cost(state, float(x), price, peak, reached) for x in reach if abs(x) <= contract)
    assert mine <= best + 1e-3


@settings(max_examples=100, deadline=None)
@given(state=states, price=st.floats(-20, 20), low=st.floats(-1, 1), width=st.floats(0, 0.5))
def test_limits_are_kept_as_far_as_the_devices_can(
    state: SlotState, price: float, low: float, width: float
) -> None:
    limited = replace(state, x_low_kwh=low, x_high_kwh=low + width)
    free, answer = respond(PARAMETERS, state, price), respond(PARAMETERS, limited, price)
    assert abs(answer.x_kwh + answer.battery_kwh + answer.flexible_kwh - state.r_kwh) < 1e-9
    if low <= free.x_kwh <= low + width:
        assert answer == free
    elif not low - 1e-9 <= answer.x_kwh <= low + width + 1e-9:
        # beyond reach: the end of the devices' own range that is nearest
        extreme = respond(
            PARAMETERS,
            replace(
                state,
                x_low_kwh=9.0 if answer.x_kwh < low else None,
                x_high_kwh=None if answer.x_kwh < low else -9.0,
            ),
            price,
        )
        assert abs(extreme.x_kwh - answer.x_kwh) < 1e-9


@settings(max_examples=100, deadline=None)
@given(state=states, target=st.floats(0, 6), high=st.none() | st.floats(-3, 3))
def test_a_battery_target_is_approached_and_yields_to_limits(
    state: SlotState, target: float, high: float | None
) -> None:
    wanted = Situation(high_kw=high, stored_kwh=target)
    progress = Progress(exchanged_kwh=0.0, left_h=SLOT_H, reached_kw=0.0)
    changed, answer = slot_response(PARAMETERS, state, wanted, 0.0, progress)
    left = state.e0_kwh - answer.battery_kwh
    assert BATTERY is not None
    if changed.e_target_kwh is not None:
        nearest = min(max(target, BATTERY.e_low_kwh), BATTERY.e_high_kwh)
        step = min(abs(nearest - state.e0_kwh), BATTERY.slot_limit_kwh)
        assert abs(abs(left - state.e0_kwh) - step) < 1e-9
    else:
        assert high is not None
    if high is not None:
        most = respond(PARAMETERS, replace(changed, e_target_kwh=None, x_high_kwh=-9.0), 0.0)
        assert answer.x_kwh <= max(high * SLOT_H, most.x_kwh) + 1e-9


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.floats(-0.5, 1.0), max_size=8),
    energy=st.floats(0, 3),
    power=st.floats(0.1, 6),
)
def test_the_water_level_is_the_lowest_that_holds(gaps: list[float], energy: float, power: float) -> None:
    def holds(level_kw: float) -> bool:
        above = [max(0.0, gap - level_kw * SLOT_H) for gap in gaps]
        return sum(above) <= energy + 1e-9 and max(above, default=0.0) <= power * SLOT_H + 1e-9

    level = water_level_kw(gaps, energy, power)
    assert level >= 0.0
    assert holds(level)
    assert level == 0.0 or not holds(level - 1e-4)
