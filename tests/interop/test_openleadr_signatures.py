"""openleadr 0.5.36 with mutual TLS and XML signatures: its VEN at our VTN, our VEN at its VTN.

Its VEN signs everything, says in its registration that it does not, and wants signed replies if it was told
the VTN's fingerprint. Its VTN verifies what carries a venID, and signs everything.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from openleadr import OpenADRClient, OpenADRServer

from certs.envelope import SignaturePolicy
from certs.files import pem, read_certificates
from certs.pki import Role
from certs.xmldsig import is_signed
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST, client, files, mark, wall
from tests.security_rig import SETTINGS, TlsVtn, parties, ven_mail
from tests.unit.vtn.rig import ALICE, MemoryStore
from ven_client.transport import HttpPull
from ven_client.vtn_identity import VtnIdentity

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::aiohttp.web_exceptions.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    found = tmp_path_factory.mktemp("openleadr") / "pki"
    parties(found)
    return found


@pytest.mark.parametrize("policy", [SignaturePolicy.OPTIONAL, SignaturePolicy.REQUIRED])
async def test_its_ven_at_our_vtn(folder: Path, policy: SignaturePolicy) -> None:
    seen: list[tuple[bytes, bytes]] = []
    settings = replace(SETTINGS, vtn_id="Feederloop_VTN", signatures=policy, push=False)
    vtn = TlsVtn(folder, MemoryStore, settings)
    vtn.on_exchange = lambda exchange: seen.append((exchange.request, exchange.reply))
    await vtn.start()
    own = files(folder, Role.VEN, "alice").own[0]
    ven = OpenADRClient(
        ven_name="alice",
        vtn_url=f"{vtn.server.url}/OpenADR2/Simple/2.0b",
        cert=str(own.certificate),
        key=str(own.key),
        ca_file=str(folder / "trust.pem"),
        vtn_fingerprint=mark(folder, Role.VTN, "localhost"),
        show_fingerprint=False,
    )
    answers = [await ven.query_registration(), await ven.create_party_registration()]
    answers += [await ven.poll() for _ in range(3)]
    assert [kind for kind, _ in answers] == [
        "oadrCreatedPartyRegistration",
        "oadrCreatedPartyRegistration",
        "oadrRegisterReport",
        "oadrResponse",
        "oadrResponse",
    ]
    assert all(is_signed(wire.parse(body)) for pair in seen for body in pair)
    assert vtn.refused() == 0
    await ven.client_session.close()
    await vtn.close()


@pytest.fixture
async def theirs(folder: Path, tmp_path: Path) -> AsyncIterator[str]:
    """openleadr's VTN, which knows alice."""
    files_of_vtn = files(folder, Role.VTN, "localhost")
    own = files_of_vtn.own[0]
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(pem(read_certificates(own.certificate)[0]))

    async def lookup(ven_id: str) -> dict[str, str]:
        return {
            "ven_id": ven_id,
            "ven_name": "alice",
            "fingerprint": mark(folder, Role.VEN, "alice"),
            "registration_id": "r",
        }

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = OpenADRServer(
        vtn_id="Their_VTN",
        cert=str(leaf),
        key=str(own.key),
        http_cert=str(own.certificate),
        http_key=str(own.key),
        http_ca_file=str(files_of_vtn.trust),
        http_host=HOST,
        http_port=port,
        ven_lookup=lookup,
        show_fingerprint=False,
    )
    await server.run()
    yield f"https://{HOST}:{port}"
    await server.stop()


async def test_our_ven_at_its_vtn(folder: Path, theirs: str) -> None:
    tls = client(folder, Role.VEN, "alice")
    seen: list[bytes] = []
    transport = HttpPull(
        theirs,
        now=wall,
        tls=tls,
        vtn=VtnIdentity(HOST, wall, tls),
        mail=ven_mail(folder, "alice", SignaturePolicy.REQUIRED),
        observer=lambda exchange: seen.extend((exchange.request, exchange.response)),
    )
    for number in itertools.count(1):
        reply = await transport.exchange(ServiceName.OADR_POLL, m.Poll(ven_id=ALICE))
        assert isinstance(reply, m.Response)
        assert reply.response.code == "200"
        if number == 3:
            break
    assert len(seen) == 6
    assert all(is_signed(wire.parse(body)) for body in seen)
    await transport.close()
