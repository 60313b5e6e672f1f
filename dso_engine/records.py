"""What the engine notes down: one frozen record per thing that happened, for tables, plots and audits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dso_engine.market import Clearing
from dso_engine.model import HomeId, Pcc, Phase

__all__ = [
    "ArmRecord",
    "CurtailRecord",
    "EngineRecord",
    "MarketRecord",
    "PhaseRecord",
    "StepRecord",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRecord:
    """The auction of one slot."""

    slot: datetime
    orders: int
    clearing: Clearing


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """The phases planned for a slot, and how many homes have to switch for it."""

    slot: datetime
    phases: tuple[tuple[HomeId, Phase], ...]
    operations: int
    imbalance_kw2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRecord:
    """Whether the price is armed for a slot, and the stress that decided it."""

    slot: datetime
    armed: bool
    v_dev_estimate: float | None
    v_dev_forecast: float | None
    """Largest voltage deviation, per unit of nominal; None where nothing was known yet."""
    i_load: float
    """Largest thermal loading, fraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One measurement of one PCC in a controlled slot, and the price it led to."""

    slot: datetime
    at: datetime
    pcc: Pcc
    p_kw: float
    projected_kw: float
    c_lo_kw: float | None
    c_hi_kw: float | None
    u_millicent: int
    """The price after the step."""
    stepped: bool
    """False where the law waited: the current version had not reached everybody."""
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailRecord:
    """A bound on exports: the last resort."""

    slot: datetime
    at: datetime
    pcc: Pcc
    export_w: tuple[tuple[HomeId, int], ...]


EngineRecord: TypeAlias = MarketRecord | PhaseRecord | ArmRecord | StepRecord | CurtailRecord
