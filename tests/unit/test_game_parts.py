"""Bounds, aim, price grid, projection, prior slope and feedback by hand."""

from __future__ import annotations

from math import inf, nan

import pytest

from dso_engine.feedback import Feedback, Tightening
from dso_engine.game import (
    Aim,
    FlowBounds,
    Measured,
    Mode,
    PriceState,
    export_first,
    prior_slope_kw_per_c,
    project,
    stricter_kw,
    to_grid,
    worth_a_step,
)


def test_violation_is_signed() -> None:
    bounds = FlowBounds(c_lo_kw=-10.0, c_hi_kw=20.0)
    assert bounds.violation_kw(-13.0) == -3.0
    assert bounds.violation_kw(-10.0) == 0.0
    assert bounds.violation_kw(20.0) == 0.0
    assert bounds.violation_kw(20.5) == 0.5
    assert FlowBounds().violation_kw(-1e9) == 0.0


def test_empty_or_undefined_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        FlowBounds(c_lo_kw=1.0, c_hi_kw=0.0)
    with pytest.raises(ValueError, match="empty"):
        FlowBounds(c_lo_kw=nan)


def test_a_missing_measurement_is_not_a_number() -> None:
    for value in (nan, inf):
        with pytest.raises(ValueError, match="finite"):
            Measured(flow_kw=value, bounds=FlowBounds())


def test_gap_has_the_sign_of_the_price_change_wanted() -> None:
    aim = Aim(bounds=FlowBounds(c_lo_kw=-10.0, c_hi_kw=20.0), margin_kw=0.15)
    assert aim.gap_kw(0, -12.0) == pytest.approx(-2.15)  # too much export: u must fall
    assert aim.gap_kw(0, 21.0) == pytest.approx(1.15)  # too much import: u must rise
    assert aim.gap_kw(0, 5.0) == 0.0
    assert aim.gap_kw(-500, -8.0) == pytest.approx(1.85)  # over-controlled: back towards zero
    assert aim.gap_kw(500, 18.0) == pytest.approx(-1.85)
    assert Aim(bounds=FlowBounds(), margin_kw=0.15).gap_kw(-500, -8.0) == inf


def test_margin_never_crosses_narrow_bounds() -> None:
    aim = Aim(bounds=FlowBounds(c_lo_kw=-10.0, c_hi_kw=-9.9), margin_kw=0.15)
    assert aim.export_aim_kw == pytest.approx(-9.95)
    assert aim.import_aim_kw == pytest.approx(-9.95)


def test_price_grid_and_cap() -> None:
    assert to_grid(-3.14159, 60_000) == -3142
    assert to_grid(61.0, 60_000) == 60_000
    assert to_grid(-inf, 60_000) == -60_000
    assert PriceState(u_millicent=-3142).u_c_per_kwh == -3.142
    assert PriceState(mode=Mode.SATURATED).saturated


def test_projection() -> None:
    """Three minutes at 30 kW export, 12 kW for the remaining seven: (1.5 + 1.4) kWh * 6 = 17.4 kW."""
    assert project(e_done_kwh=-1.5, p_kw=-12.0, remaining_h=7.0 / 60.0) == pytest.approx(-17.4)
    assert project(e_done_kwh=2.0, p_kw=99.0, remaining_h=0.0) == pytest.approx(12.0)
    with pytest.raises(ValueError, match="outside a slot"):
        project(e_done_kwh=0.0, p_kw=0.0, remaining_h=0.2)


def test_prior_slope() -> None:
    """Eight homes, l = 20 c/kWh2: 8 / 20 kWh per c and slot = 2.4 kW per c."""
    assert prior_slope_kw_per_c(8, 5.0, 5.0) == pytest.approx(-2.4)
    assert prior_slope_kw_per_c(0, 5.0, 5.0) == 0.0
    with pytest.raises(ValueError, match="positive"):
        prior_slope_kw_per_c(8, 0.0, 0.0)


def feed(tightened_kw: float, ratio: float, *, obeys: bool = True, saturated: bool = False) -> float:
    return Feedback(gain=1.0).step(
        tightened_kw, bound_kw=-20.0, stress_ratio=ratio, obeys=obeys, saturated=saturated
    )


def test_feedback_tightens_in_proportion() -> None:
    """Limit exceeded by 2 %, bound 20 kW: 0.4 kW."""
    once = feed(0.0, 1.02)
    assert once == pytest.approx(0.4)
    assert feed(once, 1.02) == pytest.approx(0.8)
    bounds = Tightening(export_kw=once, import_kw=5.0).apply(FlowBounds(c_lo_kw=-20.0, c_hi_kw=50.0))
    assert bounds.c_lo_kw == pytest.approx(-19.6)
    assert bounds.c_hi_kw == pytest.approx(45.0)


def test_feedback_does_not_wind_up() -> None:
    assert feed(1.0, 1.5, obeys=False) == 1.0
    assert feed(1.0, 1.5, saturated=True) == 1.0
    assert feed(1.0, 0.97) == 1.0, "dead zone between the aim and the limit"
    assert feed(1.0, 0.93) == pytest.approx(0.6)
    assert feed(1.0, 0.5) == 0.0, "feedback never loosens a bound"
    held = 1.0
    for _ in range(50):
        held = feed(held, 1.2)
    assert held == pytest.approx(10.0), "at most half of the bound"
    assert Feedback().step(0.0, bound_kw=-inf, stress_ratio=1.2, obeys=True, saturated=False) == 0.0


def test_crossing_tightenings_meet_in_the_middle() -> None:
    tight = Tightening(export_kw=4.0, import_kw=2.0).apply(FlowBounds(c_lo_kw=-2.0, c_hi_kw=2.0))
    assert tight == FlowBounds(c_lo_kw=1.0, c_hi_kw=1.0)


def test_feedback_closes_a_model_error() -> None:
    """Plant 5 % worse than the model: stress = 0.05 * export * 1.05; the integral ends inside the limit."""
    tightened_kw, bounds = 0.0, FlowBounds(c_lo_kw=-20.0)
    for _ in range(30):
        flow_kw = Tightening(export_kw=tightened_kw).apply(bounds).c_lo_kw
        tightened_kw = Feedback().step(
            tightened_kw, bound_kw=-20.0, stress_ratio=-flow_kw * 0.05 * 1.05, obeys=True, saturated=False
        )
    assert tightened_kw == pytest.approx(20.0 - 20.0 / 1.05, rel=0.01)


def test_contradicting_bounds_keep_the_export_side() -> None:
    """Export must stay above -5.9 kW, import below -9.5 kW: only the first can be enforced."""
    assert export_first(c_lo_kw=-5.9, c_hi_kw=-9.5) == FlowBounds(c_lo_kw=-5.9)
    assert export_first(c_lo_kw=-5.9, c_hi_kw=3.0) == FlowBounds(c_lo_kw=-5.9, c_hi_kw=3.0)
    assert export_first(c_lo_kw=-inf, c_hi_kw=inf) == FlowBounds()


def test_the_stricter_of_energy_and_power_counts() -> None:
    """Export bound -10 kW: -8 projected, but -12 kW flow now; for an import bound the larger one counts."""
    export, imports = FlowBounds(c_lo_kw=-10.0), FlowBounds(c_hi_kw=10.0)
    assert stricter_kw(export, projected_kw=-8.0, p_kw=-12.0) == -12.0
    assert stricter_kw(export, projected_kw=-12.0, p_kw=-8.0) == -12.0
    assert stricter_kw(imports, projected_kw=8.0, p_kw=12.0) == 12.0
    assert stricter_kw(imports, projected_kw=12.0, p_kw=8.0) == 12.0
    both = FlowBounds(c_lo_kw=-10.0, c_hi_kw=20.0)
    assert stricter_kw(both, projected_kw=-8.0, p_kw=-12.0) == -12.0
    assert stricter_kw(both, projected_kw=15.0, p_kw=12.0) == 15.0


def test_near_the_end_a_price_is_only_made_stronger_and_then_stands() -> None:
    for seconds, inside, outside in ((100, True, True), (80, False, True), (30, False, False)):
        assert worth_a_step(remaining_h=seconds / 3600, violation_kw=0.0) is inside
        assert worth_a_step(remaining_h=seconds / 3600, violation_kw=-0.1) is outside
