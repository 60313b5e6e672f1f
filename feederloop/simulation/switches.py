"""Which homes of a neighbourhood get a transfer switch, from the flows of one day.

``highest_flow`` and ``mean_based`` need flows only; ``highest_average_flow`` and ``hybrid`` also the mean
voltage of the phases, and ``greedy`` the highest voltage unbalance: both are computed with the network model,
since no meter sees them. Greedy judges on the slots that have the highest unbalance without switches, not on
all 144.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from config.settings import SwitchChoice
from dso_engine.day_phases import dynamic_phases
from dso_engine.feeder import Network
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import FloatArray, HomeId, IntArray, Phase
from dso_engine.phase import HomeFlow, choose_highest_average_flow
from dso_engine.powerflow import Injections
from dso_engine.switch_sites import (
    FeederVoltage,
    SiteHome,
    choose_greedily,
    choose_hybrid,
    choose_mean_based,
    choose_with_voltage,
)

__all__ = ["SwitchDay"]

_WORST_SLOTS: Final = 36
"""How many slots greedy looks at: a quarter of a day."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SwitchDay:
    """The day the choice is made on.

    Attributes:
        load_kw: Load, (slot, home).
        pv_kw: Production, (slot, home).
        q_per_p: Reactive power of the load, kvar per kW.
        mu_kw2: Price of a switching operation.
    """

    network: Network
    load_kw: FloatArray
    pv_kw: FloatArray
    q_per_p: float
    mu_kw2: float

    def choose(self, how: SwitchChoice, count: int) -> tuple[HomeId, ...]:
        """Return the homes that get a switch, in the order of choice; all homes if there are not more.

        Raises:
            InvalidAllocation: if a flow is not finite.
            PowerFlowDiverged: if a state of the day has no solution.
        """
        count = min(count, len(self.network.homes))
        match how:
            case "highest_flow":
                return choose_highest_average_flow(self._flows(), count)
            case "mean_based":
                return choose_mean_based(self.sites, count)
            case "highest_average_flow":
                return choose_with_voltage(self.sites, self.voltages, count)
            case "hybrid":
                return choose_hybrid(self.sites, self.voltages, count)
            case "greedy":
                return choose_greedily([home.id for home in self.network.homes], count, self.peak_vuf_pct)

    @cached_property
    def sites(self) -> tuple[SiteHome, ...]:
        """The homes with their mean flows."""
        net, has_pv = self._net_kw, self.pv_kw.max(axis=0) > 0.0
        return tuple(
            SiteHome(
                home=home.id,
                feeder=home.feeder,
                phase=Phase(home.phase),
                has_pv=bool(has_pv[k]),
                mean_import_kw=float(np.maximum(net[:, k], 0.0).mean()),
                mean_export_kw=float(np.maximum(-net[:, k], 0.0).mean()),
            )
            for k, home in enumerate(self.network.homes)
        )

    @cached_property
    def voltages(self) -> tuple[FeederVoltage, ...]:
        """Mean voltage of the phases of every feeder over slots and buses, V."""
        batch = self._search.solve_batch(self._net_kw, self._q_kvar, self.network.home_phase, "switch sites")
        of_bus = np.array([segment.feeder for segment in self.network.segments])
        means = [batch.v_v[:, 1:][:, of_bus == feeder].mean(axis=(0, 1)) for feeder in self.network.feeders]
        return tuple(
            FeederVoltage(feeder=feeder, mean_v=(float(a), float(b), float(c)))
            for feeder, (a, b, c) in zip(self.network.feeders, means, strict=True)
        )

    def peak_vuf_pct(self, switched: tuple[HomeId, ...]) -> float:
        """Return the highest voltage unbalance of any bus in the worst slots, these homes with a switch."""
        index = {home.id: k for k, home in enumerate(self.network.homes)}
        phases = dynamic_phases(self.network, self._net_kw, [index[home] for home in switched], self.mu_kw2)
        return float(self._vuf_pct(phases, self._worst).max())

    @cached_property
    def _search(self) -> FixedPoint:
        return FixedPoint(self.network)

    @cached_property
    def _net_kw(self) -> FloatArray:
        return np.asarray(self.load_kw - self.pv_kw, dtype=np.float64)

    @cached_property
    def _q_kvar(self) -> FloatArray:
        return np.asarray(self.q_per_p * self.load_kw, dtype=np.float64)

    @cached_property
    def _worst(self) -> IntArray:
        every = np.arange(len(self.load_kw))
        as_built = np.broadcast_to(self.network.home_phase, self.load_kw.shape)
        vuf = self._vuf_pct(as_built, every)
        return np.argsort(-vuf, kind="stable")[:_WORST_SLOTS]

    def _vuf_pct(self, phases: IntArray, slots: IntArray) -> FloatArray:
        """The highest unbalance of any bus in each of some slots, %."""
        return np.array(
            [
                self._search.solve(
                    Injections(p_kw=self._net_kw[t], q_kvar=self._q_kvar[t], phase=phases[t]),
                    f"switch sites, slot {t}",
                ).vuf_pct.max()
                for t in slots
            ]
        )

    def _flows(self) -> list[HomeFlow]:
        return [
            HomeFlow(
                home=home.id,
                feeder=home.feeder,
                mean_abs_flow_kw=float(np.mean(np.abs(self._net_kw[:, k]))),
            )
            for k, home in enumerate(self.network.homes)
        ]
