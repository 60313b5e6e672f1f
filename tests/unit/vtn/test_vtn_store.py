"""The stores' contract, the JSON form, group commit, and restarts from the file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    PROVISIONS,
    SETTINGS,
    START,
    MemoryStore,
    Rig,
    draft,
    ids_of,
    metadata,
    opted,
    price_signal,
    said,
    update,
    wanted,
)
from tests.unit.vtn.test_vtn_opt import schedule
from vtn_server import event as rules
from vtn_server.commits import Batch, GroupCommit
from vtn_server.decision import AddReadings, SaveEvent, SaveOpt, SaveVen, Write
from vtn_server.dialects import address_of
from vtn_server.jsonform import JsonForm, NotStorable
from vtn_server.records import EventOpt
from vtn_server.series import series_of
from vtn_server.sqlstore import open_store
from vtn_server.state import Reading, ReportRequestDraft, Ven, VenId
from vtn_server.store import Pruned, Store, StoreConflict, StoreFailed

EARLY = START - timedelta(days=30)
DAY = timedelta(days=1)


def ven(version: int, ven_id: VenId = ALICE) -> Ven:
    provision = replace(PROVISIONS[0], ven_id=ven_id, ven_name=ven_id)
    return Ven(ven_id=ven_id, provision=provision, version=version, metadata=(metadata(),))


def reading(value: float | None, start: datetime = START, **changes: str) -> Reading:
    return Reading(
        ven_id=VenId(changes.get("ven_id", ALICE)),
        report_request_id=changes.get("report_request_id", "r"),
        report_specifier_id=changes.get("specifier", "meter"),
        report_name="TELEMETRY_USAGE",
        r_id=changes.get("r_id", "energy"),
        start=start,
        duration=Duration(minutes=10),
        value=value,
        status=m.ResourceStatus(online=True, manual_override=False) if value is None else None,
        data_quality="Quality Good - Non Specific",
        received_at=START + timedelta(microseconds=5),
    )


# --- the contract, on every store --------------------------------------------------------------------------


async def test_aggregates_come_back_equal(store: Store) -> None:
    await store.commit([SaveVen(ven=ven(1)), SaveVen(ven=ven(1, BOB))])
    await store.commit([SaveVen(ven=ven(2))])
    assert (await store.load(EARLY)).vens == (ven(2), ven(1, BOB))
    assert store.commits == 2


@pytest.mark.parametrize("version", [1, 3])
async def test_a_version_that_does_not_follow_is_a_conflict_and_nothing_is_written(
    store: Store, version: int
) -> None:
    await store.commit([SaveVen(ven=ven(1))])
    with pytest.raises(StoreConflict):
        await store.commit([SaveVen(ven=ven(1, BOB)), SaveVen(ven=ven(version))])
    assert (await store.load(EARLY)).vens == (ven(1),)


async def test_events_keep_every_version(store: Store) -> None:
    record = rules.publish(draft("e"), START)
    await store.commit([SaveEvent(record=record)])
    changed = rules.modify(record, (price_signal([7.0] * 6),), START + timedelta(seconds=10))
    await store.commit([SaveEvent(record=changed)])
    cancelled = rules.cancel(changed, START + timedelta(seconds=20))
    await store.commit([SaveEvent(record=cancelled)])
    assert (await store.load(EARLY)).events == (cancelled,)
    assert await store.event("e") == cancelled
    assert await store.event("none") is None
    assert await store.known_events(["e", "none"]) == {"e"}


@pytest.mark.parametrize("number", [0, 2])
async def test_a_version_of_an_event_that_does_not_follow_is_a_conflict(store: Store, number: int) -> None:
    first = rules.publish(draft("e"), START)
    await store.commit([SaveEvent(record=first)])
    skipped = rules.modify(first, (price_signal([7.0] * 6),), START)
    second = rules.modify(skipped, (price_signal([8.0] * 6),), START)
    with pytest.raises(StoreConflict):
        await store.commit([SaveVen(ven=ven(1)), SaveEvent(record=first if number == 0 else second)])
    found = await store.load(EARLY)
    assert (found.vens, found.events) == ((), (first,))


async def test_a_draft_that_changed_with_a_version_comes_back(store: Store) -> None:
    first = rules.publish(draft("e"), START)
    later = rules.modify(first, (price_signal([7.0] * 6),), START)
    moved = replace(later, draft=replace(later.draft, comment="moved", dtstart=START + DAY))
    await store.commit([SaveEvent(record=first)])
    await store.commit([SaveEvent(record=moved)])
    assert (await store.load(START + DAY)).events == (moved,)


async def test_keys_sort_by_code_points(store: Store) -> None:
    names = ("B", "a", "\u00c4", "a-b", "aB", "_")
    await store.commit([SaveVen(ven=ven(1, VenId(each))) for each in names])
    assert [each.ven_id for each in (await store.load(EARLY)).vens] == sorted(names)


async def test_pruning_takes_what_is_old_and_nothing_that_is_open(store: Store) -> None:
    opt = EventOpt(opt_type=OptType.OPT_IN, code="200", modification_number=0, at=START)
    drafts = (
        draft("over", start=START - DAY),
        draft("open", start=START),
        draft("endless", values=(1.0,), length=Duration(), start=START - 9 * DAY),
    )
    records = [rules.publish(each, START - 9 * DAY) for each in drafts]
    await store.commit([SaveVen(ven=ven(1)), *(SaveEvent(record=each) for each in records)])
    await store.commit([SaveOpt(event_id=each.event_id, ven_id=ALICE, opt=opt) for each in records])
    old = tuple(reading(1.0, START - DAY, r_id=f"{i}", specifier=f"{i % 2}") for i in range(10))
    await store.commit([AddReadings(series=series_of((*old, reading(2.0))))])
    assert await store.prune(readings_before=None, events_before=None) == Pruned()
    gone = await store.prune(readings_before=START, events_before=START)
    assert gone == Pruned(readings=10, events=1, opts=1)
    found = await store.load(EARLY)
    assert found.vens == (ven(1),)
    assert sorted(each.event_id for each in found.events) == ["endless", "open"]
    assert sorted(each.event_id for each in found.opts) == ["endless", "open"]
    assert await store.known_events(["over"]) == frozenset()
    assert await store.event("over") is None
    kept = await store.readings(report_specifier_id="meter", start=EARLY, end=START + DAY)
    assert kept == (reading(2.0),)
    await store.commit([SaveOpt(event_id="over", ven_id=ALICE, opt=opt)])  # it was still in memory
    assert await store.prune(readings_before=START, events_before=START) == Pruned(opts=1)


async def test_events_that_were_over_are_left_out(store: Store) -> None:
    for event_id, start in (("past", START - DAY), ("now", START)):
        await store.commit([SaveEvent(record=rules.publish(draft(event_id, start=start), START - DAY))])
    endless = draft("endless", values=(1.0,), length=Duration(), start=START - 9 * DAY)
    await store.commit([SaveEvent(record=rules.publish(endless, START - 9 * DAY))])
    opt = EventOpt(opt_type=OptType.OPT_OUT, code="200", modification_number=0, at=START)
    await store.commit([SaveOpt(event_id=each, ven_id=ALICE, opt=opt) for each in ("past", "now")])
    later = replace(opt, opt_type=OptType.OPT_IN)
    await store.commit([SaveOpt(event_id="now", ven_id=ALICE, opt=later)])
    found = await store.load(START)
    assert sorted(each.event_id for each in found.events) == ["endless", "now"]
    assert found.opts == (SaveOpt(event_id="now", ven_id=ALICE, opt=later),)
    assert await store.known_events(["past"]) == {"past"}


async def test_readings_latest_wins_sorted_and_half_open(store: Store) -> None:
    ten = timedelta(minutes=10)
    await store.commit(
        [
            AddReadings(
                series=series_of((reading(1.0), reading(2.0, START + ten), reading(3.0, START + 2 * ten)))
            ),
            AddReadings(series=series_of((reading(9.0, ven_id=BOB), reading(8.0, specifier="other")))),
        ]
    )
    await store.commit(
        [AddReadings(series=series_of((reading(None, r_id="status"), reading(1.5, report_request_id="s"))))]
    )
    found = await store.readings(report_specifier_id="meter", start=START, end=START + 2 * ten)
    assert found == (
        reading(1.5, report_request_id="s"),
        reading(None, r_id="status"),
        reading(9.0, ven_id=BOB),
        reading(2.0, START + ten),
    )
    only = await store.readings(report_specifier_id="meter", start=START, end=START + DAY, ven_id=BOB)
    assert only == (reading(9.0, ven_id=BOB),)


# --- the JSON form -----------------------------------------------------------------------------------------


async def test_a_full_aggregate_survives_the_json_form(asking: Rig) -> None:
    await asking.bootstrap("alice", (metadata(), metadata("offer", ("volume", "price"))))
    await asking.send(schedule("a", resources=("switch-a",)), m.CreatedOpt)
    await asking.operator.request_reports(ALICE, [wanted(gate=timedelta(minutes=75))])
    await asking.operator.request_reregistration(ALICE)
    await asking.poll(ALICE, m.CreateReport)
    full = asking.service.memory.ven(ALICE)
    assert full is not None
    form = JsonForm(Ven)
    assert form.loads(form.dumps(full)) == full
    for bad in ("{", "[]", '{"ven_id":"x"}', form.dumps(full).replace("provision", "unknown")):
        with pytest.raises(NotStorable):
            form.loads(bad)


def test_a_type_it_cannot_store_shows_at_once() -> None:
    @dataclass(frozen=True)
    class Odd:
        field: complex

    with pytest.raises(NotStorable):
        JsonForm(Odd)


# --- group commit ------------------------------------------------------------------------------------------


async def test_concurrent_commits_share_transactions() -> None:
    batches: list[int] = []

    def write_all(some: Sequence[Batch]) -> list[None]:
        batches.append(len(some))
        return [None] * len(some)

    with ThreadPoolExecutor(1) as thread:
        group = GroupCommit(write_all, thread)
        write: Write = SaveVen(ven=ven(1))
        await asyncio.gather(*(group.commit([write]) for _ in range(50)))
        await group.drain()
    assert sum(batches) == 50
    assert len(batches) <= 3
    assert group.commits == len(batches)


@pytest.mark.parametrize("failure", [StoreFailed("full"), ValueError("a bug")])
async def test_a_failed_commit_fails_everybody_and_everything_after(failure: Exception) -> None:
    failures = [failure]

    def write(some: Sequence[Batch]) -> list[None]:
        if failures:  # the disk is full once, then has room again: too late
            raise failures.pop()
        return [None] * len(some)

    with ThreadPoolExecutor(1) as thread:
        group = GroupCommit(write, thread)
        results = await asyncio.gather(*(group.commit([]) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in results] == [StoreFailed] * 3
        with pytest.raises(StoreFailed):
            await group.commit([])
        await group.drain()


async def test_a_conflict_is_one_callers_own(store: Store) -> None:
    """What shares its transaction is written, where several processes share the store."""
    await store.commit([SaveVen(ven=ven(1)), SaveVen(ven=ven(1, BOB))])
    both = await asyncio.gather(
        store.commit([SaveVen(ven=ven(3)), AddReadings(series=series_of((reading(1.0),)))]),
        store.commit([SaveVen(ven=ven(2, BOB))]),
        return_exceptions=True,
    )
    assert isinstance(both[0], StoreConflict)
    assert ven(1) in (await store.load(EARLY)).vens
    assert await store.readings(report_specifier_id="meter", start=EARLY, end=START + DAY) == ()
    if store.sharing is not None:
        assert both[1] is None
        assert ven(2, BOB) in (await store.load(EARLY)).vens


async def test_requests_of_many_vens_share_transactions(store_url: str) -> None:
    store = open_store(store_url)
    names = [f"home-{i:02}" for i in range(40)]
    provisions = [replace(PROVISIONS[1], ven_id=VenId(each), ven_name=each) for each in names]
    rig = await Rig(store).start(provisions)
    before = store.commits
    await asyncio.gather(*(rig.bootstrap(each) for each in names))
    writes = 40 * 4  # create, register report, our metadata sent, our metadata answered
    assert all(each.registered and not each.pending for each in rig.operator.vens())
    assert 1 <= store.commits - before <= writes / 4
    await store.close()


# --- restarts from the file --------------------------------------------------------------------------------


def plan(ven_id: VenId, reports: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    del ven_id, now
    return tuple(wanted(each.report_specifier_id, gate=timedelta(minutes=75)) for each in reports)


def after_a_crash(url: str) -> str:
    """Return the store as a crash of this instant would leave it: the files, nothing closed."""
    file = address_of(url).file
    if file is None:
        return url
    image = file.with_name("image")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{file}{suffix}", f"{image}{suffix}")
    return str(image)


async def test_a_vtn_goes_on_from_its_store(store_url: str) -> None:
    """Everything that was answered is there, and the VEN notices nothing."""
    store = open_store(store_url)
    rig = await Rig(store, plan=plan).start()
    await rig.bootstrap("alice", (metadata(),))
    (request_id,) = await rig.accept_reports(ALICE)
    await rig.operator.publish_events([draft("answered"), draft("open", audience=(ALICE, BOB))])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    answered = opted(sent, ALICE, OptType.OPT_OUT)
    only = tuple(
        each for each in answered.event_responses or () if each.qualified_event_id.event_id == "answered"
    )
    await rig.send(replace(answered, event_responses=only), m.Response)
    rig.wait(10)
    await rig.operator.modify_event("open", signals=(price_signal([5.0] * 6),))
    noon = START + timedelta(hours=2)
    offer = update(ALICE, request_id, [1.0], start=noon)
    await rig.send(offer, m.UpdatedReport)
    await rig.send(schedule("a"), m.CreatedOpt)
    await rig.operator.request_reports(ALICE, [wanted()])
    await rig.poll(ALICE, m.CreateReport)  # in flight when the VTN dies
    before = rig

    new = open_store(after_a_crash(store_url))  # the old one was killed, not closed
    rig = await Rig(new, plan=plan).start()
    rig.now = before.now
    assert rig.operator.vens() == before.operator.vens()
    assert rig.operator.events() == before.operator.events()
    record = rig.operator.event("open")
    assert record is not None
    assert [version.at for version in record.versions] == [START, START + timedelta(seconds=10)]
    assert rig.operator.opts("answered") == before.operator.opts("answered")
    assert rig.operator.schedules(START) == before.operator.schedules(START)
    once_more = await rig.poll(ALICE, m.DistributeEvent)
    assert sorted(ids_of(once_more)) == ["answered", "open"]
    await rig.send(opted(once_more, ALICE), m.Response)
    rig.wait(30)
    again = await rig.poll(ALICE, m.CreateReport)
    await rig.send(m.CreatedReport(response=said(again.request_id), ven_id=ALICE), m.Response)
    await rig.poll(ALICE, m.Response)
    rig.now = noon
    await rig.send(offer, m.UpdatedReport)  # taken before the gate and before the restart
    await rig.send(update(ALICE, request_id, [2.0], start=noon), m.UpdatedReport, "454")
    (found,) = await rig.operator.readings(report_specifier_id="meter-energy", start=START, end=START + DAY)
    assert found.value == 1.0
    assert rig.operator.vens()[0].pending == 0
    await new.close()
    await store.close()


async def test_a_cancellation_that_was_acknowledged_is_not_sent_after_a_restart(store_url: str) -> None:
    store = open_store(store_url)
    rig = await Rig(store).start()
    await rig.bootstrap("alice")
    await rig.operator.publish_events([draft("gone"), draft("price", required=ResponseRequired.NEVER)])
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    await rig.operator.cancel_event("gone")
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    await store.close()
    store = open_store(store_url)
    rig = await Rig(store).start()
    if store.sharing is None:  # else it is stored that this set was heard
        assert ids_of(await rig.poll(ALICE, m.DistributeEvent)) == ["price"]
    await rig.poll(ALICE, m.Response)
    await store.close()


async def test_two_writers_of_a_store_that_is_not_shared_are_noticed() -> None:
    store = MemoryStore()
    first = await Rig(store).start()
    second = await Rig(store).start()
    await first.register("alice")
    status, _ = await second.post(m.CreatePartyRegistration(request_id="1", ven_name="alice"))
    assert status == 503
    assert second.service.is_broken


async def test_a_failed_commit_ends_the_service() -> None:
    store = MemoryStore()
    rig = await Rig(store, SETTINGS).start()
    await rig.bootstrap("alice")
    store.fail = True
    status, body = await rig.post(m.RegisterReport(request_id="1", reports=(metadata(),), ven_id=ALICE))
    assert (status, body) == (503, b"")
    assert rig.operator.vens()[0].metadata == ()
    store.fail = False
    status, _ = await rig.post(m.Poll(ven_id=ALICE))
    assert status == 503
    with pytest.raises(StoreFailed):
        await rig.operator.publish_events([draft("e")])
    assert dict(rig.operator.stats().http_errors) == {"503": 2}
