"""Markup in every string of every message: it comes back as text, or the message is refused; never as markup.

Looked at are the replies, the log in both of its forms, the report's page of messages, and the operator API.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from typing import Any

import lxml.html
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from lxml import etree

from feederloop.logs import setup_logs
from feederloop.report.messages import LoggedExchange, messages_page
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import InvalidValue
from tests.property.codec_strategies import messages_of
from tests.unit.vtn.rig import ALICE, SETTINGS, START, MemoryStore, Rig, metadata
from vtn_server.api import application
from vtn_server.api_desk import Desk
from vtn_server.dispatch import TABLE
from vtn_server.state import PeerIdentity

TOKEN = "a-token-of-the-operator"
FORGED = "ERROR a line that nobody logged"
MARKUP = (
    "<evil/>",
    "</ei:venID><evil/><ei:venID>",
    "]]><evil/><![CDATA[",
    "--><evil/><!--",
    "&evil;",
    "&lt;evil/&gt;",
    "\"'><script>evil()</script>",
    "?><?evil x?>",
    "{{evil}} {0} %s %(evil)s ${evil}",
    f"a\n{FORGED}\nb",
    f"a\u2028{FORGED}\u0085{FORGED}",
)
SENT = tuple(each for each, row in TABLE.items() if row.handler is not None)
"""What a VEN may send."""
RELAXED = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Vtn:
    """A VTN in memory that knows alice, and what it logs."""

    def __init__(self) -> None:
        self.rig = Rig(MemoryStore(), replace(SETTINGS, open_enrolment=True))

    async def start(self) -> Vtn:
        await self.rig.start()
        await self.rig.bootstrap("alice")
        return self

    async def take(self, body: bytes, service: ServiceName) -> tuple[int, bytes]:
        return await self.rig.service.handle(body, PeerIdentity(connection="c"), service)


@contextmanager
def logged(form: str) -> Iterator[io.StringIO]:
    """Log as the programs do, and give back what is written; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # setup_logs would close pytest's
    stream = io.StringIO()
    setup_logs("info", form, stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def strings(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where the strings of a message are."""
    if type(value) is str:
        yield path
    elif isinstance(value, tuple):
        for number, each in enumerate(value):
            yield from strings(each, (*path, number))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from strings(getattr(value, field.name), (*path, field.name))


def put(value: Any, path: tuple[str | int, ...], text: str) -> Any:
    """Return a value with another text at a place."""
    if not path:
        return text
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        return (*value[:first], put(value[first], rest, text), *value[first + 1 :])
    return replace(value, **{first: put(getattr(value, first), rest, text)})


def check_plain(document: bytes) -> None:
    """Check that a reply holds no markup of anybody else's."""
    root = etree.fromstring(document)
    for each in root.iter():
        assert isinstance(each.tag, str), each  # no comment, no processing instruction
        assert "evil" not in each.tag
        assert not any("evil" in name for name in each.attrib)
    wire.read(document)


def check_page(request: bytes, reply: bytes, status: int) -> None:
    """Check that the page of messages shows what was sent, and does not do it."""
    shown = LoggedExchange(at=START, service="EiReport", request=request, response=reply, http_status=status)
    page = lxml.html.document_fromstring(messages_page([shown, shown]))
    assert next(page.iter("evil", "script"), None) is None


def test_there_is_a_string_to_try_in_every_message() -> None:
    assert len(SENT) == 18


@RELAXED
@given(data=st.data())
def test_every_string_of_every_message(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(SENT), label="message")
    message = data.draw(messages_of(kind))
    if ("ven_id",) in set(strings(message)) and data.draw(st.booleans(), label="as alice"):
        message = put(message, ("ven_id",), ALICE)
    text = data.draw(st.sampled_from(MARKUP), label="text")
    path = data.draw(st.sampled_from(sorted(strings(message), key=str)), label="where")
    try:
        body = wire.write(put(message, path, text))
    except InvalidValue:  # our own side does not even write it
        reject()
    quoted = escape(text, quote=False).encode()
    form = data.draw(st.sampled_from(["text", "section", "markup"]), label="form")
    if form == "section":
        body = body.replace(quoted, b"<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>").encode() + b"]]>")
    elif form == "markup":
        body = body.replace(quoted, text.encode())
    log_form = data.draw(st.sampled_from(["text", "json"]), label="log")

    async def exchange() -> tuple[int, bytes]:
        return await (await Vtn().start()).take(body, TABLE[kind].services[0])

    with logged(log_form) as log:
        status, reply = asyncio.run(exchange())
    assert status in (200, 406)
    if status == 200:
        check_plain(reply)
    check_page(body, reply, status)
    assert not [line for line in log.getvalue().splitlines() if line.startswith(FORGED)]
    assert "Traceback" not in log.getvalue()


@pytest.mark.parametrize("text", MARKUP)
@pytest.mark.enable_socket
async def test_the_operator_reads_it_as_text(text: str) -> None:
    vtn = await Vtn().start()
    registered = await vtn.rig.send(
        m.CreatePartyRegistration(request_id=text, ven_name=text, http_pull_model=True),
        m.CreatedPartyRegistration,
    )
    assert registered.response.request_id == text
    ven_id = registered.ven_id or ""
    report = replace(metadata(text), report_name="METADATA_TELEMETRY_USAGE")
    await vtn.rig.send(m.RegisterReport(request_id="r", reports=(report,), ven_id=ven_id), m.RegisteredReport)
    desk = Desk(
        operator=vtn.rig.operator,
        now=lambda: vtn.rig.now,
        new_id=lambda: "n",
        vtn_id="vtn-1",
        version="1.2.3",
    )
    async with TestClient(TestServer(application(desk, TOKEN))) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with client.get(f"/operator/vens/{ven_id}", headers=headers) as response:
            assert response.content_type == "application/json"
            found = await response.json()
    assert found["ven_name"] == text
    assert text in str(found["metadata"]) or repr(text) in str(found["metadata"])
