"""The answer a push VTN owes to a request on the back of a reply (r344): posted, and once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from feederloop.clock import SimClock
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.push_rig import Street, Vtn, kinds_of
from tests.unit.ven.ven_fakes import T0
from ven_client.messages import service_of
from ven_client.transport import HttpPull

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


class Listener:
    """A VEN that asks for the VTN's metadata on the back of its first reply."""

    def __init__(self, specifier: str) -> None:
        self.seen: list[m.AnyMessage] = []
        self.statuses: list[int] = []
        payload = m.SpecifierPayload(r_id="0", reading_type="x-notApplicable")
        self._asked: tuple[m.ReportRequest, ...] = (
            m.ReportRequest(
                report_request_id="m1",
                specifier=m.ReportSpecifier(
                    report_specifier_id=specifier,
                    granularity=Duration(),
                    report_back_duration=Duration(),
                    payloads=(payload,),
                ),
            ),
        )

    async def handle(self, http: web.Request) -> web.Response:
        message = wire.read(await http.read())
        self.seen.append(message)
        if not isinstance(message, m.RegisterReport):
            return web.Response(status=self.statuses.pop(0) if self.statuses else 200)
        asked, self._asked = self._asked, ()
        ok = m.EiResponse(code="200", request_id=message.request_id)
        return web.Response(body=wire.write(m.RegisteredReport(response=ok, requests=asked)))

    @property
    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.seen]


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    vtn = await Vtn(SimClock(T0)).start()
    await vtn.announce("ann")
    made = Street(vtn)
    yield made
    await made.close()


async def enrol(street: Street, listener: Listener) -> web.AppRunner:
    app = web.Application()
    app.router.add_post("/{path:.*}", listener.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = HttpPull(street.vtn.server.url, now=street.clock.now)
    for message in (
        m.CreatePartyRegistration(
            request_id="r0",
            ven_name="ann",
            http_pull_model=False,
            transport_address=f"http://127.0.0.1:{runner.addresses[0][1]}/",
        ),
        m.RegisterReport(request_id="r1", ven_id="ven-ann"),
    ):
        await client.exchange(service_of(message), message)
    await client.close()
    return runner


@pytest.mark.parametrize("failures", [0, 2])
async def test_the_answer_comes_before_what_was_asked_for(street: Street, failures: int) -> None:
    listener = Listener("METADATA")
    listener.statuses = [503] * failures
    runner = await enrol(street, listener)
    await street.until(minutes=2)
    assert listener.kinds[:2] == ["RegisterReport", "CreatedReport"]
    assert listener.kinds.count("CreatedReport") == 1 + failures
    created = listener.seen[1]
    assert isinstance(created, m.CreatedReport)
    assert (created.response.code, created.pending, created.ven_id) == ("200", ("m1",), "ven-ann")
    again = next(each for each in reversed(listener.seen) if isinstance(each, m.RegisterReport))
    assert again.report_request_id == "m1"
    view = street.vtn.view("ann")
    assert (view.pending, view.given_up) == (0, ())
    await runner.cleanup()


async def test_what_we_do_not_have_is_refused_in_the_answer(street: Street) -> None:
    listener = Listener("something")
    runner = await enrol(street, listener)
    await street.until(minutes=2)
    assert listener.kinds == ["RegisterReport", "CreatedReport"]
    created = listener.seen[1]
    assert isinstance(created, m.CreatedReport)
    assert (created.response.code, created.pending) == ("452", ())
    await runner.cleanup()


async def test_our_ven_takes_such_an_answer_without_a_word(street: Street) -> None:
    ann = await street.open("ann")
    await street.until(minutes=1)
    stray = m.CreatedReport(response=m.EiResponse(code="200", request_id="x"), ven_id="ven-ann")
    assert ann.session.receive(stray, T0) is None
    assert "CreatedReport" not in kinds_of(street.vtn.exchanges, "ven-ann")
