"""The servers of a benchmark, each in a process of its own: ours, openleadr's, and a bare aiohttp handler.

Run by :mod:`feederloop.bench.server` with the contestant, the transport, the folder of certificates, the
number of VENs and the event loop. It prints ``listens at URL``, then reads one command a line and answers
each with one line: ``ask`` wants reports of all VENs, ``publish`` gives all of them a new version of one
event of six intervals, and is answered with its modificationNumber. A server logs warnings only, and ends
when the commands do.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

from certs.tls import ServerTls
from config.signature_settings import Signature
from config.tls_settings import Tls
from config.vtn_settings import VtnProgramSettings
from feederloop.bench.grounds import HOST, VTN_ID, Grounds, now
from feederloop.bench.messages import R_ID, SPECIFIER, said
from feederloop.bench.model import Contestant, Transport
from feederloop.bench.peer import OpenleadrServer
from feederloop.process import run_loop, starting
from feederloop.vtn_program import running_vtn
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ResponseRequired, SignalName, SignalType
from schemas.oadr20b.model import EventSignal, Interval, Response
from schemas.oadr20b.simple_http import CONTENT_TYPE
from schemas.oadr20b.units import EUR_PER_KWH
from schemas.oadr20b.xmltypes import Duration
from vtn_server.operator import EventDraft, Operator, ReportRequestDraft, VenId

__all__ = ["main"]

_EVENT: Final = "benchmark"
_PT10M: Final = Duration(minutes=10)
_LONG_AGO: Final = datetime(2024, 1, 1, tzinfo=UTC)


class Contender(Protocol):
    """A server that does what the commands say."""

    url: str

    async def ask(self) -> None:
        """Want reports of all VENs."""
        ...

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber."""
        ...


def _signals(version: int) -> tuple[EventSignal, ...]:
    intervals = tuple(Interval.of_signal(k, _PT10M, 0.01 * (version + k + 1)) for k in range(6))
    return (
        EventSignal(
            intervals=intervals,
            signal_name=SignalName.ELECTRICITY_PRICE,
            signal_type=SignalType.PRICE,
            signal_id="price",
            item_base=EUR_PER_KWH,
        ),
    )


class Ours:
    """``feederloop vtn``, with its store on disk."""

    def __init__(self, url: str, operator: Operator, names: tuple[str, ...]) -> None:
        self.url = url
        self._operator = operator
        self._vens = tuple(VenId(name) for name in names)
        self._version = -1

    @classmethod
    async def start(cls, grounds: Grounds, folder: Path, stack: AsyncExitStack) -> Ours:
        """Start the program as its command line would."""
        grounds.write_vens(folder / "vens.csv")
        plain, own = grounds.transport is Transport.PLAIN, grounds.vtn_files.own[0]
        tls = Tls(certificate=(own.certificate,), key=(own.key,), trust=grounds.vtn_files.trust)
        settings = VtnProgramSettings(
            vtn_id=VTN_ID,
            port=0,
            plain=plain,
            push=False,
            db=f"sqlite:///{folder / 'vtn.sqlite'}",
            vens=folder / "vens.csv",
            tls=Tls() if plain else tls,
            signature=Signature(policy="required" if grounds.transport.signed else "off"),
        )
        with starting():
            vtn = await stack.enter_async_context(running_vtn(settings))
        return cls(vtn.url, vtn.operator, grounds.names)

    async def ask(self) -> None:
        """Want reports of all VENs."""
        draft = ReportRequestDraft(
            report_specifier_id=SPECIFIER,
            r_ids=(R_ID,),
            granularity=Duration(minutes=1),
            report_back_duration=Duration(hours=1),
            start=_LONG_AGO,
        )
        for ven_id in self._vens:
            await self._operator.request_reports(ven_id, [draft])

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber."""
        self._version += 1
        if self._version:
            await self._operator.modify_event(_EVENT, signals=_signals(self._version))
            return self._version
        draft = EventDraft(
            event_id=_EVENT,
            market_context="http://feederloop.example/benchmark",
            dtstart=now().replace(microsecond=0) + timedelta(hours=12),
            duration=Duration(hours=1),
            signals=_signals(0),
            audience=self._vens,
            response_required=ResponseRequired.ALWAYS,
        )
        await self._operator.publish_events([draft])
        return 0


class Bare:
    """An aiohttp handler that reads the body and returns constant bytes: what HTTP alone costs."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    async def start(cls, grounds: Grounds, folder: Path, stack: AsyncExitStack) -> Bare:
        """Start the server."""
        del folder
        body = wire.write(Response(response=said("")))
        headers = {"Content-Type": CONTENT_TYPE}

        async def handle(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=body, headers=headers)

        app = web.Application()
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        plain = grounds.transport is Transport.PLAIN
        context = None if plain else ServerTls(grounds.vtn_files, now()).context
        await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
        return cls(f"{'http' if plain else 'https'}://{HOST}:{runner.addresses[0][1]}")

    async def ask(self) -> None:
        """Do nothing."""

    async def publish(self) -> int:
        """Do nothing."""
        return 0


async def _start(who: Contestant, grounds: Grounds, folder: Path, stack: AsyncExitStack) -> Contender:
    if who is Contestant.OURS:
        return await Ours.start(grounds, folder, stack)
    if who is Contestant.OPENLEADR:
        return await OpenleadrServer.start(grounds, folder, stack)
    return await Bare.start(grounds, folder, stack)


async def _commands() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def _serve(who: Contestant, grounds: Grounds, say: Callable[[str], None]) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="feederloop-bench-")))
        contender = await _start(who, grounds, folder, stack)
        say(f"listens at {contender.url}")
        commands = await _commands()
        while command := (await commands.readline()).decode().strip():
            if command == "publish":
                say(f"done {await contender.publish()}")
            else:
                await contender.ask()
                say("done")


def main() -> None:
    """Serve until the commands end."""
    who, transport, folder, vens, loop = sys.argv[1:6]
    grounds = Grounds(folder=Path(folder), transport=Transport(transport), vens=int(vens))

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    (run_loop if loop == "uvloop" else asyncio.run)(_serve(Contestant(who), grounds, say))


if __name__ == "__main__":
    main()
