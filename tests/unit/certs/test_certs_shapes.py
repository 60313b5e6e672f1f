"""The short ways for messages that repeat: same bytes when writing, same verdicts when reading."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs import known_shapes
from certs.envelope import Envelope, SignaturePolicy
from certs.known_shapes import KnownShapes
from certs.sealing import Sealer
from certs.xmldsig import Verifier
from schemas.oadr20b import wire
from schemas.oadr20b.errors import (
    BadSignature,
    CertificateRefused,
    ForbiddenAlgorithm,
    NoReplayProtect,
    OadrError,
    OutsideWindow,
)
from schemas.oadr20b.model import AnyMessage, EiResponse, Poll, RequestEvent, Response
from tests.unit.certs.parties import (
    KINDS,
    NOW,
    SPACES,
    Element,
    certificate,
    key,
    one,
    poll,
    request_event,
    resign,
    signed,
    signer,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openleadr import messaging

REQUIRED = SignaturePolicy.REQUIRED


def reader(kind: str = "ec") -> Envelope:
    return Envelope(
        REQUIRED, signer=signer(kind), verifier=Verifier(), new_nonce=lambda: "n", wall=lambda: NOW
    )


def cert(kind: str = "ec", who: str = "ven") -> bytes:
    return certificate(kind, who).public_bytes(Encoding.DER)


def body(
    kind: str = "ec", *, at: datetime = NOW, nonce: str = "nonce-1", payload: Element | None = None
) -> bytes:
    return wire.serialise(signed(kind, payload, at=at, nonce=nonce))


def verdict(party: Envelope, data: bytes, peer: bytes, now: datetime = NOW) -> object:
    """Return what comes of a body: the message with its proof, or the error."""
    try:
        opened = party.read(data, peer, now)
    except OadrError as err:
        return type(err), str(err)
    assert opened.proof is not None
    return opened.message, opened.proof.timestamp, opened.proof.nonce, opened.proof.fingerprint


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes whatever takes the long way fail."""

    def forbid() -> None:
        def parse(*args: object, **options: object) -> Element:
            raise AssertionError("the long way")

        monkeypatch.setattr(wire, "parse", parse)

    return forbid


# --- reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_poll_like_the_last_one_takes_the_short_way(kind: str, no_parser: Callable[[], None]) -> None:
    party = reader(kind)
    later = NOW + timedelta(seconds=10)
    long = verdict(reader(kind), body(kind, at=later, nonce="another<&>"), cert(kind), later)
    plain = verdict(reader(kind), body(kind, at=later, nonce="another"), cert(kind), later)
    party.read(body(kind), cert(kind), NOW)
    second = body(kind, at=later, nonce="another")
    with_markup = body(kind, at=later, nonce="another<&>")
    assert verdict(party, with_markup, cert(kind), later) == long  # that one has entities: not the short way
    no_parser()
    assert verdict(party, second, cert(kind), later) == plain
    assert plain == (Poll(ven_id="ven-1"), later, "another", signer(kind).fingerprint)


def test_another_ven_another_shape() -> None:
    party = reader()
    for ven_id in ("ven-1", "ven-2", "ven-1"):
        assert party.read(body(payload=poll(ven_id)), cert(), NOW).message == Poll(ven_id=ven_id)


def test_what_the_short_way_would_refuse_the_long_way_judges() -> None:
    """After a first one of its shape has come, every bad body gets the verdict that a new reader gives."""
    good = body(nonce="nonce-2")
    value = good.index(b"<ds:SignatureValue>") + 30
    digest = good.index(b"<ds:DigestValue>") + 20
    bad = [
        good.replace(b"nonce-2", b"nonce-3"),
        good.replace(b"nonce-2", b""),
        good.replace(b"nonce-2", b"nonce\r2"),
        good.replace(b"nonce-2", b"nonce\xc3\xa92"),
        good.replace(b"nonce-2", b"nonce&#45;2"),
        good.replace(NOW.isoformat()[:10].encode(), b"2025-01-01"),
        good.replace(NOW.isoformat()[:10].encode(), b"not-a-date"),
        good[:value] + b"AAAA" + good[value + 4 :],
        good[:value] + b"!" + good[value + 1 :],
        good[:digest] + b"AAAA" + good[digest + 4 :],
        good[:digest] + b"=" + good[digest + 1 :],
        good.replace(b"ven-1", b"ven-2"),
        good + b"<",
        b"<?xml version='1.1' encoding='UTF-8'?>" + good[good.index(b"?>") + 2 :],
        b"\xff\xfe" + good,
        wire.serialise(signed("ec", at=NOW + timedelta(seconds=301))),
        wire.serialise(signed("ec", at=NOW - timedelta(seconds=301))),
    ]
    warm = reader()
    warm.read(body(), cert(), NOW)
    for data in bad:
        assert verdict(warm, data, cert()) == verdict(reader(), data, cert())
    assert isinstance(verdict(warm, bad[0], cert()), tuple)
    for data, error in ((bad[0], BadSignature), (bad[-1], OutsideWindow), (bad[1], NoReplayProtect)):
        with pytest.raises(error):
            warm.read(data, cert(), NOW)
    assert warm.read(good, cert(), NOW).signed


def test_a_known_shape_helps_nobody_else() -> None:
    warm = reader()
    warm.read(body(), cert(), NOW)
    with pytest.raises(BadSignature):
        warm.read(body(nonce="nonce-2"), cert(who="other"), NOW)
    assert warm.read(body(nonce="nonce-2"), cert(), NOW).signed


def test_a_known_shape_does_not_outlive_the_certificate() -> None:
    wall = [NOW]
    party = Envelope(REQUIRED, signer=signer("ec"), verifier=Verifier(), new_nonce=str, wall=lambda: wall[0])
    party.read(body(), cert(), NOW)
    wall[0] += timedelta(days=31)
    with pytest.raises(CertificateRefused):
        party.read(body(nonce="nonce-2"), cert(), NOW)


def test_a_known_shape_does_not_change_the_method() -> None:
    """A right signature by an elliptic curve, over a SignedInfo that says RSA."""
    party = reader()
    party.read(body("rsa"), cert("rsa"), NOW)
    confused = signed("rsa", nonce="nonce-2")
    resign(confused, key("ec"))
    with pytest.raises(ForbiddenAlgorithm):
        party.read(wire.serialise(confused), cert("ec"), NOW)


def test_a_body_beyond_the_limit_is_refused_whatever_is_known() -> None:
    warm = reader()
    warm.read(body(), cert(), NOW)
    data = body(nonce="nonce-2")
    with pytest.raises(OadrError, match="limit"):
        warm.read(data, cert(), NOW, max_bytes=len(data) - 1)


def learned(data: bytes, kind: str = "ec") -> int:
    """Return how many shapes are known after a body was verified by a new reader."""
    shapes = KnownShapes()
    likeness = shapes.likeness(data)
    proof = Verifier().verify(wire.parse_unvalidated(data), cert(kind), NOW)
    message: AnyMessage = Poll(ven_id="ven-1")
    if likeness is not None:
        shapes.learn(data, likeness, proof.parts, message)
    return len(shapes)


def resigned(change: Callable[[Element], None]) -> bytes:
    root = signed("ec")
    change(root)
    resign(root, key("ec"))
    return wire.serialise(root)


def test_an_ordinary_poll_is_learned() -> None:
    assert learned(body()) == 1
    assert learned(resigned(lambda root: None)) == 1


@pytest.mark.parametrize(
    "decoy",
    [
        b"<![CDATA[<dsp:nonce>nonce-1</dsp:nonce>]]>",
        b"<nonce>nonce-1</nonce>",
    ],
)
def test_a_decoy_is_not_taken_for_the_signatures_own_nonce(decoy: bytes) -> None:
    """The real one is written in another way, which its canonical form does not show, and so is no hole."""
    root = signed("ec")
    one(root, ".//ei:venID").text = "MARK"
    text = wire.serialise(root).replace(b"MARK", decoy)
    again = wire.parse_unvalidated(text)
    resign(again, key("ec"))
    for name in (b"SignatureValue", b"DigestValue"):
        value = again.findall(f".//ds:{name.decode()}", SPACES)[0].text or ""
        text = _with_text(text, name, value)
    data = text.replace(
        b"<dsp:nonce>nonce-1</dsp:nonce></dsp:Replay", b"<dsp:nonce >nonce-1</dsp:nonce></dsp:Replay"
    )
    assert b"<dsp:nonce >" in data
    assert KnownShapes().likeness(data) is not None
    if decoy.startswith(b"<!"):
        assert Verifier().verify(wire.parse_unvalidated(data), cert(), NOW).nonce == "nonce-1"
    assert learned(data) == 0


def test_a_nonce_with_an_attribute_takes_the_long_way() -> None:
    def attribute(root: Element) -> None:
        one(root, ".//dsp:nonce").set("EncodingType", "x")

    assert learned(resigned(attribute)) == 0


def _with_text(data: bytes, name: bytes, text: str) -> bytes:
    start = data.index(b"<ds:" + name + b">") + len(name) + 5
    return data[:start] + text.encode() + data[data.index(b"</ds:" + name, start) :]


@pytest.mark.parametrize("order", [0, 1])
def test_references_in_either_order(order: int, no_parser: Callable[[], None]) -> None:
    def swap(root: Element) -> None:
        info = one(root, ".//ds:SignedInfo")
        if order:
            info.append(info[2])

    first = resigned(swap)
    other = signed("ec", nonce="nonce-2")
    swap(other)
    resign(other, key("ec"))
    party = reader()
    party.read(first, cert(), NOW)
    second = wire.serialise(other)
    no_parser()
    opened = party.read(second, cert(), NOW)
    assert opened.proof is not None
    assert opened.proof.nonce == "nonce-2"


def test_openleadrs_polls_take_the_short_way_too(no_parser: Callable[[], None]) -> None:
    private = key("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = certificate("rsa").public_bytes(Encoding.PEM)
    bodies = [
        str(messaging.create_message("oadrPoll", cert=public, key=private, ven_id="ven-1")).encode()
        for _ in range(2)
    ]
    now = datetime.now(UTC)
    party = reader("rsa")
    assert party.read(bodies[0], cert("rsa"), now).message == Poll(ven_id="ven-1")
    no_parser()
    assert party.read(bodies[1], cert("rsa"), now).message == Poll(ven_id="ven-1")


def test_only_what_repeats_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_shapes, "_KEPT", 3)
    shapes = KnownShapes()
    for number in range(10):
        data = body(payload=poll(f"ven-{number % 5}"))
        likeness = shapes.likeness(data)
        assert likeness is not None
        proof = Verifier().verify(wire.parse(data), cert(), NOW)
        shapes.learn(data, likeness, proof.parts, Poll(ven_id="x"))
        shapes.learn(data, likeness, proof.parts, RequestEvent(request_id="r", ven_id="x"))
        assert shapes.find(likeness) is not None
        assert len(shapes) <= 3
    assert shapes.likeness(b"x" * 8001) is None
    assert shapes.likeness(b"<a/>") is None


# --- writing -----------------------------------------------------------------------------------------------

EMPTY = Response(response=EiResponse(code="200", request_id=""), ven_id="ven-1")


@pytest.mark.parametrize("make", [poll, request_event])
@pytest.mark.parametrize("nonce", ["n-1", "<n&{1}>\"'"])
def test_a_sealed_body_is_the_one_that_is_signed_as_a_tree(make: Callable[[], Element], nonce: str) -> None:
    payload = make()
    signer("rsa").sign(payload, NOW, nonce)
    sealer = Sealer(signer("rsa"))
    for _ in range(2):  # as a new body, and as one that is known
        assert sealer.seal(wire.serialise(make()), NOW, nonce) == wire.serialise(payload)


def test_a_body_that_is_known_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = Sealer(signer("ec"))
    plain = wire.write(EMPTY)
    sealer.seal(plain, NOW, "n-1")

    def parse(*args: object, **options: object) -> Element:
        raise AssertionError("the long way")

    monkeypatch.setattr(wire, "parse_unvalidated", parse)
    assert b"n-2" in sealer.seal(plain, NOW, "n-2")


def test_an_earlier_signature_is_replaced() -> None:
    sealer = Sealer(signer("rsa"))
    plain = wire.write(EMPTY)
    once = sealer.seal(plain, NOW, "n-1")
    assert sealer.seal(once, NOW, "n-2") == sealer.seal(plain, NOW, "n-2").replace(
        b"<oadr:oadrSignedObject>", b'<oadr:oadrSignedObject oadr:Id="oadrSignedObject">'
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sealed_bodies_are_verified(kind: str) -> None:
    sealer = Sealer(signer(kind))
    stamps = itertools.count()
    for number in range(3):
        at = NOW + timedelta(seconds=next(stamps))
        data = sealer.seal(wire.write(EMPTY), at, f"n-{number}")
        proof = Verifier().verify(wire.parse(data), certificate(kind), NOW)
        assert (proof.timestamp, proof.nonce) == (at, f"n-{number}")


def test_what_cannot_be_sealed() -> None:
    sealer = Sealer(signer("ec"))
    with pytest.raises(ValueError, match="nonce"):
        sealer.seal(wire.write(EMPTY), NOW, "")
    with pytest.raises(CertificateRefused):
        sealer.seal(wire.write(EMPTY), NOW, "n", wall=NOW + timedelta(days=31))
