"""Synthetic feeders: a reference network with other lengths, homes, phases and belongings.

Everything follows from (seed, number): the same feeder is made on every machine, alone or with others, in any
order. What is drawn, and from what, is in docs/fleet.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from config.settings import Neighbourhood
from dso_engine.feeder import build_network
from dso_engine.feeder_file import HouseholdPart, LinePart, NetworkFile
from dso_engine.model import FloatArray, IntArray
from dso_engine.network import Network

__all__ = ["Fleet", "SyntheticFeeder", "make_feeder"]

_LETTERS: Final[tuple[Literal["A", "B", "C"], ...]] = ("A", "B", "C")
_WEEKS: Final = 4
"""A home's year of load is moved by up to this many whole weeks, so that weekdays stay weekdays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a fleet is drawn from.

    Attributes:
        references: Networks to vary, at least one.
        neighbourhood: Tariffs, batteries, costs and limits of all homes.
        seed: Seed of everything that is drawn, >= 0.
        homes_min: Fewest homes of a feeder.
        homes_max: Most homes of a feeder, >= homes_min.
        length_spread: Each line's length is scaled by a factor in [1 - spread, 1 + spread], 0 <= spread < 1.
        reach_min: All lines of a feeder are scaled by one more factor in [reach_min, reach_max].
        reach_max: >= reach_min > 0.
        pv_share_min: Lowest probability that a home has PV; each feeder draws its own.
        pv_share_max: Highest probability, >= pv_share_min.
        pv_kwp_min: Smallest PV, kWp, > 0.
        pv_kwp_max: Largest, >= pv_kwp_min.
        battery_share: Probability that a home with PV has a battery.
        switches: Most transfer switches per outgoing feeder, 0 to 7: few enough to enumerate.
        balance: Concentration of the phases' shares of the homes; large: a third each.
        digest: Names the fleet: equal ones have equal feeders.
    """

    references: tuple[NetworkFile, ...]
    neighbourhood: Neighbourhood
    seed: int
    homes_min: int = 50
    homes_max: int = 50
    length_spread: float = 0.3
    reach_min: float = 0.5
    reach_max: float = 2.0
    pv_share_min: float = 0.1
    pv_share_max: float = 0.9
    pv_kwp_min: float = 2.0
    pv_kwp_max: float = 8.0
    battery_share: float = 0.5
    switches: int = 6
    balance: float = 20.0
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: if there is no reference, one has no homes, or a number is out of range.
        """
        shares = (self.pv_share_min, self.pv_share_max, self.battery_share)
        if not self.references or self.seed < 0 or not 1 <= self.homes_min <= self.homes_max:
            raise ValueError("a fleet needs references, a seed >= 0 and 1 <= homes_min <= homes_max")
        if self.pv_share_min > self.pv_share_max or not 0.0 < self.reach_min <= self.reach_max:
            raise ValueError("pv_share_min <= pv_share_max and 0 < reach_min <= reach_max must hold")
        if not 0.0 < self.pv_kwp_min <= self.pv_kwp_max:
            raise ValueError("0 < pv_kwp_min <= pv_kwp_max must hold")
        if not 0.0 <= self.length_spread < 1.0 or not all(0.0 <= share <= 1.0 for share in shares):
            raise ValueError("shares are in [0, 1] and the length spread in [0, 1)")
        if not 0 <= self.switches <= 7 or not self.balance > 0.0:
            raise ValueError("switches are 0 to 7 and the balance is positive")
        empty = [each.name for each in self.references if not each.households]
        if empty:
            raise ValueError(f"{', '.join(empty)}: a reference has homes, whose places are drawn from")
        parts = [each.model_dump_json() for each in (*self.references, self.neighbourhood)]
        numbers = (self.seed, self.homes_min, self.homes_max, self.length_spread, self.reach_min)
        more = (self.reach_max, *shares, self.pv_kwp_min, self.pv_kwp_max, self.switches, self.balance)
        named = hashlib.sha256("|".join([*parts, repr(numbers + more)]).encode())
        object.__setattr__(self, "digest", named.hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticFeeder:
    """One feeder; arrays are in the order of the network's homes, shape (home,)."""

    number: int
    network: Network
    pv_kwp: FloatArray
    pv_yield: FloatArray
    """Production over that of the profile, for roofs that do not face south."""
    has_battery: NDArray[np.bool_]
    with_switch: NDArray[np.bool_]
    profile: IntArray
    """Which of the profiles' homes its load is taken from."""
    weeks: IntArray
    """By how many weeks that load is moved."""
    load_scale: FloatArray
    bid_factor: FloatArray
    """Limit price of a purchase over the tariff."""
    ask_factor: FloatArray
    """Limit price of a sale over the feed-in tariff."""


def make_feeder(fleet: Fleet, number: int, profiles: int) -> SyntheticFeeder:
    """Return one feeder of a fleet.

    Args:
        fleet: What to draw from.
        number: Which feeder, >= 0.
        profiles: How many homes the load profiles have.

    Raises:
        InvalidFeeder: if a reference is not a valid network.
    """
    rng = np.random.default_rng([fleet.seed, number])
    reference = fleet.references[int(rng.integers(len(fleet.references)))]
    network = build_network(_varied(fleet, reference, number, rng))
    count = len(network.homes)
    market = fleet.neighbourhood.market
    share = rng.uniform(fleet.pv_share_min, fleet.pv_share_max)
    pv = np.where(rng.random(count) < share, rng.uniform(fleet.pv_kwp_min, fleet.pv_kwp_max, count), 0.0)
    battery = (rng.random(count) < fleet.battery_share) & (pv > 0.0)
    return SyntheticFeeder(
        number=number,
        network=network,
        pv_kwp=pv,
        pv_yield=rng.uniform(0.85, 1.0, count),
        has_battery=battery,
        with_switch=_switches(network, fleet.switches, rng),
        profile=rng.integers(0, profiles, count),
        weeks=rng.integers(-_WEEKS, _WEEKS + 1, count),
        load_scale=rng.uniform(0.7, 1.3, count),
        bid_factor=rng.uniform(market.bid_factor_low, market.bid_factor_high, count),
        ask_factor=rng.uniform(market.ask_factor_low, market.ask_factor_high, count),
    )


def _varied(fleet: Fleet, reference: NetworkFile, number: int, rng: np.random.Generator) -> NetworkFile:
    reach = float(rng.uniform(fleet.reach_min, fleet.reach_max))
    low, high = 1.0 - fleet.length_spread, 1.0 + fleet.length_spread
    lines = tuple(_longer(line, reach * float(rng.uniform(low, high))) for line in reference.lines)
    count = int(rng.integers(fleet.homes_min, fleet.homes_max + 1))
    places = [(home.feeder, home.bus) for home in reference.households]
    chosen = sorted(places[int(k)] for k in rng.integers(len(places), size=count))
    phases = rng.choice(3, size=count, p=rng.dirichlet([fleet.balance] * 3))
    households = tuple(
        HouseholdPart(
            id=f"H{k + 1:03d}",
            feeder=feeder,
            bus=bus,
            phase=_LETTERS[int(phase)],
            p_kw=0.0,
            q_kvar=0.0,
        )
        for k, ((feeder, bus), phase) in enumerate(zip(chosen, phases, strict=True))
    )
    name = f"fleet_{number:05d}"
    return reference.model_copy(update={"name": name, "lines": lines, "households": households, "pv": ()})


def _longer(line: LinePart, factor: float) -> LinePart:
    return line.model_copy(update={"length_m": line.length_m * factor})


def _switches(network: Network, most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Homes with a transfer switch: up to so many of every outgoing feeder, at random."""
    found = np.zeros(len(network.homes), dtype=np.bool_)
    for feeder in range(len(network.feeders)):
        here = np.flatnonzero(network.home_feeder == feeder)
        found[rng.permutation(here)[:most]] = True
    return found
