"""Signed messages that differ from one that was verified before in nothing but the signature's own values.

A VEN's polls are the same document over and over, but for five texts: two digests, the signature value, time
stamp and nonce. Such a document need not be parsed, validated, dissected and canonicalised again. What is
left is what makes it another message: both digests, the signature over SignedInfo, the time stamp. That is
done here, with the texts put into the canonical forms that the first document had.

*Why that is the same verdict.* Two bodies of one shape are equal byte for byte outside of five holes. A hole
is the whole text between a start tag and the next tag, it holds only printable ASCII and blanks, and no
``<``, ``>``, ``&`` or carriage return. So a parser sees the same tree for both, with other texts at five
elements, and canonicalisation writes these texts as they are. That the five are the signature's own and that
each exists once is checked on the tree of the first body, which went through all checks of
:mod:`certs.xmldsig`; it has no comments, processing instructions, character data sections or stray ``>``
that could pretend to be tags. The signed object lies outside of the holes: it is the same, so is its digest,
and so is the message that was decoded from it.

What is not exactly so is not known here and takes the long way, and so does what would be refused here: this
can only accept. Messages that repeat are learned, from whoever has signed them; every message is verified
with the key of its own peer.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from certs.keys import TrustedKey, verify_bytes
from certs.xmldsig_parts import DS, DSP, Parts, canonical, decode_base64
from schemas.oadr20b.errors import BadSignature
from schemas.oadr20b.model import AnyMessage, Poll, Response

__all__ = ["KnownShapes", "Likeness", "Shape"]

_KEPT: Final = 10_000
"""As many as a VTN has VENs by default; about 6 kB each."""
_MOST_BYTES: Final = 8_000
_REPEATING: Final = (Poll, Response)
_HOLE: Final = re.compile(
    rb"(<(?:[A-Za-z_][A-Za-z0-9_.-]*:)?(?:DigestValue|SignatureValue|timestamp|nonce)>)([^<>&\r]*)"
)
_TEXT: Final = re.compile(rb"[\t\n -~]*")
_ORDER: Final = (
    f"{{{DS}}}DigestValue",
    f"{{{DS}}}DigestValue",
    f"{{{DS}}}SignatureValue",
    f"{{{DSP}}}timestamp",
    f"{{{DSP}}}nonce",
)
_NAMED: Final = tuple(f"{{*}}{tag.rpartition('}')[2]}" for tag in _ORDER[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What bodies of one shape have in common.

    Attributes:
        message: What they say.
        method: Signature method.
        info: Canonical SignedInfo, around the two digests.
        protect: Canonical form of the reference that covers ReplayProtect, around time stamp and nonce.
        digest: Of the signed object.
        signed_first: Whether the signed object's reference is the first of the two.
    """

    message: AnyMessage
    method: str
    info: tuple[bytes, ...]
    protect: tuple[bytes, ...]
    digest: bytes
    signed_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A body cut up: what it shares with others of its shape, and what is its own.

    Attributes:
        outside: What lies around the holes; the key of the shape.
        texts: The five texts, in the order of the document.
    """

    outside: tuple[bytes, ...]
    texts: tuple[bytes, ...]

    @property
    def timestamp(self) -> str:
        """The time stamp, not yet judged."""
        return self.texts[3].decode("ascii")

    @property
    def nonce(self) -> str:
        """The nonce, not yet judged."""
        return self.texts[4].decode("ascii")

    def check(self, shape: Shape, trusted: TrustedKey) -> None:
        """Do the arithmetic.

        Raises:
            BadSignature: if the value or a digest is wrong.
        """
        first, second, value, stamp, nonce = self.texts
        covered = shape.protect[0] + stamp + shape.protect[1] + nonce + shape.protect[2]
        own = hashlib.sha256(covered).digest()
        right = (shape.digest, own) if shape.signed_first else (own, shape.digest)
        for text, expected in zip((first, second), right, strict=True):
            if not hmac.compare_digest(decode_base64(text.decode("ascii"), "DigestValue"), expected):
                raise BadSignature("a signed part was changed after signing")
        info = shape.info[0] + first + shape.info[1] + second + shape.info[2]
        if not verify_bytes(trusted.public_key, decode_base64(value.decode("ascii"), "SignatureValue"), info):
            raise BadSignature("the signature was not made with the key of this peer")


class KnownShapes:
    """The shapes that were seen last."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[tuple[bytes, ...], Shape] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shapes)

    def likeness(self, body: bytes) -> Likeness | None:
        """Cut a body up; None if it cannot be of a known shape."""
        if len(body) > _MOST_BYTES:
            return None
        pieces = _HOLE.split(body)
        if len(pieces) != 3 * len(_ORDER) + 1:
            return None
        texts = tuple(pieces[2::3])
        if not all(_TEXT.fullmatch(text) for text in texts):
            return None
        del pieces[2::3]
        return Likeness(outside=tuple(pieces), texts=texts)

    def find(self, likeness: Likeness) -> Shape | None:
        """Return the shape of a body that was cut up, if it is known."""
        shape = self._shapes.get(likeness.outside)
        if shape is not None:
            self._shapes.move_to_end(likeness.outside)
        return shape

    def learn(self, body: bytes, likeness: Likeness, parts: Parts, message: AnyMessage) -> None:
        """Remember the shape of a body whose signature was verified, if others like it may follow.

        Args:
            body: As it came.
            likeness: The body cut up.
            parts: What :func:`certs.xmldsig_parts.dissect` found in it.
            message: What was decoded from its signed object.
        """
        if not isinstance(message, _REPEATING) or not _only_tags(body) or not _own_holes(likeness, parts):
            return
        signed, other = parts.references
        info = _around(canonical(parts.info, parts.c14n), likeness.texts[:2])
        protect = _around(canonical(other.target, other.c14n), likeness.texts[3:])
        if info is None or protect is None:
            return
        self._shapes[likeness.outside] = Shape(
            message=message,
            method=parts.method,
            info=info,
            protect=protect,
            digest=signed.digest,
            signed_first=parts.signed_first,
        )
        if len(self._shapes) > _KEPT:
            self._shapes.popitem(last=False)


def _only_tags(body: bytes) -> bool:
    """Return whether all angle brackets of a well-formed body belong to tags and the XML declaration."""
    declarations = 1 if body.startswith((b"<?xml ", b"\xef\xbb\xbf<?xml ")) else 0
    return b"<!" not in body and body.count(b"<?") == declarations and body.count(b"<") == body.count(b">")


def _own_holes(likeness: Likeness, parts: Parts) -> bool:
    """Return whether the holes are the signature's own elements, and there are no others of these names."""
    payload = parts.signature.getparent()
    if payload is None:
        return False
    named = list(payload.iter(*_NAMED))
    return tuple(each.tag for each in named) == _ORDER and all(
        (each.text or "").encode() == text and not len(each)
        for each, text in zip(named, likeness.texts, strict=True)
    )


def _around(form: bytes, texts: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
    """Return what lies around the two holes of a canonical form; None if they hold something else."""
    pieces = _HOLE.split(form)
    if len(pieces) != 7 or tuple(pieces[2::3]) != texts:
        return None
    return pieces[0] + pieces[1], pieces[3] + pieces[4], pieces[6]
