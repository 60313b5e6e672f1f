"""What a day of flows does to the network: the figures and the profiles along the feeders.

The 144 states are solved with the fast solver; the slots in which a figure of the day was worst are solved
again with pandapower, the model of record, and must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dso_engine.feeder import Network
from dso_engine.fixed_point import FixedPoint
from dso_engine.metrics import Metrics, summarise
from dso_engine.model import FloatArray, IntArray, Limits
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import GridState, Injections
from dso_engine.slot_figures import run_series
from dso_engine.verified import verified
from feederloop.study.flows import DayFlows

__all__ = ["GridDay", "NetworkModel"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridDay:
    """One day of a network.

    Attributes:
        metrics: The figures of chapter 4, section 3.
        vuf_pct: Voltage unbalance, (slot, bus).
        v_v: Phase-to-neutral voltage, (slot, bus, phase).
        i_a: Phase current, (slot, line, phase).
        transformer_loading_pct: (slot,).
        transformer_p_kw: Active power through the transformer, (slot, phase).
        head_kw: Net import at the feeder heads, (slot, feeder, phase).
    """

    metrics: Metrics
    vuf_pct: FloatArray
    v_v: FloatArray
    i_a: FloatArray
    transformer_loading_pct: FloatArray
    transformer_p_kw: FloatArray
    head_kw: FloatArray

    @property
    def mean_vuf_pct(self) -> float:
        """Mean over slots and buses."""
        return float(self.vuf_pct.mean())


class NetworkModel:
    """One network, both solvers.

    Args:
        network: The network.
        q_per_p: Reactive power of household load, kvar per kW.
        limits: What counts as beyond a limit.
    """

    def __init__(self, network: Network, q_per_p: float, limits: Limits | None = None) -> None:
        self.network = network
        self._q_per_p = q_per_p
        self._limits = limits or Limits()
        self._fast = FixedPoint(network)
        self._record = PandapowerFlow(network)

    def day(self, flows: DayFlows, phase: IntArray | None = None) -> GridDay:
        """Return the day of some flows.

        Args:
            flows: What the homes exchange.
            phase: Phase of each home, (home,) or (slot, home); None takes the network's.

        Raises:
            PowerFlowDiverged: if a state has no solution.
            SolversDisagree: if a decisive state differs between the solvers.
        """
        states = self.states(flows, phase)
        self._verify(self._injections(flows, phase), states)
        return GridDay(
            metrics=summarise(run_series(states), self._limits),
            vuf_pct=np.array([s.vuf_pct for s in states]),
            v_v=np.array([s.v_v for s in states]),
            i_a=np.array([s.i_a for s in states]),
            transformer_loading_pct=np.array([s.transformer_loading_pct for s in states]),
            transformer_p_kw=np.array([s.transformer_p_kw for s in states]),
            head_kw=np.array([s.pcc_p_kw for s in states]),
        )

    def states(self, flows: DayFlows, phase: IntArray | None) -> list[GridState]:
        """Return the states of some flows by the fast solver alone, for searches.

        Raises:
            PowerFlowDiverged: if a state has no solution.
        """
        return [self._fast.solve(each, f"slot {k}") for k, each in enumerate(self._injections(flows, phase))]

    def _injections(self, flows: DayFlows, phase: IntArray | None) -> list[Injections]:
        at = np.broadcast_to(self.network.home_phase if phase is None else phase, flows.net_kw.shape)
        return [
            Injections(p_kw=net, q_kvar=self._q_per_p * load, phase=on)
            for net, load, on in zip(flows.net_kw, flows.load_kw, at, strict=True)
        ]

    def _verify(self, injections: list[Injections], states: list[GridState]) -> None:
        decisive = {
            int(np.argmax([s.v_v.max() for s in states])),
            int(np.argmin([s.v_v.min() for s in states])),
            int(np.argmax([s.vuf_pct.max() for s in states])),
            int(np.argmax([s.transformer_loading_pct for s in states])),
        }
        for k in sorted(decisive):
            verified(self._fast, self._record, injections[k], f"slot {k}")
