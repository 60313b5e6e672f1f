"""What an attack is: something somebody does, and the refusals it may end in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.oadr20b import wire
from tests.security.grounds import Ground
from tests.security.wire_tap import Answer
from ven_client.messages import code_of

__all__ = ["Attack", "verdict"]

CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    Attributes:
        topic: What it belongs to.
        name: What is done.
        run: Does it; returns the refusal, and fails where more can be said than that.
        refusals: Those that are right: an HTTP status, an application code as ``200/463``, ``closed``, or the
            reason of a TLS handshake that failed.
        spends_nonce: Whether the message is a genuine one of its signer, which is only not obeyed.
        limit_s: How long it may take, with a wide margin.
        limit_mb: By how much memory may grow, with a wide margin.
    """

    topic: str
    name: str
    run: Callable[[Ground], str]
    refusals: tuple[str, ...]
    spends_nonce: bool = False
    limit_s: float = 20.0
    limit_mb: float = 80.0


def verdict(answer: Answer) -> str:
    """Return how a server has refused."""
    if answer.status == 0:
        return CLOSED
    if answer.status != 200:
        return str(answer.status)
    return f"200/{code_of(wire.read(answer.body))}" if answer.body else "200"
