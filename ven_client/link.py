"""How it stands with the way to the VTN: what the last exchange says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.oadr20b.errors import CertificateTrouble, TransportError

__all__ = ["CLEAR", "LinkState", "Trouble"]


class Trouble(StrEnum):
    """Why a message was not answered with a message."""

    UNREACHABLE = "unreachable"
    """Nothing came back: time heals this, or the network's people."""
    ANSWER = "answer"
    """The VTN answered with an HTTP error, or with what is no message."""
    CERTIFICATE = "certificate"
    """One side refuses the certificate of the other: somebody must see to it, here or at the VTN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """The outcome of the last exchange.

    Attributes:
        trouble: What kind of trouble there is; None if it was answered, or there was none yet.
        reason: In words; empty without trouble.
    """

    trouble: Trouble | None = None
    reason: str = ""

    @classmethod
    def after(cls, error: TransportError) -> LinkState:
        """Return how it stands after an exchange that failed."""
        if isinstance(error, CertificateTrouble):
            kind = Trouble.CERTIFICATE
        elif error.http_status is not None:
            kind = Trouble.ANSWER
        else:
            kind = Trouble.UNREACHABLE
        return cls(trouble=kind, reason=str(error))


CLEAR: Final = LinkState()
