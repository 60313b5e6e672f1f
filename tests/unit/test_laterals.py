"""Lines of one phase in a network file: what they mean, what they refuse, and a case by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder import build_network
from dso_engine.feeder_file import NetworkFile
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import FloatArray, Limits, Phase
from dso_engine.network import Earthing, Network
from dso_engine.powerflow import Injections, violations

RURAL = Path(__file__).parents[2] / "config" / "networks" / "lv_50h_rural.json"
END = "Node_00011"
"""The end of a feeder, with homes on all phases."""


def with_service(*, phase: str, home_phase: str | None = None, beyond: str | None = None) -> NetworkFile:
    """The rural network with a service of 40 m at its end and one home on it, all of feeder 1 kept."""
    text = json.loads(RURAL.read_text())
    feeder = next(bus["feeder"] for bus in text["buses"] if bus["id"] == END)
    code = text["lines"][0]["linecode"]
    text["buses"] += [{"id": name, "v_nom_ll_kv": 0.4, "feeder": feeder} for name in ("service", "attic")]
    line = {"feeder": feeder, "linecode": code, "length_m": 40.0}
    text["lines"] += [
        line | {"id": "s1", "from_bus": END, "to_bus": "service", "phase": phase},
        line
        | {
            "id": "s2",
            "from_bus": "service",
            "to_bus": "attic",
            "phase": None if beyond == "all" else beyond or phase,
        },
    ]
    at = {"feeder": feeder, "bus": "service", "phase": home_phase or phase}
    text["households"].append({"id": "H99", "p_kw": 4.0, "q_kvar": 0.0} | at)
    return NetworkFile.model_validate(text)


def state_of(network: Network, p_kw: float) -> tuple[float, FloatArray]:
    """Voltage drop along the service on its phase, and all voltages at its end, volts."""
    load = np.where(np.array([home.id == "H99" for home in network.homes]), p_kw, 0.0)
    state = FixedPoint(network).solve(
        Injections(p_kw=load, q_kvar=np.zeros_like(load), phase=network.home_phase), "service"
    )
    bus = {name: row for row, name in enumerate(network.buses)}
    drop = state.v_v[bus[END], Phase.B] - state.v_v[bus["service"], Phase.B]
    return float(drop), state.v_v[bus["service"]] - state.v_v[bus[END]]


def test_the_drop_is_that_of_the_loop() -> None:
    network = build_network(with_service(phase="B"))
    (service,) = (segment for segment in network.segments if segment.id == "s1")
    z = service.z_ohm
    loop = z[1, 1] - z[1, 3] - z[3, 1] + z[3, 3]
    drop, at_end = state_of(network, 4.0)
    amperes = 4000.0 / 231.0
    assert drop == pytest.approx(amperes * loop.real, rel=0.08)  # nearly in phase with the voltage
    assert at_end[[Phase.A, Phase.C]] == pytest.approx(0.0, abs=1e-9)


def test_earthed_everywhere_the_neutral_helps_less_than_it_couples() -> None:
    file = with_service(phase="B").model_copy(update={"neutral_earthing": Earthing.EVERY_BUS.value})
    network = build_network(file)
    k = next(k for k, segment in enumerate(network.segments) if segment.id == "s1")
    z = network.segments[k].z_ohm
    kron = z[1, 1] - z[1, 3] * z[3, 1] / z[3, 3]
    assert network.z3_ohm[k] == pytest.approx(kron * np.eye(3))


def test_losses_are_those_of_two_conductors() -> None:
    network = build_network(with_service(phase="B"))
    k = next(k for k, segment in enumerate(network.segments) if segment.id == "s1")
    z = network.segments[k].z_ohm
    current = np.array([0.0, 10.0, 0.0, -10.0])
    loss_w = np.real(np.conj(current) @ network.z4_ohm[k] @ current)
    assert loss_w == pytest.approx(100.0 * (z[1, 1] + z[3, 3] - 2.0 * z[1, 3]).real)


def test_limits_are_judged_where_a_phase_is() -> None:
    network = build_network(with_service(phase="B"))
    none = np.zeros(len(network.homes))
    state = FixedPoint(network).solve(Injections(p_kw=none, q_kvar=none, phase=network.home_phase), "idle")
    broken = violations(network, state, Limits(v_nominal_v=150.0), guard=False)
    assert [each.phase for each in broken if each.element == "service"] == [Phase.B]
    assert [each.phase for each in broken if each.element == END] == [Phase.A, Phase.B, Phase.C]


def test_unbalance_is_that_of_the_bus_where_the_lateral_begins() -> None:
    network = build_network(with_service(phase="B"))
    load = np.where(np.array([home.id == "H99" for home in network.homes]), 9.0, 0.2)
    state = FixedPoint(network).solve(
        Injections(p_kw=load, q_kvar=0.0 * load, phase=network.home_phase), "loaded"
    )
    row = {name: k for k, name in enumerate(network.buses)}
    at_joint = state.vuf_pct[row[END]]
    assert at_joint > 0.1
    assert [state.vuf_pct[row["service"]], state.vuf_pct[row["attic"]]] == [at_joint, at_joint]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (
            with_service(phase="B", home_phase="C"),
            "household H99 is on phase C, its bus service has only phase B",
        ),
        (with_service(phase="B", beyond="C"), "s2: only phase B reaches its bus service"),
        (with_service(phase="B", beyond="all"), "s2: only phase B reaches its bus service"),
    ],
)
def test_what_does_not_reach_a_bus_is_refused(file: NetworkFile, reason: str) -> None:
    with pytest.raises(InvalidFeeder, match=reason):
        build_network(file)
