"""Scripts a utility may have: OpenDSS runs the very file, we read it, and the two states are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opendssdirect as dss
import pytest

from dso_engine.feeder import load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.network import Earthing, Network
from dso_engine.opendss_read import read_opendss_file
from dso_engine.opendss_write import opendss_script
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import base_case

NETWORKS = Path(__file__).parents[2] / "config" / "networks"

FOUR_WIRES = """
Clear
set DefaultBaseFrequency=50
New Circuit.village basekv=20.6 pu=1.0 angle=0 phases=3   ! its own source feeds nothing
// the real one
new Vsource.grid phases=3 bus1=MV.1.2.3 basekv=20.60 frequency=50.0 pu=1.01 r0=0.8 r1=0.9 x0=4.1 x1=4.2
new Transformer.tr1 phases=3 windings=2 Buses=[mv.1.2.3,Busbar.1.2.3.4] Conns=[D,W] Kvs=[20.60,0.41]
~ Kvas=[160.0,160.0] %Loadloss=1.8 %noloadloss=0.4 %imag=0 Xhl=4.1 normHKVA=184
~ wdg=1 numtaps=3 tap=0.975 maxtap=1.025 mintap=0.975
~ wdg=2 rneut=0.00001 xneut=0.00001
new LineCode.cable nphases=4 units=km Rmatrix=(0.13 | 0.03 0.13 | 0.03 0.03 0.13 | 0.07 0.07 0.07 0.34)
~ Xmatrix=(0.18 | 0.04 0.18 | 0.04 0.04 0.18 | 0.08 0.08 0.08 0.39)
~ cmatrix=(250 | -30 250 | -30 -30 250 | -30 -30 -30 250) normamps=345
new LineCode.ideal nphases=4 r1=1e-10 x1=1e-10 c1=1e-10 r0=1e-10 x0=1e-10 c0=1e-10 normamps=10000
new Line.s1 phases=4 bus1=BUSBAR.1.2.3.4 bus2=h1.1.2.3.4 linecode=ideal switch=y
new Line.s2 phases=4 bus1=h2.1.2.3.4 bus2=busbar.1.2.3.4 linecode=ideal switch=y
/* lines are not in order,
   and one is written from its far end */
new Line.l2 phases=4 bus1=b.1.2.3.4 bus2=a.1.2.3.4 units=m length=120 linecode=cable
new Line.l1 phases=4 bus1=h1.1.2.3.4 bus2=a.1.2.3.4 units=km length=0.08 linecode=CABLE
new Line.l3 phases=4 bus1=h2.1.2.3.4 bus2=c.1.2.3.4 units=ft length=300 linecode=cable
new Line.l4 bus1=c.1.2.3.4 bus2=d.1.2.3.4 linecode=cable switch=y
new Load.x1 phases=1 bus1=a.1.4 conn=w kw=6.5 kvar=2.6 numcust=1 kv=0.2367 Vminpu=0.55 Vmaxpu=1.45 model=1
new Load.x2 phases=1 bus1=b.2.4 kw=4 pf=0.95 kv=0.2367 Vminpu=0.55 Vmaxpu=1.45
new Load.x3 phases=1 bus1=b.3.4 kw=9 pf=-0.9 kv=0.2367 Vminpu=0.55 Vmaxpu=1.45
new Load.x4 phases=1 bus1=d.3.4 kw=3 kvar=0 kv=0.2367 Vminpu=0.55 Vmaxpu=1.45
New Generator.g1 phases=1 bus1=B.2.4 kw=7 kvar=0.5 kv=0.2367 Vminpu=0.55 Vmaxpu=1.45
New Load.off phases=1 bus1=b.3.4 kw=90 kvar=0 kv=0.2367 enabled=no
Edit Load.x1 kw=7.5 kvar=2.6
New EnergyMeter.em Transformer.tr1
"""

THREE_WIRES = """
Clear
Set DefaultBaseFrequency=60
New Circuit.suburb bus1=hv basekv=11 pu=1.03 MVAsc3=150 MVAsc1=110 x1r1=3.5 x0r0=2.5
Redirect codes/lines.txt
New Transformer.t windings=2 leadlag=euro
~ wdg=1 bus=hv conn=delta kv=11 kva=250 %r=0.5
~ wdg=2 bus=lv conn=wye kv=0.416 kva=250 %r=0.6 tap=1.02
~ xhl=4 %noloadloss=0.3
New Line.l1 bus1=lv bus2=a linecode=main length=0.5 units=kft normamps=200
New Line.l2 bus1=a.1.2.3 bus2=b.1.2.3 linecode=main length=400 units=ft
New Line.l3 bus1=a bus2=c length=150 units=m r1=0.0006 x1=0.0001 r0=0.002 x0=0.0001 c1=0 c0=0 normamps=90
New Load.p1 phases=1 bus1=b.1 kv=0.24 kw=8 kvar=2 vminpu=0.5 vmaxpu=1.5
New Load.p2 phases=1 bus1=c.2.0 kv=0.24 kw=5 kvar=-1 vminpu=0.5 vmaxpu=1.5
New Load.p3 phases=1 bus1=c.3 kv=0.24 kw=2 kvar=0.2 vminpu=0.5 vmaxpu=1.5
"""
LINES = "New LineCode.main nphases=3 units=mi r1=0.4 x1=0.3 r0=1.3 x0=0.9 c1=20 c0=15 normamps=250\n"

EARTHED_EVERYWHERE = (
    FOUR_WIRES.replace("1.2.3.4", "1.2.3.0")
    .replace(".1.4", ".1.0")
    .replace(".2.4", ".2.0")
    .replace(".3.4", ".3.0")
)


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "feeder.dss"
    path.write_text(text)
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "lines.txt").write_text(LINES)
    return path


def assert_opendss_agrees(path: Path, grid: Network) -> None:
    dss.Text.Command(f'Compile "{path}"')
    for command in ("Set Tolerance=1e-10", "Set MaxIterations=1000", "Solve"):
        dss.Text.Command(command)
    assert dss.Solution.Converged()
    earthed = grid.earthing is Earthing.EVERY_BUS
    for solver in (FixedPoint(grid), PandapowerFlow(grid)):
        state = solver.solve(base_case(grid), "script")
        for k, bus in enumerate(grid.buses):
            dss.Circuit.SetActiveBus(bus)
            volts = np.array(dss.Bus.Voltages()).reshape(-1, 2) @ np.array([1.0, 1j])
            at = dict(zip(dss.Bus.Nodes(), volts, strict=True))
            assert [abs(at[n] - at.get(4, 0.0)) for n in (1, 2, 3)] == pytest.approx(state.v_v[k], abs=1e-3)
        for k, line in enumerate(grid.segments):
            dss.Circuit.SetActiveElement(f"Line.{line.id}")
            amperes = np.array(dss.CktElement.CurrentsMagAng()).reshape(-1, 2)[:, 0]
            assert amperes[:3] == pytest.approx(state.i_a[k], abs=0.02)  # half of the cable's own is in it
            if len(amperes) == 8:
                assert amperes[3] == pytest.approx(state.i_n_a[k], abs=0.02)
        line_w, _ = dss.Circuit.LineLosses()
        assert line_w == pytest.approx(state.line_loss_kw, abs=1e-4)
        dss.Circuit.SetActiveElement(f"Transformer.{grid.transformer.id}")
        assert dss.CktElement.Losses()[0] / 1e3 == pytest.approx(state.transformer_loss_kw, abs=1e-4)
    assert earthed == (state.v_n_v.max() == 0.0)


def test_a_four_wire_script(tmp_path: Path) -> None:
    path = script(tmp_path, FOUR_WIRES)
    grid = load_network(path)
    assert grid.name == "village"
    assert grid.earthing is Earthing.STAR_POINT
    assert grid.feeders == (1, 2)
    assert [segment.id for segment in grid.segments] == ["s1", "s2", "l1", "l3", "l2", "l4"]
    assert [(home.id, home.feeder, home.bus) for home in grid.homes] == [
        ("x1", 1, "a"),
        ("x2", 1, "b"),
        ("x3", 1, "b"),
        ("x4", 2, "d"),
    ]
    assert grid.homes[0].p_kw == 7.5
    assert grid.homes[2].q_kvar < 0.0
    assert [(unit.id, unit.home) for unit in grid.generators] == [("g1", "x2")]
    assert grid.segments[3].length_m == pytest.approx(91.44)
    assert_opendss_agrees(path, grid)


def test_what_a_script_says_in_vain_is_noted(tmp_path: Path) -> None:
    notes = "\n".join(read_opendss_file(script(tmp_path, FOUR_WIRES)).notes)
    assert "feeder.dss:28: Load.off is not enabled and left out" in notes
    assert "feeder.dss:30: energymeter em does not change the network" in notes
    assert "feeder.dss:4: source village at sourcebus feeds nothing" in notes
    assert "feeder.dss:23: load option numcust has no effect here" in notes
    assert "transformer option normhkva has no effect here" in notes


def test_a_three_wire_script_in_other_units(tmp_path: Path) -> None:
    path = script(tmp_path, THREE_WIRES)
    grid = load_network(path)
    assert grid.earthing is Earthing.EVERY_BUS
    assert grid.frequency_hz == 60.0
    assert grid.feeders == (1,)
    assert grid.transformer.shift_degree == 330.0
    assert [segment.rated_current_a for segment in grid.segments] == [200.0, 250.0, 90.0]
    assert_opendss_agrees(path, grid)


def test_a_script_with_the_neutral_earthed_at_every_bus(tmp_path: Path) -> None:
    path = script(tmp_path, EARTHED_EVERYWHERE)
    grid = load_network(path)
    assert grid.earthing is Earthing.EVERY_BUS
    assert_opendss_agrees(path, grid)


def test_the_source_of_a_short_circuit_power_is_opendss_own(tmp_path: Path) -> None:
    path = script(tmp_path, THREE_WIRES)
    grid = load_network(path)
    dss.Text.Command(f'Compile "{path}"')
    for name, z_ohm in (("Z1", grid.source.z1_ohm), ("Z0", grid.source.z0_ohm)):
        dss.Text.Command(f"? Vsource.source.{name}")
        r, x = (float(part) for part in dss.Text.Result().strip("[]").split(","))
        assert complex(r, x) == pytest.approx(z_ohm, rel=1e-4)


@pytest.mark.parametrize("name", ["lv_33h_17pv", "lv_50h"])
def test_our_own_script_is_what_opendss_takes_it_for(tmp_path: Path, name: str) -> None:
    path = script(tmp_path, opendss_script(load_network(NETWORKS / f"{name}.json")))
    assert_opendss_agrees(path, load_network(path))
