"""The VTN behind a real nginx with the configuration of docs/proxy.md."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from certs.peer import ProxyTrust
from certs.pki import Pki, Role
from certs.tls import ServerTls
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.e2e import front_rig as front
from tests.e2e.tls_parties import HOST, client, files, make_parties, mark, revoke, wall
from tests.unit.vtn.rig import ALICE, BOB, MemoryStore, Rig
from vtn_server.http import HttpServer, serve
from vtn_server.peers import ProxyPeers
from vtn_server.settings import VtnSettings
from vtn_server.state import Provision

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,
    pytest.mark.skipif(front.NGINX is None, reason="nginx is not installed (apt-get install nginx)"),
]

PATH = "/OpenADR2/Simple/2.0b/EiRegisterParty"
AROUND = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


def configuration(folder: Path, pki: Path, vtn_port: int, port: int) -> str:
    """Return the configuration of the document, with the paths and ports of a test."""
    certificates = pki / "issued" / "vtn" / "localhost"
    site = front.changed(
        front.block("proxy.md", "nginx"),
        [
            ("127.0.0.1:8080", f"{HOST}:{vtn_port}"),
            ("listen 8443 ssl", f"listen {HOST}:{port} ssl"),
            ("/etc/feederloop/trust.pem", str(pki / "trust.pem")),
            ("/etc/feederloop/", f"{certificates}/"),
        ],
    )
    return AROUND.format(folder=folder, site=site, user=front.user_line())


def nginx(folder: Path, pki: Path, vtn_port: int) -> AbstractContextManager[int]:
    """Run nginx before a VTN; the context is its port."""
    return front.running_nginx(folder, lambda port: configuration(folder, pki, vtn_port, port))


class Site:
    """A VTN, nginx before it, and the authority of both."""

    def __init__(self, folder: Path) -> None:
        self.pki: Pki = make_parties(folder, "alice", "bob")
        self.pki.issue(Role.VTN, "spare", wall())  # both kinds
        shutil.copytree(folder / "issued/vtn/spare", folder / "issued/vtn/localhost", dirs_exist_ok=True)
        self.folder = folder
        self.tls = ServerTls(files(folder, Role.VTN, "spare"), wall())
        self.port = 0
        self.rig: Rig
        self.server: HttpServer

    def session(self, name: str | None) -> aiohttp.ClientSession:
        if name is None:
            context = ssl.create_default_context(cafile=str(self.folder / "trust.pem"))
        else:
            context = client(self.folder, Role.VEN, name).context
        context.check_hostname = False  # nginx has a certificate for another name
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))

    async def register(
        self, session: aiohttp.ClientSession, name: str, headers: dict[str, str] | None = None
    ) -> str:
        """Return the application code, or the HTTP status."""
        body = wire.write(m.CreatePartyRegistration(request_id="r", ven_name=name, http_pull_model=True))
        url = f"https://{HOST}:{self.port}{PATH}"
        sent = {"Content-Type": "application/xml", **(headers or {})}
        async with session.post(url, data=body, headers=sent) as response:
            if response.status != 200:
                return f"HTTP {response.status}"
            assert "Transfer-Encoding" not in response.headers
            reply = wire.read(await response.read())
        assert isinstance(reply, m.CreatedPartyRegistration)
        return reply.response.code

    def header(self, name: str) -> dict[str, str]:
        """Return what nginx would send for a VEN."""
        text = (self.folder / "issued/ven" / name / "ec.pem").read_text(encoding="ascii")
        leaf = text[: text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")] + "\n"
        return {"X-SSL-Client-Cert": urllib.parse.quote(leaf), "X-SSL-Client-Verify": "SUCCESS"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    found = Site(tmp_path / "pki")
    found.rig = await Rig(MemoryStore(), VtnSettings(vtn_id="vtn-1", validate_outgoing=True)).start(
        [
            Provision(ven_id=ven_id, ven_name=name, fingerprint=mark(found.folder, Role.VEN, name))
            for ven_id, name in ((ALICE, "alice"), (BOB, "bob"))
        ]
    )
    trust = ProxyTrust.at(HOST)
    found.server = await serve(
        found.rig.service, peers=ProxyPeers(trust, wall, found.tls), exempt=trust.trusts
    )
    with nginx(tmp_path, found.folder, found.server.port) as found.port:
        yield found
    await found.server.close()


async def test_a_ven_with_its_certificate_passes_and_speaks_for_itself_only(site: Site) -> None:
    async with site.session("alice") as alice:
        for _ in range(3):
            assert await site.register(alice, "alice") == "200"
        assert await site.register(alice, "bob") == "463"


async def test_a_header_that_a_client_forges_is_replaced(site: Site) -> None:
    async with site.session("bob") as bob:
        forged = site.header("alice")
        assert await site.register(bob, "alice", forged) == "463"
        assert await site.register(bob, "bob", forged) == "200"
        underscored = {key.replace("-", "_"): value for key, value in forged.items()}
        assert await site.register(bob, "alice", underscored) == "463"


async def test_nobody_passes_without_a_certificate(site: Site) -> None:
    async with site.session(None) as nobody:
        assert await site.register(nobody, "alice", site.header("alice")) == "HTTP 400"
    assert dict(site.rig.service.stats().messages_in) == {}


async def test_a_revoked_certificate_is_refused_at_its_next_request(site: Site) -> None:
    async with site.session("alice") as alice, site.session("bob") as bob:
        assert await site.register(alice, "alice") == "200"
        revoke(site.pki, site.folder, Role.VEN, "alice")
        site.tls.refresh(wall())
        assert await site.register(alice, "alice") == "HTTP 403"
        assert await site.register(bob, "bob") == "200"


async def test_past_the_proxy_there_is_no_way(site: Site) -> None:
    """A good header from an address that is not the proxy's; 127.0.0.2 is on this machine, too."""
    lines = [
        f"POST {PATH} HTTP/1.1",
        "Host: x",
        "Content-Type: application/xml",
        "Content-Length: 9999",
        *(f"{key}: {value}" for key, value in site.header("alice").items()),
    ]
    for address, refused in (("127.0.0.2", True), (HOST, False)):
        reader, writer = await asyncio.open_connection(HOST, site.server.port, local_addr=(address, 0))
        end = "" if refused else "Connection: close\r\nExpect: 100-continue\r\n"
        writer.write(("\r\n".join(lines) + "\r\n" + end + "\r\n").encode())
        status = (await reader.readline()).split()[1]
        assert status == (b"403" if refused else b"100")
        writer.close()
        await writer.wait_closed()
    assert dict(site.rig.service.stats().http_errors) == {"403": 1}
