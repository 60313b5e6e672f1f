"""The physical side: what the homes exchange goes through the network, and the feeder heads are metered.

The plant knows everything; the engine sees only what :class:`Plant` reads at the PCCs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from dso_engine.model import SLOT, FloatArray, IntArray, Limits, PccReading
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections, Violation, violations

__all__ = ["PhysicalHome", "Plant", "SlotView"]


class PhysicalHome(Protocol):
    """What the network feels of a home."""

    def net_kw(self, now: datetime) -> float:
        """Return the present exchange with the grid, kW, + import."""
        ...

    def load_kw(self, now: datetime) -> float:
        """Return the present consumption, kW; its reactive power follows from it."""
        ...

    def phase(self, now: datetime) -> int:
        """Return the phase the home is connected to, 1 to 3."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlotView:
    """The plant at the end of one slot."""

    slot: datetime
    state: GridState
    net_kw: FloatArray
    """Net import of each home, (home,)."""
    phase: IntArray
    violations: tuple[Violation, ...]
    """Of the limits themselves, without guard bands."""


class Plant:
    """The network with its homes.

    Args:
        flow: Model of record of the true network.
        homes: In the order of the network.
        limits: What counts as a violation.
        q_per_p: Reactive power of household load, kvar per kW.
    """

    def __init__(
        self, *, flow: PandapowerFlow, homes: Sequence[PhysicalHome], limits: Limits, q_per_p: float
    ) -> None:
        if len(homes) != len(flow.network.homes):
            raise ValueError(f"{len(homes)} homes for {len(flow.network.homes)} connections")
        self._flow = flow
        self._homes = tuple(homes)
        self._limits = limits
        self._q_per_p = q_per_p

    def injections(self, now: datetime) -> Injections:
        """Return what the homes exchange now."""
        return Injections(
            p_kw=np.array([home.net_kw(now) for home in self._homes]),
            q_kvar=np.array([home.load_kw(now) * self._q_per_p for home in self._homes]),
            phase=np.array([home.phase(now) - 1 for home in self._homes], dtype=np.int64),
        )

    def state(self, now: datetime) -> GridState:
        """Return the solved network.

        Raises:
            PowerFlowDiverged: naming the instant.
        """
        return self._flow.solve(self.injections(now), f"plant at {now.isoformat()}")

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the six meters; implements :class:`dso_engine.ports.TelemetrySource`."""
        state = self.state(now)
        return tuple(
            PccReading(
                pcc=pcc,
                p_kw=float(state.pcc_p_kw.flat[k]),
                q_kvar=float(state.pcc_q_kvar.flat[k]),
                v_v=float(state.pcc_v_v.flat[k]),
                taken_at=now,
            )
            for k, pcc in enumerate(self._flow.network.pccs)
        )

    def look(self, now: datetime) -> SlotView:
        """Return the plant just before the edge ``now``, as the slot that ends left it."""
        instant = now - timedelta(microseconds=1)
        injections = self.injections(instant)
        state = self._flow.solve(injections, f"plant at the end of {now - SLOT:%H:%M}")
        return SlotView(
            slot=now - SLOT,
            state=state,
            net_kw=injections.p_kw,
            phase=injections.phase,
            violations=violations(self._flow.network, state, self._limits, guard=False),
        )
