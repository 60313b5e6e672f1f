"""``feederloop network``: show, convert and room."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pandapower as pp
import pandapower.networks
import pytest
from typer.testing import CliRunner, Result

from dso_engine.feeder import load_network
from feederloop.cli import app

NETWORKS = Path(__file__).parents[3] / "config" / "networks"
PUBLISHED = NETWORKS / "lv_33h_17pv.json"


def network(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["network", *map(str, words)])


def test_show_says_what_it_is_and_solves_it() -> None:
    told = network("show", PUBLISHED)
    assert told.exit_code == 0
    assert "feeder 1: 9 segments, 347 m, 16 homes (A 4, B 6, C 6)" in told.output
    assert "solved: 234.55 to 235.90 V, VUF 0.073 %, neutral 0.89 V 9.7 A, transformer 14.5 %" in told.output
    assert "losses: lines 18.1 W, of it neutral 6.5 W; transformer 689.4 W" in told.output
    assert "broken" not in told.output


def test_show_names_the_worst_of_what_is_broken() -> None:
    told = network("show", PUBLISHED, "--nominal", "200")
    assert "broken: voltage-high" in told.output
    assert told.output.count("broken") == 1
    assert " more" in told.output


def test_there_and_back_and_the_notes(tmp_path: Path) -> None:
    script, again = tmp_path / "a.dss", tmp_path / "b.json"
    assert network("convert", PUBLISHED, script).exit_code == 0
    told = network("convert", script, again)
    assert told.exit_code == 0
    assert "21 buses, 33 homes" in told.output
    assert "note: a.dss:" in told.output
    assert "solve does not change the network" in told.output
    assert load_network(again).homes == load_network(PUBLISHED).homes
    assert network("show", script).output.splitlines()[5:] != []


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "a.dss"
    target.write_text("mine")
    told = network("convert", PUBLISHED, target)
    assert told.exit_code == 2
    assert "--force" in told.output
    assert target.read_text() == "mine"
    assert network("convert", PUBLISHED, target, "--force").exit_code == 0
    assert target.read_text().startswith("Clear")


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("absent.json", "b.json", "cannot be read"),
        (str(PUBLISHED), "b.txt", "neither .json nor .dss"),
        ("wrong.dss", "b.json", "wrong.dss:1: command nonsense is not understood"),
        ("net.json", "b.json", "net.json: not a net pandapower can read"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(tmp_path: Path, source: str, target: str, reason: str) -> None:
    (tmp_path / "wrong.dss").write_text("nonsense\n")
    (tmp_path / "net.json").write_text('{"_class": "pandapowerNet", broken')
    told = network("convert", tmp_path / source, tmp_path / target)
    assert told.exit_code == 2
    assert reason in told.output
    assert not (tmp_path / target).exists()


def test_a_pandapower_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = pandapower.networks.ieee_european_lv_asymmetric("off_peak_1")
        pp.to_json(net, str(tmp_path / "street.json"))
    told = network("convert", tmp_path / "street.json", tmp_path / "ours.json")
    assert told.exit_code == 0, told.output
    assert json.loads((tmp_path / "ours.json").read_text())["name"] == "street"
    bundled = network("convert", "ieee-european-lv", tmp_path / "peak.json")
    assert bundled.exit_code == 0
    assert len(load_network(tmp_path / "peak.json").homes) == 55


def test_room_lists_every_home() -> None:
    told = network("room", NETWORKS / "lv_50h_rural.json", "--most", "30")
    assert told.exit_code == 0
    lines = told.output.splitlines()
    assert len(lines) == 51
    assert any("none up to 30 kW" in line for line in lines)
    assert any("voltage-high Node_000" in line for line in lines)
    imports = network("room", NETWORKS / "lv_50h_rural.json", "--import")
    assert "transformer transformer00001" in imports.output
    assert network("room", "absent.dss").exit_code == 2


STREET = """Set DefaultBaseFrequency=50
New Circuit.street bus1=hv basekv=20 pu=1.06 isc3=2000
New Transformer.t buses=[hv lv] conns=[delta wye] kvs=[20 0.4] kvas=[100 100] xhl=4 %loadloss=1
New Line.main bus1=lv bus2=a length=80 units=m r1=0.0003 x1=0.0001 r0=0.0009 x0=0.0003 c1=0 c0=0
New Line.service phases=1 bus1=a.2 bus2=h.2 length=20 units=m rmatrix=[0.001] xmatrix=[0.0001] cmatrix=[0]
New Load.x phases=1 bus1=h.2 kv=0.23 kw=3 pf=0.95
New Load.pump bus1=a kv=0.4 kva=6 pf=0.9 vmaxpu=1.2
"""


def test_a_script_without_ratings_is_given_one(tmp_path: Path) -> None:
    script = tmp_path / "street.dss"
    script.write_text(STREET)
    refused = network("room", script)
    assert refused.exit_code == 2
    assert "street.dss:4: Line.main: normamps is not given" in refused.output
    assert "--rated-a" in refused.output
    told = network("room", script, "--rated-a", "50")
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.output.splitlines()[1:]] == ["x", "pump_a", "pump_b", "pump_c"]
    assert network("convert", script, tmp_path / "street.json", "--rated-a", "50").exit_code == 0
    assert network("room", tmp_path / "street.json").output == told.output


def test_show_says_where_opendss_would_leave_constant_power(tmp_path: Path) -> None:
    script = tmp_path / "street.dss"
    script.write_text(STREET)
    told = network("show", script, "--rated-a", "50").output
    assert "note: street.dss:7: Load.pump has three phases, here three: pump_a, pump_b, pump_c" in told
    assert "careful: 1 loads are outside of their vminpu to vmaxpu" in told
    assert "first x: 243.0 V, 218.5 to 241.5 V" in told
    script.write_text(STREET.replace("pf=0.95", "pf=0.95 vmaxpu=1.2"))
    assert "careful" not in network("show", script, "--rated-a", "50").output
