"""The cables of an OpenDSS script: impedances per metre of four conductors, links and lines that use them.

Where lines have no neutral, earth is the return path, and the neutral conductor in the result is without
coupling and current. The cable of a lateral is written as if it had three phases alike; only one is there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dso_engine.feeder_file import LinecodePart, LinePart, LinkPart, Matrix
from dso_engine.model import FloatArray
from dso_engine.opendss_elements import CodeElement, LineElement
from dso_engine.opendss_options import METRES_PER_UNIT
from dso_engine.opendss_tree import Branch

__all__ = ["Codes", "links_and_lines"]


class Codes:
    """Line codes per metre; a code that lines use with several ratings or units becomes several.

    Args:
        by_name: Line codes by their names in lower case.
        rated_a: Rating of lines that have none, or None if each must have one.
    """

    def __init__(self, by_name: Mapping[str, CodeElement], rated_a: float | None) -> None:
        self._by_name = by_name
        self._rated_a = rated_a
        self._ids: dict[tuple[str, float, float], str] = {}
        self.used: dict[str, LinecodePart] = {}
        self._unitless: list[LineElement] = []
        self._unrated: list[LineElement] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the lines left open."""
        found = []
        for lines, what in (
            (self._unitless, "no unit of length: that of its code, as OpenDSS takes it"),
            (self._unrated, f"no normamps: rated {self._rated_a or 0.0:g} A as asked for"),
        ):
            if lines:
                others = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
                found.append(f"{lines[0].at}: Line.{lines[0].name}{others} has {what}")
        return tuple(found)

    def of(self, branch: Branch) -> tuple[str, float]:
        """Id of the code of a line, and the length, m.

        Raises:
            InvalidScript: if the line has no rating.
        """
        line, count = branch.line, branch.wires.count
        if line.switch:
            return self._add(f"{line.name}_switch", self._switch(line, count), line, 1.0), 1.0
        code = line.own or self._by_name[line.code or ""]
        # Where one of the two has no unit, OpenDSS takes that of the other.
        line_unit = code.unit if line.unit == "none" else line.unit
        code_unit = line_unit if code.unit == "none" else code.unit
        if line.unit != line_unit:
            self._unitless.append(line)
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
            if self._rated_a is None:
                raise line.at.error(
                    f"Line.{line.name}: normamps is not given, nor by its code; the limits need it and the "
                    "400 A of OpenDSS are nobody's (feederloop network has --rated-a)"
                )
            rated_a = self._rated_a
            self._unrated.append(line)
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
    """Four rows, order a b c n.

    Without a neutral it is one like a phase, without coupling. A single phase is three alike, coupled as it
    is with its neutral.
    """
    size = len(matrix)
    whole = np.zeros((4, 4))
    whole[3, 3] = matrix[0, 0] if neutral is None else neutral
    if size >= 3:
        whole[:size, :size] = matrix
    elif size == 2:
        whole += matrix[0, 1]
        whole[[0, 1, 2], [0, 1, 2]], whole[3, 3] = matrix[0, 0], matrix[1, 1]
    else:
        whole[[0, 1, 2], [0, 1, 2]] = matrix[0, 0]
    return tuple(tuple(row) for row in whole.tolist())


def links_and_lines(
    branches: tuple[Branch, ...], codes: Codes, busbar: str
) -> tuple[tuple[LinkPart, ...], tuple[LinePart, ...]]:
    """Switches of all conductors at the busbar are links, everything else is a line.

    Raises:
        InvalidScript: as `Codes.of`.
    """
    links, lines = [], []
    for branch in branches:
        name, feeder = branch.line.name, branch.feeder
        if branch.line.switch and branch.from_bus == busbar and branch.wires.phase is None:
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
        code, length_m = codes.of(branch)
        lines.append(
            LinePart(
                id=name,
                feeder=feeder,
                from_bus=branch.from_bus,
                to_bus=branch.to_bus,
                linecode=code,
                length_m=length_m,
                phase=branch.wires.phase,
            )
        )
    return tuple(links), tuple(lines)
