"""A scripted day of one VTN and five VENs, in which the VTN is killed at random points.

Everybody repeats what was not answered, as real peers do, and nobody registers twice: an answer that says
"not registered" ends the day.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.kill9_child import VENS
from tests.e2e.kill9_ledger import Ledger, VenLedger, compare
from tests.unit.vtn.rig import START, metadata, said, update
from vtn_server.dispatch import TABLE

T = TypeVar("T", bound=m.AnyMessage)
ROOT = Path(__file__).parents[2]
MOST_EVENTS = 6
MOST_REQUESTS = 5
PATIENCE_S = 60.0
"""Far more than anything takes: only a bug waits so long."""


@dataclass(frozen=True)
class Outcome:
    """What a day came to."""

    kills: int
    facts: int


class Died(Exception):
    """The VTN is gone; what was asked may or may not have happened."""


class Vtn:
    """The VTN's process, one life after the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: Process | None = None
        self._lives = asyncio.Condition()
        self._talk = asyncio.Lock()
        self.life = 0
        self.up = False
        self.port = 0

    async def start(self, where: str, count: int) -> None:
        """Begin a new life, in which the VTN dies around one of its commits."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.kill9_child", self._url, where, str(count),
            cwd=ROOT, stdin=PIPE, stdout=PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = json.loads(await self._process.stdout.readline())["port"]
        async with self._lives:
            self.life += 1
            self.up = True
            self._lives.notify_all()

    async def end(self, after_s: float | None) -> None:
        """Wait until it dies, or kill it after a while."""
        assert self._process is not None
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE_S if after_s is None else after_s)
        except TimeoutError:
            assert after_s is not None, "the VTN never came to the commit at which it dies"
            self._process.kill()
        self.up = False
        assert await self._process.wait() == -signal.SIGKILL

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
            process = self._process
            assert process is not None
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(what).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
            except (ConnectionError, BrokenPipeError) as err:
                raise Died from err
            if not line.endswith(b"\n"):
                raise Died
            return json.loads(line)["answer"]


async def persist(vtn: Vtn, attempt: Callable[[], Any]) -> Any:
    """Return what an attempt gives, in whichever life of the VTN it succeeds."""
    life = await vtn.alive(vtn.life - 1)
    while True:
        try:
            return await attempt()
        except Died:
            life = await vtn.alive(life)


class Home:
    """One VEN that follows a script."""

    def __init__(self, number: int, vtn: Vtn, told: VenLedger, seed: int) -> None:
        self._ven_id = VENS[number]
        self._vtn = vtn
        self._told = told
        self._random = random.Random(f"{seed}/{number}")
        self._slot = 0

    async def live(self) -> None:
        """Register, announce, and go on until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as http:
            self._http = http
            create = m.CreatePartyRegistration(
                request_id="1", ven_name=f"name of {self._ven_id}", http_pull_model=True
            )
            created = await self._send(create, m.CreatedPartyRegistration)
            self._told.registration_id = created.registration_id
            announce = m.RegisterReport(request_id="2", reports=(metadata(),), ven_id=self._ven_id)
            await self._send(announce, m.RegisteredReport)
            self._told.announced = True
            while True:
                await self._random.choice(
                    (self._poll, self._poll, self._report, self._schedule, self._cancel)
                )()

    async def _post(self, message: m.AnyMessage) -> m.AnyMessage:
        """Send once.

        Raises:
            Died: if no answer came.
        """
        url = f"http://127.0.0.1:{self._vtn.port}/OpenADR2/Simple/2.0b/{TABLE[type(message)].services[0]}"
        headers = {"Content-Type": "application/xml"}
        try:
            async with self._http.post(url, data=wire.write(message), headers=headers) as answer:
                assert answer.status == 200, f"{type(message).__name__} was answered {answer.status}"
                return wire.read(await answer.read())
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
        reply = await self._exchange(m.Poll(ven_id=self._ven_id))
        match reply:
            case m.Response(response=response):
                assert response.code == "200", response
            case m.RegisterReport(request_id=request_id):
                answer = m.RegisteredReport(response=said(request_id), ven_id=self._ven_id)
                await self._send(answer, m.Response)
            case m.CreateReport(request_id=request_id, requests=requests):
                ids = tuple(each.report_request_id for each in requests)
                created = m.CreatedReport(response=said(request_id), pending=ids, ven_id=self._ven_id)
                await self._send(created, m.Response)
                self._told.accepted |= set(ids)
            case m.DistributeEvent():
                await self._answer(reply)
            case _:
                raise AssertionError(reply)

    async def _answer(self, sent: m.DistributeEvent) -> None:
        answers = []
        for each in sent.events:
            descriptor = each.event.descriptor
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


class Utility:
    """The operator, who follows a script too, and looks before doing something again."""

    def __init__(self, vtn: Vtn, ledger: Ledger, seed: int) -> None:
        self._vtn = vtn
        self._ledger = ledger
        self._random = random.Random(f"{seed}/operator")
        self._open: list[str] = []
        self._made = 0

    async def work(self) -> None:
        """Publish, modify, cancel and ask until cancelled."""
        while True:
            await self._random.choice(
                (self._publish, self._modify, self._modify, self._cancel, self._request)
            )()

    async def _new_version(self, event_id: str, number: int, **command: object) -> None:
        self._ledger.events_sent[event_id] = number

        async def attempt() -> None:
            if await self._vtn.command(do="look", event=event_id) < number:
                await self._vtn.command(event=event_id, **command)

        await persist(self._vtn, attempt)
        self._ledger.events[event_id] = number

    async def _publish(self) -> None:
        if len(self._open) >= MOST_EVENTS:
            return
        self._made += 1
        await self._new_version(f"event-{self._made}", 0, do="publish")
        self._open.append(f"event-{self._made}")

    async def _modify(self) -> None:
        if self._open:
            event_id = self._random.choice(self._open)
            number = self._ledger.events[event_id] + 1
            await self._new_version(event_id, number, do="modify", value=float(number))

    async def _cancel(self) -> None:
        if len(self._open) > MOST_EVENTS // 2:
            event_id = self._open.pop(0)
            await self._new_version(event_id, self._ledger.events[event_id] + 1, do="cancel")
            self._ledger.cancelled.add(event_id)

    async def _request(self) -> None:
        ven_id = self._random.choice(VENS)
        done = self._ledger.requested.setdefault(ven_id, set())
        if not self._ledger.vens[ven_id].announced or len(done) >= MOST_REQUESTS:
            return
        day = len(done) + 1
        self._ledger.requested_sent.setdefault(ven_id, set()).add(day)

        async def attempt() -> None:
            if day not in await self._vtn.command(do="requests", ven=ven_id):
                await self._vtn.command(do="request", ven=ven_id, day=day)

        await persist(self._vtn, attempt)
        done.add(day)


async def day(url: str, *, kills: int, seed: int) -> Outcome:
    """Play a day with some kills; after each, compare the store with what was answered.

    Raises:
        AssertionError: if anything was lost or doubled, or a peer was answered with an error.
    """
    chance = random.Random(seed)
    ledger = Ledger(vens={each: VenLedger() for each in VENS})
    vtn = Vtn(url)
    homes = [Home(number, vtn, ledger.vens[ven_id], seed) for number, ven_id in enumerate(VENS)]
    async with asyncio.TaskGroup() as group:
        actors: list[asyncio.Task[None]] = []
        for kill in range(kills):
            where = chance.choice(("before", "inside", "after", "never"))
            await vtn.start(where, chance.randint(1, 30))
            if kill == 0:
                scripts = (*(each.live() for each in homes), Utility(vtn, ledger, seed).work())
                actors = [group.create_task(each) for each in scripts]
            await vtn.end(chance.uniform(0.0, 0.3) if where == "never" else None)
            await compare(url, ledger)
        for actor in actors:
            actor.cancel()
    return Outcome(kills=kills, facts=ledger.facts())
