"""Rules of reports (3.4) for a VEN as the source, played against the session."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import DataQuality
from schemas.oadr20b.rules import Direction, Exchange, check
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    OK,
    SLOT,
    T0,
    FakeHome,
    Peer,
    after,
    create_report,
    kinds,
    only,
    operational,
    request,
    session_of,
)
from ven_client.settings import VenConfig
from ven_client.spool import Spool

ONCE = Duration()
TEN = timedelta(minutes=10)


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, poll_jitter=0.0)


def ask(peer: Peer, *requests: m.ReportRequest, minute: float = 1) -> tuple[str, tuple[str, ...]]:
    """Hand an oadrCreateReport over; return code and pending list of the answer."""
    sent = peer.give(create_report(*requests), now=after(minutes=minute))
    (answer,) = only(sent, m.CreatedReport)
    return answer.response.code, answer.pending


def reports(peer: Peer) -> list[m.Report]:
    return [report for update in only(peer.sent, m.UpdateReport) for report in update.reports]


def run_until(peer: Peer, minute: float) -> None:
    while (due := peer.session.next_due(after())) is not None and due <= after(minutes=minute):
        peer.run(due)


def test_rule_300_a_report_has_what_was_asked_for(peer: Peer) -> None:
    ask(peer, request(back=ONCE))
    (update,) = only(peer.sent, m.UpdateReport)
    context = Exchange(requests=(request(back=ONCE),))
    assert not check(update, direction=Direction.VEN_TO_VTN, context=context)


def test_rule_301_metadata_comes_first_and_an_empty_home_says_so(home: FakeHome) -> None:
    assert kinds(operational(home).sent)[:2] == ["CreatePartyRegistration", "RegisterReport"]
    empty = FakeHome()
    empty.metadata = lambda now: ()  # type: ignore[method-assign]  # a home without meters
    (register,) = only(operational(empty).sent, m.RegisterReport)
    assert register.reports == ()


def test_rule_303_answers_echo_the_request_id(peer: Peer) -> None:
    cancel = m.CancelReport(request_id="c9", report_request_ids=("none",), report_to_follow=False)
    sent = peer.give(
        create_report(request()), m.RegisterReport(request_id="g7"), cancel, now=after(minutes=1)
    )
    assert only(sent, m.CreatedReport)[0].response.request_id == "c1"
    assert only(sent, m.RegisteredReport)[0].response.request_id == "g7"
    assert only(sent, m.CanceledReport)[0].response.request_id == "c9"


@pytest.mark.parametrize("wrong", [request(specifier="none"), request(r_id="none")], ids=["specifier", "rID"])
def test_rule_304_unknown_ids_are_452(peer: Peer, wrong: m.ReportRequest) -> None:
    assert ask(peer, wrong) == ("452", ())


def test_rule_304_a_foreign_ven_id_is_452(peer: Peer) -> None:
    sent = peer.give(create_report(request(), ven_id="other"), now=after(minutes=1))
    assert only(sent, m.CreatedReport)[0].response.code == "452"


def test_rule_306_new_metadata_ends_everything_but_periodic_metadata(peer: Peer) -> None:
    ask(
        peer,
        request("data"),
        request("meta", "METADATA", r_id="0"),
        request("once", "METADATA", back=ONCE, r_id="0"),
    )
    assert only(peer.sent, m.RegisterReport)[-1].report_request_id == "once"
    assert peer.session.pending_reports == ("meta",)


def test_rule_309_nothing_but_registration_and_events_goes_before_the_metadata(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    early = create_report(request(back=ONCE))
    peer = Peer(session, items=[m.RegisterReport(request_id="v"), early])
    sent = kinds(peer.run(T0))
    assert sent.index("RegisterReport") < sent.index("RegisteredReport") < sent.index("UpdateReport")
    assert sent.index("UpdateReport") == len(sent) - 1


def test_rule_311_outer_id_only_where_metadata_was_asked_for(peer: Peer) -> None:
    (first,) = only(peer.sent, m.RegisterReport)
    assert first.report_request_id is None
    ask(peer, request("m1", "METADATA", back=ONCE, r_id="0"))
    second = only(peer.sent, m.RegisterReport)[-1]
    assert second.report_request_id == "m1"
    assert {report.report_request_id for report in second.reports} == {"0"}


def test_rule_317_a_periodic_report_covers_its_window(peer: Peer, home: FakeHome) -> None:
    ask(peer, request(start=T0, back=Duration(minutes=10)))
    run_until(peer, 30)
    assert [report.dtstart for report in reports(peer)] == [T0, T0 + TEN, T0 + 2 * TEN]


def test_rule_317_on_change_may_have_nothing_to_say(peer: Peer, home: FakeHome) -> None:
    home.silent = True
    ask(peer, request(granularity=Duration()))
    run_until(peer, 20)
    assert len(home.windows) == 2
    assert reports(peer) == []


def test_rule_318_no_value_is_said_with_a_placeholder(peer: Peer, home: FakeHome) -> None:
    home.silent = True
    ask(peer, request(back=ONCE))
    (report,) = reports(peer)
    (interval,) = report.intervals or ()
    (payload,) = interval.payloads
    assert isinstance(payload, m.ReportPayload)
    assert payload.data_quality == DataQuality.BAD_NON_SPECIFIC


def test_rule_324_once_is_sent_at_once_and_once(peer: Peer) -> None:
    ask(peer, request(back=ONCE))
    assert kinds(peer.sent)[-3:] == ["CreatedReport", "UpdateReport", "Poll"]
    run_until(peer, 60)
    assert len(reports(peer)) == 1


def test_rule_324_a_periodic_request_without_an_interval_runs_from_now(peer: Peer) -> None:
    assert ask(peer, request(start=None)) == ("200", ("r1",))  # the rule wants one; real VTNs leave it out
    run_until(peer, 21)
    assert [report.dtstart for report in reports(peer)] == [after(minutes=1), after(minutes=11)]


def test_rule_325_a_duration_ends_and_zero_does_not(peer: Peer) -> None:
    ask(peer, request("short", duration=Duration(minutes=20)), request("ever"))
    run_until(peer, 60)
    made = [report.report_request_id for report in reports(peer)]
    assert (made.count("short"), made.count("ever")) == (2, 6)
    assert peer.session.pending_reports == ("ever",)


def test_rule_325_history_from_a_start_on(peer: Peer, home: FakeHome) -> None:
    start = T0 - timedelta(hours=1)
    ask(peer, request("h", "past", back=ONCE, granularity=ONCE, start=start, duration=ONCE))
    assert (home.windows[-1][1].start, home.windows[-1][1].end) == (start, after(minutes=1))


def test_rule_328_a_cancellation_on_the_back_is_honoured(peer: Peer) -> None:
    ask(peer, request("r1"), request("r2", start=T0 + timedelta(hours=5)))
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1", "r2"), report_to_follow=False)
    peer.replies[m.UpdateReport] = m.UpdatedReport(response=OK, cancel=cancel)
    run_until(peer, 10)
    assert peer.session.pending_reports == ("r2",)  # r2 was not being answered


def test_rule_329_everything_that_is_due_is_listed(peer: Peer) -> None:
    assert ask(peer, request("r1")) == ("200", ("r1",))
    assert ask(peer, request("r2"), minute=2) == ("200", ("r1", "r2"))
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1",), report_to_follow=False)
    (answer,) = only(peer.give(cancel, now=after(minutes=3)), m.CanceledReport)
    assert answer.pending == ("r2",)


def test_rule_335_a_repeated_cancellation_stops_the_reports(peer: Peer) -> None:
    ask(peer, request("r1"))
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1",), report_to_follow=False)
    peer.give(cancel, now=after(minutes=2))
    run_until(peer, 30)
    assert reports(peer) == []


def test_rule_336_an_unknown_id_in_a_cancellation_is_an_error(peer: Peer) -> None:
    ask(peer, request("r1"))
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1", "none"), report_to_follow=False)
    (answer,) = only(peer.give(cancel, now=after(minutes=2)), m.CanceledReport)
    assert answer.response.code == "452"


def test_rule_337_interval_data_asked_once_has_its_duration(peer: Peer) -> None:
    ask(peer, request(back=ONCE))
    (report,) = reports(peer)
    assert [interval.duration for interval in report.intervals or ()] == [SLOT]


def test_rule_340_more_than_is_offered_is_454(peer: Peer) -> None:
    assert ask(peer, request(granularity=Duration(seconds=1))) == ("454", ())


def test_rule_341_the_first_interval_is_near_the_start_that_was_asked_for(peer: Peer) -> None:
    start = after(minutes=3)
    ask(peer, request(start=start))
    run_until(peer, 13)
    (report,) = reports(peer)
    assert report.dtstart is not None
    assert abs(report.dtstart - start) <= TEN


def test_rule_344_a_request_on_the_back_of_an_answer_is_taken(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    back = m.RegisteredReport(response=m.EiResponse(code="200", request_id="b"), requests=(request(),))
    peer = Peer(session, replies={m.RegisterReport: back})
    peer.run(T0)
    (answer,) = only(peer.sent, m.CreatedReport)
    assert (answer.response.code, answer.pending) == ("200", ("r1",))


def test_rule_345_report_to_follow_is_exactly_one_more(peer: Peer) -> None:
    ask(peer, request("r1"))
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1",), report_to_follow=True)
    peer.give(cancel, now=after(minutes=2))
    run_until(peer, 60)
    assert [report.report_request_id for report in reports(peer)] == ["r1"]


def test_rule_510_a_hundred_points_are_kept_per_report() -> None:
    with pytest.raises(ValueError, match="r510"):
        VenConfig(ven_name="h", spool_points=99)
    spool = Spool(100)
    interval = m.Interval(dtstart=T0, payloads=(m.ReportPayload.of("p", 1.0),))
    for _ in range(150):
        spool.add(
            m.Report(
                dtstart=T0,
                intervals=(interval,),
                report_request_id="r",
                report_specifier_id="s",
                report_name="TELEMETRY_USAGE",
                created_date_time=T0,
            )
        )
    assert len(spool) >= 100


def test_rule_330_report_ids_are_text(home: FakeHome) -> None:
    odd = FakeHome()
    (first, *_) = odd.metadata(T0)
    line = replace(first.descriptions[0], r_id="007")
    odd.metadata = lambda now: (replace(first, descriptions=(line,)),)  # type: ignore[method-assign]  # other meters
    peer = operational(odd, poll_jitter=0.0)
    assert ask(peer, request(r_id="007"))[0] == "200"
    assert ask(peer, request(r_id="7"), minute=2)[0] == "452"
