"""The same feeder said in many ways: what we read is what OpenDSS takes it for, whatever the order and style.

Options of every element are shuffled, units, matrices, sequence values, tap notations and later edits drawn.
A script may be refused, never read as another feeder.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import opendssdirect as dss
import pytest

from dso_engine.errors import InvalidScript
from dso_engine.feeder import build_network
from dso_engine.network import Network
from dso_engine.opendss_read import read_opendss_file

_PER_KM = {
    "units=km": 1.0,
    "units=m": 1e-3,
    "units=mi": 1.609344,
    "units=kft": 0.3048,
    "units=none": 1e-3,
    "": 1e-3,
}
_SOURCES = (
    ("mvasc3=100 mvasc1=90",),
    ("isc3=5000 isc1=4000", "x1r1=3"),
    ("z1=[.1 1]",),
    ("r1=.1 x1=1", "r0=.2 x0=2"),
    ("",),
    ("mvasc3=50 mvasc1=20 r1=.3 x1=.7",),
    ("r1=.3 x1=.7 z1=[.1 1.5] z0=[1 2]",),
)
_TRANSFORMERS = (
    ("%loadloss=1",),
    ("%rs=[.5 .6]",),
    ("%r=.4",),
    (),
    ("%loadloss=1 %r=.3",),
    ("%r=.3 %loadloss=1",),
    ("wdg=2 %r=.7",),
)
_TAPS = ("", "taps=[1 1.025]", "wdg=2 tap=.975", "tap=1.05", "wdg=1 tap=0.95")
_POWERS = (
    "kw=3 kvar=1",
    "kw=3 pf=.9",
    "pf=-.9 kw=3",
    "kva=4 pf=.95",
    "pf=.8 kva=2.5",
    "kw=1 kva=4 pf=.9",
    "kva=9 kw=2 pf=.9",
    "kva=9 kw=2 kvar=-.5",
    "pf=.7 kw=2 kvar=.3",
    "kvar=1 kw=2 kvar=.4",
)
_LATER = (
    "",
    "",
    "Load.{0}.kw=2 kvar=.7",
    "Edit Load.{0} pf=.8",
    "load.{0}.kva=3 pf=1",
    "batchedit load.^{0}$ kw=1 kvar=.2",
)
_BAND = "vminpu=.3 vmaxpu=1.7"


class Teller:
    """Says a street in one of its many ways."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.four = self.draw.random() < 0.5

    def shuffled(self, options: Sequence[str]) -> str:
        said = [option for option in options if option]
        return " ".join(self.draw.sample(said, len(said)))

    def matrix(self, own: float, mutual: float, size: int) -> str:
        rows = [[own if i == j else mutual for j in range(size)] for i in range(size)]
        if self.draw.random() < 0.5:
            return "[" + " | ".join(" ".join(map(str, row[: i + 1])) for i, row in enumerate(rows)) + "]"
        return "(" + "|".join(",".join(map(str, row)) for row in rows) + ")"

    def code(self, name: str, size: int) -> str:
        unit, k = self.draw.choice(sorted(_PER_KM.items()))
        if self.draw.random() < 0.4 and size > 1:
            z = [f"r1={0.3 * k}", f"x1={0.1 * k}", f"r0={0.9 * k}", f"x0={0.3 * k}", "c1=0 c0=0"]
        else:
            z = [
                f"rmatrix={self.matrix(0.4 * k, 0.1 * k, size)}",
                f"xmatrix={self.matrix(0.3 * k, 0.05 * k, size)}",
            ]
            z.append(f"cmatrix={self.matrix(0, 0, size)}")
        return f"New LineCode.{name} nphases={size} {self.shuffled([*z, unit, 'normamps=200'])}"

    def length(self, metres: float) -> str:
        spellings = (
            f"length={metres} units=m",
            f"units=km length={metres / 1000}",
            f"length={metres / 0.3048} units=ft",
        )
        return self.draw.choice(spellings)

    def line(self, name: str, ends: tuple[str, str], code: str, metres: float) -> str:
        one, other = ends if self.draw.random() < 0.5 else ends[::-1]
        return f"New Line.{name} " + self.shuffled(
            [f"bus1={one}", f"bus2={other}", f"linecode={code}", self.length(metres)]
        )

    def load(self, name: str, bus: str, phase: int) -> str:
        neutral = ".4" if self.four else self.draw.choice(("", ".0"))
        power = self.draw.choice(_POWERS)
        where = self.draw.choice(
            [f"phases=1 kv=.23 bus1={bus}.{phase}{neutral}"] * 3
            + ([f"phases=3 kv=.4 bus1={bus}.1.2.3{neutral}"] if bus != "h" else [])
        )
        later = self.draw.choice(_LATER).format(name)
        return f"New Load.{name} {self.shuffled([power, where, 'model=1'])} {_BAND}\n{later}"

    def script(self) -> str:
        d, four = self.draw, self.four
        all_of, of_one = (".1.2.3.4", ".2.4") if four else (d.choice(("", ".1.2.3")), ".2")
        busbar = ".1.2.3.0" if four else all_of
        winding = ["buses=[hv lv.1.2.3.0]", d.choice(("conns=[delta wye]", "conns=(Delta, Wye)"))]
        winding += [
            "kvs=[11 .4]",
            "kvas=[100 100]",
            d.choice(("xhl=4", "x12=5", "")),
            d.choice(("", "%noloadloss=.3")),
        ]
        winding += [*d.choice(_TRANSFORMERS), d.choice(_TAPS), d.choice(("", "leadlag=lead", "leadlag=euro"))]
        size = 4 if four else 3
        return "\n".join(
            (
                "Clear",
                f"Set DefaultBaseFrequency={d.choice((50, 60))}",
                f"New Circuit.c {self.shuffled(['bus1=hv', 'basekv=11', *d.choice(_SOURCES)])}",
                f"New Transformer.t windings=2 {self.shuffled(winding)} ppm=0",
                self.code("m", size),
                self.code("s", size - 2),
                self.line("a", (f"lv{busbar}", f"b1{all_of}"), "m", 80.0),
                self.line("b", (f"b1{all_of}", f"b2{all_of}"), "m", 50.0),
                d.choice(
                    ("", "Line.b.length=30", "Edit Line.b length=.02 units=km", "batchedit line.b length=44")
                ),
                self.line("service", (f"b2{of_one}", f"h{of_one}"), "s", 20.0),
                *(
                    self.load(name, bus, phase)
                    for name, bus, phase in (("x", "b1", 1), ("y", "b2", 3), ("z", "h", 2))
                ),
                f"New Load.w like=z bus1=b1{of_one}",
                "",
            )
        )


def differences(grid: Network) -> list[str]:
    """Everything that OpenDSS has otherwise."""
    found = []

    def asked(name: str) -> str:
        dss.Text.Command(f"? {name}")
        return str(dss.Text.Result())

    def numbers(name: str) -> list[float]:
        return [float(word) for word in asked(name).strip("[]").replace(",", " ").split()]

    def check(name: str, theirs: complex, ours: complex) -> None:
        if abs(theirs - ours) > 1e-6 * abs(theirs) + 1e-9:
            found.append(f"{name}: {theirs} there, {ours} here")

    transformer = grid.transformer
    check("%r", sum(numbers("Transformer.t.%rs")), transformer.vkr_percent)
    check(
        "xhl",
        numbers("Transformer.t.xhl")[0],
        (transformer.vk_percent**2 - transformer.vkr_percent**2) ** 0.5,
    )
    high, low = numbers("Transformer.t.taps")
    check("taps", 11.0 * high / (0.4 * low), transformer.v_hv_ll_kv / transformer.v_lv_ll_kv)
    check("iron", numbers("Transformer.t.%noloadloss")[0], transformer.pfe_kw)
    check("z1", complex(*numbers("Vsource.source.z1")), grid.source.z1_ohm)
    for segment in grid.segments:
        dss.Circuit.SetActiveElement(f"Line.{segment.id}")
        flat = np.array(dss.CktElement.YPrim())
        half = round((len(flat) / 8) ** 0.5)
        y = (flat[0::2] + 1j * flat[1::2]).reshape(2 * half, 2 * half)
        z = np.linalg.inv(-y[:half, half:])
        check(f"{segment.id} own", z[0, 0], segment.z_ohm[1, 1])
        if half > 1:
            check(f"{segment.id} mutual", z[0, 1], segment.z_ohm[0, 1 if half > 2 else 3])
    for home in grid.homes:
        name, parts = (home.id[:-2], 3) if home.id[-2:] in ("_a", "_b", "_c") else (home.id, 1)
        check(f"{home.id} kw", numbers(f"Load.{name}.kw")[0] / parts, home.p_kw)
        check(f"{home.id} kvar", numbers(f"Load.{name}.kvar")[0] / parts, home.q_kvar)
    return found


@pytest.mark.parametrize("decade", range(4))
def test_any_order_is_read_as_opendss_takes_it_or_refused(tmp_path: Path, decade: int) -> None:
    read = 0
    for seed in range(40 * decade, 40 * decade + 40):
        text = Teller(seed).script()
        path = tmp_path / f"street_{seed}.dss"
        path.write_text(text)
        try:
            grid = build_network(read_opendss_file(path).file)
        except InvalidScript:
            continue
        for line in text.splitlines():
            dss.Text.Command(line)
        dss.Text.Command("Solve")
        assert differences(grid) == [], text
        read += 1
    assert read >= 10
