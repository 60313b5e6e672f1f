"""A home through its market hour: offer, result, commitment, and what it plans without one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b.model import Interval, PayloadFloat, ReportPayload
from tests.unit.home.rig import (
    OPT_IN,
    OPT_OUT,
    PARAMETERS,
    SHEET,
    at,
    make_rig,
    no_devices,
    noon_sun,
    profile,
    result_event,
)
from ven_client.application import ReportWindow
from ven_client.forecast import Known
from ven_client.hems.model import Battery, HomeParameters, Horizon, Series
from ven_client.hems.program import Planner, Prices, Schedule
from ven_client.instructions import MarketResult
from ven_client.planning import HourPlanner, PriceSheet
from ven_client.slots import HOUR, SLOT

OFFER, COMMITMENT = timedelta(minutes=80), timedelta(minutes=55)


def numbers(intervals: tuple[Interval, ...], r_id: str) -> list[float]:
    """The values of one rID."""
    found = []
    for interval in intervals:
        for payload in interval.payloads:
            if isinstance(payload, ReportPayload) and payload.r_id == r_id:
                assert isinstance(payload.payload, PayloadFloat)
                found.append(payload.payload.value)
    return found


def edges(intervals: tuple[Interval, ...]) -> list[datetime | None]:
    return [interval.dtstart for interval in intervals]


def slots(hour: datetime) -> list[datetime]:
    return [hour + k * SLOT for k in range(6)]


def test_a_home_without_devices_offers_and_commits_its_gap() -> None:
    rig = make_rig(parameters=no_devices(), pv=profile(noon_sun))
    rig.run(at(2) - OFFER)
    offer = rig.report("offer", HOUR)
    assert edges(offer) == slots(at(2))
    assert numbers(offer, "volume") == [166] * 6  # 1 kW for 10 min, towards zero
    assert numbers(offer, "limit-price") == [0.135] * 6
    rig.run(at(12) - OFFER)
    offer = rig.report("offer", HOUR)
    assert numbers(offer, "volume") == [-500] * 6
    assert numbers(offer, "limit-price") == [0.11] * 6
    rig.run(at(12) - COMMITMENT)
    commitment = rig.report("commitment", HOUR)
    assert edges(commitment) == slots(at(12))
    assert numbers(commitment, "grid-energy") == [-500] * 6
    assert numbers(commitment, "flexibility-up") == numbers(commitment, "flexibility-down") == [0] * 6


def test_an_hour_from_offer_to_meter() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12) - OFFER)
    offered = numbers(rig.report("offer", HOUR), "volume")
    assert min(offered) >= -500  # never more than the surplus (errata 3)
    assert sum(offered) < -300
    traded = [int(v * 0.6) for v in offered]
    rig.run(at(12) - timedelta(minutes=70))
    (verdict,) = rig.receive(result_event(at(12), [0.12] * 6, traded))
    assert (verdict.opt_type, verdict.code) == (OPT_IN, "200")
    rig.run(at(12) - COMMITMENT)
    commitment = rig.report("commitment", HOUR)
    grid = numbers(commitment, "grid-energy")
    assert all(x <= t for x, t in zip(grid, traded, strict=True))  # the traded volume leaves the home
    rig.run(at(12))
    for k, slot in enumerate(slots(at(12))):
        state = rig.home._running and rig.home._running.state
        assert state
        assert state.x_m_kwh == traded[k] / 1000
        assert state.x_hat_kwh == grid[k] / 1000
        before = rig.devices.battery_kwh(slot) + rig.devices.flexible_kwh(slot)
        rig.run(slot + SLOT)
        stored_wh = 1000 * (rig.devices.battery_kwh(rig.now) + rig.devices.flexible_kwh(rig.now) - before)
        (measured,) = numbers(rig.report("meter-energy", SLOT), "energy")
        assert measured == pytest.approx(-500 + stored_wh, abs=1.01)
        power = numbers(rig.report("meter-power", SLOT), "power")
        assert sum(power) / 60 == pytest.approx(measured, abs=1.5)
        assert len(power) == 10


def test_results_are_accepted_only_as_offered() -> None:
    rig = make_rig(pv=profile(noon_sun))
    nothing = [0] * 6
    assert rig.receive(result_event(at(12), [0.1] * 6, nothing))[0].code == "454"  # no offer was made
    rig.run(at(12) - OFFER)
    (sell, *_) = offered = numbers(rig.report("offer", HOUR), "volume")
    assert sell < -100

    def judged(price: float, first: float) -> tuple[str, str]:
        (verdict,) = rig.receive(result_event(at(12), [price] * 6, [first, *nothing[1:]]))
        return verdict.opt_type, verdict.code

    accepted, refused = (OPT_IN, "200"), (OPT_OUT, "454")
    assert judged(0.11, sell) == accepted
    assert judged(0.15, 0) == accepted
    assert judged(0.15, 0) == judged(0.05, 0)  # nothing traded: the price does not matter
    assert judged(0.10999, sell) == refused  # below the ask limit
    assert judged(0.15, sell - 1) == refused
    assert judged(0.15, 1) == refused
    assert rig.receive(result_event(at(13), [0.1] * 6, offered))[0].code == "454"
    rig.run(at(12))
    assert judged(0.11, sell) == (OPT_OUT, "200")  # silence until the hour starts is a refusal


def test_a_purchase_is_not_paid_above_the_bid() -> None:
    rig = make_rig(parameters=no_devices())
    rig.run(at(12) - OFFER)
    rig.report("offer", HOUR)
    assert rig.receive(result_event(at(12), [0.135] * 6, [166] * 6))[0].opt_type == OPT_IN
    assert rig.receive(result_event(at(12), [0.13501] * 6, [166] * 6))[0].opt_type == OPT_OUT


def test_a_cancelled_result_trades_nothing() -> None:
    rig = make_rig(parameters=no_devices())
    rig.run(at(12) - OFFER)
    rig.report("offer", HOUR)
    rig.receive(result_event(at(12), [0.135] * 6, [166] * 6))
    rig.drop("mkt")
    rig.run(at(12))
    assert rig.home._running is not None
    assert rig.home._running.state.x_m_kwh == 0.0


def test_nothing_to_trade_is_no_report_but_a_commitment() -> None:
    rig = make_rig(parameters=no_devices(), load=profile(noon_sun), pv=profile(noon_sun))
    rig.run(at(12) - OFFER)
    assert rig.report("offer", HOUR) == ()
    rig.run(at(12) - COMMITMENT)
    assert numbers(rig.report("commitment", HOUR), "grid-energy") == [0] * 6


def test_offers_and_commitments_do_not_change_when_asked_again() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12) - OFFER)
    offer = rig.report("offer", HOUR)
    rig.run(rig.now + timedelta(minutes=4))
    rig.devices.set_battery_kw(-3.0, rig.now)
    assert rig.app._offer(at(12), rig.now) == offer
    rig.run(at(12) - COMMITMENT)
    commitment = rig.report("commitment", HOUR)
    rig.run(at(12) - timedelta(minutes=50, seconds=1))
    assert rig.app._commitment(at(12), rig.now) == commitment
    rig.run(at(12) - timedelta(minutes=50))
    assert rig.app._commitment(at(12), rig.now) == (), "the VTN would not take it"


def test_reports_that_would_come_too_late_are_not_made() -> None:
    rig = make_rig()
    rig.run(at(12) - timedelta(minutes=75))
    assert rig.app._offer(at(12), rig.now) == ()
    rig.run(at(12))
    assert rig.app._commitment(at(12), rig.now) == ()
    assert rig.report("offer", HOUR) == ()  # due at 12:00: 13:20 is no delivery hour
    assert rig.report("commitment", HOUR) == ()


def test_reports_hold_only_what_was_asked_for() -> None:
    rig = make_rig()
    rig.run(at(12) - OFFER)
    assert [len(one.payloads) for one in rig.report("offer", HOUR, ["volume"])] == [1] * 6
    assert rig.report("offer", HOUR, ["energy"]) == ()
    assert rig.app._intervals("unknown", ReportWindow(start=rig.now, end=rig.now, due=rig.now), rig.now) == ()


def test_the_offer_expects_the_battery_where_the_plan_leaves_it() -> None:
    rig = make_rig()
    rig.run(at(17) + timedelta(minutes=23))  # in the evening the home lives on its battery: 1 kW
    left = rig.home._hours.planned_kwh(at(17.5), at(18))
    assert left == pytest.approx(0.5)
    expected = rig.home._expected_kwh(at(18), rig.now)
    assert expected == pytest.approx(rig.devices.battery_kwh(rig.now) - 37 / 60)
    rig.run(at(18))  # real time leaves the plan alone, so the expectation comes true
    assert rig.devices.battery_kwh(rig.now) == pytest.approx(expected)


# --- rules of planning -------------------------------------------------------------------------------------

FLAT = PriceSheet(
    supplier_c_per_kwh=(15.0,) * 144,
    feed_in_c_per_kwh=(10.0,) * 144,
    bid_c_per_kwh=(13.0,) * 144,
    ask_c_per_kwh=(11.0,) * 144,
    rebate_c_per_kwh=(0.0,) * 144,
)


class Spy(Planner):
    """A planner that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Horizon, Prices, Series]] = []

    def schedule(
        self,
        home: HomeParameters,
        battery: Battery,
        horizon: Horizon,
        prices: Prices,
        volumes_kwh: Series = (),
    ) -> Schedule:
        self.asked.append((horizon, prices, volumes_kwh))
        return super().schedule(home, battery, horizon, prices, volumes_kwh)


def hour_planner(spy: Spy, kw: float = 0.0, sheet: PriceSheet = FLAT) -> HourPlanner:
    return HourPlanner(
        parameters=PARAMETERS,
        planner=spy,
        forecaster=Known(load=profile(lambda k: kw), pv=None),
        prices=sheet,
        mean_pv_kwh_day=tuple(noon_sun(k) for k in range(144)),
    )


def test_without_a_result_the_plan_is_the_one_without_market() -> None:
    spy = Spy()
    hours = hour_planner(spy, kw=1.0)
    hours.offer(at(20), 1.8, at(18.5))
    hours.plan_hour(at(20), 1.8, 0.5, at(19))
    (_, market, _), (_, alone, volumes) = spy.asked
    assert market.buy_c_per_kwh == (13.0,) * 24
    assert alone.buy_c_per_kwh == (15.0,) * 24
    assert alone.sell_c_per_kwh == (10.0,) * 24
    assert volumes == ()


def test_nothing_offered_plans_as_after_a_result_of_zero() -> None:
    spy = Spy()
    hours = hour_planner(spy)
    assert not any(hours.offer(at(20), 1.8, at(18.5)).volume_wh)
    hours.plan_hour(at(20), 1.8, 0.5, at(19))
    _, prices, volumes = spy.asked[-1]
    assert prices.buy_c_per_kwh == (15.0,) * 6 + (13.0,) * 18  # errata 6
    assert volumes == (0.0,) * 6


def test_a_result_is_planned_with() -> None:
    spy = Spy()
    hours = hour_planner(spy, kw=1.0)
    hours.offer(at(20), 1.8, at(18.5))
    hours.take_results((MarketResult(hour=at(20), price_millicent=(0,) * 6, volume_wh=(100, 0, 0, 0, 0, 7)),))
    hours.plan_hour(at(20), 1.8, 0.5, at(19))
    assert spy.asked[-1][2] == (0.1, 0.0, 0.0, 0.0, 0.0, 0.007)
    assert hours.traded_kwh(at(20) + 5 * SLOT, at(20)) == 0.007
    assert hours.traded_kwh(at(21), at(21)) == 0.0


def test_the_horizon_ends_with_the_local_day_and_starts_from_the_state_given() -> None:
    spy = Spy()
    hours = hour_planner(spy, kw=1.0)
    hours.offer(at(23), 2.2, at(21.5))
    hours.offer(at(24), 2.2, at(22.5))
    (last, *_), (first, *_) = spy.asked
    assert (last.slots, last.e0_kwh, last.e_end_kwh) == (6, 2.2, 1.8)
    assert first.slots == 144


def test_the_cycle_budget_is_what_the_days_plans_have_left() -> None:
    spy = Spy()
    cheap_then_dear = replace(FLAT, supplier_c_per_kwh=(10.0,) * 36 + (30.0,) * 108)
    hours = hour_planner(spy, kw=1.0, sheet=cheap_then_dear)
    charged = 0.0
    for hour in range(8):
        plan = hours.plan_hour(at(hour), 1.8, 0.5, at(hour))
        assert spy.asked[-1][0].charge_budget_kwh == pytest.approx(2.7 - charged)
        charged += sum(max(0.0, -kwh) for kwh in plan.battery_kwh[:6])
    assert 1.4 < charged <= 2.7 + 1e-9
    hours.plan_hour(at(24), 1.8, 0.5, at(23))
    assert spy.asked[-1][0].charge_budget_kwh == 2.7  # a new day


def test_the_rest_of_an_hour_is_planned_when_it_has_no_plan() -> None:
    spy = Spy()
    hours = hour_planner(spy, kw=1.0)
    late = at(20) + 4 * SLOT
    hours.slot(late, at(20), 1.8, 0.5, late)
    hours.slot(late + SLOT, at(20), 1.8, 0.5, late + SLOT)
    assert [horizon.slots for horizon, _, _ in spy.asked] == [20]
    hours.plan_hour(at(20), 1.8, 0.5, at(20))
    assert len(spy.asked) == 2


def test_real_time_allotments_follow_production() -> None:
    hours = hour_planner(Spy())
    assert hours.allotment(at(0)) == (0.0, 0.0)
    assert hours.allotment(at(12)) == pytest.approx((2.7 / 36, 2.7 / 36))  # the neighbourhood's mean
    own = HourPlanner(
        parameters=PARAMETERS,
        planner=Spy(),
        forecaster=Known(load=profile(lambda k: 1.0), pv=profile(lambda k: 1.0 if k < 2 else 0.0)),
        prices=FLAT,
        mean_pv_kwh_day=(1.0,) * 144,
    )
    assert own.allotment(at(0)) == pytest.approx((1.35, 1.35))
    assert own.allotment(at(12)) == (0.0, 0.0)


def test_price_sheets_cover_the_day() -> None:
    with pytest.raises(ValueError, match="144"):
        replace(SHEET, ask_c_per_kwh=(1.0,))
