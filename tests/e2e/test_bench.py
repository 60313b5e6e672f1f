"""``feederloop bench`` against our own VTN process: all kinds of messages, a few of each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from feederloop.bench.grounds import now
from feederloop.bench.load import BenchError, BenchVen, Refused, fire
from feederloop.bench.model import Contestant, Kind, Sample, Transport
from feederloop.bench.remote import RemoteServer, RemoteVtn
from feederloop.bench.replies import Expected
from feederloop.bench.rounds import Outcome, Plan, play, play_children
from feederloop.bench_cli import bench_app
from feederloop.operator_client import ApiClient
from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.model import Poll
from vtn_server import api_models as api
from vtn_server.api import serve_api
from vtn_server.api_desk import Desk
from vtn_server.http import serve
from vtn_server.operator import Operator, Provision, VenId
from vtn_server.peers import ClaimedNames
from vtn_server.service import VtnService
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore

pytestmark = pytest.mark.e2e

NAMES = ("ven-000", "ven-001")
TOKEN = "a-token-of-the-operator"


def quiet(line: str) -> None:
    del line


def by_kind(outcome: Outcome, who: Contestant) -> dict[Kind, Sample]:
    return {each.kind: each for each in outcome.samples if each.contestant is who}


async def test_every_kind_is_measured_with_signatures() -> None:
    plan = Plan(rounds=1, vens=2, each=1)
    outcome = await play_children([Transport.SIGNED_EC], [Contestant.OURS], plan, quiet)
    found = by_kind(outcome, Contestant.OURS)
    assert set(found) == set(Kind)
    assert outcome.skipped == []
    assert len(found[Kind.EMPTY_POLL].latencies_ms) == 2 * 5
    assert len(found[Kind.CREATED_EVENT].latencies_ms) == 2 * 3
    for each in found.values():
        assert each.cpu_ms is not None
        assert each.cpu_ms > 0.0
        assert each.per_s > 0.0


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[str, Operator]]:
    """A VTN that nobody tells what to do, unless through its operator."""
    store = SqlStore(folder / "vtn.sqlite")
    ids = iter(range(10_000))
    service = await VtnService.start(
        VtnSettings(vtn_id="Vtn", identity=Identity.CLAIMED),
        store,
        now=now,
        new_id=lambda: f"id-{next(ids)}",
    )
    operator = Operator(service)
    await operator.provision([Provision(ven_id=VenId(each), ven_name=each) for each in NAMES])
    server = await serve(service, peers=ClaimedNames())
    yield server.url, operator
    await server.close()
    await service.close()
    await store.close()


async def test_a_vtn_at_a_url_is_measured_with_what_a_ven_may_send(tmp_path: Path) -> None:
    async with running(tmp_path) as (url, _):
        server = RemoteServer(
            who=Contestant.REMOTE,
            transport=Transport.PLAIN,
            url=url,
            seats=[BenchVen.connect(each, url, None, None) for each in NAMES],
        )
        outcome = await play([server], Plan(rounds=1, vens=2, each=1), quiet)
    found = by_kind(outcome, Contestant.REMOTE)
    assert set(found) == {Kind.EMPTY_POLL, Kind.REGISTRATION}
    assert {each.cpu_ms for each in found.values()} == {None}
    assert {each.kind for each in outcome.skipped} == set(Kind) - set(found)


async def test_an_operator_makes_all_kinds_possible_and_leaves_nothing_open(tmp_path: Path) -> None:
    numbers = iter(range(1_000))
    async with running(tmp_path) as (url, operator), AsyncExitStack() as stack:
        desk = Desk(
            operator=operator, now=now, new_id=lambda: f"made-{next(numbers)}", version="0", vtn_id="Vtn"
        )
        server = await serve_api(desk, TOKEN)
        stack.push_async_callback(server.close)
        client = ApiClient(server.url, TOKEN)
        vtn = RemoteVtn.of(url, NAMES, pids=(os.getpid(),), operator=client)
        outcome = await play([vtn.server(Transport.PLAIN)], Plan(rounds=1, vens=2, each=1), quiet)
        (event,) = (await asyncio.to_thread(client.ask, api.EventList, "GET", "events")).events
        assert event.status is EventStatus.CANCELLED
        reports = (await asyncio.to_thread(client.ask, api.ReportList, "GET", "reports")).reports
        assert [each.cancelled for each in reports] == [True, True]
    assert set(by_kind(outcome, Contestant.REMOTE)) == set(Kind)
    assert outcome.skipped == []


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[str]:
    """What answers everything with the same."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/xml")

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_wrong_reply_ends_the_measurement() -> None:
    async with answering(b"<html/>") as url:
        ven = BenchVen.connect("ven-000", url, None, None)
        order = ven.order(Poll(ven_id="ven-000"), Expected(kind=Kind.EMPTY_POLL, ven_id="ven-000"))
        with pytest.raises(BenchError, match="not an oadrResponse"):
            await fire([ven], [[order]], None)
        await ven.http.close()


async def test_what_is_no_vtn_is_one_sentence() -> None:
    async with answering(b"<html/>") as url:
        ven = BenchVen.connect("ven-000", url, None, None)
        with pytest.raises(BenchError, match="is no VTN of profile"):
            await ven.join()
        await ven.http.close()


async def test_a_refusal_has_the_code_and_the_reason_of_the_vtn(tmp_path: Path) -> None:
    async with running(tmp_path) as (url, _):
        ven = BenchVen.connect("nobody", url, None, None)
        with pytest.raises(Refused, match=r"^nobody: CreatePartyRegistration was refused with 463 ") as told:
            await ven.join()
        assert told.value.code == "463"
        await ven.http.close()


async def test_nobody_at_the_url_is_one_sentence() -> None:
    ven = BenchVen.connect("ven-000", "http://127.0.0.1:1", None, None)
    with pytest.raises(BenchError, match="127"):
        await ven.join()
    await ven.http.close()


def test_the_command_refuses_what_cannot_be() -> None:
    runner = CliRunner()
    for words in (
        ["vtn", "http://127.0.0.1:1"],
        ["vtn", "http://127.0.0.1:1", "--ven", "a", "--over", "tls"],
        ["vtn", "http://127.0.0.1:1", "--ven", "a", "--over", "plain", "--over", "tls"],
    ):
        done = runner.invoke(bench_app, words)
        assert done.exit_code == 2
        assert done.stderr.startswith("feederloop bench: ")


def test_results_become_a_page(tmp_path: Path) -> None:
    runner = CliRunner()
    missing = runner.invoke(bench_app, ["report", str(tmp_path / "none.json")])
    assert missing.exit_code == 2
    assert "none.json" in missing.stderr


def test_the_child_ends_when_its_commands_do() -> None:
    """Nothing of a benchmark is left behind: play_children has waited for the process."""

    async def play_once() -> None:
        plan = Plan(rounds=1, vens=1, each=1, kinds=(Kind.EMPTY_POLL,))
        outcome = await play_children([Transport.PLAIN], [Contestant.BARE], plan, quiet)
        assert {each.contestant for each in outcome.samples} == {Contestant.BARE}

    asyncio.run(play_once())
