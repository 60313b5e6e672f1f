"""How the processes on one PostgreSQL hear of each other's commits: LISTEN and NOTIFY.

A note leaves with its commit, or not at all, and everybody gets the notes in the order of the commits, for as
long as its connection lives. A note may need several notifications, as PostgreSQL bounds their length; they
have one commit.

One process at a time leads: it holds an advisory lock on its line, which goes when the line goes, however
that comes about. The database ends a line on which nothing is said for ``_SILENT_MS``: a process that has
stopped, or whose machine has, leads no more, although nobody has closed its connection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from vtn_server.dialects import connection_bounds
from vtn_server.store import LineLost, Note

__all__ = ["PgLine", "channel_of", "note_texts", "read_note"]

_MOST: Final = 100
"""Ids of a kind in one notification."""
_SILENT_MS: Final = 10_000
_BOUND: Final = (
    "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = 'idle_session_timeout'"  # from 14 on
)
_LONGEST: Final = 7900
"""Bytes; PostgreSQL takes less than 8000."""


def channel_of(schema: str) -> str:
    """Return the channel of a schema; two VTNs in one database do not hear each other."""
    return f"feederloop_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


def _leader_key(channel: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{channel} leader".encode()).digest()[:8], signed=True)


# --- notes as text -----------------------------------------------------------------------------------------


def note_texts(note: Note) -> Iterator[str]:
    """Yield a note as text, in as many parts as it needs, the numbers last; none if it says nothing."""
    kinds: tuple[Iterator[Any], ...] = (
        iter(sorted(note.vens)),
        iter(sorted(note.events)),
        iter(sorted(note.opts)),
        iter(sorted(note.deliveries)),
    )
    while any(lists := [list(islice(each, _MOST)) for each in kinds]):
        yield from _fitting(note.origin, lists)
    if note.identities or note.ping:
        yield json.dumps([note.origin, [], [], [], [], note.identities, note.ping])


def _fitting(origin: str, lists: list[list[Any]]) -> Iterator[str]:
    """Yield a part, halved until it fits."""
    found = json.dumps([origin, *lists, 0, 0], ensure_ascii=False, separators=(",", ":"))
    if len(found.encode()) <= _LONGEST:
        yield found
    elif max(map(len, lists)) > 1:
        halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in lists]
        yield from _fitting(origin, [first for first, _ in halves])
        yield from _fitting(origin, [second for _, second in halves])
    else:  # long ids
        for index, each in enumerate(lists):
            if each:
                alone: list[list[Any]] = [[] for _ in lists]
                alone[index] = each
                yield json.dumps([origin, *alone, 0, 0], ensure_ascii=False, separators=(",", ":"))


def read_note(text: str) -> Note:
    """Return the note in a text.

    Raises:
        ValueError: if there is none.
    """
    try:
        origin, vens, events, opts, deliveries, identities, ping = json.loads(text)
        return Note(
            origin=origin,
            vens=frozenset(vens),
            events=frozenset(events),
            opts=frozenset((event_id, ven_id) for event_id, ven_id in opts),
            deliveries=frozenset(deliveries),
            identities=identities,
            ping=ping,
        )
    except TypeError as err:
        raise ValueError(f"no note: {text[:80]!r}") from err


# --- the line ----------------------------------------------------------------------------------------------


class PgLine:
    """One process's connection to the others; make it with :meth:`open`.

    It is two connections, as one of them does nothing but listen.
    """

    def __init__(
        self,
        ear: psycopg.AsyncConnection[Any],
        mouth: psycopg.AsyncConnection[Any],
        channel: str,
        origin: str,
    ) -> None:
        self._ear = ear
        self._mouth = mouth
        self._channel = channel
        self._origin = origin
        self._leads = False

    @classmethod
    async def open(cls, engine: Engine, channel: str, origin: str) -> PgLine:
        """Return a line on which every commit is told of that ends from now on.

        Raises:
            LineLost: if there is none to be had.
        """
        arguments, options = engine.dialect.create_connect_args(engine.url)
        options = {**connection_bounds(engine.url), **options, "autocommit": True}
        try:
            async with AsyncExitStack() as stack:
                ear = await psycopg.AsyncConnection.connect(*arguments, **options)
                stack.push_async_callback(ear.close)
                await ear.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                mouth = await psycopg.AsyncConnection.connect(*arguments, **options)
                stack.push_async_callback(mouth.close)
                await mouth.execute(_BOUND, (str(_SILENT_MS),))
                stack.pop_all()
        except psycopg.Error as err:
            raise LineLost(f"no line to the other processes: {err}") from err
        return cls(ear, mouth, channel, origin)

    async def notes(self) -> AsyncIterator[Note]:
        """Yield the notes of all; see :class:`vtn_server.store.Line`."""
        try:
            async for each in self._ear.notifies():
                yield read_note(each.payload)
        except (psycopg.Error, ValueError) as err:
            raise LineLost(f"nothing is heard of the other processes: {err}") from err
        raise LineLost("nothing is heard of the other processes: the line is closed")

    async def ping(self, number: int) -> None:
        """Send a note to all; see :class:`vtn_server.store.Line`."""
        (text,) = note_texts(Note(origin=self._origin, ping=number))
        await self._say("SELECT pg_notify(%s, %s)", (self._channel, text))

    async def lead(self) -> bool:
        """Return whether this process leads; see :class:`vtn_server.store.Line`."""
        if not self._leads:
            key = _leader_key(self._channel)
            self._leads = bool(await self._say("SELECT pg_try_advisory_lock(%s)", (key,)))
        return self._leads

    async def _say(self, statement: str, parameters: tuple[object, ...]) -> object:
        try:
            cursor = await self._mouth.execute(statement, parameters)
            row = await cursor.fetchone()
        except psycopg.Error as err:
            raise LineLost(f"nothing can be said to the other processes: {err}") from err
        return None if row is None else row[0]

    @property
    def is_closed(self) -> bool:
        """Whether it was let go."""
        return self._ear.closed and self._mouth.closed

    async def close(self) -> None:
        """Let it go."""
        await self._mouth.close()
        await self._ear.close()
