"""One VTN process, or its way to the database, comes to a halt; the others on the database go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect

from schemas.oadr20b import model as m
from tests.unit.vtn.process_rig import all_caught_up, processes
from tests.unit.vtn.rig import ALICE, BOB, START, Rig, draft
from tests.unit.vtn.test_vtn_opt import schedule
from tests.unit.vtn.test_vtn_schema import raw
from vtn_server import pgline, sqlmembers
from vtn_server.decision import RaiseVersion
from vtn_server.dialects import address_of, open_engine, schema_of
from vtn_server.pgline import PgLine, channel_of
from vtn_server.rows import RowForms
from vtn_server.sqlmembers import write_members
from vtn_server.sqlstore import SqlStore, open_store
from vtn_server.store import Pruned

PATIENCE_S = 15.0


@contextmanager
def holding(url: str, statement: str) -> Iterator[Connection]:
    """Hold what a statement locks."""
    with raw(url) as connection:
        connection.execute(text(statement))
        yield connection


@contextmanager
def holding_alice(url: str) -> Iterator[Connection]:
    """Hold the row of a VEN, as a process does that has stopped in the middle of a transaction."""
    with holding(url, f"SELECT 1 FROM vens WHERE ven_id = '{ALICE}' FOR UPDATE") as connection:
        yield connection


@asynccontextmanager
async def one_registered(url: str, count: int = 1) -> AsyncIterator[list[Rig]]:
    """Hold processes with two registered VENs."""
    async with processes(url, count) as rigs:
        await rigs[0].bootstrap("alice")
        await rigs[0].bootstrap("bob")
        await all_caught_up(*rigs)
        yield rigs


def store_of(rig: Rig) -> SqlStore:
    assert isinstance(rig.store, SqlStore)
    return rig.store


# --- others hold what is needed ----------------------------------------------------------------------------


async def test_a_long_question_keeps_nobody_from_hearing_of_the_others(postgres_url: str) -> None:
    async with one_registered(postgres_url, 2) as (a, b):
        with holding(postgres_url, "LOCK TABLE reading_blocks IN ACCESS EXCLUSIVE MODE"):
            asking = asyncio.create_task(
                b.operator.readings(report_specifier_id="s", start=START, end=START + timedelta(days=1))
            )
            await a.operator.publish_events([draft("e")])
            async with asyncio.timeout(PATIENCE_S):
                await b.operator.catch_up()
            await b.poll(ALICE, m.DistributeEvent)
            assert not asking.done()
        assert await asking == ()


async def test_what_is_locked_holds_up_its_own_ven_only(postgres_url: str) -> None:
    async with one_registered(postgres_url) as (a,):
        with holding_alice(postgres_url):
            waiting = asyncio.create_task(a.send(schedule("a"), m.CreatedOpt))
            other = asyncio.create_task(a.send(replace(schedule("b"), ven_id=BOB), m.CreatedOpt))
            async with asyncio.timeout(PATIENCE_S):
                await other
            assert not waiting.done()
        await waiting
        assert {ven_id: len(each) for ven_id, each in a.operator.schedules(START).items()} == {
            ALICE: 1,
            BOB: 1,
        }


async def test_a_transaction_that_says_nothing_is_ended(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_registered(postgres_url) as (a,):
        ven = a.service.memory.ven(ALICE)
        assert ven is not None
        engine = open_engine(address_of(postgres_url))
        stopped = engine.connect()
        with monkeypatch.context() as patch:
            patch.setattr(sqlmembers, "_SILENT_MS", 100, raising=False)
            write = RaiseVersion(ven_id=ALICE, version=ven.version + 1)
            write_members(stopped, RowForms(), [[write]], channel=channel_of(schema_of(engine)), origin="x")
        async with asyncio.timeout(PATIENCE_S):
            await a.send(schedule("a"), m.CreatedOpt)  # what it had begun is undone, or this would be refused
        stopped.invalidate()
        stopped.close()
        engine.dispose()


# --- connections are lost ----------------------------------------------------------------------------------


async def end_whoever_waits(url: str) -> None:
    """End the connection that waits for a lock."""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with raw(url) as connection:
                if connection.execute(text(ended)).scalars().all():
                    return
            await asyncio.sleep(0.01)  # the database has to come to it


async def test_a_connection_lost_before_the_commit_costs_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlmembers, "_WAIT_MS", 60_000, raising=False)
    async with one_registered(postgres_url) as (a,):
        with holding_alice(postgres_url):
            sending = asyncio.create_task(a.send(schedule("a"), m.CreatedOpt))
            await end_whoever_waits(postgres_url)
        await sending
        assert not a.service.is_broken
        assert len(a.operator.schedules(START)[ALICE]) == 1


async def test_a_database_that_takes_nobody_in_is_come_back_to(postgres_url: str) -> None:
    async with one_registered(postgres_url) as (a,):
        engine = store_of(a)._database.engine
        refused: list[bool] = []
        engine.dispose()

        def refuse(dialect: Dialect, record: object, args: object, options: object) -> DBAPIConnection | None:
            del dialect, record, args, options
            if len(refused) < 3:
                refused.append(True)
                raise psycopg.OperationalError("the database system is starting up")
            return None

        event.listen(engine, "do_connect", refuse)
        async with asyncio.timeout(PATIENCE_S):
            await a.send(schedule("a"), m.CreatedOpt)
        assert len(refused) == 3
        assert not a.service.is_broken


async def test_a_connection_lost_in_the_commit_ends_the_process(postgres_url: str) -> None:
    """Whether it was made durable is not known: only a new start tells."""
    async with one_registered(postgres_url) as (a,):

        def cut(connection: Connection) -> None:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with raw(postgres_url) as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

        event.listen(store_of(a)._database.engine, "commit", cut)
        assert (await a.post(schedule("a")))[0] == 503
        event.remove(store_of(a)._database.engine, "commit", cut)
        assert a.service.is_broken
        assert (await a.post(m.Poll(ven_id=ALICE)))[0] == 503


# --- leading -----------------------------------------------------------------------------------------------


async def test_who_says_nothing_leads_no_more(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that is stopped, or whose machine is: its connection is not closed by anybody."""
    engine = open_engine(address_of(postgres_url))
    channel = channel_of(schema_of(engine))
    with monkeypatch.context() as patch:
        patch.setattr(pgline, "_SILENT_MS", 500, raising=False)
        first = await PgLine.open(engine, channel, "first")
    second = await PgLine.open(engine, channel, "second")
    try:
        assert await first.lead()
        async with asyncio.timeout(PATIENCE_S):
            while not await second.lead():
                await asyncio.sleep(0.05)  # the database has to notice
    finally:
        await first.close()
        await second.close()
        engine.dispose()


# --- the end of what is old --------------------------------------------------------------------------------


async def test_answers_are_tidied_however_many_events_there_are(postgres_url: str) -> None:
    """Where a table of all events is too much for the memory of a statement, as it is after some months."""
    store = open_store(f"{postgres_url}%20-cwork_mem%3D64kB%20-cstatement_timeout%3D5s")
    number = "generate_series(1, 30000)"
    with raw(postgres_url) as connection:
        connection.execute(
            text(
                "INSERT INTO events (event_id, over_at, version, body)"
                f" SELECT 'an event of this street ' || number, '', 0, '' FROM {number} AS number"
            )
        )
        connection.execute(
            text(
                "INSERT INTO event_opts (event_id, ven_id, body) SELECT event_id, 'v', '' FROM events"
                " UNION ALL SELECT 'gone', 'v', ''"
            )
        )
    with raw(postgres_url) as connection:
        connection.execute(text("ANALYZE events"))
    assert await store.prune(readings_before=None, events_before=START) == Pruned(opts=1)
    await store.close()
