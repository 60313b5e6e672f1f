"""One slot of one network against homes made up for the purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf

import numpy as np
import pytest

from config.settings import data_path
from dso_engine.feedback import Feedback
from dso_engine.feeder import load_network
from dso_engine.feeder_slot import (
    FeederModel,
    FeederState,
    PlannedSlot,
    SettledSlot,
    SlotSettings,
    plan_slot,
    settle_slot,
)
from dso_engine.fixed_point import FixedPoint
from dso_engine.market import Clearing, Order, Side
from dso_engine.model import FloatArray, IntArray, Limits
from dso_engine.network import Network
from dso_engine.powerflow import violations
from dso_engine.secant import SecantLaw
from dso_engine.street import Commitments, Exchange
from dso_engine.trigger import Stress, TriggerState

LIMITS = Limits()
SETTINGS = SlotSettings(
    limits=LIMITS,
    law=SecantLaw(),
    feedback=Feedback(),
    mu_kw2=0.25,
    curvature_c_per_kwh2=5.0,
    reward_curvature_c_per_kwh2=5.0,
)


@cache
def network() -> Network:
    return load_network(data_path("networks", "lv_50h_rural.json"))


@cache
def model(*, switches: int = 0) -> FeederModel:
    with_switch = np.zeros(len(network().homes), dtype=np.bool_)
    with_switch[:switches] = True
    return FeederModel(search=FixedPoint(network()), with_switch=with_switch)


def start() -> FeederState:
    return FeederState(phases=tuple(int(phase) for phase in network().home_phase))


@dataclass(slots=True, kw_only=True)
class Homes:
    """A `Street`: every home exchanges the same and gives way linearly, kW per c/kWh, up to a limit."""

    p_kw: float
    slope_kw_per_c: float = 0.0
    most_kw: float = 0.0
    book: tuple[Order, ...] = ()
    asked: list[tuple[IntArray, FloatArray]] = field(default_factory=list)
    cleared: Clearing | None = None

    def orders(self) -> Sequence[Order]:
        return self.book

    def commit(self, clearing: Clearing) -> Commitments:
        self.cleared = clearing
        count = len(network().homes)
        flexible = np.full(count, self.most_kw)
        return Commitments(
            p_kw=np.full(count, self.p_kw),
            q_kvar=np.zeros(count),
            up_kw=flexible,
            down_kw=flexible,
            can_curtail=np.ones(count, dtype=np.bool_),
        )

    def answer(self, u_millicent: IntArray, export_cap_kw: FloatArray) -> Exchange:
        self.asked.append((u_millicent.copy(), export_cap_kw.copy()))
        moved = np.clip(-self.slope_kw_per_c * u_millicent / 1000.0, -self.most_kw, self.most_kw)
        p_kw = np.maximum(self.p_kw + moved, -export_cap_kw)
        return Exchange(p_kw=p_kw, q_kvar=np.zeros(len(p_kw)))


def play(
    homes: Homes, *, state: FeederState | None = None, bounds_hold: bool = True
) -> tuple[PlannedSlot, SettledSlot]:
    planned = plan_slot(model(), state or start(), homes, SETTINGS, "a slot")
    settled = settle_slot(model(), planned, homes, SETTINGS, "a slot", bounds_hold=bounds_hold)
    return planned, settled


def broken(settled: SettledSlot) -> int:
    return len(violations(network(), settled.state, LIMITS, guard=False))


def test_a_calm_slot_is_left_alone() -> None:
    homes = Homes(p_kw=0.5, slope_kw_per_c=0.1, most_kw=2.0)
    planned, settled = play(homes)
    assert planned.trigger is TriggerState.IDLE
    assert planned.bounds is None
    assert planned.promises == ()
    assert settled.rounds == 0
    assert settled.prices_millicent == (0,) * 6
    assert len(homes.asked) == 1
    assert np.isinf(settled.export_cap_kw).all()
    np.testing.assert_array_equal(settled.state.v_v, planned.state.v_v)
    assert settled.promise.injections is settled.injections
    assert settled.promise.state is settled.state


def test_too_much_export_is_brought_back_by_the_price_alone() -> None:
    homes = Homes(p_kw=-4.0, slope_kw_per_c=0.2, most_kw=3.0)
    planned, settled = play(homes)
    assert planned.trigger is TriggerState.ARMED
    assert planned.bounds is not None
    assert planned.bounds.feasible
    assert len(planned.promises) == 2
    assert violations(network(), planned.state, LIMITS, guard=False)
    assert broken(settled) == 0
    assert min(settled.prices_millicent) < 0
    assert max(settled.prices_millicent) <= 0
    assert np.isinf(settled.export_cap_kw).all()
    assert 2 <= settled.rounds <= 28
    for bound, flow in zip(planned.bounds.bounds, settled.state.pcc_p_kw.ravel(), strict=True):
        assert bound.c_lo_kw is not None
        assert flow >= bound.c_lo_kw - 0.3


def test_too_much_import_is_brought_back_by_a_positive_price() -> None:
    homes = Homes(p_kw=5.5, slope_kw_per_c=0.3, most_kw=5.0)
    planned, settled = play(homes)
    assert violations(network(), planned.state, LIMITS, guard=False)
    assert broken(settled) == 0
    assert max(settled.prices_millicent) > 0
    assert min(settled.prices_millicent) >= 0
    assert np.isinf(settled.export_cap_kw).all()


def test_homes_that_do_not_answer_have_their_exports_bounded() -> None:
    homes = Homes(p_kw=-4.0)
    planned, settled = play(homes)
    assert broken(settled) == 0
    capped = settled.export_cap_kw[np.isfinite(settled.export_cap_kw)]
    assert capped.size
    np.testing.assert_allclose(capped * 1e3, np.round(capped * 1e3), rtol=0.0, atol=1e-9)
    assert (capped < 4.0).all()
    assert planned.bounds is not None


def test_import_of_homes_that_do_not_answer_stays_and_is_seen() -> None:
    _, settled = play(Homes(p_kw=6.0))
    assert broken(settled) > 0
    assert np.isinf(settled.export_cap_kw).all()


def test_nothing_is_set_on_bounds_that_were_not_confirmed() -> None:
    homes = Homes(p_kw=-4.0, slope_kw_per_c=0.2, most_kw=3.0)
    planned, settled = play(homes, bounds_hold=False)
    assert planned.bounds is not None
    assert settled.rounds == 0
    assert settled.prices_millicent == (0,) * 6
    assert broken(settled) > 0
    assert len(homes.asked) == 1


@dataclass(slots=True, kw_only=True)
class DeafAtTheFarEnd(Homes):
    """As `Homes`, but those farthest away hear nothing: the flows obey, and the far end is still too high."""

    def answer(self, u_millicent: IntArray, export_cap_kw: FloatArray) -> Exchange:
        rows = network().home_bus
        heard = rows < np.quantile(rows, 0.7)
        return Homes.answer(self, np.where(heard, u_millicent, 0), np.where(heard, export_cap_kw, inf))


def test_feedback_finds_what_bounds_on_the_flows_overlook() -> None:
    homes = DeafAtTheFarEnd(p_kw=-5.0, slope_kw_per_c=0.3, most_kw=5.0)
    planned, settled = play(homes)
    blind = settle_slot(
        model(), planned, homes, replace(SETTINGS, feedback=Feedback(gain=0.0)), "blind", bounds_hold=True
    )
    assert broken(blind) > 0
    assert broken(settled) == 0


def test_the_price_stays_armed_by_what_the_last_slot_left() -> None:
    calm = Homes(p_kw=0.5)
    stressed = replace(start(), trigger=TriggerState.ARMED, price_was_zero=False)
    planned, settled = play(calm, state=stressed)
    assert planned.trigger is TriggerState.ARMED
    assert planned.bounds is None  # armed, but nothing is at risk
    assert settled.rounds == 0
    cooling = replace(start(), trigger=TriggerState.ARMED, last=Stress(v_dev=0.01, i_load=0.1))
    assert plan_slot(model(), cooling, calm, SETTINGS, "cooling").trigger is TriggerState.COOLING


def test_homes_with_a_switch_go_where_they_disturb_least() -> None:
    homes = Homes(p_kw=1.0)
    everybody_on_a = replace(start(), phases=(0,) * len(network().homes))
    planned = plan_slot(model(switches=6), everybody_on_a, homes, SETTINGS, "phases")
    assert (planned.phases[6:] == 0).all()
    assert sorted(planned.phases[:6].tolist()) == [1, 1, 1, 2, 2, 2]
    assert planned.operations == 6
    again = replace(everybody_on_a, phases=tuple(planned.phases.tolist()))
    assert plan_slot(model(switches=6), again, homes, SETTINGS, "again").operations == 0
    np.testing.assert_array_equal(planned.baseline.phase, planned.phases)


def test_the_auction_is_cleared_and_told() -> None:
    ids = [home.id for home in network().homes]
    book = tuple(
        Order(home=ids[k], side=side, price_millicent=price, volume_wh=volume, seq=k)
        for k, (side, price, volume) in enumerate(
            [
                (Side.BUY, 15_000, 300),
                (Side.BUY, 12_000, 100),
                (Side.SELL, 9_000, 200),
                (Side.SELL, 11_000, 400),
            ]
        )
    )
    homes = Homes(p_kw=0.1, book=book)
    planned, _ = play(homes)
    assert planned.clearing.traded_wh == 200
    assert homes.cleared is planned.clearing


@pytest.mark.parametrize("p_kw", [-4.0, 5.5])
def test_a_slot_is_the_same_twice(p_kw: float) -> None:
    first = play(Homes(p_kw=p_kw, slope_kw_per_c=0.2, most_kw=2.0))[1]
    second = play(Homes(p_kw=p_kw, slope_kw_per_c=0.2, most_kw=2.0))[1]
    assert first.prices_millicent == second.prices_millicent
    np.testing.assert_array_equal(first.state.v_v, second.state.v_v)
