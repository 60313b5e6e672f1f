"""The lines of an OpenDSS script as a tree behind the busbar: which way, which conductors, where earthed.

How the neutral is earthed follows from the nodes: 4 is a neutral, 0 is earth. A line of one phase, with its
neutral or with earth as the return, begins a lateral: everything beyond is of that phase.

Source: grid-model.md 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from dso_engine.errors import InvalidScript
from dso_engine.feeder_file import EarthingName
from dso_engine.opendss_elements import CodeElement, LineElement
from dso_engine.opendss_options import Bus
from dso_engine.opendss_supply import EarthElement
from dso_engine.opendss_transformer import TransformerElement

__all__ = [
    "PHASE_NAMES",
    "Branch",
    "PhaseName",
    "Spelling",
    "Wires",
    "branches_of",
    "earthing_of",
]

PhaseName = Literal["A", "B", "C"]
PHASE_NAMES: Final[tuple[PhaseName, ...]] = ("A", "B", "C")
_SOLID_OHM: Final = 1e-5
"""A reactor between busbar and star point that no voltage is lost in."""


class Spelling:
    """Bus names compare without case; the first spelling stays."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def as_first(self, name: str) -> str:
        """How a name was first spelled."""
        return self._first.setdefault(name.lower(), name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """The conductors of a line."""

    count: int
    phase: PhaseName | None
    """None: all three."""
    neutrals: tuple[int, int] | None
    """Its node at both ends, 0 or 4; None if the line has no neutral."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Branch:
    """A line in its place in the tree."""

    line: LineElement
    wires: Wires
    feeder: int
    from_bus: str
    to_bus: str


def _wires_of(line: LineElement, codes: Mapping[str, CodeElement]) -> Wires:
    """The conductors of a line, as OpenDSS connects them.

    Args:
        line: The line.
        codes: Line codes by their names in lower case.

    Raises:
        InvalidScript: if they are not three phases or one, with or without a neutral.
    """
    code = line.own or codes.get(line.code or "")
    if code is None and line.code is not None:
        raise line.at.error(f"Line.{line.name}: there is no LineCode {line.code}")
    count = (line.phases or 3) if code is None else code.conductors
    if line.phases not in (None, count):
        raise line.at.error(f"Line.{line.name}: phases={line.phases}, its line code has {count}")
    ends = [nodes or tuple(range(1, count + 1)) for _, nodes in (line.bus1, line.bus2)]
    for nodes in ends:
        if len(nodes) != count:
            raise line.at.error(
                f"Line.{line.name}: {count} conductors at {len(nodes)} nodes, of which OpenDSS would connect "
                f"{count}; neutrals count as phases there"
            )
        if count >= 3 and (nodes[:3] != (1, 2, 3) or nodes[3:] not in ((), (0,), (4,))):
            raise line.at.error(f"Line.{line.name}: nodes other than 1.2.3 and 0 or 4 in this order")
        if count <= 2 and (nodes[0] not in (1, 2, 3) or nodes[1:] not in ((), (0,), (4,))):
            raise line.at.error(
                f"Line.{line.name}: its nodes are not one phase and a neutral; two phases are not understood"
            )
    first, second = ends
    if count <= 2 and first[0] != second[0]:
        raise line.at.error(f"Line.{line.name}: its ends are on different phases")
    return Wires(
        count=count,
        phase=PHASE_NAMES[first[0] - 1] if count <= 2 else None,
        neutrals=(first[-1], second[-1]) if count in (2, 4) else None,
    )


def branches_of(
    lines: tuple[LineElement, ...], codes: Mapping[str, CodeElement], root: str, spelled: Spelling
) -> tuple[Branch, ...]:
    """The lines turned away from the busbar, parents first; feeders numbered in the order of the script.

    Args:
        lines: Those behind the transformer.
        codes: Line codes by their names in lower case.
        root: The busbar.
        spelled: How buses are spelled.

    Raises:
        InvalidScript: if they are not a tree, or a lateral is continued by what it does not have.
    """
    touching: dict[str, list[LineElement]] = {}
    for line in lines:
        for end in (line.bus1, line.bus2):
            touching.setdefault(spelled.as_first(end[0]), []).append(line)
    feeder_of, phase_of = {root: 0}, dict[str, PhaseName | None]({root: None})
    found: list[Branch] = []
    done: set[int] = set()
    queue = [root]
    feeders = 0
    for bus in queue:
        for line in touching.get(bus, ()):
            if id(line) in done:
                continue
            done.add(id(line))
            ends = [spelled.as_first(end[0]) for end in (line.bus1, line.bus2)]
            other = ends[1] if ends[0] == bus else ends[0]
            if other in feeder_of:
                raise line.at.error(f"Line.{line.name} closes a loop at {other}; only trees are understood")
            wires = _wires_of(line, codes)
            if phase_of[bus] is not None and wires.phase != phase_of[bus]:
                raise line.at.error(f"Line.{line.name}: only phase {phase_of[bus]} reaches its bus {bus}")
            feeders += bus == root
            feeder_of[other] = feeders if bus == root else feeder_of[bus]
            phase_of[other] = wires.phase
            found.append(Branch(line=line, wires=wires, feeder=feeder_of[other], from_bus=bus, to_bus=other))
            queue.append(other)
    for line in lines:
        if id(line) not in done:
            raise line.at.error(f"Line.{line.name} has no connection to the busbar {root}")
    return tuple(found)


def earthing_of(
    branches: tuple[Branch, ...], transformer: TransformerElement, earths: tuple[EarthElement, ...]
) -> EarthingName:
    """Where the neutral is earthed; something between one end and everywhere is refused.

    Raises:
        InvalidScript: if the neutral is not earthed at the star point, or at some buses only.
    """
    if not branches:
        raise transformer.at.error("there is no line at the low-voltage side")
    busbar = transformer.lv_bus.lower()
    for earth in earths:
        if earth.bus.lower() != busbar:
            raise earth.at.error(f"Reactor.{earth.name}: {_SOME_BUSES}")
    if not (transformer.star_point_earthed or (earths and transformer.lv_node == 4)):
        raise transformer.at.error(f"transformer {transformer.name}: its star point is not earthed")
    with_neutral = {branch.wires.neutrals is not None for branch in branches}
    if with_neutral == {False}:
        return "every bus"
    if with_neutral != {True}:
        bare = next(branch.line for branch in branches if branch.wires.neutrals is None)
        raise bare.at.error(f"Line.{bare.name} has no neutral, other lines have; that is not understood")
    solid = transformer.lv_node == 4 or any(abs(earth.z_ohm) <= _SOLID_OHM for earth in earths)
    found: set[int] = set()
    for branch in branches:
        ends: tuple[Bus, Bus] = (branch.line.bus1, branch.line.bus2)
        for (name, _), neutral in zip(ends, branch.wires.neutrals or (), strict=True):
            if name.lower() != busbar:
                found.add(neutral)
            elif neutral == 4 and not solid:
                raise _open_end(branch.line)
    if found == {0, 4}:
        raise transformer.at.error(_SOME_BUSES)
    return "every bus" if found == {0} else "transformer star point only"


_SOME_BUSES: Final = "a neutral earthed at some buses and not at others needs a four-wire solver"


def _open_end(line: LineElement) -> InvalidScript:
    return line.at.error(f"Line.{line.name}: its neutral ends open at the busbar")
