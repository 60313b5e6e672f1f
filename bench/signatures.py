"""CPU per signature: our path, xmlsig behind the same checks, and openleadr's own path.

Run: ``python -m bench.signatures``. The three take turns in every round, so that whatever else the machine
does falls on all of them; the figure is the median of the rounds.

Two tables: the signature alone (a poll that is already a tree), and the whole message as a VTN pays for it
(ours: bytes, schema, signature, dataclass; openleadr: bytes, schema, signature, dictionary; and back).
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from certs.keys import PrivateKey
from certs.xmldsig import Signer, Verifier
from certs.xmldsig_reference import ReferenceSigner, ReferenceVerifier
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_signed_object, encode_message
from schemas.oadr20b.model import Poll

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openleadr import messaging

ROUNDS: Final = 15
BUDGET_S: Final = 0.02
"""CPU per measurement: fast paths run often enough within it to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the tables: what is done, by whom."""

    name: str
    ours: Callable[[], object]
    xmlsig: Callable[[], object]
    openleadr: Callable[[], object]


def cpu_us(work: Callable[[], object]) -> float:
    """CPU time of one call, in microseconds."""
    count, start = 0, time.process_time()
    while True:
        work()
        count += 1
        spent = time.process_time() - start
        if spent >= BUDGET_S:
            return spent / count * 1e6


def measure(row: Row) -> tuple[float, float, float]:
    """Return the medians of the three paths, in microseconds."""
    rounds = [(cpu_us(row.ours), cpu_us(row.xmlsig), cpu_us(row.openleadr)) for _ in range(ROUNDS)]
    ours, xmlsig, openleadr = zip(*rounds, strict=True)
    return statistics.median(ours), statistics.median(xmlsig), statistics.median(openleadr)


def self_signed(key: PrivateKey, now: datetime) -> x509.Certificate:
    """A certificate around a key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ven")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def rows(label: str, key: PrivateKey) -> list[Row]:
    """The measurements for one key."""
    now = datetime.now(UTC)
    certificate = self_signed(key, now)
    signer, verifier = Signer(key, certificate), Verifier(window=timedelta(days=1))
    slow_signer, slow_verifier = (
        ReferenceSigner(key, certificate),
        ReferenceVerifier(window=timedelta(days=1)),
    )
    key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cert_text = certificate.public_bytes(Encoding.PEM)
    messaging.REPLAY_PROTECT_MAX_TIME_DELTA = timedelta(days=1)

    def make_openleadr() -> str:
        return str(messaging.create_message("oadrPoll", cert=cert_text, key=key_text, ven_id="ven-1"))

    tree = encode_message(Poll(ven_id="ven-1"))
    signer.sign(tree, now, "nonce")
    body = wire.serialise(tree)
    parsed = wire.parse(body)
    theirs = make_openleadr().encode()
    theirs_parsed = etree.fromstring(theirs)

    def sign_with(maker: Signer) -> Callable[[], object]:
        payload = encode_message(Poll(ven_id="ven-1"))
        return lambda: maker.sign(payload, now, "nonce")

    def write_with(maker: Signer) -> Callable[[], object]:
        def work() -> bytes:
            payload = encode_message(Poll(ven_id="ven-1"))
            maker.sign(payload, now, "nonce")
            return wire.serialise(payload)

        return work

    def read_with(reader: Verifier) -> Callable[[], object]:
        return lambda: decode_signed_object(reader.verify(wire.parse(body), certificate, now).element)

    def verify_openleadr() -> None:
        messaging.NONCE_CACHE.clear()
        messaging.validate_xml_signature(theirs_parsed)

    def read_openleadr() -> object:
        messaging.NONCE_CACHE.clear()
        root = messaging.validate_xml_schema(theirs)
        found = messaging.parse_message(theirs)
        messaging.validate_xml_signature(root)
        return found

    def sign_openleadr() -> object:
        # What create_message does for the signature, without its templates.
        alone = etree.fromstring(etree.tostring(theirs_parsed[-1]))
        maker = messaging.XMLSigner(
            method=messaging.methods.detached,
            c14n_algorithm="http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        )
        maker.namespaces["oadr"] = "http://openadr.org/oadr-2.0b/2012/07"
        fragment = messaging.get_signature_algorithm_from_private_key(key_text)
        maker.sign_alg = messaging.SignatureMethod.from_fragment(fragment)
        return maker.sign(
            alone,
            key=key_text,
            cert=cert_text,
            reference_uri="#oadrSignedObject",
            signature_properties=messaging._create_replay_protect(),
        )

    return [
        Row(
            name=f"{label}  sign",
            ours=sign_with(signer),
            xmlsig=sign_with(slow_signer),
            openleadr=sign_openleadr,
        ),
        Row(
            name=f"{label}  verify",
            ours=lambda: verifier.verify(parsed, certificate, now),
            xmlsig=lambda: slow_verifier.verify(parsed, certificate, now),
            openleadr=verify_openleadr,
        ),
        Row(
            name=f"{label}  write a signed poll",
            ours=write_with(signer),
            xmlsig=write_with(slow_signer),
            openleadr=make_openleadr,
        ),
        Row(
            name=f"{label}  read a signed poll",
            ours=read_with(verifier),
            xmlsig=read_with(slow_verifier),
            openleadr=read_openleadr,
        ),
    ]


def main() -> None:
    """Print the table, one line per operation and key, and per key the sum of reading and writing."""
    keys: tuple[tuple[str, PrivateKey], ...] = (
        ("RSA-2048", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("P-256   ", ec.generate_private_key(ec.SECP256R1())),
    )
    head = f"{'CPU in us':<34}{'ours':>10}{'xmlsig':>10}{'openleadr':>12}"
    head += f"{'xmlsig/ours':>13}{'openleadr/ours':>16}"
    sys.stdout.write(head + "\n")
    for label, key in keys:
        results = [(row.name, measure(row)) for row in rows(label, key)]
        both = [sum(values) for values in zip(*(values for _, values in results[2:]), strict=True)]
        results.append((f"{label}  read and write", (both[0], both[1], both[2])))
        for name, (ours, xmlsig, openleadr) in results:
            line = f"{name:<34}{ours:>10.0f}{xmlsig:>10.0f}{openleadr:>12.0f}"
            sys.stdout.write(f"{line}{xmlsig / ours:>13.1f}{openleadr / ours:>16.1f}\n")


if __name__ == "__main__":
    main()
