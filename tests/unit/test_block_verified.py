"""Many networks in one case of pandapower: the same states, and a false promise is found and stays alone."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from config.settings import data_path
from dso_engine.block_verified import BlockRecord, Promise, PromisedRecord
from dso_engine.errors import InvalidFeeder
from dso_engine.feeder import load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.network import Network
from dso_engine.pandapower_block import BlockDiverged, PandapowerBlock
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import Injections, base_case, grid_state

NAMES = ("lv_33h_17pv", "lv_50h_rural", "lv_50h")


@cache
def network(name: str) -> Network:
    return load_network(data_path("networks", f"{name}.json"))


def networks() -> list[Network]:
    return [network(name) for name in NAMES]


@cache
def record() -> BlockRecord:
    return BlockRecord(networks())


def promise(name: str, *, load: float = 1.0) -> Promise:
    promised = PromisedRecord(FixedPoint(network(name)))
    promised.solve(base_case(network(name), load=load), f"{name} x {load}")
    return promised.promises[0]


def impossible(name: str) -> Promise:
    """A set point far beyond what the network can carry, with the state of another one."""
    return dataclasses.replace(
        promise(name), injections=base_case(network(name), load=100.0), label="impossible"
    )


def false_promise(name: str, volts: float) -> Promise:
    """A state that is wrong by so much at one bus."""
    honest = promise(name)
    v_v = honest.state.v_v.copy()
    v_v[5, 1] += volts
    return dataclasses.replace(honest, state=dataclasses.replace(honest.state, v_v=v_v), label="false")


def test_networks_in_a_block_have_the_states_they_have_alone() -> None:
    cases = [base_case(each, load=2.0) for each in networks()]
    together = PandapowerBlock(networks()).solve(cases)
    for each, case, found in zip(networks(), cases, together, strict=True):
        alone = PandapowerFlow(each).solve(case, "alone")
        state = grid_state(each, found.phasors, found.transformer)
        np.testing.assert_allclose(state.v_v, alone.v_v, rtol=0.0, atol=1e-5)
        np.testing.assert_allclose(state.i_a, alone.i_a, rtol=0.0, atol=2e-3)
        assert state.transformer_loss_kw == pytest.approx(alone.transformer_loss_kw, abs=1e-5)
        np.testing.assert_allclose(state.transformer_hv_p_kw, alone.transformer_hv_p_kw, rtol=0.0, atol=1e-3)


def test_a_block_without_a_solution_says_so_and_works_again() -> None:
    block = PandapowerBlock(networks()[:2])
    fine = [base_case(each) for each in networks()[:2]]
    before = block.solve(fine)
    with pytest.raises(BlockDiverged):
        block.solve([fine[0], base_case(network("lv_50h_rural"), load=100.0)])
    for once, again in zip(before, block.solve(fine), strict=True):
        np.testing.assert_array_equal(once.phasors.v, again.phasors.v)


def test_networks_of_two_frequencies_cannot_share_a_case() -> None:
    other = dataclasses.replace(network("lv_50h"), frequency_hz=60.0)
    with pytest.raises(InvalidFeeder, match="frequency"):
        PandapowerBlock([network("lv_50h"), other])


def test_a_promised_record_answers_with_the_search_and_remembers() -> None:
    search = FixedPoint(network("lv_50h"))
    promised, case = PromisedRecord(search), base_case(network("lv_50h"))
    state = promised.solve(case, "base case")
    np.testing.assert_array_equal(state.v_v, search.solve(case, "again").v_v)
    (kept,) = promised.promises
    assert kept.injections is case
    assert kept.state is state
    assert kept.label == "base case"
    assert promised.network is network("lv_50h")


def test_honest_promises_hold_any_number_of_each() -> None:
    promises = [
        (promise(NAMES[0]), promise(NAMES[0], load=3.0)),
        (),
        (promise(NAMES[2], load=2.0), promise(NAMES[2]), promise(NAMES[2], load=0.0)),
    ]
    assert record().faults(promises) == (None, None, None)
    assert record().faults([(), (), ()]) == (None, None, None)


def test_a_state_that_is_wrong_by_two_millivolts_is_found_and_one_by_half_is_not() -> None:
    faults = record().faults([(false_promise(NAMES[0], 2e-3),), (promise(NAMES[1]),), (promise(NAMES[2]),)])
    assert faults[0] is not None
    assert "false: power flows differ by 0.002 V" in faults[0]
    assert faults[1:] == (None, None)
    assert record().faults([(false_promise(NAMES[0], 5e-4),), (), ()]) == (None, None, None)


def test_the_second_promise_counts_as_much_as_the_first() -> None:
    faults = record().faults([(), (promise(NAMES[1]), false_promise(NAMES[1], 0.1)), (promise(NAMES[2]),)])
    assert faults[1] is not None
    assert "false" in faults[1]
    assert (faults[0], faults[2]) == (None, None)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_network_without_solution_does_not_take_the_others_with_it(bad: int) -> None:
    promises = [(promise(name),) for name in NAMES]
    promises[bad] = (impossible(NAMES[bad]),)
    promises[(bad + 1) % 3] = (false_promise(NAMES[(bad + 1) % 3], 0.1),)
    faults = record().faults(promises)
    assert "impossible: no solution in pandapower" in (faults[bad] or "")
    assert "false: power flows differ" in (faults[(bad + 1) % 3] or "")
    assert faults[(bad + 2) % 3] is None
    assert record().faults([(promise(name),) for name in NAMES]) == (None, None, None)


def test_phases_are_those_of_the_set_point() -> None:
    """A record that solved the phases as built would call this honest state wrong."""
    grid = network("lv_50h_rural")
    moved = Injections(
        p_kw=np.full(len(grid.homes), 2.0),
        q_kvar=np.zeros(len(grid.homes)),
        phase=np.zeros(len(grid.homes), dtype=np.int64),
    )
    promised = PromisedRecord(FixedPoint(grid))
    promised.solve(moved, "all on A")
    assert record().faults([(), promised.promises, ()]) == (None, None, None)
