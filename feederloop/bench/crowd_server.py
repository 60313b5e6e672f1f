"""Our VTN before a crowd, in a process of its own: ``feederloop vtn`` as it is, told what to do by lines.

Prints ``listens at URL`` and the memory it has, then answers each command with one line of JSON: ``state`` is
what the process holds; ``touch`` polls for every VEN without a connection, so that all state a VEN comes to
have is there; ``publish`` gives all pull VENs, or all push VENs, a price or a new version of it; ``act`` and
``ask VEN`` are of a soak.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from config.signature_settings import Signature
from config.tls_settings import Tls
from config.vtn_settings import Limits, Retention, VtnProgramSettings
from feederloop.bench.crowd_files import Crowd
from feederloop.bench.grounds import VTN_ID, now
from feederloop.bench.soak_operator import SoakOperator
from feederloop.process import run_loop, starting
from feederloop.vtn_program import RunningVtn, running_vtn
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ResponseRequired, ServiceName, SignalName, SignalType
from schemas.oadr20b.model import EventSignal, Interval, Poll
from schemas.oadr20b.units import EUR_PER_KWH
from schemas.oadr20b.xmltypes import Duration
from vtn_server.operator import EventDraft, VenId
from vtn_server.outbox import is_push
from vtn_server.state import PeerIdentity

__all__ = ["main", "price", "rss_bytes"]

_HOUR: Final = Duration(hours=1)
_SPARE: Final = 200
"""Connections beside those of the VENs."""


def rss_bytes() -> int:
    """Return the memory of this process that is resident."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def price(value: float) -> tuple[EventSignal, ...]:
    """Return a real-time price of one interval, as the engine publishes it."""
    return (
        EventSignal(
            intervals=(Interval.of_signal(0, _HOUR, value),),
            signal_name=SignalName.ELECTRICITY_PRICE,
            signal_type=SignalType.PRICE_RELATIVE,
            signal_id="price",
            item_base=EUR_PER_KWH,
        ),
    )


@dataclass(slots=True)
class Pauses:
    """How long the collector of garbage held everything up."""

    longest_s: float = 0.0
    count: int = 0
    _began_s: float = field(default=0.0)

    def note(self, phase: str, info: dict[str, int]) -> None:
        """Be told of a collection that begins or ends."""
        if phase == "start":
            self._began_s = time.perf_counter()
        elif info["generation"] == 2:
            self.count += 1
            self.longest_s = max(self.longest_s, time.perf_counter() - self._began_s)


def settings_for(crowd: Crowd) -> VtnProgramSettings:
    """Return what the program is told for a crowd."""
    most = crowd.vens + _SPARE
    return VtnProgramSettings(
        vtn_id=VTN_ID,
        port=0,
        push=crowd.push > 0,
        db=f"sqlite:///{crowd.store}",
        ask_reports="loop",
        tls=Tls(certificate=(crowd.server.certificate,), key=(crowd.server.key,), trust=crowd.trust),
        signature=Signature(policy="off"),
        limits=Limits(connections=most, connections_per_address=most),
        retention=Retention(readings="PT1M", events="PT1M", every="PT1M"),
    )


class Served:
    """The VTN, and what it is told.

    Args:
        vtn: The VTN.
        pauses: Of the collector.
    """

    def __init__(self, vtn: RunningVtn, pauses: Pauses) -> None:
        self._vtn = vtn
        self._pauses = pauses
        self._versions: dict[str, int] = {}
        self._soak = SoakOperator(vtn.operator)

    async def told(self, command: list[str]) -> object:
        """Do what a command says; return the answer."""
        match command:
            case ["state"]:
                return self._state()
            case ["touch"]:
                return await self._touch()
            case ["act"]:
                return await self._soak.act()
            case ["ask", ven_id]:
                return await self._soak.ask(ven_id)
            case ["publish", "pull" | "push" as whom]:
                return await self._publish(whom)
            case _:
                raise ValueError(f"no command {command}")

    def _state(self) -> dict[str, object]:
        stats = self._vtn.service.stats()
        return {
            "rss": rss_bytes(),
            "cpu_s": time.process_time(),
            "at_s": time.monotonic(),
            "files": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "longest_collection_s": self._pauses.longest_s,
            "collections": self._pauses.count,
            "pushed": self._versions.get("push", -1) + 1,
            "vens": self._vtn.service.memory.ven_count(),
            "http_errors": dict(stats.http_errors),
            "application_errors": dict(stats.application_errors),
            "closed": dict(stats.closed),
            "messages_in": dict(stats.messages_in),
        }

    def _ids(self, whom: str) -> tuple[VenId, ...]:
        vens = self._vtn.service.memory.vens()
        there = (each for each in vens if each.registration is not None)
        return tuple(each.ven_id for each in there if is_push(each) == (whom == "push"))

    async def _touch(self) -> bool:
        memory = self._vtn.service.memory
        for number, ven_id in enumerate(self._ids("pull")):
            ven = memory.ven(ven_id)
            assert ven is not None  # it was just listed
            peer = PeerIdentity(fingerprint=ven.provision.fingerprint, connection=f"touched {number}")
            body = wire.write(Poll(ven_id=ven_id))
            status, _ = await self._vtn.service.handle(body, peer, ServiceName.OADR_POLL)
            if status != 200:
                raise ValueError(f"{ven_id} was answered with status {status}")
        gc.collect()
        return True

    async def _publish(self, whom: str) -> dict[str, object]:
        began_s, operator = time.monotonic(), self._vtn.operator
        if whom in self._versions:
            self._versions[whom] += 1
            version = self._versions[whom]
            await operator.modify_event(f"price-{whom}", signals=price(0.001 * version))
        else:
            version = self._versions[whom] = 0
            draft = EventDraft(
                event_id=f"price-{whom}",
                market_context="http://feederloop.example/real-time-price",
                dtstart=now().replace(microsecond=0) - timedelta(minutes=1),
                duration=_HOUR,
                signals=price(0.0),
                audience=self._ids(whom),
                response_required=ResponseRequired.NEVER,
            )
            await operator.publish_events([draft])
        return {"version": version, "began_s": began_s, "done_s": time.monotonic()}


@asynccontextmanager
async def _commands() -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    yield reader
    transport.close()


async def _serve(crowd: Crowd) -> None:
    pauses = Pauses()
    async with AsyncExitStack() as stack:
        with starting():
            vtn = await stack.enter_async_context(running_vtn(settings_for(crowd)))
        commands = await stack.enter_async_context(_commands())
        gc.callbacks.append(pauses.note)
        served = Served(vtn, pauses)
        _say(f"listens at {vtn.url} {rss_bytes()}")
        while line := (await commands.readline()).decode().split():
            _say(json.dumps(await served.told(line)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until the commands end."""
    folder, vens, push, port, core = sys.argv[1:6]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    run_loop(_serve(Crowd(folder=Path(folder), vens=int(vens), push=int(push), port=int(port))))


if __name__ == "__main__":
    main()
