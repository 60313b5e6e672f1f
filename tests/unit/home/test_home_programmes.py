"""Standard programmes: what an operator's events do to a home, by hand-computed cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest

from schemas.oadr20b.enums import OptType, SignalType
from schemas.oadr20b.errors import InvalidData, SignalNotSupported
from schemas.oadr20b.model import Event, Period
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR, ItemBase, ItemKind
from schemas.oadr20b.xmltypes import Duration
from tests.unit.home.rig import (
    BATTERY,
    MARKET,
    PARAMETERS,
    Rig,
    at,
    bound_event,
    event,
    make_rig,
    no_devices,
    noon_sun,
    phase_event,
    price_event,
    profile,
    result_event,
    signal,
)
from ven_client.binding import HomeApplication
from ven_client.hems.model import MarketLimits, Tariffs
from ven_client.instructions import Change, Programme, ProgrammeKind, Span, Step
from ven_client.opt import OptDraft
from ven_client.programmes import (
    DEFAULT_SHED,
    ShedStep,
    planned_limits,
    planned_tariffs,
    situation,
    water_level_kw,
)
from ven_client.slots import HOUR, SLOT

REALTIME = "http://feederloop.example/real-time-price"
EUR_PER_KW = ItemBase(kind=ItemKind.CURRENCY_PER_KW, description="currencyPerKW", units="EUR")
LEVEL, SETPOINT, DELTA = SignalType.LEVEL, SignalType.SETPOINT, SignalType.DELTA
MULTIPLIER, PRICE = SignalType.MULTIPLIER, SignalType.PRICE


def rig_at(hour: float, *, sun: bool = False) -> Rig:
    """A home that tells the real-time context from others, run up to an hour of the day."""
    rig = make_rig(pv=profile(noon_sun) if sun else None, switch=False)
    rig.app = HomeApplication(rig.home, local_market=MARKET, realtime_context=REALTIME)
    rig.run(at(hour))
    return rig


def programme(
    name: str,
    kind: SignalType,
    base: ItemBase | None,
    values: Sequence[float],
    start: float,
    length: timedelta = SLOT,
    event_id: str | None = None,
) -> Event:
    return event(
        event_id or f"{name}-{kind}-{start}",
        at(start),
        length * len(values),
        signal(name, kind, base, values, Duration.of(length)),
    )


def imported_wh(rig: Rig, start: float) -> int:
    rig.run(at(start) + SLOT)
    wh = rig.home.energy_wh(at(start))
    assert wh is not None
    return wh


# --- the exchange ------------------------------------------------------------------------------------------


def test_a_dispatch_set_point_is_the_exchange_of_the_slot() -> None:
    rig = rig_at(3)
    (verdict,) = rig.receive(programme("LOAD_DISPATCH", SETPOINT, WATT, (400, 2500), 4))
    assert verdict.opt_type is OptType.OPT_IN
    assert imported_wh(rig, 4) == pytest.approx(400 / 6, abs=1)  # 1 kW of load, the battery gives the rest
    assert imported_wh(rig, 4 + 1 / 6) == pytest.approx(2500 / 6, abs=1)


def test_a_dispatch_in_the_middle_of_a_slot_counts_from_there() -> None:
    rig, plain = rig_at(4 + 1 / 20), rig_at(4 + 1 / 20)
    half = programme("LOAD_DISPATCH", SETPOINT, WATT, (0,), 4 + 1 / 12, timedelta(minutes=5))
    rig.receive(half)
    assert imported_wh(rig, 4) == pytest.approx(imported_wh(plain, 4) / 2, abs=2)


def test_delta_and_multiplier_move_the_planned_exchange() -> None:
    plain = imported_wh(rig_at(3), 4)
    rig = rig_at(3)
    rig.receive(programme("LOAD_DISPATCH", DELTA, WATT, (-600,), 4))
    assert imported_wh(rig, 4) == pytest.approx(plain - 100, abs=1)
    rig = rig_at(3)
    rig.receive(programme("LOAD_DISPATCH", MULTIPLIER, None, (0.5,), 4))
    assert imported_wh(rig, 4) == pytest.approx(plain / 2, abs=1)


def test_what_the_devices_cannot_do_is_done_as_far_as_they_can() -> None:
    rig = rig_at(3)
    rig.receive(programme("LOAD_DISPATCH", SETPOINT, WATT, (-9000,), 4))
    assert imported_wh(rig, 4) == pytest.approx(1000 / 6 - 500 - 30, abs=1)  # 3 kW battery, 30 Wh of load


def test_in_the_real_time_context_a_set_point_stays_an_export_bound() -> None:
    rig = rig_at(12, sun=True)
    bound = bound_event(at(12), SLOT, 1000)
    realtime = replace(bound.event.descriptor, market_context=REALTIME.replace("http", "HTTP"))
    rig.receive(replace(bound, event=replace(bound.event, descriptor=realtime)))
    assert rig.devices.net_kw(rig.now) >= -1.0
    assert rig.home.next_wakeup(rig.now) == at(12) + SLOT


@pytest.mark.parametrize(
    ("level", "less_wh"), [(0, 0), (1, 30), (2, 30 + 250), (3, 30 + 500)]
)  # 30 Wh: the flexible load's limit; 250 and 500 Wh: half and whole 3 kW
def test_simple_levels_shed_by_the_configured_steps(level: int, less_wh: int) -> None:
    plain = imported_wh(rig_at(3), 4)
    rig = rig_at(3)
    (verdict,) = rig.receive(programme("SIMPLE", LEVEL, None, (level,), 4))
    assert verdict.opt_type is OptType.OPT_IN
    assert imported_wh(rig, 4) == pytest.approx(plain - less_wh, abs=1)


def test_the_lowest_import_counts_when_limits_disagree() -> None:
    rig = rig_at(3)
    rig.receive(
        programme("LOAD_DISPATCH", SETPOINT, WATT, (2000,), 4, event_id="high"),
        programme("LOAD_DISPATCH", SETPOINT, WATT, (800,), 4, event_id="low"),
        programme("SIMPLE", LEVEL, None, (2,), 4),
    )
    assert imported_wh(rig, 4) == pytest.approx(1000 / 6 - 280, abs=1)


def test_when_a_programme_ends_the_home_goes_back() -> None:
    rig = rig_at(3)
    rig.receive(programme("LOAD_DISPATCH", SETPOINT, WATT, (400,), 4))
    rig.run(at(4) + SLOT)
    assert rig.devices.battery_kw(rig.now) < 1e-3  # it may charge again, but discharges no more


# --- the battery -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "base", "value", "stored"),
    [(SETPOINT, WATT_HOUR, 3000, 3.0), (DELTA, WATT_HOUR, 900, 2.7), (MULTIPLIER, None, 0.5, 3.0)],
)
def test_charge_state_is_reached_and_kept(
    kind: SignalType, base: ItemBase | None, value: float, stored: float
) -> None:
    rig = rig_at(3)
    assert rig.devices.battery_kwh(rig.now) == pytest.approx(1.8)
    rig.receive(programme("CHARGE_STATE", kind, base, (value,), 3, HOUR))
    rig.run(at(3.5))
    assert rig.devices.battery_kwh(rig.now) == pytest.approx(stored, abs=1e-3)
    rig.run(at(4))
    assert rig.devices.battery_kwh(rig.now) == pytest.approx(stored, abs=1e-3)


def test_a_limit_of_the_exchange_wins_over_a_battery_target() -> None:
    rig = rig_at(3)
    rig.receive(
        programme("CHARGE_STATE", SETPOINT, WATT_HOUR, (5000,), 4),
        programme("LOAD_DISPATCH", SETPOINT, WATT, (500,), 4),
    )
    assert imported_wh(rig, 4) == pytest.approx(500 / 6, abs=1)


# --- prices ------------------------------------------------------------------------------------------------


def _tariff(change: Change, value: int, hour: float = 4) -> Programme:
    step = Step(start=at(hour), end=at(hour) + HOUR, value=value)
    return Programme(kind=ProgrammeKind.TARIFF, change=change, steps=(step,))


def test_tariffs_are_replaced_multiplied_and_added_to_in_this_order() -> None:
    tariffs = Tariffs(supplier_c_per_kwh=(15.0,) * 12, feed_in_c_per_kwh=(10.0,) * 12)
    every = (_tariff(Change.ADD, 2000), _tariff(Change.MULTIPLY, 2_000_000), _tariff(Change.SET, 30_000))
    changed = planned_tariffs(tariffs, every, at(4) - 3 * SLOT)
    assert changed.supplier_c_per_kwh == (15.0,) * 3 + (62.0,) * 6 + (15.0,) * 3
    assert changed.feed_in_c_per_kwh == (10.0,) * 12
    cheap = planned_tariffs(tariffs, (_tariff(Change.SET, 4000),), at(4))
    assert cheap.supplier_c_per_kwh[:7] == (4.0,) * 6 + (15.0,)
    assert cheap.feed_in_c_per_kwh[:7] == (4.0,) * 6 + (10.0,)  # never above the supplier's (errata 29)


def test_nobody_bids_above_a_tariff_that_was_set() -> None:
    limits = MarketLimits(bid_c_per_kwh=(13.5,) * 7, ask_c_per_kwh=(11.0,) * 7, rebate_c_per_kwh=(0.0,) * 7)
    changed = planned_limits(limits, (4.0,) * 6 + (15.0,), (_tariff(Change.SET, 4000),), at(4))
    assert changed.bid_c_per_kwh == (4.0,) * 6 + (13.5,)
    assert changed.ask_c_per_kwh == (4.0,) * 6 + (11.0,)


def test_a_price_of_tomorrow_morning_moves_the_plan() -> None:
    plain, rig = rig_at(1), rig_at(1)
    rig.receive(programme("ELECTRICITY_PRICE", PRICE, EUR_PER_KWH, (0.9,), 3, HOUR))
    for one in (plain, rig):
        one.run(at(4))
    used = [sum(one.home.energy_wh(at(3) + k * SLOT) or 0 for k in range(6)) for one in (plain, rig)]
    assert used[0] - used[1] > 900  # the market range holds 1.2 kWh above its floor


def test_a_price_inside_a_planned_hour_moves_the_response() -> None:
    plain, rig = rig_at(12.01), rig_at(12.01)
    rig.receive(programme("ELECTRICITY_PRICE", PRICE, EUR_PER_KWH, (5.0,), 12 + 1 / 6))
    assert imported_wh(rig, 12 + 1 / 6) < imported_wh(plain, 12 + 1 / 6) - 20


def test_the_real_time_price_comes_on_top() -> None:
    rig = rig_at(12, sun=True)
    shed = situation(
        (_tariff(Change.ADD, 1000, 12),),
        at(12),
        home=PARAMETERS,
        shed=DEFAULT_SHED,
        planned_kwh=0.0,
        prices_c_per_kwh=(15.0, 10.0),
        stored_at=lambda start: 0.0,
    )
    assert (shed.up_c_per_kwh, shed.down_c_per_kwh) == (16.0, 10.0)
    assert not shed.frees_battery
    before = rig.devices.battery_kw(rig.now)
    realtime = price_event(at(12), -0.3)
    descriptor = replace(realtime.event.descriptor, market_context=REALTIME)
    rig.receive(replace(realtime, event=replace(realtime.event, descriptor=descriptor)))
    assert rig.devices.battery_kw(rig.now) < before


# --- the peak ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gaps", "energy", "power", "level"),
    [
        ((0.5, 0.5, 0.5), 0.3, 3.0, 2.4),  # (1.5 - 0.3) / 3 kWh a slot
        ((1.0, 0.2, 0.1), 0.3, 3.0, 4.2),  # only the first slot is cut
        ((1.0, 0.2), 5.0, 3.0, 3.0),  # the power limits
        ((1.0, 0.2), 5.0, 9.0, 0.0),
        ((-1.0,), 0.0, 1.0, 0.0),
        ((), 1.0, 1.0, 0.0),
    ],
)
def test_water_level(gaps: tuple[float, ...], energy: float, power: float, level: float) -> None:
    assert water_level_kw(gaps, energy, power) == pytest.approx(level)


def test_a_demand_charge_flattens_the_import_of_its_time() -> None:
    def load(k: int) -> float:
        return 4.0 if k == 19 else 1.0  # a peak from 3:10 to 3:20

    rig = make_rig(load=profile(load), switch=False)
    rig.run(at(2.5))
    start_kwh = rig.devices.battery_kwh(rig.now)
    rig.receive(programme("DEMAND_CHARGE", PRICE, EUR_PER_KW, (10.0,), 3, HOUR))
    rig.run(at(4))
    means = [(rig.home.energy_wh(at(3) + k * SLOT) or 0) * 6 for k in range(6)]
    level = water_level_kw([load(18 + k) / 6 for k in range(6)], start_kwh - BATTERY.e_low_kwh, 3.0)
    assert level < 1.0
    assert max(means) == pytest.approx(max(1000.0, level * 1000), abs=60)


# --- what it cannot serve ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        programme("SIMPLE", LEVEL, None, (1,), 4),
        programme("LOAD_DISPATCH", DELTA, WATT, (100,), 4),
        programme("CHARGE_STATE", SETPOINT, WATT_HOUR, (100,), 4),
    ],
)
def test_a_home_without_devices_says_460(asked: Event) -> None:
    rig = make_rig(parameters=no_devices(), switch=False)
    (verdict,) = rig.receive(asked)
    assert (verdict.opt_type, verdict.code) == ("optOut", SignalNotSupported.code)


@pytest.mark.parametrize(
    "asked",
    [
        programme("SIMPLE", LEVEL, None, (4,), 4),
        programme("CHARGE_STATE", MULTIPLIER, None, (1.5,), 4),
        programme("CHARGE_STATE", SETPOINT, WATT_HOUR, (-1,), 4),
        programme("DEMAND_CHARGE", PRICE, EUR_PER_KW, (-1,), 4),
    ],
)
def test_values_out_of_range_say_454(asked: Event) -> None:
    (verdict,) = make_rig(switch=False).receive(asked)
    assert (verdict.opt_type, verdict.code) == ("optOut", InvalidData.code)


def test_shed_steps_are_shares() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ShedStep(flexible_share=1.5)


# --- opting out --------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """Takes opts as a session would."""

    drafts: list[OptDraft] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def send_opt(self, opt: OptDraft, now: object) -> str:
        self.drafts.append(opt)
        return f"opt{len(self.drafts)}"

    def cancel_opt(self, opt_id: str) -> None:
        self.cancelled.append(opt_id)


def period(hour: float, hours: float) -> Period:
    return Period(dtstart=at(hour), duration=Duration.of(timedelta(hours=hours)))


def test_a_home_that_opted_out_makes_no_offers_and_declines() -> None:
    rig, desk = make_rig(pv=profile(noon_sun)), Desk()
    rig.run(at(10) - timedelta(minutes=20))
    offered = rig.report("offer", HOUR)
    assert offered
    assert rig.app.opt_out(period(13, 1), desk, rig.now) == "opt1"
    rig.run(at(12) - timedelta(minutes=20))
    assert rig.report("offer", HOUR) == ()
    offer = rig.home.offer(at(13), rig.now)
    prices = [one / 100_000 for one in offer.limit_millicent_per_kwh]
    for asked in (
        result_event(at(13), prices, offer.volume_wh),
        phase_event(at(13), [2] * 6),
        programme("SIMPLE", LEVEL, None, (1,), 13.5),
    ):
        (verdict,) = rig.receive(asked)
        assert (verdict.opt_type, verdict.code) == ("optOut", "200")
    (verdict,) = rig.receive(phase_event(at(14), [2] * 6))
    assert verdict.opt_type is OptType.OPT_IN
    rig.run(at(13) - timedelta(minutes=20))
    assert rig.report("offer", HOUR)


def test_in_an_absence_the_price_has_no_effect_but_the_last_resort_has() -> None:
    rig, away, desk = rig_at(12, sun=True), rig_at(12, sun=True), Desk()
    away.app.opt_out(period(12 + 1 / 12, 0.25), desk, away.now)
    price = price_event(at(12), -0.3)
    descriptor = replace(price.event.descriptor, market_context=REALTIME)
    price = replace(price, event=replace(price.event, descriptor=descriptor))
    for one in (rig, away):
        one.receive(price)
    assert rig.devices.battery_kw(rig.now) == away.devices.battery_kw(away.now)
    for one in (rig, away):
        one.run(at(12 + 1 / 12))
    assert rig.devices.battery_kw(rig.now) < away.devices.battery_kw(away.now) - 0.1
    bound = bound_event(at(12 + 1 / 12), timedelta(minutes=5), 500)
    bound = replace(bound, event=replace(bound.event, descriptor=descriptor))
    bound = replace(bound, event=replace(bound.event, descriptor=replace(descriptor, event_id="cut")))
    away.receive(bound)
    assert away.devices.net_kw(away.now) >= -0.5


def test_a_second_opt_out_repeats_the_first_for_it_supersedes_it() -> None:
    rig, desk = make_rig(), Desk()
    rig.app.opt_out(period(5, 1), desk, rig.now)
    rig.app.opt_out(period(8, 1), desk, rig.now)
    assert [one.availability for one in desk.drafts] == [(period(5, 1),), (period(5, 1), period(8, 1))]
    rig.run(at(7))
    rig.app.opt_out(Period(dtstart=at(20), duration=Duration()), desk, rig.now)
    assert [one.dtstart for one in desk.drafts[-1].availability] == [at(8), at(20)]
    kept = rig.app.memory(rig.now).absences
    assert [(one.start, one.end) for one in kept] == [(at(8), at(9)), (at(20), None)]
    rig.app.opt_in_again(desk, rig.now)
    assert desk.cancelled == ["opt3"]
    assert rig.app.memory(rig.now).absences == ()


def test_steps_are_cut_by_spans() -> None:
    step = Step(start=at(4), end=at(6), value=1)
    cases = [(3, 4), (3, 5), (4.5, 5), (5, 7), (3, 7), (6, 7)]
    for start, end in pairwise([3.0, 4.0, 5.0]):
        assert step.holds(at(start)) is (4 <= start < 6)
        assert Span(start=at(start), end=at(end)).overlaps(at(4), at(6)) is (end > 4)
    left = [[(one.start, one.end) for one in step.without(Span(start=at(a), end=at(b)))] for a, b in cases]
    assert left == [
        [(at(4), at(6))],
        [(at(5), at(6))],
        [(at(4), at(4.5)), (at(5), at(6))],
        [(at(4), at(5))],
        [],
        [(at(4), at(6))],
    ]
    assert step.without(Span(start=at(5), end=None)) == (replace(step, end=at(5)),)
