"""Feeders as utilities write them: OpenDSS runs the very files, we read them, all figures are the same.

The tolerances are those of the issue: 1 mV, 5 mA, 0.0001 points of VUF, 0.1 W of losses.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import opendssdirect as dss
import pytest

from dso_engine.feeder import build_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import ComplexArray
from dso_engine.network import Earthing, Network
from dso_engine.opendss_read import OpenDssFeeder, read_opendss_file
from dso_engine.opendss_write import opendss_script
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, base_case, vuf_pct

BAND = "vminpu=0.5 vmaxpu=1.5"

IEEE_STYLE = {
    "Master.dss": f"""clear
Set DefaultBaseFreq=50  ! for European system
New circuit.LVTest
Edit Vsource.Source BasekV=11 pu=1.05  ISC3=3000  ISC1=5
Redirect linecode.txt
Redirect LoadShapes.txt
batchedit loadshape..* useactual=no
Redirect Lines.txt
Redirect Transformers.txt
Redirect Loads.txt
batchedit load..* {BAND}
New energymeter.m1 LINE.LINE1 1
New monitor.LINE3_VI LINE.LINE3 1 Mode=0
Set voltagebases=[11  .416]
Calcvoltagebases
buscoords Buscoords.txt
solve
//=======
// plot circuit Power Max=30 dots=y
""",
    "LineCode.txt": """New LineCode.2c_.007 nphases=3 R1=3.97 X1=0.099 R0=3.97 X0=0.099 C1=0 C0=0 Units=km
New LineCode.4c_70 nphases=3 R1=0.446 X1=0.071 R0=1.505 X0=0.083 C1=0 C0=0 Units=km
""",
    "LoadShapes.txt": "New Loadshape.Shape_1 npts=3 minterval=1 mult=(0.1 0.5 0.2)\n",
    "Lines.txt": """New Line.LINE1 Bus1=1 Bus2=2 phases=3 Linecode=4c_70 Length=85.098 Units=m
New Line.LINE2 Bus1=2 Bus2=3 phases=3 Linecode=4c_70 Length=40 Units=m
New Line.LINE3 Bus1=3 Bus2=4 phases=3 Linecode=2c_.007 Length=12.5 Units=m
New Line.LINE4 Bus1=2 Bus2=5 phases=3 Linecode=2c_.007 Length=21 Units=m
""",
    "Transformers.txt": "New Transformer.TR1 Buses=[SourceBus 1] Conns=[Delta Wye] kVs=[11 0.416] "
    "kVAs=[800 800] XHL=4 sub=y\n",
    "Loads.txt": """New Load.LOAD1 Phases=1 Bus1=4.1 kV=0.23 kW=7 PF=0.95 Daily=Shape_1
New Load.LOAD2 Phases=1 Bus1=5.2 kV=0.23 kW=4 PF=0.95 Daily=Shape_1
New Load.LOAD3 Phases=1 Bus1=3.3 kV=0.23 kW=3 PF=0.95 Daily=Shape_1
""",
}

TWO_WIRE_SERVICES = {
    "feeder.dss": f"""Clear
Set DefaultBaseFrequency=50
New object=circuit.street basekv=11 pu=1.01 bus1=sourcebus ISC3=9999 Isc1=9999
// 11 kV cable to the substation
New Line.sourceZ bus1=SourceBus bus2=SourceBusZ phases=3 R1=0.51344 X1=2.0537
~ R0=1.2 X0=3.6 C1=300 C0=200 units=km length=2
New Transformer.TR1 Buses=[SourceBusZ.1.2.3 1.1.2.3.4] Conns=[Delta Wye] kVs=[11 0.416]
~ kVAs=[500 500] XHL=5 ppm=0 %Rs=(0.6, 0.7) %noloadloss=0.2
New Reactor.Grounding phases=1 bus1=1.4 bus2=1.0 R=0.0 X=1E-10
New LineCode.main nphases=4 units=km normamps=300
~ Rmatrix=[0.20 | 0.05 0.20 | 0.05 0.05 0.20 | 0.05 0.05 0.05 0.24]
~ Xmatrix=[0.70 | 0.62 0.70 | 0.62 0.62 0.70 | 0.63 0.63 0.63 0.71]
~ Cmatrix=[0 | 0 0 | 0 0 0 | 0 0 0 0]
New LineCode.service nphases=2 units=km Rmatrix=[1.20 | 0.05 1.20] Xmatrix=[0.76 | 0.68 0.76] normamps=80
~ Cmatrix=[0 | 0 0]
New Line.m1 bus1=1.1.2.3.4 bus2=2.1.2.3.4 linecode=main length=120 units=m
New Line.m2 bus1=2.1.2.3.4 bus2=3.1.2.3.4 linecode=main length=0.09 units=km
New Line.branch bus1=2.1.2.3.4 bus2=4.1.2.3.4 linecode=main length=75 units=m
New Line.s1 phases=2 bus1=3.1.4 bus2=h1.1.4 linecode=service length=25 units=m
New Line.s2 phases=2 bus1=h2.2.4 bus2=2.2.4 linecode=service length=14 units=m ! written from its far end
New Line.s3 phases=2 bus1=4.3.4 bus2=h3.3.4 linecode=service length=18 units=m
New Line.s3b phases=2 bus1=h3.3.4 bus2=h4.3.4 linecode=service length=9 units=m
New Load.a phases=1 bus1=h1.1.4 kV=0.24 kVA=6 pf=0.9 {BAND}
New Load.b phases=1 bus1=h2.2.4 kV=0.24 kW=3 pf=0.95 {BAND}
New Load.c bus1=h3.3.4 phases=1 kV=0.24 kW=4 kvar=1 {BAND}
New Load.d like=c bus1=h4.3.4
Load.d.kW=2.5
Load.d.kvar = 0.4
New Load.pump bus1=4.1.2.3.4 phases=3 conn=wye kV=0.416 kW=9 kvar=3 {BAND}
New Generator.pv phases=1 bus1=h2.2.4 kV=0.24 kW=5 pf=1 {BAND}
Solve
""",
}

EARTHED_EVERYWHERE = {
    name: text.replace(".1.2.3.4", ".1.2.3.0").replace(".1.4", ".1.0").replace(".2.4", ".2.0")
    .replace(".3.4", ".3.0").replace("New Reactor.Grounding phases=1 bus1=1.4 bus2=1.0", "! ")
    for name, text in TWO_WIRE_SERVICES.items()
}  # fmt: skip

ONE_WIRE_EARTH_RETURN = {
    "f.dss": f"""CLEAR\r
SET DEFAULTBASEFREQUENCY=60\r
NEW CIRCUIT.C BASEKV=20 BUS1=HV MVASC3=200\r
new transformer.t windings=2 phases=3 xhl=4\r
~ wdg=1 bus=hv conn=delta kv=20 kva=250\r
more wdg=2 bus=lv conn=wye kv=0.4 kva=250 %r=0.5\r
new linecode.o nphases=3 r1=0.3 x1=0.28 r0=0.9 x0=1.1 units=km normamps=200\r
new linecode.one nphases=1 r1=0.6 x1=0.5 c1=0 c0=0 r0=0.6 x0=0.5 units=km normamps=90\r
new line.a lv b o 150 units=m\r
new line.b b.2 c.2 one 60 1 units=m\r
new "load.x" 1 c.2 .23 5 .9 {BAND}\r
new load.y phases=1, bus1=b.1, kv=.23, kw=6, kvar=1, {BAND}\r
edit load.y kw=7 kvar=1\r
disable load.z\r
calcv\r
solve\r
""".replace("disable load.z", "new load.z phases=1 bus1=b.3 kv=.23 kw=50 pf=1\r\ndisable load.z"),
}  # fmt: skip


def on_disk(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, newline="")
    return folder / next(iter(files))


def run_by_opendss(path: Path, more: Callable[[], None] = lambda: None) -> None:
    """The same script, its last Solve at a tolerance that shows differences of a millivolt."""
    dss.Text.Command("Clear")
    dss.Text.Command("Set DefaultBaseFrequency=60")  # which a script before may have changed
    text = path.read_text().splitlines()
    for line in text:
        words = line.split()
        verb = words[0].lower() if words else ""
        if verb == "redirect":
            dss.Text.Command(f'redirect "{_as_spelled(path.parent, words[1])}"')
        elif verb not in ("buscoords", "solve"):
            dss.Text.Command(line)
    more()
    for command in ("Set Tolerance=1e-10", "Set MaxIterations=1000", "Solve"):
        dss.Text.Command(command)
    assert dss.Solution.Converged()


def _as_spelled(folder: Path, name: str) -> Path:
    return next(each for each in folder.iterdir() if each.name.lower() == name.lower())


def assert_same(grid: Network) -> GridState:
    """All figures of both power flows are those OpenDSS has now."""
    v = np.array([phasors(bus) for bus in grid.buses])
    v_pn = v[:, :3] - v[:, 3:]
    found = [line_of(segment.id) for segment in grid.segments]
    dss.Circuit.SetActiveElement(f"Transformer.{grid.transformer.id}")
    transformer_kw = dss.CktElement.Losses()[0] / 1e3
    for solver in (FixedPoint(grid), PandapowerFlow(grid)):
        state = solver.solve(base_case(grid), "style")
        there = grid.has_phase
        assert np.abs(v_pn[there]) == pytest.approx(state.v_v[there], abs=1e-3)
        whole = there.all(axis=1)
        assert vuf_pct(v_pn[whole]) == pytest.approx(state.vuf_pct[whole], abs=1e-4)
        if grid.earthing is Earthing.STAR_POINT:
            assert np.abs(v[:, 3]) == pytest.approx(state.v_n_v, abs=1e-3)
        for k, (current, _, _) in enumerate(found):
            assert np.abs(current[:3]) == pytest.approx(state.i_a[k], abs=5e-3)
            assert abs(current[3]) == pytest.approx(state.i_n_a[k], abs=5e-3)
        assert sum(loss for _, loss, _ in found) == pytest.approx(1e3 * state.line_loss_kw, abs=0.1)
        assert sum(loss for *_, loss in found) == pytest.approx(1e3 * state.neutral_loss_kw, abs=0.1)
        assert transformer_kw == pytest.approx(state.transformer_loss_kw, abs=1e-4)
    return state


def phasors(bus: str) -> ComplexArray:
    dss.Circuit.SetActiveBus(bus)
    flat = np.array(dss.Bus.Voltages())
    found = np.zeros(4, dtype=np.complex128)
    for node, volts in zip(dss.Bus.Nodes(), flat[0::2] + 1j * flat[1::2], strict=True):
        found[node - 1] = volts
    return found


def line_of(name: str) -> tuple[ComplexArray, float, float]:
    """Series current by conductor a b c n, losses of all conductors and of the neutral, W."""
    dss.Circuit.SetActiveElement(f"Line.{name}")
    flat, volts = np.array(dss.CktElement.Currents()), np.array(dss.CktElement.Voltages())
    ends, at = flat[0::2] + 1j * flat[1::2], volts[0::2] + 1j * volts[1::2]
    count = len(ends) // 2
    nodes = dss.CktElement.NodeOrder()[:count]
    current, neutral_w = np.zeros(4, dtype=np.complex128), 0.0
    for k, node in enumerate(nodes):
        series = (ends[k] - ends[count + k]) / 2.0
        is_neutral = count in (2, 4) and k == count - 1
        current[3 if is_neutral else node - 1] = series
        if is_neutral:
            neutral_w = float(np.real((at[k] - at[count + k]) * np.conj(series)))
    return current, dss.CktElement.Losses()[0], neutral_w


def read(path: Path, rated_a: float | None = None) -> tuple[OpenDssFeeder, Network]:
    found = read_opendss_file(path, rated_a=rated_a)
    return found, build_network(found.file)


def test_files_as_the_ieee_feeder_has_them(tmp_path: Path) -> None:
    path = on_disk(tmp_path, IEEE_STYLE)
    found, grid = read(path, rated_a=150.0)
    run_by_opendss(path)
    assert_same(grid)
    assert [segment.rated_current_a for segment in grid.segments] == [150.0] * 4
    notes = "\n".join(found.notes)
    assert "Transformer.TR1: %r 1=0.2, as OpenDSS takes it" in notes
    assert "Lines.txt:1: Line.LINE1 (and 3 more) has no normamps: rated 150 A as asked for" in notes


@pytest.mark.parametrize("files", [TWO_WIRE_SERVICES, EARTHED_EVERYWHERE])
def test_services_of_one_phase_three_phase_loads_and_a_cable_before_the_transformer(
    tmp_path: Path, files: dict[str, str]
) -> None:
    path = on_disk(tmp_path, files)
    found, grid = read(path)
    run_by_opendss(path)
    state = assert_same(grid)
    assert {str(home.id) for home in grid.homes} == {"a", "b", "c", "d", "pump_a", "pump_b", "pump_c"}
    assert (grid.earthing is Earthing.EVERY_BUS) == (files is EARTHED_EVERYWHERE)
    assert state.i_n_a.max() > 5.0
    assert any("Line.sourceZ is before the transformer" in note for note in found.notes)


def test_earth_as_the_return_and_lines_without_names_of_options(tmp_path: Path) -> None:
    path = on_disk(tmp_path, ONE_WIRE_EARTH_RETURN)
    found, grid = read(path)
    run_by_opendss(path)
    assert_same(grid)
    assert [str(home.id) for home in grid.homes] == ["x", "y"]
    assert any("nF per km, as OpenDSS takes it" in note for note in found.notes)


def test_what_we_write_of_laterals_opendss_takes_for_the_same(tmp_path: Path) -> None:
    _, grid = read(on_disk(tmp_path, TWO_WIRE_SERVICES))
    again_path = tmp_path / "again.dss"
    again_path.write_text(opendss_script(grid))
    run_by_opendss(again_path)
    assert_same(grid)
    _, again = read(again_path)
    assert np.array_equal(again.z4_ohm, grid.z4_ohm)
    assert opendss_script(again) == opendss_script(grid)


def test_capacitance_of_laterals_is_left_out_and_said(tmp_path: Path) -> None:
    files = {
        name: text.replace("Cmatrix=[0 | 0 0]", "Cmatrix=[200 | -100 200]")
        for name, text in TWO_WIRE_SERVICES.items()
    }
    path = on_disk(tmp_path, files)
    found, grid = read(path)
    run_by_opendss(path)
    assert_same(grid)
    assert any("capacitance of lines of one phase is left out, 1 mA in all" in note for note in found.notes)
