"""Bounds: kept, they keep every limit; they ask for no more than needed and of nobody who does not matter."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.bounds import (
    Direction,
    PccBound,
    clip_to_reachable,
    directions_at_risk,
    find_bounds,
    overshoot,
)
from dso_engine.errors import SolversDisagree
from dso_engine.feeder import Network, load_network, with_model_error
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import FloatArray, Limits, Pcc, Phase
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import Injections, violations

RURAL = Path(__file__).parents[2] / "config" / "networks" / "lv_50h_rural.json"
LIMITS = Limits()
PV_ONLY_NOT = np.array([k % 5 == 0 for k in range(50)])
BATTERY = np.array([k % 2 == 0 for k in range(50)])


@cache
def rural() -> Network:
    return load_network(RURAL)


@cache
def fast() -> FixedPoint:
    return FixedPoint(rural())


@cache
def record() -> PandapowerFlow:
    return PandapowerFlow(rural())


def homes(p_kw: FloatArray) -> Injections:
    return Injections(p_kw=p_kw, q_kvar=np.full(50, 0.16), phase=rural().home_phase)


def sunny(pv_kw: float) -> Injections:
    """Four homes in five export; 0.4 kW of load in each."""
    return homes(0.4 - pv_kw * ~PV_ONLY_NOT)


def test_no_risk_no_bounds() -> None:
    state = record().solve(homes(np.full(50, 0.3)), "night")
    directions = directions_at_risk(rural(), state, LIMITS)
    assert directions == ()
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=homes(np.full(50, 0.3)),
        limits=LIMITS,
        directions=directions,
        label="night",
    )
    assert len(found.bounds) == 6
    assert all(bound.c_lo_kw is None and bound.c_hi_kw is None for bound in found.bounds)
    assert found.feasible


@pytest.mark.parametrize("pv_kw", [4.2, 5.0, 6.0])
@pytest.mark.parametrize("flexible", [False, True])
def test_bounds_keep_every_limit_minus_guard(pv_kw: float, flexible: bool) -> None:
    before = record().solve(sunny(pv_kw), "before")
    assert violations(rural(), before, LIMITS, guard=True)
    assert directions_at_risk(rural(), before, LIMITS) == (Direction.EXPORT,)
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=sunny(pv_kw),
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="noon",
        up_kw=np.where(BATTERY, 2.0, 0.0) if flexible else None,
    )
    (relief,) = found.reliefs
    assert found.feasible
    again = FixedPoint(rural()).solve(relief.injections, "independent")
    for state in (relief.state, again):
        assert violations(rural(), state, LIMITS, guard=True) == ()
    # Not more than needed: some element stands at its guard band.
    batch = fast().solve_batch(
        relief.injections.p_kw[None], relief.injections.q_kvar[None], relief.injections.phase, "tight"
    )
    assert -5e-4 < float(overshoot(rural(), batch, LIMITS).max()) <= 0.0
    assert all(bound.c_hi_kw is None for bound in found.bounds)
    low = np.array([bound.c_lo_kw for bound in found.bounds], dtype=np.float64)
    assert np.all(low <= relief.state.pcc_p_kw.ravel() + 0.35)
    assert np.any(low > before.pcc_p_kw.ravel() + 0.5)


@pytest.mark.parametrize("seed", [22, 28, 36])
def test_no_pcc_gives_up_more_than_it_must(seed: int) -> None:
    """Here a PCC that goes back makes room for one that had its turn before."""
    rng = np.random.default_rng(seed)
    start = Injections(
        p_kw=rng.gamma(2.0, 0.2, 50) - 5.0 * (rng.random(50) < 0.8),
        q_kvar=np.full(50, 0.16),
        phase=rng.integers(0, 3, 50),
    )
    found = find_bounds(
        search=fast(),
        record=fast(),
        injections=start,
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="tight",
    )
    (relief,) = found.reliefs
    pcc = rural().pcc_of(start.phase)
    gave_up = 0
    for k in range(6):
        back_kw = np.where(pcc == k, start.p_kw - relief.injections.p_kw, 0.0)
        if back_kw.sum() < -0.1:
            gave_up += 1
            less = dataclasses.replace(relief.injections, p_kw=relief.injections.p_kw + 0.1 * back_kw)
            assert violations(rural(), fast().solve(less, "less"), LIMITS, guard=True)
    assert gave_up


def test_only_flexible_homes_move_while_flexibility_lasts() -> None:
    up_kw = np.where(BATTERY, 3.0, 0.0)
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=sunny(4.2),
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="noon",
        up_kw=up_kw,
    )
    (relief,) = found.reliefs
    moved = relief.injections.p_kw - sunny(4.2).p_kw
    assert np.all(moved[~BATTERY] == 0.0)
    assert 0.0 < moved[BATTERY].max() <= 3.0
    pcc = rural().pcc_of(relief.injections.phase)
    for k in range(6):
        shares = moved[BATTERY & (pcc == k)]
        assert np.ptp(shares) < 1e-9


def test_without_flexibility_enough_exports_are_cut_after_it() -> None:
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=sunny(6.0),
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="noon",
        up_kw=np.where(BATTERY, 0.2, 0.0),
    )
    (relief,) = found.reliefs
    moved = relief.injections.p_kw - sunny(6.0).p_kw
    assert found.feasible
    assert moved[~BATTERY & ~PV_ONLY_NOT].max() > 0.5


def test_more_room_allows_more_export() -> None:
    def total(band: float, pv_kw: float) -> float:
        limits = dataclasses.replace(LIMITS, v_band=band)
        found = find_bounds(
            search=fast(),
            record=fast(),
            injections=sunny(pv_kw),
            limits=limits,
            directions=(Direction.EXPORT,),
            label="noon",
        )
        return float(found.reliefs[0].state.pcc_p_kw.sum())

    totals = [total(band, 4.2) for band in (0.08, 0.09, 0.10, 0.11)]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > totals[-1] + 5.0


def test_risk_without_violation_leaves_room_above_today() -> None:
    state = record().solve(sunny(3.1), "morning")
    assert violations(rural(), state, LIMITS, guard=True) == ()
    assert directions_at_risk(rural(), state, LIMITS) == (Direction.EXPORT,)
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=sunny(3.1),
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="morning",
    )
    for bound, flow in zip(found.bounds, state.pcc_p_kw.ravel(), strict=True):
        assert bound.c_lo_kw is not None
        assert bound.c_lo_kw <= flow + 1e-3
    assert found.feasible


def test_evening_import_gets_upper_bounds() -> None:
    evening = homes(np.full(50, 3.2))
    state = record().solve(evening, "evening")
    directions = directions_at_risk(rural(), state, LIMITS)
    assert directions == (Direction.IMPORT,)
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=evening,
        limits=LIMITS,
        directions=directions,
        label="evening",
        down_kw=np.full(50, 1.0),
    )
    (relief,) = found.reliefs
    assert violations(rural(), state, LIMITS, guard=True)
    assert found.feasible
    assert violations(rural(), relief.state, LIMITS, guard=True) == ()
    assert all(bound.c_hi_kw is not None and bound.c_lo_kw is None for bound in found.bounds)


def test_where_less_export_everywhere_breaks_the_lower_limit_the_pccs_beyond_act_alone() -> None:
    """Phase B exports too much; phase A would fall below its limit without the PV of half its homes."""
    p_kw = np.full(50, 0.3)
    p_kw[rural().home_phase == Phase.B] = -4.0
    of_a = np.flatnonzero(rural().home_phase == Phase.A)
    p_kw[of_a[::2]], p_kw[of_a[1::2]] = 8.0, -4.0
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=homes(p_kw),
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="two phases",
    )
    assert found.feasible
    (relief,) = found.reliefs
    assert violations(rural(), relief.state, LIMITS, guard=True) == ()
    moved = relief.injections.p_kw != p_kw
    assert moved[rural().home_phase == Phase.B].all()
    assert not moved[rural().home_phase != Phase.B].any()


def test_hopeless_state_is_flagged_and_still_bounded() -> None:
    limits = dataclasses.replace(LIMITS, v_band=0.01)
    found = find_bounds(
        search=fast(),
        record=record(),
        injections=sunny(4.0),
        limits=limits,
        directions=(Direction.EXPORT,),
        label="hopeless",
    )
    assert not found.feasible
    assert all(bound.c_lo_kw is not None for bound in found.bounds)


def test_disagreeing_power_flows_are_an_error() -> None:
    other = FixedPoint(with_model_error(rural(), r_factor=1.5, wrong_phase={}))
    with pytest.raises(SolversDisagree, match=r"noon, accepted bounds: power flows differ by \d"):
        find_bounds(
            search=fast(),
            record=other,
            injections=sunny(4.0),
            limits=LIMITS,
            directions=(Direction.EXPORT,),
            label="noon",
        )


def test_a_loaded_line_is_a_risk_of_the_direction_it_carries() -> None:
    calm = record().solve(homes(np.full(50, 0.3)), "calm")
    line_a = calm.i_a.copy()
    last = len(rural().segments) - 1
    line_a[last, 1] = 0.71 * rural().segments[last].rated_current_a
    flow_kw = calm.pcc_p_kw.copy()
    loaded = dataclasses.replace(calm, i_a=line_a, pcc_p_kw=flow_kw)
    assert directions_at_risk(rural(), loaded, LIMITS) == (Direction.IMPORT,)
    flow_kw[rural().feeders.index(rural().segments[last].feeder), 1] = -1.0
    assert directions_at_risk(rural(), loaded, LIMITS) == (Direction.EXPORT,)


def test_overshoot_belongs_to_the_feeder_and_phase_of_the_element() -> None:
    calm = fast().solve_batch(np.full((1, 50), 0.3), np.zeros((1, 50)), rural().home_phase, "calm")
    bus = rural().buses.index("Node_00022")
    v_v = calm.v_v.copy()
    v_v[0, bus, 2] = LIMITS.v_nominal_v * 1.11
    high = overshoot(rural(), dataclasses.replace(calm, v_v=v_v), LIMITS)[0]
    assert np.flatnonzero(high > 0.0).tolist() == [5]
    assert high[5] == pytest.approx(0.11 - 0.095)
    loading = np.array([[0.5, 0.98, 0.5]])
    busy = overshoot(rural(), dataclasses.replace(calm, transformer_loading=loading), LIMITS)[0]
    assert np.flatnonzero(busy > 0.0).tolist() == [1, 4]


def test_clip_to_reachable_set() -> None:
    pcc = Pcc(feeder=1, phase=Phase.B)
    export = PccBound(pcc=pcc, c_lo_kw=-8.0, c_hi_kw=None)
    assert clip_to_reachable(export, flow_kw=-10.0, up_kw=3.0, down_kw=0.0) == (export, False)
    clipped, saturated = clip_to_reachable(export, flow_kw=-10.0, up_kw=1.5, down_kw=9.0)
    assert (clipped.c_lo_kw, clipped.c_hi_kw, saturated) == (-8.5, None, True)
    both = PccBound(pcc=pcc, c_lo_kw=-20.0, c_hi_kw=4.0)
    clipped, saturated = clip_to_reachable(both, flow_kw=7.0, up_kw=0.0, down_kw=2.0)
    assert (clipped.c_lo_kw, clipped.c_hi_kw, saturated) == (-20.0, 5.0, True)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(3.0, 7.0))
def test_any_sunny_state_is_brought_inside(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    start = Injections(
        p_kw=rng.gamma(2.0, 0.2, 50) - scale * (rng.random(50) < 0.8),
        q_kvar=np.full(50, 0.16),
        phase=rng.integers(0, 3, 50),
    )
    found = find_bounds(
        search=fast(),
        record=fast(),
        injections=start,
        limits=LIMITS,
        directions=(Direction.EXPORT,),
        label="any",
        up_kw=rng.random(50) * 2.0,
    )
    if found.feasible:
        assert violations(rural(), found.reliefs[0].state, LIMITS, guard=True) == ()
