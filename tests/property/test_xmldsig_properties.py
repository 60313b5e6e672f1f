"""Properties of signatures: any message survives, and no change of a signed message does."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from certs.envelope import Envelope, SignaturePolicy
from certs.xmldsig import Verifier
from schemas.oadr20b import wire
from schemas.oadr20b.codec import decode_signed_object
from schemas.oadr20b.errors import SecurityError, WireError
from schemas.oadr20b.model import Poll
from tests.unit.certs.parties import KINDS, NOW, VERIFIERS, certificate, poll, signed, signer

text = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=30
)
modest = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@modest
@given(ven_id=text, nonce=st.from_regex(r"[!-~]{1,128}", fullmatch=True), kind=st.sampled_from(KINDS))
def test_any_text_survives_signing(ven_id: str, nonce: str, kind: str) -> None:
    payload = poll(ven_id)
    signer(kind).sign(payload, NOW, nonce)
    root = wire.parse_unvalidated(wire.serialise(payload))
    for verifier in VERIFIERS:
        verified = verifier().verify(root, certificate(kind), NOW)
        assert verified.nonce == nonce
        assert decode_signed_object(verified.element) == Poll(ven_id=ven_id)


@modest
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_no_changed_byte_changes_what_is_read(data: st.DataObject, kind: str) -> None:
    """Whatever one byte becomes, either the message is refused or it says what was signed."""
    honest = etree.tostring(signed(kind))
    place = data.draw(st.integers(0, len(honest) - 1))
    changed = bytearray(honest)
    changed[place] = data.draw(st.integers(0, 255))
    for verifier in VERIFIERS:
        try:
            root = wire.parse_unvalidated(bytes(changed))
            verified = verifier().verify(root, certificate(kind), NOW)
        except (WireError, SecurityError):
            continue
        assert decode_signed_object(verified.element) == Poll(ven_id="ven-1")
        assert verified.nonce == "nonce-1"


@modest
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_both_paths_agree_on_rearranged_documents(data: st.DataObject, kind: str) -> None:
    """Move, copy or remove any element: both paths refuse, and nothing but a SecurityError comes out."""
    root = signed(kind)
    elements = list(root.iter())
    chosen = data.draw(st.sampled_from(elements[1:]))
    place = data.draw(st.sampled_from(elements))
    if data.draw(st.booleans()):
        chosen = etree.fromstring(etree.tostring(chosen))  # a copy, so that the original stays
    elif any(each is chosen for each in (place, *place.iterancestors())):
        return
    place.insert(data.draw(st.integers(0, 4)), chosen)
    document = etree.tostring(root)
    results = set()
    for verifier in VERIFIERS:
        parsed = wire.parse_unvalidated(document)
        try:
            element = verifier().verify(parsed, certificate(kind), NOW).element
            assert element is parsed[1]
            results.add(etree.tostring(element, method="c14n"))
        except SecurityError:
            results.add(b"refused")
    honest = etree.tostring(wire.parse_unvalidated(etree.tostring(signed(kind)))[1], method="c14n")
    assert results in ({b"refused"}, {honest})


def test_a_verifier_serves_many_peers() -> None:
    verifier = Verifier()
    for kind in (*KINDS, *KINDS):
        assert verifier.verify(signed(kind), certificate(kind), NOW).nonce == "nonce-1"


@modest
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_the_short_way_comes_to_the_verdict_of_the_long_one(data: st.DataObject, kind: str) -> None:
    """Whatever becomes of a message like one that is known: who knows and who does not judge alike."""
    body = bytearray(wire.serialise(signed(kind, nonce="nonce-2")))
    values = [
        body.index(name) + len(name)
        for name in (b"DigestValue>", b"SignatureValue>", b"nonce>", b"timestamp>")
    ]
    near = st.sampled_from(values).flatmap(lambda start: st.integers(start, start + 20))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.one_of(near, st.integers(0, len(body) - 1)))
        piece = data.draw(
            st.one_of(st.binary(max_size=2), st.sampled_from((b"<", b"&amp;", b"<!-- -->", b"\r", b" ")))
        )
        body[place : place + data.draw(st.integers(0, 2))] = piece
    verdicts: list[object] = []
    for known in (False, True):
        party = reader(kind)
        if known:
            party.read(wire.serialise(signed(kind)), der(kind), NOW)
        try:
            opened = party.read(bytes(body), der(kind), NOW)
        except (WireError, SecurityError) as err:
            verdicts.append((type(err), str(err)))
        else:
            assert opened.proof is not None
            verdicts.append((opened.message, opened.proof.nonce, opened.proof.timestamp))
    assert verdicts[0] == verdicts[1]


def reader(kind: str) -> Envelope:
    return Envelope(
        SignaturePolicy.REQUIRED, signer=signer(kind), verifier=Verifier(), new_nonce=str, wall=lambda: NOW
    )


def der(kind: str) -> bytes:
    return certificate(kind).public_bytes(Encoding.DER)
