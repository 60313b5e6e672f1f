"""OpenDSS scripts in the styles of those who write them: what each way of saying it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from dso_engine.errors import InvalidScript
from dso_engine.feeder import load_network
from dso_engine.network import Earthing
from dso_engine.opendss_read import read_opendss_file

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


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "small.dss"
    path.write_text(text)
    return path


def test_a_script_from_windows(tmp_path: Path) -> None:
    (tmp_path / "Codes.DSS").write_text(SMALL.splitlines()[3], newline="")
    first, second, third, _, *rest = SMALL.splitlines()
    lines = [first, second, third, "Redirect codes.dss", *rest, "! câble"]
    path = tmp_path / "windows.dss"
    path.write_bytes("\r\n".join(lines).replace("Load.x", "Load.né").encode("cp1252"))
    assert load_network(path).homes[0].id == "né"


def test_options_by_order_short_names_and_edits(tmp_path: Path) -> None:
    text = SMALL.replace(
        "New Load.x phases=1 bus1=a.1.4 kw=2 kvar=1",
        """New Object=Load.x 1 a.1.4 .23 2 .9
Load.x.kw=3
Edit load.X PF = 0.8
New Load.x2 like=x bus=a.2.4 kv=0.24
BatchEdit Load.X2 kva=5 pf=-0.8
Disable Load.x2
Enable Load.x2""",
    )
    found = read_opendss_file(written(tmp_path, text))
    assert [(h.id, h.phase, h.p_kw) for h in found.file.households] == [("x", "A", 3.0), ("x2", "B", 4.0)]
    assert [h.q_kvar for h in found.file.households] == pytest.approx([2.25, -3.0])
    assert [(band.low_v, band.high_v) for band in found.bands] == [
        pytest.approx((0.95 * 230.0, 1.05 * 230.0)),
        pytest.approx((0.95 * 240.0, 1.05 * 240.0)),
    ]
    assert len(found.file.pv) == 1


def test_three_phases_share_a_load_and_its_band(tmp_path: Path) -> None:
    text = SMALL.replace("phases=1 bus1=a.1.4 kw=2 kvar=1", "bus1=a.1.2.3.4 kv=0.4 kva=6 pf=0.8 vminpu=0.9")
    found = read_opendss_file(written(tmp_path, text))
    assert [(h.id, h.phase) for h in found.file.households] == [("x_a", "A"), ("x_b", "B"), ("x_c", "C")]
    assert [h.p_kw for h in found.file.households] == pytest.approx([1.6] * 3)
    for band in found.bands:
        assert (band.low_v, band.high_v) == pytest.approx((0.9 * 400 / 3**0.5, 1.05 * 400 / 3**0.5))


def test_a_single_option_after_a_list_is_of_the_last_winding(tmp_path: Path) -> None:
    text = SMALL.replace("%loadloss=1", "%r=0.4 tap=1.05")
    found = read_opendss_file(written(tmp_path, text))
    assert (found.file.transformer.tap.side, found.file.transformer.tap.value_pu) == ("lv", 1.05)
    assert found.file.transformer.vkr_percent == pytest.approx(0.6)
    assert "small.dss:3: Transformer.t: %r 1=0.2, as OpenDSS takes it" in found.notes


@pytest.mark.parametrize(
    ("said", "z1"),
    [
        ("", complex(400 / 2000 / 17**0.5, 1600 / 2000 / 17**0.5)),
        ("ISC3=1000 x1r1=1", complex(400 / (3**0.5 * 20) / 2**0.5, 400 / (3**0.5 * 20) / 2**0.5)),
        ("mvasc3=9 r1=0.3 x1=0.7", 0.3 + 0.7j),
        ("r1=0.3 x1=0.7 z1=[1 2]", 1 + 2j),
        ("mvasc3=9 z1=[1 2]", 1 + 2j),
        ("z1=[1 2] mvasc3=9", complex(400 / 9 / 17**0.5, 1600 / 9 / 17**0.5)),
    ],
)
def test_the_source_as_it_was_said_last(tmp_path: Path, said: str, z1: complex) -> None:
    source = load_network(written(tmp_path, SMALL.replace("Z1=[0.8 4.1] Z0=[0.8 4.1]", said))).source
    assert source.z1_ohm == pytest.approx(z1, rel=1e-9)


def test_a_rating_for_lines_that_have_none(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL.replace("normamps=200", ""))
    found = read_opendss_file(path, rated_a=120.0)
    assert [code.rated_current_a for code in found.file.linecodes.values()] == [120.0]
    assert "small.dss:6: Line.l has no normamps: rated 120 A as asked for" in found.notes


def test_a_neutral_by_way_of_a_reactor(tmp_path: Path) -> None:
    wired = SMALL.replace("lv.1.2.3.0] conns", "lv.1.2.3.4] conns").replace(
        "bus1=lv.1.2.3.0", "bus1=lv.1.2.3.4"
    )
    earthed = wired + "New Reactor.g phases=1 bus1=LV.4 bus2=lv.0 R=4 X=0\n"
    assert load_network(written(tmp_path, earthed)).earthing is Earthing.STAR_POINT
    loose = earthed.replace("lv.1.2.3.4] conns", "lv.1.2.3.0] conns")
    with pytest.raises(InvalidScript, match="its neutral ends open at the busbar"):
        load_network(written(tmp_path, loose))  # the return current would pass the 4 ohms
    assert load_network(written(tmp_path, loose.replace("R=4", "R=0"))).earthing is Earthing.STAR_POINT
