"""Both power flows against OpenDSS, which solves the same network from our script on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import opendssdirect as dss
import pytest

from dso_engine.feeder import load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import Phase
from dso_engine.network import Earthing, Network, Segment, Transformer
from dso_engine.opendss_write import opendss_script
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections, base_case
from tests.interop.opendss_judge import opendss_state, solve_script

NETWORKS = Path(__file__).parents[2] / "config" / "networks"
NAMES = ("lv_33h_17pv", "lv_33h_17pv_150_70", "lv_50h", "lv_50h_rural")
CASES = ("base", "triple load", "PV export", "badly unbalanced")

# The figures: volts, amperes, points, and kW for losses. Powers at terminals have none; ours here.
TOLERANCE = {
    "v_v": 1e-3,
    "v_n_v": 1e-3,
    "pcc_v_v": 1e-3,
    "i_a": 5e-3,
    "i_n_a": 5e-3,
    "transformer_i_n_a": 5e-3,
    "vuf_pct": 1e-4,
    "line_loss_kw": 1e-4,
    "neutral_loss_kw": 1e-4,
    "neutral_loss_r_kw": 1e-4,
    "transformer_loss_kw": 1e-4,
    "transformer_p_kw": 1e-3,
    "transformer_q_kvar": 1e-3,
    "transformer_s_kva": 1e-3,
    "transformer_loading_pct": 1e-3,
    "transformer_hv_p_kw": 1e-3,
    "transformer_hv_q_kvar": 1e-3,
    "pcc_p_kw": 1e-3,
    "pcc_q_kvar": 1e-3,
}


@cache
def network(name: str, earthing: Earthing = Earthing.STAR_POINT) -> Network:
    return dataclasses.replace(load_network(NETWORKS / f"{name}.json"), earthing=earthing)


def case(grid: Network, name: str) -> Injections:
    match name:
        case "triple load":
            return base_case(grid, load=3.0, generation=0.0)
        case "PV export":
            return base_case(grid, load=0.3, generation=3.0)
        case "badly unbalanced":
            # Phase A draws six times its load, three times on the long feeder, which would collapse to 146 V.
            heavy = 3.0 if grid.name == "lv_50h_rural" else 6.0
            load, pv = base_case(grid, generation=0.0), base_case(grid, load=0.0, generation=3.0)
            factor = np.array([heavy, 0.5, 1.0])[grid.home_phase]
            return Injections(
                p_kw=factor * load.p_kw + np.where(grid.home_phase == Phase.A, 0.0, pv.p_kw),
                q_kvar=factor * load.q_kvar,
                phase=grid.home_phase,
            )
    return base_case(grid)


def solvers(grid: Network) -> Iterator[tuple[str, FixedPoint | PandapowerFlow]]:
    yield "fixed point", FixedPoint(grid)
    yield "pandapower", PandapowerFlow(grid)


def assert_same(ours: GridState, theirs: GridState, what: str) -> None:
    assert ours.bus_ids == theirs.bus_ids
    assert {field.name for field in dataclasses.fields(GridState)} == {*TOLERANCE, "bus_ids", "line_ids"}
    for name, tolerance in TOLERANCE.items():
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=0.0, atol=tolerance, err_msg=f"{name}, {what}"
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_case_agrees_with_opendss(name: str) -> None:
    grid = network(name)
    for kind, solver in solvers(grid):
        for which in CASES:
            injections = case(grid, which)
            assert_same(solver.solve(injections, which), opendss_state(grid, injections), f"{kind}, {which}")


@pytest.mark.parametrize("name", ["lv_33h_17pv", "lv_50h"])
def test_a_neutral_earthed_at_every_bus_agrees_with_opendss(name: str) -> None:
    grid = network(name, Earthing.EVERY_BUS)
    for kind, solver in solvers(grid):
        for which in CASES:
            injections = case(grid, which)
            found = solver.solve(injections, which)
            assert_same(found, opendss_state(grid, injections), f"{kind}, {which}")
            assert found.v_n_v.max() == 0.0
            assert found.i_n_a.max() > 0.1


def test_the_wrong_earthing_is_visible() -> None:
    """Kron for a network earthed at one end is off by most of a volt in the base case (grid-model.md 2)."""
    star, earthed = network("lv_33h_17pv"), network("lv_33h_17pv", Earthing.EVERY_BUS)
    judge = opendss_state(star)
    wrong = FixedPoint(earthed).solve(base_case(earthed), "wrong")
    assert np.abs(wrong.v_v - judge.v_v).max() == pytest.approx(0.687, abs=0.01)


def test_homes_on_other_phases_agree_with_opendss() -> None:
    grid = network("lv_50h_rural")
    rng = np.random.default_rng(5)
    moved = Injections(
        p_kw=rng.normal(0.0, 2.0, 50), q_kvar=rng.normal(0.0, 0.5, 50), phase=rng.integers(0, 3, 50)
    )
    judge = opendss_state(grid, moved)
    for kind, solver in solvers(grid):
        assert_same(solver.solve(moved, "moved"), judge, kind)


def test_the_script_of_the_file_is_its_base_case() -> None:
    """Loads and generators as elements of their own, or one net load for each home: the same state."""
    grid = network("lv_33h_17pv")
    assert_same(opendss_state(grid), opendss_state(grid, base_case(grid)), "two scripts")


def test_power_of_the_phases_on_both_sides_of_the_transformer() -> None:
    """grid-model.md 1; the LV figures of the table include the core loss, and the delta mixes the phases."""
    grid = network("lv_33h_17pv")
    for _, solver in solvers(grid):
        state = solver.solve(base_case(grid), "base")
        assert 1e3 * state.transformer_hv_p_kw == pytest.approx([4896.9, 5804.9, 4930.6], abs=0.1)
        assert 1e3 * state.transformer_p_kw == pytest.approx([4074.1, 4846.4, 6022.6], abs=0.1)
        loss_kw = state.transformer_hv_p_kw.sum() - state.transformer_p_kw.sum()
        assert loss_kw == pytest.approx(state.transformer_loss_kw, abs=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(network("lv_50h").transformer, v_hv_ll_kv=20.6 * 0.975),
        dataclasses.replace(network("lv_50h").transformer, v_lv_ll_kv=0.41 * 1.025),
        dataclasses.replace(network("lv_50h").transformer, shift_degree=330.0, pfe_kw=0.0),
        dataclasses.replace(network("lv_50h").transformer, s_rated_kva=100.0),
    ],
    ids=["tap above", "tap below", "Dyn11 without iron", "small"],
)
def test_other_transformers_agree_with_opendss(other: Transformer) -> None:
    grid = dataclasses.replace(network("lv_50h"), transformer=other)
    injections = case(grid, "triple load")
    judge = opendss_state(grid, injections)
    for kind, solver in solvers(grid):
        assert_same(solver.solve(injections, "other"), judge, kind)


def test_a_weak_source_agrees_with_opendss() -> None:
    """A tenth of the short-circuit power: an impedance lost on the way to either solver would be volts."""
    grid = network("lv_50h")
    weak = dataclasses.replace(grid, source=dataclasses.replace(grid.source, z1_ohm=10 * grid.source.z1_ohm))
    injections = case(weak, "triple load")
    judge = opendss_state(weak, injections)
    for kind, solver in solvers(weak):
        assert_same(solver.solve(injections, "weak"), judge, kind)
    strong = FixedPoint(grid).solve(injections, "strong")
    assert np.abs(judge.v_v - strong.v_v).min() > 1.0


def test_a_feeder_without_a_link_agrees_with_opendss() -> None:
    """The first line starts at the busbar, so that is where its meter is."""
    grid = network("lv_50h")
    first = grid.segments[grid.head_segments[0]]
    code = next(s.linecode for s in grid.segments if s.linecode is not None)
    line = dataclasses.replace(first, linecode=code, length_m=12.0)
    other = dataclasses.replace(grid, segments=_with(grid, line))
    assert list(other.head_buses) == [0, int(other.head_segments[1]) + 1]
    injections = case(other, "badly unbalanced")
    judge = opendss_state(other, injections)
    for kind, solver in solvers(other):
        assert_same(solver.solve(injections, "line"), judge, kind)


def test_a_link_of_another_impedance_agrees_with_opendss() -> None:
    grid = network("lv_50h")
    link = dataclasses.replace(grid.segments[grid.head_segments[0]], link_z_ohm=4e-3 + 2e-3j)
    other = dataclasses.replace(grid, segments=_with(grid, link))
    injections = case(other, "triple load")
    judge = opendss_state(other, injections)
    assert np.abs(judge.v_v - opendss_state(grid, injections).v_v).max() > 0.1
    for kind, solver in solvers(other):
        assert_same(solver.solve(injections, "link"), judge, kind)


def _with(grid: Network, segment: Segment) -> tuple[Segment, ...]:
    return tuple(segment if each.id == segment.id else each for each in grid.segments)


def test_no_reactance_is_for_60_hertz() -> None:
    """Trap 1 of grid-model.md 1: without that line of the script every X would be 5/6 of what it says."""
    grid = network("lv_33h_17pv")
    solve_script(opendss_script(grid))
    elements = [f"Line.{segment.id}" for segment in grid.segments]
    for element in (*elements, f"Transformer.{grid.transformer.id}", "Vsource.source"):
        dss.Text.Command(f"? {element}.basefreq")
        assert float(dss.Text.Result()) == 50.0
    right = opendss_state(grid)
    trapped = opendss_script(grid).replace("Set DefaultBaseFrequency=50.0", "Set DefaultBaseFrequency=60.0")
    solve_script(trapped.replace("CalcVoltageBases", "Set Frequency=50\nCalcVoltageBases"))
    dss.Circuit.SetActiveBus("Node_00011")
    volts = np.array(dss.Bus.Voltages()).reshape(-1, 2) @ np.array([1.0, 1j])
    row = grid.buses.index("Node_00011")
    assert np.abs(np.abs(volts[:3] - volts[3]) - right.v_v[row]).max() > 0.05
