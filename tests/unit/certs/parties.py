"""Keys, certificates and signed messages for the tests; keys are made once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from lxml import etree

from certs.keys import PrivateKey
from certs.xmldsig import Signer, Verifier
from certs.xmldsig_reference import ReferenceVerifier
from schemas.oadr20b import wire
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.model import Poll, RequestEvent

Element = etree._Element

NOW = datetime(2026, 3, 4, 5, 6, 7, 250_000, tzinfo=UTC)
KINDS = ("rsa", "ec")
VERIFIERS: tuple[type[Verifier], ...] = (Verifier, ReferenceVerifier)

DS = "http://www.w3.org/2000/09/xmldsig#"
DSP = "http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties"
OADR = "http://openadr.org/oadr-2.0b/2012/07"
EI = "http://docs.oasis-open.org/ns/energyinterop/201110"
SPACES = {"ds": DS, "dsp": DSP, "oadr": OADR, "ei": EI}


def key(kind: str, who: str = "ven") -> PrivateKey:
    """The key of a party, made once."""
    return _key(kind, who)


@cache
def _key(kind: str, who: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "rsa-1024":
        return rsa.generate_private_key(public_exponent=65537, key_size=1024)
    if kind == "p-192":
        return ec.generate_private_key(ec.SECP192R1())
    return ec.generate_private_key(ec.SECP256R1())


def certificate(kind: str, who: str = "ven", start_days: int = -1, end_days: int = 30) -> x509.Certificate:
    """A self-signed certificate of a party, valid from and until some days from NOW; made once."""
    return _certificate(kind, who, start_days, end_days)


@cache
def _certificate(kind: str, who: str, start_days: int, end_days: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key(kind, who).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=start_days))
        .not_valid_after(NOW + timedelta(days=end_days))
        .sign(key(kind, who), hashes.SHA256())
    )


def signer(kind: str, who: str = "ven") -> Signer:
    """The signer of a party, made once."""
    return _signer(kind, who)


@cache
def _signer(kind: str, who: str) -> Signer:
    return Signer(key(kind, who), certificate(kind, who))


def poll(ven_id: str = "ven-1") -> Element:
    """An unsigned poll."""
    return encode_message(Poll(ven_id=ven_id))


def request_event(ven_id: str = "ven-1") -> Element:
    """An unsigned message with more structure."""
    return encode_message(RequestEvent(request_id="r1", ven_id=ven_id))


def signed(
    kind: str, payload: Element | None = None, *, at: datetime = NOW, nonce: str = "nonce-1"
) -> Element:
    """A signed message as its receiver parses it."""
    payload = poll() if payload is None else payload
    signer(kind).sign(payload, at, nonce)
    return reparsed(payload)


def reparsed(payload: Element) -> Element:
    """What the receiver of a payload sees; without the schema, so that attacks get as far as they can."""
    return wire.parse_unvalidated(wire.serialise(payload))


def one(root: Element, path: str) -> Element:
    """The one element at a path."""
    (found,) = root.findall(path, SPACES)
    return found


def resign(
    root: Element,
    private_key: PrivateKey,
    *,
    digest: Callable[[bytes], bytes] = lambda data: hashlib.sha256(data).digest(),
    hash_algorithm: hashes.HashAlgorithm | None = None,
    exclusive: bool = False,
) -> None:
    """Compute all digests and the value anew, as a signer with this key would; nothing is checked."""
    by_id = {each.get("Id") or each.get(f"{{{OADR}}}Id"): each for each in root.iter("*")}
    for reference in root.iterfind(".//ds:Reference", SPACES):
        target = by_id.get((reference.get("URI") or "#")[1:])
        if target is not None:
            data = etree.tostring(target, method="c14n", exclusive=exclusive, with_comments=False)
            one(reference, "ds:DigestValue").text = base64.b64encode(digest(data)).decode()
    info = one(root, ".//ds:SignedInfo")
    data = etree.tostring(info, method="c14n", exclusive=exclusive, with_comments=False)
    used = hash_algorithm or hashes.SHA256()
    if isinstance(private_key, rsa.RSAPrivateKey):
        value = private_key.sign(data, padding.PKCS1v15(), used)
    else:
        r, s = decode_dss_signature(private_key.sign(data, ec.ECDSA(used)))
        value = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    one(root, ".//ds:SignatureValue").text = base64.b64encode(value).decode()
