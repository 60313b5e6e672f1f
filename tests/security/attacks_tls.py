"""Who is at the door: people who should not get in, and people who get in and say that they are others."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from certs.pki import Role
from certs.tls import CertificateFiles
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST, wall
from tests.security.attack import Attack, verdict
from tests.security.cast import MALLORY, STRANGERS, Credentials, context, credentials
from tests.security.grounds import Ground
from tests.security.wire_tap import Answer, Tap, answers, request
from tests.security_rig import signed_by, signer_of
from tests.unit.vtn.rig import ALICE, BOB
from ven_client.messages import service_of

__all__ = ["ATTACKS"]

POLL = wire.write(m.Poll(ven_id=ALICE))
_FAILED = "a TLS handshake failed: "
_VERIFY = "CERTIFICATE_VERIFY_FAILED"


def _party(name: str) -> Callable[[Path], Credentials]:
    return lambda folder: credentials(folder, name)


def _nobody(folder: Path) -> None:
    del folder


_STRANGERS: tuple[tuple[str, Callable[[Path], Credentials | None], str], ...] = (
    ("no certificate", _nobody, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    ("certificate that has expired", _party("olaf"), _VERIFY),
    ("certificate that is not valid yet", _party("early"), _VERIFY),
    ("certificate that is revoked", _party("carol"), _VERIFY),
    ("key of 1024 bits", _party("wendy"), _VERIFY),
    (
        "certificate of another authority",
        lambda folder: credentials(folder, "alice", authority=STRANGERS),
        _VERIFY,
    ),
)
"""What is shown, and why the handshake fails."""


def _handshake(server: str, shown: Callable[[Path], Credentials | None], ground: Ground) -> str:
    ground.lines()
    tap = Tap(ground.tap(server).port, context(ground.folder, shown(ground.folder)))
    return _why(ground, tap.post(POLL))


def _why(ground: Ground, answer: Answer) -> str:
    """Return why a handshake failed, as the server has logged it; it may know later than the client."""
    if answer.status != 0:
        return verdict(answer)
    lines: list[str] = []
    for _ in range(1000):
        lines += ground.lines()
        found = [line.partition(_FAILED)[2] for line in lines if _FAILED in line]
        if found:
            return found[0]
    return verdict(answer)


def _old_tls(server: str, ground: Ground) -> str:
    ground.lines()
    found = context(ground.folder, credentials(ground.folder, "alice"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        found.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        found.maximum_version = ssl.TLSVersion.TLSv1_1
    return _why(ground, Tap(ground.tap(server).port, found).post(POLL))


def _weak_suite(suite: str, server: str, ground: Ground) -> str:
    ground.lines()
    found = context(ground.folder, credentials(ground.folder, "alice"))
    found.maximum_version = ssl.TLSVersion.TLSv1_2
    found.set_ciphers(suite)
    return _why(ground, Tap(ground.tap(server).port, found).post(POLL))


def _plain_http(server: str, ground: Ground) -> str:
    ground.lines()
    tap = Tap(ground.tap(server).port, None)
    return _why(ground, tap.raw(request(body=POLL))[0])


# --- with a good certificate, in another one's name ---------------------------------------------------------


def _as(who: str, message: m.AnyMessage, ground: Ground, server: str = "plain") -> str:
    return verdict(ground.tap(server, who).post(wire.write(message), service_of(message)))


def _registers(name: str | None, ven_id: str | None = None) -> m.CreatePartyRegistration:
    return m.CreatePartyRegistration(request_id="r", ven_name=name, ven_id=ven_id, http_pull_model=True)


def _as_vtn(ground: Ground) -> str:
    shown = credentials(ground.folder, "localhost", role=Role.VTN)
    return verdict(ground.tap("plain", None, shown).post(POLL))


def _claimed_in_header(ground: Ground) -> str:
    """Alice, who writes the headers that a proxy would write for bob."""
    certificate = credentials(ground.folder, "bob").certificate.read_text().replace("\n", "%0A")
    headers = {
        "Content-Type": "application/xml",
        "X-SSL-Client-Cert": certificate,
        "X-SSL-Client-Verify": "SUCCESS",
        "X-Forwarded-For": "127.0.0.1",
    }
    return verdict(ground.tap("plain").post(wire.write(m.Poll(ven_id=BOB)), headers=headers))


def _resumed(ground: Ground) -> str:
    """A session of alice's, resumed by somebody who shows bob's certificate: it is still alice's."""
    mine = context(ground.folder, credentials(ground.folder, "alice"))
    mine.maximum_version = ssl.TLSVersion.TLSv1_2
    tap = Tap(ground.tap("plain").port, mine)
    with closing(tap.connect()) as first:
        assert isinstance(first, ssl.SSLSocket)
        session = first.session
    mine.load_cert_chain(credentials(ground.folder, "bob").certificate, credentials(ground.folder, "bob").key)
    body = wire.write(m.Poll(ven_id=BOB))
    with (
        closing(socket.create_connection((HOST, tap.port))) as plain,
        closing(mine.wrap_socket(plain, server_hostname="localhost", session=session)) as second,
    ):
        second.sendall(request(ServiceName.OADR_POLL, "Connection: close", body=body))
        data = b""
        while piece := second.recv(1 << 16):
            data += piece
    return verdict(answers(data)[0])


# --- the push VEN ------------------------------------------------------------------------------------------

_REREGISTER = m.RequestReregistration(ven_id=ALICE)


def _pushed(who: str, ground: Ground) -> str:
    """A neighbour with a good certificate and a good signature, who is not the VTN."""
    own = ground.tap("ven", who)
    return verdict(own.post(ground.signed(who, _REREGISTER), ServiceName.EI_REGISTER_PARTY))


def _vtn_signature_by_neighbour(ground: Ground) -> str:
    """A genuine message of the VTN, brought by somebody else."""
    vtn = credentials(ground.folder, "localhost", role=Role.VTN)
    signer = signer_of(CertificateFiles(certificate=vtn.certificate, key=vtn.key))
    body = signed_by(signer, _REREGISTER, wall(), "brought-by-bob")
    return verdict(ground.tap("ven", "bob").post(body, ServiceName.EI_REGISTER_PARTY))


def _attacks() -> Iterator[Attack]:
    for server, topic in (("plain", "TLS"), ("ven", "TLS, VEN")):
        for name, shown, reason in _STRANGERS:
            yield Attack(topic=topic, name=name, run=partial(_handshake, server, shown), refusals=(reason,))
        yield Attack(
            topic=topic,
            name="TLS 1.1",
            run=partial(_old_tls, server),
            refusals=("UNSUPPORTED_PROTOCOL", "closed"),
        )
        for suite in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "NULL-SHA256:@SECLEVEL=0"):
            yield Attack(
                topic=topic,
                name=f"suite {suite.partition(':')[0]}",
                run=partial(_weak_suite, suite, server),
                refusals=("NO_SHARED_CIPHER",),
            )
        yield Attack(
            topic=topic, name="plain HTTP", run=partial(_plain_http, server), refusals=("HTTP_REQUEST",)
        )
    for name, who, message in (
        ("a poll for bob", "alice", m.Poll(ven_id=BOB)),
        ("a registration as bob, by name", "alice", _registers("bob")),
        ("a registration as bob, by venID", "alice", _registers("alice", BOB)),
        ("a good certificate that is nobody's", MALLORY, m.Poll(ven_id=ALICE)),
        ("a name that nobody announced", MALLORY, _registers(MALLORY)),
        ("a name in other letters", MALLORY, _registers("Alice")),
        ("a registration without a name", MALLORY, _registers(None)),
    ):
        yield Attack(topic="identity", name=name, run=partial(_as, who, message), refusals=("200/463",))
    yield Attack(topic="identity", name="the VTN's own certificate", run=_as_vtn, refusals=("200/463",))
    yield Attack(topic="identity", name="headers of a proxy", run=_claimed_in_header, refusals=("200/463",))
    yield Attack(topic="identity", name="a resumed session", run=_resumed, refusals=("200/463",))
    for who in ("bob", "alice", MALLORY):
        yield Attack(
            topic="identity, VEN",
            name=f"a push of {who}'s",
            run=partial(_pushed, who),
            refusals=("200/463",),
        )
    yield Attack(
        topic="identity, VEN",
        name="a push of the VTN's, brought by bob",
        run=_vtn_signature_by_neighbour,
        refusals=("403",),
    )


ATTACKS = tuple(_attacks())
