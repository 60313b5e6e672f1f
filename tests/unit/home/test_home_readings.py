"""Values with an age, and a home whose devices fall silent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.home.rig import at, make_rig, noon_sun, price_event, profile
from ven_client.devices import Devices, SimulatedHome, StaleReading
from ven_client.mqtt_devices import Broker, MqttDevices, MqttTopics
from ven_client.readings import Readings
from ven_client.slots import SLOT

MINUTE = timedelta(minutes=1)


def test_values_age_and_are_flagged() -> None:
    readings = Readings(("p", "q"), MINUTE)
    readings.put("p", 5.0, at(1))
    assert readings.value("p", at(1) + MINUTE) == 5.0
    with pytest.raises(StaleReading, match="61 s old"):
        readings.value("p", at(1) + timedelta(seconds=61))
    with pytest.raises(StaleReading, match="never"):
        readings.value("q", at(1))
    late = readings.quantities(at(1) + timedelta(seconds=61))
    assert [(one.name, one.value, one.age_s, one.stale) for one in late] == [
        ("p", 5.0, 61.0, True),
        ("q", None, None, True),
    ]


def test_means_weigh_by_time_and_know_their_gaps() -> None:
    readings = Readings(("p",), MINUTE)
    readings.keep_past("p")
    for second, value in ((0, 100.0), (30, 200.0), (45, 400.0), (200, 0.0)):
        readings.put("p", value, at(1) + timedelta(seconds=second))
    start = at(1)
    assert readings.mean("p", start, start + MINUTE) == pytest.approx((30 * 100 + 15 * 200 + 15 * 400) / 60)
    assert readings.mean("p", start + timedelta(seconds=40), start + MINUTE) == pytest.approx(350.0)
    assert readings.mean("p", start - MINUTE, start) is None  # before the first
    assert (
        readings.mean("p", start + MINUTE, start + 2 * MINUTE) is None
    )  # 400 W from 0:45 got too old at 1:45
    assert readings.mean("p", start, start) is None
    assert readings.mean("q", start, start + MINUTE) is None
    readings.put("p", 1.0, at(4))
    assert readings.mean("p", start, start + MINUTE) is None  # no longer held


def test_a_home_whose_battery_falls_silent_does_nothing_and_goes_on_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(11.5))
    rig.receive(price_event(at(11.5), -0.3))
    assert rig.devices.battery_kw(rig.now) != 0.0

    def silent(self: SimulatedHome, now: object) -> float:
        raise StaleReading("silent")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedHome, "battery_kwh", silent)
        rig.run(at(11.5) + SLOT)
        assert rig.devices.battery_kw(rig.now) == 0.0
        assert rig.report("meter-energy", SLOT) == ()  # an edge is missing: a gap, no guess
        rig.run(at(12) - timedelta(minutes=20))
        assert rig.report("offer", timedelta(hours=1)) == ()
    rig.run(at(12))
    rig.receive(price_event(at(12), -0.3))
    assert rig.devices.battery_kw(rig.now) != 0.0


def test_mqtt_devices_implement_the_protocol_and_need_their_topics() -> None:
    broker = Broker(host="localhost")
    topics = MqttTopics.under("h", pv=False, battery=False, switch=False)
    assert topics.read == ("h/meter/energy_wh", "h/meter/power_w")
    devices: Devices = MqttDevices(broker, topics, capacity_kwh=0.0, now=lambda: at(1))
    assert (devices.battery_kwh(at(1)), devices.flexible_kwh(at(1)), devices.phase(at(1))) == (0.0, 0.0, 1)
    devices.set_battery_kw(1.0, at(1))
    with pytest.raises(ValueError, match="battery needs"):
        MqttDevices(broker, topics, capacity_kwh=6.0, now=lambda: at(1))
