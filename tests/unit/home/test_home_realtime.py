"""A home within its slots: real-time price, export bound, phases, meters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.oadr20b.model import Interval, ReportPayload, ResourceStatus
from tests.unit.home.rig import (
    BATTERY,
    MARKET,
    OPT_IN,
    OPT_OUT,
    PARAMETERS,
    SWITCH,
    Rig,
    at,
    bound_event,
    make_rig,
    no_devices,
    noon_sun,
    phase_event,
    price_event,
    profile,
    result_event,
)
from ven_client.binding import HomeApplication
from ven_client.hems.respond import respond
from ven_client.slots import HOUR, SLOT, slots_from

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def sunny() -> Rig:
    """A home with PV and battery at noon."""
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12))
    return rig


def plays(rig: Rig) -> bool:
    """Whether the home plays a slot."""
    return rig.home._running is not None


def price_played(rig: Rig) -> int:
    """The price the slot that runs is played with."""
    assert rig.home._running is not None
    return rig.home._running.price_millicent


def planned_x_wh(rig: Rig, price_c: float) -> float:
    """The exchange the home should have in the slot that runs, at a price."""
    assert rig.home._running is not None
    return 1000 * respond(rig.home.parameters, rig.home._running.state, price_c).x_kwh


# --- price -------------------------------------------------------------------------------------------------


def test_the_lower_the_price_the_more_a_home_imports() -> None:
    rig = sunny()
    free = rig.devices.net_kw(rig.now)
    flows = []
    for number, price in enumerate((-0.3, -0.2, 0.3)):
        rig.receive(price_event(at(12), price, number))
        flows.append(rig.devices.net_kw(rig.now))
    assert flows[0] >= flows[1] > free + 0.1
    assert flows[2] < free - 0.1


def test_the_energy_of_the_slot_follows_the_last_price() -> None:
    # no flexible load: it cannot catch up on a shift in the wrong direction
    rig = make_rig(pv=profile(noon_sun), parameters=replace(PARAMETERS, flexible=None))
    rig.run(at(12))
    free_wh = planned_x_wh(rig, 0.0)
    rig.receive(price_event(at(12), 0.0))
    for k, price in enumerate((-0.05, -0.2, -0.26, -0.15)):
        rig.run(at(12) + (k + 1) * MINUTE)
        rig.receive(price_event(at(12), price, number=k + 1))
    wanted = planned_x_wh(rig, -15.0)
    assert wanted > free_wh + 20
    rig.run(at(12) + SLOT)
    assert rig.home.energy_wh(at(12)) == pytest.approx(wanted, abs=1.01)


def test_after_its_slot_a_price_is_over() -> None:
    rig = sunny()
    rig.receive(price_event(at(12), -0.3))
    rig.run(at(12) + SLOT)
    assert price_played(rig) == 0
    assert rig.devices.net_kw(rig.now) * 1000 / 6 == pytest.approx(planned_x_wh(rig, 0.0), abs=0.01)


def test_a_price_that_is_withdrawn_is_over_at_once() -> None:
    rig = sunny()
    free = rig.devices.net_kw(rig.now)
    rig.receive(price_event(at(12), -0.3))
    rig.drop("rtc-" + f"{at(12):%H%M}")
    assert rig.devices.net_kw(rig.now) == pytest.approx(free)


def test_a_price_may_start_in_the_middle_of_a_slot() -> None:
    rig = sunny()
    free = rig.devices.net_kw(rig.now)
    half = at(12) + SLOT / 2
    rig.receive(price_event(half, -0.3))
    assert rig.app.next_wakeup(rig.now) == half
    assert rig.devices.net_kw(rig.now) == free
    rig.run(half)
    assert rig.devices.net_kw(rig.now) > free + 0.1


def test_an_unchanged_set_of_events_sets_nothing_again() -> None:
    rig = sunny()
    rig.receive(price_event(at(12), -0.1))
    running = rig.home._running
    rig.run(at(12) + MINUTE)
    rig.app.events_changed(tuple(rig.held.values()), rig.now)
    assert rig.home._running is running


def test_a_price_at_the_edge_counts_in_the_slot_that_starts() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12) - SECOND)
    rig.receive(price_event(at(12), -0.3))
    assert price_played(rig) == 0
    rig.run(at(12))
    assert price_played(rig) == -30000


def test_a_refused_event_does_nothing() -> None:
    rig = sunny()
    rig.receive(price_event(rig.now, -0.3))
    ((event_id, held),) = rig.held.items()
    assert price_played(rig) == -30000
    rig.held[event_id] = replace(held, opt_type=OPT_OUT)
    rig.app.events_changed(tuple(rig.held.values()), rig.now)
    assert price_played(rig) == 0


# --- bound -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound_w", [0, 500, 1500])
def test_curtailment_keeps_the_bound_to_its_end(bound_w: int) -> None:
    rig = sunny()
    rig.run(at(12) + 2 * MINUTE)
    assert rig.devices.net_kw(rig.now) < -1.5
    (verdict,) = rig.receive(bound_event(rig.now, 18 * MINUTE, bound_w))
    assert verdict.opt_type == OPT_IN
    for k in range(18 * 6):
        rig.run(at(12) + 2 * MINUTE + 10 * k * SECOND)
        assert rig.devices.net_kw(rig.now) >= -bound_w / 1000 - 1e-5
    rig.run(at(12) + 2 * SLOT)
    lost = rig.devices.curtailed_wh(rig.now)
    assert rig.devices.net_kw(rig.now) < -1.5
    rig.drop(f"cut-{at(12) + 2 * MINUTE:%H%M}")
    assert rig.devices.net_kw(rig.now) < -1.5
    rig.run(at(13))
    assert rig.devices.curtailed_wh(rig.now) == lost
    assert lost > 0


def test_the_battery_takes_what_it_can_before_production_is_cut() -> None:
    rig = sunny()
    rig.receive(bound_event(rig.now, SLOT, 0))
    assert rig.devices.battery_kw(rig.now) < 0
    with_battery = rig.devices.curtailed_wh(at(12) + SLOT)
    bare = make_rig(pv=profile(noon_sun), parameters=no_devices())
    bare.run(at(12))
    bare.receive(bound_event(bare.now, SLOT, 0))
    assert bare.devices.net_kw(bare.now) == 0.0
    assert bare.devices.curtailed_wh(at(12) + SLOT) == 500
    assert with_battery < 500


def test_who_can_curtail() -> None:
    bound = bound_event(at(12), SLOT, 0)
    assert make_rig(pv=profile(noon_sun), parameters=no_devices()).receive(bound)[0].code == "200"
    assert make_rig().receive(bound)[0].code == "200"
    assert make_rig(parameters=no_devices()).receive(bound)[0].code == "460"


# --- phases ------------------------------------------------------------------------------------------------


def test_phases_switch_at_edges_only_and_are_reported() -> None:
    rig = make_rig()
    rig.run(at(11.5))
    assert rig.receive(phase_event(at(12), [1, 1, 2, 2, 3, 1]))[0].opt_type == OPT_IN
    seen = []
    for slot in slots_from(at(12), at(13)):
        rig.run(slot)
        seen.append(int(rig.devices.phase(rig.now)))
        rig.run(slot + MINUTE)
        (report,) = rig.report("switch", MINUTE)
        assert phase_of(report) == (seen[-1], len(seen) in (3, 5, 6))
        assert report.dtstart == slot
    assert seen == [1, 1, 2, 2, 3, 1]
    rig.drop("phase")
    rig.run(at(14))
    assert rig.devices.phase(rig.now) == 1


def phase_of(report: Interval) -> tuple[int, bool]:
    """The phase a report tells and whether it says that it changed."""
    (payload,) = report.payloads
    assert isinstance(payload, ReportPayload)
    assert isinstance(payload.payload, ResourceStatus)
    control = payload.payload.load_control_state
    assert control is not None
    assert control.set_point is not None
    return int(control.set_point.current), payload.data_quality is None


def test_a_command_in_the_middle_of_a_slot_waits() -> None:
    rig = make_rig()
    rig.run(at(12) + MINUTE)
    rig.receive(phase_event(at(12), [2] * 6))
    assert rig.devices.phase(rig.now) == 1
    rig.run(at(12) + SLOT)
    assert rig.devices.phase(rig.now) == 2


def test_phase_commands_need_the_switch_they_name() -> None:
    assert make_rig().receive(phase_event(at(12), [2] * 6, "switch-H02"))[0].code == "462"
    rig = make_rig(switch=False)
    assert rig.receive(phase_event(at(12), [2] * 6))[0].code == "460"
    with pytest.raises(ValueError, match="switch"):
        HomeApplication(rig.home, local_market=MARKET, switch_id=SWITCH)
    with pytest.raises(ValueError, match="switch"):
        HomeApplication(make_rig().home, local_market=MARKET)


def test_the_first_phase_is_told_as_a_change() -> None:
    rig = make_rig()
    rig.run(at(0) + MINUTE)
    (report,) = rig.report("switch", MINUTE)
    assert phase_of(report) == (1, True)


# --- edges and meters --------------------------------------------------------------------------------------


def test_a_home_that_starts_in_the_middle_of_a_slot_waits_for_the_next() -> None:
    rig = make_rig(start=at(12) + 3 * MINUTE, pv=profile(noon_sun))
    assert not plays(rig)
    assert rig.devices.net_kw(rig.now) == -3.0
    rig.run(at(12) + SLOT)
    assert plays(rig)
    assert rig.report("meter-energy", SLOT) == ()
    rig.run(at(12) + 2 * SLOT)
    assert len(rig.report("meter-energy", SLOT)) == 1
    assert len(rig.report("storage", SLOT)) == 1


def test_a_home_that_wakes_a_little_late_plays_the_slot_all_the_same() -> None:
    rig = sunny()
    late = at(12) + SLOT + 20 * SECOND
    rig.app.on_time(late)
    rig.now = late
    wanted = planned_x_wh(rig, 0.0)
    rig.run(at(12) + 2 * SLOT)
    assert rig.home.energy_wh(at(12)) is not None
    # the register was read 20 s late: the energy of the slot before ran on for that long
    assert rig.home.energy_wh(at(12) + SLOT) == pytest.approx(wanted, abs=20)
    very_late = at(12) + 3 * SLOT + 40 * SECOND
    rig.app.on_time(very_late)
    assert not plays(rig)
    assert rig.home.energy_wh(at(12) + 2 * SLOT) is None


def test_a_report_crosses_the_edge_by_itself() -> None:
    rig = sunny()
    rig.now = at(12) + SLOT  # the report comes before the wake-up of the same instant
    assert len(rig.report("meter-energy", SLOT)) == 1


def test_storage_tells_energy_and_power_at_the_end_of_the_slot() -> None:
    rig = sunny()
    rig.receive(price_event(at(12), -0.3))
    power_w = round(1000 * rig.devices.battery_kw(rig.now))
    rig.run(at(12) + SLOT)
    (report,) = rig.report("storage", SLOT)
    stored, power = (p.payload.value for p in report.payloads)  # type: ignore[union-attr]  # numbers, by its metadata
    assert stored == round(1000 * rig.devices.battery_kwh(rig.now))
    assert power == power_w < 0


def test_contract_violations_are_counted() -> None:
    small = replace(no_devices(), contract_kw=0.5)
    rig = make_rig(parameters=small)
    rig.run(at(1))
    assert rig.home.contract_violations == 7


Event3 = tuple[int, int, float]


@settings(max_examples=6, deadline=None)
@given(
    load=st.lists(st.floats(0.0, 6.0), min_size=144, max_size=144),
    sun=st.lists(st.floats(0.0, 4.5), min_size=144, max_size=144),
    events=st.lists(
        st.tuples(st.integers(0, 23), st.integers(0, 5), st.floats(-0.6, 0.6)),
        max_size=20,
        unique_by=lambda e: e[:2],
    ),
)
def test_a_random_day_keeps_every_bound_and_every_wh(
    load: list[float], sun: list[float], events: list[Event3]
) -> None:
    rig = make_rig(load=profile(lambda k: load[k]), pv=profile(lambda k: sun[k]))
    prices = {at(hour) + k * SLOT: u for hour, k, u in events}
    total = 0
    for hour in range(24):
        rig.report("commitment", HOUR)
        for slot in slots_from(at(hour), at(hour + 1)):
            rig.run(slot)
            rig.held.clear()
            rig.receive(*[price_event(slot, prices[slot])] if slot in prices else [])
            if slot.minute == 5 * 10:
                rig.run(slot + MINUTE)
                rig.receive(bound_event(rig.now, 3 * MINUTE, 1000))
            running = rig.home._running
            assert running is not None
            rig.run(slot + SLOT)
            level = rig.devices.battery_kwh(rig.now)
            assert BATTERY.e_low_kwh - 1e-9 <= level <= BATTERY.e_high_kwh + 1e-9
            assert -1e-9 <= rig.devices.flexible_kwh(rig.now) <= 1.0 + 1e-9
            wh = rig.home.energy_wh(slot)
            assert wh is not None
            total += wh
            if running.bound_w is None and slot.minute != 50:
                assert wh == pytest.approx(1000 * running.response.x_kwh, abs=1.01)
    assert total == rig.devices.meter_wh(at(24))  # whole Wh: sums over slots are exact
    planned = rig.home._hours._slots.values()
    assert sum(max(0.0, plan.battery_kwh) for plan in planned) <= BATTERY.market_cycle_kwh + 1e-6
    assert sum(max(0.0, -plan.battery_kwh) for plan in planned) <= BATTERY.market_cycle_kwh + 1e-6


def test_a_market_result_does_not_move_a_home_without_devices() -> None:
    rig = make_rig(parameters=no_devices())
    rig.run(at(12) - timedelta(minutes=80))
    rig.report("offer", HOUR)
    rig.receive(result_event(at(12), [0.12] * 6, [100] * 6))
    rig.run(at(12))
    assert rig.devices.net_kw(rig.now) == 1.0
