"""The home behind the real event and report books of the session: two hours of a day, in the right order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from schemas.oadr20b import wire
from schemas.oadr20b.model import DistributeEvent, Period, ReportRequest, UpdateReport
from schemas.oadr20b.xmltypes import Duration
from tests.unit.home.rig import (
    MARKET,
    SWITCH,
    at,
    bound_event,
    make_rig,
    noon_sun,
    phase_event,
    price_event,
    profile,
    r_ids_of,
    request,
)
from ven_client.event_book import EventBook
from ven_client.report_book import ReportBook
from ven_client.settings import VenConfig
from ven_client.slots import HOUR, SLOT
from ven_client.spool import Spool

MINUTE = timedelta(minutes=1)


def test_two_hours_of_reports_at_the_rhythms_of_the_design() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(10))
    spool = Spool(1000)
    book = ReportBook(rig.app, spool)
    book.announce(rig.now)
    ten, hour, minute = Duration(minutes=10), Duration(hours=1), Duration(minutes=1)
    rhythms = {
        "offer": (at(10) - 20 * MINUTE, ten, hour),
        "commitment": (at(10) - 55 * MINUTE, ten, hour),
        "meter-energy": (at(10), ten, ten),
        "meter-power": (at(10), minute, ten),
        "storage": (at(10), ten, ten),
        "status": (at(10), ten, ten),
        "switch": (at(10), Duration(), minute),
    }
    requests = []
    for specifier, (start, granularity, back) in rhythms.items():
        plain = request(specifier, r_ids_of(rig, specifier))
        details = replace(
            plain.specifier,
            granularity=granularity,
            report_back_duration=back,
            report_interval=Period(dtstart=start, duration=Duration()),
        )
        requests.append(ReportRequest(report_request_id=specifier, specifier=details))
    book.request(requests, rig.now)
    reports: Counter[str] = Counter()
    intervals: Counter[str] = Counter()
    while (due := book.next_due) is not None and due <= at(12):
        rig.run(due)
        book.run(due)
        for report in spool.reports:
            message = UpdateReport(request_id="r", reports=(report,), ven_id="ven")
            assert wire.read(wire.write(message)) == message
            reports[report.report_specifier_id] += 1
            intervals[report.report_specifier_id] += len(report.intervals or ())
        spool.clear()
    slots = {"meter-energy": 12, "storage": 12, "status": 12}
    assert reports == {"offer": 2, "commitment": 2, "meter-power": 12, "switch": 120} | slots
    assert intervals == {"offer": 12, "commitment": 12, "meter-power": 120, "switch": 120} | slots


def test_events_reach_the_home_through_the_book_and_end_by_themselves() -> None:
    rig = make_rig(pv=profile(noon_sun))
    rig.run(at(12) - 5 * MINUTE)
    book = EventBook(VenConfig(ven_name="H01", resources=(SWITCH,)), rig.app, lambda low, high: low)
    events = (price_event(at(12), -0.3), bound_event(at(12), SLOT, 1000), phase_event(at(12), [2] * 6))
    answers = book.receive(DistributeEvent(request_id="r", vtn_id="vtn", events=events), "ven", rig.now)
    assert [(a.code, a.opt_type) for a in answers] == [("200", "optIn")] * 2  # the price wants no answer
    rig.run(at(12))
    assert rig.devices.phase(rig.now) == 2
    assert rig.devices.net_kw(rig.now) >= -1.0
    assert book.next_end == at(12) + SLOT
    rig.now = at(12) + SLOT
    book.expire(rig.now)  # the session may tell the end before it wakes the home
    assert rig.devices.net_kw(rig.now) < -1.5
    assert rig.home.energy_wh(at(12)) is not None
    rig.run(at(12) + HOUR)
    book.expire(rig.now)
    assert rig.devices.phase(rig.now) == 2


def test_the_market_context_is_the_sessions_business() -> None:
    rig = make_rig()
    book = EventBook(VenConfig(ven_name="H01", market_contexts=("http://other",)), rig.app, lambda a, b: a)
    message = DistributeEvent(request_id="r", vtn_id="vtn", events=(phase_event(at(12), [2] * 6),))
    assert [a.code for a in book.receive(message, "ven", rig.now)] == ["462"]
    assert MARKET != "http://other"
