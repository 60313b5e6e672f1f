"""A contestant as seen from outside: its process, its CPU clock, its VENs."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from feederloop.bench.grounds import Grounds, client_of
from feederloop.bench.load import BenchError, BenchVen, ProcessClock
from feederloop.bench.model import Contestant, Transport

__all__ = ["ChildServer", "Server"]


@dataclass(slots=True, kw_only=True)
class Server(ABC):
    """A VTN that listens, and the VENs that speak to it.

    Attributes:
        clock: Its CPU time; None where it cannot be read.
        can_publish: Whether it takes commands: publishes events and asks for reports when told to.
    """

    who: Contestant
    transport: Transport
    url: str = ""
    clock: ProcessClock | None = None
    can_publish: bool = False
    vens: list[BenchVen] = field(default_factory=list)

    @abstractmethod
    async def start(self) -> None:
        """Connect the VENs and register them.

        Raises:
            BenchError: if the VTN does not go along.
        """

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber.

        Raises:
            BenchError: if it cannot be told to.
        """
        raise BenchError("this VTN takes no commands")

    async def ask(self) -> None:  # noqa: B027  # a server that takes no commands does nothing
        """Want reports of all VENs, where it can be told to."""

    async def join(self) -> None:
        """Register all VENs, and get to where there is nothing left to fetch.

        Raises:
            BenchError: if the VTN does not go along.
        """
        await asyncio.gather(*(ven.join() for ven in self.vens))
        await self.settle()

    async def settle(self) -> None:
        """Announce the meters again, be asked for reports, and fetch everything.

        Raises:
            BenchError: if the VTN does not go along.
        """
        await self.ask()
        await asyncio.gather(*(ven.drain() for ven in self.vens))

    async def close(self) -> None:
        """End the connections."""
        await asyncio.gather(*(ven.http.close() for ven in self.vens))


@dataclass(slots=True, kw_only=True)
class ChildServer(Server):
    """A server of :mod:`feederloop.bench.child`."""

    grounds: Grounds
    same_loop: bool = False
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, wait until it listens, register the VENs.

        Raises:
            BenchError: if it ends, or does not go along.
        """
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "feederloop.bench.child", self.who.value),
            *(self.transport.value, str(self.grounds.folder), str(self.grounds.vens)),
            "uvloop" if self.same_loop or self.who is Contestant.OURS else "asyncio",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C at a terminal is for us, and we end it
        )
        self.url = await self._line("listens at ")
        self.clock = ProcessClock(self.process.pid)
        self.can_publish = self.who is not Contestant.BARE
        self._connect()
        if self.can_publish:
            await self.join()
        else:
            for ven in self.vens:
                ven.ven_id = ven.name

    def _connect(self) -> None:
        for name in self.grounds.names:
            tls, signer = None, None
            if self.transport is not Transport.PLAIN:
                tls, signer = client_of(self.grounds.ven_files(name), signed=self.transport.signed)
            self.vens.append(BenchVen.connect(name, self.url, tls, signer))

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber.

        Raises:
            BenchError: if the process has ended.
        """
        return int(await self._told("publish"))

    async def ask(self) -> None:
        """Want reports of all VENs.

        Raises:
            BenchError: if the process has ended.
        """
        await self._told("ask")

    async def _told(self, command: str) -> str:
        if self.process is None or self.process.stdin is None:
            raise BenchError("the server was not started")
        self.process.stdin.write(command.encode() + b"\n")
        await self.process.stdin.drain()
        return await self._line("done")

    async def _line(self, start: str) -> str:
        if self.process is None or self.process.stdout is None:
            raise BenchError("the server was not started")
        while line := (await self.process.stdout.readline()).decode():
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise BenchError(f"the server of {self.who} ended")

    async def close(self) -> None:
        """End the connections and the process."""
        await Server.close(self)
        if self.process is None or self.process.stdin is None:
            return
        self.process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
