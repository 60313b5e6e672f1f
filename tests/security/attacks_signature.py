"""Forged, moved, stale and repeated signatures, at a VTN and at a push VEN.

The forgeries are those of ``tests/unit/certs/test_certs_attacks.py``. There the verifier is asked why each is
refused; here servers have to refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from certs.pki import Role
from certs.tls import CertificateFiles
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import wall
from tests.security.attack import Attack, verdict
from tests.security.cast import VEN_IDS, credentials
from tests.security.grounds import Ground
from tests.security.wire_tap import Answer
from tests.security_rig import signed_by, signer_of
from tests.unit.certs import parties
from tests.unit.certs.test_certs_attacks import ATTACKS as FORGERIES
from tests.unit.vtn.rig import ALICE
from ven_client.messages import service_of

__all__ = ["ATTACKS", "from_vtn", "to_ven"]

_SIGNERS = {"rsa": "rita", "ec": "edith"}
_IGNORED = ("403", "406")
"""What is no message for the schema is 406; the rest is 403."""
_CERTIFICATE = re.compile(rb"<ds:X509Certificate>[^<]*</ds:X509Certificate>")


def _poll(who: str) -> m.Poll:
    return m.Poll(ven_id=VEN_IDS[who])


def _forge(body: bytes, forgery: Callable[[parties.Element, str], None], kind: str) -> bytes:
    root = wire.parse_unvalidated(body)
    forgery(root, kind)
    return wire.serialise(root)


def _forged(kind: str, forgery: Callable[[parties.Element, str], None], ground: Ground) -> str:
    who = _SIGNERS[kind]
    body = _forge(ground.signed(who, _poll(who)), forgery, kind)
    return verdict(ground.tap("signed", who).post(body))


def from_vtn(ground: Ground, message: m.AnyMessage, *, ahead_s: float = 0.0, nonce: str = "v") -> bytes:
    """Return a message with the signature of the VTN."""
    own = credentials(ground.folder, "localhost", role=Role.VTN)
    signer = signer_of(CertificateFiles(certificate=own.certificate, key=own.key))
    return signed_by(signer, message, wall() + timedelta(seconds=ahead_s), nonce)


def to_ven(ground: Ground, body: bytes, service: ServiceName = ServiceName.EI_EVENT) -> Answer:
    """Push something to the VEN as its VTN."""
    shown = credentials(ground.folder, "localhost", role=Role.VTN)
    return ground.tap("ven", None, shown).post(body, service)


def _forged_push(forgery: Callable[[parties.Element, str], None], ground: Ground) -> str:
    body = _forge(from_vtn(ground, m.Poll(ven_id="ven-1")), forgery, "ec")
    return verdict(to_ven(ground, body))


# --- others ------------------------------------------------------------------------------------------------


def _off(seconds: float, ground: Ground) -> str:
    return verdict(
        ground.tap("signed", "edith").post(ground.signed("edith", _poll("edith"), ahead_s=seconds))
    )


def _off_push(seconds: float, ground: Ground) -> str:
    return verdict(to_ven(ground, from_vtn(ground, m.Poll(ven_id=ALICE), ahead_s=seconds)))


def _unsigned(message: m.AnyMessage, ground: Ground) -> str:
    return verdict(ground.tap("signed", "edith").post(wire.write(message), service_of(message)))


def _unsigned_push(ground: Ground) -> str:
    return verdict(to_ven(ground, wire.write(m.RequestReregistration(ven_id=ALICE))))


def _brought(ground: Ground) -> str:
    """Rita's genuine message, brought by edith."""
    return verdict(ground.tap("signed", "edith").post(ground.signed("rita", _poll("rita"))))


def _for_another(ground: Ground) -> str:
    """Edith signs, in her own connection, what says it is rita's."""
    return verdict(ground.tap("signed", "edith").post(ground.signed("edith", _poll("rita"))))


def _like_a_known_one(ground: Ground) -> str:
    """Alice's own signature, in a document that is otherwise edith's to the byte, certificate and all."""
    model = ground.signed("edith", _poll("edith"))
    assert ground.tap("signed", "edith").post(model).status == 200  # its shape is known from now on
    own = ground.signed("alice", _poll("edith"))
    return verdict(ground.tap("signed", "alice").post(_CERTIFICATE.sub(_certificate(model), own)))


def _brought_like_a_known_one(ground: Ground) -> str:
    """Edith's next message, brought by alice; its shape is known."""
    assert ground.tap("signed", "edith").post(ground.signed("edith", _poll("edith"))).status == 200
    return verdict(ground.tap("signed", "alice").post(ground.signed("edith", _poll("edith"))))


def _certificate(body: bytes) -> bytes:
    found = _CERTIFICATE.search(body)
    assert found is not None
    return found.group()


def _optional_but_wrong(ground: Ground) -> str:
    """Where signatures are optional a wrong one does not count as none."""
    body = ground.signed("alice", _poll("alice")).replace(b"</pyld:", b" </pyld:", 1)
    changed = body.replace(b"nonce>attack", b"nonce>other")
    assert changed != body
    return verdict(ground.tap("plain").post(changed))


def _replayed(ground: Ground) -> str:
    """A message that was accepted comes again, on another connection."""
    body = ground.signed("edith", _poll("edith"))
    assert ground.tap("signed", "edith").post(body).status == 200
    return verdict(ground.tap("signed", "edith").post(body))


def _same_nonce(ground: Ground) -> str:
    """Another message with a nonce that was used."""
    first = ground.signed("edith", _poll("edith"), nonce="used")
    assert ground.tap("signed", "edith").post(first).status == 200
    again = ground.signed("edith", m.RequestEvent(request_id="e", ven_id=VEN_IDS["edith"]), nonce="used")
    return verdict(ground.tap("signed", "edith").post(again, ServiceName.EI_EVENT))


def _attacks() -> Iterator[Attack]:
    for kind in _SIGNERS:
        for each in FORGERIES:
            yield Attack(
                topic=f"signature, {kind.upper()}",
                name=each.name,
                run=partial(_forged, kind, each.do),
                refusals=_IGNORED,
            )
    for each in FORGERIES:
        yield Attack(
            topic="signature, VEN", name=each.name, run=partial(_forged_push, each.do), refusals=_IGNORED
        )
    for name, seconds in (("6 minutes old", -360.0), ("6 minutes ahead", 360.0), ("a year ahead", 3.15e7)):
        yield Attack(topic="signature", name=name, run=partial(_off, seconds), refusals=("403",))
        yield Attack(topic="signature, VEN", name=name, run=partial(_off_push, seconds), refusals=("403",))
    for message in (
        _poll("edith"),
        m.QueryRegistration(request_id="q"),
        m.CreatePartyRegistration(request_id="r", ven_name="edith", http_pull_model=True),
    ):
        yield Attack(
            topic="signature",
            name=f"{type(message).__name__} without",
            run=partial(_unsigned, message),
            refusals=("403",),
        )
    yield Attack(topic="signature, VEN", name="a push without", run=_unsigned_push, refusals=("403",))
    yield Attack(topic="signature", name="rita's, brought by edith", run=_brought, refusals=("403",))
    yield Attack(
        topic="signature",
        name="edith's, in rita's name",
        run=_for_another,
        refusals=("200/463",),
        spends_nonce=True,
    )
    yield Attack(
        topic="signature",
        name="alice's, else like edith's last",
        run=_like_a_known_one,
        refusals=("200/463",),
        spends_nonce=True,
    )
    yield Attack(
        topic="signature",
        name="edith's next, brought by alice",
        run=_brought_like_a_known_one,
        refusals=("403",),
        spends_nonce=True,
    )
    yield Attack(
        topic="signature", name="wrong, where it is optional", run=_optional_but_wrong, refusals=("403",)
    )
    yield Attack(topic="signature", name="replay", run=_replayed, refusals=("403",), spends_nonce=True)
    yield Attack(
        topic="signature", name="nonce used twice", run=_same_nonce, refusals=("403",), spends_nonce=True
    )


ATTACKS = tuple(_attacks())
