"""How a process follows the others on a line of ours, without a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from tests.unit.vtn.rig import START
from vtn_server.catchup import Follower
from vtn_server.settings import FollowLimits
from vtn_server.store import Line, Note, Snapshot, Versions
from vtn_server.world import Memory

NOTHING = Snapshot(vens=(), events=(), opts=())
PATIENCE_S = 20.0


class FakeLine:
    """A line on which only this process speaks."""

    def __init__(self, ping: Callable[[FakeLine, int], Awaitable[None]]) -> None:
        self.heard: asyncio.Queue[Note] = asyncio.Queue()
        self._ping = ping
        self.closed = False

    def say(self, number: int) -> None:
        self.heard.put_nowait(Note(origin="me", ping=number))

    async def notes(self) -> AsyncIterator[Note]:
        while True:
            yield await self.heard.get()

    async def ping(self, number: int) -> None:
        await self._ping(self, number)

    async def lead(self) -> bool:
        return True

    async def close(self) -> None:
        self.closed = True


async def comes_back(line: FakeLine, number: int) -> None:
    line.say(number)


class FakeSharing:
    """A store in which nothing changes."""

    origin = "me"

    def __init__(self) -> None:
        self.lines: list[FakeLine] = []
        self.faults: list[Exception] = []
        self.asked: list[Note] = []

    async def open_line(self) -> Line:
        self.lines.append(FakeLine(comes_back))
        return self.lines[-1]

    async def changed(self, note: Note) -> Snapshot:
        self.asked.append(note)
        if self.faults:
            raise self.faults.pop()
        return NOTHING

    async def versions(self, over_after: datetime) -> Versions:
        del over_after
        return Versions(vens=(), events=(), deliveries=(), identities=0)


@asynccontextmanager
async def following(sharing: FakeSharing, line: FakeLine, limits: FollowLimits) -> AsyncIterator[Follower]:
    follower = Follower(
        sharing,
        Memory(NOTHING, START),
        now=lambda: START,
        over_by=lambda now: now,
        on_work=lambda ven_id: None,
        limits=limits,
    )
    follower.start(line)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield follower
    finally:
        await follower.close()


async def test_a_line_that_does_not_answer_is_lost() -> None:
    """A connection that nobody has closed, but on which nothing comes through."""

    async def hangs(line: FakeLine, number: int) -> None:
        await asyncio.Event().wait()

    sharing, line = FakeSharing(), FakeLine(hangs)
    async with following(sharing, line, FollowLimits(deaf_s=0.05, pause_s=0.0, patience_s=60.0)) as follower:
        await follower.catch_up()
        assert line.closed
        assert len(sharing.lines) == 1


async def test_a_fault_ends_no_following() -> None:
    sharing, line = FakeSharing(), FakeLine(comes_back)
    async with following(sharing, line, FollowLimits(pause_s=0.0, patience_s=60.0)) as follower:
        sharing.faults = [KeyError("of somebody's program")]
        line.heard.put_nowait(Note(origin="another", vens=frozenset(["v"])))
        await follower.catch_up()
        assert line.closed
        assert not sharing.faults


async def test_what_many_commits_changed_is_read_at_one_go() -> None:
    """And at once where somebody waits: here the pause would last for an hour."""
    sharing, line = FakeSharing(), FakeLine(comes_back)
    async with following(sharing, line, FollowLimits(gather_s=3600.0, patience_s=60.0)) as follower:
        for ven_id in ("a", "b"):
            line.heard.put_nowait(Note(origin="another", vens=frozenset([ven_id])))
            for _ in range(10):
                await asyncio.sleep(0)  # so that it is heard
            assert not sharing.asked
        await follower.catch_up()
        assert [each.vens for each in sharing.asked] == [frozenset(["a", "b"])]


async def test_a_line_in_steady_use_is_not_lost() -> None:
    """Where somebody always wants to catch up, the last note is always still on its way."""
    limits = FollowLimits(deaf_s=3.0, beat_s=60.0, patience_s=60.0)
    asking: list[asyncio.Task[None]] = []
    passed_s = 0.0

    class Loop:
        """The event loop, in a time in which a note takes two seconds."""

        def time(self) -> float:
            return passed_s

        def __getattr__(self, name: str) -> object:
            return getattr(asyncio.get_running_loop(), name)

    async def behind(line: FakeLine, number: int) -> None:
        """Say what was said before, and make somebody ask again meanwhile."""
        nonlocal passed_s
        passed_s += 2.0
        if len(asking) < 10:
            asking.append(asyncio.create_task(follower.catch_up()))
            line.say(number - 1)
        else:
            line.say(number)
        for _ in range(5):
            await asyncio.sleep(0)  # so that it is heard

    sharing, line = FakeSharing(), FakeLine(behind)
    async with following(sharing, line, limits) as follower:
        follower._loop = Loop()  # type: ignore[assignment]  # it stands for one
        await follower.catch_up()
        for number in range(10):
            await asking[number]
        assert not sharing.lines
