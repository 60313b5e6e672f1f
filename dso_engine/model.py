"""Domain types that the engine's modules share.

Units and signs hold for the whole product and are stated here once:

* a slot lasts ten minutes; energy per slot is integer **Wh** on the wire and in the accounts, kWh in solvers;
* power is in kW, prices in the auction and the accounts are integer **milli-cent per kWh** (1e-5 EUR/kWh);
* grid import is positive, export negative; battery discharge is positive;
* arrays over the network have the axis order ``[time, node, phase]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NewType

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

HomeId = NewType("HomeId", str)
PccId = NewType("PccId", str)

SLOT: Final = timedelta(minutes=10)
SLOT_H: Final = 1.0 / 6.0
SLOTS_PER_HOUR: Final = 6
MILLICENT_PER_EUR: Final = 100_000


class Phase(IntEnum):
    """Phase conductor; the value is the column of every ``[..., phase]`` array, on the wire value + 1."""

    A = 0
    B = 1
    C = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcc:
    """A point of common coupling: one phase of one feeder, metered at the feeder head (mechanisms.md 9)."""

    feeder: int
    phase: Phase

    @property
    def id(self) -> PccId:
        """The identifier, ``F1-A`` to ``F2-C`` in the default network."""
        return PccId(f"F{self.feeder}-{self.phase.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PccReading:
    """What the meter at a feeder head shows for one phase: net import of everything behind it."""

    pcc: Pcc
    p_kw: float
    q_kvar: float
    v_v: float
    """Phase-to-neutral voltage at the feeder head, volts."""
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """What a home said at h - 55 min about one slot: its whole exchange and what it can still move."""

    home: HomeId
    slot: datetime
    """Start of the slot, UTC."""
    grid_energy_wh: int
    """Planned exchange with the grid (market + supplier), + import."""
    up_w: int
    """How far the home could raise its mean import above the plan, >= 0."""
    down_w: int
    """How far the home could lower its mean import below the plan (or export more), >= 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Operating limits of the network; thermal ratings are in its file (mechanisms.md 9, defaults)."""

    v_nominal_v: float = 400.0 / 3.0**0.5
    v_band: float = 0.10
    """Largest deviation of a phase-to-neutral voltage from nominal, per unit of nominal."""
    guard_v: float = 0.005
    """Guard band kept inside the voltage limit, per unit of nominal."""
    guard_i: float = 0.03
    """Guard band kept inside every thermal limit, fraction of the rating."""
    arm_v: float = 0.09
    arm_i: float = 0.70
    release_v: float = 0.085
    release_i: float = 0.65
