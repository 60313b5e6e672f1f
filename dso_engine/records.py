"""What the engine notes down: one frozen record per thing that happened, for tables, plots and audits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dso_engine.errors import EngineError
from dso_engine.intake import OrderDecision
from dso_engine.market import Clearing, Order
from dso_engine.model import HomeId, Pcc, Phase
from dso_engine.slot_figures import SlotFigures

__all__ = [
    "ArmRecord",
    "AuctionRecord",
    "CurtailRecord",
    "DayAheadRecord",
    "EngineRecord",
    "FaultRecord",
    "GridRecord",
    "MarketRecord",
    "PhaseRecord",
    "StepRecord",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionRecord:
    """An auction, with all that is needed to repeat it."""

    slot: datetime
    """Start of the slot or block."""
    book: tuple[Order, ...]
    """The orders that counted."""
    refused: tuple[OrderDecision, ...] = ()
    """Those that did not."""
    clearing: Clearing

    @property
    def orders(self) -> int:
        """How many orders counted."""
        return len(self.book)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRecord(AuctionRecord):
    """The auction of one slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAheadRecord(AuctionRecord):
    """The auction of one hourly block; volumes are the energy of one slot of it."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRecord:
    """The network once in a slot, as meters and commitments show it; written again, the later one counts."""

    slot: datetime
    at: datetime
    figures: SlotFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRecord:
    """Something the engine could not do, and went on without."""

    slot: datetime
    """The slot or hour it was for."""
    at: datetime
    what: str
    error: str
    """The kind of error."""
    text: str

    @classmethod
    def of(cls, error: EngineError, *, slot: datetime, at: datetime, what: str) -> FaultRecord:
        """Return the record of an error."""
        return cls(slot=slot, at=at, what=what, error=type(error).__name__, text=str(error))


EngineRecord: TypeAlias = (
    MarketRecord
    | DayAheadRecord
    | PhaseRecord
    | ArmRecord
    | StepRecord
    | CurtailRecord
    | GridRecord
    | FaultRecord
)
