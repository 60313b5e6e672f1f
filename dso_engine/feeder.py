"""A network file becomes a network, checked for what its entries mean together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import (
    LinecodePart,
    LinePart,
    LinkPart,
    Matrix,
    NetworkFile,
    TransformerPart,
    read_network_file,
)
from dso_engine.model import FloatArray, HomeId, Phase
from dso_engine.network import (
    LINK_Z_OHM,
    Earthing,
    Generator,
    Home,
    Linecode,
    Network,
    Segment,
    Source,
    Transformer,
)
from dso_engine.opendss_read import read_opendss_file

__all__ = [
    "Earthing",
    "Generator",
    "Home",
    "Linecode",
    "Network",
    "Segment",
    "Source",
    "Transformer",
    "build_network",
    "load_network",
    "with_model_error",
]


def load_network(path: Path) -> Network:
    """The network of a file.

    Args:
        path: A file in the format of ``config/networks``, or an OpenDSS script if its name ends in ``.dss``.

    Raises:
        InvalidFeeder: if the file is incomplete, inconsistent, not a tree or outside what the model covers.

    Source: grid-model.md 5 (format) and 1 (links as 1 mohm + j1 mohm per conductor).
    """
    script = path.suffix.lower() == ".dss"
    file = read_opendss_file(path).file if script else read_network_file(path)
    try:
        return build_network(file)
    except InvalidFeeder as err:
        raise InvalidFeeder(f"{path.name}: {err}") from err


def with_model_error(network: Network, *, r_factor: float, wrong_phase: Mapping[HomeId, Phase]) -> Network:
    """The network as somebody would know it who is wrong about it (``--model-error``).

    Args:
        network: The true network.
        r_factor: Factor on the resistance of every cable conductor; transformer and source stay right.
        wrong_phase: Homes the records put on a phase they are not on.

    Raises:
        InvalidFeeder: if the factor is not positive or a home is unknown.
    """
    if not (r_factor > 0.0 and np.isfinite(r_factor)):
        raise InvalidFeeder(f"resistance factor must be positive, not {r_factor}")
    if unknown := sorted(set(wrong_phase) - {home.id for home in network.homes}):
        raise InvalidFeeder(f"unknown home {', '.join(unknown)}")
    codes = {code.id: code for code in (segment.linecode for segment in network.segments) if code}
    wrong = {
        key: replace(code, r_ohm_per_m=_frozen(code.r_ohm_per_m * r_factor)) for key, code in codes.items()
    }
    segments = tuple(replace(s, linecode=s.linecode and wrong[s.linecode.id]) for s in network.segments)
    homes = tuple(replace(home, phase=Phase(wrong_phase.get(home.id, home.phase))) for home in network.homes)
    return replace(network, segments=segments, homes=homes)


def build_network(file: NetworkFile) -> Network:
    """The network of a file's content.

    Raises:
        InvalidFeeder: as `load_network`.
    """
    _unique("bus", (bus.id for bus in file.buses))
    _unique("link or line", (part.id for part in (*file.links, *file.lines)))
    _unique("household", (home.id for home in file.households))
    codes = {name: _linecode(name, part) for name, part in file.linecodes.items()}
    feeder_of = {bus.id: bus.feeder for bus in file.buses}
    segments = _segments(file, codes, feeder_of)
    transformer = file.transformer
    for bus in (transformer.hv_bus, transformer.lv_bus):
        if bus not in feeder_of:
            raise InvalidFeeder(f"the transformer is on unknown bus {bus}")
    source = file.mv_source
    if source.bus != transformer.hv_bus:
        raise InvalidFeeder(f"source is on {source.bus}, the transformer on {transformer.hv_bus}")
    ordered = _tree(segments, transformer.lv_bus, set(feeder_of) - {transformer.hv_bus})
    heads = [segment.feeder for segment in ordered if segment.from_bus == transformer.lv_bus]
    feeders = tuple(sorted(set(heads)))
    if len(feeders) != len(heads):
        raise InvalidFeeder("a feeder needs exactly one link or line to the busbar")
    return Network(
        name=file.name,
        frequency_hz=file.frequency_hz,
        source=Source(
            v_ll_kv=source.v_ll_kv,
            z1_ohm=complex(source.r1_ohm, source.x1_ohm),
            z0_ohm=complex(source.r0_ohm, source.x0_ohm),
        ),
        transformer=_transformer(transformer),
        buses=(transformer.lv_bus, *(segment.to_bus for segment in ordered)),
        segments=ordered,
        homes=_homes(file, feeder_of, _laterals(ordered)),
        feeders=feeders,
        earthing=Earthing(file.neutral_earthing),
        generators=_generators(file),
    )


def _unique(kind: str, ids: Iterable[str]) -> None:
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise InvalidFeeder(f"{kind} id used twice: {', '.join(twice)}")


def _transformer(part: TransformerPart) -> Transformer:
    if part.connection != "Dyn":
        raise InvalidFeeder(f"transformer {part.id}: connection {part.connection}, only Dyn is modelled")
    zero = part.zero_sequence
    if part.vkr_percent > part.vk_percent or zero.vkr0_percent > zero.vk0_percent:
        raise InvalidFeeder(f"transformer {part.id}: vkr is larger than vk")
    tap_hv, tap_lv = (part.tap.value_pu, 1.0) if part.tap.side == "hv" else (1.0, part.tap.value_pu)
    return Transformer(
        id=part.id,
        s_rated_kva=part.s_rated_kva,
        v_hv_ll_kv=part.v_hv_ll_kv * tap_hv,
        v_lv_ll_kv=part.v_lv_ll_kv * tap_lv,
        vk_percent=part.vk_percent,
        vkr_percent=part.vkr_percent,
        vk0_percent=zero.vk0_percent,
        vkr0_percent=zero.vkr0_percent,
        pfe_kw=part.pfe_kw,
        shift_degree=30.0 * part.clock_number,
    )


def _frozen(array: FloatArray) -> FloatArray:
    array.flags.writeable = False
    return array


def _matrix(name: str, field: str, rows: Matrix) -> FloatArray:
    if len(rows) != 4 or any(len(row) != 4 for row in rows):
        raise InvalidFeeder(f"linecode {name}: {field} is not 4x4")
    matrix = np.array(rows, dtype=np.float64)
    if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0.0):
        raise InvalidFeeder(f"linecode {name}: {field} is not symmetric")
    return _frozen(matrix)


def _linecode(name: str, part: LinecodePart) -> Linecode:
    r = _matrix(name, "r_ohm_per_m", part.r_ohm_per_m)
    if np.any(np.diag(r) <= 0.0):
        raise InvalidFeeder(f"linecode {name}: a conductor without resistance")
    return Linecode(
        id=name,
        r_ohm_per_m=r,
        x_ohm_per_m=_matrix(name, "x_ohm_per_m", part.x_ohm_per_m),
        c_nf_per_m=_matrix(name, "c_nf_per_m", part.c_nf_per_m),
        rated_current_a=part.rated_current_a,
        rated_neutral_current_a=part.rated_neutral_current_a,
    )


def _segments(
    file: NetworkFile, codes: Mapping[str, Linecode], feeder_of: Mapping[str, int]
) -> tuple[Segment, ...]:
    busbar = file.transformer.lv_bus
    found: list[Segment] = []
    for link in file.links:
        if not link.closed:
            raise InvalidFeeder(f"link {link.id} is open: its feeder would have no supply")
        if link.from_bus != busbar:
            raise InvalidFeeder(f"link {link.id} does not start at the busbar {busbar}")
        found.append(_segment(link, None, feeder_of, busbar))
    for line in file.lines:
        if line.linecode not in codes:
            raise InvalidFeeder(f"line {line.id} has unknown linecode {line.linecode}")
        found.append(_segment(line, codes[line.linecode], feeder_of, busbar))
    return tuple(found)


def _segment(
    part: LinkPart | LinePart, code: Linecode | None, feeder_of: Mapping[str, int], busbar: str
) -> Segment:
    for bus in (part.from_bus, part.to_bus):
        if bus not in feeder_of:
            raise InvalidFeeder(f"{part.id} ends at unknown bus {bus}")
        if bus != busbar and feeder_of[bus] != part.feeder:
            raise InvalidFeeder(f"{part.id} is of feeder {part.feeder}, its bus {bus} is not")
    z_ohm = LINK_Z_OHM
    if isinstance(part, LinkPart) and (part.r_ohm, part.x_ohm) != (None, None):
        if part.r_ohm is None or part.x_ohm is None:
            raise InvalidFeeder(f"link {part.id}: r_ohm and x_ohm go together")
        z_ohm = complex(part.r_ohm, part.x_ohm)
    return Segment(
        id=part.id,
        feeder=part.feeder,
        from_bus=part.from_bus,
        to_bus=part.to_bus,
        linecode=code,
        length_m=part.length_m if isinstance(part, LinePart) else 0.0,
        link_z_ohm=z_ohm,
        phase=Phase[part.phase] if isinstance(part, LinePart) and part.phase else None,
    )


def _tree(segments: tuple[Segment, ...], root: str, buses: set[str]) -> tuple[Segment, ...]:
    leaving: dict[str, list[Segment]] = {}
    for segment in segments:
        leaving.setdefault(segment.from_bus, []).append(segment)
    queue, reached = [root], {root}
    ordered: list[Segment] = []
    for bus in queue:
        for segment in leaving.get(bus, ()):
            if segment.to_bus in reached:
                raise InvalidFeeder(f"not a tree: {segment.id} reaches {segment.to_bus} a second time")
            reached.add(segment.to_bus)
            queue.append(segment.to_bus)
            ordered.append(segment)
    if lost := sorted(buses - reached):
        raise InvalidFeeder(f"not a tree: no way from the busbar to {', '.join(lost)}")
    return tuple(ordered)


def _laterals(segments: tuple[Segment, ...]) -> dict[str, Phase]:
    """The only phase of each bus on a lateral; parents come first."""
    phase_of: dict[str, Phase] = {}
    for segment in segments:
        here = phase_of.get(segment.from_bus)
        if here is not None and segment.phase is not here:
            raise InvalidFeeder(f"{segment.id}: only phase {here.name} reaches its bus {segment.from_bus}")
        if segment.phase is not None:
            phase_of[segment.to_bus] = segment.phase
    return phase_of


def _homes(
    file: NetworkFile, feeder_of: Mapping[str, int], phase_of: Mapping[str, Phase]
) -> tuple[Home, ...]:
    if not file.households:
        raise InvalidFeeder("a network without homes")
    for home in file.households:
        if feeder_of.get(home.bus, 0) == 0:
            raise InvalidFeeder(f"household {home.id} is on {home.bus}, not a bus of a feeder")
        if feeder_of[home.bus] != home.feeder:
            raise InvalidFeeder(f"household {home.id} is of feeder {home.feeder}, its bus {home.bus} is not")
        if phase_of.get(home.bus, Phase[home.phase]) is not Phase[home.phase]:
            raise InvalidFeeder(
                f"household {home.id} is on phase {home.phase}, its bus {home.bus} has only phase "
                f"{phase_of[home.bus].name}"
            )
    return tuple(
        Home(
            id=HomeId(home.id),
            feeder=home.feeder,
            bus=home.bus,
            phase=Phase[home.phase],
            p_kw=home.p_kw,
            q_kvar=home.q_kvar,
        )
        for home in file.households
    )


def _generators(file: NetworkFile) -> tuple[Generator, ...]:
    at = {home.id: (home.bus, home.phase) for home in file.households}
    for unit in file.pv:
        if unit.household not in at:
            raise InvalidFeeder(f"generator {unit.id} is of unknown household {unit.household}")
        if at[unit.household] != (unit.bus, unit.phase):
            raise InvalidFeeder(
                f"generator {unit.id} is on {unit.bus} {unit.phase}, household {unit.household} is not"
            )
    return tuple(
        Generator(id=unit.id, home=HomeId(unit.household), p_kw=unit.p_kw, q_kvar=unit.q_kvar)
        for unit in file.pv
    )
