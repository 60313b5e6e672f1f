"""How often the VTN has refused a kind of message with an HTTP status, and when to give it up. Pure."""

from __future__ import annotations

from typing import Final

from schemas.oadr20b.errors import CertificateTrouble, TransportError
from schemas.oadr20b.model import AnyMessage, Message

__all__ = ["Refusals"]

_POINTLESS: Final = frozenset((404, 406, 413, 501))
"""HTTP statuses after which the same message is not sent again (S 9.1.5)."""


class Refusals:
    """HTTP errors in a row, by type of message.

    Args:
        attempts: How often a message is sent before it is given up.
    """

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self._counts: dict[type[Message], int] = {}

    def answered(self, request: AnyMessage) -> None:
        """A message of this type was answered."""
        self._counts.pop(type(request), None)

    def is_hopeless(self, request: AnyMessage, error: TransportError) -> bool:
        """Count a failure; return whether to give the message up, by status and number.

        Trouble with a certificate is never a message's fault.
        """
        if error.http_status is None or isinstance(error, CertificateTrouble):
            return False
        count = self._counts.get(type(request), 0) + 1
        hopeless = error.http_status in _POINTLESS or count >= self._attempts
        self._counts[type(request)] = 0 if hopeless else count
        return hopeless
