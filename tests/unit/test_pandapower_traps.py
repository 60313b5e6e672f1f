"""Each line of the pandapower recipe against the trap it avoids (grid-model.md 2).

Every test leaves one line out, on a copy of the solver's own net, and shows what that would cost: if a later
pandapower no longer has a trap, its test says so. Traps of importing a net are in `test_ieee_european_lv`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest

from dso_engine.feeder import load_network
from dso_engine.model import FloatArray, Phase
from dso_engine.network import Network
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections, base_case

PUBLISHED = Path(__file__).parents[2] / "config" / "networks" / "lv_33h_17pv.json"


@cache
def network() -> Network:
    return load_network(PUBLISHED)


@cache
def solver() -> PandapowerFlow:
    return PandapowerFlow(network())


@cache
def unbalanced() -> Injections:
    """Case `unbal` of grid-model.md 1."""
    grid = network()
    load, pv = base_case(grid, generation=0.0), base_case(grid, load=0.0, generation=3.0)
    factor = np.array([6.0, 0.5, 1.0])[grid.home_phase]
    return Injections(
        p_kw=factor * load.p_kw + np.where(grid.home_phase == Phase.A, 0.0, pv.p_kw),
        q_kvar=factor * load.q_kvar,
        phase=grid.home_phase,
    )


def solved() -> GridState:
    return solver().solve(unbalanced(), "unbalanced")


def volts_of(net: pp.pandapowerNet) -> FloatArray:
    columns = [net.res_bus_3ph[f"vm_{x}_pu"].to_numpy()[solver()._block._rows[0].bus] for x in "abc"]
    return np.asarray(np.stack(columns, axis=1) * 410.0 / 3.0**0.5, dtype=np.float64)


def without(spoil: Callable[[pp.pandapowerNet], object]) -> pp.pandapowerNet:
    """A solved copy of the net with the loads of the case and one line of the recipe changed."""
    state = solved()
    net = copy.deepcopy(solver()._block._net)
    spoil(net)
    for case in ("_ppc0", "_ppc1", "_ppc2"):
        net[case] = None
    pp.runpp_3ph(net)
    assert np.isfinite(volts_of(net)).all()
    assert state.v_v.min() == pytest.approx(215.730, abs=1e-3)
    return net


def _set(table: str, column: str, value: object) -> Callable[[pp.pandapowerNet], object]:
    def change(net: pp.pandapowerNet) -> None:
        net[table].loc[0, column] = value

    return change


def test_the_recipe_itself_costs_nothing() -> None:
    assert np.abs(volts_of(without(lambda net: None)) - solved().v_v).max() < 1e-4


def test_trap_magnetising_branch_of_the_standard_value() -> None:
    off = np.abs(volts_of(without(_set("trafo", "mag0_percent", 100.0))) - solved().v_v).max()
    assert off == pytest.approx(0.74, abs=0.02)


def test_trap_source_impedance_at_the_external_grid() -> None:
    """In place of the line it is missing from the positive sequence, where it costs most."""

    def only_short_circuit(net: pp.pandapowerNet) -> None:
        net.line.loc[0, ["r_ohm_per_km", "x_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km"]] = 1e-6
        net.ext_grid.loc[0, ["s_sc_max_mva", "s_sc_min_mva"]] = 100.0

    off = np.abs(volts_of(without(only_short_circuit)) - solved().v_v).max()
    assert 0.05 < off < 0.5


def test_trap_iron_loss_in_the_transformer() -> None:
    """As the T model's shunt it is 10 mV off OpenDSS, and the loss table counts it another way."""

    def in_the_transformer(net: pp.pandapowerNet) -> None:
        net.trafo.loc[0, ["pfe_kw", "i0_percent"]] = [0.649087, 0.649087 / 160.0 * 100.0]
        net.shunt.drop(net.shunt.index, inplace=True)

    off = np.abs(volts_of(without(in_the_transformer)) - solved().v_v).max()
    assert 5e-3 < off < 2e-2
    idle = base_case(network(), load=0.0, generation=0.0)
    state = solver().solve(idle, "idle")
    iron_kw = 0.649087 * float(np.mean((state.v_v[0] / (410.0 / 3.0**0.5)) ** 2))
    assert state.transformer_loss_kw == pytest.approx(iron_kw, abs=1e-4)  # and its own copper
    assert np.abs(state.transformer_p_kw).max() < 1e-5


def test_trap_no_shift_of_the_vector_group() -> None:
    """Low voltages stay right, the power of the high-voltage phases is then wrong by kilowatts."""
    net = without(_set("trafo", "shift_degree", 0.0))
    assert np.abs(volts_of(net) - solved().v_v).max() < 0.05
    p_kw = np.array([1e3 * net.res_trafo_3ph[f"p_{x}_hv_mw"].iloc[0] for x in "abc"])
    assert np.abs(p_kw - solved().transformer_hv_p_kw).max() > 10.0
    assert p_kw.sum() == pytest.approx(solved().transformer_hv_p_kw.sum(), abs=0.01)


def test_trap_per_phase_loss_of_the_transformer_means_nothing() -> None:
    net = without(lambda net: None)
    of_phases_kw = np.array([1e3 * net.res_trafo_3ph[f"pl_{x}_mw"].iloc[0] for x in "abc"])
    assert of_phases_kw.min() < 0.0
    assert 0.0 < of_phases_kw.sum() < solved().transformer_loss_kw


def test_trap_a_looser_tolerance_does_not_converge() -> None:
    with pytest.raises(pp.LoadflowNotConverged):
        pp.runpp_3ph(copy.deepcopy(solver()._block._net), tolerance_mva=1e-5)


def test_trap_recycling_does_not_see_what_is_switched_off() -> None:
    """Only P and Q are refreshed, and only those can change: the net is private, a network is fixed."""
    solved()
    net = copy.deepcopy(solver()._block._net)
    before = volts_of(net)
    net.asymmetric_load["in_service"] = False
    pp.runpp_3ph(net, init="flat", recycle={"bus_pq": True, "gen": False, "trafo": False, "Ybus": True})
    np.testing.assert_allclose(volts_of(net), before, atol=1e-4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        network().segments = ()  # type: ignore[misc]  # that is the point


def test_trap_storage_and_generators_are_ignored() -> None:
    """A battery is part of its home's exchange here; the net has loads of single phases and nothing else."""
    net = without(
        lambda net: pp.create_storage(net, int(solver()._block._rows[0].bus[5]), p_mw=0.05, max_e_mwh=1.0)
    )
    np.testing.assert_allclose(volts_of(net), solved().v_v, atol=1e-4)
    for table in ("storage", "gen", "sgen", "load", "ward"):
        assert solver()._block._net[table].empty
    assert set(solver()._block._net.asymmetric_load.type) == {"wye"}


def test_trap_the_version_whose_currents_were_checked() -> None:
    """Low-voltage currents of a Dyn transformer were wrong before PR #2720; another version needs a look."""
    assert version("pandapower") == "3.5.6"
    i_n_a = 1e3 * without(lambda net: None).res_line_3ph.i_n_from_ka.to_numpy()[solver()._block._rows[0].line]
    np.testing.assert_allclose(i_n_a, solved().i_n_a, atol=5e-3)


def test_trap_angles_of_currents_are_in_no_table() -> None:
    """The neutral current and its loss are recovered from P and Q: the four rows are the table's sum."""
    net, state = without(lambda net: None), solved()
    assert not [column for column in net.res_line_3ph if "degree" in column and column.startswith("i")]
    table_kw = sum(
        1e3 * net.res_line_3ph[f"pl_{x}_mw"].to_numpy()[solver()._block._rows[0].line].sum() for x in "abc"
    )
    assert state.line_loss_kw == pytest.approx(table_kw, abs=1e-4)
    assert 0.0 < state.neutral_loss_kw < state.line_loss_kw
