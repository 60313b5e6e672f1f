"""OpenADR events to instructions and home values to reports, through the official schema."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.oadr20b import wire
from schemas.oadr20b.enums import SignalType, SiScale
from schemas.oadr20b.errors import InvalidData, SignalNotSupported
from schemas.oadr20b.model import EventSignal, Interval, RegisterReport, Report, Target, UpdateReport
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from tests.unit.home.rig import (
    MARKET,
    MIDNIGHT,
    SWITCH,
    Rig,
    at,
    bound_event,
    event,
    make_rig,
    no_devices,
    noon_sun,
    over_the_wire,
    phase_event,
    price_event,
    profile,
    result_event,
    signal,
)
from ven_client.instructions import ExportBound, Instructions, MarketResult, PhasePlan, PricePath, Step
from ven_client.reports import status
from ven_client.signals import understand
from ven_client.slots import HOUR, SLOT

PRICE = SignalType.PRICE


def float32(value: float) -> float:
    """What is left of a number in 24 bits of mantissa."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


# --- events ------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    prices=st.lists(st.integers(-60_000, 60_000), min_size=6, max_size=6),
    volumes=st.lists(st.integers(-1500, 1500), min_size=6, max_size=6),
)
def test_market_results_survive_the_wire_and_single_precision(prices: list[int], volumes: list[int]) -> None:
    sent = result_event(at(5), [float32(p / 1e5) for p in prices], [float32(v) for v in volumes])
    (got,) = over_the_wire([sent])
    assert understand(got.event) == MarketResult(
        hour=at(5), price_millicent=tuple(prices), volume_wh=tuple(volumes)
    )


def test_price_bound_and_phase() -> None:
    price, bound, phase = over_the_wire(
        [
            price_event(at(5), -0.1234),
            bound_event(at(5), SLOT, 1500.0),
            phase_event(at(6), [1, 1, 2, 3, 3, 1]),
        ]
    )
    assert understand(price.event) == PricePath(steps=(Step(start=at(5), end=at(5) + SLOT, value=-12340),))
    assert understand(bound.event) == ExportBound(steps=(Step(start=at(5), end=at(5) + SLOT, value=1500),))
    plan = understand(phase.event)
    assert isinstance(plan, PhasePlan)
    assert [step.value for step in plan.steps] == [1, 1, 2, 3, 3, 1]
    assert plan.steps[3].start == at(6.5)


def test_randomised_start_moves_every_interval() -> None:
    path = understand(price_event(at(5), 0.1).event, start_offset_s=30)
    assert path == PricePath(
        steps=(
            Step(start=at(5) + timedelta(seconds=30), end=at(5) + SLOT + timedelta(seconds=30), value=10000),
        )
    )


def test_scales_of_units_count() -> None:
    kilowatts = signal("LOAD_DISPATCH", SignalType.SETPOINT, replace(WATT, scale=SiScale.KILO), (1.5,))
    bound = understand(event("x", at(5), SLOT, kilowatts).event)
    assert isinstance(bound, ExportBound)
    assert bound.steps[0].value == 1500


def test_open_ended_events_hold_for_ever() -> None:
    price = signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, EUR_PER_KWH, (0.1,), Duration())
    path = understand(event("x", at(5), timedelta(0), price).event)
    assert isinstance(path, PricePath)
    assert path.steps[0].holds(at(10_000))


def not_supported() -> list[EventSignal]:
    price = signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, EUR_PER_KWH, (0.1,))
    return [
        signal("BID_LOAD", SignalType.SETPOINT, WATT, (1,)),
        signal("LOAD_DISPATCH", SignalType.LEVEL, WATT, (2,)),
        signal("LOAD_CONTROL", SignalType.LOAD_CONTROL_CAPACITY, None, (0.5,)),
        signal("DEMAND_CHARGE", SignalType.PRICE_MULTIPLIER, None, (2,)),
        signal("SIMPLE", SignalType.LEVEL, WATT, (1,)),
        signal("x-foo", SignalType.SETPOINT, WATT, (2,)),
        signal("x-PHASE_ALLOCATION", SignalType.SETPOINT, WATT, (2,)),
        signal("LOAD_DISPATCH", SignalType.SETPOINT, WATT_HOUR, (2,)),
        signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, replace(EUR_PER_KWH, units="USD"), (2,)),
        signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, None, (2,)),
        replace(price, target=Target(end_device_assets=("Thermostat",))),
    ]


@pytest.mark.parametrize("one", not_supported(), ids=lambda s: f"{s.signal_name}-{s.signal_type}")
def test_what_a_home_cannot_serve_is_460_and_optout(one: EventSignal) -> None:
    (verdict,) = make_rig(pv=profile(noon_sun)).receive(event("x", at(5), SLOT, one))
    assert (verdict.opt_type, verdict.code) == ("optOut", SignalNotSupported.code)


def test_one_unsupported_signal_spoils_the_event() -> None:
    both = event(
        "x",
        at(5),
        SLOT,
        signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, EUR_PER_KWH, (0.1,)),
        signal("BID_LOAD", SignalType.SETPOINT, WATT, (1,)),
    )
    with pytest.raises(SignalNotSupported):
        understand(both.event)
    price = signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, EUR_PER_KWH, (0.1,))
    with pytest.raises(SignalNotSupported):
        understand(event("x", at(5), SLOT, price, price).event)


@pytest.mark.parametrize(
    "bad",
    [
        phase_event(at(5), [1, 1, 1, 1, 1, 4]),
        bound_event(at(5), SLOT, -1.0),
        price_event(at(5), float("nan")),
        price_event(at(5), float("inf")),
        price_event(at(5), 1e300),
        result_event(at(5), [0.1] * 5, [1] * 6),
        result_event(at(5) + SLOT, [0.1] * 6, [1] * 6),
        event("x", at(5), SLOT, signal("LOAD_DISPATCH", SignalType.SETPOINT, WATT, (1, 1))),
        event("x", at(5), SLOT, signal("LOAD_DISPATCH", SignalType.SETPOINT, WATT, (1, 1), Duration())),
    ],
)
def test_values_and_intervals_out_of_range(bad: object) -> None:
    with pytest.raises(InvalidData):
        understand(bad.event)  # type: ignore[attr-defined]  # an Event


# --- instructions ------------------------------------------------------------------------------------------


def step(start: float, end: float, value: int) -> Step:
    return Step(start=at(start), end=at(end), value=value)


def test_prices_add_and_the_tightest_bound_counts() -> None:
    told = Instructions.of(
        [
            PricePath(steps=(step(1, 2, 500), step(2, 3, -100))),
            PricePath(steps=(step(1.5, 2.5, 20),)),
            ExportBound(steps=(step(1, 3, 2000),)),
            ExportBound(steps=(step(2, 4, 1000),)),
        ]
    )
    assert [told.price_millicent(at(h)) for h in (0.5, 1, 1.5, 2, 2.5, 3)] == [0, 500, 520, -80, -100, 0]
    assert [told.bound_w(at(h)) for h in (0.5, 1, 2, 3, 4)] == [None, 2000, 1000, 1000, None]
    assert told.next_change(at(1)) == at(1.5)
    assert told.next_change(at(4)) is None


def test_the_latest_phase_command_wins() -> None:
    told = Instructions.of([PhasePlan(steps=(step(1, 3, 1),)), PhasePlan(steps=(step(2, 3, 2),))])
    assert [told.phase(at(h)) for h in (0, 1, 2, 3)] == [None, 1, 2, None]


# --- reports -----------------------------------------------------------------------------------------------


def metadata(rig: Rig) -> dict[str, Report]:
    message = RegisterReport(request_id="r", reports=rig.app.metadata(MIDNIGHT), ven_id="ven")
    got = wire.read(wire.write(message))
    assert got == message
    assert isinstance(got, RegisterReport)
    return {report.report_specifier_id: report for report in got.reports}


def test_metadata_is_valid_and_complete() -> None:
    reports = metadata(make_rig())
    points = {
        key: (report.report_name, tuple((d.r_id, d.report_type, d.reading_type) for d in report.descriptions))
        for key, report in reports.items()
    }
    assert points == {
        "offer": (
            "x-METADATA_LOCAL_MARKET_OFFER",
            (("volume", "setPoint", "Projected"), ("limit-price", "price", "x-notApplicable")),
        ),
        "commitment": (
            "x-METADATA_COMMITMENT",
            (
                ("grid-energy", "setPoint", "Projected"),
                ("flexibility-up", "deltaSetPoint", "Projected"),
                ("flexibility-down", "deltaSetPoint", "Projected"),
            ),
        ),
        "meter-energy": ("METADATA_TELEMETRY_USAGE", (("energy", "usage", "Direct Read"),)),
        "meter-power": ("METADATA_TELEMETRY_USAGE", (("power", "usage", "Direct Read"),)),
        "storage": (
            "x-METADATA_STORAGE_STATUS",
            (("stored-energy", "storedEnergy", "Direct Read"), ("battery-power", "setPoint", "Direct Read")),
        ),
        "status": ("METADATA_TELEMETRY_STATUS", (("status", "x-resourceStatus", "x-notApplicable"),)),
        "switch": ("METADATA_TELEMETRY_STATUS", (("phase", "x-resourceStatus", "x-notApplicable"),)),
    }
    units = {d.r_id: d.item_base for report in reports.values() for d in report.descriptions}
    assert units == {
        "volume": WATT_HOUR,
        "limit-price": EUR_PER_KWH,
        "grid-energy": WATT_HOUR,
        "flexibility-up": WATT,
        "flexibility-down": WATT,
        "energy": WATT_HOUR,
        "power": WATT,
        "stored-energy": WATT_HOUR,
        "battery-power": WATT,
        "status": None,
        "phase": None,
    }


def test_metadata_keeps_the_rules() -> None:
    for report in metadata(make_rig()).values():
        assert (report.dtstart, report.intervals, report.report_id) == (None, None, None)  # r305
        assert report.report_request_id == "0"  # r311
        assert report.duration is not None
        for description in report.descriptions:
            rate = description.sampling_rate
            assert rate is not None
            assert rate.max_period.timedelta() <= report.duration.timedelta()  # r312
            assert rate.on_change == (report.report_specifier_id == "switch")


def test_metadata_follows_what_the_home_owns() -> None:
    plain = metadata(make_rig(parameters=no_devices(), switch=False))
    assert set(plain) == {"offer", "commitment", "meter-energy", "meter-power", "status"}
    source = metadata(make_rig())["switch"].descriptions[0].report_data_source
    assert source == Target(resource_ids=(SWITCH,))
    assert metadata(make_rig())["offer"].descriptions[0].market_context == MARKET


def test_every_report_is_valid() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12) - timedelta(minutes=80))
    reports = {"offer": rig.report("offer", HOUR), "switch": rig.report("switch", timedelta(minutes=1))}
    rig.run(at(12) - timedelta(minutes=55))
    reports["commitment"] = rig.report("commitment", HOUR)
    rig.run(at(12))
    for specifier in ("meter-energy", "meter-power", "storage", "status"):
        reports[specifier] = rig.report(specifier, SLOT)
    names = {key: report.report_name or "" for key, report in metadata(rig).items()}
    assert set(reports) == set(names)
    for specifier, intervals in reports.items():
        assert intervals, specifier
        assert round_trip(specifier, names[specifier], intervals) == intervals


def test_a_status_says_whether_it_changed() -> None:
    old = status("phase", at(1), None, set_point=2, changed=False)
    assert round_trip("switch", "METADATA_TELEMETRY_STATUS", (old,)) == (old,)
    (payload,) = old.payloads
    assert getattr(payload, "data_quality", None) == "No New Value - Previous Value Used"


def round_trip(
    specifier: str, metadata_name: str, intervals: tuple[Interval, ...]
) -> tuple[Interval, ...] | None:
    report = Report(
        dtstart=intervals[0].dtstart,
        intervals=intervals,
        report_request_id="rr",
        report_specifier_id=specifier,
        report_name=metadata_name.replace("METADATA_", ""),
        created_date_time=MIDNIGHT,
    )
    got = wire.read(wire.write(UpdateReport(request_id="r", reports=(report,), ven_id="ven")))
    assert isinstance(got, UpdateReport)
    return got.reports[0].intervals
