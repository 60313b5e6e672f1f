"""Hourly blocks the day before, and the difference traded before each hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from feederloop.simulation.scenario import Scenario
from feederloop.study.day_ahead import DayAheadTrades, play_day_ahead
from feederloop.study.flows import DayFlows, market_day
from feederloop.study.settings import Setting, scenario_of
from ven_client.hems.day_ahead import block_offer
from ven_client.hems.model import InvalidHome, InvalidPrices, MarketLimits
from ven_client.hems.program import Planner

SETTING = Setting(network="lv_33h_17pv.json", scenario="chapter4_33h", day=date(2018, 5, 16), day_ahead=True)
SLOT = timedelta(minutes=10)


def limits(bid: tuple[float, ...], ask: tuple[float, ...]) -> MarketLimits:
    return MarketLimits(bid_c_per_kwh=bid, ask_c_per_kwh=ask, rebate_c_per_kwh=(0.0,) * len(bid))


# --- what a home offers ------------------------------------------------------------------------------------


def test_a_block_is_the_mean_of_the_hour_rounded_towards_zero() -> None:
    # 0.6 kWh over six slots are 100 Wh each; -0.0125 kWh are -2.08 Wh each; 0.005 kWh are 0.83 Wh: no order
    exchange = (0.1,) * 6 + (-0.0125, 0.0, 0.0, 0.0, 0.0, 0.0) + (0.005,) + (0.0,) * 5
    bid = (14.0,) * 3 + (13.5,) * 3 + (12.0,) * 12
    ask = (11.0,) * 6 + (10.0,) * 3 + (10.5,) * 3 + (9.0,) * 6
    offer = block_offer(exchange, limits(bid, ask))
    assert offer.volume_wh == (100, -2, 0)
    assert offer.limit_millicent_per_kwh == (13_500, 10_500, 12_000)


def test_limits_never_round_past_what_a_home_takes() -> None:
    buy = block_offer((0.1,) * 6, limits((12.3456789,) * 6, (1.0,) * 6))
    sell = block_offer((-0.1,) * 6, limits((12.0,) * 6, (10.00001,) * 6))
    assert buy.limit_millicent_per_kwh == (12_345,)
    assert sell.limit_millicent_per_kwh == (10_001,)


def test_blocks_need_whole_hours_and_their_limits() -> None:
    with pytest.raises(InvalidHome, match="7 slots"):
        block_offer((0.1,) * 7, limits((1.0,) * 7, (1.0,) * 7))
    with pytest.raises(InvalidPrices, match="5 limits for 6"):
        block_offer((0.1,) * 6, limits((1.0,) * 5, (1.0,) * 5))


# --- the day -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return scenario_of(SETTING)


@pytest.fixture(scope="module")
def blocks(scenario: Scenario) -> DayAheadTrades:
    return play_day_ahead(scenario, Planner())


@pytest.fixture(scope="module")
def day(scenario: Scenario) -> DayFlows:
    return market_day(scenario, Planner())


def test_blocks_are_even_over_each_hour_and_balance_in_each_slot(blocks: DayAheadTrades) -> None:
    assert (blocks.volume_wh.sum(axis=1) == 0).all()
    by_hour = blocks.volume_wh.reshape(24, 6, -1)
    assert (by_hour == by_hour[:, :1]).all()
    assert (blocks.volume_wh != 0).any()
    assert ((blocks.price_millicent > 0) == (blocks.volume_wh != 0)).all()


def test_buyers_pay_at_least_what_sellers_get(blocks: DayAheadTrades) -> None:
    paid = blocks.volume_wh * blocks.price_millicent
    assert (paid.sum(axis=1) >= 0).all()


def test_the_two_markets_together(scenario: Scenario, blocks: DayAheadTrades, day: DayFlows) -> None:
    """The difference is traded intraday, and batteries still end where they began."""
    assert (day.traded_kwh >= blocks.traded_kwh - 1e-9).all()
    assert (day.traded_kwh > blocks.traded_kwh + 1e-9).sum() > 10
    pv_kwh = sum(
        scenario.pv_kw(spec, scenario.midnight + k * SLOT) for spec in scenario.homes for k in range(144)
    )
    load_kwh, net_kwh = day.load_kw.sum() / 6.0, day.net_kw.sum() / 6.0
    assert net_kwh == pytest.approx(load_kwh - pv_kwh / 6.0, abs=0.144 * len(scenario.homes) / 2)
    assert (day.net_kw != day.load_kw).any()


def test_without_the_setting_there_are_no_blocks(scenario: Scenario) -> None:
    none = play_day_ahead(scenario_of(replace(SETTING, day_ahead=None)), Planner())
    assert not none.volume_wh.any()
    assert not none.traded_kwh.any()
