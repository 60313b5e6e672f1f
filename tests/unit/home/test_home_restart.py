"""A home that is started anew between what it said and what comes of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from tests.unit.home.rig import (
    MARKET,
    OPT_IN,
    PARAMETERS,
    SHEET,
    SWITCH,
    Rig,
    at,
    make_rig,
    noon_sun,
    phase_event,
    planner,
    price_event,
    profile,
    result_event,
)
from ven_client.binding import HomeApplication
from ven_client.forecast import Known, Persistence
from ven_client.home import HomeManager
from ven_client.simulated_memory import SimulatedMemory
from ven_client.slots import HOUR, SLOT
from ven_client.state import HomeMemory, SessionState, VenState
from ven_client.statefile import StateFile

PV = profile(noon_sun)
LOAD = profile(lambda k: 1.0)


def restarted(rig: Rig, path: Path, now: datetime | None = None) -> Rig:
    """The same devices and clock with a new program that has only the file."""
    now = rig.now if now is None else now
    file = StateFile(path / "ven.sqlite", "H01")
    file.commit(VenState(session=SessionState(), home=rig.app.memory(rig.now)))
    file.close()
    file = StateFile(path / "ven.sqlite", "H01")
    state = file.load()
    file.close()
    home = HomeManager(
        parameters=PARAMETERS,
        devices=rig.devices,
        planner=planner(),
        forecaster=Persistence(load=LOAD, pv=PV),
        nowcast=Known(load=LOAD, pv=PV),
        prices=SHEET,
        mean_pv_kwh_day=tuple(noon_sun(k) / 6 for k in range(144)),
        has_pv=True,
        has_switch=True,
    )
    app = HomeApplication(home, local_market=MARKET, switch_id=SWITCH)
    app.recall(state.home if state is not None else HomeMemory(), now)
    app.events_changed(tuple(rig.held.values()), now)
    app.on_time(now)
    return Rig(devices=rig.devices, home=home, app=app, now=now, held=rig.held)


def running(hour: float) -> Rig:
    rig = make_rig(load=LOAD, pv=PV)
    rig.run(at(hour))
    return rig


def test_a_result_is_accepted_by_a_home_restarted_since_its_offer(tmp_path: Path) -> None:
    rig = running(10)
    hour = at(11) + HOUR
    offer = rig.home.offer(hour, rig.now)
    assert any(offer.volume_wh)
    rig.receive(price_event(at(10), -0.3))
    rig.run(at(10) + SLOT)
    forgetful = make_rig(load=LOAD, pv=PV, start=rig.now)
    assert forgetful.home.offer(hour, rig.now) != offer  # made anew it would be another one
    again = restarted(rig, tmp_path)
    assert again.home.offer(hour, again.now) == offer
    event = result_event(hour, [one / 100_000 for one in offer.limit_millicent_per_kwh], offer.volume_wh)
    assert again.receive(event)[0].opt_type is OPT_IN
    third = restarted(again, tmp_path)
    plan = third.home.commitment(hour, third.now)
    fourth = restarted(third, tmp_path)
    assert fourth.home.commitment(hour, fourth.now) == plan


def test_a_slot_that_runs_is_played_on_and_its_energy_is_metered(tmp_path: Path) -> None:
    rig, other = running(12), running(12)
    for one in (rig, other):
        one.receive(price_event(at(12), -0.3))
    assert rig.devices.battery_kw(rig.now) == other.devices.battery_kw(other.now) != 0.0
    for one in (rig, other):
        one.run(at(12) + timedelta(minutes=4))
    again = restarted(rig, tmp_path, rig.now)
    for one in (again, other):
        one.run(at(12) + SLOT)
    assert again.home.energy_wh(at(12)) == other.home.energy_wh(at(12)) is not None
    assert again.home.energy_wh(at(12) - SLOT) == other.home.energy_wh(at(12) - SLOT) is not None


def test_a_slot_that_is_over_is_not_played_again(tmp_path: Path) -> None:
    rig = running(12)
    again = restarted(rig, tmp_path, at(12) + timedelta(minutes=15))
    assert again.devices.battery_kw(again.now) == 0.0
    again.run(at(12) + 2 * SLOT)
    assert again.home.energy_wh(at(12)) is None  # an edge was missed: unknown, not invented


def test_phases_are_not_reported_as_changes_again(tmp_path: Path) -> None:
    rig = running(11)
    rig.receive(phase_event(at(12), [2] * 6))
    rig.run(at(12))
    before = rig.home.phase_changes(at(0), at(13))
    assert len(before) == 2
    again = restarted(rig, tmp_path)
    assert again.home.phase_changes(at(0), at(13)) == before


def test_only_the_hours_at_hand_are_kept() -> None:
    rig = running(0)
    rig.run(at(8))
    memory = rig.app.memory(rig.now)
    assert [kept.hour for kept in memory.plans] == [at(8)]
    assert len(memory.slots) == 9 * 6  # the day's use of the market cycle


def test_a_simulated_home_lives_on_through_the_restart(tmp_path: Path) -> None:
    rig, other = running(12), running(12)
    for one in (rig, other):
        one.devices.set_battery_kw(-1.0, one.now)
        one.run(at(12) + timedelta(minutes=3))
        one.devices.meter_wh(one.now)
    later = at(12) + timedelta(minutes=9)
    state = VenState(session=SessionState(), home=SimulatedMemory(rig.app, rig.devices).memory(rig.now))
    file = StateFile(tmp_path / "ven.sqlite", "H01")
    file.commit(state)
    file.close()
    file = StateFile(tmp_path / "ven.sqlite", "H01")
    kept = file.load()
    file.close()
    assert kept == state
    again = make_rig(load=LOAD, pv=PV, start=at(12) + 12 * SLOT)  # a new process starts where it likes
    again.devices.resume(state.home.registers or rig.devices.registers())
    assert again.devices.meter_wh(later) == other.devices.meter_wh(later)
    assert again.devices.battery_kwh(later) == other.devices.battery_kwh(later)
    for minute in range(-4, 8):
        start = at(12) + timedelta(minutes=minute)
        span = (start, start + timedelta(minutes=1))
        assert again.devices.mean_w(*span) == other.devices.mean_w(*span) is not None
