"""What the real-time price remembers of one slot: prices, bounds, the baseline and the energy so far.

All of it ends with the slot (mechanisms.md 4.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dso_engine.bounds import PccBound
from dso_engine.estimate import Estimate
from dso_engine.feedback import Tightening
from dso_engine.game import FlowBounds, Mode, PriceState
from dso_engine.knowledge import reading_of
from dso_engine.model import FloatArray, HomeId, Pcc, PccReading, Phase
from dso_engine.powerflow import Injections

__all__ = ["PccRun", "SlotRun"]


@dataclass(slots=True, kw_only=True)
class PccRun:
    """One PCC in one controlled slot."""

    pcc: Pcc
    homes: tuple[HomeId, ...]
    state: PriceState
    wanted: PccBound
    """What the network needs, before the reachable set cuts it."""
    bounds: FlowBounds
    short: bool
    """Whether the homes cannot reach what the network needs."""
    tightening: Tightening = field(default_factory=Tightening)
    cap_kw: float | None = None
    capped_at: datetime | None = None

    @property
    def exhausted(self) -> bool:
        """Whether the price has done what it can: at its end, or at rest on a bound that was cut."""
        return self.state.saturated or (self.short and self.state.mode is Mode.HOLD)


@dataclass(slots=True, kw_only=True)
class SlotRun:
    """One controlled slot."""

    slot: datetime
    phases: Mapping[HomeId, Phase]
    audience: Mapping[Pcc, tuple[HomeId, ...]]
    runs: tuple[PccRun, ...] = ()
    prior: Injections | None = None
    baseline_kw: FloatArray | None = None
    """Flows at u = 0, (feeder, phase), kW; set once everything else of the first measurement is."""
    energy_kwh: dict[Pcc, float] = field(default_factory=dict)
    last: tuple[PccReading, ...] = ()
    estimate: Estimate | None = None
    estimate_due: bool = False
    unsent: dict[Pcc, int] = field(default_factory=dict)
    """Prices that were decided and did not reach the exchange, milli-cent per kWh."""
    held: bool = False
    """Whether the prices stay as they are to the end of the slot: it began under another engine, and nobody
    knows any more what the flows were at u = 0."""

    @property
    def priced(self) -> bool:
        """Whether any price is not zero, or exports are bounded."""
        return self.held or any(run.state.u_millicent != 0 for run in self.runs)

    def take(self, readings: Sequence[PccReading]) -> None:
        """Take readings, and count the energy since the slot began.

        Each reading stands for the time since the one before.
        """
        for reading in readings:
            before = next((r for r in self.last if r.pcc == reading.pcc), None)
            since = max(before.taken_at, self.slot) if before else self.slot
            mean_kw = (before.p_kw + reading.p_kw) / 2.0 if before else reading.p_kw
            hours = max(0.0, (reading.taken_at - since) / timedelta(hours=1))
            self.energy_kwh[reading.pcc] = self.energy_kwh.get(reading.pcc, 0.0) + mean_kw * hours
        self.estimate_due = self.estimate_due or not self.last or _differ(self.last, readings)
        self.last = tuple(readings)


def _differ(before: Sequence[PccReading], now: Sequence[PccReading]) -> bool:
    return any(abs(reading_of(before, r.pcc).p_kw - r.p_kw) > 1e-3 for r in now)
