"""Simulated homes of a feeder: orders, commitments, answers to prices and bounds, and what a slot leaves."""

from __future__ import annotations

import dataclasses
from functools import cache
from math import inf

import numpy as np
import pytest

from config.settings import load_neighbourhood
from dso_engine.market import Side, clear
from dso_engine.model import FloatArray
from feederloop.fleet.generate import SyntheticFeeder, make_feeder
from feederloop.fleet.homes import Devices, HomesState, SimulatedStreet, devices_of, homes_at_start
from feederloop.simulation.profiles import ProfileError, Profiles, load_profiles
from tests.unit.fleet.fleet_rig import slot, small_fleet


@cache
def profiles() -> Profiles:
    return load_profiles()


@cache
def devices() -> Devices:
    return devices_of(load_neighbourhood())


@cache
def feeder() -> SyntheticFeeder:
    return make_feeder(small_fleet(homes_min=30, homes_max=30), 0, len(profiles().load_w))


def street(*, at: int = 0, state: HomesState | None = None, seed: int = 1) -> SimulatedStreet:
    return SimulatedStreet(
        feeder(), devices(), profiles(), state or homes_at_start(feeder(), devices()), slot(at), seed
    )


def answer(homes: SimulatedStreet, u: int = 0, cap_kw: float = inf) -> FloatArray:
    count = len(feeder().network.homes)
    return homes.answer(np.full(count, u, dtype=np.int64), np.full(count, cap_kw)).p_kw


def committed(homes: SimulatedStreet) -> FloatArray:
    return homes.commit(clear(tuple(homes.orders()))).p_kw


def test_orders_are_the_planned_exchange_at_limits_between_the_tariffs() -> None:
    homes = street()
    orders = homes.orders()
    plan = committed(homes)
    by_home = {order.home: order for order in orders}
    assert len(by_home) == len(orders) > 20
    for home, p_kw in zip(feeder().network.homes, plan, strict=True):
        if abs(p_kw) < 0.003:  # half a watt-hour
            assert home.id not in by_home
            continue
        order = by_home[home.id]
        assert order.side is (Side.BUY if p_kw > 0.0 else Side.SELL)
        assert order.volume_wh == pytest.approx(abs(p_kw) * 1000.0 / 6.0, abs=0.51)
        assert 10_000 <= order.price_millicent <= 15_000
    assert {order.side for order in orders} == {Side.BUY, Side.SELL}


def test_the_forecast_is_wrong_by_the_settings_noise_and_no_more() -> None:
    exact = dataclasses.replace(
        devices(),
        neighbourhood=load_neighbourhood().model_copy(
            update={"market": load_neighbourhood().market.model_copy(update={"forecast_noise": 0.0})}
        ),
    )
    state = homes_at_start(feeder(), devices())
    sure = SimulatedStreet(feeder(), exact, profiles(), state, slot(0), 1)
    plan = committed(sure)
    inside = np.abs(plan) < devices().with_battery.contract_kw
    assert inside.sum() >= 25
    np.testing.assert_allclose(plan[inside], answer(sure)[inside], rtol=0.0, atol=1e-9)
    unsure = street()
    gap = committed(unsure) - answer(unsure)
    assert 0.01 < np.abs(gap).max() < 2.0


def test_import_falls_with_the_price_and_never_leaves_what_was_declared() -> None:
    homes = street()
    said = homes.commit(clear(tuple(homes.orders())))
    flows = [answer(homes, u) for u in (-60_000, -20_000, 0, 20_000, 60_000)]
    for low, high in zip(flows[1:], flows, strict=False):
        assert (low <= high + 1e-9).all()
    # The forecast error of the slot comes on top of what the plan can be moved by.
    gap = answer(homes) - said.p_kw
    assert (flows[0] - said.p_kw <= said.up_kw + np.abs(gap) + 1e-9).all()
    assert (said.p_kw - flows[-1] <= said.down_kw + np.abs(gap) + 1e-9).all()
    assert flows[0].sum() - flows[-1].sum() > 5.0


def test_an_export_bound_is_kept_and_what_it_cuts_is_counted() -> None:
    homes = street()
    committed(homes)
    free = answer(homes)
    assert free.min() < -2.0
    assert homes.curtailed_kw == 0.0
    capped = answer(homes, cap_kw=1.0)
    assert capped.min() >= -1.0 - 1e-12
    np.testing.assert_array_equal(capped[free > -1.0], free[free > -1.0])
    battery_kw = (capped - free).sum() - homes.curtailed_kw
    assert battery_kw >= -1e-9
    assert 0.0 < homes.curtailed_kw <= (capped - free).sum() + 1e-9


def test_what_the_slot_moves_is_in_the_devices_afterwards_and_stays_in_range() -> None:
    state = homes_at_start(feeder(), devices())
    battery = devices().battery
    for at in range(60):
        homes = street(at=at, state=state)
        committed(homes)
        answer(homes, -30_000 if at % 2 else 10_000)
        following = homes.after()
        stored = np.array(following.stored_kwh)
        assert (stored >= battery.e_low_kwh - 1e-9).all()
        assert (stored <= battery.e_high_kwh + 1e-9).all()
        step = np.abs(stored - np.array(state.stored_kwh))
        assert step.max() <= battery.slot_limit_kwh + 1e-9
        assert (step[~feeder().has_battery] == 0.0).all()
        state = following
    assert np.ptp(np.array(state.stored_kwh)[feeder().has_battery]) > 0.0


def test_flexible_load_is_half_full_again_at_local_midnight() -> None:
    # 12:00 local is slot 0, so the last slot of the day is 71 slots later.
    empty = HomesState(stored_kwh=homes_at_start(feeder(), devices()).stored_kwh, flexible_kwh=(0.1,) * 30)
    for at, expected in ((70, 0.1), (71, devices().flexible.start_kwh)):
        homes = street(at=at, state=empty)
        committed(homes)
        answer(homes)
        assert homes.after().flexible_kwh[0] == pytest.approx(expected, abs=0.031)


def test_the_same_seed_says_the_same_and_another_one_does_not() -> None:
    np.testing.assert_array_equal(committed(street()), committed(street()))
    assert (committed(street()) != committed(street(seed=2))).any()
    assert [o.seq for o in street().orders()] != [o.seq for o in street(seed=2).orders()]


def test_a_day_the_profiles_do_not_have_is_refused() -> None:
    with pytest.raises(ProfileError):
        street(at=400 * 144)
