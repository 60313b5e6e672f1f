"""``feederloop bench engine``: auction, home plan, phases, power flow, one step of the real-time price.

Inputs are drawn from fixed seeds; making them is not timed. The first computation of each kind, which fills
caches and compiles, is not counted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from math import sin, tau
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from dso_engine.feeder import Network, load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.game import FlowBounds, Measured
from dso_engine.market import Order, Side, clear
from dso_engine.model import HomeId, Phase
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.phase import MAX_SWITCHES, allocate
from dso_engine.powerflow import Injections, PowerFlow
from dso_engine.secant import SecantLaw
from feederloop.bench.model import EngineRow
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters, Horizon, MarketLimits
from ven_client.hems.plan import offer
from ven_client.hems.program import Planner

__all__ = ["auction_book", "measure_engine", "phase_cases"]

MU_KW2: Final = 0.25
"""The default price of a phase operation, kW2."""
_SLOTS: Final = 144
_STEPS: Final = 20
Work = Callable[[], object]


def auction_book(count: int, seed: int) -> tuple[Order, ...]:
    """Return the orders of one auction: prices that cross for about half of each side."""
    rng = random.Random(seed)
    return tuple(
        Order(
            home=HomeId(f"H{number:07}"),
            side=rng.choice((Side.BUY, Side.SELL)),
            price_millicent=rng.randrange(5_000, 25_000),
            volume_wh=rng.randrange(1, 2_000),
            seq=rng.getrandbits(63),
        )
        for number in range(count)
    )


def phase_cases(switches: int, rounds: int) -> tuple[Work, ...]:
    """Return phase allocations of random slots of homes with PV and batteries, ready to be run."""
    rng = np.random.default_rng(switches)
    cases: list[Work] = []
    for _ in range(rounds):
        base = rng.normal(0.0, 8.0, 3)
        flows = rng.normal(-1.0, 2.0, switches).round(3).tolist()
        current = [Phase(int(phase)) for phase in rng.integers(0, 3, switches)]
        base_kw = (float(base[0]), float(base[1]), float(base[2]))
        cases.append(partial(allocate, base_kw, flows, current, MU_KW2))
    return tuple(cases)


def _home() -> HomeParameters:
    battery = Battery(
        capacity_kwh=6.0,
        power_kw=3.0,
        e_market_low_kwh=0.6,
        e_market_high_kwh=3.3,
        e_low_kwh=0.6,
        e_high_kwh=5.4,
        e_start_kwh=1.8,
        market_cycle_kwh=2.7,
        realtime_cycle_kwh=2.7,
    )
    return HomeParameters(
        battery=battery,
        flexible=FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03),
        contract_kw=9.0,
        curvature_c_per_kwh2=5.0,
        reward_curvature_c_per_kwh2=5.0,
        linear_c_per_kwh=5.0,
        tie_break_c_per_kwh=1e-4,
    )


def _home_plans(rounds: int) -> tuple[Work, ...]:
    """Plans made at midnight of days with an evening peak and ever more sun at noon."""
    planner, home = Planner(), _home()
    return tuple(_home_plan(planner, home, sun_kwh=0.3 + 0.01 * k) for k in range(rounds))


def _home_plan(planner: Planner, home: HomeParameters, sun_kwh: float) -> Work:
    hours = [k / 6 for k in range(_SLOTS)]
    horizon = Horizon(
        load_kwh=tuple(0.08 + 0.05 * max(0.0, sin(tau * (h - 13.0) / 24.0)) for h in hours),
        pv_kwh=tuple(sun_kwh * max(0.0, sin(tau * (h - 6.0) / 24.0)) for h in hours),
        e0_kwh=1.8,
        e_end_kwh=1.8,
        charge_budget_kwh=2.7,
        discharge_budget_kwh=2.7,
    )
    market = MarketLimits(
        bid_c_per_kwh=tuple(15.0 + 5.0 * sin(tau * (h - 12.0) / 24.0) for h in hours),
        ask_c_per_kwh=(8.0,) * _SLOTS,
        rebate_c_per_kwh=(0.0,) * _SLOTS,
    )
    return lambda: offer(planner, home, horizon, market)


def _flows(network: Network, flow: PowerFlow, rounds: int) -> tuple[Work, ...]:
    """Power flows, no two with the same loads: a solver may remember the last."""
    p_kw = np.array([home.p_kw for home in network.homes])
    q_kvar = np.array([home.q_kvar for home in network.homes])
    phase = network.home_phase
    cases = (
        Injections(p_kw=scale * p_kw, q_kvar=scale * q_kvar, phase=phase)
        for scale in np.linspace(0.5, 1.0, rounds)
    )
    return tuple(partial(flow.solve, case, "bench") for case in cases)


def _price_steps() -> Work:
    """Twenty steps of one PCC whose homes answer with 0.3 kW per cent."""
    law = SecantLaw()
    bounds = FlowBounds(c_lo_kw=-8.0, c_hi_kw=float("inf"))

    def steps() -> None:
        state = law.start(slope_kw_per_c=0.4)
        for k in range(_STEPS):
            flow_kw = -12.0 - 0.02 * k - 0.3 * state.u_c_per_kwh
            state = law.step(state, Measured(flow_kw=flow_kw, bounds=bounds))

    return steps


def _timed(what: str, works: tuple[Work, ...], *, per: int = 1) -> EngineRow:
    """Return the time of one computation, ms; each work does ``per`` of them."""
    works[-1]()
    took_ms = []
    for work in works:
        began_s = time.perf_counter()
        work()
        took_ms.append(1e3 * (time.perf_counter() - began_s) / per)
    return EngineRow(what=what, rounds=len(works), median_ms=median(took_ms), best_ms=min(took_ms))


def measure_engine(networks: Path, say: Callable[[str], None], *, quick: bool) -> tuple[EngineRow, ...]:
    """Measure everything.

    Args:
        networks: The folder with the reference networks.
        say: Is told what is measured next.
        quick: A few rounds of the smaller sizes.
    """
    rounds = 5 if quick else 30
    rows = []
    for count in (50, 1_000) if quick else (50, 1_000, 10_000, 100_000):
        say(f"auction, {count} orders")
        book = auction_book(count, seed=1)
        rows.append(_timed(f"auction, {count:,} orders", (partial(clear, book),) * rounds))
    say("home plan")
    rows.append(_timed(f"home plan (LP), battery, {_SLOTS} slots", _home_plans(rounds)))
    for switches in (8, 12) if quick else (8, 12, 16, MAX_SWITCHES):
        say(f"phases, {switches} switches")
        rows.append(_timed(f"phases, exact, {switches} switches", phase_cases(switches, rounds)))
    say("power flow")
    network = load_network(networks / "lv_50h.json")
    for name, flow in (("fixed point", FixedPoint(network)), ("pandapower", PandapowerFlow(network))):
        rows.append(_timed(f"power flow, {name}, 50 homes", _flows(network, flow, rounds)))
    say("real-time price")
    rows.append(_timed("real-time price, one step of one PCC", (_price_steps(),) * rounds, per=_STEPS))
    return tuple(rows)
