"""Attacks on the verification of signatures; each must end in its own error, on both paths."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from lxml import etree

from certs.xmldsig import Signer, Verifier
from schemas.oadr20b import errors as e
from tests.unit.certs.parties import (
    DS,
    DSP,
    EI,
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
    resign,
    signed,
    signer,
)

EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
SIGNED = f"{{{OADR}}}oadrSignedObject"


@dataclass(frozen=True)
class Attack:
    """What an attacker does to an honest message, and the error it must end in."""

    name: str
    error: type[e.SecurityError]
    do: Callable[[Element, str], None]


def forged(ven_id: str = "forged", ident: str | None = None) -> Element:
    element = one(poll(ven_id), "oadr:oadrSignedObject")
    if ident is not None:
        element.set(f"{{{OADR}}}Id", ident)
    return element


def tamper_text(root: Element, kind: str) -> None:
    one(root, ".//ei:venID").text = "ven-2"


def tamper_attribute(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").set(f"{{{EI}}}schemaVersion", "2.0a")


def tamper_timestamp(root: Element, kind: str) -> None:
    one(root, ".//dsp:timestamp").text = "2026-03-04T05:06:08Z"


def tamper_nonce(root: Element, kind: str) -> None:
    one(root, ".//dsp:nonce").text = "nonce-2"


def tamper_namespace(root: Element, kind: str) -> None:
    element = one(root, ".//ei:venID")
    element.tag = f"{{{OADR}}}venID"


def truncated_value(root: Element, kind: str) -> None:
    value = one(root, ".//ds:SignatureValue")
    value.text = base64.b64encode(base64.b64decode(value.text or "")[:-1]).decode()


def empty_value(root: Element, kind: str) -> None:
    one(root, ".//ds:SignatureValue").text = ""


def zero_value(root: Element, kind: str) -> None:
    # r = s = 0 was accepted by some implementations of ECDSA.
    one(root, ".//ds:SignatureValue").text = base64.b64encode(bytes(64 if kind == "ec" else 256)).decode()


def der_value(root: Element, kind: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    from certs.keys import sign_bytes

    data = sign_bytes(key(kind), b"anything")
    value = encode_dss_signature(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"))
    one(root, ".//ds:SignatureValue").text = base64.b64encode(value).decode()


def garbage_value(root: Element, kind: str) -> None:
    one(root, ".//ds:SignatureValue").text = "!!! not base64 !!!"


def truncated_digest(root: Element, kind: str) -> None:
    for value in root.iterfind(".//ds:DigestValue", {"ds": DS}):
        value.text = base64.b64encode(base64.b64decode(value.text or "")[:4]).decode()


def no_signature(root: Element, kind: str) -> None:
    root.remove(root[0])


def moved_into_object(root: Element, kind: str) -> None:
    honest = one(root, "oadr:oadrSignedObject")
    one(root, "ds:Signature/ds:Object").append(honest)
    root.append(forged())


def moved_into_second_object(root: Element, kind: str) -> None:
    honest = one(root, "oadr:oadrSignedObject")
    etree.SubElement(one(root, "ds:Signature"), f"{{{DS}}}Object").append(honest)
    root.append(forged(ident="other"))


def moved_into_feed(root: Element, kind: str) -> None:
    honest = one(root, "oadr:oadrSignedObject")
    feed = etree.Element("{http://www.w3.org/2005/Atom}feed")
    fake = forged()
    feed.append(honest)
    fake.append(feed)
    root.append(fake)


def second_signed_object_first(root: Element, kind: str) -> None:
    root.insert(1, forged())


def second_signed_object_last(root: Element, kind: str) -> None:
    root.append(forged())


def duplicate_id(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").set("Id", "oadrSignedObject")


def duplicate_id_other_case(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").set("ID", "oadrSignedObject")


def object_takes_the_id(root: Element, kind: str) -> None:
    # The honest object is in ds:Object and keeps its Id; the forged one has another.
    honest = one(root, "oadr:oadrSignedObject")
    one(root, ".//ds:SignatureProperty").append(honest)
    root.append(forged(ident="x"))


def inner_signed_object(root: Element, kind: str) -> None:
    honest = one(root, "oadr:oadrSignedObject")
    fake = forged()
    fake.append(honest)
    root.append(fake)


def signature_last(root: Element, kind: str) -> None:
    root.append(root[0])


def two_signatures(root: Element, kind: str) -> None:
    root.insert(1, copy.deepcopy(root[0]))


def stranger_in_payload(root: Element, kind: str) -> None:
    etree.SubElement(root, "{urn:x}stranger")


def key_value(root: Element, kind: str) -> None:
    """The attacker signs, and puts his key beside the honest certificate."""
    tamper_text(root, kind)
    evil = key(kind, "evil")
    value = etree.Element(f"{{{DS}}}KeyValue")
    if isinstance(evil, rsa.RSAPrivateKey):
        numbers = evil.public_key().public_numbers()
        inner = etree.SubElement(value, f"{{{DS}}}RSAKeyValue")
        for name, number in (("Modulus", numbers.n), ("Exponent", numbers.e)):
            data = number.to_bytes((number.bit_length() + 7) // 8, "big")
            etree.SubElement(inner, f"{{{DS}}}{name}").text = base64.b64encode(data).decode()
    one(root, "ds:Signature/ds:KeyInfo").insert(0, value)
    resign(root, evil)


def other_certificate(root: Element, kind: str) -> None:
    """The attacker signs with his own key and shows his own certificate."""
    root.remove(root[0])
    signer(kind, "evil").sign(root, NOW, "n")


def set_method(root: Element, uri: str) -> None:
    one(root, ".//ds:SignatureMethod").set("Algorithm", uri)


def rsa_sha1(root: Element, kind: str) -> None:
    set_method(root, f"{DS}rsa-sha1")
    resign(root, key(kind), hash_algorithm=hashes.SHA256())


def rsa_md5(root: Element, kind: str) -> None:
    set_method(root, "http://www.w3.org/2001/04/xmldsig-more#rsa-md5")
    resign(root, key(kind))


def hmac_with_public_key(root: Element, kind: str) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    set_method(root, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")
    secret = key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    info = etree.tostring(one(root, ".//ds:SignedInfo"), method="c14n")
    value = hmac.new(secret, info, hashlib.sha256).digest()
    one(root, ".//ds:SignatureValue").text = base64.b64encode(value).decode()


def method_of_the_other_key(root: Element, kind: str) -> None:
    other = "ecdsa-sha256" if kind == "rsa" else "rsa-sha256"
    set_method(root, f"http://www.w3.org/2001/04/xmldsig-more#{other}")
    resign(root, key(kind))


def hmac_output_length(root: Element, kind: str) -> None:
    etree.SubElement(one(root, ".//ds:SignatureMethod"), f"{{{DS}}}HMACOutputLength").text = "1"
    resign(root, key(kind))


def sha1_digest(root: Element, kind: str) -> None:
    for each in root.iterfind(".//ds:DigestMethod", {"ds": DS}):
        each.set("Algorithm", f"{DS}sha1")
    resign(root, key(kind), digest=lambda data: hashlib.sha1(data).digest())


def exclusive_transforms(root: Element, kind: str) -> None:
    for each in root.iterfind(".//ds:Transform", {"ds": DS}):
        each.set("Algorithm", EXCLUSIVE)
    resign(root, key(kind), exclusive=True)


def exclusive_info(root: Element, kind: str) -> None:
    one(root, ".//ds:CanonicalizationMethod").set("Algorithm", EXCLUSIVE)
    resign(root, key(kind), exclusive=True)


def c14n_11(root: Element, kind: str) -> None:
    one(root, ".//ds:CanonicalizationMethod").set("Algorithm", "http://www.w3.org/2006/12/xml-c14n11")
    resign(root, key(kind))


def xslt(root: Element, kind: str) -> None:
    transform = root.findall(".//ds:Transform", {"ds": DS})[0]
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")
    etree.SubElement(transform, "{http://www.w3.org/1999/XSL/Transform}stylesheet", version="1.0")
    resign(root, key(kind))


def xpath(root: Element, kind: str) -> None:
    transform = root.findall(".//ds:Transform", {"ds": DS})[0]
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    etree.SubElement(transform, f"{{{DS}}}XPath").text = "self::none"
    resign(root, key(kind))


def xpath_inside_c14n(root: Element, kind: str) -> None:
    transform = root.findall(".//ds:Transform", {"ds": DS})[0]
    etree.SubElement(transform, f"{{{DS}}}XPath").text = "self::none"
    resign(root, key(kind))


def enveloped(root: Element, kind: str) -> None:
    transforms = root.findall(".//ds:Transforms", {"ds": DS})[0]
    transforms.insert(0, etree.Element(f"{{{DS}}}Transform", Algorithm=f"{DS}enveloped-signature"))
    resign(root, key(kind))


def whole_document(root: Element, kind: str) -> None:
    root.findall(".//ds:Reference", {"ds": DS})[0].set("URI", "")
    resign(root, key(kind))


def external_reference(root: Element, kind: str) -> None:
    root.findall(".//ds:Reference", {"ds": DS})[0].set("URI", "file:///etc/passwd")
    resign(root, key(kind))


def xpointer(root: Element, kind: str) -> None:
    root.findall(".//ds:Reference", {"ds": DS})[0].set("URI", "#xpointer(id('oadrSignedObject'))")
    resign(root, key(kind))


def one_reference(root: Element, kind: str) -> None:
    info = one(root, ".//ds:SignedInfo")
    info.remove(info[-1])
    resign(root, key(kind))


def three_references(root: Element, kind: str) -> None:
    info = one(root, ".//ds:SignedInfo")
    info.append(copy.deepcopy(info[-1]))
    resign(root, key(kind))


def message_not_covered(root: Element, kind: str) -> None:
    """Both references cover ReplayProtect, none the message."""
    one(root, ".//ds:SignatureProperty").set("Id", "p")
    root.findall(".//ds:Reference", {"ds": DS})[0].set("URI", "#p")
    resign(root, key(kind))


def part_of_message_covered(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").set("Id", "part")
    root.findall(".//ds:Reference", {"ds": DS})[0].set("URI", "#part")
    resign(root, key(kind))


def protect_not_covered(root: Element, kind: str) -> None:
    one(root, "ds:Signature/ds:KeyInfo").set("Id", "ki")
    root.findall(".//ds:Reference", {"ds": DS})[1].set("URI", "#ki")
    resign(root, key(kind))


def message_covered_twice(root: Element, kind: str) -> None:
    root.findall(".//ds:Reference", {"ds": DS})[1].set("URI", "#oadrSignedObject")
    resign(root, key(kind))


def no_protect(root: Element, kind: str) -> None:
    protect = one(root, ".//dsp:ReplayProtect")
    parent = protect.getparent()
    assert parent is not None
    parent.remove(protect)
    resign(root, key(kind))


def no_object(root: Element, kind: str) -> None:
    one(root, "ds:Signature").remove(one(root, "ds:Signature/ds:Object"))
    resign(root, key(kind))


def two_protects(root: Element, kind: str) -> None:
    protect = one(root, ".//dsp:ReplayProtect")
    protect.addnext(copy.deepcopy(protect))
    resign(root, key(kind))


def protect_in_the_message(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").append(one(root, ".//dsp:ReplayProtect"))
    resign(root, key(kind))


def protect_without_nonce(root: Element, kind: str) -> None:
    protect = one(root, ".//dsp:ReplayProtect")
    protect.remove(protect[1])
    resign(root, key(kind))


def protect_with_empty_nonce(root: Element, kind: str) -> None:
    one(root, ".//dsp:nonce").text = " "
    resign(root, key(kind))


def stamped(text: str) -> Callable[[Element, str], None]:
    def do(root: Element, kind: str) -> None:
        one(root, ".//dsp:timestamp").text = text
        resign(root, key(kind))

    return do


def comment_splits_text(root: Element, kind: str) -> None:
    # Canonicalisation drops the comment, so the digest stays right, but .text ends at it.
    element = one(root, ".//ei:venID")
    element.text = "ven"
    comment = etree.Comment("")
    comment.tail = "-1"
    element.append(comment)


def comment_in_signature(root: Element, kind: str) -> None:
    one(root, ".//ds:SignedInfo").append(etree.Comment("x"))


def instruction(root: Element, kind: str) -> None:
    one(root, ".//oadr:oadrPoll").append(etree.ProcessingInstruction("x", "y"))
    resign(root, key(kind))


def xml_lang_above(root: Element, kind: str) -> None:
    root.set("{http://www.w3.org/XML/1998/namespace}lang", "de")


def relative_namespace(root: Element, kind: str) -> None:
    # Canonical XML does not exist for it; found by changing single bytes.
    etree.SubElement(one(root, ".//oadr:oadrPoll"), "{relative}x")


def object_in_the_message(root: Element, kind: str) -> None:
    """The time stamp moves into the message; the signature keeps an empty object."""
    honest = one(root, "ds:Signature/ds:Object")
    one(root, ".//oadr:oadrPoll").append(honest)
    etree.SubElement(one(root, "ds:Signature"), f"{{{DS}}}Object")
    resign(root, key(kind))


def xpath_after_c14n(root: Element, kind: str) -> None:
    transforms = root.findall(".//ds:Transforms", {"ds": DS})[0]
    transform = etree.SubElement(transforms, f"{{{DS}}}Transform")
    transform.set("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
    resign(root, key(kind))


def foreign_transform(root: Element, kind: str) -> None:
    root.findall(".//ds:Transform", {"ds": DS})[0].tag = "{urn:x}Transform"
    resign(root, key(kind))


def junk_in_base64(root: Element, kind: str) -> None:
    value = one(root, ".//ds:SignatureValue")
    value.text = f"*{value.text}"


def bare_message(root: Element, kind: str) -> None:
    root.tag = f"{{{OADR}}}oadrOther"


def key_info_after_object(root: Element, kind: str) -> None:
    one(root, "ds:Signature").append(one(root, "ds:Signature/ds:KeyInfo"))


ATTACKS = (
    Attack("tampered text", e.BadSignature, tamper_text),
    Attack("tampered attribute", e.BadSignature, tamper_attribute),
    Attack("tampered namespace", e.BadSignature, tamper_namespace),
    Attack("tampered time stamp", e.BadSignature, tamper_timestamp),
    Attack("tampered nonce", e.BadSignature, tamper_nonce),
    Attack("truncated value", e.BadSignature, truncated_value),
    Attack("empty value", e.BadSignature, empty_value),
    Attack("zero value", e.BadSignature, zero_value),
    Attack("DER value", e.BadSignature, der_value),
    Attack("value not base64", e.BadSignature, garbage_value),
    Attack("truncated digests", e.BadSignature, truncated_digest),
    Attack("no signature", e.NotSigned, no_signature),
    Attack("moved into ds:Object", e.SignatureWrapping, moved_into_object),
    Attack("moved into a second ds:Object", e.SignatureWrapping, moved_into_second_object),
    Attack("moved into atom:feed", e.SignatureWrapping, moved_into_feed),
    Attack("moved into the property", e.SignatureWrapping, object_takes_the_id),
    Attack("moved into the forged object", e.SignatureWrapping, inner_signed_object),
    Attack("forged object first", e.SignatureWrapping, second_signed_object_first),
    Attack("forged object last", e.SignatureWrapping, second_signed_object_last),
    Attack("duplicate Id", e.SignatureWrapping, duplicate_id),
    Attack("duplicate ID", e.SignatureWrapping, duplicate_id_other_case),
    Attack("signature last", e.SignatureWrapping, signature_last),
    Attack("two signatures", e.SignatureWrapping, two_signatures),
    Attack("stranger in the payload", e.SignatureWrapping, stranger_in_payload),
    Attack("another root", e.SignatureWrapping, bare_message),
    Attack("KeyValue", e.BadSignature, key_value),
    Attack("other certificate", e.BadSignature, other_certificate),
    Attack("RSA-SHA1", e.ForbiddenAlgorithm, rsa_sha1),
    Attack("RSA-MD5", e.ForbiddenAlgorithm, rsa_md5),
    Attack("HMAC", e.ForbiddenAlgorithm, hmac_with_public_key),
    Attack("method of the other key", e.ForbiddenAlgorithm, method_of_the_other_key),
    Attack("HMACOutputLength", e.ForbiddenAlgorithm, hmac_output_length),
    Attack("SHA-1 digests", e.ForbiddenAlgorithm, sha1_digest),
    Attack("exclusive transforms", e.ForbiddenAlgorithm, exclusive_transforms),
    Attack("exclusive SignedInfo", e.ForbiddenAlgorithm, exclusive_info),
    Attack("C14N 1.1", e.ForbiddenAlgorithm, c14n_11),
    Attack("XSLT", e.ForbiddenAlgorithm, xslt),
    Attack("XPath", e.ForbiddenAlgorithm, xpath),
    Attack("XPath in C14N", e.ForbiddenAlgorithm, xpath_inside_c14n),
    Attack("enveloped", e.ForbiddenAlgorithm, enveloped),
    Attack("whole document", e.SignatureWrapping, whole_document),
    Attack("external reference", e.SignatureWrapping, external_reference),
    Attack("XPointer", e.SignatureWrapping, xpointer),
    Attack("one reference", e.SignatureWrapping, one_reference),
    Attack("three references", e.SignatureWrapping, three_references),
    Attack("message not covered", e.SignatureWrapping, message_not_covered),
    Attack("part of the message covered", e.SignatureWrapping, part_of_message_covered),
    Attack("message covered twice", e.SignatureWrapping, message_covered_twice),
    Attack("ReplayProtect not covered", e.NoReplayProtect, protect_not_covered),
    Attack("no ReplayProtect", e.NoReplayProtect, no_protect),
    Attack("no ds:Object", e.NoReplayProtect, no_object),
    Attack("two ReplayProtects", e.NoReplayProtect, two_protects),
    Attack("ReplayProtect in the message", e.NoReplayProtect, protect_in_the_message),
    Attack("no nonce", e.NoReplayProtect, protect_without_nonce),
    Attack("empty nonce", e.NoReplayProtect, protect_with_empty_nonce),
    Attack("time stamp without zone", e.NoReplayProtect, stamped("2026-03-04T05:06:07")),
    Attack("time stamp of month 13", e.NoReplayProtect, stamped("2026-13-04T05:06:07Z")),
    Attack("time stamp of year 0", e.NoReplayProtect, stamped("0000-01-01T00:00:00Z")),
    Attack("time stamp before year 1", e.NoReplayProtect, stamped("0001-01-01T00:00:00+14:00")),
    Attack("time stamp in other digits", e.NoReplayProtect, stamped("२०२६-03-04T05:06:07Z")),
    Attack("stale", e.OutsideWindow, stamped("2026-03-04T05:01:06Z")),
    Attack("future", e.OutsideWindow, stamped("2026-03-04T05:11:08Z")),
    Attack("far future", e.OutsideWindow, stamped("9999-12-31T23:59:59Z")),
    Attack("comment splits a text", e.BadSignature, comment_splits_text),
    Attack("comment in the signature", e.BadSignature, comment_in_signature),
    Attack("processing instruction", e.BadSignature, instruction),
    Attack("xml:lang above", e.BadSignature, xml_lang_above),
    Attack("relative namespace", e.BadSignature, relative_namespace),
    Attack("ds:Object in the message", e.NoReplayProtect, object_in_the_message),
    Attack("XPath after C14N", e.ForbiddenAlgorithm, xpath_after_c14n),
    Attack("transform of another namespace", e.ForbiddenAlgorithm, foreign_transform),
    Attack("junk in base64", e.BadSignature, junk_in_base64),
    Attack("KeyInfo after Object", e.BadSignature, key_info_after_object),
)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_refused(attack: Attack, kind: str, verifier: type[Verifier]) -> None:
    root = signed(kind)
    assert verifier().verify(root, certificate(kind), NOW).element.tag == SIGNED
    attack.do(root, kind)
    with pytest.raises(attack.error) as caught:
        verifier().verify(reparsed(root), certificate(kind), NOW)
    assert type(caught.value) is attack.error
    assert caught.value.http_status == 403


def test_the_helper_signs_what_is_accepted() -> None:
    """Otherwise the attacks that sign anew would prove nothing."""
    for kind in KINDS:
        root = signed(kind)
        tamper_text(root, kind)
        resign(root, key(kind))
        assert (
            Verifier().verify(reparsed(root), certificate(kind), NOW).element.findtext(".//{*}venID")
            == "ven-2"
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_certificate_of_another_peer(kind: str, verifier: type[Verifier]) -> None:
    with pytest.raises(e.BadSignature):
        verifier().verify(signed(kind), certificate(kind, "evil"), NOW)


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_certificate_of_another_kind(verifier: type[Verifier]) -> None:
    with pytest.raises(e.ForbiddenAlgorithm):
        verifier().verify(signed("rsa"), certificate("ec"), NOW)


@pytest.mark.parametrize("days", [(-5, -1), (1, 5)])
def test_certificate_out_of_its_time(days: tuple[int, int]) -> None:
    outside = certificate("ec", "ven", *days)
    with pytest.raises(e.CertificateRefused):
        Verifier().verify(signed("ec"), outside, NOW)
    with pytest.raises(e.CertificateRefused):
        Signer(key("ec"), outside).sign(poll(), NOW, "n")


@pytest.mark.parametrize("kind", ["rsa-1024", "p-192"])
def test_weak_key(kind: str) -> None:
    with pytest.raises(e.CertificateRefused):
        Verifier().verify(signed("rsa"), certificate(kind), NOW)
    with pytest.raises(e.CertificateRefused):
        Signer(key(kind), certificate(kind))


def test_garbage_certificate() -> None:
    with pytest.raises(e.CertificateRefused):
        Verifier().verify(signed("rsa"), b"not DER", NOW)


def test_document_type_declaration() -> None:
    data = etree.tostring(signed("ec")).replace(b"<oadr:oadrPayload", b"<!DOCTYPE x []><oadr:oadrPayload", 1)
    with pytest.raises(e.BadSignature):
        Verifier().verify(etree.fromstring(data), certificate("ec"), NOW)


def test_payload_inside_something_else() -> None:
    outer = etree.Element("outer")
    outer.append(signed("ec"))
    with pytest.raises(e.SignatureWrapping):
        Verifier().verify(outer[0], certificate("ec"), NOW)


def test_window_is_symmetric_and_inclusive() -> None:
    verifier = Verifier(window=timedelta(seconds=10))
    root = signed("ec")
    for shift, accepted in ((-10, True), (10, True), (-10.001, False), (10.001, False)):
        now = NOW + timedelta(seconds=shift)
        if accepted:
            verifier.verify(root, certificate("ec"), now)
        else:
            with pytest.raises(e.OutsideWindow):
                verifier.verify(root, certificate("ec"), now)


def test_protect_namespace_only() -> None:
    """A ReplayProtect of another namespace is none."""
    root = signed("ec")
    for name in ("ReplayProtect", "timestamp", "nonce"):
        one(root, f".//{{{DSP}}}{name}").tag = f"{{urn:x}}{name}"
    resign(root, key("ec"))
    with pytest.raises(e.NoReplayProtect):
        Verifier().verify(reparsed(root), certificate("ec"), NOW)
