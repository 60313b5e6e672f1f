"""The elements of an OpenDSS script put together: one transformer, a tree behind it, homes on its buses.

How the neutral is earthed follows from the nodes: 4 is a neutral, 0 is earth. Where lines have three
conductors, earth is the return path and the neutral conductor in the result is without coupling and current.

Source: grid-model.md 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from pydantic import ValidationError

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import (
    BusPart,
    EarthingName,
    HouseholdPart,
    LinecodePart,
    LinePart,
    LinkPart,
    Matrix,
    NetworkFile,
    PvPart,
    SourcePart,
    TapPart,
    TransformerPart,
    ZeroSequencePart,
)
from dso_engine.model import FloatArray
from dso_engine.opendss_elements import CodeElement, LineElement, SourceElement, UnitElement
from dso_engine.opendss_options import METRES_PER_UNIT
from dso_engine.opendss_text import Place
from dso_engine.opendss_transformer import TransformerElement

__all__ = ["Parts", "assemble"]

_PHASES: Final[tuple[Literal["A", "B", "C"], ...]] = ("A", "B", "C")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The enabled elements of a script, each kind in its order."""

    name: str
    at: Place
    frequency_hz: float
    sources: tuple[SourceElement, ...]
    transformers: tuple[TransformerElement, ...]
    codes: tuple[CodeElement, ...]
    lines: tuple[LineElement, ...]
    loads: tuple[UnitElement, ...]
    generators: tuple[UnitElement, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Branch:
    """A line in its place in the tree."""

    line: LineElement
    feeder: int
    from_bus: str
    to_bus: str


def assemble(parts: Parts) -> tuple[NetworkFile, tuple[str, ...]]:
    """The network file's content, and notes on what was left out.

    Raises:
        InvalidScript: if the elements do not make a network of the kind that is modelled.
        InvalidFeeder: if a value is out of its range.
    """
    if len(parts.transformers) != 1:
        raise parts.at.error(f"{len(parts.transformers)} transformers; exactly one is understood")
    (transformer,) = parts.transformers
    source, notes = _source(parts, transformer)
    spelled = _Spelling()
    for name in (transformer.hv_bus, transformer.lv_bus):
        spelled.as_first(name)
    branches = _branches(parts.lines, spelled.as_first(transformer.lv_bus), spelled)
    earthing = _earthing(branches, transformer)
    codes = _Codes(parts.codes)
    links, lines = _links_and_lines(branches, codes, spelled.as_first(transformer.lv_bus))
    feeder_of = {branch.to_bus: branch.feeder for branch in branches}
    households = tuple(_household(load, feeder_of, spelled, earthing) for load in parts.loads)
    try:
        file = NetworkFile(
            format="lv-four-wire-network",
            version=1,
            name=parts.name,
            frequency_hz=parts.frequency_hz,
            neutral_earthing=earthing,
            mv_source=source,
            transformer=_transformer(transformer),
            linecodes=codes.used,
            buses=(
                BusPart(id=transformer.hv_bus, v_nom_ll_kv=transformer.v_hv_ll_kv, feeder=0),
                BusPart(id=transformer.lv_bus, v_nom_ll_kv=transformer.v_lv_ll_kv, feeder=0),
                *(
                    BusPart(id=bus, v_nom_ll_kv=transformer.v_lv_ll_kv, feeder=feeder)
                    for bus, feeder in feeder_of.items()
                ),
            ),
            links=links,
            lines=lines,
            households=households,
            pv=_generators(parts.generators, households, spelled, earthing),
        )
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors())
        raise InvalidFeeder(f"{parts.name}: {faults}") from err
    return file, notes


class _Spelling:
    """Bus names compare without case; the first spelling stays."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def as_first(self, name: str) -> str:
        return self._first.setdefault(name.lower(), name)


def _source(parts: Parts, transformer: TransformerElement) -> tuple[SourcePart, tuple[str, ...]]:
    bus = transformer.hv_bus.lower()
    feeding = [source for source in parts.sources if source.bus.lower() == bus]
    if len(feeding) != 1:
        raise transformer.at.error(
            f"{len(feeding)} sources at {transformer.hv_bus}; exactly one is understood"
        )
    used = {end[0].lower() for line in parts.lines for end in (line.bus1, line.bus2)}
    notes = []
    for source in parts.sources:
        if source is not feeding[0]:
            if source.bus.lower() in used:
                raise source.at.error(f"a source at {source.bus}; only the transformer may feed the lines")
            notes.append(f"{source.at}: source {source.name} at {source.bus} feeds nothing")
    (source,) = feeding
    if source.z1_ohm is None or source.z0_ohm is None:
        raise source.at.error(f"source {source.name}: no impedance is given")
    return SourcePart(
        bus=transformer.hv_bus,
        v_ll_kv=source.v_ll_kv,
        r1_ohm=source.z1_ohm.real,
        x1_ohm=source.z1_ohm.imag,
        r0_ohm=source.z0_ohm.real,
        x0_ohm=source.z0_ohm.imag,
    ), tuple(notes)


def _transformer(part: TransformerElement) -> TransformerPart:
    if part.hv_tap != 1.0 and part.lv_tap != 1.0:
        raise part.at.error(f"transformer {part.name}: taps on both sides are not understood")
    return TransformerPart(
        id=part.name,
        hv_bus=part.hv_bus,
        lv_bus=part.lv_bus,
        s_rated_kva=part.s_rated_kva,
        v_hv_ll_kv=part.v_hv_ll_kv,
        v_lv_ll_kv=part.v_lv_ll_kv,
        connection="Dyn",
        clock_number=part.clock_number,
        vk_percent=part.vk_percent,
        vkr_percent=part.vkr_percent,
        pfe_kw=part.pfe_kw,
        zero_sequence=ZeroSequencePart(vk0_percent=part.vk_percent, vkr0_percent=part.vkr_percent),
        tap=TapPart(side="lv", value_pu=part.lv_tap)
        if part.lv_tap != 1.0
        else TapPart(side="hv", value_pu=part.hv_tap),
    )


def _branches(lines: tuple[LineElement, ...], root: str, spelled: _Spelling) -> tuple[_Branch, ...]:
    """The lines turned away from the busbar, parents first; feeders numbered in the order of the script."""
    touching: dict[str, list[LineElement]] = {}
    for line in lines:
        for end in (line.bus1, line.bus2):
            touching.setdefault(spelled.as_first(end[0]), []).append(line)
    feeder_of = {root: 0}
    found: list[_Branch] = []
    done: set[int] = set()
    queue = [root]
    for bus in queue:
        for line in touching.get(bus, ()):
            if id(line) in done:
                continue
            done.add(id(line))
            ends = [spelled.as_first(end[0]) for end in (line.bus1, line.bus2)]
            other = ends[1] if ends[0] == bus else ends[0]
            if other in feeder_of:
                raise line.at.error(f"Line.{line.name} closes a loop at {other}; only trees are understood")
            feeder_of[other] = max(feeder_of.values()) + 1 if bus == root else feeder_of[bus]
            found.append(_Branch(line=line, feeder=feeder_of[other], from_bus=bus, to_bus=other))
            queue.append(other)
    for line in lines:
        if id(line) not in done:
            raise line.at.error(f"Line.{line.name} has no connection to the busbar {root}")
    return tuple(found)


def _earthing(branches: tuple[_Branch, ...], transformer: TransformerElement) -> EarthingName:
    """Where the neutral is earthed; something between one end and everywhere is refused."""
    if not branches:
        raise transformer.at.error("there is no line at the low-voltage side")
    if not transformer.star_point_earthed:
        raise transformer.at.error(f"transformer {transformer.name}: its star point is not earthed")
    counts = {_conductors(branch.line) for branch in branches}
    if counts == {3}:
        return "every bus"
    if counts != {4}:
        raise transformer.at.error("lines of three and of four conductors together are not understood")
    busbar = transformer.lv_bus.lower()
    found: set[int] = set()
    for branch in branches:
        for name, nodes in (branch.line.bus1, branch.line.bus2):
            neutral = (nodes or (1, 2, 3, 4))[3]
            if name.lower() != busbar:
                found.add(neutral)
            elif neutral == 4 and transformer.lv_node != 4:
                raise branch.line.at.error(f"Line.{branch.line.name}: its neutral ends open at the busbar")
    if found == {0, 4}:
        raise transformer.at.error(
            "a neutral earthed at some buses and not at others needs a four-wire solver"
        )
    return "every bus" if found == {0} else "transformer star point only"


def _conductors(line: LineElement) -> int:
    for end, nodes in (line.bus1, line.bus2):
        if nodes not in ((), (1, 2, 3), (1, 2, 3, 0), (1, 2, 3, 4)):
            raise line.at.error(f"Line.{line.name}: nodes of {end} other than 1.2.3 and 0 or 4 in this order")
    counts = {len(nodes) for _, nodes in (line.bus1, line.bus2) if nodes} or {line.phases}
    if len(counts) != 1:
        raise line.at.error(f"Line.{line.name}: its ends have different numbers of conductors")
    return counts.pop()


class _Codes:
    """Line codes per metre; a code that lines use with several ratings or units becomes several."""

    def __init__(self, codes: tuple[CodeElement, ...]) -> None:
        self._by_name = {code.name.lower(): code for code in codes}
        self._ids: dict[tuple[str, float, float], str] = {}
        self.used: dict[str, LinecodePart] = {}

    def of(self, line: LineElement) -> tuple[str, float]:
        """Id of the code of a line, and the length, m."""
        conductors = _conductors(line)
        if line.switch:
            return self._add(f"{line.name}_switch", self._switch(line, conductors), line, 1.0), 1.0
        code = line.own or self._by_name.get(line.code or "")
        if code is None:
            raise line.at.error(f"Line.{line.name}: there is no LineCode {line.code}")
        if code.conductors != conductors:
            raise line.at.error(f"Line.{line.name}: {code.conductors} conductors at {conductors} nodes")
        # Where one of the two has no unit, OpenDSS takes that of the other.
        line_unit = code.unit if line.unit == "none" else line.unit
        code_unit = line_unit if code.unit == "none" else code.unit
        length_m = line.length * METRES_PER_UNIT[line_unit]
        return self._add(code.name, code, line, METRES_PER_UNIT[code_unit]), length_m

    def _switch(self, line: LineElement, conductors: int) -> CodeElement:
        code = self._by_name.get(line.code or "")
        return CodeElement(
            name=line.name,
            at=line.at,
            conductors=conductors,
            r=line.switch_z_ohm.real * np.eye(conductors),
            x=line.switch_z_ohm.imag * np.eye(conductors),
            c_nf=np.zeros((conductors, conductors)),
            unit="m",
            rated_current_a=None if code is None else code.rated_current_a,
        )

    def _add(self, name: str, code: CodeElement, line: LineElement, metres: float) -> str:
        rated_a = code.rated_current_a if line.rated_current_a is None else line.rated_current_a
        if rated_a is None:
            raise line.at.error(
                f"Line.{line.name}: normamps is not given, nor by its code; the limits need it and the 400 A "
                "of OpenDSS are nobody's"
            )
        key = (name.lower(), rated_a, metres)
        if key not in self._ids:
            same = sum(other[0] == name.lower() for other in self._ids)
            self._ids[key] = chosen = f"{name}_{same + 1}" if same else name
            self.used[chosen] = LinecodePart(
                r_ohm_per_m=_rows(code.r / metres),
                x_ohm_per_m=_rows(code.x / metres),
                c_nf_per_m=_rows(code.c_nf / metres, neutral=0.0),
                rated_current_a=rated_a,
            )
        return self._ids[key]


def _rows(matrix: FloatArray, neutral: float | None = None) -> Matrix:
    """Four rows; three conductors get a neutral like a phase, without coupling."""
    whole = np.zeros((4, 4))
    whole[3, 3] = matrix[0, 0] if neutral is None else neutral
    whole[: len(matrix), : len(matrix)] = matrix
    return tuple(tuple(row) for row in whole.tolist())


def _links_and_lines(
    branches: tuple[_Branch, ...], codes: _Codes, busbar: str
) -> tuple[tuple[LinkPart, ...], tuple[LinePart, ...]]:
    links, lines = [], []
    for branch in branches:
        name, feeder = branch.line.name, branch.feeder
        if branch.line.switch and branch.from_bus == busbar:
            z_ohm = branch.line.switch_z_ohm
            links.append(
                LinkPart(
                    id=name,
                    feeder=feeder,
                    from_bus=busbar,
                    to_bus=branch.to_bus,
                    closed=True,
                    r_ohm=z_ohm.real,
                    x_ohm=z_ohm.imag,
                )
            )
            continue
        code, length_m = codes.of(branch.line)
        lines.append(
            LinePart(
                id=name,
                feeder=feeder,
                from_bus=branch.from_bus,
                to_bus=branch.to_bus,
                linecode=code,
                length_m=length_m,
            )
        )
    return tuple(links), tuple(lines)


def _household(
    load: UnitElement, feeder_of: dict[str, int], spelled: _Spelling, earthing: EarthingName
) -> HouseholdPart:
    bus = spelled.as_first(load.bus)
    if bus not in feeder_of:
        raise load.at.error(f"Load.{load.name} is at {bus}, which is on no feeder")
    return HouseholdPart(
        id=load.name,
        feeder=feeder_of[bus],
        bus=bus,
        phase=_phase(load, "Load", earthing),
        p_kw=load.p_kw,
        q_kvar=load.q_kvar,
    )


def _phase(unit: UnitElement, kind: str, earthing: EarthingName) -> Literal["A", "B", "C"]:
    neutral = 0 if earthing == "every bus" else 4
    if unit.neutral != neutral:
        raise unit.at.error(f"{kind}.{unit.name} is against node {unit.neutral}, the neutral is {neutral}")
    return _PHASES[unit.node - 1]


def _generators(
    units: tuple[UnitElement, ...],
    households: tuple[HouseholdPart, ...],
    spelled: _Spelling,
    earthing: EarthingName,
) -> tuple[PvPart, ...]:
    """Each generator behind the meter of a home at its bus and phase, of several homes in turn."""
    owners: dict[tuple[str, str], list[str]] = {}
    for home in households:
        owners.setdefault((home.bus, home.phase), []).append(home.id)
    found: list[PvPart] = []
    for unit in units:
        bus, phase = spelled.as_first(unit.bus), _phase(unit, "Generator", earthing)
        here = owners.get((bus, phase))
        if not here:
            raise unit.at.error(f"Generator.{unit.name}: no home (Load) at {bus}, phase {phase}, owns it")
        here.append(owner := here.pop(0))
        found.append(
            PvPart(
                id=unit.name,
                bus=bus,
                phase=phase,
                household=owner,
                p_kw=unit.p_kw,
                q_kvar=unit.q_kvar,
            )
        )
    return tuple(found)
