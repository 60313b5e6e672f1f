"""Both power flows against the published OpenDSS figures, against each other, and where they must refuse."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest

from bench.powerflow import batches, compare, random_state
from dso_engine.errors import InvalidFeeder, PowerFlowDiverged
from dso_engine.feeder import Network, load_network, with_model_error
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import HomeId, Limits, Phase
from dso_engine.network import Earthing
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import (
    GridState,
    Injections,
    LimitKind,
    PowerFlow,
    stress,
    violations,
    vuf_pct,
)

NETWORKS = Path(__file__).parents[2] / "config" / "networks"
SOLVERS = ("fixed-point", "pandapower")


@cache
def network(name: str) -> Network:
    return load_network(NETWORKS / f"{name}.json")


@cache
def solver(kind: str, name: str) -> PowerFlow:
    return FixedPoint(network(name)) if kind == "fixed-point" else PandapowerFlow(network(name))


def base_case(name: str, *, load: float = 1.0, pv_kw: float = 0.0) -> Injections:
    """The file's loads scaled; ``pv_kw`` at the place and phase of each of its 17 generators' homes."""
    grid = network(name)
    p_kw = load * np.array([home.p_kw for home in grid.homes])
    q_kvar = load * np.array([home.q_kvar for home in grid.homes])
    if pv_kw:
        for bus, phase in PV_PLACES:
            k = next(k for k, h in enumerate(grid.homes) if h.bus == bus and h.phase == phase)
            p_kw[k] -= pv_kw
    return Injections(p_kw=p_kw, q_kvar=q_kvar, phase=grid.home_phase)


def _pv_places() -> tuple[tuple[str, Phase], ...]:
    data = json.loads((NETWORKS / "lv_33h_17pv.json").read_text())
    return tuple((unit["bus"], Phase[unit["phase"]]) for unit in data["pv"])


PV_PLACES = _pv_places()


def unbalanced() -> Injections:
    """Case `unbal` of grid-model.md 1: phase A load x 6, B x 0.5, 3 kW of PV on B and C."""
    grid = network("lv_33h_17pv")
    factor = np.array([6.0, 0.5, 1.0])[grid.home_phase]
    p_kw = factor * np.array([home.p_kw for home in grid.homes])
    q_kvar = factor * np.array([home.q_kvar for home in grid.homes])
    for bus, phase in PV_PLACES:
        if phase != Phase.A:
            k = next(k for k, h in enumerate(grid.homes) if h.bus == bus and h.phase == phase)
            p_kw[k] -= 3.0
    return Injections(p_kw=p_kw, q_kvar=q_kvar, phase=grid.home_phase)


# grid-model.md 1: Vpn min, max, VUF %, Vn max, line loss W, neutral W, R|In|^2 W, transformer W, In A.
ORACLE_33 = {
    "base": (234.548, 235.896, 0.0731, 0.886, 18.12, 6.50, 8.05, 689.41, 9.32),
    "nopv": (233.680, 235.252, 0.1140, 0.745, 48.39, 8.83, 10.91, 781.62, 11.89),
    "peak3": (227.341, 232.261, 0.3669, 2.294, 455.5, 84.0, 103.8, 1919.6, 37.09),
    "pv3kw": (236.657, 239.100, 0.1422, 1.406, 108.0, 28.2, 35.1, 841.1, 10.57),
    "unbal": (215.730, 245.140, 2.6983, 10.782, 1771.7, 1505.4, 1825.2, 2056.6, 300.3),
}


def oracle_case(name: str) -> Injections:
    match name:
        case "base":
            return base_case("lv_33h_17pv", pv_kw=1.0)
        case "peak3":
            return base_case("lv_33h_17pv", load=3.0)
        case "pv3kw":
            return base_case("lv_33h_17pv", load=0.3, pv_kw=3.0)
        case "unbal":
            return unbalanced()
    return base_case("lv_33h_17pv")


@pytest.mark.parametrize("kind", SOLVERS)
@pytest.mark.parametrize("case", sorted(ORACLE_33))
def test_published_network_agrees_with_opendss(kind: str, case: str) -> None:
    state = solver(kind, "lv_33h_17pv").solve(oracle_case(case), case)
    low, high, vuf, v_n, line_w, neutral_w, r_in2_w, transformer_w, i_n = ORACLE_33[case]
    assert state.v_v.min() == pytest.approx(low, abs=1e-3)
    assert state.v_v[1:].max() <= state.v_v.max() == pytest.approx(high, abs=1e-3)
    assert state.vuf_pct.max() == pytest.approx(vuf, abs=1e-4)
    assert state.v_n_v.max() == pytest.approx(v_n, abs=1e-3)
    assert 1e3 * state.line_loss_kw == pytest.approx(line_w, rel=1e-4, abs=0.051)
    assert 1e3 * state.neutral_loss_kw == pytest.approx(neutral_w, rel=1e-4, abs=0.051)
    # The table's R|In|^2 leaves out the links, whose neutral takes under 1 mohm * (In1^2 + In2^2).
    assert 1e3 * state.neutral_loss_r_kw == pytest.approx(r_in2_w, rel=0.05, abs=0.15)
    assert 1e3 * state.transformer_loss_kw == pytest.approx(transformer_w, abs=0.1)
    assert state.transformer_i_n_a == pytest.approx(i_n, abs=0.06)


# grid-model.md 5.
@pytest.mark.parametrize("kind", SOLVERS)
def test_150_70_variants_agree_with_opendss(kind: str) -> None:
    base = solver(kind, "lv_33h_17pv_150_70").solve(base_case("lv_33h_17pv_150_70", pv_kw=1.0), "base")
    assert base.v_v.min() == pytest.approx(234.23, abs=0.01)
    assert base.vuf_pct.max() == pytest.approx(0.084, abs=1e-3)
    assert base.v_n_v.max() == pytest.approx(1.18, abs=0.01)
    peak = solver(kind, "lv_50h").solve(base_case("lv_50h", load=3.0), "peak")
    assert peak.v_v.min() == pytest.approx(223.03, abs=0.01)
    assert peak.vuf_pct.max() == pytest.approx(0.225, abs=1e-3)
    assert peak.v_n_v.max() == pytest.approx(1.69, abs=0.01)
    assert peak.i_n_a.max() == pytest.approx(38.6, abs=0.1)
    assert peak.i_a.max() == pytest.approx(133.1, abs=0.1)
    assert 1e3 * peak.transformer_loss_kw == pytest.approx(3661.0, abs=1.0)


def _random_cases(name: str) -> list[Injections]:
    grid = network(name)
    rng = np.random.default_rng(7)
    homes = len(grid.homes)
    cases = [base_case(name), base_case(name, load=3.0)]
    cases.append(Injections(p_kw=np.full(homes, -3.0), q_kvar=np.full(homes, 0.1), phase=grid.home_phase))
    cases += [
        Injections(
            p_kw=rng.normal(0.0, 3.0, homes),
            q_kvar=rng.normal(0.0, 0.5, homes),
            phase=rng.integers(0, 3, homes),
        )
        for _ in range(6)
    ]
    return cases


AGREEMENT = {"i_a": 1e-3, "i_n_a": 1e-3, "transformer_i_n_a": 1e-3}


@pytest.mark.parametrize("name", ["lv_33h_17pv", "lv_50h_rural"])
def test_the_two_solvers_agree(name: str) -> None:
    for k, injections in enumerate(_random_cases(name)):
        fast = solver("fixed-point", name).solve(injections, f"case {k}")
        record = solver("pandapower", name).solve(injections, f"case {k}")
        assert fast.bus_ids == record.bus_ids
        assert fast.line_ids == record.line_ids
        for field in dataclasses.fields(GridState):
            if not field.name.endswith("_ids"):
                np.testing.assert_allclose(
                    getattr(fast, field.name),
                    getattr(record, field.name),
                    rtol=0.0,
                    atol=AGREEMENT.get(field.name, 1e-3 if field.name.endswith("_v") else 5e-4),
                    err_msg=f"{field.name} of case {k}",
                )


@pytest.mark.parametrize("name", ["lv_33h_17pv", "lv_50h"])
def test_random_states_within_a_millivolt(name: str) -> None:
    """A hundred of the thousand that ``python -m bench.powerflow`` compares."""
    grid, rng = network(name), np.random.default_rng(1)
    for k in range(50):
        injections = random_state(grid, rng)
        fast = solver("fixed-point", name).solve(injections, f"state {k}")
        record = solver("pandapower", name).solve(injections, f"state {k}")
        assert np.abs(fast.v_v - record.v_v).max() < 1e-3
        assert np.abs(fast.vuf_pct - record.vuf_pct).max() < 1e-4


def test_the_measured_figures_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(network("lv_50h"), 5)
    assert batches(network("lv_50h"), 2)
    said = capsys.readouterr().out
    assert "5 random states" in said
    assert "0 without a solution" in said
    assert "144 slots x 2 scenarios" in said


@pytest.mark.parametrize("kind", SOLVERS)
def test_power_balances(kind: str) -> None:
    injections = _random_cases("lv_50h_rural")[-1]
    state = solver(kind, "lv_50h_rural").solve(injections, "balance")
    heads = state.pcc_p_kw.sum()
    link_kw = 1e-6 * float((state.i_a[:2] ** 2).sum() + (state.i_n_a[:2] ** 2).sum())
    assert state.line_ids[:2] == ("f01switch00001", "f02switch00002")
    assert heads == pytest.approx(injections.p_kw.sum() + state.line_loss_kw - link_kw, abs=1e-4)
    assert state.transformer_p_kw.sum() == pytest.approx(heads + link_kw, abs=1e-4)
    assert state.transformer_s_kva >= abs(state.transformer_p_kw.sum())


def test_batch_equals_single_solves() -> None:
    fast = solver("fixed-point", "lv_50h_rural")
    assert isinstance(fast, FixedPoint)
    cases = _random_cases("lv_50h_rural")
    batch = fast.solve_batch(
        np.array([case.p_kw for case in cases]),
        np.array([case.q_kvar for case in cases]),
        np.array([case.phase for case in cases]),
        "batch",
    )
    for k, case in enumerate(cases):
        state = fast.solve(case, "single")
        np.testing.assert_allclose(batch.v_v[k], state.v_v, atol=1e-7)
        np.testing.assert_allclose(batch.i_a[k], state.i_a, atol=1e-6)
        np.testing.assert_allclose(batch.i_n_a[k], state.i_n_a, atol=1e-6)
        np.testing.assert_allclose(batch.pcc_p_kw[k], state.pcc_p_kw, atol=1e-7)
        assert batch.transformer_s_kva[k] == pytest.approx(state.transformer_s_kva)
        assert 100.0 * batch.transformer_loading[k].max() == pytest.approx(state.transformer_loading_pct)


@pytest.mark.parametrize("kind", SOLVERS)
def test_an_absurd_load_is_a_typed_error_and_leaves_no_trace(kind: str) -> None:
    grid = network("lv_50h_rural")
    flow = solver(kind, "lv_50h_rural")
    good = base_case("lv_50h_rural")
    before = flow.solve(good, "before")
    for p_kw in (500.0, np.nan):
        absurd = Injections(p_kw=np.full(50, p_kw), q_kvar=np.zeros(50), phase=grid.home_phase)
        with pytest.raises(PowerFlowDiverged, match="slot 12:00") as caught:
            flow.solve(absurd, "slot 12:00")
        assert caught.value.label == "slot 12:00"
        assert "50 homes" in caught.value.state
    after = flow.solve(good, "after")
    np.testing.assert_array_equal(before.v_v, after.v_v)
    np.testing.assert_array_equal(before.i_a, after.i_a)


def test_pandapower_answers_do_not_depend_on_what_was_solved_before() -> None:
    cases = _random_cases("lv_50h_rural")
    used, fresh = solver("pandapower", "lv_50h_rural"), PandapowerFlow(network("lv_50h_rural"))
    for case in (*cases[:5], cases[2]):
        last = used.solve(case, "used")
    first = fresh.solve(cases[2], "fresh")
    for field in dataclasses.fields(GridState):
        np.testing.assert_array_equal(getattr(last, field.name), getattr(first, field.name))


def test_reuse_of_the_internal_case_changes_nothing() -> None:
    """Against a net solved without ``recycle``: pandapower's own tolerance is all that is left."""
    flow = PandapowerFlow(network("lv_50h_rural"))
    case = _random_cases("lv_50h_rural")[4]
    state = flow.solve(case, "recycled")
    net = flow._block._net
    pp.runpp_3ph(net)
    columns = [net.res_bus_3ph[f"vm_{letter}_pu"].to_numpy()[flow._block._rows[0].bus] for letter in "abc"]
    np.testing.assert_allclose(np.stack(columns, axis=1) * 410.0 / 3.0**0.5, state.v_v, rtol=0.0, atol=1e-4)
    lines = net.res_line_3ph
    loss_mw = sum(lines[f"pl_{letter}_mw"].to_numpy()[flow._block._rows[0].line].sum() for letter in "abc")
    assert 1e3 * loss_mw == pytest.approx(state.line_loss_kw, abs=1e-4)
    np.testing.assert_allclose(
        1e3 * lines["i_n_from_ka"].to_numpy()[flow._block._rows[0].line], state.i_n_a, rtol=0.0, atol=1e-2
    )


def test_the_same_injections_again_cost_nothing() -> None:
    flow = solver("pandapower", "lv_50h_rural")
    first = flow.solve(base_case("lv_50h_rural"), "first")
    again = flow.solve(base_case("lv_50h_rural"), "again")
    assert again is first
    moved = base_case("lv_50h_rural")
    moved.phase[:] = (moved.phase + 1) % 3
    assert flow.solve(moved, "other phases") is not first


@pytest.mark.parametrize("kind", SOLVERS)
def test_model_error_changes_the_result(kind: str) -> None:
    grid = network("lv_50h_rural")
    wrong = with_model_error(grid, r_factor=1.05, wrong_phase={HomeId("H13"): Phase.A})
    flow: PowerFlow = FixedPoint(wrong) if kind == "fixed-point" else PandapowerFlow(wrong)
    case = base_case("lv_50h_rural", load=3.0)
    believed = Injections(p_kw=case.p_kw, q_kvar=case.q_kvar, phase=wrong.home_phase)
    true = solver(kind, "lv_50h_rural").solve(case, "plant")
    assert np.abs(flow.solve(case, "resistance").v_v - true.v_v).max() > 0.3
    assert np.abs(flow.solve(believed, "phase").v_v - true.v_v).max() > 1.0


def test_both_reductions_of_equal_coupling() -> None:
    """Z1 = Zs - Zm, Z0 = Zs + 2 Zm - 6 Zpn + 3 Znn or Zs + 2 Zm - 3 Zpn^2 / Znn (grid-model.md 2)."""
    z4 = np.full((4, 4), 0.2)
    z4[3, :] = z4[:, 3] = 0.3
    np.fill_diagonal(z4, (1.0, 1.0, 1.0, 2.0))
    grid = network("lv_50h_rural")
    line = grid.segments[-1]
    assert line.linecode is not None
    code = dataclasses.replace(line.linecode, r_ohm_per_m=z4 / line.length_m, x_ohm_per_m=np.zeros((4, 4)))
    segments = (*grid.segments[:-1], dataclasses.replace(line, linecode=code))
    for earthing, z0, share in (
        (Earthing.STAR_POINT, 1.0 + 0.4 - 1.8 + 6.0, -1.0),
        (Earthing.EVERY_BUS, 1.0 + 0.4 - 3.0 * 0.09 / 2.0, -0.15),
    ):
        made = dataclasses.replace(grid, segments=segments, earthing=earthing)
        assert sorted(np.linalg.eigvalsh(made.z3_ohm[-1].real)) == pytest.approx([0.8, 0.8, z0])
        assert made.neutral_share[-1] == pytest.approx([share] * 3)


def test_pandapower_refuses_cables_it_cannot_express() -> None:
    grid = network("lv_50h_rural")
    last = grid.segments[-1]
    assert last.linecode is not None
    skew = last.linecode.x_ohm_per_m.copy()
    skew[0, 1] = skew[1, 0] = 0.9 * skew[0, 1]
    flat = dataclasses.replace(last, linecode=dataclasses.replace(last.linecode, x_ohm_per_m=skew))
    with pytest.raises(InvalidFeeder, match="not symmetric in its phases"):
        PandapowerFlow(dataclasses.replace(grid, segments=(*grid.segments[:-1], flat)))


def test_vuf_of_hand_made_phasors() -> None:
    a = np.exp(2j * np.pi / 3.0)
    positive, negative = np.array([1.0, a**2, a], np.complex128), np.array([1.0, a, a**2], np.complex128)
    assert vuf_pct(positive) == pytest.approx(0.0, abs=1e-12)
    assert vuf_pct(np.asarray(230.0 * positive + 4.6 * negative)) == pytest.approx(2.0)
    assert vuf_pct(np.asarray(positive + 0.3)) == pytest.approx(0.0, abs=1e-12)


def _made_up(**changes: object) -> GridState:
    state = solver("fixed-point", "lv_50h_rural").solve(base_case("lv_50h_rural"), "base")
    return dataclasses.replace(state, **changes)  # type: ignore[arg-type]  # fields by name


def test_violations_name_element_phase_value_and_limit() -> None:
    grid, limits = network("lv_50h_rural"), Limits()
    nominal = limits.v_nominal_v
    v = np.full((21, 3), nominal)
    v[4, 1], v[7, 2], v[9, 0] = 1.101 * nominal, 0.899 * nominal, 1.097 * nominal
    i = np.zeros((20, 3))
    i[0, 0], i[5, 2], i[6, 1] = 9e3, 261.0, 255.0
    state = _made_up(v_v=v, i_a=i, transformer_loading_pct=98.0)
    hard = violations(grid, state, limits, guard=False)
    assert [(x.kind, x.element, x.phase) for x in hard] == [
        (LimitKind.VOLTAGE_HIGH, grid.buses[4], Phase.B),
        (LimitKind.VOLTAGE_LOW, grid.buses[7], Phase.C),
        (LimitKind.LINE, grid.segments[5].id, Phase.C),
    ]
    assert hard[0].value == pytest.approx(1.101 * nominal)
    assert hard[0].limit == pytest.approx(1.1 * nominal)
    assert hard[2].limit == 260.0
    guarded = violations(grid, state, limits, guard=True)
    assert [x.element for x in guarded] == [
        grid.buses[4],
        grid.buses[9],
        grid.buses[7],
        grid.segments[5].id,
        grid.segments[6].id,
        "transformer00001",
    ]
    assert guarded[-1].limit == pytest.approx(97.0)


def test_stress_is_signed_and_relative() -> None:
    grid, limits = network("lv_50h_rural"), Limits()
    v = np.full((21, 3), limits.v_nominal_v)
    v[4, 1], v[7, 2] = 1.02 * limits.v_nominal_v, 0.97 * limits.v_nominal_v
    i = np.zeros((20, 3))
    i[0, 0], i[6, 1] = 9e3, 130.0
    found = stress(grid, _made_up(v_v=v, i_a=i, transformer_loading_pct=80.0), limits)
    assert found.v_high_pu == pytest.approx(0.02)
    assert found.v_low_pu == pytest.approx(-0.03)
    assert found.v_dev_max == pytest.approx(0.03)
    assert found.line_loading == pytest.approx(0.5)
    assert found.transformer_loading == pytest.approx(0.8)
    assert found.thermal == pytest.approx(0.8)
