"""Backup, restore and retention, on and between both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from schemas.oadr20b import model as m
from tests.postgres import fresh_schema
from tests.unit.vtn.rig import ALICE, BOB, START, Rig, draft, metadata, opted, price_signal, update, wanted
from tests.unit.vtn.test_vtn_opt import schedule
from tests.unit.vtn.test_vtn_schema import raw, written_by_the_first_revision
from vtn_server import schema
from vtn_server.maintenance import BadBackup, Counts, NotEmpty, Retention, backup, restore
from vtn_server.sqlstore import open_store
from vtn_server.state import Reading
from vtn_server.store import Pruned, Snapshot, Store, StoreInUse, StoreUnavailable, UnknownSchema
from vtn_server.tables import Base

EARLY = START - timedelta(days=30)
LATE = START + timedelta(days=30)


async def fill(store: Store) -> Rig:
    """Do a bit of everything; the VTN stays open."""
    rig = await Rig(store).start()
    await rig.bootstrap("alice", (metadata(),))
    (request_id,) = await rig.operator.request_reports(ALICE, [wanted()])
    await rig.accept_reports(ALICE)
    await rig.send(update(ALICE, request_id, [1.0, float("inf"), 3.0]), m.UpdatedReport)
    await rig.operator.publish_events([draft("one"), draft("two", audience=(ALICE, BOB))])
    await rig.operator.modify_event("one", signals=(price_signal([5.0] * 6),))
    await rig.send(opted(await rig.poll(ALICE, m.DistributeEvent), ALICE), m.Response)
    await rig.send(schedule("a"), m.CreatedOpt)
    return rig


FULL = Counts(vens=2, events=2, opts=2, readings=3)


async def everything(url: str) -> tuple[Snapshot, tuple[Reading, ...]]:
    store = open_store(url)
    try:
        return await content(store)
    finally:
        await store.close()


async def content(store: Store) -> tuple[Snapshot, tuple[Reading, ...]]:
    found = await store.load(EARLY)
    readings = await store.readings(report_specifier_id="meter-energy", start=EARLY, end=LATE)
    return replace(found, deliveries=(), identities=0), readings  # what running processes share is not copied


@pytest.fixture(params=["sqlite", "postgres"])
def other_url(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: str) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "other.sqlite")
        return
    with fresh_schema(postgres_server) as url:
        yield url


@pytest.mark.parametrize("portable", [False, True])
async def test_a_backup_of_a_running_vtn_is_the_vtn_wherever_it_is_restored(
    store_url: str, other_url: str, tmp_path: Path, portable: bool
) -> None:
    store = open_store(store_url)
    rig = await fill(store)
    before = await content(store)
    target = tmp_path / "backup"
    assert backup(store_url, target, portable=portable) == FULL
    await rig.operator.cancel_event("two")  # it runs on, and the backup does not follow
    await store.close()
    assert sorted(each.name for each in tmp_path.iterdir() if "backup" in each.name) == ["backup"]
    assert restore(target, other_url) == FULL
    assert await everything(other_url) == before


async def test_a_restored_vtn_goes_on(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    await fill(store)
    await store.close()
    backup(store_url, tmp_path / "backup")
    with pytest.raises(NotEmpty):
        restore(tmp_path / "backup", store_url)
    store = open_store(store_url)
    rig = await Rig(store).start()
    await rig.operator.cancel_event("one")
    await store.close()
    assert restore(tmp_path / "backup", store_url, replace=True) == FULL
    store = open_store(store_url)
    rig = await Rig(store).start()
    await rig.poll(ALICE, m.Response)  # no new registration, and its answers are known
    record = await rig.operator.modify_event("one", signals=(price_signal([6.0] * 6),))
    assert record.modification_number == 2  # it was at 3 before the restore took that back
    await rig.operator.request_reregistration(ALICE)
    await store.close()


async def test_a_restore_that_fails_changes_nothing(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    await fill(store)
    await store.close()
    before = await everything(store_url)
    whole = tmp_path / "backup"
    backup(store_url, whole, portable=True)
    lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
    bad = tmp_path / "bad"
    for text in (
        "",
        "hello\n",
        "".join(lines[1:]),
        "".join(lines[:-1]),
        "".join(lines[:3] + lines[4:]),
        "".join([*lines, lines[1]]),
        "".join(lines)[:-30],
        "".join(lines).replace('"version":2}', '"version":3}', 1),
    ):
        bad.write_text(text, encoding="utf-8")
        with pytest.raises(BadBackup):
            restore(bad, store_url, replace=True)
        assert await everything(store_url) == before
    bad.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    for source in (bad, tmp_path / "missing"):
        with pytest.raises(BadBackup):
            restore(source, store_url, replace=True)
    assert await everything(store_url) == before


async def test_a_restore_into_a_file_in_use_is_refused(tmp_path: Path) -> None:
    url = str(tmp_path / "vtn.sqlite")
    store = open_store(url)
    backup(url, tmp_path / "backup")
    with pytest.raises(StoreInUse):
        restore(tmp_path / "backup", url)
    await store.close()


async def test_a_backup_of_an_older_version_can_be_restored(store_url: str, tmp_path: Path) -> None:
    old = str(tmp_path / "old.sqlite")
    record = written_by_the_first_revision(old, versioned=True)
    assert backup(old, tmp_path / "backup") == Counts(events=1)
    with raw(old) as connection:
        assert schema.found_revision(connection) == schema.FIRST_REVISION  # a backup upgrades nothing
    url = store_url.replace("vtn.sqlite", "new.sqlite")
    assert restore(tmp_path / "backup", url) == Counts(events=1)
    assert (await everything(url))[0].events == (record,)
    with pytest.raises(UnknownSchema):
        backup(old, tmp_path / "dump", portable=True)


def test_what_cannot_be_backed_up(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        backup(str(tmp_path / "missing.sqlite"), tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(UnknownSchema):
        backup(str(tmp_path / "empty.sqlite"), tmp_path / "backup")
    with pytest.raises(NotEmpty):
        backup(str(tmp_path / "missing.sqlite"), tmp_path / "empty.sqlite")


def test_a_dump_covers_every_table() -> None:
    """Whoever adds a table must add it to vtn_server/dump.py, and then here."""
    covered = {"vens", "events", "event_versions", "event_opts", "nonces", "reading_blocks"}
    of_running_processes = {"deliveries", "identities"}
    assert set(Base.metadata.tables) == covered | of_running_processes


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(), Pruned()),
        (Retention(readings=timedelta(hours=1)), Pruned(readings=3)),
        (Retention(readings=timedelta.max, events=timedelta.max), Pruned()),
        (Retention(events=timedelta()), Pruned(events=2, opts=2)),
    ],
)
async def test_retention_by_age(store: Store, retention: Retention, left: Pruned) -> None:
    rig = await fill(store)
    now: datetime = rig.now + timedelta(hours=2)  # both events have just ended
    assert await retention.apply(store, now) == left
    assert len((await store.load(EARLY)).vens) == 2


def test_a_negative_retention_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Retention(events=timedelta(seconds=-1))
