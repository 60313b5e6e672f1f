"""The fast power flow: how far it is from pandapower, and how long a day of scenarios takes.

Random states are drawn for every home: import or export with a standard deviation of 3 kW, reactive power of
0.5 kvar, any phase. The batch is 144 slots times a number of scenarios of one network, solved slot by slot
and all at once, with the currents, the neutral currents and the loadings that a screen needs.

Run: ``python -m bench.powerflow [--states 1000] [--scenarios 100] [--network lv_50h]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from dso_engine.errors import PowerFlowDiverged
from dso_engine.feeder import load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.network import Network
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.powerflow import Injections

NETWORKS = Path(__file__).parents[1] / "config" / "networks"
SLOTS = 144


def random_state(network: Network, rng: np.random.Generator) -> Injections:
    """Return one drawn state."""
    homes = len(network.homes)
    return Injections(
        p_kw=rng.normal(0.0, 3.0, homes),
        q_kvar=rng.normal(0.0, 0.5, homes),
        phase=rng.integers(0, 3, homes),
    )


def compare(network: Network, states: int) -> bool:
    """Print the largest differences between both power flows; return whether they are below 1 mV."""
    fast, record = FixedPoint(network), PandapowerFlow(network)
    rng = np.random.default_rng(1)
    volts, amperes, watts, unsolved, took = 0.0, 0.0, 0.0, 0, [0.0, 0.0]
    for k in range(states):
        injections = random_state(network, rng)
        begun = time.perf_counter()
        try:
            ours = fast.solve(injections, f"state {k}")
            between = time.perf_counter()
            theirs = record.solve(injections, f"state {k}")
        except PowerFlowDiverged:
            unsolved += 1
            continue
        took[0] += between - begun
        took[1] += time.perf_counter() - between
        volts = max(volts, float(np.abs(ours.v_v - theirs.v_v).max()))
        amperes = max(amperes, float(np.abs(ours.i_a - theirs.i_a).max()))
        watts = max(watts, 1e3 * abs(ours.line_loss_kw - theirs.line_loss_kw))
    sys.stdout.write(
        f"{states} random states: {1e3 * volts:.4f} mV, {1e3 * amperes:.4f} mA, {watts:.4f} W of line loss "
        f"apart at most, {unsolved} without a solution; {1e3 * took[0] / states:.2f} and "
        f"{1e3 * took[1] / states:.1f} ms each\n"
    )
    return volts <= 1e-3 and not unsolved


def batches(network: Network, scenarios: int) -> bool:
    """Print what a day of scenarios takes; return whether it is at most 10 s."""
    fast = FixedPoint(network)
    rng, homes = np.random.default_rng(2), len(network.homes)
    p_kw = rng.normal(0.0, 3.0, (SLOTS, scenarios, homes))
    q_kvar = rng.normal(0.0, 0.5, (SLOTS, scenarios, homes))
    phase = rng.integers(0, 3, (SLOTS, scenarios, homes))
    begun = time.perf_counter()
    for slot in range(SLOTS):
        fast.solve_batch(p_kw[slot], q_kvar[slot], phase[slot], f"slot {slot}")
    by_slot_s = time.perf_counter() - begun
    begun = time.perf_counter()
    shape = (SLOTS * scenarios, homes)
    fast.solve_batch(p_kw.reshape(shape), q_kvar.reshape(shape), phase.reshape(shape), "all")
    at_once_s = time.perf_counter() - begun
    sys.stdout.write(
        f"{SLOTS} slots x {scenarios} scenarios: {by_slot_s:.2f} s slot by slot, {at_once_s:.2f} s at once\n"
    )
    return by_slot_s <= 10.0


def main() -> None:
    """Measure; exit code 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=1000)
    parser.add_argument("--scenarios", type=int, default=100)
    parser.add_argument("--network", default="lv_50h", help="a name in config/networks, or a file")
    arguments = parser.parse_args()
    named = NETWORKS / f"{arguments.network}.json"
    network = load_network(named if named.exists() else Path(arguments.network))
    kept = [compare(network, arguments.states), batches(network, arguments.scenarios)]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
