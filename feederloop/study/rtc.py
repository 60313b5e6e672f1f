"""The study of the real-time price: chapter 6, figures 6.1 and 6.2, and how fast the laws converge.

Unlike the other studies this one plays the whole product: VTN, VENs and engine with real messages over
loopback in simulated time, as ``feederloop demo`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from dso_engine.feeder import Network
from dso_engine.model import SLOT, FloatArray
from dso_engine.records import CurtailRecord, StepRecord
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.plant import SlotView
from feederloop.simulation.run import DayRun, RunOptions
from feederloop.study.settings import DAYS, SEEDS, Setting, scenario_of
from feederloop.study.work import Work

__all__ = ["RtcJob", "RtcRow", "Steps", "play", "rtc_work"]

_SLOTS: Final = 24
_KWP: Final = 4.5
_MORE_KWP: Final = 6.0
_SUNNY: Final = date(2018, 5, 16)
_LAWS: Final = ("none", "secant", "thesis")
_RESIDUAL_KW: Final = 0.3
"""A PCC counts as converged when it is beyond its bound by no more than this (issue; errata 26)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtcJob:
    """One stretch of one day; ``law`` is ``secant``, ``thesis`` or ``none`` for market and phases alone.

    Attributes:
        pv_kwp: Of each home with PV: the network's default, or more, so that the limit binds.
        start_min: Minutes after local midnight.
    """

    day: date
    seed: int
    law: str
    pv_kwp: float = _KWP
    slots: int = _SLOTS
    start_min: int = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How the price of one PCC came to rest in one slot.

    Attributes:
        to_bound: Steps of the law until the flow was within 0.3 kW of its bounds, None if it never was.
        total: Steps in the slot.
        residual_kw: How far the last measurement of the slot was beyond its bounds.
    """

    slot: datetime
    pcc: str
    to_bound: int | None
    total: int
    residual_kw: float
    price_eur_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RtcRow:
    """What a run showed, on the plant.

    Attributes:
        buses: Along the feeder with the highest deviation, from the busbar.
        v_dev_pct: Largest deviation of any phase per bus at the end of each slot, (slot, bus).
        loading_pct: Largest phase current over the rating per line of that feeder, (slot, line).
        slots_beyond: Slots that end with a limit broken anywhere.
        pcc_slots_curtailed: PCCs and slots whose homes had their export bounded.
    """

    feeder: int
    buses: tuple[str, ...]
    v_dev_pct: tuple[tuple[float, ...], ...]
    loading_pct: tuple[tuple[float, ...], ...]
    slots_beyond: int
    worst_pct: float
    curtailed_kwh: float
    pcc_slots_curtailed: int
    steps: tuple[Steps, ...]


def rtc_work(*, quick: bool) -> Work[RtcJob, RtcRow]:
    """Return the runs: six days, the sunniest once more with more PV; the quick form is a part of that."""
    if quick:
        noon = RtcJob(day=_SUNNY, seed=1, law="secant", pv_kwp=_MORE_KWP, slots=2, start_min=690)
        jobs: tuple[RtcJob, ...] = (replace(noon, law="none"), noon)
    else:
        days = [(day, _KWP) for day in DAYS] + [(_SUNNY, _MORE_KWP)]
        jobs = tuple(
            RtcJob(day=day, seed=seed, law=law, pv_kwp=kwp)
            for day, kwp in days
            for seed in SEEDS[:2]
            for law in _LAWS
        )
    return Work(name="rtc", jobs=jobs, run=play, row=RtcRow)


def play(job: RtcJob) -> RtcRow:
    """Play one stretch of a day."""
    scenario = scenario_of(
        Setting(
            network="lv_50h_rural.json",
            scenario="D",
            day=job.day,
            seed=job.seed,
            battery_kwh=6.0,
            pv_kwp=job.pv_kwp,
        )
    )
    with TemporaryDirectory() as folder:
        options = RunOptions(
            start=timedelta(minutes=job.start_min),
            slots=job.slots,
            law="secant" if job.law == "none" else job.law,
            price=job.law != "none",
            database=Path(folder) / "vtn.sqlite",
        )
        run = DayRun(scenario, options)
        outcome = asyncio.run(run.play())
    return _row(scenario.network, run.limits.v_nominal_v, outcome)


def _row(network: Network, v_nominal_v: float, outcome: RunOutcome) -> RtcRow:
    deviation = np.array(
        [(100.0 * np.abs(view.state.v_v / v_nominal_v - 1.0)).max(axis=1) for view in outcome.views]
    )
    feeder = _feeder_of(network, int(np.unravel_index(int(deviation.argmax()), deviation.shape)[1]))
    ends = [k + 1 for k, segment in enumerate(network.segments) if segment.feeder == feeder]
    buses = tuple(network.buses[k] for k in ends)
    lines = [k - 1 for k in ends if network.segments[k - 1].linecode is not None]
    loading = _loading(network, outcome.views)[:, lines]
    return RtcRow(
        feeder=feeder,
        buses=buses,
        v_dev_pct=_rows(deviation[:, ends]),
        loading_pct=_rows(loading),
        slots_beyond=sum(bool(view.violations) for view in outcome.views),
        worst_pct=float(deviation.max()),
        curtailed_kwh=sum(outcome.curtailed_wh) / 1000.0,
        pcc_slots_curtailed=len(_curtailed(outcome)),
        steps=_steps(outcome),
    )


def _feeder_of(network: Network, bus: int) -> int:
    return network.segments[bus - 1].feeder if bus else network.feeders[0]


def _loading(network: Network, views: Iterable[SlotView]) -> FloatArray:
    rated = np.array([segment.rated_current_a for segment in network.segments])
    return np.array([100.0 * view.state.i_a.max(axis=1) / rated for view in views])


def _rows(values: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(v), 4) for v in row) for row in values)


def _curtailed(outcome: RunOutcome) -> set[tuple[datetime, str]]:
    counted = set(outcome.slots)
    records = (record for record in outcome.records if isinstance(record, CurtailRecord))
    return {(record.slot, record.pcc.id) for record in records if record.slot in counted}


def _steps(outcome: RunOutcome) -> tuple[Steps, ...]:
    """Return how each PCC came to rest in each slot in which it had a bound to obey."""
    first = outcome.slots[0]
    curtailed = _curtailed(outcome)
    ticks: dict[tuple[datetime, str], list[StepRecord]] = {}
    for record in outcome.records:
        if isinstance(record, StepRecord) and first <= record.slot < outcome.slots[-1] + SLOT:
            ticks.setdefault((record.slot, record.pcc.id), []).append(record)
    found = []
    for (slot, pcc), series in sorted(ticks.items()):
        beyond = [_beyond_kw(record) for record in series]
        if max(beyond) <= _RESIDUAL_KW or (slot, pcc) in curtailed:
            continue  # nothing to bring about, or brought about by other means
        taken = np.cumsum([record.stepped for record in series])
        inside = next((k for k in range(len(series)) if max(beyond[k:]) <= _RESIDUAL_KW), None)
        found.append(
            Steps(
                slot=slot,
                pcc=pcc,
                to_bound=None if inside is None else int(taken[inside]),
                total=int(taken[-1]),
                residual_kw=round(beyond[-1], 4),
                price_eur_per_kwh=series[-1].u_millicent / 1e5,
            )
        )
    return tuple(found)


def _beyond_kw(record: StepRecord) -> float:
    low = record.c_lo_kw - record.projected_kw if record.c_lo_kw is not None else 0.0
    high = record.projected_kw - record.c_hi_kw if record.c_hi_kw is not None else 0.0
    return max(0.0, low, high)
