"""What the log says of a peer that may not do what it asked for, so that an operator knows what to do."""

from __future__ import annotations

import logging
import shlex
from typing import Final

from schemas.oadr20b.errors import ApplicationError, NotRegistered
from schemas.oadr20b.model import AnyMessage, EiResponse
from vtn_server.decision import OK, Reply
from vtn_server.registration import NotEnrolled, NotTheirs
from vtn_server.replies import ven_id_of
from vtn_server.state import PeerIdentity

__all__ = ["enrol_command", "log_code", "log_refusal"]

_LOG: Final = logging.getLogger(__name__)
_LONGEST: Final = 200
"""Characters of a text a peer may have a part in."""


def log_refusal(err: ApplicationError, message: AnyMessage, peer: PeerIdentity) -> None:
    """Say who was refused what, and why; loudly where it concerns who a peer is."""
    if not isinstance(err, NotRegistered):
        _log_answer(message, peer, err.code, err.description)
        return
    detail = _plain(err.detail if isinstance(err, NotTheirs) else err.description)
    if peer.fingerprint is None:
        _LOG.info("refused %s of %s: %s", type(message).__name__, _sender(message, peer), detail)
    elif isinstance(err, NotEnrolled):
        _LOG.warning(
            "refused: %s; its certificate is %s; if it is the right one: %s",
            detail,
            peer.fingerprint,
            enrol_command(err, peer.fingerprint),
        )
    else:
        _LOG.warning("refused: %s; its certificate is %s", detail, peer.fingerprint)


def log_code(code: str, reply: Reply, message: AnyMessage, peer: PeerIdentity) -> None:
    """Say whose message was served, but not all of it; nothing where the code is that of success."""
    if code == OK:
        return
    answer = getattr(reply, "response", None)  # not all replies have one
    description = answer.description if isinstance(answer, EiResponse) else None
    _log_answer(message, peer, code, description or "a part of it is refused")


def _log_answer(message: AnyMessage, peer: PeerIdentity, code: str, description: str) -> None:
    kind, sender = type(message).__name__, _sender(message, peer)
    _LOG.info("answered %s of %s with %s: %s", kind, sender, code, _plain(description))


def _sender(message: AnyMessage, peer: PeerIdentity) -> str:
    """Return who sent a message: its venID, which may be anything, and the certificate, which is sure."""
    ven_id = ven_id_of(message)
    known = () if ven_id is None else (_plain(ven_id),)
    certificate = () if peer.fingerprint is None else (f"certificate {peer.fingerprint}",)
    return ", ".join((*known, *certificate)) or "somebody"


def _plain(text: str) -> str:
    """Return a text fit for a line of a log: escaped, and of bounded length."""
    some = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return some if some.isprintable() else ascii(some)[1:-1]


def enrol_command(err: NotEnrolled, fingerprint: str) -> str:
    """Return the command that enrols the VEN that was refused; its name is fit for a shell and for a log."""
    if err.ven_id is not None:
        return f"feederloop operator vens fingerprint {_quoted(err.ven_id, 'VENID')} {fingerprint}"
    return f"feederloop operator vens provision {_quoted(err.ven_name, 'NAME')} --fingerprint {fingerprint}"


def _quoted(text: str | None, instead: str) -> str:
    return shlex.quote(text) if text and text.isprintable() else instead
