"""The low-voltage network as the engine knows it: data, checked once, never changed.

Everything a power flow needs is here in a solver-free form. Impedances stay four-wire (order a b c n); the
earthing of the neutral says how they reduce to the three phases. Buses behind the transformer come busbar
first and segments root to leaf, so that walking `Network.segments` in order meets every bus after its parent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dso_engine.model import ComplexArray, FloatArray, HomeId, IntArray, Pcc, Phase

LINK_Z_OHM: Final = 1e-3 + 1e-3j
"""Per conductor of a feeder-head link: the files say ideal, the reference has this (grid-model.md 1)."""


class Earthing(StrEnum):
    """Where the neutral is connected to earth; the value is that of the file."""

    STAR_POINT = "transformer star point only"
    EVERY_BUS = "every bus"


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
    link_z_ohm: complex = LINK_Z_OHM
    """Of each of a link's four conductors, which are not coupled; without meaning for a line."""
    phase: Phase | None = None
    """The only phase of a lateral, whose homes are all on it; None: all three."""

    @property
    def z_ohm(self) -> ComplexArray:
        """Series impedance, shape (4, 4), order a b c n; of a lateral only its phase and n are there."""
        if self.linecode is None:
            return np.eye(4, dtype=np.complex128) * self.link_z_ohm
        z_ohm_per_m = self.linecode.r_ohm_per_m + 1j * self.linecode.x_ohm_per_m
        return np.asarray(z_ohm_per_m * self.length_m, dtype=np.complex128)

    @property
    def c_nf(self) -> FloatArray:
        """Capacitance between the phases and to the neutral, shape (3, 3); that of a lateral is left out."""
        if self.linecode is None or self.phase is not None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A single-phase generator of the file's base case; it is behind the meter of its home."""

    id: str
    home: HomeId
    p_kw: float
    """Production, >= 0 as a rule."""
    q_kvar: float
    """Injection, + like a capacitor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A radial four-wire network behind one transformer."""

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
    earthing: Earthing = Earthing.STAR_POINT
    generators: tuple[Generator, ...] = ()

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
        """Row in `segments` of the first segment of each feeder, shape (feeder,)."""
        rows = {s.feeder: k for k, s in enumerate(self.segments) if s.from_bus == self.buses[0]}
        return np.array([rows[feeder] for feeder in self.feeders], dtype=np.int64)

    @cached_property
    def head_buses(self) -> IntArray:
        """Row in `buses` of the meter of each feeder, shape (feeder,): behind the link, else the busbar."""
        linked = [self.segments[k].linecode is None for k in self.head_segments]
        return np.where(linked, self.head_segments + 1, 0)

    @cached_property
    def z4_ohm(self) -> ComplexArray:
        """Series impedances, shape (segment, 4, 4), order a b c n.

        Those of a lateral carry no current in the phases it does not have. Their place is held by conductors
        that see no voltage drop, whatever flows in the phase and in the neutral: own impedances as the phase,
        and a coupling that makes what `z3_ohm` has beside its diagonal zero. So a phase that is not there
        has the voltage of the bus where the lateral begins.
        """
        return np.array([_held(segment, self.earthing) for segment in self.segments], dtype=np.complex128)

    @cached_property
    def has_phase(self) -> NDArray[np.bool_]:
        """Whether a phase reaches a bus, shape (bus, phase)."""
        there = np.ones((len(self.buses), len(Phase)), dtype=np.bool_)
        for k, segment in enumerate(self.segments):
            if segment.phase is not None:
                there[k + 1] = np.arange(len(Phase)) == segment.phase
        return there

    @cached_property
    def three_phase_bus(self) -> IntArray:
        """Row of the bus with three phases each bus is behind, or is; shape (bus,)."""
        row = np.arange(len(self.buses))
        for k, segment in enumerate(self.segments):
            if segment.phase is not None:
                row[k + 1] = row[self.segment_from[k]]
        return row

    @cached_property
    def neutral_share(self) -> ComplexArray:
        """Factors of Ia, Ib, Ic in the neutral current, shape (segment, 3).

        Earthed at the star point only the neutral carries the whole return current, In = -(Ia + Ib + Ic).
        Earthed at every bus the voltage along it is zero, In = -(Zna Ia + Znb Ib + Znc Ic) / Znn; earth
        carries the rest.

        Source: grid-model.md 2, "Neutral treatment" and footnote (**).
        """
        if self.earthing is Earthing.EVERY_BUS:
            return np.asarray(-self.z4_ohm[:, 3, :3] / self.z4_ohm[:, 3, 3:], dtype=np.complex128)
        return np.full((len(self.segments), 3), -1.0, dtype=np.complex128)

    @cached_property
    def z3_ohm(self) -> ComplexArray:
        """Series impedances of the phases with the neutral eliminated, shape (segment, 3, 3).

        With In = f . I the drop along a phase against the local neutral is (Z_i - Z_n) . (I, f I) at a star
        point (neutral-return reduction), and Z_i . (I, f I) where the neutral stays at zero (Kron).
        """
        z4, share = self.z4_ohm, self.neutral_share
        rows = z4[:, :3] - z4[:, 3:] if self.earthing is Earthing.STAR_POINT else z4[:, :3]
        return np.asarray(rows[:, :, :3] + rows[:, :, 3:] * share[:, None, :], dtype=np.complex128)

    def pcc_of(self, phase: IntArray) -> IntArray:
        """Index into `pccs` of each home when the homes are on these phases.

        Args:
            phase: 0, 1, 2 for A, B, C; shape (..., home).
        """
        return self.home_feeder * len(Phase) + phase


def _held(segment: Segment, earthing: Earthing) -> ComplexArray:
    z = segment.z_ohm
    if segment.phase is None:
        return z
    own, to_neutral, neutral = z[segment.phase, segment.phase], z[segment.phase, 3], z[3, 3]
    everywhere = earthing is Earthing.EVERY_BUS
    mutual = to_neutral**2 / neutral if everywhere else 2.0 * to_neutral - neutral
    held = np.full((4, 4), mutual, dtype=np.complex128)
    held[:3, 3] = held[3, :3] = to_neutral
    held[[0, 1, 2, 3], [0, 1, 2, 3]] = own, own, own, neutral
    return held
