"""Opening a store: its address, its lock, the version of its tables, and how that one is raised."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from schemas.oadr20b.model import ResourceStatus
from tests.unit.vtn.rig import START, draft, price_signal
from vtn_server import dialects, schema
from vtn_server import event as rules
from vtn_server.database import Database
from vtn_server.decision import SaveEvent
from vtn_server.filelock import FileLock
from vtn_server.jsonform import JsonForm
from vtn_server.records import EventRecord
from vtn_server.rows import RowForms
from vtn_server.sqlstore import open_store
from vtn_server.state import Reading
from vtn_server.store import BadStoreUrl, StoreInUse, StoreUnavailable, UnknownSchema
from vtn_server.tables import Base, KeyText

ROOT = Path(__file__).parents[3]
EARLY = START - timedelta(days=30)
DAY = timedelta(days=1)


@contextmanager
def raw(url: str) -> Iterator[Connection]:
    engine = dialects.open_engine(dialects.address_of(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def three_versions() -> EventRecord:
    record = rules.publish(draft("e"), START)
    for value in (7.0, 8.0):
        record = rules.modify(record, (price_signal([value] * 6),), START)
    return record


def written_by_the_first_revision(url: str, *, versioned: bool) -> EventRecord:
    """Make a database of the first revision with one event in it; without alembic's table if so told."""
    record, forms = three_versions(), RowForms()
    with raw(url) as connection:
        command.upgrade(schema._config(connection), schema.FIRST_REVISION)
        row = {key: value for key, value in forms.event_row(record).items() if key != "version"}
        connection.execute(
            text("INSERT INTO events (event_id, over_at, body) VALUES (:event_id, :over_at, :body)"), row
        )
        for version in record.versions:
            connection.execute(
                text(
                    "INSERT INTO event_versions (event_id, modification_number, body)"
                    " VALUES (:event_id, :modification_number, :body)"
                ),
                dict(forms.version_row(record, version)),
            )
        if not versioned:
            connection.execute(text("DROP TABLE alembic_version"))
    return record


@pytest.mark.parametrize("versioned", [True, False])
async def test_a_database_of_the_first_revision_is_brought_up_to_date(
    store_url: str, versioned: bool
) -> None:
    record = written_by_the_first_revision(store_url, versioned=versioned)
    for _ in range(2):  # the second start finds it up to date
        store = open_store(store_url)
        assert (await store.load(EARLY)).events == (record,)
        await store.close()
    store = open_store(store_url)
    changed = rules.modify(record, (price_signal([9.0] * 6),), START)
    await store.commit([SaveEvent(record=changed)])  # conditional on the version the migration found
    assert await store.event("e") == changed
    await store.close()
    with raw(store_url) as connection:
        assert schema.found_revision(connection) == schema.known_revisions()[-1]
        assert "meta" not in inspect(connection).get_table_names()


def test_the_migrations_make_the_tables_the_program_uses(store_url: str) -> None:
    Database(store_url).close()
    with raw(store_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_first_revision_is_the_oldest_and_there_is_one_line_of_them() -> None:
    known = schema.known_revisions()
    assert known[0] == schema.FIRST_REVISION
    assert len(set(known)) == len(known) >= 2


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE alembic_version SET version_num = 'vtn_9999'",
        "DELETE FROM alembic_version",
        "INSERT INTO alembic_version VALUES ('vtn_0002')",
        "DROP TABLE alembic_version",
    ],
)
def test_an_unknown_version_is_refused_and_nothing_is_touched(store_url: str, spoil: str) -> None:
    written_by_the_first_revision(store_url, versioned=True)
    with raw(store_url) as connection:
        connection.execute(text("UPDATE meta SET schema_version = 2"))
        connection.execute(text(spoil))
    before = _picture(store_url)
    with pytest.raises(UnknownSchema):
        open_store(store_url)
    assert _picture(store_url) == before


def _picture(url: str) -> object:
    """Return what would show any change: the bytes of a file, or tables, columns and revision."""
    file = dialects.address_of(url).file
    if file is not None:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    with raw(url) as connection:
        found = inspect(connection)
        return [
            (name, [each["name"] for each in found.get_columns(name)])
            for name in sorted(found.get_table_names())
        ]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 1000)
    with pytest.raises(UnknownSchema):
        open_store(str(path))
    assert path.read_text() == "not a database, " * 1000


def test_somebody_elses_database_is_refused(store_url: str) -> None:
    with raw(store_url) as connection:
        connection.execute(text("CREATE TABLE cats (name VARCHAR)"))
    with pytest.raises(UnknownSchema):
        open_store(store_url)


async def test_a_sqlite_store_is_safe_against_power_cuts(tmp_path: Path) -> None:
    database = Database(tmp_path / "vtn.sqlite")
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    database.close()


def test_postgresql_commits_are_durable_whatever_the_default(postgres_url: str) -> None:
    lax = postgres_url + "%20-csynchronous_commit%3Doff"
    for url, expected in ((lax, "on"), (lax.replace("off", "local"), "local")):
        with raw(url) as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == expected


def test_keys_and_times_sort_by_code_points_whatever_the_servers_language(postgres_url: str) -> None:
    Database(postgres_url).close()
    with raw(postgres_url) as connection:
        found = connection.execute(
            text(
                "SELECT table_name, column_name, collation_name FROM information_schema.columns"
                " WHERE table_schema = current_schema()"
            )
        ).all()
    collations = {(table, column): collation for table, column, collation in found}
    for table in Base.metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, KeyText):
                assert collations[table.name, column.name] == "C", column


# --- where a store is --------------------------------------------------------------------------------------


def test_addresses(tmp_path: Path) -> None:
    assert dialects.address_of("sqlite:///a/b.sqlite").file == Path("a/b.sqlite")
    assert dialects.address_of("sqlite:////a/b.sqlite").file == Path("/a/b.sqlite")
    assert dialects.address_of("b.sqlite").file == Path("b.sqlite")
    assert dialects.address_of(tmp_path).file == tmp_path
    found = dialects.address_of("postgresql://me:secret@host/db")
    assert found.file is None
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "url",
    ["", "sqlite://", "sqlite:///:memory:", "sqlite://host/x", "mysql://h/db", "oracle://h", "a://:b:c"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadStoreUrl):
        open_store(url)


def test_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    for url in (str(tmp_path / "missing" / "vtn.sqlite"), f"postgresql:///db?host={tmp_path}"):
        with pytest.raises(StoreUnavailable):
            open_store(url)


# --- one process a file ------------------------------------------------------------------------------------


async def test_a_second_opening_of_a_file_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "vtn.sqlite"
    first = open_store(str(path))
    with pytest.raises(StoreInUse):
        open_store(f"sqlite:///{path}")
    await first.close()
    await open_store(str(path)).close()


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "vtn.sqlite"
    code = (
        "import sys; from vtn_server.sqlstore import SqlStore\n"
        "store = SqlStore(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(StoreInUse):
            open_store(str(path))
        child.kill()
        child.wait()
    Database(path).close()


def test_a_lock_can_be_released_twice(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x")
    lock.release()
    lock.release()
    FileLock(tmp_path / "x").release()


def old_reading(number: int, **changes: str | float | None) -> dict[str, str | float | None]:
    """Return a row of the readings as it was before they were stored by the hour."""
    start = START + timedelta(minutes=number)
    return {
        "report_specifier_id": "meter",
        "start": start.isoformat(),
        "ven_id": "alice",
        "r_id": "power",
        "report_request_id": "r",
        "report_name": "TELEMETRY_USAGE",
        "duration": "PT1M",
        "value": 0.1 * number,
        "status": None,
        "data_quality": None,
        "received_at": START.isoformat(),
        **changes,
    }


async def test_readings_of_an_older_store_are_kept(store_url: str) -> None:
    """Ninety regular minutes, a correction among them, odd times, a status, and another specifier."""
    status = '{"online":true,"manual_override":false}'
    odd = (START + timedelta(minutes=7, microseconds=5)).isoformat()
    rows = [
        *(old_reading(number) for number in range(90) if number != 30),
        old_reading(30, report_request_id="correction", value=-1.5),
        *(old_reading(number, ven_id="bob", data_quality="good") for number in (0, 1, 5)),
        old_reading(7, ven_id="bob", start=odd, duration=None),
        old_reading(3, r_id="state", value=None, status=status),
        old_reading(600, value=float("inf")),
        old_reading(4, report_specifier_id="other"),
    ]
    _written_before_the_blocks(store_url, rows)
    store = open_store(store_url)
    found = {
        specifier: await store.readings(report_specifier_id=specifier, start=EARLY, end=START + 30 * DAY)
        for specifier in ("meter", "other")
    }
    await store.close()
    assert [_as_old(each) for specifier in found for each in found[specifier]] == sorted(
        rows, key=lambda row: [str(row[name]) for name in ("report_specifier_id", "start", "ven_id", "r_id")]
    )
    with raw(store_url) as connection:
        assert "readings" not in inspect(connection).get_table_names()
        assert connection.execute(text("SELECT COUNT(*) FROM reading_blocks")).scalar_one() == 7


async def test_readings_of_an_older_store_at_the_end_of_the_calendar_are_kept(store_url: str) -> None:
    starts = [f"9999-12-31T23:{minute:02}:00+00:00" for minute in (0, 50, 55)]
    rows = [old_reading(0, start=start) for start in starts]
    _written_before_the_blocks(store_url, rows)
    store = open_store(store_url)
    end = datetime.max.replace(tzinfo=UTC)
    found = await store.readings(report_specifier_id="meter", start=EARLY, end=end)
    await store.close()
    assert [_as_old(each) for each in found] == rows


def _written_before_the_blocks(url: str, rows: list[dict[str, str | float | None]]) -> None:
    with raw(url) as connection:
        command.upgrade(schema._config(connection), "vtn_0004")
        names = ", ".join(rows[0])
        values = ", ".join(f":{name}" for name in rows[0])
        connection.execute(text(f"INSERT INTO readings ({names}) VALUES ({values})"), rows)


def _as_old(reading: Reading) -> dict[str, str | float | None]:
    return {
        "report_specifier_id": reading.report_specifier_id,
        "start": reading.start.isoformat(),
        "ven_id": reading.ven_id,
        "r_id": reading.r_id,
        "report_request_id": reading.report_request_id,
        "report_name": reading.report_name,
        "duration": None if reading.duration is None else str(reading.duration),
        "value": reading.value,
        "status": None if reading.status is None else JsonForm(ResourceStatus).dumps(reading.status),
        "data_quality": reading.data_quality,
        "received_at": reading.received_at.isoformat(),
    }
