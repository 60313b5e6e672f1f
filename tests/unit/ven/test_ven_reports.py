"""Report requests, their schedule, and the spool (section 1.7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.errors import InvalidValue, TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    OK,
    SLOT,
    T0,
    FakeHome,
    Peer,
    after,
    create_report,
    only,
    operational,
    request,
)
from ven_client.application import ReportWindow
from ven_client.report_book import data_report
from ven_client.spool import Spool

POLLED = after(minutes=1)
MINUTE = Duration(minutes=1)


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, poll_jitter=0.0)


def _run_until(peer: Peer, until: datetime) -> None:
    now = POLLED
    while (due := peer.session.next_due(now)) is not None and due <= until:
        now = due
        peer.run(now)


def _updates(peer: Peer) -> list[m.UpdateReport]:
    return only(peer.sent, m.UpdateReport)


def _windows(home: FakeHome, request_id: str = "r1") -> list[tuple[datetime, datetime]]:
    return [(window.start, window.end) for key, window in home.windows if key == request_id]


def _refused(code: str) -> m.UpdatedReport:
    return m.UpdatedReport(response=m.EiResponse(code=code, request_id=""))


# --- requests -----------------------------------------------------------------------------------------------


def test_r303_r329_request_is_answered_with_everything_pending(peer: Peer) -> None:
    (first,) = peer.give(create_report(request("r1")), now=POLLED)
    (second,) = peer.give(create_report(request("r2")), now=after(minutes=2))
    assert isinstance(first, m.CreatedReport)
    assert isinstance(second, m.CreatedReport)
    assert (first.response.code, first.response.request_id, first.pending) == ("200", "c1", ("r1",))
    assert second.pending == ("r1", "r2")


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (request("r2", "nothing"), "452"),
        (request("r2", r_id="q"), "452"),
        (request("r2", granularity=Duration(seconds=1)), "454"),
        (request("r2", granularity=Duration(minutes=20)), "454"),
        (request("r2", back=Duration(months=1)), "454"),
        (request("r2", back=Duration(negative=True, minutes=10)), "454"),
        (request("r2", start=after(days=-3), duration=Duration(days=1)), "454"),
    ],
)
def test_r304_r340_bad_request_is_refused_as_a_whole(peer: Peer, bad: m.ReportRequest, code: str) -> None:
    (created,) = peer.give(create_report(request("r1"), bad), now=POLLED)
    assert isinstance(created, m.CreatedReport)
    assert created.response.code == code
    assert created.pending == ()
    assert peer.session.pending_reports == ()


def test_repeated_request_changes_nothing_and_changed_one_replaces(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request()), now=POLLED)
    peer.give(create_report(request()), now=after(minutes=9))
    _run_until(peer, after(minutes=10))
    assert _windows(home) == [(T0, after(minutes=10))]
    peer.give(create_report(request(back=MINUTE, granularity=MINUTE)), now=after(minutes=11, seconds=30))
    _run_until(peer, after(minutes=12))
    assert _windows(home)[1:] == [(after(minutes=11), after(minutes=12))]


def test_repeated_request_does_not_repeat_the_report_of_this_instant(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request()), create_report(request()), now=after(minutes=10))
    assert _windows(home) == [(T0, after(minutes=10))]


# --- schedule -----------------------------------------------------------------------------------------------


def test_a_periodic_request_without_interval_runs_from_now_on(peer: Peer) -> None:
    """r324 asks for a reportInterval; openleadr's VTN leaves it out."""
    (created,) = peer.give(create_report(request("r1", start=None)), now=POLLED)
    assert isinstance(created, m.CreatedReport)
    assert created.response.code == "200"
    assert created.pending == ("r1",)


def test_r324_once_is_sent_right_after_the_answer(peer: Peer, home: FakeHome) -> None:
    created, update = peer.give(create_report(request(back=Duration())), now=POLLED)
    assert isinstance(created, m.CreatedReport)
    assert isinstance(update, m.UpdateReport)
    assert created.pending == ("r1",)
    assert _windows(home) == [(after(minutes=-9), POLLED)]  # the latest granularity
    assert peer.session.pending_reports == ()


def test_r318_once_without_a_value_sends_a_placeholder(peer: Peer, home: FakeHome) -> None:
    home.silent = True
    _, update = peer.give(create_report(request(back=Duration())), now=POLLED)
    assert isinstance(update, m.UpdateReport)
    (interval,) = update.reports[0].intervals or ()
    (payload,) = interval.payloads
    assert isinstance(payload, m.ReportPayload)
    assert payload.data_quality == "Quality Bad - Non Specific"


def test_r325_history_uses_its_interval(peer: Peer, home: FakeHome) -> None:
    wanted = {"back": Duration(), "granularity": Duration()}
    day = request("h1", "past", start=after(days=-2), duration=Duration(days=1), **wanted)  # type: ignore[arg-type]
    everything = request("h2", "past", start=after(days=-2), **wanted)  # type: ignore[arg-type]
    peer.give(create_report(day, everything), now=POLLED)
    assert _windows(home, "h1") == [(after(days=-2), after(days=-1))]
    assert _windows(home, "h2") == [(after(days=-2), POLLED)]


def test_periodic_reports_end_with_their_interval(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request(duration=Duration(minutes=25))), now=POLLED)
    _run_until(peer, after(hours=2))
    assert _windows(home) == [
        (T0, after(minutes=10)),
        (after(minutes=10), after(minutes=20)),
        (after(minutes=20), after(minutes=25)),
    ]
    assert [window.due for _, window in home.windows] == [after(minutes=10 * k) for k in (1, 2, 3)]
    assert peer.session.pending_reports == ()


def test_zero_duration_reports_for_ever(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request()), now=POLLED)
    _run_until(peer, after(days=1))
    assert len(home.windows) == 144
    assert peer.session.pending_reports == ("r1",)


def test_windows_over_before_the_request_are_not_reported(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request(start=after(hours=-5, minutes=4))), now=POLLED)
    _run_until(peer, after(minutes=10))
    assert _windows(home) == [(after(minutes=-6), after(minutes=4))]


def test_window_that_ends_when_the_request_comes_is_reported(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request(start=after(minutes=-9))), now=POLLED)
    assert _windows(home) == [(after(minutes=-9), POLLED)]


def test_future_start_is_waited_for(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request(start=after(hours=3))), now=POLLED)
    _run_until(peer, after(hours=3, minutes=9))
    assert home.windows == []
    _run_until(peer, after(hours=3, minutes=10))
    assert _windows(home) == [(after(hours=3), after(hours=3, minutes=10))]


def test_reports_due_together_leave_in_one_message(peer: Peer) -> None:
    peer.give(create_report(request("r1"), request("r2", "offer"), request("r3", start=T0)), now=POLLED)
    _run_until(peer, after(minutes=10))
    (update,) = _updates(peer)
    assert [report.report_request_id for report in update.reports] == ["r1", "r2", "r3"]
    assert update.ven_id == "ven-1"


def test_r317_on_change_report_is_asked_every_period_and_may_be_silent(peer: Peer, home: FakeHome) -> None:
    home.silent = True
    peer.give(create_report(request(back=MINUTE, granularity=Duration())), now=POLLED)
    _run_until(peer, after(minutes=3))
    assert [end for _, end in _windows(home)] == [after(minutes=k) for k in (1, 2, 3)]
    assert _updates(peer) == []
    home.silent = False
    _run_until(peer, after(minutes=4))
    assert len(_updates(peer)) == 1


def test_after_a_leap_in_time_the_latest_windows_are_reported(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request()), now=POLLED)
    peer.run(after(days=30))
    assert 200 <= len(home.windows) <= 202
    assert _windows(home)[-1] == (after(days=30, minutes=-10), after(days=30))


def test_leap_past_the_end_of_the_interval(peer: Peer, home: FakeHome) -> None:
    wanted = request(back=MINUTE, granularity=MINUTE, duration=Duration(minutes=3))
    peer.give(create_report(wanted), now=after(minutes=1))
    peer.run(after(days=30))
    assert peer.session.pending_reports == ()
    assert all(window.start < window.end <= after(minutes=3) for _, window in home.windows)


# --- metadata -----------------------------------------------------------------------------------------------


def test_r308_r311_metadata_on_request(peer: Peer) -> None:
    wanted = request("m1", "METADATA", back=Duration(), start=None, r_id="0")
    created, register = peer.give(create_report(wanted), now=POLLED)
    assert isinstance(created, m.CreatedReport)
    assert isinstance(register, m.RegisterReport)
    assert register.report_request_id == "m1"
    assert len(register.reports) == 3


def test_r306_announcing_metadata_ends_other_requests_but_not_periodic_metadata(peer: Peer) -> None:
    periodic = request("m1", "METADATA", back=Duration(hours=1), r_id="0")
    peer.give(create_report(request(), periodic), now=POLLED)
    _run_until(peer, after(hours=3))
    asked = [r.report_request_id for r in only(peer.sent, m.RegisterReport)]
    assert asked == [None, "m1", "m1", "m1"]
    assert peer.session.pending_reports == ("m1",)
    assert len(_updates(peer)) == 5  # every slot edge before the announcement at the full hour


# --- cancelling ---------------------------------------------------------------------------------------------


def _cancel(*ids: str, follow: bool = False) -> m.CancelReport:
    return m.CancelReport(request_id="x1", report_request_ids=ids, report_to_follow=follow, ven_id="ven-1")


def test_cancelled_report_is_not_made_any_more(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request("r1"), request("r2")), now=POLLED)
    (canceled,) = peer.give(_cancel("r1"), now=after(minutes=2))
    assert isinstance(canceled, m.CanceledReport)
    assert (canceled.response.code, canceled.response.request_id) == ("200", "x1")
    assert canceled.pending == ("r2",)
    _run_until(peer, after(minutes=10))
    assert {key for key, _ in home.windows} == {"r2"}


def test_cancelling_drops_what_was_not_sent_yet(peer: Peer) -> None:
    session = peer.session
    peer.give(create_report(request()), now=POLLED)
    now = after(minutes=10)
    session.on_time(now)
    assert len(session.unsent_reports) == 1
    poll = m.Poll(ven_id="ven-1")
    session.on_reply(poll, _cancel("r1"), now)
    assert not session.unsent_reports


def test_r345_report_to_follow_is_exactly_one_more(peer: Peer, home: FakeHome) -> None:
    peer.give(create_report(request()), now=POLLED)
    canceled, update = peer.give(_cancel("r1", follow=True), now=after(minutes=4))
    assert isinstance(canceled, m.CanceledReport)
    assert isinstance(update, m.UpdateReport)
    assert _windows(home) == [(T0, after(minutes=4))]
    _run_until(peer, after(hours=1))
    assert len(_updates(peer)) == 1


def test_r336_unknown_id_is_an_error_and_the_known_one_ends(peer: Peer) -> None:
    peer.give(create_report(request()), now=POLLED)
    (canceled,) = peer.give(_cancel("r1", "r9"), now=after(minutes=2))
    assert isinstance(canceled, m.CanceledReport)
    assert canceled.response.code == "452"
    assert canceled.pending == ()


def test_r328_cancellation_on_the_back_of_an_answer(peer: Peer) -> None:
    peer.give(create_report(request("r1"), request("r2", start=after(minutes=5))), now=POLLED)
    peer.replies[m.UpdateReport] = m.UpdatedReport(response=OK, cancel=_cancel("r1", "r2"))
    _run_until(peer, after(minutes=10))
    assert peer.session.pending_reports == ("r2",)  # r2 was not among those answered


# --- structure ----------------------------------------------------------------------------------------------


def _data(*intervals: m.Interval) -> m.Report:
    window = ReportWindow(start=T0, end=after(minutes=30), due=after(minutes=30))
    return data_report(request(), "TELEMETRY_USAGE", window, intervals, after(minutes=30))


def _interval(start: datetime | None = None, length: Duration | None = None) -> m.Interval:
    return m.Interval(dtstart=start, duration=length, payloads=(m.ReportPayload.of("p", 1.0),))


def test_r313_r314_r315_intervals_with_start_and_duration() -> None:
    report = _data(_interval(after(minutes=20), SLOT), _interval(after(minutes=10), SLOT))
    assert report.dtstart == after(minutes=10)
    assert report.duration == Duration(minutes=20)
    assert [i.dtstart for i in report.intervals or ()] == [after(minutes=10), after(minutes=20)]
    assert (report.report_name, report.descriptions, report.report_id) == ("TELEMETRY_USAGE", (), None)


def test_r316_intervals_without_start_are_numbered() -> None:
    report = _data(_interval(None, SLOT), _interval(None, SLOT))
    assert (report.dtstart, report.duration) == (T0, Duration(minutes=20))
    assert [i.uid for i in report.intervals or ()] == ["0", "1"]


def test_r342_points_have_no_duration() -> None:
    report = _data(_interval(after(minutes=3)), _interval(after(minutes=4)))
    assert (report.dtstart, report.duration) == (after(minutes=3), None)


@pytest.mark.parametrize(
    "intervals",
    [
        (_interval(T0, SLOT), _interval(None, SLOT)),
        (_interval(T0, SLOT), _interval(after(minutes=10))),
    ],
)
def test_r314_r315_mixtures_are_refused(intervals: tuple[m.Interval, ...]) -> None:
    with pytest.raises(InvalidValue):
        _data(*intervals)


@pytest.mark.parametrize(
    ("specifier", "name"), [("meter", "TELEMETRY_USAGE"), ("offer", "x-LOCAL_MARKET_OFFER")]
)
def test_r313_g21_report_name_without_the_metadata_prefix(peer: Peer, specifier: str, name: str) -> None:
    _, update = peer.give(create_report(request("r1", specifier, back=Duration())), now=POLLED)
    assert isinstance(update, m.UpdateReport)
    assert update.reports[0].report_name == name
    assert wire.read(wire.write(update)) == update  # valid against the schema


# --- spool --------------------------------------------------------------------------------------------------


def test_unanswered_report_is_sent_again_before_newer_ones(peer: Peer) -> None:
    session = peer.session
    peer.give(create_report(request()), now=POLLED)
    for minutes in (10, 20):
        now = after(minutes=minutes)
        session.on_time(now)
        while not isinstance(message := session.take(now), m.UpdateReport):
            assert message is not None
            session.on_reply(message, peer._reply(message), now)
        session.on_failure(message, TransportError("no answer"), now)
    assert [report.dtstart for report in session.unsent_reports] == [T0, after(minutes=10)]
    peer.run(after(minutes=21))
    starts = [report.dtstart for update in _updates(peer) for report in update.reports]
    assert starts == [T0, after(minutes=10)]
    assert not session.unsent_reports


def test_refused_report_is_dropped_and_the_request_goes_on(peer: Peer) -> None:
    peer.give(create_report(request()), now=POLLED)
    peer.replies[m.UpdateReport] = _refused("454")
    _run_until(peer, after(minutes=30))
    assert [u.reports[0].dtstart for u in _updates(peer)] == [after(minutes=10 * k) for k in range(3)]
    assert peer.session.unsent_reports == ()
    assert peer.session.pending_reports == ("r1",)


def test_r304_report_request_unknown_to_the_vtn_ends(peer: Peer) -> None:
    peer.give(create_report(request()), now=POLLED)
    peer.replies[m.UpdateReport] = _refused("452")
    _run_until(peer, after(minutes=30))
    assert len(_updates(peer)) == 1
    assert peer.session.pending_reports == ()


def test_one_refused_report_does_not_spoil_the_others(peer: Peer) -> None:
    peer.give(create_report(request("r1"), request("r2"), request("r3")), now=POLLED)
    session = peer.session
    taken: list[str] = []
    now = after(minutes=10)
    session.on_time(now)
    while (message := session.take(now)) is not None:
        reply = peer._reply(message)
        if isinstance(message, m.UpdateReport):
            names = [report.report_request_id for report in message.reports]
            reply = _refused("454") if "r2" in names else m.UpdatedReport(response=OK)
            taken += names if "r2" not in names else []
        session.on_reply(message, reply, now)
    assert taken == ["r1", "r3"]
    assert not session.unsent_reports


def test_report_a_broken_vtn_chokes_on_is_given_up_and_the_others_arrive(peer: Peer) -> None:
    peer.give(create_report(request("r1"), request("r2")), now=POLLED)
    session = peer.session
    taken: list[str] = []
    now = after(minutes=10)
    session.on_time(now)
    while (message := session.take(now)) is not None:
        if isinstance(message, m.UpdateReport):
            names = [report.report_request_id for report in message.reports]
            if "r1" in names:
                session.on_failure(message, TransportError("HTTP status 500", 500), now)
                continue
            taken += names
        session.on_reply(message, peer._reply(message), now)
    assert taken == ["r2"]
    assert not session.unsent_reports


def _report(key: str, number: int, points: int = 1) -> m.Report:
    payloads = tuple(m.ReportPayload.of(f"p{k}", float(number)) for k in range(points))
    return replace(
        _data(_interval(T0, SLOT)),
        report_request_id=key,
        report_id=str(number),
        intervals=(m.Interval(dtstart=T0, duration=SLOT, payloads=payloads),),
    )


def test_r510_spool_keeps_at_least_its_points_per_request() -> None:
    spool = Spool(100)
    for number in range(300):
        spool.add(_report("a", number))
    spool.add(_report("b", 0))
    kept = [report for report in spool.reports if report.report_request_id == "a"]
    assert [report.report_id for report in kept] == [str(n) for n in range(200, 300)]
    assert len(spool) == 101
    assert spool.dropped == 200
    large = Spool(100)
    for number in range(3):
        large.add(_report("a", number, points=70))
    assert len(large) == 2  # one alone would be less than 100 points


def test_batches_are_limited_but_never_empty() -> None:
    spool = Spool(1000, batch_points=10)
    for number, points in enumerate((4, 6, 1, 50, 2)):
        spool.add(_report("a", number, points))
    sizes = []
    while batch := spool.batch():
        sizes.append(len(batch))
        spool.remove(batch)
    assert sizes == [2, 1, 1, 1]


@pytest.mark.parametrize("granularity", [Duration(), SLOT], ids=["zero", "a slot"])
def test_r324_telemetry_asked_once_is_the_latest_whatever_interval_is_asked_for(
    peer: Peer, home: FakeHome, granularity: Duration
) -> None:
    """Once is telemetry of now: the interval is ignored; granularity zero is one sampling period."""
    long_ago = request(
        back=Duration(), granularity=granularity, start=after(days=-3), duration=Duration(days=1)
    )
    peer.give(create_report(long_ago), now=after(minutes=1))
    length = timedelta(minutes=10) if granularity == SLOT else timedelta(minutes=1)
    (window,) = [window for _, window in home.windows]
    assert (window.start, window.end) == (after(minutes=1) - length, after(minutes=1))
