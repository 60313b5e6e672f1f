"""The messages of signals.md, field by field, and on the wire."""

from __future__ import annotations

from datetime import timedelta
from math import isclose

import numpy as np
import pytest

from dso_engine.gateway_messages import (
    Contexts,
    curtail_id,
    curtailment,
    phase_event,
    price_event,
    price_signal,
    report_requests,
    result_event,
    to_eur,
    to_millicent,
)
from dso_engine.model import HomeId, Pcc, Phase
from dso_engine.ports import HourResult
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, ResponseRequired
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR
from schemas.oadr20b.xmltypes import Duration
from tests.unit.engine.engine_fakes import HOUR
from tests.unit.vtn.rig import metadata
from vtn_server import event as rules
from vtn_server.records import EventDraft
from vtn_server.state import VenId

VEN = VenId("ven-H01")
CONTEXTS = Contexts()
TEN = Duration(minutes=10)
PCC = Pcc(feeder=2, phase=Phase.C)
RESULT = HourResult(
    home=HomeId("H01"),
    price_millicent=(12_345, 15_000, 15_000, 15_000, 15_000, 10_001),
    volume_wh=(120, 0, 0, 0, 0, -33),
)


def on_the_wire(draft: EventDraft) -> m.Event:
    """The event as a VEN reads it: written, valid, and read again."""
    record = rules.publish(draft, HOUR)
    sent = m.DistributeEvent(
        request_id="r",
        vtn_id="vtn",
        events=(rules.wire_event(record, EventStatus.FAR, HOUR),),
    )
    body = wire.write(sent)
    wire.parse(body)
    back = wire.read(body)
    assert isinstance(back, m.DistributeEvent)
    return back.events[0]


def values(signal: m.EventSignal) -> list[float]:
    return [interval.signal_value for interval in signal.intervals]


def test_contexts() -> None:
    assert CONTEXTS.all == (
        "http://feederloop.example/local-market",
        "http://feederloop.example/day-ahead-market",
        "http://feederloop.example/phase-switching",
        "http://feederloop.example/real-time-price",
    )
    assert Contexts(base="urn:x").price == "urn:x/real-time-price"


def test_result() -> None:
    event = on_the_wire(result_event(HOUR, VEN, RESULT, CONTEXTS))
    descriptor, period = event.event.descriptor, event.event.active_period
    assert descriptor.event_id == "mkt-20180516T1100Z-ven-H01"
    assert descriptor.market_context == CONTEXTS.market
    assert descriptor.priority == 0
    assert event.response_required == ResponseRequired.ALWAYS
    assert (period.dtstart, period.duration.timedelta()) == (HOUR, timedelta(hours=1))
    assert event.event.target == m.Target()
    price, energy = event.event.signals.signals
    assert (price.signal_name, price.signal_type, price.item_base) == (
        "ELECTRICITY_PRICE",
        "price",
        EUR_PER_KWH,
    )
    assert (energy.signal_name, energy.signal_type) == ("x-COMMITTED_ENERGY", "setpoint")
    assert energy.item_base == WATT_HOUR
    assert [each.duration for each in (*price.intervals, *energy.intervals)] == [TEN] * 12
    assert [to_millicent(v) for v in values(price)] == list(RESULT.price_millicent)
    assert values(energy) == [120.0, 0.0, 0.0, 0.0, 0.0, -33.0]


def test_phase_command_targets_the_switch_only() -> None:
    phases = (Phase.A, Phase.B, Phase.C, Phase.C, Phase.B, Phase.A)
    event = on_the_wire(phase_event(HOUR, VEN, "switch-H01", phases, CONTEXTS))
    assert event.event.descriptor.event_id == "phase-20180516T1100Z-ven-H01"
    assert event.event.descriptor.market_context == CONTEXTS.phases
    assert event.response_required == ResponseRequired.ALWAYS
    assert event.event.target == m.Target(resource_ids=("switch-H01",))
    (signal,) = event.event.signals.signals
    assert (signal.signal_name, signal.signal_type, signal.item_base) == (
        "x-PHASE_ALLOCATION",
        "setpoint",
        None,
    )
    assert values(signal) == [1.0, 2.0, 3.0, 3.0, 2.0, 1.0]
    assert [each.duration for each in signal.intervals] == [TEN] * 6


def test_real_time_price_starts_at_zero_and_targets_nobody() -> None:
    draft = price_event(HOUR, PCC, (VEN, VenId("ven-H02")), CONTEXTS)
    assert draft.audience == (VEN, "ven-H02"), "routing data, not part of the message"
    event = on_the_wire(draft)
    assert event.event.descriptor.event_id == "rtc-F2-C-20180516T1100Z"
    assert event.event.descriptor.market_context == CONTEXTS.price
    assert event.event.descriptor.priority == 1
    assert event.response_required == ResponseRequired.NEVER
    assert event.event.target == m.Target()
    assert event.event.active_period.duration == TEN
    (signal,) = event.event.signals.signals
    assert (signal.signal_name, signal.signal_type, signal.item_base) == (
        "ELECTRICITY_PRICE",
        "priceRelative",
        EUR_PER_KWH,
    )
    assert values(signal) == [0.0]
    assert signal.intervals[0].duration == TEN


def test_a_price_modified_keeps_its_shape() -> None:
    record = rules.publish(price_event(HOUR, PCC, (VEN,), CONTEXTS), HOUR - timedelta(seconds=90))
    changed = rules.modify(record, price_signal(-12_345), HOUR + timedelta(seconds=20))
    assert changed.modification_number == 1
    assert values(changed.signals[0]) == [pytest.approx(-0.12345)]


def test_curtailment_lasts_for_the_rest_of_the_slot() -> None:
    now = HOUR + timedelta(minutes=3, seconds=20)
    event = on_the_wire(curtailment(HOUR, now, PCC, (VEN,), 1_500, CONTEXTS))
    assert event.event.descriptor.event_id == curtail_id(HOUR, PCC) == "curtail-F2-C-20180516T1100Z"
    period = event.event.active_period
    assert period.dtstart == now
    assert period.dtstart + period.duration.timedelta() == HOUR + timedelta(minutes=10)
    (signal,) = event.event.signals.signals
    assert (signal.signal_name, signal.signal_type) == ("LOAD_DISPATCH", "setpoint")
    assert signal.item_base == WATT
    assert values(signal) == [1_500.0]


@pytest.mark.parametrize("millicent", [0, 1, -1, 99_999, -60_000, 12_345, 33_333])
def test_prices_survive_single_precision(millicent: int) -> None:
    """The wire carries 24 bits: what comes back is rounded to the same grid."""
    assert to_millicent(float(np.float32(to_eur(millicent)))) == millicent
    assert isclose(to_eur(millicent), millicent * 1e-5, abs_tol=1e-12)


def test_report_rhythms() -> None:
    start = HOUR - timedelta(hours=2)
    specifiers = ("offer", "commitment", "meter-energy", "meter-power", "storage", "status", "switch", "what")
    reports = [metadata(s, ("volume", "limit-price") if s == "offer" else ("energy",)) for s in specifiers]
    drafts = {draft.report_specifier_id: draft for draft in report_requests(reports, start)}
    assert set(drafts) == set(specifiers) - {"what"}
    table = {
        name: (
            d.start + d.report_back_duration.timedelta(),
            d.granularity,
            d.report_back_duration.timedelta(),
            d.gate,
        )
        for name, d in drafts.items()
    }
    hour, ten, minute = timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=1)
    assert table == {
        # first due; the offer for 12:00 at 10:40, its commitment at 11:05
        "offer": (start + timedelta(minutes=40), TEN, hour, timedelta(minutes=75)),
        "commitment": (start + timedelta(minutes=5), TEN, hour, timedelta(minutes=50)),
        "meter-energy": (start + ten, TEN, ten, None),
        "meter-power": (start + ten, Duration(minutes=1), ten, None),
        "storage": (start + ten, TEN, ten, None),
        "status": (start + ten, TEN, ten, None),
        "switch": (start + minute, Duration(), minute, None),
    }
    assert all(d.duration.is_zero for d in drafts.values()), "for ever"
    assert drafts["offer"].r_ids == ("volume", "limit-price")


@pytest.mark.parametrize("minutes", [0, 10, 50])
def test_market_reports_keep_their_minutes_wherever_a_run_starts(minutes: int) -> None:
    start = HOUR + timedelta(minutes=minutes)
    offer, commitment = report_requests([metadata("offer"), metadata("commitment")], start)
    assert offer.start.minute == 40
    assert commitment.start.minute == 5
    assert offer.start <= start
    assert commitment.start <= start
