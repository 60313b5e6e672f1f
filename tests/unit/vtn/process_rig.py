"""Several VTN processes on one PostgreSQL: here several services in one, each with a store of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import text

from tests.unit.vtn.rig import (
    SETTINGS,
    Rig,
)
from tests.unit.vtn.test_vtn_schema import raw
from vtn_server.catchup import Follower
from vtn_server.settings import FollowLimits, VtnSettings
from vtn_server.sqlstore import open_store
from vtn_server.store import Line, Note, Sharing, Snapshot, Versions

PATIENT = FollowLimits(deaf_s=60.0, stale_s=120.0, patience_s=60.0)
"""A busy machine shall not be taken for a broken one."""


def follower_of(rig: Rig) -> Follower:
    follower = rig.service.books.follower
    assert follower is not None
    return follower


@asynccontextmanager
async def processes(url: str, count: int, settings: VtnSettings = SETTINGS) -> AsyncIterator[list[Rig]]:
    """Hold so many VTNs on one database."""
    rigs: list[Rig] = []
    settings = replace(settings, follow=PATIENT)
    try:
        for number in range(count):
            rigs.append(await Rig(open_store(url), settings, name=f"p{number}-").start())
        yield rigs
    finally:
        for rig in rigs:
            await rig.service.close()
            await rig.store.close()


async def all_caught_up(*rigs: Rig) -> None:
    for rig in rigs:
        await rig.operator.catch_up()


class Gate:
    """Holds back what a process reads of the others."""

    def __init__(self, rig: Rig) -> None:
        self._inner = follower_of(rig)._sharing
        self.opened = asyncio.Event()
        follower_of(rig)._sharing = self  # type: ignore[misc]  # it is final for everybody else

    @property
    def origin(self) -> str:
        return self._inner.origin

    async def open_line(self) -> Line:
        return await self._inner.open_line()

    async def changed(self, note: Note) -> Snapshot:
        await self.opened.wait()
        return await self._inner.changed(note)

    async def versions(self, over_after: object) -> Versions:
        raise AssertionError("the line was lost")


def cut_lines(url: str) -> int:
    """End the connections on which the processes hear each other; return how many there were."""
    with raw(url) as connection:
        found = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN %' AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return len(found.scalars().all())


_: type[Sharing] = Gate  # it does all that it stands for
