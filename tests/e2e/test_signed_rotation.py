"""Renewed certificates where XML signatures are required: connections that show the old ones end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import aiohttp
import pytest

from certs.connections import ConnectionLimits, Connections
from certs.door import Door
from certs.pki import Pki, Role
from certs.tls import ServerTls
from config.program import load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from feederloop.ven_program import RunningVen, running_ven
from feederloop.vtn_program import RunningVtn, running_vtn
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.simple_http import PATH
from tests.e2e.test_program_tls import answered, event, operational, until
from tests.e2e.tls_parties import HOST, client, make_parties, mark, server, wall
from tests.unit.ven.ven_fakes import distribute
from ven_client.listener import listen
from ven_client.vtn_identity import VtnIdentity
from vtn_server.state import Provision, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

VENS = {"pull": VenId("ven-pull"), "push": VenId("ven-push")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parties") / "pki"
    make_parties(folder, *VENS, hosts=(HOST,))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "pki"))


def vtn_settings(folder: Path) -> VtnProgramSettings:
    options: dict[str, object] = {
        "port": 0,
        "db": f"sqlite:///{folder.parent}/vtn.sqlite",
        "poll_period": "PT1S",
        "tls": {"folder": folder / "issued/vtn/localhost"},
        "signature": {"policy": "required"},
    }
    return load(VtnProgramSettings, None, options, {})


def ven_settings(folder: Path, url: str, name: str) -> VenProgramSettings:
    options: dict[str, object] = {
        "vtn": url,
        "name": name,
        "push": name == "push",
        "polling": {"idle": "PT1S", "retry": "PT1S"},
        "tls": {"folder": folder / f"issued/ven/{name}"},
        "signature": {"policy": "required"},
    }
    return load(VenProgramSettings, None, options, {})


async def reaches(vtn: RunningVtn, event_id: str, *vens: RunningVen) -> None:
    """Publish an event, and wait until all VENs have got and answered it."""
    await vtn.operator.publish_events([event(event_id, *VENS.values())])
    await until(lambda: answered(vtn, event_id) == set(VENS.values()))
    await until(lambda: all(operational(ven) and ven.client.link.trouble is None for ven in vens))


async def test_the_vtn_and_a_push_ven_are_renewed_under_open_connections(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feederloop.tls_sides.EVERY_S", 0.1)
    pki = Pki(folder)
    async with running_vtn(vtn_settings(folder)) as vtn:
        await vtn.operator.provision(
            [
                Provision(ven_id=ven_id, ven_name=name, fingerprint=mark(folder, Role.VEN, name))
                for name, ven_id in VENS.items()
            ]
        )
        async with (
            running_ven(ven_settings(folder, vtn.url, "pull")) as pull,
            running_ven(ven_settings(folder, vtn.url, "push")) as push,
        ):
            await until(lambda: operational(pull) and operational(push))
            await reaches(vtn, "e1", pull, push)
            pki.rotate(Role.VTN, "localhost", wall())
            await reaches(vtn, "e2", pull, push)
            pki.rotate(Role.VEN, "push", wall())
            await vtn.operator.set_fingerprint(VENS["push"], mark(folder, Role.VEN, "push"))
            await reaches(vtn, "e3", pull, push)


class _Renewing:
    """A VEN whose certificate is renewed while it takes its first message."""

    def __init__(self, folder: Path, tls: ServerTls) -> None:
        self._folder = folder
        self._tls: ServerTls | None = tls

    async def receive(self, message: m.AnyMessage) -> m.AnyMessage | None:
        del message
        tls, self._tls = self._tls, None
        if tls is not None:
            Pki(self._folder).rotate(Role.VEN, "push", wall())
            tls.refresh(wall())
        return None

    def wake(self) -> None:
        """Nothing follows."""


async def test_a_push_during_which_the_ven_is_renewed_ends_its_connection(folder: Path) -> None:
    tls = server(folder, Role.VEN, "push")
    listener = await listen(host=HOST, tls=tls.context, vtn=VtnIdentity("localhost", wall, tls, ()))
    listener.attach(_Renewing(folder, tls))
    vtn = client(folder, Role.VTN, "localhost").context
    url, xml = f"{listener.url}{PATH}EiEvent", {"Content-Type": "application/xml"}
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=vtn)) as session:
            for ends in (True, False):
                async with session.post(url, data=wire.write(distribute()), headers=xml) as response:
                    assert response.status == 200
                    assert (response.headers.get("Connection") == "close") is ends
    finally:
        await listener.close()


class _Line(asyncio.Protocol):
    """Answers every byte; stands for HTTP."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        with self._connections.serving(self.transport):
            self.transport.write(data)


class _Server:
    """A TLS server without HTTP."""

    def __init__(self, tls: ServerTls) -> None:
        self.tls = tls
        self.told: list[str] = []
        self.connections = Connections(ConnectionLimits(), self.told.append)
        self.lines: list[_Line] = []
        self._server: Door | None = None

    def _line(self) -> _Line:
        self.lines.append(_Line(self.connections))
        return self.lines[-1]

    async def start(self) -> int:
        self._server = await self.connections.listen(self._line, HOST, 0, self.tls.context)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for line in self.lines:
            if line.transport is not None:
                line.transport.abort()
        await self._server.wait_closed()


async def connected(folder: Path, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has served once and is idle."""
    tls = client(folder, Role.VEN, "pull")
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls.context)
    writer.write(b"x")
    async with asyncio.timeout(30):
        assert await reader.readexactly(1) == b"x"
    return reader, writer


async def test_a_renewed_certificate_ends_idle_connections_and_marks_the_others(folder: Path) -> None:
    found = _Server(server(folder, Role.VTN, "localhost"))
    port = await found.start()
    try:
        reader, writer = await connected(folder, port)
        busy_reader, busy_writer = await connected(folder, port)
        busy = found.lines[1].transport
        with found.connections.serving(busy):
            Pki(folder).rotate(Role.VTN, "localhost", wall())
            found.tls.refresh(wall())
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            assert found.connections.is_outdated(busy)
            assert busy is not None
            busy.write(b"y")
            async with asyncio.timeout(30):
                assert await busy_reader.readexactly(1) == b"y"
        _, later_writer = await connected(folder, port)
        assert not found.connections.is_outdated(found.lines[-1].transport)
        assert found.told == []
        for each in (writer, busy_writer, later_writer):
            each.close()
    finally:
        await found.close()


async def test_connections_outlive_a_refresh_that_finds_other_trust_only(folder: Path) -> None:
    found = _Server(server(folder, Role.VTN, "localhost"))
    port = await found.start()
    try:
        reader, writer = await connected(folder, port)
        trust = folder / "trust.pem"
        trust.write_bytes(trust.read_bytes() + b"\n")
        found.tls.refresh(wall())
        assert not found.connections.is_outdated(found.lines[0].transport)
        writer.write(b"z")
        async with asyncio.timeout(30):
            assert await reader.readexactly(1) == b"z"
        writer.close()
    finally:
        await found.close()
