"""The study of hosting capacity: how much PV per home the feeder takes before a limit breaks.

The chosen day is the sunniest of the week. For each scenario and mechanism the largest rated power per PV is
found at which no slot of that day breaks a limit, voltage or thermal; to 0.1 kWp, by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from dso_engine.day_phases import dynamic_phases
from dso_engine.model import IntArray
from feederloop.simulation.scenario import Scenario
from feederloop.study.charts import Bars, Chart, draw_bars
from feederloop.study.flows import DayFlows, market_day, own_day
from feederloop.study.grid import GridDay, NetworkModel
from feederloop.study.page import Claim, Report, Table
from feederloop.study.settings import Setting, scenario_of
from feederloop.study.words import signed
from feederloop.study.work import Work
from ven_client.hems.program import Planner

__all__ = ["HostingJob", "HostingRow", "hosting_report", "hosting_work"]

_NETWORK: Final = "lv_50h_rural.json"
_DAY: Final = date(2018, 5, 16)
_STEP_KWP: Final = 0.1
_MOST_KWP: Final = 12.8
_MECHANISMS: Final = ("none", "switches", "market", "both")
_NAMES: Final = {
    "none": "neither",
    "switches": "phase switches",
    "market": "market",
    "both": "market and switches",
}
_SWITCHES: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingJob:
    """One search."""

    scenario: str
    mechanism: str
    seed: int = 1
    step_kwp: float = _STEP_KWP


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingRow:
    """What a search found.

    Attributes:
        kwp: Largest rated power per PV without a broken limit.
        homes_with_pv: How many homes have one.
        limit: What breaks first above it: ``voltage`` or ``current``.
        switched: Homes with a switch.
    """

    kwp: float
    homes_with_pv: int
    limit: str
    switched: int


def hosting_work(*, quick: bool) -> Work[HostingJob, HostingRow]:
    """Return the searches; the quick form has two scenarios, without the market, to 0.5 kWp."""
    jobs: tuple[HostingJob, ...]
    if quick:
        jobs = tuple(HostingJob(scenario=s, mechanism=m, step_kwp=0.5) for s in "AD" for m in _MECHANISMS[:2])
    else:
        jobs = tuple(
            HostingJob(scenario=s, mechanism=m, seed=seed)
            for s in "ABCD"
            for m in _MECHANISMS
            for seed in ((1, 2) if m in ("market", "both") else (1,))
        )
    return Work(name="hosting", jobs=jobs, run=search, row=HostingRow)


def search(job: HostingJob) -> HostingRow:
    """Find the largest PV; a home's other devices stay as they are."""
    planner = Planner()
    low, high, limit, switched = 0.0, _MOST_KWP, "none", 0
    model: NetworkModel | None = None
    while high - low > job.step_kwp:
        kwp = (low + high) / 2.0
        scenario = scenario_of(
            Setting(network=_NETWORK, scenario=job.scenario, day=_DAY, seed=job.seed, pv_kwp=kwp)
        )
        if model is None:
            model = NetworkModel(scenario.network, scenario.parameters.homes.load_q_per_p)
        flows = (
            market_day(scenario, planner)
            if job.mechanism in ("market", "both")
            else own_day(scenario, planner)
        )
        phase, switched = _phases(job, scenario, flows)
        broken = _broken(model, model.day(flows, phase))
        if broken is None:
            low = kwp
        else:
            high, limit = kwp, broken
    scenario = scenario_of(Setting(network=_NETWORK, scenario=job.scenario, day=_DAY, seed=job.seed))
    return HostingRow(
        kwp=low,
        homes_with_pv=sum(spec.pv_kwp > 0.0 for spec in scenario.homes),
        limit=limit,
        switched=switched,
    )


def _phases(job: HostingJob, scenario: Scenario, flows: DayFlows) -> tuple[IntArray | None, int]:
    if job.mechanism not in ("switches", "both"):
        return None, 0
    chosen = [k for k, spec in enumerate(scenario.homes) if spec.has_switch][:_SWITCHES]
    mu = scenario.parameters.control.phase_mu_kw2
    return dynamic_phases(scenario.network, flows.net_kw, chosen, mu), len(chosen)


def _broken(model: NetworkModel, day: GridDay) -> str | None:
    """Return which limit breaks, None if none does."""
    if day.metrics.slots_beyond_voltage_limit:
        return "voltage"
    rated = np.array([segment.rated_current_a for segment in model.network.segments])
    if (day.i_a.max(axis=2) > rated).any() or (day.transformer_loading_pct > 100.0).any():
        return "current"
    return None


# --- what it says -------------------------------------------------------------------------------------------


def hosting_report(pairs: tuple[tuple[HostingJob, HostingRow], ...]) -> Report:
    """Return the report of all searches."""
    return Report(
        name="hosting",
        title="Study: hosting capacity",
        question="How much PV does the feeder take before a limit breaks, with and without the mechanisms?",
        setup=(
            "50 homes of the rural network, scenarios A to D: 15, 20, 25 and 40 homes with PV, 10, 20, 30 "
            "and 30 with a 6 kWh battery.",
            f"The largest PV is found to within {max(job.step_kwp for job, _ in pairs):g} kWp per home"
            + (
                "."
                if any(job.mechanism == "both" for job, _ in pairs)
                else "; a quick run, without the market."
            ),
            "Wednesday 16 May 2018, the sunniest day of the studies' week; perfect forecasts.",
            "Limits: 10 % of nominal voltage up and down, in any slot of the day, the cables' and the "
            "transformer's ratings; no guard band.",
            f"Switches: {_SWITCHES} homes, those of the default neighbourhood; dynamic allocation per "
            "feeder and slot.",
            "The real-time price is not part of it: it shifts a limit by shifting energy, and ends in "
            "curtailment; see the study rtc.",
        ),
        claims=(_claim(pairs),),
        charts=(_chart(pairs),),
        tables=(_table(pairs),),
    )


def _values(pairs: tuple[tuple[HostingJob, HostingRow], ...], scenario: str, mechanism: str) -> list[float]:
    return [row.kwp for job, row in pairs if (job.scenario, job.mechanism) == (scenario, mechanism)]


def _chart(pairs: tuple[tuple[HostingJob, HostingRow], ...]) -> Chart:
    scenarios = sorted({job.scenario for job, _ in pairs})
    mechanisms = [m for m in _MECHANISMS if any(job.mechanism == m for job, _ in pairs)]
    return draw_bars(
        "hosting",
        "Largest PV per home without a broken limit",
        "Each home with PV has this rated power. Whiskers run over the seeds of the reserve prices.",
        unit="kWp per PV home",
        groups=[f"scenario {s}" for s in scenarios],
        frames=(("", [Bars.of(_NAMES[m], [_values(pairs, s, m) for s in scenarios]) for m in mechanisms]),),
    )


def _claim(pairs: tuple[tuple[HostingJob, HostingRow], ...]) -> Claim:
    parts = []
    for scenario in sorted({job.scenario for job, _ in pairs}):
        base = _values(pairs, scenario, "none")
        best = {m: _values(pairs, scenario, m) for m in _MECHANISMS[1:]}
        gains = [
            f"{_NAMES[m]} {signed(100.0 * (float(np.mean(v)) / base[0] - 1.0))} %"
            for m, v in best.items()
            if v and base and base[0]
        ]
        parts.append(f"{scenario}: {base[0]:.1f} kWp; " + ", ".join(gains))
    return Claim(
        figure="5.16, conclusions of chapter 5",
        thesis="With market and switches, scenario D has voltages below those of C without market: more "
        "hosting capacity.",
        ours=". ".join(parts) + ".",
        why="A market clears energy, not volts or phases: batteries of 6 kWh are full before noon on a clear "
        "day, and those that bought charge in the same few slots; where they share a phase it imports, the "
        "neutral shifts and raises the phase that exports. Switches act on the phase that breaks first.",
    )


def _table(pairs: tuple[tuple[HostingJob, HostingRow], ...]) -> Table:
    return Table(
        name="hosting",
        title="Every search",
        columns=("scenario", "mechanism", "seed", "kwp_per_pv_home", "pv_homes", "total_kwp", "first_limit"),
        rows=tuple(
            (
                job.scenario,
                _NAMES[job.mechanism],
                str(job.seed),
                f"{row.kwp:.1f}",
                str(row.homes_with_pv),
                f"{row.kwp * row.homes_with_pv:.1f}",
                row.limit,
            )
            for job, row in pairs
        ),
    )
