"""Figures of a run, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from config.settings import data_path
from dso_engine.feeder import load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.metrics import RunSeries, summarise, transformer_loss_kw
from dso_engine.model import FloatArray, Limits
from dso_engine.powerflow import Injections

LIMITS = Limits(v_nominal_v=200.0, v_band=0.1)


def array(*rows: object) -> FloatArray:
    return np.array(rows, dtype=np.float64)


SERIES = RunSeries(
    transformer_p_kw=array([6.0, 3.0, -3.0], [-6.0, -6.0, -12.0], [0.0, 6.0, 0.0]),
    v_max_v=array([210.0, 205.0, 200.0], [221.0, 220.0, 222.0], [201.0, 200.0, 200.0]),
    v_min_v=array([199.0, 200.0, 198.0], [200.0, 201.0, 190.0], [198.0, 179.0, 199.0]),
    vuf_pct=array(0.5, 1.75, 0.25),
    line_loss_kw=array(0.6, 1.2, 0.0),
    neutral_loss_kw=array(0.06, 0.12, 0.18),
    transformer_loss_kw=array(0.3, 0.3, 0.6),
    transformer_s_kva=array(10.0, 25.0, 7.0),
)


def test_energy_is_summed_per_phase_without_netting() -> None:
    metrics = summarise(SERIES, LIMITS)
    # import 6 + 3 + 6 kW, export 3 + 24 kW, each for ten minutes
    assert metrics.imported_kwh == pytest.approx(15 / 6)
    assert metrics.exported_kwh == pytest.approx(27 / 6)


def test_flows_in_and_out() -> None:
    metrics = summarise(SERIES, LIMITS)
    # P_in = 9, 0, 6; P_out = 3, 24, 0
    assert metrics.peak_in_kw == pytest.approx(9.0)
    assert metrics.peak_out_kw == pytest.approx(24.0)
    assert metrics.through_kwh == pytest.approx(42 / 6)
    assert metrics.through_kwh == pytest.approx(metrics.imported_kwh + metrics.exported_kwh)


def test_peak_and_par() -> None:
    metrics = summarise(SERIES, LIMITS)
    # P_abs = 12, 24, 6: peak 24, PAR = 3 * 24 / 42
    assert metrics.peak_p_kw == pytest.approx(24.0)
    assert metrics.peak_s_kva == pytest.approx(25.0)
    assert metrics.par == pytest.approx(72 / 42)


def test_par_of_a_dead_feeder_is_none() -> None:
    assert summarise(replace(SERIES, transformer_p_kw=np.zeros((3, 3))), LIMITS).par is None


def test_voltages_per_phase_signed() -> None:
    metrics = summarise(SERIES, LIMITS)
    assert metrics.v_high_pct == pytest.approx((10.5, 10.0, 11.0))
    assert metrics.v_low_pct == pytest.approx((-1.0, -10.5, -5.0))
    assert metrics.v_worst_pct == pytest.approx((10.5, -10.5, 11.0))


def test_a_run_that_never_reaches_nominal_has_a_negative_high() -> None:
    low = replace(SERIES, v_max_v=np.full((3, 3), 196.0), v_min_v=np.full((3, 3), 190.0))
    metrics = summarise(low, LIMITS)
    assert metrics.v_high_pct == pytest.approx((-2.0,) * 3)
    assert metrics.v_worst_pct == pytest.approx((-5.0,) * 3)


def test_slots_beyond_the_limit() -> None:
    # Slot 2: A and C above 220 (counted once; B at the limit is inside). Slot 3: B below 180.
    assert summarise(SERIES, LIMITS).slots_beyond_voltage_limit == 2
    at_limit = replace(SERIES, v_max_v=np.full((3, 3), 220.0), v_min_v=np.full((3, 3), 180.0))
    assert summarise(at_limit, LIMITS).slots_beyond_voltage_limit == 0
    assert summarise(SERIES, replace(LIMITS, v_band=0.2)).slots_beyond_voltage_limit == 0


def test_unbalance_and_losses() -> None:
    metrics = summarise(SERIES, LIMITS)
    assert metrics.vuf_pct == pytest.approx(1.75)
    assert metrics.vuf_mean_pct == pytest.approx(2.5 / 3)
    assert metrics.phase_loss_kwh == pytest.approx(0.3 - 0.06)
    assert metrics.line_loss_kwh == pytest.approx(0.3)
    assert metrics.neutral_loss_kwh == pytest.approx(0.06)
    assert metrics.transformer_loss_kwh == pytest.approx(0.2)


def test_what_95_percent_of_the_slots_do_not_exceed() -> None:
    """Of 40 slots two may lie above: the third highest is the figure."""
    series = RunSeries(
        transformer_p_kw=np.ones((40, 3)),
        v_max_v=np.full((40, 3), 200.0),
        v_min_v=np.full((40, 3), 200.0),
        vuf_pct=np.arange(40.0)[::-1].copy(),
        line_loss_kw=np.zeros(40),
        neutral_loss_kw=np.zeros(40),
        transformer_loss_kw=np.zeros(40),
        transformer_s_kva=np.ones(40),
    )
    assert summarise(series, LIMITS).vuf_p95_pct == 37.0


def test_transformer_loss_with_the_square_of_the_current() -> None:
    # idle; rated in all windings; one winding at half its current: a quarter over three
    currents = array([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.0, 0.0])
    loss_kw = transformer_loss_kw(currents, iron_kw=0.5, copper_rated_kw=3.0)
    assert loss_kw == pytest.approx([0.5, 3.5, 0.5 + 3.0 * 0.25 / 3.0])
    with pytest.raises(ValueError, match=r"\(time, 3\)"):
        transformer_loss_kw(np.zeros(3), iron_kw=0.5, copper_rated_kw=3.0)


@pytest.mark.parametrize("load_kw", [0.3, 1.0, 2.5])
def test_the_corrected_formula_is_what_the_power_flow_loses(load_kw: float) -> None:
    """Balanced enough, the same loss as the network's model, to what voltage does to iron and copper."""
    network = load_network(data_path("networks", "lv_50h_rural.json"))
    count = len(network.homes)
    state = FixedPoint(network).solve(
        Injections(
            p_kw=np.full(count, load_kw),
            q_kvar=np.zeros(count),
            phase=np.arange(count, dtype=np.int64) % 3,
        ),
        "balanced",
    )
    head = state.i_a[[state.line_ids.index(s.id) for s in network.segments if s.from_bus == state.bus_ids[0]]]
    transformer = network.transformer
    loss_kw = transformer_loss_kw(
        head.sum(axis=0)[None, :] / transformer.i_rated_a,
        iron_kw=transformer.pfe_kw,
        copper_rated_kw=transformer.vkr_percent / 100.0 * transformer.s_rated_kva,
    )
    assert loss_kw[0] == pytest.approx(state.transformer_loss_kw, rel=0.1)


@pytest.mark.parametrize("field", ["transformer_p_kw", "v_max_v", "vuf_pct", "transformer_s_kva"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_no_figure(field: str, bad: float) -> None:
    values: FloatArray = getattr(SERIES, field).copy()
    values[1] = bad
    with pytest.raises(ValueError, match=field):
        replace(SERIES, **{field: values})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("v_min_v", np.zeros((2, 3))),
        ("v_max_v", np.zeros((3, 2))),
        ("line_loss_kw", np.zeros((3, 1))),
        ("transformer_p_kw", np.zeros((4, 3))),
        ("transformer_p_kw", np.zeros((0, 3))),
        ("transformer_p_kw", np.float64(1.0) * np.ones(())),
    ],
)
def test_shapes_must_fit(field: str, values: FloatArray) -> None:
    with pytest.raises(ValueError, match=r"shape|at least one"):
        replace(SERIES, **{field: values})
