"""The study of phase switching: chapter 5, figures 5.3 to 5.16. What is played, and what is kept of it.

*Impact*: 33 homes of chapter 4 on the 150/70 mm2 network, four switches, static and dynamic, each way of
choosing the homes. *Adoption*: scenarios A to D of 50 homes, with 0 to 8 switches.

Homes are chosen from the mean market flows of all days of the job, as a DSO knows them from its meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from dso_engine.day_phases import dynamic_phases
from dso_engine.model import FloatArray, IntArray
from feederloop.simulation.scenario import Scenario
from feederloop.study.allocation import Sites, operations
from feederloop.study.flows import DayFlows, load_only, market_day, own_day
from feederloop.study.grid import GridDay, NetworkModel
from feederloop.study.settings import DAYS, SEEDS, Setting, scenario_of
from feederloop.study.work import Work
from ven_client.hems.program import Planner

__all__ = ["DYNAMIC", "IMPACT_SWITCHES", "STATIC", "Outcome", "PhasesJob", "PhasesRow", "phases_work", "play"]

IMPACT_SWITCHES: Final = 4
STATIC: Final = ("static", "static_pro")
DYNAMIC: Final = ("mean_based", "highest_flow", "hybrid", "greedy")
_COUNTS: Final = (1, 2, 3, 4, 6, 8)
_MU_KW2: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasesJob:
    """All days of one neighbourhood and seed.

    Attributes:
        scenario: A to D, or ``chapter4_33h``.
        counts: Numbers of switches to try.
        methods: Ways of choosing.
    """

    scenario: str
    network: str
    seed: int
    days: tuple[date, ...]
    counts: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One day with one allocation.

    Attributes:
        method: ``no_market``, ``no_der``, ``market`` (no switch), or one of STATIC and DYNAMIC.
        switches: Homes that were moved for good, or that have a switch.
        through_kwh: Energy through the transformer, both directions, phases not netted.
        v_dev_pct: Largest deviation from nominal per phase.
    """

    day: date
    method: str
    switches: int
    vuf_max_pct: float
    vuf_mean_pct: float
    vuf_by_feeder_pct: tuple[float, ...]
    v_dev_pct: tuple[float, ...]
    peak_kw: float
    through_kwh: float
    transformer_loss_kwh: float
    phase_loss_kwh: float
    neutral_loss_kwh: float
    operations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A value along the more loaded feeder over one day, (slot, bus)."""

    method: str
    kind: str
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasesRow:
    """What a job found; maps are of its first day and of four switches."""

    outcomes: tuple[Outcome, ...]
    maps: tuple[Map, ...]


def phases_work(*, quick: bool) -> Work[PhasesJob, PhasesRow]:
    """Return the jobs; the quick form has one day, one scenario and no greedy choice."""
    days = DAYS[2:3] if quick else DAYS
    impact = PhasesJob(
        scenario="chapter4_33h",
        network="lv_33h_17pv_150_70.json",
        seed=1,
        days=days,
        counts=(IMPACT_SWITCHES,),
        methods=(*STATIC, *(DYNAMIC[:3] if quick else DYNAMIC)),
    )
    adoption = tuple(
        PhasesJob(
            scenario=scenario,
            network="lv_50h.json",
            seed=seed,
            days=days,
            counts=(2, 4) if quick else _COUNTS,
            methods=("static", "mean_based") if quick else ("static", "mean_based", "greedy"),
        )
        for scenario in ("D" if quick else "ABCD")
        for seed in SEEDS[: 1 if quick else 2]
    )
    return Work(name="phases", jobs=(impact, *adoption), run=play, row=PhasesRow)


def play(job: PhasesJob) -> PhasesRow:
    """Play all days with every allocation."""
    planner = Planner()
    scenarios = [
        scenario_of(Setting(network=job.network, scenario=job.scenario, day=day, seed=job.seed))
        for day in job.days
    ]
    model = NetworkModel(scenarios[0].network, scenarios[0].parameters.homes.load_q_per_p)
    market = [market_day(scenario, planner) for scenario in scenarios]
    outcomes: list[Outcome] = []
    maps: list[Map] = []
    for scenario, day, flows in zip(scenarios, job.days, market, strict=True):
        outcomes += [
            _outcome(model, day, "no_der", 0, load_only(scenario), None),
            _outcome(model, day, "no_market", 0, own_day(scenario, planner), None),
            _outcome(model, day, "market", 0, flows, None),
        ]
    sites = Sites(scenarios[0], model, market, _MU_KW2)
    for method in job.methods:
        for count in job.counts:
            plans = _plans(sites, scenarios[0], market, method, count)
            outcomes += [
                _outcome(model, day, method, count, flows, phase)
                for day, flows, phase in zip(job.days, market, plans, strict=True)
            ]
            if count == IMPACT_SWITCHES:
                maps += _maps(model, method, market[0], plans[0])
    return PhasesRow(outcomes=tuple(outcomes), maps=tuple(maps))


def _plans(
    sites: Sites, scenario: Scenario, market: Sequence[DayFlows], method: str, count: int
) -> list[IntArray]:
    """Return the phases of every day."""
    if method in STATIC:
        fixed = sites.static(count, participants_only=method == "static_pro")
        return [fixed] * len(market)
    chosen = sites.chosen(method, count)
    return [dynamic_phases(scenario.network, flows.net_kw, chosen, _MU_KW2) for flows in market]


def _outcome(
    model: NetworkModel, day: date, method: str, switches: int, flows: DayFlows, phase: IntArray | None
) -> Outcome:
    grid = model.day(flows, phase)
    m = grid.metrics
    return Outcome(
        day=day,
        method=method,
        switches=switches,
        vuf_max_pct=m.vuf_pct,
        vuf_mean_pct=grid.mean_vuf_pct,
        vuf_by_feeder_pct=_by_feeder(model, grid.vuf_pct),
        v_dev_pct=tuple(max(abs(h), abs(w)) for h, w in zip(m.v_high_pct, m.v_low_pct, strict=True)),
        peak_kw=m.peak_p_kw,
        through_kwh=m.imported_kwh + m.exported_kwh,
        transformer_loss_kwh=m.transformer_loss_kwh,
        phase_loss_kwh=m.phase_loss_kwh,
        neutral_loss_kwh=m.neutral_loss_kwh,
        operations=operations(model.network, phase) if phase is not None and phase.ndim == 2 else 0,
    )


def _ends(model: NetworkModel, feeder: int) -> list[int]:
    """Return the buses of a feeder, from the busbar outwards."""
    return [k + 1 for k, segment in enumerate(model.network.segments) if segment.feeder == feeder]


def _by_feeder(model: NetworkModel, values: FloatArray) -> tuple[float, ...]:
    return tuple(float(values[:, _ends(model, feeder)].max()) for feeder in model.network.feeders)


def _maps(model: NetworkModel, method: str, flows: DayFlows, phase: IntArray) -> list[Map]:
    grid: GridDay = model.day(flows, phase)
    head = np.abs(grid.head_kw).sum(axis=(0, 2))
    ends = _ends(model, model.network.feeders[int(head.argmax())])
    deviation = 100.0 * np.abs(grid.v_v / (400.0 / 3.0**0.5) - 1.0)
    return [
        Map(method=method, kind="vuf", values=_rounded(grid.vuf_pct[:, ends])),
        Map(method=method, kind="deviation", values=_rounded(deviation[:, ends].max(axis=2))),
    ]


def _rounded(values: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(v), 4) for v in row) for row in values)
