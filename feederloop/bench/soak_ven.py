"""A VEN of the soak: does at random, one after the other, everything a VEN may do, and answers what comes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from certs.tls import CertificateFiles, TlsFiles
from feederloop.bench import messages
from feederloop.bench.crowd_files import Crowd
from feederloop.bench.grounds import client_of, now
from feederloop.bench.load import BenchError, BenchVen, Refused
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.model import (
    AnyMessage,
    CanceledPartyRegistration,
    CanceledReport,
    CancelOpt,
    CancelPartyRegistration,
    CancelReport,
    CreatedPartyRegistration,
    CreateOpt,
    CreateReport,
    DistributeEvent,
    Period,
    Poll,
    QueryRegistration,
    RegisteredReport,
    RegisterReport,
    RequestEvent,
    RequestReregistration,
    Response,
)
from schemas.oadr20b.xmltypes import Duration

__all__ = ["SoakVen"]

_MOST_ITEMS: Final = 30
_CROSSED: Final = ("450", "451", "452")
"""What crossed a change of an event or of a report request on its way; any VTN may answer so."""


class SoakVen:
    """One VEN.

    Args:
        crowd: Whose certificates there are.
        number: Which one it is.
        url: Where the VTN is.
        pause_s: Its mean pause between two things it does.
        tally: Counts what it did.
        faults: Counts what went wrong.
        ask: Has the operator ask a VEN for reports.
    """

    def __init__(
        self,
        crowd: Crowd,
        number: int,
        url: str,
        pause_s: float,
        tally: Counter[str],
        faults: Counter[str],
        ask: Callable[[str], Awaitable[object]],
    ) -> None:
        own = CertificateFiles(certificate=crowd.pem_of(number), key=crowd.pem_of(number))
        self._tls, _ = client_of(TlsFiles(own=(own,), trust=crowd.trust), signed=False)
        self._name, self._url, self._pause_s = crowd.names[number], url, pause_s
        self._rng = random.Random(number)
        self._tally, self._faults, self._ask = tally, faults, ask
        self._opts: list[str] = []
        self._count = 0
        self._registration: str | None = None
        self._ven = self._connect()
        self._actions: tuple[tuple[int, str, Callable[[], Awaitable[None]]], ...] = (
            (40, "poll", self._drain),
            (10, "request events", self._request_events),
            (20, "report", self._report),
            (6, "opt", self._opt),
            (6, "cancel an opt", self._cancel_opt),
            (2, "query", self._query),
            (2, "register anew", self._join),
            (1, "leave and come back", self._leave),
            (3, "restart", self._restart),
        )

    def _connect(self) -> BenchVen:
        return BenchVen.connect(self._name, self._url, self._tls, None)

    async def run(self) -> None:
        """Do one thing after the other until cancelled."""
        weights = [weight for weight, _, _ in self._actions]
        try:
            await self._tried("register", self._join)
            while True:
                await asyncio.sleep(self._rng.expovariate(1.0 / self._pause_s))
                _, name, action = self._rng.choices(self._actions, weights)[0]
                await self._tried(name, action)
        finally:
            await self._ven.http.close()

    async def _tried(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except BenchError as err:
            if not (isinstance(err, Refused) and err.code in _CROSSED):
                self._faults[str(err)[:300]] += 1
            self._tally[f"{name}, refused"] += 1
        else:
            self._tally[name] += 1

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"{what}-{self._name}-{self._count}"

    async def _join(self) -> None:
        reply = await self._ven.send(messages.registration(self._name, signed=False))
        if not isinstance(reply, CreatedPartyRegistration) or reply.ven_id is None:
            raise BenchError(f"{self._name} could not register: {reply}")
        self._ven.ven_id, self._registration = reply.ven_id, reply.registration_id
        await self._announce()
        await self._drain()

    async def _announce(self) -> None:
        """Announce the meter, which ends all requests for reports, and be asked for one."""
        self._ven.requests = []
        await self._ven.send(messages.metadata(self._ven.ven_id))
        await self._ask(self._ven.ven_id)

    async def _drain(self) -> None:
        for _ in range(_MOST_ITEMS):
            item = await self._ven.send(Poll(ven_id=self._ven.ven_id))
            if isinstance(item, RequestReregistration):
                await self._ven.send(Response(response=messages.said(""), ven_id=self._ven.ven_id))
                await self._ven.send(messages.registration(self._name, signed=False))
                await self._announce()
            elif (answer := self._answer(item)) is not None:
                await self._ven.send(answer)
            elif not isinstance(item, DistributeEvent):
                return

    def _answer(self, item: AnyMessage) -> AnyMessage | None:
        ven_id = self._ven.ven_id
        match item:
            case RegisterReport():
                return RegisteredReport(response=messages.said(item.request_id), ven_id=ven_id)
            case CreateReport():
                self._ven.requests += [each.report_request_id for each in item.requests]
                return messages.created_report(item, ven_id, self._ven.requests)
            case CancelReport():
                gone = item.report_request_ids
                self._ven.requests = [each for each in self._ven.requests if each not in gone]
                return CanceledReport(
                    response=messages.said(item.request_id),
                    pending=tuple(self._ven.requests),
                    ven_id=ven_id,
                )
            case CancelPartyRegistration():
                return CanceledPartyRegistration(
                    response=messages.said(item.request_id),
                    registration_id=item.registration_id,
                    ven_id=ven_id,
                )
            case DistributeEvent():
                return messages.answer_to(item, ven_id)
            case _:
                return None

    async def _request_events(self) -> None:
        wanted = RequestEvent(request_id=self._fresh("events"), ven_id=self._ven.ven_id)
        found = await self._ven.send(wanted)
        if (answer := self._answer(found)) is not None:
            await self._ven.send(answer)

    async def _report(self) -> None:
        if not self._ven.requests:
            return await self._drain()
        self._ven.minute += 60
        wanted = self._rng.choice(self._ven.requests)
        readings = self._rng.choice((1, 10, 60))
        await self._ven.send(messages.report(self._ven.ven_id, wanted, self._ven.minute, readings))
        return None

    async def _opt(self) -> None:
        self._opts.append(self._fresh("opt"))
        period = Period(
            dtstart=now().replace(microsecond=0) + timedelta(hours=self._rng.randrange(48)),
            duration=Duration(hours=1),
        )
        await self._ven.send(
            CreateOpt(
                opt_id=self._opts[-1],
                opt_type=OptType.OPT_OUT,
                opt_reason="economic",
                ven_id=self._ven.ven_id,
                availability=(period,),
                created_date_time=now().replace(microsecond=0),
                request_id=self._fresh("request"),
            )
        )

    async def _cancel_opt(self) -> None:
        if self._opts:
            request_id, opt_id = self._fresh("request"), self._opts.pop()
            await self._ven.send(CancelOpt(request_id=request_id, opt_id=opt_id, ven_id=self._ven.ven_id))

    async def _query(self) -> None:
        await self._ven.send(QueryRegistration(request_id=self._fresh("query")))

    async def _leave(self) -> None:
        if self._registration is not None:
            await self._ven.send(
                CancelPartyRegistration(
                    request_id=self._fresh("leave"),
                    registration_id=self._registration,
                    ven_id=self._ven.ven_id,
                )
            )
        self._opts = []
        await self._join()

    async def _restart(self) -> None:
        """Be gone without a word, and come back over a new connection."""
        await self._ven.http.close()
        ven_id, requests, minute = self._ven.ven_id, self._ven.requests, self._ven.minute
        self._ven = self._connect()
        self._ven.ven_id, self._ven.requests, self._ven.minute = ven_id, requests, minute
        await self._drain()
