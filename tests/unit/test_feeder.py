"""Network files: what is read, what is refused, and the deliberate model error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder import Network, load_network, with_model_error
from dso_engine.model import HomeId, Phase

NETWORKS = Path(__file__).parents[2] / "config" / "networks"
RURAL = NETWORKS / "lv_50h_rural.json"

Json = dict[str, object]


def part(value: object, *path: str | int) -> Json:
    """The JSON object at a path."""
    for step in path:
        if isinstance(step, int):
            assert isinstance(value, list)
            value = value[step]
        else:
            assert isinstance(value, dict)
            value = value[step]
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("name", "homes", "lines"),
    [
        ("lv_33h_17pv", 33, 18),
        ("lv_33h_17pv_150_70", 33, 18),
        ("lv_50h", 50, 18),
        ("lv_50h_rural", 50, 18),
    ],
)
def test_every_shipped_network_loads(name: str, homes: int, lines: int) -> None:
    network = load_network(NETWORKS / f"{name}.json")
    assert network.name == name
    assert len(network.homes) == homes
    assert len(network.segments) == lines + 2
    assert network.feeders == (1, 2)
    assert [pcc.id for pcc in network.pccs] == ["F1-A", "F1-B", "F1-C", "F2-A", "F2-B", "F2-C"]


def test_segments_run_from_the_busbar_outwards() -> None:
    network = load_network(RURAL)
    assert network.buses[0] == "Node_00001"
    assert tuple(segment.to_bus for segment in network.segments) == network.buses[1:]
    assert all(start < k + 1 for k, start in enumerate(network.segment_from))


def test_downstream_matches_the_homes_per_feeder() -> None:
    network = load_network(RURAL)
    homes_at_bus = np.bincount(network.home_bus, minlength=len(network.buses))
    behind = network.downstream @ homes_at_bus
    assert list(behind[network.head_segments]) == [24.0, 26.0]
    last = next(k for k, segment in enumerate(network.segments) if segment.to_bus == "Node_00011")
    assert behind[last] == 3.0


def test_values_of_the_published_network() -> None:
    network = load_network(NETWORKS / "lv_33h_17pv.json")
    first = network.homes[0]
    assert (first.id, first.bus, first.phase, first.p_kw) == ("H01", "Node_00007", Phase.C, 0.754578)
    assert network.transformer.i_rated_a == pytest.approx(160.0 / (3.0**0.5 * 0.41))
    line = next(segment for segment in network.segments if segment.id == "f01line00002")
    assert line.z_ohm[0, 0] == pytest.approx(27.0 * (0.000134867 + 0.000184867j))
    assert line.rated_current_a == 345.0
    assert line.rated_neutral_current_a == np.inf
    assert network.segments[0].z_ohm == pytest.approx(np.eye(4) * (0.001 + 0.001j))


def test_pcc_of_follows_the_phase_a_home_is_on_now() -> None:
    network = load_network(RURAL)
    moved = network.home_phase.copy()
    moved[0] = Phase.A
    assert network.pccs[network.pcc_of(network.home_phase)[0]].id == "F1-C"
    assert network.pccs[network.pcc_of(moved)[0]].id == "F1-A"


def _unknown_bus(data: Json) -> None:
    part(data, "lines", 3)["to_bus"] = "Nowhere"


def _unknown_linecode(data: Json) -> None:
    part(data, "lines", 3)["linecode"] = "copper"


def _loop(data: Json) -> None:
    lines = data["lines"]
    assert isinstance(lines, list)
    lines.append({**lines[3], "id": "extra"})


def _island(data: Json) -> None:
    lines = data["lines"]
    assert isinstance(lines, list)
    del lines[3]


def _open_link(data: Json) -> None:
    part(data, "links", 0)["closed"] = False


def _same_home_twice(data: Json) -> None:
    part(data, "households", 1)["id"] = "H01"


def _three_wires(data: Json) -> None:
    code = part(data, "linecodes", "LV_3_x_150_al___70_al_4_physical")
    code["r_ohm_per_m"] = [[1e-4, 0.0, 0.0], [0.0, 1e-4, 0.0], [0.0, 0.0, 1e-4]]


def _phase_d(data: Json) -> None:
    part(data, "households", 5)["phase"] = "D"


def _home_at_the_busbar(data: Json) -> None:
    part(data, "households", 5)["bus"] = "Node_00001"


def _earthed_everywhere(data: Json) -> None:
    data["neutral_earthing"] = "some buses"


def _star_star(data: Json) -> None:
    part(data, "transformer")["connection"] = "Yyn"


def _no_source(data: Json) -> None:
    del data["mv_source"]


def _no_length(data: Json) -> None:
    part(data, "lines", 0)["length_m"] = 0.0


def _crosses_feeders(data: Json) -> None:
    part(data, "lines", 8)["from_bus"] = "Node_00009"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unknown_bus, "f01line00004 ends at unknown bus Nowhere"),
        (_unknown_linecode, "unknown linecode copper"),
        (_loop, "not a tree: extra reaches Node_00010 a second time"),
        (_island, "no way from the busbar to Node_00010"),
        (_open_link, "f01switch00001 is open"),
        (_same_home_twice, "household id used twice: H01"),
        (_three_wires, "r_ohm_per_m is not 4x4"),
        (_phase_d, r"households\.5\.phase"),
        (_home_at_the_busbar, "H06 is on Node_00001"),
        (_earthed_everywhere, "neutral_earthing"),
        (_star_star, "only Dyn"),
        (_no_source, "mv_source: Field required"),
        (_no_length, r"lines\.0\.length_m"),
        (_crosses_feeders, "f02line00009 is of feeder 2, its bus Node_00009 is not"),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path: Path, spoil: Callable[[Json], None], message: str) -> None:
    data = part(json.loads(RURAL.read_text()))
    spoil(data)
    path = tmp_path / "spoiled.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InvalidFeeder, match=message) as caught:
        load_network(path)
    assert str(caught.value).startswith("spoiled.json: ")


def test_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFeeder, match="cannot be read"):
        load_network(tmp_path / "absent.json")
    path = tmp_path / "text.json"
    path.write_text("not json")
    with pytest.raises(InvalidFeeder, match=r"text\.json: file"):
        load_network(path)


@pytest.fixture
def rural() -> Network:
    return load_network(RURAL)


def test_model_error_scales_resistance_only_and_moves_one_home(rural: Network) -> None:
    wrong = with_model_error(rural, r_factor=1.05, wrong_phase={HomeId("H01"): Phase.B})
    for true, other in zip(rural.segments, wrong.segments, strict=True):
        factor = 1.0 if true.linecode is None else 1.05
        assert other.z_ohm.real == pytest.approx(true.z_ohm.real * factor)
        assert other.z_ohm.imag == pytest.approx(true.z_ohm.imag)
    changed = [a.id for a, b in zip(rural.homes, wrong.homes, strict=True) if a.phase != b.phase]
    assert changed == ["H01"]
    assert wrong.home_phase[0] == Phase.B
    assert rural.home_phase[0] == Phase.C


def test_model_error_refuses_nonsense(rural: Network) -> None:
    with pytest.raises(InvalidFeeder, match="unknown home H99"):
        with_model_error(rural, r_factor=1.0, wrong_phase={HomeId("H99"): Phase.B})
    with pytest.raises(InvalidFeeder, match="positive"):
        with_model_error(rural, r_factor=0.0, wrong_phase={})
