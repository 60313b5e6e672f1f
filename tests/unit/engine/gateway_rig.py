"""A gateway over a real VTN on a memory store with two homes: in this process, or behind its operator API."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from aiohttp.test_utils import TestServer

from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_day_ahead import DayAheadGateway
from dso_engine.gateway_desk import Desk as VtnDesk
from dso_engine.gateway_desk import LocalDesk
from dso_engine.gateway_messages import Contexts, report_requests
from dso_engine.model import SLOT, HomeId, Pcc, Phase
from feederloop.remote_desk import RemoteDesk
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    SETTINGS,
    START,
    MemoryStore,
    Rig,
    ids_of,
    metadata,
    opted,
    said,
)
from vtn_server.api import application
from vtn_server.api_desk import Desk as ApiDesk
from vtn_server.state import ReportRequestDraft, VenId

TOKEN = "0123456789abcdef"

A, B = HomeId("H01"), HomeId("H02")
HOUR = START + timedelta(hours=2)
SLOT0 = START + SLOT
PCC = Pcc(feeder=1, phase=Phase.B)
OTHER = Pcc(feeder=2, phase=Phase.A)
SPECIFIERS: Mapping[str, tuple[str, ...]] = {
    "offer": ("volume", "limit-price"),
    "day-ahead-offer": ("block-volume", "block-limit-price"),
    "commitment": ("grid-energy", "flexibility-up", "flexibility-down"),
    "meter-energy": ("energy",),
    "switch": ("phase",),
}


class Desk:
    """A VTN, a gateway on it and two homes that have registered; alice has a switch."""

    def __init__(self) -> None:
        self.rig = Rig(MemoryStore(), SETTINGS, self._plan)
        self.gateway = self._gateway(LocalDesk(lambda: self.rig.operator))
        self._requests: dict[tuple[VenId, str], str] = {}
        self._numbers = itertools.count()

    def _gateway(self, desk: VtnDesk) -> OpenAdrGateway:
        self.days = DayAheadGateway(
            desk=desk, vens={A: ALICE, B: BOB}, contexts=Contexts(), seed=7, clock=self
        )
        return OpenAdrGateway(
            desk=desk,
            vens={A: ALICE, B: BOB},
            switches={A: "switch-a"},
            pccs=(PCC, OTHER),
            contexts=Contexts(),
            seed=7,
            clock=self,
        )

    @asynccontextmanager
    async def over_http(self) -> AsyncIterator[None]:
        """Put the operator API between the gateway and the VTN."""
        api = ApiDesk(
            operator=self.rig.operator, now=self.now, new_id=lambda: "x", vtn_id="vtn-1", version="1"
        )
        async with TestServer(application(api, TOKEN)) as server:
            remote = RemoteDesk(str(server.make_url("")), TOKEN)
            self.gateway = self._gateway(remote)
            yield
            await remote.close()

    def now(self) -> datetime:
        return self.rig.now

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        raise AssertionError("the gateway does not sleep")

    @staticmethod
    def _plan(ven: VenId, reports: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
        del ven, now
        return report_requests(reports, START)

    async def start(self) -> Desk:
        await self.rig.start()
        for name in ("alice", "bob"):
            reports = tuple(metadata(s, ids) for s, ids in SPECIFIERS.items())
            ven = await self.rig.bootstrap(name, reports)
            created = await self.rig.poll(ven, m.CreateReport)
            for request in created.requests:
                self._requests[ven, request.specifier.report_specifier_id] = request.report_request_id
            answer = m.CreatedReport(response=said(created.request_id), ven_id=ven)
            await self.rig.send(answer, m.Response)
        return self

    async def report(
        self,
        ven: VenId,
        specifier: str,
        start: datetime,
        *rows: dict[str, float | m.ResourceStatus],
        code: str = "200",
        step: timedelta = SLOT,
    ) -> None:
        """Send one report of rows that last ``step`` each."""
        intervals = tuple(
            m.Interval(
                dtstart=start + k * step,
                duration=Duration.of(step),
                payloads=tuple(
                    m.ReportPayload.of(r_id, value)
                    if isinstance(value, float)
                    else m.ReportPayload(r_id=r_id, payload=value)
                    for r_id, value in row.items()
                ),
            )
            for k, row in enumerate(rows)
        )
        report = m.Report(
            dtstart=start,
            duration=Duration.of(len(rows) * step),
            intervals=intervals,
            report_request_id=self._requests[ven, specifier],
            report_specifier_id=specifier,
            report_name="TELEMETRY_USAGE",
            created_date_time=self.rig.now,
        )
        message = m.UpdateReport(request_id=f"u{next(self._numbers)}", reports=(report,), ven_id=ven)
        await self.rig.send(message, m.UpdatedReport, code)

    async def offer(
        self, ven: VenId, *rows: tuple[float, float], hour: datetime = HOUR, code: str = "200"
    ) -> None:
        """Send an offer: volume and limit price per slot."""
        named: Sequence[dict[str, float | m.ResourceStatus]] = [
            {"volume": volume, "limit-price": price} for volume, price in rows
        ]
        await self.report(ven, "offer", hour, *named, code=code)

    async def offer_blocks(
        self, ven: VenId, *rows: tuple[float, float], first: datetime, code: str = "200"
    ) -> None:
        """Send an offer for hourly blocks: energy of the hour and limit price."""
        named: Sequence[dict[str, float | m.ResourceStatus]] = [
            {"block-volume": volume, "block-limit-price": price} for volume, price in rows
        ]
        await self.report(ven, "day-ahead-offer", first, *named, code=code, step=timedelta(hours=1))

    async def drain(self, ven: VenId, opt: OptType = OptType.OPT_IN) -> list[str]:
        """Fetch events and answer those that want it; return their ids."""
        sent = await self.rig.poll(ven, m.DistributeEvent)
        answer = opted(sent, ven, opt)
        if answer.event_responses:
            await self.rig.send(answer, m.Response)
        return ids_of(sent)


@pytest.fixture(params=["local", "http"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    """A VTN in this process, and the same behind its operator API: nothing may differ."""
    made = await Desk().start()
    if request.param == "local":
        yield made
        return
    async with made.over_http():
        yield made
