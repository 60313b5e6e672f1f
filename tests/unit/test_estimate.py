"""The estimate meets the meters, comes near a known truth and puts a price's effect on flexible homes."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.errors import StaleMeasurement
from dso_engine.estimate import Response, estimate_state
from dso_engine.feeder import Network, load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import FloatArray, PccReading
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections

RURAL = Path(__file__).parents[2] / "config" / "networks" / "lv_50h_rural.json"
NOON = datetime(2018, 5, 16, 11, 0, tzinfo=UTC)


@cache
def rural() -> Network:
    return load_network(RURAL)


@cache
def fast() -> FixedPoint:
    return FixedPoint(rural())


@cache
def record() -> PandapowerFlow:
    return PandapowerFlow(rural())


def homes(p_kw: FloatArray, q_kvar: float = 0.15) -> Injections:
    return Injections(p_kw=p_kw, q_kvar=np.full(50, q_kvar), phase=rural().home_phase)


def read(state: GridState) -> tuple[PccReading, ...]:
    table = np.stack([state.pcc_p_kw, state.pcc_q_kvar, state.pcc_v_v], axis=-1).reshape(-1, 3)
    return tuple(
        PccReading(pcc=pcc, p_kw=float(p), q_kvar=float(q), v_v=float(v), taken_at=NOON)
        for pcc, (p, q, v) in zip(rural().pccs, table, strict=True)
    )


def solar(seed: int) -> tuple[FloatArray, FloatArray]:
    """A true sunny slot and the plan for it, in which the sun was a quarter weaker."""
    rng = np.random.default_rng(seed)
    pv = rng.random(50) < 0.8
    load = rng.gamma(2.0, 0.2, 50)
    return np.asarray(load - 3.2 * pv, np.float64), np.asarray(0.4 - 2.4 * pv, np.float64)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wrong_plan_is_corrected(seed: int) -> None:
    true_kw, plan_kw = solar(seed)
    plant = record().solve(homes(true_kw, 0.2), "plant")
    found = estimate_state(
        search=fast(), record=record(), prior=homes(plan_kw), readings=read(plant), label="test"
    )
    assert np.abs(found.residual_kw).max() < 0.01
    assert np.abs(found.residual_kvar).max() < 0.01
    assert np.abs(found.residual_v).max() < 0.01
    blind = record().solve(homes(plan_kw), "plan")
    error_v = np.abs(found.state.v_v - plant.v_v).max()
    assert error_v < 0.3 * np.abs(blind.v_v - plant.v_v).max()
    assert error_v < 1.5
    assert found.p_kw.sum() == pytest.approx(true_kw.sum(), abs=0.05)


def test_a_uniform_scaling_of_exports_is_found_exactly() -> None:
    plan_kw = np.linspace(-4.0, -1.0, 50)
    weight = -plan_kw
    plant = record().solve(homes(1.3 * plan_kw), "plant")
    found = estimate_state(
        search=fast(),
        record=record(),
        prior=homes(plan_kw),
        readings=read(plant),
        label="test",
        error_weight=weight,
    )
    np.testing.assert_allclose(found.p_kw, 1.3 * plan_kw, atol=2e-3)
    np.testing.assert_allclose(found.state.v_v, plant.v_v, atol=5e-3)


def test_an_exact_plan_stays() -> None:
    true_kw, _ = solar(3)
    plant = record().solve(homes(true_kw), "plant")
    found = estimate_state(
        search=fast(), record=record(), prior=homes(true_kw), readings=read(plant), label="test"
    )
    np.testing.assert_allclose(found.p_kw, true_kw, atol=1e-3)


def test_the_answer_to_a_price_goes_to_flexible_homes() -> None:
    """Homes with PV only keep their export; the batteries of F1-B took what the meter shows."""
    true_kw, _ = solar(4)
    before = record().solve(homes(true_kw), "u = 0")
    battery = np.arange(50) % 2 == 0
    answered = true_kw + np.where(battery, 1.2, 0.0)
    plant = record().solve(homes(answered), "u < 0")
    response = Response(baseline_kw=before.pcc_p_kw, up_kw=np.where(battery, 2.0, 0.0), down_kw=np.zeros(50))
    found = estimate_state(
        search=fast(),
        record=record(),
        prior=homes(true_kw),
        readings=read(plant),
        label="test",
        response=response,
    )
    assert np.abs(found.residual_kw).max() < 0.01
    # Losses fell with the export, and the model lays that at the homes' door too: a few watts each.
    np.testing.assert_allclose(found.p_kw, answered, atol=0.12)
    np.testing.assert_allclose(found.p_kw[~battery], true_kw[~battery], atol=0.02)
    blind = estimate_state(
        search=fast(), record=record(), prior=homes(true_kw), readings=read(plant), label="test"
    )
    assert np.abs(found.state.v_v - plant.v_v).max() < 0.2
    assert np.abs(blind.state.v_v - plant.v_v).max() > np.abs(found.state.v_v - plant.v_v).max()


def test_more_than_all_flexibility_is_forecast_error_again() -> None:
    plan_kw = np.full(50, -2.0)
    before = record().solve(homes(plan_kw), "u = 0")
    plant = record().solve(homes(plan_kw + 1.0), "cloud")
    battery = np.arange(50) % 2 == 0
    found = estimate_state(
        search=fast(),
        record=record(),
        prior=homes(plan_kw),
        readings=read(plant),
        label="test",
        response=Response(
            baseline_kw=before.pcc_p_kw, up_kw=np.where(battery, 0.4, 0.0), down_kw=np.zeros(50)
        ),
    )
    moved = found.p_kw - plan_kw
    assert np.abs(found.residual_kw).max() < 0.01
    assert moved[~battery].min() > 0.5
    np.testing.assert_allclose(
        moved[battery] - moved[~battery][0], 0.4, atol=0.25, err_msg="each battery takes its 0.4 kW on top"
    )


def test_a_missing_reading_is_refused_and_the_latest_counts() -> None:
    true_kw, plan_kw = solar(5)
    readings = read(record().solve(homes(true_kw), "plant"))
    with pytest.raises(StaleMeasurement, match="F2-C"):
        estimate_state(
            search=fast(), record=record(), prior=homes(plan_kw), readings=readings[:-1], label="test"
        )
    old = dataclasses.replace(readings[0], p_kw=99.0, taken_at=NOON - timedelta(seconds=10))
    a = estimate_state(search=fast(), record=record(), prior=homes(plan_kw), readings=readings, label="test")
    b = estimate_state(
        search=fast(), record=record(), prior=homes(plan_kw), readings=(*readings, old), label="test"
    )
    np.testing.assert_array_equal(a.p_kw, b.p_kw)


def test_a_pcc_that_nobody_is_on_shows_as_residual() -> None:
    true_kw, plan_kw = solar(6)
    plant = record().solve(homes(true_kw), "plant")
    phase = rural().home_phase.copy()
    phase[(rural().home_feeder == 0) & (phase == 2)] = 1
    prior = Injections(p_kw=plan_kw, q_kvar=np.full(50, 0.15), phase=phase)
    found = estimate_state(search=fast(), record=record(), prior=prior, readings=read(plant), label="test")
    assert abs(found.residual_kw[0, 2]) > 1.0
    found.residual_kw[0, 2] = 0.0
    assert np.abs(found.residual_kw).max() < 0.01


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), wrong=st.floats(-1.0, 1.0))
def test_heads_are_met_whatever_plan_and_truth(seed: int, wrong: float) -> None:
    rng = np.random.default_rng(seed)
    true_kw = rng.normal(-0.5, 2.0, 50)
    plan_kw = true_kw + wrong * rng.normal(0.0, 2.0, 50)
    plant = fast().solve(homes(true_kw, 0.3), "plant")
    found = estimate_state(
        search=fast(), record=fast(), prior=homes(plan_kw), readings=read(plant), label="test"
    )
    assert np.abs(found.residual_kw).max() < 0.05
    assert np.abs(found.residual_kvar).max() < 0.05
