"""The simulated home: exact meters, ideal storage, whole Wh."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.home.rig import BATTERY, FLEXIBLE, MIDNIGHT, at, noon_sun, profile
from ven_client.devices import Phase, SimulatedHome, TimeRunsBackwards
from ven_client.forecast import Known, OutsideProfile, Persistence, Profile
from ven_client.slots import SLOT, day_start, hour_start, slot_of_day, slot_start, slots_from


def simulated(**changes: object) -> SimulatedHome:
    home = {"load": profile(lambda k: 1.0), "battery": BATTERY, "flexible": FLEXIBLE} | changes
    return SimulatedHome(start=MIDNIGHT, **home)  # type: ignore[arg-type]  # one dict of mixed arguments


def test_meter_counts_load_pv_and_battery() -> None:
    home = simulated(pv=profile(lambda k: 3.0))
    home.set_battery_kw(-1.0, at(0))
    assert home.net_kw(at(0)) == -1.0  # 1 load - 3 PV + 1 charge
    assert home.meter_wh(at(1)) == -1000
    assert home.battery_kwh(at(1)) == pytest.approx(2.8, abs=1e-12)
    home.set_battery_kw(0.0, at(1))
    home.set_flexible_kw(0.12, at(1))
    assert home.net_kw(at(1)) == pytest.approx(-2.12)
    assert home.meter_wh(at(2)) == -1000 - 2120
    assert home.flexible_kwh(at(2)) == pytest.approx(0.38)


def test_battery_stops_at_its_limits_in_the_middle_of_a_stretch() -> None:
    home = simulated()
    home.set_battery_kw(3.0, at(0))  # 1.2 kWh above the lower limit last 24 minutes
    assert home.battery_kw(at(0.3)) == 3.0
    assert home.meter_wh(at(1)) == 1000 - 1200
    assert home.battery_kwh(at(1)) == pytest.approx(0.6, abs=1e-12)
    assert home.battery_kw(at(1)) == 0.0
    assert home.net_kw(at(1)) == 1.0
    home.set_battery_kw(-3.0, at(1))
    assert home.battery_kwh(at(5)) == pytest.approx(5.4, abs=1e-12)


def test_flexible_load_stops_at_its_limits_in_the_middle_of_a_stretch() -> None:
    home = simulated()
    home.set_flexible_kw(0.16, at(0))  # 0.5 kWh last 3.125 hours
    home.advance(at(5))
    assert home.flexible_kwh(at(5)) == 0.0
    assert home.mean_w(at(3.1), at(3.125)) == 840
    assert home.mean_w(at(3.125), at(3.15)) == 1000
    assert home.meter_wh(at(5)) == 4500


def test_powers_are_limited() -> None:
    home = simulated()
    home.set_battery_kw(99.0, at(0))
    home.set_flexible_kw(-99.0, at(0))
    assert home.battery_kw(at(0)) == 3.0
    assert home.net_kw(at(0)) == pytest.approx(1.0 - 3.0 + 0.18)


def test_a_home_without_devices_ignores_them() -> None:
    home = simulated(battery=None, flexible=None)
    home.set_battery_kw(3.0, at(0))
    home.set_flexible_kw(3.0, at(0))
    assert home.net_kw(at(0)) == 1.0
    assert home.meter_wh(at(1)) == 1000
    assert (home.battery_kwh(at(1)), home.flexible_kwh(at(1)), home.pv_available_kw(at(1))) == (0.0, 0.0, 0.0)


def test_curtailment_cuts_production_and_is_counted() -> None:
    home = simulated(pv=profile(noon_sun))
    home.set_pv_limit_kw(1.5, at(8))
    assert home.net_kw(at(8)) == 1.0
    assert home.net_kw(at(9)) == -0.5
    assert home.pv_available_kw(at(9)) == 4.0
    home.set_pv_limit_kw(None, at(10))
    assert home.net_kw(at(10)) == -3.0
    assert home.curtailed_wh(at(12)) == 2500


def test_mean_power_by_the_minute_is_exact() -> None:
    home = simulated()
    home.set_battery_kw(3.0, at(0))
    quarter = at(0) + timedelta(seconds=15)
    home.set_battery_kw(-1.0, quarter)
    home.advance(at(1))
    minute = timedelta(minutes=1)
    assert home.mean_w(at(0), at(0) + minute) == 1000 + (-3000 * 15 + 1000 * 45) // 60
    assert home.mean_w(at(0) + minute, at(0) + 2 * minute) == 2000
    assert home.mean_w(at(1), at(1) + minute) is None  # not over yet
    assert home.mean_w(at(0) - minute, at(0)) is None


def test_old_mean_powers_are_forgotten_and_memory_stays_bounded() -> None:
    home = simulated()
    now = at(0)
    for k in range(5000):  # 14 hours with a new power every 10 s
        home.set_battery_kw(0.1 if k % 2 else -0.1, now)
        now += timedelta(seconds=10)
        home.advance(now)
    assert home.mean_w(now - timedelta(hours=2), now) == 1000
    assert home.mean_w(at(0), at(1)) is None
    assert len(home._times) < 2000


def test_time_does_not_run_backwards() -> None:
    home = simulated()
    home.advance(at(1))
    home.advance(at(1))
    with pytest.raises(TimeRunsBackwards):
        home.advance(at(0.5))


def test_meters_can_be_read_at_the_very_end_of_a_profile() -> None:
    home = simulated(load=Profile(start=MIDNIGHT, step_s=600, kw=(1.0,) * 6))
    assert home.meter_wh(at(1)) == 1000
    with pytest.raises(OutsideProfile):
        home.net_kw(at(1))


def test_phase() -> None:
    home = simulated(phase=Phase.B)
    home.set_phase(Phase.C, at(1))
    assert home.phase(at(1)) is Phase.C


Move = tuple[int, float, float, float | None]


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.integers(1, 7_000_000),  # ms
            st.floats(-4.0, 4.0),
            st.floats(-0.3, 0.3),
            st.none() | st.floats(0.0, 5.0),
        ),
        min_size=1,
        max_size=24,
    ),
    loads=st.lists(st.floats(0.0, 9.0), min_size=144, max_size=144),
    extra=st.lists(st.integers(1, 86_000_000), max_size=20),
)
def test_registers_equal_the_integral_however_often_they_are_read(
    moves: list[Move], loads: list[float], extra: list[int]
) -> None:
    def played(reads: list[int]) -> SimulatedHome:
        home = simulated(load=profile(lambda k: loads[k], days=5), pv=profile(noon_sun, days=5))
        now = 0
        total = Fraction(0)
        for ms, battery_kw, flexible_kw, limit_kw in moves:
            when = MIDNIGHT + timedelta(milliseconds=now)
            before = (home.battery_kwh(when), home.flexible_kwh(when))
            home.set_battery_kw(battery_kw, when)
            home.set_flexible_kw(flexible_kw, when)
            home.set_pv_limit_kw(limit_kw, when)
            for read in sorted(r for r in reads if now < r < now + ms):
                home.meter_wh(MIDNIGHT + timedelta(milliseconds=read))
            now += ms
            after = MIDNIGHT + timedelta(milliseconds=now)
            assert BATTERY.e_low_kwh - 1e-9 <= home.battery_kwh(after) <= BATTERY.e_high_kwh + 1e-9
            assert -1e-9 <= home.flexible_kwh(after) <= FLEXIBLE.energy_kwh + 1e-9
            stored = home.battery_kwh(after) - before[0] + home.flexible_kwh(after) - before[1]
            total += passive_kwh(loads, limit_kw, now - ms, now) + Fraction(stored)
            assert abs(home.meter_wh(after) / 1000 - float(total)) <= 0.00051
        return home

    end = MIDNIGHT + timedelta(milliseconds=sum(move[0] for move in moves))
    once, often = played([]), played(extra)
    assert once.meter_wh(end) == often.meter_wh(end)
    assert once.curtailed_wh(end) == often.curtailed_wh(end)
    assert once.battery_kwh(end) == often.battery_kwh(end)
    minute = timedelta(minutes=1)
    if end - minute >= MIDNIGHT:
        assert once.mean_w(end - minute, end) == often.mean_w(end - minute, end)


def passive_kwh(loads: list[float], limit_kw: float | None, start_ms: int, end_ms: int) -> Fraction:
    """Load less production, integrated slot by slot with fractions."""
    total = Fraction(0)
    slot = 600_000
    for k in range(start_ms // slot, -(-end_ms // slot)):
        span = min(end_ms, (k + 1) * slot) - max(start_ms, k * slot)
        sun = noon_sun(k % 144)
        produced = sun if limit_kw is None else min(sun, limit_kw)
        total += (Fraction(loads[k % 144]) - Fraction(produced)) * Fraction(span, 3_600_000)
    return total


# --- profiles and forecasts --------------------------------------------------------------------------------


def test_persistence_looks_one_day_back_or_as_far_as_it_must() -> None:
    load = Profile(start=MIDNIGHT, step_s=600, kw=tuple(float(k) for k in range(3 * 144)))
    forecast = Persistence(load=load, pv=None)
    slot = MIDNIGHT + timedelta(days=2, hours=12)
    yesterday, two_days_ago = (144 + 72) / 6, 72 / 6
    assert forecast.load_kwh(slot, slot - timedelta(days=1) + SLOT) == pytest.approx(yesterday)
    assert forecast.load_kwh(slot, slot) == pytest.approx(yesterday)
    assert forecast.load_kwh(slot, slot - timedelta(days=1) + SLOT / 2) == pytest.approx(two_days_ago)
    assert forecast.pv_kwh(slot, slot) == 0.0
    with pytest.raises(OutsideProfile):
        forecast.load_kwh(MIDNIGHT, MIDNIGHT)


def test_a_profile_by_the_minute_gives_the_mean_of_a_slot() -> None:
    minutes = Profile(start=MIDNIGHT, step_s=60, kw=tuple(float(k) for k in range(25)))
    known = Known(load=minutes, pv=minutes)
    assert known.load_kwh(MIDNIGHT, MIDNIGHT) == pytest.approx(4.5 / 6)
    assert known.pv_kwh(MIDNIGHT + SLOT, MIDNIGHT) == pytest.approx(14.5 / 6)
    with pytest.raises(OutsideProfile):
        minutes.kwh(MIDNIGHT + 2 * SLOT)
    home = SimulatedHome(start=MIDNIGHT, load=minutes)
    assert home.meter_wh(MIDNIGHT + SLOT) == 750


@pytest.mark.parametrize("change", [{"step_s": 420}, {"step_s": 0}, {"start": MIDNIGHT + SLOT / 2}])
def test_profiles_share_their_edges_with_slots(change: dict[str, object]) -> None:
    good = Profile(start=MIDNIGHT, step_s=300, kw=(1.0,))
    with pytest.raises(ValueError, match="slot"):
        replace(good, **change)  # type: ignore[arg-type]  # one changed field of any type


def test_the_grid_of_time() -> None:
    when = at(23.9)
    assert day_start(when) == MIDNIGHT
    assert day_start(MIDNIGHT) == MIDNIGHT
    assert slot_of_day(when) == 143
    assert slot_start(when) == at(24) - SLOT
    assert hour_start(when) == at(23)
    assert slots_from(at(1), at(1.5)) == (at(1), at(1) + SLOT, at(1) + 2 * SLOT)
    assert slots_from(at(1), at(1)) == () == slots_from(at(2), at(1))
