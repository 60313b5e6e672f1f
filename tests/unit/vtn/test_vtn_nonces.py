"""Nonces in the stores: one contract for all of them; restarts, kills, other processes, backups."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.vtn.rig import START, MemoryStore
from tests.unit.vtn.test_vtn_schema import raw
from vtn_server.maintenance import Counts, backup, restore
from vtn_server.nonces import StoredNonces
from vtn_server.sqlstore import open_store
from vtn_server.store import Store, StoreFailed, StoreUnavailable

WINDOW = timedelta(seconds=300)
KEYS = tuple(f"{number:064x}" for number in range(50))

CHILD = """
import asyncio, sys
from datetime import datetime
from vtn_server.sqlstore import open_store

async def main():
    store = open_store(sys.argv[1])
    for number in range(int(sys.argv[2]), int(sys.argv[3])):
        print(f"{number:064x}", await store.remember(f"{number:064x}", datetime.fromisoformat(sys.argv[4])),
              flush=True)
    if sys.argv[5] == "stay":
        await asyncio.Event().wait()
    await store.close()

asyncio.run(main())
"""


async def test_a_nonce_is_new_once(store: Store) -> None:
    assert await store.remember(KEYS[0], START)
    assert not await store.remember(KEYS[0], START)
    assert not await store.remember(KEYS[0], START + timedelta(seconds=1))
    assert await store.remember(KEYS[1], START)


async def test_only_one_of_many_at_once_is_first(store: Store) -> None:
    asked = [key for key in KEYS for _ in range(3)]
    answers = await asyncio.gather(*(store.remember(key, START) for key in asked))
    assert [sum(answers[i : i + 3]) for i in range(0, len(asked), 3)] == [1] * len(KEYS)


async def test_old_nonces_are_forgotten_and_young_ones_not(store: Store) -> None:
    for number, key in enumerate(KEYS):
        await store.remember(key, START + timedelta(seconds=number))
    await store.forget_nonces(START + timedelta(seconds=25))
    again = [await store.remember(key, START) for key in KEYS]
    assert again == [True] * 25 + [False] * 25


async def test_many_old_nonces_go_in_portions(store_url: str) -> None:
    store = open_store(store_url)
    keys = [f"{number:064x}" for number in range(2000)]
    await asyncio.gather(*(store.remember(key, START) for key in keys))
    await store.remember("f" * 64, START + WINDOW)
    await store.forget_nonces(START + WINDOW)
    await store.close()
    with raw(store_url) as connection:
        assert connection.exec_driver_sql("SELECT nonce FROM nonces").scalars().all() == ["f" * 64]


async def test_the_table_is_tidied_as_messages_come() -> None:
    store = MemoryStore()
    now = [START]
    nonces = StoredNonces(store, now=lambda: now[0], window=WINDOW)
    assert await nonces.remember(KEYS[0], START)
    now[0] += WINDOW
    assert not await nonces.remember(KEYS[0], START)  # a message of that age would be taken still
    now[0] += timedelta(seconds=60)
    assert not await nonces.remember(KEYS[0], START)  # nor is it the oldest that another process may take
    now[0] += timedelta(seconds=30)
    assert await nonces.remember(KEYS[0], START)  # the verifiers refuse it by its age


async def test_a_clock_that_is_ahead_forgets_nothing_that_others_would_take() -> None:
    store = MemoryStore()
    ahead = StoredNonces(store, now=lambda: START + WINDOW + timedelta(seconds=5), window=WINDOW)
    right = StoredNonces(store, now=lambda: START + WINDOW - timedelta(seconds=1), window=WINDOW)
    assert await right.remember(KEYS[0], START)
    assert await ahead.remember(KEYS[1], START + WINDOW)
    assert not await right.remember(KEYS[0], START)


class Untidy(MemoryStore):
    """A store in which nothing can be deleted."""

    async def forget_nonces(self, signed_before: datetime) -> None:
        raise StoreUnavailable("not now")


async def test_what_cannot_be_deleted_keeps_no_message_out(caplog: pytest.LogCaptureFixture) -> None:
    nonces = StoredNonces(Untidy(), now=lambda: START, window=WINDOW)
    assert await nonces.remember(KEYS[0], START)
    assert "not deleted" in caplog.text


async def test_nonces_share_the_transaction_of_what_is_written_meanwhile(store_url: str) -> None:
    store = open_store(store_url)
    await asyncio.gather(*(store.remember(key, START) for key in KEYS))
    assert store.commits <= 2
    await store.close()


async def test_a_nonce_outlives_its_process(store_url: str) -> None:
    store = open_store(store_url)
    await store.remember(KEYS[0], START)
    await store.close()
    store = open_store(store_url)
    assert not await store.remember(KEYS[0], START)
    assert await store.remember(KEYS[1], START)
    await store.close()


def child(url: str, first: int, last: int, then: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CHILD, url, str(first), str(last), START.isoformat(), then]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


async def test_a_nonce_outlives_a_kill(store_url: str) -> None:
    """What was answered is on the disk, though the process never got to close anything."""
    process = child(store_url, 0, 5, "stay")
    assert process.stdout is not None
    told = [process.stdout.readline().split() for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    assert told == [[key, "True"] for key in KEYS[:5]]
    store = open_store(store_url)
    assert [await store.remember(key, START) for key in KEYS[:6]] == [False] * 5 + [True]
    await store.close()


async def test_processes_on_one_postgresql_decide_as_one(postgres_url: str) -> None:
    open_stores = [open_store(postgres_url), open_store(postgres_url)]
    process = child(postgres_url, 0, 20, "go")
    answers = await asyncio.gather(
        *(store.remember(key, START) for key in KEYS[:20] for store in open_stores)
    )
    out, _ = await asyncio.to_thread(process.communicate, timeout=30)
    others = [line.split()[1] == "True" for line in out.splitlines()]
    firsts = [answers[2 * i] + answers[2 * i + 1] + others[i] for i in range(20)]
    assert firsts == [1] * 20
    for store in open_stores:
        await store.close()


async def test_a_store_that_failed_accepts_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "vtn.sqlite"
    store = open_store(str(path))
    await store.remember(KEYS[0], START)
    with raw(f"sqlite:///{path}") as connection:
        connection.exec_driver_sql("DROP TABLE nonces")
    for key in KEYS[1:3]:
        with pytest.raises(StoreFailed):
            await store.remember(key, START)
    await store.close()


@pytest.mark.parametrize("portable", [False, True])
async def test_nonces_are_in_a_backup(store_url: str, tmp_path: Path, portable: bool) -> None:
    store = open_store(store_url)
    await store.remember(KEYS[0], START + timedelta(microseconds=1))
    assert backup(store_url, tmp_path / "copy", portable=portable) == Counts(nonces=1)
    await store.close()
    other = str(tmp_path / "other.sqlite")
    assert restore(tmp_path / "copy", other) == Counts(nonces=1)
    again = open_store(other)
    assert not await again.remember(KEYS[0], START)
    await again.close()


def test_a_dump_of_before_there_were_nonces_is_read(tmp_path: Path) -> None:
    store_file = str(tmp_path / "vtn.sqlite")
    asyncio.run(open_store(store_file).close())
    backup(store_file, tmp_path / "new", portable=True)
    old = (tmp_path / "new").read_text(encoding="utf-8").replace('"version":2', '"version":1')
    (tmp_path / "old").write_text(old, encoding="utf-8")
    assert restore(tmp_path / "old", str(tmp_path / "other.sqlite")) == Counts()
