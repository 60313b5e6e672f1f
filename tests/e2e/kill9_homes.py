"""The VENs of a scripted day: three that poll, one that signs what it sends, one that is pushed to."""

from __future__ import annotations

import asyncio
import base64
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from certs.xmldsig import Signer
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.kill9_child import PUSHED, SIGNING, VENS, self_signed
from tests.e2e.kill9_ledger import VenLedger, days_of
from tests.e2e.kill9_vtn import PATIENCE_S, Answers, Died, persist
from tests.unit.vtn.rig import START, metadata, said, update
from vtn_server.dispatch import TABLE

T = TypeVar("T", bound=m.AnyMessage)


def home_of(number: int, vtn: Answers, told: VenLedger, seed: int) -> Home:
    """Return a VEN of its kind."""
    kind = {SIGNING: SigningHome, PUSHED: PushedHome}.get(VENS[number], Home)
    return kind(number, vtn, told, seed)


class Home:
    """One VEN that follows a script."""

    def __init__(self, number: int, vtn: Answers, told: VenLedger, seed: int) -> None:
        self._ven_id = VENS[number]
        self._vtn = vtn
        self._told = told
        self._random = random.Random(f"{seed}/{number}")
        self._slot = 0

    async def live(self) -> None:
        """Register, announce, and go on until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as http:
            self._http = http
            created = await self._send(self._registration(), m.CreatedPartyRegistration)
            self._told.registration_id = created.registration_id
            announce = m.RegisterReport(request_id="2", reports=(metadata(),), ven_id=self._ven_id)
            await self._send(announce, m.RegisteredReport)
            self._told.announced = True
            while True:
                await self._random.choice((*self._look, self._report, self._schedule, self._cancel))()

    @property
    def _look(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Ways to get what the VTN has; they come as often as they are here."""
        return (self._poll, self._poll)

    def _registration(self) -> m.CreatePartyRegistration:
        return m.CreatePartyRegistration(
            request_id="1", ven_name=f"name of {self._ven_id}", http_pull_model=True
        )

    def _written(self, message: m.AnyMessage) -> tuple[bytes, dict[str, str]]:
        """Return a body and its headers, made anew for every attempt."""
        return wire.write(message), {"Content-Type": "application/xml"}

    async def _post(self, message: m.AnyMessage) -> m.AnyMessage:
        """Send once.

        Raises:
            Died: if no answer came.
        """
        body, headers = self._written(message)
        status, reply = await self._raw(body, headers, TABLE[type(message)].services[0])
        assert status == 200, f"{type(message).__name__} was answered {status}"
        return wire.read(reply)

    async def _raw(self, body: bytes, headers: dict[str, str], service: str) -> tuple[int, bytes]:
        """Send bytes once.

        Raises:
            Died: if no answer came.
        """
        url = f"http://127.0.0.1:{self._vtn.port}/OpenADR2/Simple/2.0b/{service}"
        try:
            async with self._http.post(url, data=body, headers=headers) as answer:
                return answer.status, await answer.read()
        except aiohttp.ClientError as err:
            raise Died from err

    async def _exchange(self, message: m.AnyMessage) -> m.AnyMessage:
        reply: m.AnyMessage = await persist(self._vtn, lambda: self._post(message))
        return reply

    async def _send(self, message: m.AnyMessage, expect: type[T]) -> T:
        reply = await self._exchange(message)
        assert isinstance(reply, expect), reply
        response = getattr(reply, "response", None)
        assert response is None or response.code == "200", (self._ven_id, message, response)
        return reply

    async def _poll(self) -> None:
        await self._take(await self._exchange(m.Poll(ven_id=self._ven_id)))

    async def _take(self, item: m.AnyMessage) -> None:
        """Do what the VTN wants, and answer with a message of our own."""
        match item:
            case m.Response(response=response):
                assert response.code == "200", response
            case m.RegisterReport(request_id=request_id):
                answer = m.RegisteredReport(response=said(request_id), ven_id=self._ven_id)
                await self._send(answer, m.Response)
            case m.CreateReport(request_id=request_id, requests=requests):
                self._told.asked |= days_of(requests)
                ids = tuple(each.report_request_id for each in requests)
                created = m.CreatedReport(response=said(request_id), pending=ids, ven_id=self._ven_id)
                await self._send(created, m.Response)
                self._told.accepted |= set(ids)
            case m.DistributeEvent():
                await self._answer(item)
            case _:
                raise AssertionError(item)

    async def _answer(self, sent: m.DistributeEvent) -> None:
        answers = []
        for each in sent.events:
            descriptor = each.event.descriptor
            self._told.see(descriptor.event_id, descriptor.modification_number)
            opt_type = self._random.choice((OptType.OPT_IN, OptType.OPT_OUT))
            former = self._told.opts.get(descriptor.event_id)
            if former is not None and former[0] == descriptor.modification_number:
                opt_type = former[1]
            answers.append((descriptor.event_id, descriptor.modification_number, opt_type))
        self._told.opts_sent |= set(answers)
        message = m.CreatedEvent(
            response=said(""),
            event_responses=tuple(
                m.EventResponse(
                    code="200",
                    request_id=sent.request_id,
                    qualified_event_id=m.QualifiedEventId(event_id=event_id, modification_number=number),
                    opt_type=opt_type,
                )
                for event_id, number, opt_type in answers
            ),
            ven_id=self._ven_id,
        )
        reply = await self._exchange(message)
        assert isinstance(reply, m.Response)
        if reply.response.code == "200":
            self._told.opts.update({event_id: (number, opt_type) for event_id, number, opt_type in answers})
        else:  # a new version came meanwhile: that will be answered
            assert reply.response.code == "450", reply

    async def _report(self) -> None:
        if not self._told.accepted:
            return
        start = START + self._slot * timedelta(minutes=10)
        values = [self._random.randrange(1000) / 8 for _ in range(3)]
        self._slot += len(values)
        of_slots = {start + i * timedelta(minutes=10): value for i, value in enumerate(values)}
        self._told.readings_sent.update(of_slots)
        request_id = self._random.choice(sorted(self._told.accepted))
        await self._send(update(self._ven_id, request_id, values, start=start), m.UpdatedReport)
        self._told.readings.update(of_slots)

    async def _schedule(self) -> None:
        if len(self._told.schedules - self._told.schedules_cancelled) > 20:
            return
        opt_id = uuid.UUID(int=self._random.getrandbits(128)).hex
        self._told.schedules_sent.add(opt_id)
        message = m.CreateOpt(
            opt_id=opt_id,
            opt_type=OptType.OPT_OUT,
            opt_reason="economic",
            market_context=f"http://{opt_id}.example",
            availability=(m.Period(dtstart=START, duration=Duration(hours=1)),),
            target=m.Target(ven_ids=(self._ven_id,)),
            created_date_time=START,
            request_id=opt_id,
            ven_id=self._ven_id,
        )
        await self._send(message, m.CreatedOpt)
        self._told.schedules.add(opt_id)

    async def _cancel(self) -> None:
        there = sorted(self._told.schedules - self._told.schedules_cancelled)
        if not there:
            return
        self._told.cancelling = there[0]
        message = m.CancelOpt(opt_id=there[0], request_id="c", ven_id=self._ven_id)
        await self._send(message, m.CanceledOpt)
        self._told.schedules_cancelled.add(there[0])
        self._told.cancelling = None


class SigningHome(Home):
    """Signs everything, and now and then sends again what was answered: that is refused, in every life."""

    def __init__(self, number: int, vtn: Answers, told: VenLedger, seed: int) -> None:
        super().__init__(number, vtn, told, seed)
        key, certificate = self_signed(self._ven_id)
        self._signer = Signer(key, certificate)
        self._shown = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
        self._answered: list[tuple[bytes, str]] = []

    def _registration(self) -> m.CreatePartyRegistration:
        return replace(super()._registration(), xml_signature=True)

    @property
    def _look(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return (*super()._look, self._replay)

    def _written(self, message: m.AnyMessage) -> tuple[bytes, dict[str, str]]:
        payload = encode_message(message)
        self._signer.sign(payload, datetime.now(UTC), uuid.UUID(int=self._random.getrandbits(128)).hex)
        _, headers = super()._written(message)
        return wire.serialise(payload), headers | {"X-Certificate": self._shown}

    async def _raw(self, body: bytes, headers: dict[str, str], service: str) -> tuple[int, bytes]:
        status, reply = await super()._raw(body, headers, service)
        if status == 200:
            self._answered.append((body, service))
        return status, reply

    async def _replay(self) -> None:
        body, service = self._random.choice(self._answered[-100:])
        headers = {"Content-Type": "application/xml", "X-Certificate": self._shown}
        status, _ = await persist(self._vtn, lambda: self._raw(body, headers, service))
        assert status == 403, "a nonce was forgotten"
        self._told.replays += 1


class PushedHome(Home):
    """Never polls: the VTN posts to it. Some answers come at once, some as messages of its own."""

    async def live(self) -> None:
        """Listen, and live as the others."""
        self._inbox: asyncio.Queue[m.AnyMessage] = asyncio.Queue()
        app = web.Application()
        app.router.add_post("/OpenADR2/Simple/2.0b/{service}", self._pushed)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._address = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            await super().live()
        finally:
            await runner.cleanup()

    def _registration(self) -> m.CreatePartyRegistration:
        return replace(super()._registration(), http_pull_model=False, transport_address=self._address)

    async def _poll(self) -> None:
        if not self._inbox.empty():
            await self._take(self._inbox.get_nowait())

    async def _pushed(self, request: web.Request) -> web.Response:
        message = wire.read(await request.read())
        if self._random.random() < 0.03:
            return web.Response(status=503)  # then it comes again
        reply: m.AnyMessage | None = None
        match message:
            case m.RegisterReport(request_id=request_id):
                reply = m.RegisteredReport(response=said(request_id), ven_id=self._ven_id)
            case m.CreateReport(request_id=request_id, requests=requests) if self._random.random() < 0.5:
                self._told.asked |= days_of(requests)
                ids = tuple(each.report_request_id for each in requests)
                reply = m.CreatedReport(response=said(request_id), pending=ids, ven_id=self._ven_id)
            case _:
                self._inbox.put_nowait(message)
        return web.Response(body=b"" if reply is None else wire.write(reply), content_type="application/xml")
