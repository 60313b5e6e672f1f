"""Which homes are moved or get a switch in the study of phases, judged on the market flows of all days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dso_engine.day_phases import dynamic_phases
from dso_engine.feeder import Network
from dso_engine.model import HomeId, IntArray, Phase
from dso_engine.switch_sites import (
    FeederVoltage,
    SiteHome,
    choose_greedily,
    choose_hybrid,
    choose_mean_based,
    choose_with_voltage,
    reallocate,
)
from feederloop.simulation.scenario import Scenario
from feederloop.study.flows import DayFlows
from feederloop.study.grid import NetworkModel

__all__ = ["Sites", "operations"]

_WORST_SLOTS: Final = 24
"""How many slots, of all days, the greedy choice looks at: those with the highest unbalance."""


class Sites:
    """The choices of one neighbourhood.

    Args:
        scenario: Who owns what.
        model: The network.
        days: Flows of every day.
        mu_kw2: Price of a switching operation.
    """

    def __init__(
        self, scenario: Scenario, model: NetworkModel, days: Sequence[DayFlows], mu_kw2: float
    ) -> None:
        self._network = model.network
        self._model = model
        self._mu_kw2 = mu_kw2
        self._flows = DayFlows.joined(days)
        net = self._flows.net_kw
        self._homes = tuple(
            SiteHome(
                home=home.id,
                feeder=home.feeder,
                phase=Phase(home.phase),
                has_pv=spec.pv_kwp > 0.0,
                mean_import_kw=float(np.maximum(net[:, k], 0.0).mean()),
                mean_export_kw=float(np.maximum(-net[:, k], 0.0).mean()),
                eligible=True,
            )
            for k, (home, spec) in enumerate(zip(self._network.homes, scenario.homes, strict=True))
        )
        self._prosumers = frozenset(s.home for s in scenario.homes if s.pv_kwp > 0.0 or s.has_battery)
        self._greedy: tuple[HomeId, ...] = ()
        as_built = model.states(self._flows, None)
        vuf = np.array([float(state.vuf_pct.max()) for state in as_built])
        self._worst = self._flows.slots(np.argsort(-vuf, kind="stable")[:_WORST_SLOTS])
        of_bus = np.array([segment.feeder for segment in self._network.segments])
        mean_v = np.array([state.v_v[1:] for state in as_built]).mean(axis=0)
        self._voltages = tuple(
            FeederVoltage(feeder=feeder, mean_v=_three(mean_v[of_bus == feeder].mean(axis=0).tolist()))
            for feeder in self._network.feeders
        )

    def static(self, count: int, *, participants_only: bool) -> IntArray:
        """Return the phases, for good, with at most so many homes moved; (home,)."""
        homes = self._homes
        if participants_only:
            homes = tuple(replace(home, eligible=home.home in self._prosumers) for home in homes)
        return np.array(reallocate(homes, count), dtype=np.int64)

    def chosen(self, method: str, count: int) -> tuple[int, ...]:
        """Return the positions of the homes that get a switch.

        Raises:
            ValueError: for a method there is none of.
        """
        methods: dict[str, Callable[[], tuple[HomeId, ...]]] = {
            "mean_based": lambda: choose_mean_based(self._homes, count),
            "highest_flow": lambda: choose_with_voltage(self._homes, self._voltages, count),
            "hybrid": lambda: choose_hybrid(self._homes, self._voltages, count),
            "greedy": lambda: self._by_peak(count),
        }
        if method not in methods:
            raise ValueError(f"no way of choosing called {method!r}")
        index = {home.home: k for k, home in enumerate(self._homes)}
        return tuple(index[home] for home in methods[method]())

    def _by_peak(self, count: int) -> tuple[HomeId, ...]:
        """Greedy choices are prefixes of each other, so the longest one made serves all."""
        if len(self._greedy) < count:
            self._greedy = choose_greedily([home.home for home in self._homes], count, self._peak_vuf_pct)
        return self._greedy[:count]

    def _peak_vuf_pct(self, switched: tuple[HomeId, ...]) -> float:
        index = {home.home: k for k, home in enumerate(self._homes)}
        chosen = [index[home] for home in switched]
        phases = dynamic_phases(self._network, self._worst.net_kw, chosen, self._mu_kw2)
        states = self._model.states(self._worst, phases)
        return max(float(state.vuf_pct.max()) for state in states)


def _three(values: list[float]) -> tuple[float, float, float]:
    a, b, c = values
    return a, b, c


def operations(network: Network, phases: IntArray) -> int:
    """Return how often homes are switched in a day, from the phases they were built on."""
    before = np.vstack((network.home_phase[None], phases[:-1]))
    return int(np.count_nonzero(before != phases))
