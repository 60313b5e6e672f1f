"""Forecasts from what real devices report: persistence, and what comes before a day of history."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ven_client.devices import StaleReading
from ven_client.live_forecast import LiveForecast, LiveNowcast
from ven_client.slots import DAY, HOUR, SLOT

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


class Meter:
    """Devices whose load is the hour of the day in kW and whose PV is 1 kW; may be silent for a time."""

    def __init__(self) -> None:
        self.now_kw: float | None = 2.4
        self.gaps: set[datetime] = set()
        self.since = NOON - 10 * DAY

    def load_kw(self, now: datetime) -> float:
        if self.now_kw is None:
            raise StaleReading("silent")
        return self.now_kw

    def pv_available_kw(self, now: datetime) -> float:
        return -0.001  # an inverter at night

    def mean_load_kw(self, start: datetime, end: datetime) -> float | None:
        assert end - start == SLOT
        return None if start < self.since or start in self.gaps else float(start.hour)

    def mean_pv_kw(self, start: datetime, end: datetime) -> float | None:
        return None if start < self.since or start in self.gaps else 1.0


def kwh(kw: float) -> object:
    """The energy of a slot."""
    return pytest.approx(kw / 6)


def live(forecast: LiveForecast, start: datetime, end: datetime) -> None:
    """Ask once an hour, as a home does at least."""
    while start <= end:
        forecast.load_kwh(start, start)
        start += HOUR


def test_persistence_after_a_day() -> None:
    meter = Meter()
    forecast = LiveForecast(meter)
    live(forecast, NOON - 2 * DAY, NOON)
    assert forecast.load_kwh(NOON + 3 * HOUR, NOON) == kwh(15)  # yesterday's
    assert forecast.pv_kwh(NOON + 3 * HOUR, NOON) == kwh(1)
    assert forecast.load_kwh(NOON + DAY + 3 * HOUR, NOON) == kwh(15)  # of the newest day on which it is over
    assert forecast.load_kwh(NOON + DAY - 3 * HOUR, NOON) == kwh(9)  # today's


def test_a_gap_is_filled_by_the_day_before() -> None:
    meter = Meter()
    wanted = NOON + 3 * HOUR
    meter.gaps.add(wanted - DAY)
    forecast = LiveForecast(meter)
    live(forecast, NOON - 3 * DAY, NOON)
    slots = {one.slot for one in forecast.measured(NOON)}
    assert wanted - DAY not in slots
    assert wanted - 2 * DAY in slots
    assert forecast.load_kwh(wanted, NOON) == kwh(15)


def test_before_a_day_of_history() -> None:
    meter = Meter()
    meter.since = NOON + 10 * DAY
    forecast = LiveForecast(meter)
    assert forecast.load_kwh(NOON + HOUR, NOON) == kwh(2.4)  # nothing measured: the present reading
    assert forecast.pv_kwh(NOON + HOUR, NOON) == 0.0
    meter.now_kw = None
    with pytest.raises(StaleReading):
        forecast.load_kwh(NOON + HOUR, NOON)
    meter.since = NOON
    later = NOON + HOUR
    forecast.load_kwh(later, later + 3 * SLOT)
    assert [one.load_kwh for one in forecast.measured(later)] == [kwh(12)] * 6 + [kwh(13)] * 3
    assert forecast.load_kwh(later + 4 * HOUR, later + 3 * SLOT) == kwh((6 * 12 + 3 * 13) / 9)
    newest = later + 2 * SLOT
    assert forecast.pv_kwh(newest + 2 * HOUR, newest + SLOT) == kwh(1)
    assert forecast.pv_kwh(newest + 2 * HOUR + SLOT, newest + SLOT) == 0.0


def test_only_what_devices_hold_is_asked_for_and_four_days_are_kept() -> None:
    forecast = LiveForecast(Meter())
    assert [one.slot for one in forecast.measured(NOON)] == [NOON - k * SLOT for k in range(12, 0, -1)]
    late = NOON + 5 * HOUR
    found = [one.slot for one in forecast.measured(late)]
    assert found[12:] == [late - k * SLOT for k in range(12, 0, -1)]  # the hours between are lost
    live(forecast, late, NOON + 6 * DAY)
    kept = forecast.measured(NOON + 6 * DAY)
    assert kept[0].slot == NOON + 2 * DAY
    assert len(kept) == 4 * 144


def test_what_was_measured_is_taken_back() -> None:
    first, again = LiveForecast(Meter()), LiveForecast(Meter())
    live(first, NOON - DAY - HOUR, NOON)
    again.recall(tuple(reversed(first.measured(NOON))))
    assert again.load_kwh(NOON + HOUR, NOON) == first.load_kwh(NOON + HOUR, NOON)
    assert again.measured(NOON) == first.measured(NOON)


def test_the_slot_that_starts_now_stays_as_it_is() -> None:
    meter = Meter()
    nowcast = LiveNowcast(meter)
    assert nowcast.load_kwh(NOON, NOON) == kwh(2.4)
    assert nowcast.pv_kwh(NOON, NOON) == 0.0
    meter.now_kw = None
    with pytest.raises(StaleReading):
        nowcast.load_kwh(NOON, NOON)
