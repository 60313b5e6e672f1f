"""Report requests, the outbox, report data, and the gate of an auction."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import InvalidId, NotRegistered
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import ALICE, BOB, PT10M, START, Rig, draft, metadata, said, update, wanted

GATE = timedelta(minutes=75)
DAY = timedelta(days=1)


async def readings(rig: Rig, specifier: str = "meter-energy") -> list[float | None]:
    found = await rig.operator.readings(report_specifier_id=specifier, start=START - DAY, end=START + DAY)
    return [each.value for each in found]


async def test_lost_reply_to_a_poll_delivers_again_and_nothing_twice(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    first = await asking.poll(ALICE, m.CreateReport)  # lost
    await asking.poll(ALICE, m.Response)
    asking.wait(29)
    await asking.poll(ALICE, m.Response)
    asking.wait(1)
    again = await asking.poll(ALICE, m.CreateReport)
    assert again == first
    answer = m.CreatedReport(response=said(again.request_id), ven_id=ALICE)
    await asking.send(answer, m.Response)
    await asking.send(answer, m.Response)  # the reply to the answer was lost as well
    asking.wait(60)
    await asking.poll(ALICE, m.Response)
    (view, _) = asking.operator.vens()
    assert (view.pending, view.given_up, len(view.requests)) == (0, (), 1)
    assert view.requests[0].acknowledged


async def test_a_ven_that_never_answers_a_create_report_gets_everything_else(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    await asking.operator.request_reports(ALICE, [wanted()])
    await asking.poll(ALICE, m.CreateReport)
    second = await asking.poll(ALICE, m.CreateReport)  # the queue goes on
    await asking.send(m.CreatedReport(response=said(second.request_id), ven_id=ALICE), m.Response)
    await asking.operator.publish_events([draft("e1")])
    await asking.poll(ALICE, m.DistributeEvent)
    deliveries = 1
    for _ in range(10):
        asking.wait(30)
        for _ in range(3):
            _, body = await asking.post(m.Poll(ven_id=ALICE))
            deliveries += b"oadrCreateReport" in body
    assert deliveries == 5
    (view, _) = asking.operator.vens()
    assert view.pending == 0
    assert [(each.what, each.reason) for each in view.given_up] == [
        ("oadrCreateReport", "no answer to 5 deliveries")
    ]
    assert [each.acknowledged for each in view.requests] == [False, True]


async def test_a_refused_request_is_over_and_shows(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    created = await asking.poll(ALICE, m.CreateReport)
    await asking.send(m.CreatedReport(response=said(created.request_id, "461"), ven_id=ALICE), m.Response)
    (view, _) = asking.operator.vens()
    assert ([each.refused for each in view.requests], view.pending) == (["461"], 0)
    assert view.given_up[0].reason == "answered with 461"
    (refused,) = [each.report_request_id for each in view.requests]
    await asking.send(update(ALICE, refused, [1.0]), m.UpdatedReport, "452")
    with pytest.raises(InvalidId):
        await asking.operator.cancel_reports(ALICE, (refused,))
    assert await readings(asking) == []


async def test_only_the_latest_refusals_are_kept_and_new_metadata_ends_them(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    (kept,) = await rig.operator.request_reports(ALICE, (wanted(),))
    await rig.accept_reports(ALICE)
    asked: list[str] = []
    for _ in range(23):
        asked += await rig.operator.request_reports(ALICE, (wanted(),))
        created = await rig.poll(ALICE, m.CreateReport)
        await rig.send(m.CreatedReport(response=said(created.request_id, "454"), ven_id=ALICE), m.Response)
    view = next(each for each in rig.operator.vens() if each.ven_id == ALICE)
    assert [each.report_request_id for each in view.requests] == [kept, *asked[3:]]
    assert [each.refused for each in view.requests] == [None, *["454"] * 20]
    await rig.send(m.RegisterReport(request_id="2", reports=(metadata(),), ven_id=ALICE), m.RegisteredReport)
    view = next(each for each in rig.operator.vens() if each.ven_id == ALICE)
    assert view.requests == ()


async def test_new_metadata_ends_the_former_requests(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    (old,) = await asking.accept_reports(ALICE)
    again = m.RegisterReport(request_id="2", reports=(metadata("storage", ("soc",)),), ven_id=ALICE)
    await asking.send(again, m.RegisteredReport)
    await asking.send(update(ALICE, old, [1.0]), m.UpdatedReport, "452")
    (new,) = await asking.accept_reports(ALICE)
    await asking.send(update(ALICE, new, [1.0], specifier="storage", r_id="soc"), m.UpdatedReport)
    assert await readings(asking, "storage") == [1.0]


async def test_new_metadata_replaces_a_request_that_still_waits(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    again = m.RegisterReport(request_id="2", reports=(metadata("storage", ("soc",)),), ven_id=ALICE)
    await asking.send(again, m.RegisteredReport)
    created = await asking.poll(ALICE, m.CreateReport)
    assert [each.specifier.report_specifier_id for each in created.requests] == ["storage"]
    await asking.poll(ALICE, m.Response)


async def test_metadata_with_a_specifier_twice_is_refused(rig: Rig) -> None:
    ven_id = await rig.bootstrap("alice")
    twice = m.RegisterReport(request_id="1", reports=(metadata(), metadata()), ven_id=ven_id)
    await rig.send(twice, m.RegisteredReport, "454")


@pytest.mark.parametrize(("specifier", "r_id"), [("x" * 201, "energy"), ("meter-energy", "x" * 201)])
async def test_metadata_with_an_id_that_no_index_takes_is_refused(
    rig: Rig, specifier: str, r_id: str
) -> None:
    """On PostgreSQL the readings under it could not be written, and a commit that fails is the end."""
    ven_id = await rig.bootstrap("alice")
    long = m.RegisterReport(request_id="1", reports=(metadata(specifier, (r_id,)),), ven_id=ven_id)
    await rig.send(long, m.RegisteredReport, "454")
    just = m.RegisterReport(
        request_id="1", reports=(metadata(specifier[:200], (r_id[:200],)),), ven_id=ven_id
    )
    await rig.send(just, m.RegisteredReport)


async def test_readings_are_stored_and_corrected(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    (request_id,) = await asking.accept_reports(ALICE)
    await asking.send(update(ALICE, request_id, [1.0, 2.0, 3.0]), m.UpdatedReport)
    later = update(ALICE, request_id, [20.0], start=START + timedelta(minutes=10))
    asking.wait(60)
    await asking.send(later, m.UpdatedReport)  # the same requestID, other content: r346
    found = await asking.operator.readings(
        report_specifier_id="meter-energy", start=START, end=START + timedelta(minutes=20), ven_id=ALICE
    )
    assert [(each.start, each.value) for each in found] == [
        (START, 1.0),
        (START + timedelta(minutes=10), 20.0),
    ]
    assert (found[1].duration, found[1].received_at) == (PT10M, START + timedelta(seconds=60))
    assert (found[0].ven_id, found[0].r_id, found[0].report_name) == (ALICE, "energy", "TELEMETRY_USAGE")
    assert await readings(asking) == [1.0, 20.0, 3.0]
    other = await asking.operator.readings(
        report_specifier_id="meter-energy", start=START, end=START + DAY, ven_id=BOB
    )
    assert other == ()


async def test_bad_reports_store_nothing(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    (request_id,) = await asking.accept_reports(ALICE)
    good = update(ALICE, request_id, [1.0])
    (report,) = good.reports
    no_data = replace(report, intervals=None)
    no_time = replace(
        report, intervals=(replace((report.intervals or ())[0], dtstart=None, duration=None),) * 2
    )
    for bad, code in (
        (replace(report, report_request_id="unknown"), "452"),
        (replace(report, report_specifier_id="other"), "452"),
        (no_data, "459"),
        (no_time, "459"),
        (replace(report, dtstart=None), "459"),
    ):
        await asking.send(replace(good, reports=(report, bad)), m.UpdatedReport, code)
    await asking.send(update(ALICE, request_id, [1.0], r_id="other"), m.UpdatedReport, "452")
    assert await readings(asking) == []
    await asking.send(good, m.UpdatedReport)
    assert await readings(asking) == [1.0]


async def test_intervals_without_a_start_follow_one_another(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(),))
    (request_id,) = await asking.accept_reports(ALICE)
    good = update(ALICE, request_id, [1.0, 2.0])
    (report,) = good.reports
    intervals = tuple(
        replace(each, dtstart=None, uid=str(i)) for i, each in enumerate(report.intervals or ())
    )
    await asking.send(replace(good, reports=(replace(report, intervals=intervals),)), m.UpdatedReport)
    found = await asking.operator.readings(report_specifier_id="meter-energy", start=START, end=START + DAY)
    assert [each.start for each in found] == [START, START + timedelta(minutes=10)]


async def test_a_status_is_a_reading_too(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata("status", ("state",)),))
    (request_id,) = await asking.accept_reports(ALICE)
    status = m.ResourceStatus(
        online=True,
        manual_override=False,
        load_control_state=m.LoadControlState(set_point=m.LoadControlValue(current=2.0)),
    )
    good = update(ALICE, request_id, [float("nan")], specifier="status", r_id="state")
    (report,) = good.reports
    interval = m.Interval(dtstart=START, payloads=(m.ReportPayload(r_id="state", payload=status),))
    await asking.send(
        replace(good, reports=(replace(report, intervals=(interval,), duration=None),)), m.UpdatedReport
    )
    (found,) = await asking.operator.readings(report_specifier_id="status", start=START, end=START + DAY)
    assert (found.status, found.value, found.duration) == (status, None, None)


async def test_the_gate(rig: Rig) -> None:
    """An offer for 12:00 is taken until 10:45; what was taken may be repeated for ever."""
    await rig.bootstrap("alice", (metadata("offer", ("volume",)),))
    (request_id,) = await rig.operator.request_reports(ALICE, [wanted("offer", ("volume",), GATE)])
    await rig.accept_reports(ALICE)
    noon = START + timedelta(hours=2)

    async def offer(value: float, code: str = "200", request: str = "u") -> None:
        message = update(
            ALICE, request_id, [value], start=noon, specifier="offer", r_id="volume", request_id=request
        )
        await rig.send(message, m.UpdatedReport, code)

    rig.now = noon - GATE - timedelta(seconds=2)
    await offer(1.0)
    await offer(2.0)
    await offer(1.0)
    await offer(2.0)
    assert await readings(rig, "offer") == [2.0]
    rig.now = noon - GATE
    await offer(3.0, "454")
    await offer(2.0, request="another id")
    await offer(1.0)  # a repeat of what was taken, but replaced since: answered, not stored
    assert await readings(rig, "offer") == [2.0]
    rig.now = noon + timedelta(hours=5)
    await offer(2.0)
    await offer(4.0, "454")
    assert await readings(rig, "offer") == [2.0]


async def test_requests_name_only_what_is_offered(rig: Rig) -> None:
    with pytest.raises(NotRegistered):
        await rig.operator.request_reports(ALICE, [wanted()])
    await rig.bootstrap("alice", (metadata(),))
    for bad in (wanted("other"), wanted(r_ids=("energy", "other")), wanted(r_ids=())):
        with pytest.raises(InvalidId):
            await rig.operator.request_reports(ALICE, [bad])
    ids = await rig.operator.request_reports(ALICE, [wanted(), wanted()])
    assert len(set(ids)) == 2
    created = await rig.poll(ALICE, m.CreateReport)
    assert tuple(each.report_request_id for each in created.requests) == ids
    interval = created.requests[0].specifier.report_interval
    assert interval is not None
    assert (interval.dtstart, interval.duration) == (START, Duration())


async def test_cancelling_reports(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    ids = await rig.operator.request_reports(ALICE, [wanted(), wanted()])
    await rig.accept_reports(ALICE)
    with pytest.raises(InvalidId):
        await rig.operator.cancel_reports(ALICE, ["unknown"])
    await rig.operator.cancel_reports(ALICE, ids[:1])
    cancelled = await rig.poll(ALICE, m.CancelReport)
    assert cancelled.report_request_ids == ids[:1]
    await rig.send(update(ALICE, ids[0], [1.0]), m.UpdatedReport)  # crossed on the way
    answer = m.CanceledReport(response=said(cancelled.request_id), pending=ids[1:], ven_id=ALICE)
    await rig.send(answer, m.Response)
    await rig.send(update(ALICE, ids[0], [1.0]), m.UpdatedReport, "452")
    await rig.send(update(ALICE, ids[1], [1.0]), m.UpdatedReport)


async def test_a_ven_asks_for_our_metadata(rig: Rig) -> None:
    await rig.bootstrap("alice")
    specifier = m.ReportSpecifier(
        report_specifier_id="METADATA",
        granularity=Duration(),
        report_back_duration=Duration(),
        payloads=(m.SpecifierPayload(r_id="0", reading_type="x-notApplicable"),),
    )
    request = m.ReportRequest(report_request_id="mine", specifier=specifier)
    ask = m.CreateReport(request_id="1", requests=(request,), ven_id=ALICE)
    assert (await rig.send(ask, m.CreatedReport)).pending == ("mine",)
    assert (await rig.send(ask, m.CreatedReport)).pending == ("mine",)
    ours = await rig.poll(ALICE, m.RegisterReport)
    assert (ours.report_request_id, ours.reports) == ("mine", ())
    await rig.send(m.RegisteredReport(response=said(ours.request_id), ven_id=ALICE), m.Response)
    stop = m.CancelReport(request_id="2", report_request_ids=("mine",), report_to_follow=False, ven_id=ALICE)
    await rig.send(stop, m.CanceledReport, "452")
    await rig.send(ask, m.CreatedReport)
    assert (await rig.send(stop, m.CanceledReport)).pending == ()
    for number in range(20):
        await rig.send(
            replace(ask, requests=(replace(request, report_request_id=str(number)),)), m.CreatedReport
        )
    await rig.send(ask, m.CreatedReport, "469")
    other = replace(request, specifier=replace(specifier, report_specifier_id="HISTORY_USAGE"))
    await rig.send(replace(ask, requests=(other,)), m.CreatedReport, "452")


async def test_requests_on_the_back_of_an_answer(rig: Rig) -> None:
    await rig.register("alice")
    ours = await rig.poll(ALICE, m.RegisterReport)
    specifier = m.ReportSpecifier(
        report_specifier_id="HISTORY_USAGE",
        granularity=Duration(),
        report_back_duration=Duration(),
        payloads=(m.SpecifierPayload(r_id="0", reading_type="x-notApplicable"),),
    )
    unknown = m.ReportRequest(report_request_id="a", specifier=specifier)
    known = m.ReportRequest(
        report_request_id="b", specifier=replace(specifier, report_specifier_id="METADATA")
    )
    answer = m.RegisteredReport(response=said(ours.request_id), requests=(unknown, known), ven_id=ALICE)
    await rig.send(answer, m.Response, "452")
    assert (await rig.poll(ALICE, m.RegisterReport)).report_request_id == "b"
    assert rig.operator.vens()[0].pending == 1


async def test_a_refused_polled_message_is_given_up(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    await rig.operator.request_reports(ALICE, [wanted()])
    created = await rig.poll(ALICE, m.CreateReport)
    await rig.send(m.Response(response=said(created.request_id, "452"), ven_id=ALICE), m.Response)
    view = rig.operator.vens()[0]
    assert (view.pending, view.given_up[0].reason) == (0, "answered with 452")
