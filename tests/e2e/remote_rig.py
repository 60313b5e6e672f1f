"""A day whose engine reaches the VTN over the operator API and reads its meters from a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

from dso_engine.gateway_desk import Change, EventState, Said
from dso_engine.model import PccReading
from dso_engine.ports import TelemetrySource
from feederloop.remote_desk import RemoteDesk
from feederloop.simulation.run import DayRun
from feederloop.telemetry.board import Plausible
from feederloop.telemetry.csv_tail import CsvTail
from vtn_server.api import serve_api
from vtn_server.api_desk import Desk as ApiDesk
from vtn_server.operator import EventDraft
from vtn_server.state import VenId

TOKEN = "0123456789abcdef"


class RemoteLine:
    """Starts the operator API when the engine first speaks, because the VTN starts with the run.

    Implements ``Desk``; ``stack`` ends it.
    """

    def __init__(self, run: DayRun, stack: AsyncExitStack) -> None:
        self._run, self._stack = run, stack
        self._remote: RemoteDesk | None = None

    async def _desk(self) -> RemoteDesk:
        if self._remote is None:
            api = ApiDesk(
                operator=self._run.host.operator,
                now=self._run.clock.now,
                new_id=lambda: "x",
                vtn_id="Feederloop_VTN",
                version="1",
            )
            server = await serve_api(api, TOKEN)
            self._stack.push_async_callback(server.close)
            self._remote = RemoteDesk(server.url, TOKEN)
            self._stack.push_async_callback(self._remote.close)
        return self._remote

    async def known(self) -> frozenset[VenId]:
        return await (await self._desk()).known()

    async def publish(self, drafts: Sequence[EventDraft]) -> None:
        await (await self._desk()).publish(drafts)

    async def modify(self, changes: Sequence[Change]) -> None:
        await (await self._desk()).modify(changes)

    async def events(self, event_ids: Sequence[str]) -> Mapping[str, EventState]:
        return await (await self._desk()).events(event_ids)

    async def readings(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        return await (await self._desk()).readings(specifier, start, end)

    async def distinct(self, specifier: str, start: datetime, end: datetime) -> tuple[Said, ...]:
        return await (await self._desk()).distinct(specifier, start, end)

    async def opted_out(self, at: datetime) -> frozenset[VenId]:
        return await (await self._desk()).opted_out(at)


class WrittenMeters:
    """Meters that write what they show to a file, and the adapter that reads it."""

    def __init__(self, meters: TelemetrySource, run: DayRun, path: Path) -> None:
        plausible = Plausible(max_kw=500.0, max_kvar=500.0, v_low_v=115.0, v_high_v=300.0)
        names = {str(pcc.id): pcc for pcc in run.scenario.network.pccs}
        self._meters, self._path = meters, path
        self._tail = CsvTail(path, names, plausible)
        path.write_text("time,pcc,p_kw,q_kvar,v_v\n", encoding="utf-8")

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        with self._path.open("a", encoding="utf-8") as file:
            for each in await self._meters.read(now):
                when = each.taken_at.isoformat()
                file.write(f"{when},{each.pcc.id},{each.p_kw!r},{each.q_kvar!r},{each.v_v!r}\n")
        return await self._tail.read(now)
