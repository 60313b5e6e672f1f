"""OpenDSS scripts: what is read, what is refused with file and line, and the way there and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dso_engine import opendss_text
from dso_engine.errors import InvalidFeeder, InvalidScript
from dso_engine.feeder import build_network, load_network
from dso_engine.feeder_file import network_json
from dso_engine.model import HomeId
from dso_engine.network import Earthing, Linecode, Network
from dso_engine.opendss_read import read_opendss_file
from dso_engine.opendss_text import read_commands
from dso_engine.opendss_write import opendss_script
from dso_engine.powerflow import Injections, base_case

NETWORKS = Path(__file__).parents[2] / "config" / "networks"
NAMES = ("lv_33h_17pv", "lv_33h_17pv_150_70", "lv_50h", "lv_50h_rural")

SMALL = """\
Set DefaultBaseFrequency=50
New Circuit.small bus1=hv basekv=20 Z1=[0.8 4.1] Z0=[0.8 4.1]
New Transformer.t buses=[hv lv.1.2.3.0] conns=[delta wye] kvs=[20 0.4] kvas=[100 100] xhl=4 %loadloss=1
New LineCode.k nphases=4 units=m r1=0.0002 x1=0.0001 r0=0.0004 x0=0.0002 c1=0 c0=0 normamps=200
New Line.s phases=4 bus1=lv.1.2.3.0 bus2=h.1.2.3.4 switch=y
New Line.l phases=4 bus1=h.1.2.3.4 bus2=a.1.2.3.4 linecode=k length=50 units=m
New Load.x phases=1 bus1=a.1.4 kw=2 kvar=1
New Generator.g phases=1 bus1=a.1.4 kw=3 kvar=0
"""


def written(tmp_path: Path, text: str, name: str = "small.dss") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def same(one: Network, other: Network) -> bool:
    def code(each: Linecode | None) -> tuple[object, ...]:
        if each is None:
            return ()
        return (each.id, each.c_nf_per_m.tobytes(), each.rated_current_a)

    return (
        (one.name, one.frequency_hz, one.source, one.buses, one.homes, one.feeders)
        == (other.name, other.frequency_hz, other.source, other.buses, other.homes, other.feeders)
        and (one.earthing, one.generators) == (other.earthing, other.generators)
        and np.array_equal(one.z4_ohm, other.z4_ohm)
        and [(s.id, s.feeder, s.from_bus, s.to_bus, s.length_m, code(s.linecode)) for s in one.segments]
        == [(s.id, s.feeder, s.from_bus, s.to_bus, s.length_m, code(s.linecode)) for s in other.segments]
        and dataclasses.replace(one.transformer, pfe_kw=0.0)
        == dataclasses.replace(other.transformer, pfe_kw=0.0)
        and one.transformer.pfe_kw == pytest.approx(other.transformer.pfe_kw, rel=1e-14)  # by way of per cent
    )


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_is_the_same_network(tmp_path: Path, name: str) -> None:
    network = load_network(NETWORKS / f"{name}.json")
    script = opendss_script(network)
    again = load_network(written(tmp_path, script))
    assert same(network, again)
    assert opendss_script(again) == opendss_script(load_network(written(tmp_path, opendss_script(again))))


@pytest.mark.parametrize("name", NAMES[1:])
def test_from_a_script_to_a_network_file(tmp_path: Path, name: str) -> None:
    network = load_network(NETWORKS / f"{name}.json")
    file = read_opendss_file(written(tmp_path, opendss_script(network))).file
    json = written(tmp_path, network_json(file), "again.json")
    assert same(load_network(json), network)


def test_other_earthing_and_links_survive(tmp_path: Path) -> None:
    network = load_network(NETWORKS / "lv_50h.json")
    link = dataclasses.replace(network.segments[0], link_z_ohm=0.002 + 0.0005j)
    other = dataclasses.replace(
        network,
        segments=(link, *network.segments[1:]),
        earthing=Earthing.EVERY_BUS,
        transformer=dataclasses.replace(network.transformer, shift_degree=330.0),
    )
    assert same(other, load_network(written(tmp_path, opendss_script(other))))


def test_injections_take_the_place_of_loads_and_generators(tmp_path: Path) -> None:
    network = load_network(NETWORKS / "lv_33h_17pv.json")
    moved = (network.home_phase + 1) % 3
    state = Injections(p_kw=np.linspace(-3.0, 3.0, 33), q_kvar=np.linspace(1.0, -1.0, 33), phase=moved)
    again = load_network(written(tmp_path, opendss_script(network, state)))
    assert again.generators == ()
    found = base_case(again)
    assert np.array_equal(found.p_kw, state.p_kw)
    assert np.array_equal(found.q_kvar, state.q_kvar)
    assert np.array_equal(found.phase, moved)


def test_the_base_case_of_a_small_script(tmp_path: Path) -> None:
    network = load_network(written(tmp_path, SMALL))
    assert base_case(network).p_kw == pytest.approx([-1.0])
    assert base_case(network, load=2.0, generation=0.5).p_kw == pytest.approx([2.5])
    assert base_case(network).q_kvar == pytest.approx([1.0])
    assert network.segments[1].z_ohm[0, 0] == pytest.approx(50 * complex(0.0008 / 3.0, 0.0004 / 3.0))
    assert network.segments[1].z_ohm[0, 3] == pytest.approx(50 * complex(0.0002 / 3.0, 0.0001 / 3.0))


REFUSED = [
    ("kw=2 kvar=1", "kw=2", 7, "needs kvar or pf"),
    ("kw=2 kvar=1", "kvar=1 kw=2", 7, "kw after kvar"),
    ("kw=2 kvar=1", "kw=two kvar=1", 7, "kw=two is not a number"),
    ("kw=2 kvar=1", "kvar=1", 7, "kw is not given, nor kva"),
    ("kw=2 kvar=1", "kva=2", 7, "needs pf beside kva"),
    ("kw=2 kvar=1", "kva=2 kvar=1 kw=1", 7, "kw after kvar"),
    ("kw=2 kvar=1", "kw=2 kva=2 kvar=1", 7, "kva and then kvar"),
    ("kw=2 kvar=1", "kw=2 kvar=1 kwh=4", 7, "option kwh is not understood"),
    ("kw=2 kvar=1", "kw=2 kvar=1 k=4", 7, "k could be kv, kw, kvar, kva, kwh, kwhdays"),
    ("kw=2 kvar=1", "kw=2 kvar=1 like=y", 7, "there is no load y"),
    ("New Generator.g", "New Load.y like=x !", 8, "bus1 is not given"),
    ("kw=2 kvar=1", "kw=2 kvar=1 kw=(1 2 *)", 7, "kw=1 2 * is not a number"),
    ("kw=2 kvar=1", "kw=2 pf=1.2", 7, "pf=1.2"),
    ("kw=2 kvar=1", "kw=2 kvar=1 model=2", 7, "only model=1"),
    ("kw=2 kvar=1", "kw=2 kvar=1 conn=delta", 7, "conn=delta is not understood"),
    ("Load.x phases=1", "Load.x phases=3", 7, "not three phases against the neutral"),
    ("Load.x phases=1", "Load.x phases=2", 7, "only one phase or three"),
    ("Load.x phases=1", "Load.x", 7, "OpenDSS would take 3"),
    ("Load.x phases=1 bus1=a.1.4", "Load.x phases=3 bus1=a", 7, "against node 0, the neutral is 4"),
    ("bus1=a.1.4 kw=2", "bus1=a.1.2 kw=2", 7, "not one phase against the neutral"),
    ("bus1=a.1.4 kw=2", "bus1=a.1 kw=2", 7, "against node 0, the neutral is 4"),
    ("bus1=a.1.4 kw=2", "bus1=b.1.4 kw=2", 7, "on no feeder"),
    ("bus1=a.1.4 kw=2", "bus1=a.x.4 kw=2", 7, "is not a bus with nodes"),
    ("bus1=a.1.4 kw=3", "bus1=a.2.4 kw=3", 8, "no home"),
    ("New Load.x", "New PVSystem.x", 7, "pvsystem x is not understood"),
    ("kw=2 kvar=1", "kw=2 kvar=1 like=", 7, "like= has no value"),
    ("kw=2 kvar=1", "kw=2 kvar=1 like=x 3", 7, "there is no load x"),
    ("New Load.x", "Disable Load.y", 7, "there is no load y to disable"),
    ("New Load.x", "BatchEdit Load.[", 7, "] is missing"),
    ("New Load.x", "BatchEdit Load.*", 7, "is not a pattern"),
    ("New Load.x", "Open Load.x", 7, "command open is not understood"),
    ("New Load.x", "New Loadx", 7, "is not Class.Name"),
    ("New Load.x", "Load.x.kw=3", 7, "there is no load x to edit"),
    ("New Load.x", "Load.kw=3", 7, "only Class.Name.option=value"),
    ("New Load.x", "kw=3", 7, "only Class.Name.option=value"),
    ("New Load.x", "New Line.l2 like=l", 7, "like is not understood for a line"),
    ("New Load.x", "New LineCode.m like=k", 7, "like is not understood for a linecode"),
    ("New Load.x", "New Reactor.r phases=1 bus1=h.4 r=1 !", 7, "needs a four-wire solver"),
    ("New Load.x", "New Reactor.r phases=3 bus1=h bus2=a r=1 !", 7, "only a reactor of one phase"),
    ("New Load.x", "New Reactor.r phases=1 bus1=lv.4 !", 7, "needs r and x, or z"),
    (
        "New Load.x",
        "New Line.m bus1=a.1 bus2=b.1 r1=1 x1=1 r0=1 x0=1 c1=0 c0=0 normamps=9 !",
        7,
        "at 1 nodes",
    ),
    ("New Load.x", "New Line.m phases=2 bus1=a.1.2 bus2=b.1.2 switch=y normamps=9 !", 7, "two phases"),
    ("New Load.x", "New Line.m phases=2 bus1=a.1.4 bus2=b.2.4 switch=y normamps=9 !", 7, "different phases"),
    ("New Load.x", "New Line.m phases=1 bus1=a.1 bus2=b.1 switch=y normamps=9 !", 7, "has no neutral"),
    ("New Generator.g", "New Load.X", 8, "load X is there already"),
    ("linecode=k length", "linecode=j length", 6, "there is no LineCode j"),
    ("linecode=k length", "linecode=k r1=1 length", 6, "r1 beside a linecode"),
    ("linecode=k length=50", "linecode=k length=0", 6, "length=0, which must be greater"),
    ("linecode=k length=50", "linecode=k phases=3 length=50", 6, "phases=3, its line code has 4"),
    ("linecode=k length=50", "linecode=k phases=5 length=50", 6, "phases=5"),
    ("phases=4 bus1=lv.1.2.3.0", "bus1=lv.1.2.3.0", 5, "3 conductors at 4 nodes"),
    ("normamps=200", "normamps=0", 4, "normamps=0, which must be greater"),
    ("r1=0.0002 x1=0.0001 r0=0.0004", "r1=0 x1=0.0001 r0=0", 4, "a conductor without resistance"),
    ("length=50 units=m", "length=50 units=rods", 6, "unit rods"),
    ("bus2=a.1.2.3.4 linecode", "bus2=a.1.2.3 linecode", 6, "4 conductors at 3 nodes"),
    ("bus2=a.1.2.3.4 linecode", "bus2=a.2.1.3.4 linecode", 6, "in this order"),
    ("bus2=a.1.2.3.4 linecode", "bus2=h.1.2.3.4 linecode", 6, "closes a loop at h"),
    ("bus1=h.1.2.3.4 bus2=a", "bus1=z.1.2.3.4 bus2=a", 6, "no connection to the busbar lv"),
    ("bus2=a.1.2.3.4 linecode", "bus2=a.1.2.3.0 linecode", 3, "needs a four-wire solver"),
    ("bus1=lv.1.2.3.0 bus2=h", "bus1=lv.1.2.3.4 bus2=h", 5, "its neutral ends open at the busbar"),
    ("switch=y", "r1=1 switch=y", 5, "before switch=yes"),
    ("switch=y", "switch=maybe", 5, "neither yes nor no"),
    ("switch=y", "switch=y linecode=k", 5, "overrides it"),
    ("switch=y", "switch=y r1=1 r0=2", 5, "coupled conductors"),
    ("c1=0 c0=0", "", 4, "3.4 and 1.6 nF"),
    ("nphases=4 units=m", "nphases=5 units=m", 4, "only 1 to 4"),
    ("nphases=4 units=m", "nphases=3 units=m", 6, "phases=4, its line code has 3"),
    ("nphases=4 units=m", "nphases=1 units=m", 4, "one conductor with r0, x0 other than r1, x1"),
    ("nphases=4 units=m", "nphases=4 units=m kron=y", 4, "kron=yes"),
    ("c1=0 c0=0", "c1=0 c0=0 b1=2", 4, "c1 and b1; give one"),
    ("c1=0 c0=0", "c1=0", 4, "go together"),
    ("normamps=200", "", 6, "normamps is not given"),
    ("r1=0.0002 x1", "rmatrix=[1|0 1] r1=0.0002 x1", 4, "give one kind"),
    ("xhl=4", "xhl=0", 3, "xhl=0, which must be greater"),
    ("kvs=[20 0.4]", "kvs=[20 0]", 3, "kv 2=0, which must be greater"),
    ("%loadloss=1", "%loadloss=1 %imag=0.5", 3, "magnetising current"),
    ("%loadloss=1", "%loadloss=1 taps=[0.98 1.02]", 3, "taps on both sides"),
    ("conns=[delta wye]", "conns=[wye wye]", 3, "only delta-wye"),
    ("kvas=[100 100]", "kvas=[100 50]", 3, "different rating"),
    ("lv.1.2.3.0] conns", "lv.1.2.3.4] conns", 3, "its star point is not earthed"),
    ("buses=[hv lv", "buses=[mv lv", 3, "no source at mv"),
    (
        "New Load.x",
        "New Line.m bus1=hv bus2=a switch=y normamps=9 !",
        7,
        "branches off before the transformer",
    ),
    ("Z1=[0.8 4.1] Z0=[0.8 4.1]", "MVAsc3=-1", 2, "a short-circuit power of -1 MVA"),
    ("Z1=[0.8 4.1]", "Z1=[0.8]", 2, "1 numbers, not 2"),
    ("basekv=20 ", "", 2, "basekv is not given"),
    ("Set DefaultBaseFrequency=50", "Set Frequency=50", 2, "set DefaultBaseFrequency=50 before"),
    ("Set DefaultBaseFrequency=50", "Set LoadMult=2", 1, "set loadmult is not understood"),
    ("Set DefaultBaseFrequency=50", "Set DefaultBaseFrequency=fifty", 1, "not a number"),
    ("Set DefaultBaseFrequency=50", "~ phases=1", 1, "a continuation of nothing"),
    ("Set DefaultBaseFrequency=50", "New Load.y phases=1", 1, "before the circuit"),
    ("Set DefaultBaseFrequency=50", "/* never ends", 1, "does not end"),
    ("Z0=[0.8 4.1]", "Z0=[0.8 4.1", 2, "] is missing"),
    ("Z0=[0.8 4.1]", "Z0=", 2, "z0= has no value"),
]


@pytest.mark.parametrize(("old", "new", "line", "reason"), REFUSED)
def test_what_is_not_understood_names_its_line(
    tmp_path: Path, old: str, new: str, line: int, reason: str
) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(InvalidScript) as caught:
        load_network(written(tmp_path, SMALL.replace(old, new)))
    assert caught.value.file == "small.dss"
    assert reason.lower() in caught.value.reason.lower()
    assert caught.value.line == line
    assert str(caught.value).startswith(f"small.dss:{line}: ")


def test_a_script_without_a_circuit(tmp_path: Path) -> None:
    with pytest.raises(InvalidFeeder, match=r"small\.dss: no circuit"):
        load_network(written(tmp_path, "! nothing\n"))
    with pytest.raises(InvalidFeeder, match="cannot be read"):
        load_network(tmp_path / "absent.dss")
    (tmp_path / "other.dss").write_bytes(b"C\0l\0e\0a\0r\0")
    with pytest.raises(InvalidFeeder, match="UTF-8"):
        load_network(tmp_path / "other.dss")


def test_included_files(tmp_path: Path) -> None:
    folder = tmp_path / "feeder"
    (folder / "parts").mkdir(parents=True)
    first, *rest = SMALL.splitlines(keepends=True)
    (folder / "parts" / "rest.dss").write_text("".join(rest).replace("kw=2", "kw=2.5"))
    master = written(folder, f"{first}Redirect parts\\rest.dss\n", "master.dss")
    assert load_network(master).homes[0].p_kw == 2.5
    (folder / "parts" / "rest.dss").write_text("".join(rest).replace("kw=2", "kw=?"))
    with pytest.raises(InvalidScript, match=r"^parts/rest\.dss:6: Load\.x: kw=\?"):
        load_network(master)
    written(tmp_path, "Clear\n", "outside.dss")
    for command, reason in (
        ("Redirect ../outside.dss", "outside the folder"),
        ("Redirect master.dss", "includes itself"),
        ("Compile nowhere.dss", "there is no file"),
        ("Redirect", "needs one file name"),
    ):
        written(folder, f"Clear\n{command}\n", "master.dss")
        with pytest.raises(InvalidScript, match=rf"^master\.dss:2: .*{reason}"):
            load_network(master)


def test_files_that_multiply_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opendss_text, "_MOST_COMMANDS", 1000)
    for k in range(40):  # 2 ** 40 commands, if they were all read
        (tmp_path / f"f{k}.dss").write_text(f"Redirect f{k + 1}.dss\nRedirect f{k + 1}.dss\n")
    (tmp_path / "f40.dss").write_text("Clear\n")
    with pytest.raises(InvalidFeeder, match=r"f0\.dss: more than 1000 commands"):
        load_network(tmp_path / "f0.dss")


def test_quotes_comments_and_continuations(tmp_path: Path) -> None:
    text = 'New Circuit.c basekv = 20, pu=(1.0) // here\n! no\n~ z1 = [1, 2] "odd name"={3 ! 4}\nmore x=1\n'
    (command,) = read_commands(written(tmp_path, text))
    assert command.verb == "new"
    assert [(option.name, option.value, option.at.line) for option in command.options] == [
        ("", "Circuit.c", 1),
        ("basekv", "20", 1),
        ("pu", "1.0", 1),
        ("z1", "1, 2", 3),
        ("odd name", "3 ! 4", 3),
        ("x", "1", 4),
    ]


@given(st.text(alphabet="New Line.x=[]()|!/*~\"'1.,\n", max_size=80))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.getbasetemp(), text, "any.dss")
    with pytest.raises(InvalidFeeder):
        load_network(path)


def test_names_opendss_cannot_have_are_refused() -> None:
    network = load_network(NETWORKS / "lv_50h.json")
    home, other, *rest = network.homes
    for homes, reason in (
        ((dataclasses.replace(home, id=HomeId("H 01")), other, *rest), "cannot be a name"),
        ((dataclasses.replace(home, id=HomeId("h02")), other, *rest), "differ in case only"),
    ):
        with pytest.raises(InvalidFeeder, match=reason):
            opendss_script(dataclasses.replace(network, homes=homes, generators=()))


def test_transformers_opendss_does_not_have_are_refused() -> None:
    network = load_network(NETWORKS / "lv_50h.json")
    for changes, reason in (
        (dataclasses.replace(network.transformer, vk0_percent=4.0), "zero sequence"),
        (dataclasses.replace(network.transformer, shift_degree=150.0), "vector group"),
    ):
        with pytest.raises(InvalidFeeder, match=reason):
            opendss_script(dataclasses.replace(network, transformer=changes))


def test_a_neutral_rating_is_a_comment() -> None:
    network = load_network(NETWORKS / "lv_50h.json")
    code = next(s.linecode for s in network.segments if s.linecode is not None)
    rated = dataclasses.replace(code, rated_neutral_current_a=170.0)
    segments = tuple(dataclasses.replace(s, linecode=s.linecode and rated) for s in network.segments)
    assert "! LV_3_x_150_al___70_al_4" in (
        script := opendss_script(dataclasses.replace(network, segments=segments))
    )
    assert "neutral rated 170.0 A" in script


def test_one_code_with_several_ratings_becomes_several(tmp_path: Path) -> None:
    more = (
        SMALL + "New Line.m phases=4 bus1=a.1.2.3.4 bus2=b.1.2.3.4 linecode=k length=5 units=m normamps=90\n"
    )
    network = build_network(read_opendss_file(written(tmp_path, more)).file)
    codes = [segment.linecode for segment in network.segments[1:]]
    assert [(code.id, code.rated_current_a) for code in codes if code] == [("k", 200.0), ("k_2", 90.0)]
