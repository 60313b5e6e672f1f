"""The low-voltage network as the engine knows it: data, checked once, never changed.

Everything a power flow needs is here in a solver-free form. Impedances stay four-wire (order a b c n); each
solver reduces them as it needs. Buses behind the transformer come busbar first and segments root to leaf, so
that walking `Network.segments` in order meets every bus after its parent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from dso_engine.errors import InvalidFeeder
from dso_engine.feeder_file import (
    BranchPart,
    LinecodePart,
    Matrix,
    NetworkFile,
    TransformerPart,
    read_network_file,
)
from dso_engine.model import ComplexArray, FloatArray, HomeId, IntArray, Pcc, Phase

LINK_Z_OHM: Final = 1e-3 + 1e-3j
"""Per conductor of a feeder-head link: the files say ideal, the reference has this (grid-model.md 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Medium-voltage source: an ideal three-phase voltage behind a sequence impedance."""

    v_ll_kv: float
    z1_ohm: complex
    z0_ohm: complex


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """Dyn transformer; short-circuit values in per cent of its rating, the tap is already in the voltages."""

    id: str
    s_rated_kva: float
    v_hv_ll_kv: float
    v_lv_ll_kv: float
    vk_percent: float
    vkr_percent: float
    vk0_percent: float
    vkr0_percent: float
    pfe_kw: float
    """Iron loss at rated voltage; modelled as a shunt on the low-voltage side (grid-model.md 2)."""
    shift_degree: float

    @property
    def i_rated_a(self) -> float:
        """Rated current of a low-voltage winding, amperes."""
        return self.s_rated_kva / (math.sqrt(3.0) * self.v_lv_ll_kv)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linecode:
    """Conductor data per metre; matrices of shape (4, 4), order a b c n."""

    id: str
    r_ohm_per_m: FloatArray
    x_ohm_per_m: FloatArray
    c_nf_per_m: FloatArray
    rated_current_a: float
    rated_neutral_current_a: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """A line or a feeder-head link, from the busbar side to the far side."""

    id: str
    feeder: int
    from_bus: str
    to_bus: str
    linecode: Linecode | None
    """None for a link."""
    length_m: float
    """0 for a link."""

    @property
    def z_ohm(self) -> ComplexArray:
        """Series impedance, shape (4, 4), order a b c n."""
        if self.linecode is None:
            return np.eye(4, dtype=np.complex128) * LINK_Z_OHM
        z_ohm_per_m = self.linecode.r_ohm_per_m + 1j * self.linecode.x_ohm_per_m
        return np.asarray(z_ohm_per_m * self.length_m, dtype=np.complex128)

    @property
    def c_nf(self) -> FloatArray:
        """Capacitance between the phases and to the neutral, shape (3, 3)."""
        if self.linecode is None:
            return np.zeros((3, 3))
        return self.linecode.c_nf_per_m[:3, :3] * self.length_m

    @property
    def rated_current_a(self) -> float:
        """Phase rating; infinite for a link, which has none of its own."""
        return np.inf if self.linecode is None else self.linecode.rated_current_a

    @property
    def rated_neutral_current_a(self) -> float:
        """Neutral rating; infinite where the file gives none."""
        rating = None if self.linecode is None else self.linecode.rated_neutral_current_a
        return np.inf if rating is None else rating


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A single-phase connection; ``p_kw`` and ``q_kvar`` are the base case of the file, + import."""

    id: HomeId
    feeder: int
    bus: str
    phase: Phase
    """The phase it was built on; a home with a transfer switch may be on another one now."""
    p_kw: float
    q_kvar: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A radial four-wire network behind one transformer, its neutral earthed at the star point only."""

    name: str
    frequency_hz: float
    source: Source
    transformer: Transformer
    buses: tuple[str, ...]
    """Low-voltage buses, busbar first, parents before children."""
    segments: tuple[Segment, ...]
    """Links and lines, parents before children: segment ``k`` ends at ``buses[k + 1]``."""
    homes: tuple[Home, ...]
    feeders: tuple[int, ...]

    @cached_property
    def pccs(self) -> tuple[Pcc, ...]:
        """Every feeder and phase, in the order of a (feeder, phase) array read row by row."""
        return tuple(Pcc(feeder=feeder, phase=phase) for feeder in self.feeders for phase in Phase)

    @cached_property
    def home_bus(self) -> IntArray:
        """Row of each home's bus in `buses`, shape (home,)."""
        row = {bus: index for index, bus in enumerate(self.buses)}
        return np.array([row[home.bus] for home in self.homes], dtype=np.int64)

    @cached_property
    def home_phase(self) -> IntArray:
        """Phase each home was built on, shape (home,)."""
        return np.array([home.phase for home in self.homes], dtype=np.int64)

    @cached_property
    def home_feeder(self) -> IntArray:
        """Row of each home's feeder in `feeders`, shape (home,)."""
        return np.array([self.feeders.index(home.feeder) for home in self.homes], dtype=np.int64)

    @cached_property
    def segment_from(self) -> IntArray:
        """Row of each segment's start in `buses`, shape (segment,)."""
        row = {bus: index for index, bus in enumerate(self.buses)}
        return np.array([row[segment.from_bus] for segment in self.segments], dtype=np.int64)

    @cached_property
    def downstream(self) -> FloatArray:
        """1 where a segment feeds a bus, else 0; shape (segment, bus)."""
        fed = np.zeros((len(self.segments), len(self.buses)))
        for k in range(len(self.segments) - 1, -1, -1):
            fed[k, k + 1] = 1.0
            for child in np.flatnonzero(self.segment_from == k + 1):
                fed[k] += fed[child]
        return fed

    @cached_property
    def head_segments(self) -> IntArray:
        """Row in `segments` of the link of each feeder, shape (feeder,)."""
        rows = {s.feeder: k for k, s in enumerate(self.segments) if s.linecode is None}
        return np.array([rows[feeder] for feeder in self.feeders], dtype=np.int64)

    def pcc_of(self, phase: IntArray) -> IntArray:
        """Index into `pccs` of each home when the homes are on these phases.

        Args:
            phase: 0, 1, 2 for A, B, C; shape (..., home).
        """
        return self.home_feeder * len(Phase) + phase


def load_network(path: Path) -> Network:
    """The network of a file.

    Args:
        path: A file in the format of ``config/networks``.

    Raises:
        InvalidFeeder: if the file is incomplete, inconsistent, not a tree or outside what the model covers.

    Source: grid-model.md 5 (format) and 1 (links as 1 mohm + j1 mohm per conductor).
    """
    file = read_network_file(path)
    try:
        return _build(file)
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


def _build(file: NetworkFile) -> Network:
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
    feeders = tuple(sorted({link.feeder for link in file.links}))
    if len(feeders) != len(file.links):
        raise InvalidFeeder("a feeder needs exactly one link to the busbar")
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
        homes=_homes(file, feeder_of),
        feeders=feeders,
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
    for link in file.links:
        if not link.closed:
            raise InvalidFeeder(f"link {link.id} is open: its feeder would have no supply")
        if link.from_bus != busbar:
            raise InvalidFeeder(f"link {link.id} does not start at the busbar {busbar}")
    for line in file.lines:
        if line.linecode not in codes:
            raise InvalidFeeder(f"line {line.id} has unknown linecode {line.linecode}")
        if line.from_bus == busbar:
            raise InvalidFeeder(f"line {line.id} starts at the busbar, where only links may")
    links = (_segment(link, None, 0.0, feeder_of, busbar) for link in file.links)
    lines = (_segment(line, codes[line.linecode], line.length_m, feeder_of, busbar) for line in file.lines)
    return (*links, *lines)


def _segment(
    part: BranchPart, code: Linecode | None, length_m: float, feeder_of: Mapping[str, int], busbar: str
) -> Segment:
    for bus in (part.from_bus, part.to_bus):
        if bus not in feeder_of:
            raise InvalidFeeder(f"{part.id} ends at unknown bus {bus}")
        if bus != busbar and feeder_of[bus] != part.feeder:
            raise InvalidFeeder(f"{part.id} is of feeder {part.feeder}, its bus {bus} is not")
    return Segment(
        id=part.id,
        feeder=part.feeder,
        from_bus=part.from_bus,
        to_bus=part.to_bus,
        linecode=code,
        length_m=length_m,
    )


def _tree(segments: tuple[Segment, ...], root: str, buses: set[str]) -> tuple[Segment, ...]:
    reached = [root]
    ordered: list[Segment] = []
    for bus in reached:
        for segment in segments:
            if segment.from_bus == bus:
                if segment.to_bus in reached:
                    raise InvalidFeeder(f"not a tree: {segment.id} reaches {segment.to_bus} a second time")
                reached.append(segment.to_bus)
                ordered.append(segment)
    if lost := sorted(buses - set(reached)):
        raise InvalidFeeder(f"not a tree: no way from the busbar to {', '.join(lost)}")
    return tuple(ordered)


def _homes(file: NetworkFile, feeder_of: Mapping[str, int]) -> tuple[Home, ...]:
    if not file.households:
        raise InvalidFeeder("a network without homes")
    for home in file.households:
        if feeder_of.get(home.bus, 0) == 0:
            raise InvalidFeeder(f"household {home.id} is on {home.bus}, not a bus of a feeder")
        if feeder_of[home.bus] != home.feeder:
            raise InvalidFeeder(f"household {home.id} is of feeder {home.feeder}, its bus {home.bus} is not")
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
