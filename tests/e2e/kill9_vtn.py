"""The process of a VTN that gets killed, one life after the other, as the test sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Answers(Protocol):
    """A VTN, of one process or several, as those who use it see it."""

    @property
    def port(self) -> int:
        """Where to send the next request."""
        ...

    @property
    def life(self) -> int:
        """How often it has come up."""
        ...

    async def alive(self, after_life: int) -> int:
        """Return the life that runs, once it is worth trying again after one."""
        ...

    async def command(self, **what: object) -> Any:
        """Let the operator do something; return the answer.

        Raises:
            Died: if there was none.
        """
        ...


ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""Far more than anything takes: only a bug waits so long."""


class Died(Exception):
    """The VTN is gone; what was asked may or may not have happened."""


class Vtn:
    """A VTN with one life after the other.

    Args:
        url: Its store.
        folder: For the socket its operator talks through.
        name: Of the socket.
    """

    def __init__(self, url: str, folder: Path, name: str = "operator") -> None:
        self._url = url
        self._socket = folder / name
        self._server: asyncio.Server | None = None
        self._born: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._nursery: Process | None = None
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lives = asyncio.Condition()
        self._talk = asyncio.Lock()
        self._pid = 0
        self.life = 0
        self.up = False
        self.port = 0

    async def start(self, where: str, count: int) -> None:
        """Begin a new life, in which the VTN dies around one of its commits."""
        nursery = await self._prepared()
        life = {"url": self._url, "where": where, "count": count, "socket": str(self._socket)}
        nursery.stdin.write(json.dumps(life).encode() + b"\n")  # type: ignore[union-attr]  # it is a pipe
        self._line = await asyncio.wait_for(self._born.get(), PATIENCE_S)
        first = json.loads(await self._line[0].readline())
        self.port, self._pid = first["port"], first["pid"]
        async with self._lives:
            self.life += 1
            self.up = True
            self._lives.notify_all()

    async def _prepared(self) -> Process:
        if self._nursery is None:
            self._server = await asyncio.start_unix_server(
                lambda reader, writer: self._born.put_nowait((reader, writer)), self._socket
            )
            self._nursery = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.e2e.kill9_child", cwd=ROOT, stdin=PIPE, stdout=PIPE
            )
        return self._nursery

    async def end(self, after_s: float | None) -> None:
        """Wait until it dies, or kill it after a while."""
        assert self._nursery is not None
        assert self._nursery.stdout is not None
        death = asyncio.ensure_future(self._nursery.stdout.readline())
        done, _ = await asyncio.wait({death}, timeout=PATIENCE_S if after_s is None else after_s)
        if not done:
            assert after_s is not None, "the VTN never came to the commit at which it dies"
            os.kill(self._pid, signal.SIGKILL)
        self.up = False
        assert json.loads(await death) == {"signal": signal.SIGKILL}
        self._hang_up()

    async def close(self) -> None:
        """End whatever still runs."""
        if self._nursery is not None:
            if self.up:
                os.kill(self._pid, signal.SIGKILL)
            self._nursery.kill()
            await self._nursery.wait()
        self._hang_up()
        if self._server is not None:
            self._server.close()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line[1].close()

    async def alive(self, after_life: int) -> int:
        """Return the life that runs, once it is a later one than that."""
        async with self._lives:
            await self._lives.wait_for(lambda: self.up and self.life > after_life)
        return self.life

    async def command(self, **what: object) -> Any:
        """Let the operator do something; return the answer.

        Raises:
            Died: if there was none.
        """
        async with self._talk:
            assert self._line is not None
            reader, writer = self._line
            try:
                writer.write(json.dumps(what).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            except (ConnectionError, BrokenPipeError) as err:
                raise Died from err
            if not line.endswith(b"\n"):
                raise Died
            return json.loads(line)["answer"]


async def persist(vtn: Answers, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an attempt gives, in whichever life of the VTN it succeeds."""
    life = await vtn.alive(vtn.life - 1)
    while True:
        try:
            return await attempt()
        except Died:
            life = await vtn.alive(life)
