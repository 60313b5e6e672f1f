"""Bytes to messages and back by policy: the table of :mod:`certs.envelope`, line by line."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.envelope import CannotSign, Envelope, SignaturePolicy
from certs.nonces import MemoryNonces
from certs.xmldsig import DEFAULT_WINDOW, Verifier, is_signed
from schemas.oadr20b import wire
from schemas.oadr20b.errors import (
    BadSignature,
    CertificateRefused,
    NotSigned,
    NotXml,
    OutsideWindow,
    Replay,
    SecurityError,
    SignatureWrapping,
    UnknownPeer,
    WireError,
)
from schemas.oadr20b.model import Poll, RequestEvent
from tests.unit.certs.parties import KINDS, NOW, certificate, one, request_event, signed, signer

OFF, OPTIONAL, REQUIRED = SignaturePolicy.OFF, SignaturePolicy.OPTIONAL, SignaturePolicy.REQUIRED
MESSAGE = RequestEvent(request_id="r1", ven_id="ven-1")
PLAIN = wire.write(MESSAGE)


def envelope(policy: SignaturePolicy, kind: str = "ec", *, wall: datetime = NOW) -> Envelope:
    nonces = itertools.count(1)
    return Envelope(
        policy,
        signer=signer(kind),
        verifier=Verifier(),
        new_nonce=lambda: f"n-{next(nonces)}",
        wall=lambda: wall,
    )


def cert(who: str = "ven", kind: str = "ec") -> bytes:
    return certificate(kind, who).public_bytes(Encoding.DER)


def body(kind: str = "ec") -> bytes:
    return wire.serialise(signed(kind, request_event()))


def tampered() -> bytes:
    return body().replace(b"ven-1", b"ven-2")


Expected = bool | type[SecurityError]

TABLE: tuple[tuple[SignaturePolicy, bool, str, Expected], ...] = (
    # policy, is there a certificate, what comes -> refused with, or whether it counts as signed
    (OFF, False, "plain", False),
    (OFF, False, "signed", False),
    (OFF, False, "tampered", False),
    (OFF, True, "plain", False),
    (OFF, True, "signed", False),
    (OFF, True, "tampered", False),
    (OPTIONAL, False, "plain", False),
    (OPTIONAL, False, "signed", False),
    (OPTIONAL, False, "tampered", False),
    (OPTIONAL, True, "plain", False),
    (OPTIONAL, True, "signed", True),
    (OPTIONAL, True, "tampered", BadSignature),
    (REQUIRED, False, "plain", UnknownPeer),
    (REQUIRED, False, "signed", UnknownPeer),
    (REQUIRED, False, "tampered", UnknownPeer),
    (REQUIRED, True, "plain", NotSigned),
    (REQUIRED, True, "signed", True),
    (REQUIRED, True, "tampered", BadSignature),
)


@pytest.mark.parametrize(("policy", "has_certificate", "what", "expected"), TABLE)
def test_the_table(policy: SignaturePolicy, has_certificate: bool, what: str, expected: Expected) -> None:
    data = {"plain": PLAIN, "signed": body(), "tampered": tampered()}[what]
    party = envelope(policy)
    peer = cert() if has_certificate else None
    if isinstance(expected, bool):
        opened = party.read(data, peer, NOW)
        assert opened.signed is expected
        ven_id = "ven-2" if what == "tampered" else "ven-1"
        assert opened.message == RequestEvent(request_id="r1", ven_id=ven_id)
    else:
        with pytest.raises(expected):
            party.read(data, peer, NOW)


def test_the_table_is_whole() -> None:
    rows = {(policy, there, what) for policy, there, what, _ in TABLE}
    assert rows == set(itertools.product(SignaturePolicy, (False, True), ("plain", "signed", "tampered")))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind: str) -> None:
    party = envelope(REQUIRED, kind)
    data = party.write(MESSAGE, NOW, signed=True)
    opened = party.read(data, cert(kind=kind), NOW)
    assert (opened.message, opened.signed) == (MESSAGE, True)
    assert party.write(MESSAGE, NOW, signed=True) != data  # each time with a nonce of its own
    assert party.write(MESSAGE, NOW, signed=False) == PLAIN


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_of_bytes_is_signed_afterwards(kind: str) -> None:
    party = envelope(OPTIONAL, kind)
    data = party.sign(PLAIN, NOW)
    assert party.read(data, cert(kind=kind), NOW).message == MESSAGE
    again = party.sign(data, NOW)  # an earlier signature is replaced
    assert party.read(again, cert(kind=kind), NOW).signed


def test_somebody_elses_genuine_signature_is_refused() -> None:
    with pytest.raises(BadSignature):
        envelope(OPTIONAL).read(body(), cert("other"), NOW)


def test_the_message_that_was_verified_is_the_one_that_is_decoded() -> None:
    """The signed object moved away, a forged one in its place."""
    root = signed("ec", request_event())
    forged = wire.parse_unvalidated(wire.write(Poll(ven_id="ven-2")))[0]
    holder = one(root, ".//ds:Object")
    holder.append(root[1])
    root.append(forged)
    with pytest.raises((SignatureWrapping, WireError)):
        envelope(OPTIONAL).read(wire.serialise(root), cert(), NOW)


def test_a_signature_in_a_bare_message_is_no_signature() -> None:
    root = signed("ec", request_event())
    bare = wire.serialise(root[1][0])
    party = envelope(REQUIRED)
    with pytest.raises(NotSigned):
        party.read(bare, cert(), NOW, bare_root=True)
    assert not envelope(OPTIONAL).read(bare, cert(), NOW, bare_root=True).signed


def test_bytes_that_are_no_message() -> None:
    for policy in SignaturePolicy:
        with pytest.raises(NotXml):
            envelope(policy).read(b"<", cert(), NOW)


@pytest.mark.parametrize("off_s", [-301, 301])
def test_time_stamps_are_judged_by_the_protocols_clock(off_s: int) -> None:
    with pytest.raises(OutsideWindow):
        envelope(REQUIRED).read(body(), cert(), NOW + timedelta(seconds=off_s))


def test_certificates_are_judged_by_the_clock_of_the_wall() -> None:
    """The signature is of the protocol's year, the certificate of ours."""
    past = NOW - timedelta(days=3000)
    party = envelope(REQUIRED)
    data = party.write(MESSAGE, past, signed=True)
    assert party.read(data, cert(), past).signed
    late = envelope(REQUIRED, wall=NOW + timedelta(days=31))
    with pytest.raises(CertificateRefused):
        late.read(data, cert(), past)
    with pytest.raises(CannotSign):
        late.write(MESSAGE, past, signed=True)


async def test_nothing_is_accepted_twice() -> None:
    party = envelope(OPTIONAL)
    nonces = MemoryNonces(now=lambda: NOW, window=DEFAULT_WINDOW)
    data = body()
    assert (await party.accept(data, cert(), NOW, nonces)).message == MESSAGE
    with pytest.raises(Replay):
        await party.accept(data, cert(), NOW, nonces)
    for _ in range(2):  # without a signature there is nothing to tell repetitions by
        assert not (await party.accept(PLAIN, cert(), NOW, nonces)).signed
    assert len(nonces) == 1


async def test_a_message_that_is_refused_uses_up_no_nonce() -> None:
    nonces = MemoryNonces(now=lambda: NOW, window=DEFAULT_WINDOW)
    with pytest.raises(BadSignature):
        await envelope(OPTIONAL).accept(tampered(), cert(), NOW, nonces)
    assert len(nonces) == 0


def test_a_policy_needs_a_key() -> None:
    for policy in (OPTIONAL, REQUIRED):
        with pytest.raises(ValueError, match="key"):
            Envelope(policy, signer=None, verifier=Verifier(), new_nonce=str, wall=lambda: NOW)
    off = Envelope(OFF, signer=None, verifier=Verifier(), new_nonce=str, wall=lambda: NOW)
    assert off.write(MESSAGE, NOW, signed=False) == PLAIN
    with pytest.raises(CannotSign):
        off.sign(PLAIN, NOW)


def test_a_renewed_key_signs_from_then_on() -> None:
    party = envelope(REQUIRED, "rsa")
    party.renew(signer("ec"))
    data = party.write(MESSAGE, NOW, signed=True)
    assert is_signed(wire.parse(data))
    assert party.read(data, cert(kind="ec"), NOW).signed
