"""Any network the model covers, written as an OpenDSS script or as our file and read back, is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.feeder import build_network, load_network
from dso_engine.feeder_file import NetworkFile, network_json
from dso_engine.fixed_point import FixedPoint
from dso_engine.network import Network
from dso_engine.opendss_read import read_opendss_file
from dso_engine.opendss_write import opendss_script
from dso_engine.powerflow import base_case

PHASES = ("A", "B", "C")
small = st.floats(0.001, 2.0, allow_nan=False, allow_subnormal=False)
power = st.floats(-6.0, 6.0, allow_nan=False, allow_subnormal=False)


@st.composite
def codes(draw: st.DrawFn) -> dict[str, object]:
    """A cable whose phases are alike, as every solver takes it."""

    def matrix(own: float, mutual: float, to_neutral: float, neutral: float) -> list[list[float]]:
        whole = np.full((4, 4), mutual)
        whole[:3, 3] = whole[3, :3] = to_neutral
        np.fill_diagonal(whole, (own, own, own, neutral))
        return [list(map(float, row)) for row in whole]

    r, x = draw(small) * 1e-3, draw(small) * 1e-3
    mutual = draw(st.sampled_from((0.0, 0.1, 0.3)))
    return {
        "r_ohm_per_m": matrix(r, mutual * r, mutual * r, draw(small) * 1e-3 + r),
        "x_ohm_per_m": matrix(x, mutual * x, mutual * x, x),
        "c_nf_per_m": matrix(0.3, -0.05, -0.05, 0.3),
        "rated_current_a": draw(st.floats(10.0, 500.0)),
        "rated_neutral_current_a": None,
    }


@st.composite
def networks(draw: st.DrawFn) -> NetworkFile:
    """A tree of up to eight buses, some of them on laterals, with homes and generators."""
    earthing = draw(st.sampled_from(("transformer star point only", "every bus")))
    used = {"Main": draw(codes()), "thin-2": draw(codes())}
    buses = [{"id": "lv", "v_nom_ll_kv": 0.4, "feeder": 0}, {"id": "hv", "v_nom_ll_kv": 20.0, "feeder": 0}]
    feeder_of, phase_of, links, lines = {"lv": 0}, dict[str, str | None]({"lv": None}), [], []
    for k in range(draw(st.integers(1, 7))):
        start = draw(st.sampled_from(sorted(feeder_of)))
        feeder = feeder_of[start] or max(feeder_of.values()) + 1
        phase = phase_of[start] or draw(st.sampled_from((None, None, *PHASES)))
        bus = f"b{k}"
        ends = {"id": f"part_{k}", "feeder": feeder, "from_bus": start, "to_bus": bus}
        if start == "lv" and phase is None and draw(st.booleans()):
            links.append(ends | {"closed": True, "r_ohm": draw(small), "x_ohm": draw(small)})
        else:
            code = draw(st.sampled_from(sorted(used)))
            lines.append(ends | {"linecode": code, "length_m": draw(st.floats(1.0, 90.0)), "phase": phase})
        feeder_of[bus], phase_of[bus] = feeder, phase
        buses.append({"id": bus, "v_nom_ll_kv": 0.4, "feeder": feeder})
    homes: list[dict[str, object]] = []
    units: list[dict[str, object]] = []
    for k in range(draw(st.integers(1, 5))):
        bus = draw(st.sampled_from(sorted(set(feeder_of) - {"lv"})))
        phase = phase_of[bus] or draw(st.sampled_from(PHASES))
        at = {"bus": bus, "phase": phase, "q_kvar": draw(power)}
        homes.append({"id": f"H{k}", "feeder": feeder_of[bus], "p_kw": draw(power)} | at)
        if draw(st.booleans()) and not any((u["bus"], u["phase"]) == (bus, phase) for u in units):
            first = next(h["id"] for h in homes if (h["bus"], h["phase"]) == (bus, phase))
            units.append({"id": f"pv{k}", "household": first, "p_kw": draw(power)} | at)
    vkr, vk = draw(st.floats(0.1, 2.0)), draw(st.floats(2.5, 8.0))
    return NetworkFile.model_validate(
        {
            "format": "lv-four-wire-network",
            "version": 1,
            "name": "any",
            "frequency_hz": draw(st.sampled_from((50.0, 60.0))),
            "neutral_earthing": earthing,
            "mv_source": {"bus": "hv", "v_ll_kv": 20.0}
            | {key: draw(small) for key in ("r1_ohm", "x1_ohm", "r0_ohm", "x0_ohm")},
            "transformer": {
                "id": "T1",
                "hv_bus": "hv",
                "lv_bus": "lv",
                "s_rated_kva": 250.0,
                "v_hv_ll_kv": 20.0,
                "v_lv_ll_kv": 0.4,
                "connection": "Dyn",
                "clock_number": draw(st.sampled_from((1, 11))),
                "vk_percent": vk,
                "vkr_percent": vkr,
                "pfe_kw": draw(st.floats(0.0, 1.0)),
                "zero_sequence": {"vk0_percent": vk, "vkr0_percent": vkr},
                "tap": {"side": draw(st.sampled_from(("hv", "lv"))), "value_pu": 1.0},
            },
            "linecodes": used,
            "buses": buses,
            "links": links,
            "lines": lines,
            "households": homes,
            "pv": units,
        }
    )


def assert_same(one: Network, other: Network) -> None:
    assert (one.name, one.frequency_hz, one.earthing) == (other.name, other.frequency_hz, other.earthing)
    assert one.buses == other.buses
    assert one.homes == other.homes
    assert one.generators == other.generators
    for this, that in zip(one.segments, other.segments, strict=True):
        assert (this.id, this.feeder, this.from_bus, this.to_bus) == (
            that.id,
            that.feeder,
            that.from_bus,
            that.to_bus,
        )
        assert (this.phase, this.length_m, this.rated_current_a) == (
            that.phase,
            that.length_m,
            that.rated_current_a,
        )
        assert np.array_equal(this.c_nf, that.c_nf)
    assert np.array_equal(one.z4_ohm, other.z4_ohm)
    assert one.source == other.source
    assert one.transformer.vk_percent == pytest.approx(other.transformer.vk_percent, rel=1e-12)  # by way of
    assert one.transformer.pfe_kw == pytest.approx(other.transformer.pfe_kw, rel=1e-12)  # xhl and per cent
    assert (one.transformer.vkr_percent, one.transformer.shift_degree) == (
        other.transformer.vkr_percent,
        other.transformer.shift_degree,
    )


def reordered(network: Network) -> bool:
    """Whether the script's order of lines numbers feeders otherwise than the file: only names then differ."""
    first = [segment.feeder for segment in network.segments if segment.from_bus == network.buses[0]]
    return first != sorted(first)


@settings(max_examples=150, deadline=None)
@given(networks())
def test_a_script_reads_back_as_the_network_it_was_written_from(
    tmp_path_factory: pytest.TempPathFactory, file: NetworkFile
) -> None:
    network = build_network(file)
    path = tmp_path_factory.getbasetemp() / "any.dss"
    path.write_text(opendss_script(network))
    again = build_network(read_opendss_file(path).file)
    if not reordered(network):
        assert_same(network, again)
    # What is read is written as it was, whatever was numbered.
    path.write_text(opendss_script(again))
    assert_same(again, build_network(read_opendss_file(path).file))


@settings(max_examples=60, deadline=None)
@given(networks())
def test_a_file_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, file: NetworkFile) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(network_json(file))
    assert_same(load_network(path), build_network(file))


@settings(max_examples=60, deadline=None)
@given(networks())
def test_a_phase_that_is_not_there_has_the_voltage_where_the_lateral_begins(file: NetworkFile) -> None:
    network = build_network(file)
    state = FixedPoint(network).solve(base_case(network, load=0.3, generation=0.3), "any")
    begins = state.v_v[network.three_phase_bus]
    assert state.v_v[~network.has_phase] == pytest.approx(begins[~network.has_phase], abs=1e-6)
    laterals = [k for k, segment in enumerate(network.segments) if segment.phase is not None]
    for k in laterals:
        absent = np.arange(3) != network.segments[k].phase
        assert state.i_a[k, absent] == pytest.approx(0.0, abs=1e-9)
