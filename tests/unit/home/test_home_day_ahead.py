"""A home in the day-ahead market: what it offers at the gate, what it accepts, and what it plans with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from schemas.oadr20b.enums import OptType, SignalType
from schemas.oadr20b.errors import InvalidData, SignalNotSupported
from schemas.oadr20b.model import Event, Interval, Period, ReportPayload, ReportRequest
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from tests.unit.home.rig import (
    BATTERY,
    MARKET,
    OPT_IN,
    OPT_OUT,
    PARAMETERS,
    SHEET,
    Rig,
    at,
    event,
    make_rig,
    no_devices,
    noon_sun,
    profile,
    request,
    result_event,
    signal,
)
from tests.unit.home.test_home_restart import restarted
from ven_client.application import ReportWindow
from ven_client.binding import HomeApplication
from ven_client.forecast import Known
from ven_client.hems.model import Horizon, RealtimeReserve, Tariffs
from ven_client.hems.plan import without_market
from ven_client.hems.program import Planner
from ven_client.instructions import DayAheadResult
from ven_client.opt import OptDraft
from ven_client.planning import HourPlanner
from ven_client.signals import understand
from ven_client.slots import DAY, HOUR, SLOT

R_IDS = ("block-volume", "block-limit-price")
DUE = at(11) - timedelta(minutes=5)
TOMORROW = at(24)
ONE_HOUR = Duration(hours=1)


def idle() -> Rig:
    """A home of 1 kW with nothing to move, five minutes before the gate for tomorrow."""
    rig = make_rig(parameters=no_devices(), switch=False)
    rig.run(DUE)
    return rig


def offered(rig: Rig) -> tuple[Interval, ...]:
    return rig.report("day-ahead-offer", DAY, R_IDS)


def values(intervals: Sequence[Interval], r_id: str) -> list[float]:
    found = []
    for each in intervals:
        (payload,) = (p for p in each.payloads if isinstance(p, ReportPayload) and p.r_id == r_id)
        found.append(payload.payload.value)  # type: ignore[union-attr]  # a number, by the table of reports
    return found


def blocks_event(
    energies_wh: Sequence[float],
    prices_eur: Sequence[float] = (0.12,) * 24,
    start: datetime = TOMORROW,
    length: timedelta = DAY,
) -> Event:
    """A day-ahead result; energies are those of whole hours."""
    return event(
        "day",
        start,
        length,
        signal("ELECTRICITY_PRICE", SignalType.PRICE, EUR_PER_KWH, prices_eur, ONE_HOUR),
        signal("x-COMMITTED_BLOCK", SignalType.SETPOINT, WATT_HOUR, energies_wh, ONE_HOUR),
    )


def only_at(hour: int, wh: float) -> tuple[float, ...]:
    return tuple(wh if h == hour else 0.0 for h in range(24))


# --- the offer ---------------------------------------------------------------------------------------------


def test_a_home_offers_the_mean_of_each_hour() -> None:
    """1 kW is 166.67 Wh a slot, so 166; on the wire six times that. The limits are those of the sheet."""
    intervals = offered(idle())
    assert [each.dtstart for each in intervals] == [TOMORROW + h * HOUR for h in range(24)]
    assert {each.duration for each in intervals} == {ONE_HOUR}
    assert values(intervals, "block-volume") == [6.0 * 166] * 24
    prices = values(intervals, "block-limit-price")
    assert prices == [0.18 if 17 <= h < 23 else 0.135 for h in range(24)]


def test_nothing_is_offered_at_the_gate_or_later_or_for_anything_but_a_day() -> None:
    rig = idle()
    rig.run(at(11))
    assert rig.app.report(_request(), _window(DUE), rig.now) == ()
    early = idle()
    assert early.app.report(_request(), _window(DUE + HOUR), early.now) == ()


def test_a_retried_report_before_the_gate_is_made_late() -> None:
    rig = idle()
    rig.run(at(11) - timedelta(seconds=1))
    assert len(rig.app.report(_request(), _window(DUE), rig.now)) == 24


def test_the_same_offer_when_asked_again() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(DUE)
    first = offered(rig)
    rig.now += timedelta(minutes=1)
    assert rig.app.report(_request(), _window(DUE), rig.now) == first


def test_a_home_that_is_away_offers_no_volume_for_that_time() -> None:
    rig = idle()
    rig.app.opt_out(Period(dtstart=TOMORROW + HOUR, duration=Duration(hours=2)), Sender(), rig.now)
    assert values(offered(rig), "block-volume") == [996.0, 0.0, 0.0, *[996.0] * 21]
    rig.app.opt_out(Period(dtstart=TOMORROW, duration=Duration(days=1)), Sender(), rig.now)
    assert offered(rig) == ()


def test_the_report_is_announced_only_where_there_is_the_market() -> None:
    rig = idle()
    assert "day-ahead-offer" not in {each.report_specifier_id for each in rig.app.metadata(rig.now)}
    app = HomeApplication(rig.home, local_market=MARKET, day_ahead_market="http://x/day-ahead-market")
    (report,) = (r for r in app.metadata(rig.now) if r.report_specifier_id == "day-ahead-offer")
    assert report.report_name == "x-METADATA_DAY_AHEAD_OFFER"
    assert [each.r_id for each in report.descriptions] == list(R_IDS)
    assert {each.market_context for each in report.descriptions} == {"http://x/day-ahead-market"}
    rates = [each.sampling_rate for each in report.descriptions]
    assert all(rate is not None and rate.min_period == rate.max_period == ONE_HOUR for rate in rates)


# --- the result --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energies", "prices", "verdict"),
    [
        (only_at(10, 996.0), (0.135,) * 24, OPT_IN),
        (only_at(10, 0.0), (0.5,) * 24, OPT_IN),  # nothing traded: the price says nothing
        (only_at(10, 1002.0), (0.12,) * 24, OPT_OUT),  # more than was offered
        (only_at(10, 996.0), (0.13501,) * 24, OPT_OUT),  # dearer than the limit
        (only_at(10, -6.0), (0.2,) * 24, OPT_OUT),  # the other side
    ],
)
def test_a_result_has_to_keep_to_the_offer(
    energies: tuple[float, ...], prices: tuple[float, ...], verdict: OptType
) -> None:
    rig = idle()
    offered(rig)
    (got,) = rig.receive(blocks_event(energies, prices))
    assert got.opt_type is verdict
    assert got.code == ("200" if verdict is OPT_IN else "454")


def test_a_home_that_offered_nothing_holds_nothing() -> None:
    (got,) = idle().receive(blocks_event(only_at(10, 6.0)))
    assert (got.opt_type, got.code) == (OPT_OUT, "454")


def test_a_result_that_is_heard_of_late_stands_all_the_same() -> None:
    rig = idle()
    offered(rig)
    rig.run(TOMORROW + 9 * HOUR)
    (got,) = rig.receive(blocks_event(only_at(10, 600.0)))
    assert got.opt_type is OPT_IN
    assert rig.home.offer(TOMORROW + 11 * HOUR, rig.now).volume_wh == (166,) * 6
    assert rig.home.offer(TOMORROW + 10 * HOUR, rig.now).volume_wh == (66,) * 6


def test_an_absence_after_the_gate_changes_nothing_about_it() -> None:
    rig = idle()
    offered(rig)
    rig.app.opt_out(Period(dtstart=TOMORROW, duration=Duration(days=1)), Sender(), rig.now)
    (got,) = rig.receive(blocks_event(only_at(10, 600.0)))
    assert got.opt_type is OPT_IN


@pytest.mark.parametrize(
    "bad",
    [
        blocks_event((6.0,) * 23, (0.1,) * 24),
        blocks_event((6.0,) * 24, (0.1,) * 24, start=TOMORROW + HOUR),
        blocks_event((7.0,) * 24),
        blocks_event((-3.0,) * 24),
    ],
)
def test_what_is_no_day_of_whole_blocks(bad: Event) -> None:
    with pytest.raises(InvalidData):
        understand(bad.event)


def test_units_are_checked() -> None:
    price = signal("ELECTRICITY_PRICE", SignalType.PRICE, EUR_PER_KWH, (0.1,) * 24, ONE_HOUR)
    power = signal("x-COMMITTED_BLOCK", SignalType.SETPOINT, WATT, (6.0,) * 24, ONE_HOUR)
    with pytest.raises(SignalNotSupported):
        understand(event("day", TOMORROW, DAY, price, power).event)


# --- planning with it --------------------------------------------------------------------------------------


def test_hour_by_hour_a_home_trades_the_difference_and_commits_to_the_whole() -> None:
    """166.67 Wh a slot are needed, 100 are there: 66 are offered. The commitment is the whole exchange."""
    rig = idle()
    offered(rig)
    rig.receive(blocks_event(only_at(10, 600.0)))
    hour = TOMORROW + 10 * HOUR
    rig.run(hour - timedelta(minutes=80))
    assert values(rig.report("offer", HOUR, ("volume",)), "volume") == [66.0] * 6
    rig.receive(result_event(hour, (0.12,) * 6, (40.0, *[0.0] * 5)))
    rig.run(hour - timedelta(minutes=55))
    assert values(rig.report("commitment", HOUR, ("grid-energy",)), "grid-energy") == [167.0] * 6
    rig.run(hour)
    running = rig.home.memory(rig.now).running[0].state
    assert running.x_m_kwh == pytest.approx(0.140)  # both markets
    assert running.x_hat_kwh == pytest.approx(0.167)
    rig.run(hour + SLOT)
    assert rig.home.memory(rig.now).running[0].state.x_m_kwh == pytest.approx(0.100)


def test_what_is_too_much_is_sold_again() -> None:
    """200 Wh a slot are held and 166.67 needed: 33 are for sale, at the price the home takes."""
    hours = HourPlanner(
        parameters=no_devices(),
        planner=Planner(),
        forecaster=Known(load=profile(lambda k: 1.0), pv=None),
        prices=SHEET,
        mean_pv_kwh_day=(0.0,) * 144,
    )
    hours.blocks.take((DayAheadResult(day=at(0), price_millicent=(1,) * 24, volume_wh=(200,) * 24),))
    offer = hours.offer(at(10), 0.0, at(8))
    assert offer.volume_wh == (-33,) * 6
    assert offer.limit_millicent_per_kwh == (11_000,) * 6
    assert hours.traded_kwh(at(10), at(10)) == pytest.approx(0.2)


def test_the_contract_bounds_the_sum_of_both() -> None:
    """9 kVA are 1.5 kWh a slot. 1.3 are load, of which 1.2 were bought: 0.2 are left for the battery."""
    slots = 6
    horizon = Horizon(
        load_kwh=(1.3,) * slots,
        pv_kwh=(0.0,) * slots,
        e0_kwh=BATTERY.e_start_kwh,
        e_end_kwh=BATTERY.e_start_kwh,
        charge_budget_kwh=2.7,
        discharge_budget_kwh=2.7,
        held_kwh=(1.2,) * slots,
    )
    cheap_first = Tariffs(supplier_c_per_kwh=(5.0,) + (50.0,) * (slots - 1), feed_in_c_per_kwh=(1.0,) * slots)
    reserve = RealtimeReserve(charge_kwh=(1.0,) * 6, discharge_kwh=(1.0,) * 6, flexible_kwh=0.5)
    plan = without_market(Planner(), PARAMETERS, horizon, cheap_first, reserve)
    assert plan.battery_kwh[0] == pytest.approx(-0.2, abs=1e-6)
    assert plan.grid_energy_wh[0] == 1500
    assert plan.flexibility_up_w[0] == 0, "it is at its contract"


def test_a_sale_has_to_be_covered() -> None:
    """0.1 kWh a slot were sold and nothing is produced: the home plans to take them from its battery."""
    slots = 6
    horizon = Horizon(
        load_kwh=(0.0,) * slots,
        pv_kwh=(0.0,) * slots,
        e0_kwh=2.4,
        e_end_kwh=1.8,
        charge_budget_kwh=2.7,
        discharge_budget_kwh=2.7,
        held_kwh=(-0.1,) * slots,
    )
    tariffs = Tariffs(supplier_c_per_kwh=(15.0,) * slots, feed_in_c_per_kwh=(10.0,) * slots)
    reserve = RealtimeReserve(charge_kwh=(1.0,) * 6, discharge_kwh=(1.0,) * 6, flexible_kwh=0.5)
    plan = without_market(Planner(), replace(PARAMETERS, flexible=None), horizon, tariffs, reserve)
    assert plan.grid_energy_wh == (-100,) * slots
    assert plan.battery_kwh == pytest.approx((0.1,) * slots, abs=1e-6)


# --- restarts ----------------------------------------------------------------------------------------------


def test_offers_survive_a_restart_before_the_result_comes(tmp_path: Path) -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(DUE)
    first = offered(rig)
    again = restarted(rig, tmp_path)
    wh = values(first, "block-volume")
    (got,) = again.receive(blocks_event(wh, values(first, "block-limit-price")))
    assert got.opt_type is OPT_IN
    again.now += timedelta(minutes=1)
    assert again.app.report(_request(), _window(DUE), again.now) == first


def test_trades_come_back_with_the_events(tmp_path: Path) -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(DUE)
    first = offered(rig)
    rig.receive(blocks_event(values(first, "block-volume"), values(first, "block-limit-price")))
    again = restarted(rig, tmp_path)
    hour = TOMORROW + 2 * HOUR
    expected = rig.home.offer(hour, rig.now).volume_wh
    assert again.home.offer(hour, again.now).volume_wh == expected
    assert all(abs(wh) <= 1 for wh in expected), "everything was traded the day before"


class Sender:
    """Takes opts, as a registered session does."""

    def send_opt(self, draft: OptDraft, now: datetime) -> str:
        del draft, now
        return "opt"

    def cancel_opt(self, opt_id: str) -> None:
        raise AssertionError(opt_id)


def _request() -> ReportRequest:
    return request("day-ahead-offer", R_IDS)


def _window(due: datetime) -> ReportWindow:
    return ReportWindow(start=due - DAY, end=due, due=due)
