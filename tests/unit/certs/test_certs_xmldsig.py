"""Signing and verifying, on the production path and the reference path."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from certs.nonces import MemoryNonces
from certs.xmldsig import DEFAULT_WINDOW, Signer, Verifier, is_signed
from certs.xmldsig_reference import ReferenceSigner
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_signed_object
from schemas.oadr20b.errors import NotSigned, Replay
from schemas.oadr20b.model import RequestEvent
from tests.unit.certs.parties import (
    KINDS,
    NOW,
    OADR,
    VERIFIERS,
    Element,
    certificate,
    key,
    one,
    poll,
    reparsed,
    request_event,
    resign,
    signed,
    signer,
)

SIGNERS: tuple[type[Signer], ...] = (Signer, ReferenceSigner)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("made_by", SIGNERS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_paths_verify_each_other(kind: str, made_by: type[Signer], verifier: type[Verifier]) -> None:
    payload = request_event()
    made_by(key(kind), certificate(kind)).sign(payload, NOW, "n-1")
    root = wire.parse(wire.serialise(payload))  # valid against the official schema, too
    verified = verifier().verify(root, certificate(kind), NOW)
    assert verified.element is root[1]
    assert decode_signed_object(verified.element) == RequestEvent(request_id="r1", ven_id="ven-1")
    assert (verified.timestamp, verified.nonce) == (NOW, "n-1")
    assert verified.fingerprint == signer(kind).fingerprint


@pytest.mark.parametrize("message", [poll, request_event])
def test_both_paths_write_the_same_bytes_for_rsa(message: type) -> None:
    documents = set()
    for made_by in SIGNERS:
        payload = message()
        made_by(key("rsa"), certificate("rsa")).sign(payload, NOW, "<n&1>")
        documents.add(wire.serialise(payload))
    assert len(documents) == 1


def test_both_paths_write_the_same_but_for_the_value_for_ecdsa() -> None:
    documents = set()
    for made_by in SIGNERS:
        payload = poll()
        made_by(key("ec"), certificate("ec")).sign(payload, NOW, "n")
        one(payload, ".//ds:SignatureValue").text = ""
        documents.add(wire.serialise(payload))
    assert len(documents) == 1


def test_shape_of_a_signed_message() -> None:
    root = signed("rsa")
    assert [etree.QName(child).localname for child in root] == ["Signature", "oadrSignedObject"]
    references = root.findall(".//ds:Reference", {"ds": "http://www.w3.org/2000/09/xmldsig#"})
    assert [each.get("URI") for each in references] == ["#oadrSignedObject", "#prop"]
    assert root[1].get(f"{{{OADR}}}Id") == "oadrSignedObject"
    assert one(root, ".//dsp:timestamp").text == "2026-03-04T05:06:07.250Z"
    assert one(root, ".//ds:X509Certificate").text is not None


@pytest.mark.parametrize("made_by", SIGNERS)
def test_signing_again_replaces_the_signature(made_by: type[Signer]) -> None:
    payload = poll()
    maker = made_by(key("ec"), certificate("ec"))
    maker.sign(payload, NOW, "n-1")
    maker.sign(payload, NOW + timedelta(seconds=9), "n-2")
    verified = Verifier().verify(reparsed(payload), certificate("ec"), NOW)
    assert (verified.nonce, verified.timestamp) == ("n-2", NOW + timedelta(seconds=9))


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize(
    "document",
    [
        # Other prefixes, a default namespace, and namespaces that come and go below the payload.
        '<oadrPayload xmlns="{o}" xmlns:q="urn:q">{s}</oadrPayload>',
        "<a:oadrPayload xmlns:a='{o}' xmlns:z='urn:ab?c=(d)'>{s}</a:oadrPayload>",
        '<a:oadrPayload xmlns:a="{o}" xmlns:ds="urn:not-xmldsig">{s}</a:oadrPayload>',
        '<a:oadrPayload xmlns:a="{o}" xmlns:dsp="http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties">{s}'
        "</a:oadrPayload>",
        '<a:oadrPayload xmlns:a="{o}" xmlns:dsp="urn:other">{s}</a:oadrPayload>',
        '<a:oadrPayload xmlns:a="{o}" xmlns="urn:default">{s}</a:oadrPayload>',
    ],
)
@pytest.mark.parametrize("made_by", SIGNERS)
def test_any_namespaces_in_scope(document: str, made_by: type[Signer], verifier: type[Verifier]) -> None:
    inner = (
        '<b:oadrSignedObject xmlns:b="{o}" b:Id="m1"><b:oadrPoll><v xmlns="">x é &amp; </v>'
        '<w xmlns:q="urn:q2" q:a="1"/></b:oadrPoll></b:oadrSignedObject>'
    )
    text = document.replace("{s}", inner).replace("{o}", OADR)
    payload = etree.fromstring(text.encode())
    made_by(key("ec"), certificate("ec")).sign(payload, NOW, "n")
    assert verifier().verify(reparsed(payload), certificate("ec"), NOW).nonce == "n"


@pytest.mark.parametrize("part", ["ds:SignatureProperty", "ds:SignatureProperties", "ds:Object"])
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_the_reference_may_name_any_part_that_holds_the_time_stamp(
    part: str, verifier: type[Verifier]
) -> None:
    root = signed("ec")
    one(root, f".//{part}").set("Id", "part")
    root.findall(".//ds:Reference", {"ds": "http://www.w3.org/2000/09/xmldsig#"})[1].set("URI", "#part")
    resign(root, key("ec"))
    verifier().verify(reparsed(root), certificate("ec"), NOW)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_no_transform_means_canonical_xml(verifier: type[Verifier]) -> None:
    root = signed("ec")
    for each in root.findall(".//ds:Transforms", {"ds": "http://www.w3.org/2000/09/xmldsig#"}):
        parent = each.getparent()
        assert parent is not None
        parent.remove(each)
    resign(root, key("ec"))
    verifier().verify(reparsed(root), certificate("ec"), NOW)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_key_info_is_not_needed(verifier: type[Verifier]) -> None:
    root = signed("rsa")
    root[0].remove(one(root, "ds:Signature/ds:KeyInfo"))
    verifier().verify(reparsed(root), certificate("rsa"), NOW)


@pytest.mark.parametrize("text", ["2026-03-04T05:06:07Z", "2026-03-04T06:06:07.1234567+01:00"])
def test_time_stamps_of_others(text: str) -> None:
    root = signed("ec")
    one(root, ".//dsp:timestamp").text = text
    resign(root, key("ec"))
    verified = Verifier().verify(reparsed(root), certificate("ec"), NOW)
    assert abs(verified.timestamp - NOW) < timedelta(seconds=1)


def test_verifying_changes_nothing() -> None:
    root = signed("rsa")
    before = etree.tostring(root)
    for each in VERIFIERS:
        each().verify(root, certificate("rsa"), NOW)
    assert etree.tostring(root) == before


def test_certificate_as_der() -> None:
    der = certificate("ec").public_bytes(Encoding.DER)
    verifier = Verifier()
    for _ in range(2):
        assert verifier.verify(signed("ec"), der, NOW).fingerprint == signer("ec").fingerprint


def test_now_in_another_zone() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    root = signed("ec", at=NOW.astimezone(zone))
    assert Verifier().verify(root, certificate("ec"), NOW.astimezone(zone)).timestamp == NOW


@pytest.mark.parametrize("nonce", ["", "a b", "a\n", "é", "x" * 129])
def test_nonces_that_will_not_do(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        signer("ec").sign(poll(), NOW, nonce)


@pytest.mark.parametrize("ident", ["prop", "1abc", "a b", ""])
def test_ids_that_will_not_do(ident: str) -> None:
    payload = poll()
    payload[0].set(f"{{{OADR}}}Id", ident)
    with pytest.raises(ValueError, match="Id"):
        signer("ec").sign(payload, NOW, "n")


def test_nothing_to_sign() -> None:
    with pytest.raises(ValueError, match="oadrSignedObject"):
        signer("ec").sign(etree.Element(f"{{{OADR}}}oadrPayload"), NOW, "n")


def test_key_of_another_certificate() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        Signer(key("ec"), certificate("rsa"))


def test_many_namespaces_and_keys_are_forgotten() -> None:
    maker = Signer(key("ec"), certificate("ec"))
    verifier = Verifier()
    for number in range(70):
        payload = etree.fromstring(
            f'<a:oadrPayload xmlns:a="{OADR}" xmlns:q="urn:{number}"><a:oadrSignedObject/></a:oadrPayload>'
        )
        maker.sign(payload, NOW, "n")
        verifier.verify(reparsed(payload), certificate("ec"), NOW)
    assert len(maker._scopes) == 64


def test_unsigned() -> None:
    assert not is_signed(poll())
    assert is_signed(signed("ec"))
    with pytest.raises(NotSigned):
        Verifier().verify(poll(), certificate("ec"), NOW)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_replay() -> None:
    clock = Clock()
    nonces = MemoryNonces(now=clock, window=DEFAULT_WINDOW)
    verifier = Verifier()
    element = await verifier.accept(signed("ec"), certificate("ec"), NOW, nonces)
    assert element.tag == f"{{{OADR}}}oadrSignedObject"
    with pytest.raises(Replay):
        await verifier.accept(signed("ec"), certificate("ec"), NOW, nonces)
    await verifier.accept(signed("ec", nonce="nonce-2"), certificate("ec"), NOW, nonces)
    # Somebody else's nonce is not ours.
    await verifier.accept(signed("rsa"), certificate("rsa"), NOW, nonces)


async def test_a_refused_message_uses_up_no_nonce() -> None:
    nonces = MemoryNonces(now=Clock(), window=DEFAULT_WINDOW)
    root = signed("ec")
    one(root, ".//ei:venID").text = "x"
    with pytest.raises(Exception, match="changed after signing"):
        await Verifier().accept(root, certificate("ec"), NOW, nonces)
    await Verifier().accept(signed("ec"), certificate("ec"), NOW, nonces)


async def test_nonces_are_kept_as_long_as_they_are_needed() -> None:
    clock = Clock()
    nonces = MemoryNonces(now=clock, window=DEFAULT_WINDOW)
    early: Element = signed("ec", at=NOW + DEFAULT_WINDOW)  # a peer whose clock is five minutes ahead
    verifier = Verifier()
    await verifier.accept(early, certificate("ec"), clock.now, nonces)
    clock.now = NOW + 2 * DEFAULT_WINDOW  # the last moment at which its time stamp is accepted
    with pytest.raises(Replay):
        await verifier.accept(early, certificate("ec"), clock.now, nonces)
    clock.now += timedelta(seconds=1)
    assert await nonces.remember("other", clock.now)
    assert len(nonces) == 1
