"""Single steps of the laws by hand, and curves made to break a search."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from dso_engine.game import CAP_MILLICENT, Aim, FlowBounds, Measured, Mode, PriceState
from dso_engine.secant import SecantLaw
from dso_engine.thesis_law import ThesisLaw


def test_homes_that_never_move_saturate_and_cost_nothing() -> None:
    """No home answers at all: flagged, and the price returns to zero, where the flow is the same."""
    law = SecantLaw()
    state: PriceState = law.start(slope_kw_per_c=0.0)
    modes = []
    for _ in range(10):
        state = law.step(state, Measured(flow_kw=-20.0, bounds=FlowBounds(c_lo_kw=-10.0)))
        modes.append(state.mode)
    assert modes[-1] is Mode.SATURATED
    assert state.u_millicent == 0
    assert modes.index(Mode.SATURATED) <= 6
    assert all(m is Mode.SATURATED for m in modes[modes.index(Mode.SATURATED) :]), "the flag stays"


def test_cap_saturates() -> None:
    """Homes that still move at the cap: u = -1 c moves 0.1 kW, 10 kW are missing, the cap buys 6 of them."""
    law = SecantLaw()
    state: PriceState = law.start(slope_kw_per_c=-1.0)
    bounds = FlowBounds(c_lo_kw=-10.0)
    for _ in range(8):
        state = law.step(state, Measured(flow_kw=-20.0 - 0.1 * state.u_c_per_kwh, bounds=bounds))
    assert state.saturated
    assert state.u_millicent == -CAP_MILLICENT


def test_thesis_iteration_by_hand() -> None:
    """A = sigma = -6 kWh, lambda = 0, C = [-4, inf), eps = 0.5: lambda moves by .5 (2 A - x0) - .5 A = -1."""
    law = ThesisLaw(eps=0.5)
    state = law.start(slope_kw_per_c=-6.0)
    aim = Aim(bounds=FlowBounds(c_lo_kw=-24.0), margin_kw=0.0)
    sigma, lam = law.iterate(state, aim, -36.0)
    assert sigma == pytest.approx(-6.0)
    assert lam == pytest.approx(-1.0)
    assert state.k_c_per_kwh2 == pytest.approx(1.0)
    half = ThesisLaw(eps=0.5, alpha=0.5).iterate(replace(state, sigma_kwh=-3.0, lambda_kwh=2.0), aim, -36.0)
    # w = ((-3 - 3) / 1.5, 2 + 0.5 (-12 - (-1)) - 0.5 (-4)) = (-4, -1.5); half way from (-3, 2): (-3.5, 0.25)
    assert half == pytest.approx((-3.5, 0.25))


def test_a_state_of_another_law_is_refused() -> None:
    seen = Measured(flow_kw=0.0, bounds=FlowBounds(c_hi_kw=inf))
    with pytest.raises(TypeError, match="another law"):
        SecantLaw().step(ThesisLaw().start(slope_kw_per_c=1.0), seen)
    with pytest.raises(TypeError, match="another law"):
        ThesisLaw().step(SecantLaw().start(slope_kw_per_c=1.0), seen)


def test_a_step_across_zero_stops_at_zero() -> None:
    """A = sigma = -6 kWh, lambda = 0, C = [-4, inf), eps = 0.5: lambda moves .5 (2 A - x0) - .5 A = -1."""
    law = SecantLaw()
    state = replace(law.start(slope_kw_per_c=1.0), u_millicent=-1_000)
    state = law.step(state, Measured(flow_kw=-10.0, bounds=FlowBounds(c_lo_kw=-20.0)))
    assert state.u_millicent == 0


def cliff_kw(u_c: float) -> float:
    """-200 kW down to u = -20 c, within 0.2 c up to 1 kW above a bound at 0: chords creep, secants leave."""
    return min(max(-200.0 + (-20.0 - u_c) * 1005.0, -200.0), 1.0)


def test_bisection_bounds_the_worst_case() -> None:
    def steps(every: int) -> int:
        law = SecantLaw(bisect_every=every)
        state: PriceState = law.start(slope_kw_per_c=100.0)
        for k in range(200):
            state = law.step(
                state, Measured(flow_kw=cliff_kw(state.u_c_per_kwh), bounds=FlowBounds(c_lo_kw=0.0))
            )
            if state.mode is Mode.HOLD:
                return k + 1
        return 200

    assert steps(4) <= 40
    assert steps(1_000_000) > steps(4)


def test_thesis_multiplier_stops_at_the_cap() -> None:
    """Homes that still move at the cap, the bound out of reach: lambda must not store what cannot be paid."""
    law = ThesisLaw()
    state = law.start(slope_kw_per_c=-1.0)
    for _ in range(400):
        seen = Measured(flow_kw=-30.0 - 0.1 * state.u_c_per_kwh, bounds=FlowBounds(c_lo_kw=-10.0))
        state = law.step(state, seen)
    assert state.saturated
    assert state.u_millicent == -CAP_MILLICENT
    assert abs(state.lambda_kwh * state.k_c_per_kwh2) <= 60.0 + 1e-9
