"""Several VTN processes on one PostgreSQL: killed under load, pushing, as ``feederloop vtn --workers``."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import pickle
import random
import signal
import sys
from asyncio.subprocess import PIPE
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from certs.envelope import SignaturePolicy
from config.program import load
from config.vtn_settings import VtnProgramSettings
from feederloop.clock import WallClock
from feederloop.operator_client import ApiClient
from feederloop.vtn_program import Place
from feederloop.vtn_workers import Crew, Orders
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ResponseRequired
from tests.e2e.kill9_child import SETTINGS, pushing
from tests.e2e.kill9_crowd import crowd_day
from tests.e2e.test_programs import PATIENCE_S, TOKEN, Program, program
from tests.unit.vtn.rig import ALICE, PROVISIONS, draft, metadata, said
from vtn_server import api_models as api
from vtn_server.dispatch import TABLE
from vtn_server.operator import Operator
from vtn_server.push import PushDispatcher
from vtn_server.service import VtnService
from vtn_server.sqlstore import open_store
from vtn_server.state import PeerIdentity

NEVER = ResponseRequired.NEVER
UNSIGNED = replace(SETTINGS, signatures=SignaturePolicy.OFF)

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


async def test_nothing_is_lost_or_doubled_while_three_are_killed_in_turn(
    postgres_url: str,
) -> None:
    outcome = await crowd_day(postgres_url, processes=3, kills=6, seed=1)
    assert outcome.kills >= 6
    assert outcome.facts > 10  # it was not an idle day


# --- pushes ------------------------------------------------------------------------------------------------


class PushVen:
    """Counts what is pushed to it, and answers at once."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.events = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        message = wire.read(await request.read())
        reply: m.AnyMessage = m.Response(response=said(""), ven_id=ALICE)
        match message:
            case m.RegisterReport(request_id=request_id):
                reply = m.RegisteredReport(response=said(request_id), ven_id=ALICE)
            case m.DistributeEvent(events=events):
                async with self.events:
                    self.came.update(each.event.descriptor.event_id for each in events)
                    self.events.notify_all()
        return web.Response(body=wire.write(reply), content_type="application/xml")

    async def has(self, event_id: str) -> None:
        async with asyncio.timeout(PATIENCE_S), self.events:
            await self.events.wait_for(lambda: self.came[event_id] > 0)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/OpenADR2/Simple/2.0b/{service}", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def vtn(url: str, name: str) -> AsyncIterator[VtnService]:
    store, ids = open_store(url), itertools.count(1)
    service = await VtnService.start(
        UNSIGNED, store, now=WallClock().now, new_id=lambda: f"{name}-{next(ids)}"
    )
    await Operator(service).provision(PROVISIONS)
    try:
        yield service
    finally:
        await service.close()
        await store.close()


async def tell(service: VtnService, message: m.AnyMessage) -> m.AnyMessage:
    status, body = await service.handle(
        wire.write(message), PeerIdentity(connection="c"), TABLE[type(message)].services[0]
    )
    assert status == 200
    return wire.read(body)


async def register(service: VtnService, address: str) -> None:
    await tell(
        service,
        m.CreatePartyRegistration(
            request_id="1", ven_name="alice", http_pull_model=False, transport_address=address
        ),
    )
    await tell(service, m.RegisterReport(request_id="2", reports=(metadata(),), ven_id=ALICE))


async def test_what_two_want_to_push_is_pushed_by_one(postgres_url: str) -> None:
    """Even if both take themselves for the one that does: a delivery is claimed in the database."""
    ven = PushVen()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(ven.listening())
        services = [await stack.enter_async_context(vtn(postgres_url, name)) for name in "ab"]
        await register(services[0], address)
        await Operator(services[1]).catch_up()
        for service in services:
            dispatcher = PushDispatcher(service, WallClock(), random.Random(1))
            dispatcher.start()
            stack.push_async_callback(dispatcher.close)
        start = WallClock().now().replace(microsecond=0)
        for number in range(10):
            await Operator(services[number % 2]).publish_events(
                [draft(f"e{number}", start=start, required=NEVER)]
            )
            await ven.has(f"e{number}")
        for service in services:
            await Operator(service).catch_up()
    assert ven.came == Counter({f"e{number}": 10 - number for number in range(10)})  # each set once


async def test_another_pushes_when_the_one_that_did_is_gone(postgres_url: str) -> None:
    ven = PushVen()
    start = WallClock().now().replace(microsecond=0)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(ven.listening())
        a = await stack.enter_async_context(vtn(postgres_url, "a"))
        b = await stack.enter_async_context(vtn(postgres_url, "b"))
        for service in (a, b):
            await stack.enter_async_context(service.alone(partial(pushing, service)))
        await register(a, address)
        await Operator(b).publish_events([draft("e1", start=start, required=NEVER)])
        await ven.has("e1")
        first, second = (a, b) if a.books.on_work is not None else (b, a)
        assert second.books.on_work is None
        await first.close()
        await Operator(second).publish_events([draft("e2", start=start, required=NEVER)])
        await ven.has("e2")


# --- the program -------------------------------------------------------------------------------------------


def pids(running: Program) -> dict[int, int]:
    """Return the newest process of each worker, as the log has it."""
    told = (line["text"].split() for line in running.lines() if line["logger"] == "feederloop.vtn_workers")
    return {int(words[1]): int(words[4]) for words in told if words[2:4] == ["is", "process"]}


async def served(running: Program, times: int) -> None:
    """Return once workers have begun to serve so many times in all."""
    async with asyncio.timeout(PATIENCE_S):
        while sum("serves" in line["text"] for line in running.lines()) < times:
            await asyncio.sleep(0.1)  # another process has to do something


async def post(url: str, message: m.AnyMessage) -> m.AnyMessage:
    """Send a message on a connection of its own; which worker gets it is the kernel's choice."""
    service = TABLE[type(message)].services[0]
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{url}/OpenADR2/Simple/2.0b/{service}",
            data=wire.write(message),
            headers={"Content-Type": "application/xml"},
        ) as answer,
    ):
        assert answer.status == 200
        return wire.read(await answer.read())


async def persistently(url: str, message: m.AnyMessage) -> m.AnyMessage:
    """Send a message until it is answered: a worker that dies takes its connections with it."""
    while True:
        try:
            return await post(url, message)
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)  # the kernel has to see that it is dead


@pytest.mark.slow
async def test_workers_serve_one_vtn_and_come_back(postgres_url: str, tmp_path: Path) -> None:
    words = ("vtn", "--plain", "--workers", "2", "--port", "0", "--operator-port", "0", "--db", postgres_url)
    async with program(tmp_path, "vtn", "workers", *words, "--log-format", "json") as running:
        url, operator = running.told["vtn"][0], ApiClient(running.told["operator"][0], TOKEN)
        assert running.told["workers"] == ["2"]
        await asyncio.to_thread(
            lambda: operator.ask(
                api.VenDetail, "POST", "vens", body=api.VenIn(ven_id=ALICE, ven_name="alice")
            )
        )
        registration = m.CreatePartyRegistration(request_id="1", ven_name="alice", http_pull_model=True)
        assert isinstance(await post(url, registration), m.CreatedPartyRegistration)
        before = pids(running)
        os.kill(before[2], signal.SIGKILL)
        for _ in range(10):
            reply = await persistently(
                url, m.RegisterReport(request_id="2", reports=(metadata(),), ven_id=ALICE)
            )
            assert isinstance(reply, m.RegisteredReport)
        await served(running, 3)
        after = pids(running)
        assert before[2] != after[2]
        assert before[1] == after[1]
        (seen,) = (await asyncio.to_thread(lambda: operator.ask(api.VenList, "GET", "vens"))).vens
        assert seen.registered
        assert await running.stop() == 0
    assert any("ended with -9" in line["text"] for line in running.lines())
    for pid in after.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
async def test_a_worker_that_hangs_is_replaced(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="feederloop.vtn_workers")
    monkeypatch.chdir(tmp_path)
    settings = load(
        VtnProgramSettings, options={"plain": True, "port": 0, "db": postgres_url}, environment={}
    )
    stop = asyncio.Event()
    crew = asyncio.create_task(Crew(settings, 0, lambda banner: None, stop, silent_s=5.0).serve())

    async def told(words: str, times: int = 1) -> str:
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [each for each in caplog.messages if words in each]) < times:
                await asyncio.sleep(0.1)  # another process has to do something
        return found[-1]

    hung = int((await told("is process")).split()[-1])
    await told("serves")
    os.kill(hung, signal.SIGSTOP)
    await told("serves", 2)
    stop.set()
    assert await crew == 0
    assert f"worker 1 (process {hung}) was silent for 5 s" in caplog.messages
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


@pytest.mark.slow
async def test_a_worker_ends_with_the_process_that_told_it_to_serve(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = load(
        VtnProgramSettings, options={"plain": True, "port": 0, "db": postgres_url}, environment={}
    )
    orders = Orders(settings=settings, place=Place(number=1, own_api_port=0))
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "feederloop.vtn_worker"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=tmp_path,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(b64encode(pickle.dumps(orders)) + b"\n")
    async with asyncio.timeout(PATIENCE_S):
        assert "vtn: http://127.0.0.1:" in json.loads(await worker.stdout.readline())
        worker.stdin.close()  # as it is when that process is gone
        await worker.communicate()
    assert worker.returncode == 0
