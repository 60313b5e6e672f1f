"""Rules of reports (3.4) for a VTN as the receiver, and as the source of its own metadata."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import InvalidData, InvalidId
from schemas.oadr20b.rules import Direction, Exchange, check
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import ALICE, START, MemoryStore, Rig, metadata, said, update, wanted
from vtn_server.state import Reading, ReportRequestDraft, VenId

DAY = timedelta(days=1)
METER = metadata()


def plan(ven_id: VenId, offered: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    del ven_id, now
    return tuple(
        wanted(each.report_specifier_id, tuple(line.r_id for line in each.descriptions)) for each in offered
    )


@pytest.fixture
async def rig() -> Rig:
    made = await Rig(MemoryStore(), plan=plan).start()
    await made.bootstrap("alice", (METER,))
    return made


async def stored(rig: Rig) -> list[Reading]:
    found = await rig.operator.readings(
        report_specifier_id="meter-energy", start=START - DAY, end=START + DAY
    )
    return list(found)


async def test_rule_300_a_request_stays_within_the_offer(rig: Rig) -> None:
    created = await rig.poll(ALICE, m.CreateReport)
    context = Exchange(metadata=(METER,))
    assert not check(created, direction=Direction.VTN_TO_VEN, context=context)
    for wrong in (wanted("other"), wanted(r_ids=("other",))):
        with pytest.raises(InvalidId):
            await rig.operator.request_reports(ALICE, (wrong,))


@pytest.mark.parametrize(
    ("granularity", "back", "fits"),
    [
        (Duration(seconds=5), Duration(seconds=10), False),  # the meter is sampled every ten minutes
        (Duration(minutes=9, seconds=59), Duration(hours=1), False),
        (Duration(minutes=20), Duration(minutes=10), False),
        (Duration(minutes=10), Duration(minutes=10), True),
        (Duration(minutes=30), Duration(hours=1), True),
        (Duration(), Duration(hours=1), True),  # on change
        (Duration(seconds=5), Duration(), True),  # once: the granularity means nothing
    ],
)
async def test_rule_300_rule_317_rule_340_granularity_stays_within_the_sampling_rate(
    rig: Rig, granularity: Duration, back: Duration, fits: bool
) -> None:
    await rig.accept_reports(ALICE)
    draft = replace(wanted(), granularity=granularity, report_back_duration=back)
    if fits:
        assert len(await rig.operator.request_reports(ALICE, (draft,))) == 1
        return
    with pytest.raises(InvalidData) as caught:
        await rig.operator.request_reports(ALICE, (wanted(), draft))
    assert caught.value.code == "454"
    (view,) = [each for each in rig.operator.vens() if each.ven_id == ALICE]
    assert (len(view.requests), view.pending) == (1, 0)  # nothing of it is kept or sent


async def test_rule_340_a_plan_that_wants_too_much_does_not_stop_the_metadata() -> None:
    def greedy(ven_id: VenId, offered: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
        return tuple(replace(each, granularity=Duration(seconds=1)) for each in plan(ven_id, offered, now))

    made = await Rig(MemoryStore(), plan=greedy).start()
    await made.bootstrap("alice", (METER,))
    (view,) = [each for each in made.operator.vens() if each.ven_id == ALICE]
    assert view.metadata == (METER,)


async def test_rule_301_a_vtn_announces_itself_though_it_has_no_reports(rig: Rig) -> None:
    await rig.register("alice")
    ours = await rig.poll(ALICE, m.RegisterReport)
    assert ours.reports == ()


async def test_rule_303_rule_304_ids_are_echoed_and_checked(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    good = await rig.send(update(ALICE, key, (1.0,), request_id="echo"), m.UpdatedReport)
    assert good.response.request_id == "echo"
    for wrong in (
        update(ALICE, "none", (1.0,)),
        update(ALICE, key, (1.0,), specifier="none"),
        update(ALICE, key, (1.0,), r_id="none"),
        update("nobody", key, (1.0,)),
    ):
        await rig.send(wrong, m.UpdatedReport, "452")
    assert len(await stored(rig)) == 1


async def test_rule_306_new_metadata_replaces_and_ends_the_requests(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    other = metadata("other")
    await rig.send(m.RegisterReport(request_id="q", reports=(other,), ven_id=ALICE), m.RegisteredReport)
    (view,) = [each for each in rig.operator.vens() if each.ven_id == ALICE]
    assert view.metadata == (other,)
    assert [each.request.specifier.report_specifier_id for each in view.requests] == ["other"]
    await rig.send(update(ALICE, key, (1.0,)), m.UpdatedReport, "452")


async def test_rule_308_a_specifier_or_an_r_id_twice_is_refused(rig: Rig) -> None:
    twice = replace(METER, descriptions=METER.descriptions * 2)
    for wrong in ((METER, METER), (twice,)):
        await rig.send(
            m.RegisterReport(request_id="q", reports=wrong, ven_id=ALICE), m.RegisteredReport, "454"
        )


async def test_rule_309_our_metadata_goes_before_our_requests() -> None:
    made = await Rig(MemoryStore(), plan=plan).start()
    await made.register("alice")
    announced = m.RegisterReport(request_id="q", reports=(METER,), ven_id=ALICE)
    await made.send(announced, m.RegisteredReport)
    ours = await made.poll(ALICE, m.RegisterReport)
    await made.send(m.RegisteredReport(response=said(ours.request_id), ven_id=ALICE), m.Response)
    await made.poll(ALICE, m.CreateReport)


async def test_rule_313_data_without_start_or_intervals_is_refused(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    good = update(ALICE, key, (1.0,))
    for changes in ({"dtstart": None}, {"intervals": None}):
        wrong = replace(good, reports=(replace(good.reports[0], **changes),))  # type: ignore[arg-type]  # by name
        await rig.send(wrong, m.UpdatedReport, "459")
    assert await stored(rig) == []


async def test_rule_322_request_ids_are_never_used_twice(rig: Rig) -> None:
    seen = set(await rig.accept_reports(ALICE))
    for _ in range(3):
        seen.update(await rig.operator.request_reports(ALICE, (wanted(), wanted())))
    assert len(seen) == 7


async def test_rule_327_rule_344_metadata_on_request_from_the_back_of_an_answer(rig: Rig) -> None:
    await rig.register("alice")
    ours = await rig.poll(ALICE, m.RegisterReport)
    again = m.ReportRequest(
        report_request_id="m1",
        specifier=m.ReportSpecifier(
            report_specifier_id="METADATA",
            granularity=Duration(),
            report_back_duration=Duration(),
            payloads=(m.SpecifierPayload(r_id="0", reading_type="x-notApplicable"),),
        ),
    )
    back = m.RegisteredReport(response=said(ours.request_id), requests=(again,), ven_id=ALICE)
    await rig.send(back, m.Response)
    once_more = await rig.poll(ALICE, m.RegisterReport)
    assert once_more.report_request_id == "m1"


async def test_rule_329_rule_336_a_vtn_lists_what_it_owes_and_knows_its_requests(rig: Rig) -> None:
    await rig.accept_reports(ALICE)
    payload = m.SpecifierPayload(r_id="0", reading_type="x-notApplicable")
    specifier = m.ReportSpecifier(
        report_specifier_id="METADATA",
        granularity=Duration(),
        report_back_duration=Duration(),
        payloads=(payload,),
    )
    asked = m.ReportRequest(report_request_id="m1", specifier=specifier)
    created = await rig.send(m.CreateReport(request_id="q", requests=(asked,), ven_id=ALICE), m.CreatedReport)
    assert created.pending == ("m1",)
    cancel = m.CancelReport(request_id="q", report_request_ids=("m1",), report_to_follow=False, ven_id=ALICE)
    assert (await rig.send(cancel, m.CanceledReport)).pending == ()
    await rig.send(cancel, m.CanceledReport, "452")


async def test_rule_335_a_vtn_cancels_by_a_message_of_its_own(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    await rig.operator.cancel_reports(ALICE, (key,))
    cancel = await rig.poll(ALICE, m.CancelReport)
    assert (cancel.report_request_ids, cancel.report_to_follow) == ((key,), False)
    await rig.send(update(ALICE, key, (1.0,)), m.UpdatedReport)  # what was under way is welcome
    await rig.send(m.CanceledReport(response=said(cancel.request_id), ven_id=ALICE), m.Response)
    await rig.send(update(ALICE, key, (1.0,)), m.UpdatedReport, "452")


async def test_rule_339_an_ei_report_id_changes_nothing(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    good = update(ALICE, key, (1.0,))
    await rig.send(replace(good, reports=(replace(good.reports[0], report_id="any"),)), m.UpdatedReport)
    assert [each.value for each in await stored(rig)] == [1.0]


async def test_rule_346_corrections_and_repetitions_are_taken(rig: Rig) -> None:
    (key,) = await rig.accept_reports(ALICE)
    for values in ((1.0, 2.0), (1.0, 2.0), (5.0, 2.0)):
        await rig.send(update(ALICE, key, values), m.UpdatedReport)
    assert [each.value for each in await stored(rig)] == [5.0, 2.0]


async def test_rule_330_report_ids_are_text() -> None:
    made = await Rig(MemoryStore(), plan=plan).start()
    await made.bootstrap("alice", (metadata(r_ids=("007",)),))
    (key,) = await made.accept_reports(ALICE)
    await made.send(update(ALICE, key, (1.0,), r_id="7"), m.UpdatedReport, "452")
    await made.send(update(ALICE, key, (1.0,), r_id="007"), m.UpdatedReport)
    assert [each.r_id for each in await stored(made)] == ["007"]
