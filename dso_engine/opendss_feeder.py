"""The elements of an OpenDSS script put together: one transformer, a tree behind it, homes on its buses.

Source: grid-model.md 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import ValidationError

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import (
    BusPart,
    EarthingName,
    HouseholdPart,
    NetworkFile,
    PvPart,
    TapPart,
    TransformerPart,
    ZeroSequencePart,
)
from dso_engine.opendss_codes import Codes, links_and_lines
from dso_engine.opendss_elements import CodeElement, LineElement
from dso_engine.opendss_supply import EarthElement, SourceElement, supply_chain
from dso_engine.opendss_text import Place
from dso_engine.opendss_transformer import TransformerElement
from dso_engine.opendss_tree import PHASE_NAMES, Branch, PhaseName, Spelling, branches_of, earthing_of
from dso_engine.opendss_units import UnitElement

__all__ = ["Parts", "assemble"]


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
    earths: tuple[EarthElement, ...] = ()
    rated_a: float | None = None
    """Rating of lines that have none; None: each must have one."""


def assemble(parts: Parts) -> tuple[NetworkFile, tuple[str, ...]]:
    """The network file's content, and notes on what was left out.

    Raises:
        InvalidScript: if the elements do not make a network of the kind that is modelled.
        InvalidFeeder: if a value is out of its range.
    """
    try:
        return _assembled(parts)
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors())
        raise InvalidFeeder(f"{parts.name}: {faults}") from err


def _assembled(parts: Parts) -> tuple[NetworkFile, tuple[str, ...]]:
    if len(parts.transformers) != 1:
        raise parts.at.error(f"{len(parts.transformers)} transformers; exactly one is understood")
    (transformer,) = parts.transformers
    by_name = {code.name.lower(): code for code in parts.codes}
    chain = supply_chain(
        parts.sources,
        parts.lines,
        by_name,
        (transformer.hv_bus, ()),
        transformer.at,
        parts.frequency_hz,
    )
    spelled = Spelling()
    for name in (transformer.hv_bus, transformer.lv_bus):
        spelled.as_first(name)
    busbar = spelled.as_first(transformer.lv_bus)
    branches = branches_of(chain.lines, by_name, busbar, spelled)
    earthing = earthing_of(branches, transformer, parts.earths)
    codes = Codes(by_name, parts.rated_a)
    links, lines = links_and_lines(branches, codes, busbar)
    at = _Buses({branch.to_bus: branch for branch in branches}, spelled, earthing)
    feeder_of = {branch.to_bus: branch.feeder for branch in branches}
    households = tuple(at.household(load) for load in parts.loads)
    file = NetworkFile(
        format="lv-four-wire-network",
        version=1,
        name=parts.name,
        frequency_hz=parts.frequency_hz,
        neutral_earthing=earthing,
        mv_source=chain.part,
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
        pv=_generators(parts.generators, households, at),
    )
    return file, (*chain.notes, *codes.notes, *_laterals(branches, file))


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


class _Buses:
    """Where homes and generators may be."""

    def __init__(self, branches: dict[str, Branch], spelled: Spelling, earthing: EarthingName) -> None:
        self._branches = branches
        self._spelled = spelled
        self._neutral = 0 if earthing == "every bus" else 4

    def household(self, load: UnitElement) -> HouseholdPart:
        """The home of a load."""
        bus, phase = self.place(load, "Load")
        return HouseholdPart(
            id=load.name,
            feeder=self._branches[bus].feeder,
            bus=bus,
            phase=phase,
            p_kw=load.p_kw,
            q_kvar=load.q_kvar,
        )

    def place(self, unit: UnitElement, kind: str) -> tuple[str, PhaseName]:
        """Bus and phase of a unit, which must reach it."""
        bus = self._spelled.as_first(unit.bus)
        branch = self._branches.get(bus)
        if branch is None:
            raise unit.at.error(f"{kind}.{unit.name} is at {bus}, which is on no feeder")
        if unit.neutral != self._neutral:
            raise unit.at.error(
                f"{kind}.{unit.name} is against node {unit.neutral}, the neutral is {self._neutral}"
            )
        phase = PHASE_NAMES[unit.node - 1]
        if branch.wires.phase not in (None, phase):
            raise unit.at.error(
                f"{kind}.{unit.name} is on phase {phase}, only {branch.wires.phase} reaches {bus}"
            )
        return bus, phase


def _generators(
    units: tuple[UnitElement, ...], households: tuple[HouseholdPart, ...], at: _Buses
) -> tuple[PvPart, ...]:
    """Each generator behind the meter of a home at its bus and phase, of several homes in turn."""
    owners: dict[tuple[str, str], list[str]] = {}
    for home in households:
        owners.setdefault((home.bus, home.phase), []).append(home.id)
    found: list[PvPart] = []
    for unit in units:
        bus, phase = at.place(unit, "Generator")
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


def _laterals(branches: tuple[Branch, ...], file: NetworkFile) -> tuple[str, ...]:
    """What is not modelled of lines of one phase: the current of their capacitance."""
    amperes = 0.0
    for line in file.lines:
        if line.phase is not None:
            c_nf = file.linecodes[line.linecode].c_nf_per_m[0][0] * line.length_m
            v_v = 1e3 * file.transformer.v_lv_ll_kv / math.sqrt(3.0)
            amperes += 2.0 * math.pi * file.frequency_hz * c_nf * 1e-9 * v_v
    first = next((branch.line for branch in branches if branch.wires.phase is not None), None)
    if first is None or amperes == 0.0:
        return ()
    return (f"{first.at}: the capacitance of lines of one phase is left out, {1e3 * amperes:.2g} mA in all",)
