"""Signatures of other people's code, in both directions: signxml, xmlsec and openleadr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from certs.xmldsig import Verifier
from schemas.oadr20b import wire
from tests.unit.certs.parties import (
    DS,
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
    signed,
    signer,
)

METHODS = {"rsa": "rsa-sha256", "ec": "ecdsa-sha256"}


def cert_pem(kind: str) -> bytes:
    return certificate(kind).public_bytes(Encoding.PEM)


def key_pem(kind: str) -> bytes:
    return key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- ours, read by others ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_signxml_verifies_ours(kind: str) -> None:
    from signxml.verifier import XMLVerifier

    root = signed(kind, request_event())
    results = XMLVerifier().verify(root, x509_cert=certificate(kind), expect_references=2)
    assert isinstance(results, list)
    tags = [each.signed_xml.tag for each in results if each.signed_xml is not None]
    assert tags == [f"{{{OADR}}}oadrSignedObject", f"{{{DS}}}Object"]


@pytest.mark.parametrize("kind", KINDS)
def test_xmlsec_verifies_ours(kind: str) -> None:
    xmlsec = pytest.importorskip("xmlsec")
    root = signed(kind, request_event())
    xmlsec.tree.add_ids(root, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(cert_pem(kind), xmlsec.constants.KeyDataFormatCertPem)
    context.verify(root[0])
    one(root, ".//ei:venID").text = "changed"
    again = xmlsec.SignatureContext()
    again.key = xmlsec.Key.from_memory(cert_pem(kind), xmlsec.constants.KeyDataFormatCertPem)
    with pytest.raises(xmlsec.Error):
        again.verify(root[0])


@pytest.fixture
def openleadr_messaging() -> Iterator[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openleadr import messaging

        yield messaging


@pytest.mark.parametrize("kind", KINDS)
def test_openleadr_verifies_ours(kind: str, openleadr_messaging: object) -> None:
    """openleadr reads the real clock and allows five seconds."""
    payload = poll()
    now = datetime.now(UTC)
    wide = x509_now(kind, now)
    from certs.xmldsig import Signer

    Signer(key(kind), wide).sign(payload, now, f"nonce-{kind}-{now.timestamp()}")
    root = reparsed(payload)
    openleadr_messaging.validate_xml_schema(wire.serialise(payload))  # type: ignore[attr-defined]
    openleadr_messaging.validate_xml_signature(root)  # type: ignore[attr-defined]


def x509_now(kind: str, now: datetime) -> x509.Certificate:
    """A certificate that is valid on the real clock."""
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ven")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key(kind).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key(kind), hashes.SHA256())
    )


# --- others', read by us -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_openleadr(kind: str, verifier: type[Verifier], openleadr_messaging: object) -> None:
    text = openleadr_messaging.create_message(  # type: ignore[attr-defined]
        "oadrPoll", cert=cert_pem(kind), key=key_pem(kind), ven_id="ven-9"
    )
    now = datetime.now(UTC)
    root = wire.parse(text.encode())
    verified = verifier().verify(root, x509_now(kind, now), now)
    assert verified.element.findtext(".//{*}venID") == "ven-9"
    assert abs(verified.timestamp - now) < timedelta(seconds=60)


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_signxml(kind: str, verifier: type[Verifier]) -> None:
    from signxml.algorithms import CanonicalizationMethod, SignatureConstructionMethod
    from signxml.signer import XMLSigner

    protect = one(signed(kind), ".//dsp:ReplayProtect")
    protect.set("Target", "#t")
    alone = etree.fromstring(etree.tostring(poll("ven-7")[0]))
    etree.cleanup_namespaces(alone)
    alone.set(f"{{{OADR}}}Id", "oadrSignedObject")
    maker = XMLSigner(
        method=SignatureConstructionMethod.detached,
        signature_algorithm=METHODS[kind],
        c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0_WITH_COMMENTS,
    )
    maker.namespaces["oadr"] = OADR
    signature = maker.sign(
        alone,
        key=key_pem(kind),
        cert=cert_pem(kind).decode(),
        reference_uri="#oadrSignedObject",
        signature_properties=etree.fromstring(etree.tostring(protect)),
    )
    payload = etree.Element(f"{{{OADR}}}oadrPayload", nsmap={"oadr": OADR})
    payload.append(signature)
    payload.append(alone)
    verified = verifier().verify(reparsed(payload), certificate(kind), NOW)
    assert verified.element.findtext(".//{*}venID") == "ven-7"


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("kind", KINDS)
def test_we_verify_xmlsec(kind: str, verifier: type[Verifier]) -> None:
    xmlsec = pytest.importorskip("xmlsec")
    payload: Element = request_event("ven-5")
    signer(kind).sign(payload, NOW, "n")  # the shape; xmlsec fills in all digests and the value anew
    for each in payload.iterfind(".//ds:DigestValue", {"ds": DS}):
        each.text = None
    one(payload, ".//ds:SignatureValue").text = None
    xmlsec.tree.add_ids(payload, ["Id"])
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(key_pem(kind), xmlsec.constants.KeyDataFormatPem)
    context.sign(payload[0])
    verified = verifier().verify(reparsed(payload), certificate(kind), NOW)
    assert verified.element.findtext(".//{*}venID") == "ven-5"
