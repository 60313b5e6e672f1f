"""The client certificate in a proxy's header."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.peer import PeerCertificate, ProxyTrust, refusal
from schemas.oadr20b.errors import CertificateRefused, UnknownPeer
from tests.unit.certs.parties import NOW, certificate, signer

TRUST = ProxyTrust.at("127.0.0.1", "10.1.0.0/16", "::1")
CERT = "X-SSL-Client-Cert"
PASSED = ("X-SSL-Client-Verify", "SUCCESS")


def header(kind: str = "ec") -> str:
    return quote(certificate(kind).public_bytes(Encoding.PEM).decode(), safe="")


@pytest.mark.parametrize("remote", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_from_the_proxy(remote: str) -> None:
    peer = TRUST.peer([(CERT.lower(), header()), PASSED, ("Host", "x")], remote)
    assert peer.fingerprint == signer("ec").fingerprint
    assert peer.common_name == "ven"
    assert refusal(peer, NOW) is None


@pytest.mark.parametrize("remote", ["10.2.0.1", "::2", "127.0.0.2", "", None, "localhost"])
def test_from_elsewhere(remote: str | None) -> None:
    with pytest.raises(UnknownPeer, match="not the trusted proxy"):
        TRUST.peer([(CERT, header()), PASSED], remote)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [PASSED],
        [(CERT, ""), PASSED],
        [(CERT, header())],
        [(CERT, header()), ("X-SSL-Client-Verify", "NONE")],
        [(CERT, header()), ("X-SSL-Client-Verify", "FAILED:expired")],
        [(CERT, header()), (CERT, header("rsa")), PASSED],
        [(CERT, header()), ("X_SSL_Client_Cert", header("rsa")), PASSED],
        [(CERT, header()), PASSED, PASSED],
        [(CERT, "x" * 20_000), PASSED],
    ],
)
def test_headers_that_prove_nothing(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(UnknownPeer):
        TRUST.peer(headers, "127.0.0.1")


@pytest.mark.parametrize("value", ["garbage", "%zz", "é", quote("-----BEGIN CERTIFICATE-----\nxx")])
def test_headers_that_cannot_be_read(value: str) -> None:
    with pytest.raises(CertificateRefused):
        TRUST.peer([(CERT, value), PASSED], "127.0.0.1")


def test_a_proxy_without_the_second_header() -> None:
    trust = ProxyTrust(addresses=TRUST.addresses, header="X-Cert", verify_header=None)
    assert trust.peer([("x-cert", header())], "127.0.0.1").fingerprint == signer("ec").fingerprint


def test_weak_key_is_refused_later() -> None:
    der = certificate("rsa-1024").public_bytes(Encoding.DER)
    assert "1024 bits" in (refusal(PeerCertificate.of(der), NOW) or "")


def test_not_a_certificate() -> None:
    with pytest.raises(CertificateRefused):
        PeerCertificate.of(b"x")


def test_bad_address() -> None:
    with pytest.raises(ValueError, match="proxy"):
        ProxyTrust.at("proxy.example")
