"""Signatures for bodies that are sent again and again, such as the answer to an empty poll.

What :meth:`certs.xmldsig.Signer.sign` does with a tree, this does with bytes, and writes the same document.
The digest of a body's signed object is kept with the body, so a repeated one costs the signature alone: no
parsing, no canonicalisation. Nonce and time stamp are new each time.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from certs.xmldsig import Signer, digest_text
from certs.xmldsig_parts import C14N, Scope, canonical
from schemas.oadr20b import wire

__all__ = ["Sealer"]

_KEPT: Final = 20_000
_KEPT_BYTES: Final = 4_000
"""Bodies beyond this size are not kept: they are events and reports, which do not repeat."""
_ROOT: Final = re.compile(rb"(?:<\?xml[^>]*\?>\s*)?<[^>]*>")


@dataclass(frozen=True, slots=True)
class _Template:
    """A body that waits for its signature.

    Attributes:
        head: Up to the end of the root's start tag.
        tail: The signed object, and the end.
        digest: Of the signed object.
        scope: The texts of the signature.
    """

    head: bytes
    tail: bytes
    digest: str
    scope: Scope


class Sealer:
    """Signs bodies with one key.

    Args:
        signer: Knows the key.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._templates: OrderedDict[bytes, _Template] = OrderedDict()

    def seal(self, body: bytes, now: datetime, nonce: str, *, wall: datetime | None = None) -> bytes:
        """Return a body of ours with a signature; an earlier one is replaced.

        Args:
            body: A message as :func:`schemas.oadr20b.wire.write` makes it.
            now: The sending moment, aware.
            nonce: Never used before with this key; printable ASCII.
            wall: The time of certificates, where ``now`` is a simulated one.

        Raises:
            CertificateRefused: if the certificate is not valid now.
            ValueError: as :meth:`certs.xmldsig.Signer.sign`.
        """
        template = self._templates.get(body)
        if template is None:
            template = self._templates_for(body)
        else:
            self._templates.move_to_end(body)
        signature = self._signer.signature(template.scope, template.digest, now, nonce, wall=wall)
        return b"".join((template.head, signature.encode(), template.tail))

    def _templates_for(self, body: bytes) -> _Template:
        payload = wire.parse_unvalidated(body, max_bytes=len(body))
        scope, signed = self._signer.prepare(payload)
        digest = digest_text(canonical(signed, C14N))
        text = wire.serialise(payload)
        root = _ROOT.match(text)
        assert root is not None  # we have just written it
        template = _Template(text[: root.end()], text[root.end() :], digest, scope)
        if len(body) <= _KEPT_BYTES:
            self._templates[body] = template
            if len(self._templates) > _KEPT:
                self._templates.popitem(last=False)
        return template
