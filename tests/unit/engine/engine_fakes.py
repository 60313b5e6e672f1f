"""Homes in memory for the engine's tests: what they say, what they are told, and how they answer a price.

`FakeExchange` keeps what the engine says and hands out what a test puts in. `Street` is the physical side:
its homes answer along a straight line between two bounds, behind the real rural network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from config.settings import data_path
from dso_engine.errors import ExchangeFailed
from dso_engine.feeder import Network, load_network
from dso_engine.fixed_point import FixedPoint
from dso_engine.model import SLOT, Commitment, FloatArray, HomeId, Limits, Pcc, PccReading, Phase
from dso_engine.ports import Customer, Delivery, HourResult, OpenPrice, SlotOrder
from dso_engine.powerflow import GridState, Injections, Violation, violations
from dso_engine.records import EngineRecord

HOUR = datetime(2018, 5, 16, 11, tzinfo=UTC)
"""Noon, local time."""
LIMITS = Limits()


@cache
def rural() -> Network:
    """The network of the demo; it does not change."""
    return load_network(data_path("networks", "lv_50h_rural.json"))


@cache
def flow() -> FixedPoint:
    """Its fast power flow, the model of record of these tests too."""
    return FixedPoint(rural())


class Tape:
    """A recorder."""

    def __init__(self) -> None:
        self.records: list[EngineRecord] = []

    def record(self, record: EngineRecord) -> None:
        self.records.append(record)


@dataclass
class FakeExchange:
    """Implements ``HomeExchange``; ``now`` is set by the test.

    Attributes:
        delay: How long after publishing a price every home has fetched it; None is never.
        deaf: Homes of PCCs in here never fetch.
    """

    now: datetime = HOUR
    delay: timedelta | None = timedelta(seconds=5)
    deaf: frozenset[Pcc] = frozenset()
    offers: tuple[SlotOrder, ...] = ()
    heard: tuple[Commitment, ...] = ()
    opted_in: frozenset[HomeId] = frozenset()
    meters: dict[datetime, dict[HomeId, int]] = field(default_factory=dict)
    confirmed: dict[HomeId, Phase] = field(default_factory=dict)
    opted_out: frozenset[HomeId] = frozenset()
    away: frozenset[HomeId] = frozenset()
    gone: frozenset[HomeId] = frozenset()
    fails: str = ""
    """Whether publishing results fails ``before`` it is done, or ``after``."""
    told: list[tuple[datetime, tuple[HourResult, ...]]] = field(default_factory=list)
    phases: list[tuple[datetime, dict[HomeId, tuple[Phase, ...]]]] = field(default_factory=list)
    opened: list[tuple[datetime, dict[Pcc, tuple[HomeId, ...]]]] = field(default_factory=list)
    versions: dict[tuple[datetime, Pcc], list[tuple[datetime, int]]] = field(default_factory=dict)
    audience: dict[tuple[datetime, Pcc], tuple[HomeId, ...]] = field(default_factory=dict)
    bounds: list[tuple[datetime, datetime, Pcc, dict[HomeId, int]]] = field(default_factory=list)

    async def orders(self, hour: datetime, of: frozenset[HomeId] | None = None) -> tuple[SlotOrder, ...]:
        offers = (o for o in self.offers if hour <= o.slot < hour + 6 * SLOT)
        return tuple(
            o for o in offers if (o.order.home not in self.gone if of is None else o.order.home in of)
        )

    async def reachable(self) -> frozenset[HomeId]:
        return frozenset(o.order.home for o in self.offers) - self.gone

    async def publish_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        if self.fails == "before":
            raise ExchangeFailed("the VTN is away")
        if gone := {each.home for each in results} & self.gone:
            raise ExchangeFailed(f"gone: {gone}")
        self.told.append((hour, tuple(results)))
        if self.fails == "after":
            raise ExchangeFailed("the answer was lost")

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        del hour
        return self.opted_in

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        return next((results for when, results in self.told if when == hour), ())

    async def commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        return tuple(c for c in self.heard if hour <= c.slot < hour + 6 * SLOT)

    async def publish_phases(self, hour: datetime, plan: Mapping[HomeId, tuple[Phase, ...]]) -> None:
        self.phases.append((hour, dict(plan)))

    async def phase_plans(self, hour: datetime) -> Mapping[HomeId, tuple[Phase, ...]]:
        return next((plan for when, plan in reversed(self.phases) if when == hour), {})

    async def phase_opt_outs(self, hour: datetime) -> frozenset[HomeId]:
        del hour
        return self.opted_out

    async def confirmed_phases(self, now: datetime) -> Mapping[HomeId, Phase]:
        del now
        return dict(self.confirmed)

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        return self.meters.get(slot, {})

    async def open_prices(self, slot: datetime, audience: Mapping[Pcc, tuple[HomeId, ...]]) -> None:
        self.opened.append((slot, dict(audience)))
        for pcc, homes in audience.items():
            self.audience[slot, pcc] = homes
            self.versions[slot, pcc] = [(self.now, 0)]

    async def set_prices(self, slot: datetime, prices_millicent: Mapping[Pcc, int]) -> None:
        for pcc, u in prices_millicent.items():
            self.versions[slot, pcc].append((self.now, u))

    async def prices(self, slot: datetime) -> Mapping[Pcc, OpenPrice]:
        bounded = {pcc for when, _, pcc, _ in self.bounds if when == slot}
        return {
            pcc: OpenPrice(
                homes=self.audience[slot, pcc], u_millicent=versions[-1][1], curtailed=pcc in bounded
            )
            for (when, pcc), versions in self.versions.items()
            if when == slot
        }

    async def deliveries(self, slot: datetime, pccs: Sequence[Pcc]) -> Mapping[Pcc, Delivery]:
        return {pcc: self.delivery(slot, pcc) for pcc in pccs if (slot, pcc) in self.versions}

    def delivery(self, slot: datetime, pcc: Pcc) -> Delivery:
        published = self.versions[slot, pcc][-1][0]
        late = self.delay is None or pcc in self.deaf or published + self.delay > self.now
        fetched = None if late or self.delay is None else published + self.delay
        return Delivery(published_at=published, fetched_by_all_at=fetched)

    async def curtail(self, slot: datetime, pcc: Pcc, export_w: Mapping[HomeId, int]) -> None:
        self.bounds.append((slot, self.now, pcc, dict(export_w)))

    async def absent(self, now: datetime) -> frozenset[HomeId]:
        del now
        return self.away

    def in_force(self, slot: datetime) -> dict[HomeId, int]:
        """The price in force at each home: the newest one that has reached it."""
        found: dict[HomeId, int] = {}
        for (each, pcc), homes in self.audience.items():
            if each == slot and self.delay is not None and pcc not in self.deaf:
                reached = [u for at, u in self.versions[slot, pcc] if at + self.delay <= self.now]
                found.update(dict.fromkeys(homes, reached[-1] if reached else 0))
        return found

    def export_bounds_kw(self, slot: datetime) -> dict[HomeId, float]:
        """The newest export bound of each home that has one, obeyed at once."""
        found: dict[HomeId, float] = {}
        for each, _, _, bounds in self.bounds:
            if each == slot:
                found.update({home: watt / 1000.0 for home, watt in bounds.items()})
        return found


@dataclass
class Street:
    """Homes of the rural network and the meters at its feeder heads; implements ``TelemetrySource``.

    Each home wants ``plan_kwh`` in the slot and gives way to a price by u / l, l = 2 (a + a_r) = 20 c/kWh2,
    inside its range; inside the slot it catches up (6.22, 6.23).

    Attributes:
        error_kw: What the homes exchange beyond their plan, whatever the price: a forecast error.
        age: How old a reading is.
    """

    exchange: FakeExchange
    plan_kwh: FloatArray
    down_kwh: FloatArray
    up_kwh: FloatArray
    error_kw: FloatArray
    phase: dict[HomeId, Phase] = field(default_factory=dict)
    age: timedelta = timedelta(0)
    slot: datetime = HOUR
    _done_kwh: FloatArray = field(init=False)
    _p_kw: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.begin(self.slot)

    def begin(self, slot: datetime) -> None:
        """Start a slot at the plan."""
        self.slot, self.exchange.now = slot, slot
        self._done_kwh = np.zeros_like(self.plan_kwh)
        self._p_kw = self._respond()

    def advance(self, seconds: int) -> datetime:
        """Let time pass; homes look at their price every five seconds."""
        for start in range(0, seconds, 5):
            step = min(5, seconds - start)
            self._done_kwh = self._done_kwh + self._p_kw * step / 3600.0
            self.exchange.now += timedelta(seconds=step)
            if self.exchange.now < self.slot + SLOT:
                self._p_kw = self._respond()
        return self.exchange.now

    def net_kw(self) -> FloatArray:
        """What the homes exchange now."""
        return np.asarray(self._p_kw + self.error_kw, dtype=np.float64)

    def state(self) -> GridState:
        """The network now."""
        return flow().solve(self._injections(), "street")

    def broken(self) -> tuple[Violation, ...]:
        """Limits broken now, without guard bands."""
        return violations(rural(), self.state(), LIMITS, guard=False)

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        state = self.state()
        return tuple(
            PccReading(
                pcc=pcc,
                p_kw=float(state.pcc_p_kw.flat[k]),
                q_kvar=float(state.pcc_q_kvar.flat[k]),
                v_v=float(state.pcc_v_v.flat[k]),
                taken_at=now - self.age,
            )
            for k, pcc in enumerate(rural().pccs)
        )

    def _respond(self) -> FloatArray:
        homes, prices = rural().homes, self.exchange.in_force(self.slot)
        u_c = np.array([prices.get(h.id, 0) for h in homes]) / 1000.0
        wanted = self.plan_kwh + np.clip(-u_c / 20.0, -self.down_kwh, self.up_kwh)
        left_h = (self.slot + SLOT - self.exchange.now) / timedelta(hours=1)
        p_kw = np.clip((wanted - self._done_kwh) / left_h, -9.0, 9.0)
        caps = self.exchange.export_bounds_kw(self.slot)
        cap = np.array([caps.get(h.id, np.inf) for h in homes])
        return np.asarray(np.maximum(p_kw, -cap - self.error_kw), dtype=np.float64)

    def _injections(self) -> Injections:
        net = self.net_kw()
        phase = np.array([self.phase.get(h.id, Phase(h.phase)) for h in rural().homes], dtype=np.int64)
        return Injections(p_kw=net, q_kvar=np.zeros_like(net), phase=phase)

    def commitments(self, slot: datetime) -> tuple[Commitment, ...]:
        """What the homes say about a slot."""
        return tuple(
            Commitment(
                home=home.id,
                slot=slot,
                grid_energy_wh=round(1000 * float(self.plan_kwh[k])),
                up_w=round(6000 * float(self.up_kwh[k])),
                down_w=round(6000 * float(self.down_kwh[k])),
            )
            for k, home in enumerate(rural().homes)
        )


def sunny(exchange: FakeExchange, *, export_kw: float, up_kw: float, owners: int = 3) -> Street:
    """A street where ``owners`` of every five homes export and can take ``up_kw`` of it back."""
    count = len(rural().homes)
    pv = np.arange(count) % 5 < owners
    return Street(
        exchange=exchange,
        plan_kwh=np.where(pv, -export_kw / 6.0, 0.3 / 6.0),
        down_kwh=np.zeros(count),
        up_kwh=np.where(pv, up_kw / 6.0, 0.0),
        error_kw=np.zeros(count),
    )


def customers(owners: int = 3, switches: frozenset[HomeId] = frozenset()) -> tuple[Customer, ...]:
    """The homes as the DSO knows them."""
    return tuple(
        Customer(home=h.id, pv_kwp=4.5 if k % 5 < owners else 0.0, has_switch=h.id in switches)
        for k, h in enumerate(rural().homes)
    )
