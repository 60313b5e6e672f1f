"""What the log says of a peer that may not do what it asked for, so that an operator knows what to do."""

from __future__ import annotations

import logging
import shlex
from typing import Final

from schemas.oadr20b.errors import ApplicationError, NotRegistered
from vtn_server.registration import NotEnrolled
from vtn_server.state import PeerIdentity

__all__ = ["enrol_command", "log_refusal"]

_LOG: Final = logging.getLogger(__name__)


def log_refusal(err: ApplicationError, peer: PeerIdentity) -> None:
    """Say why a peer was refused; only what concerns who it is."""
    if not isinstance(err, NotRegistered):
        return
    if peer.fingerprint is None:
        _LOG.info("refused: %s", err.description)
    elif isinstance(err, NotEnrolled):
        _LOG.warning(
            "refused: %s; its certificate is %s; if it is the right one: %s",
            err.description,
            peer.fingerprint,
            enrol_command(err, peer.fingerprint),
        )
    else:
        _LOG.warning("refused: %s; its certificate is %s", err.description, peer.fingerprint)


def enrol_command(err: NotEnrolled, fingerprint: str) -> str:
    """Return the command that enrols the VEN that was refused; its name is fit for a shell and for a log."""
    if err.ven_id is not None:
        return f"feederloop operator vens fingerprint {_quoted(err.ven_id, 'VENID')} {fingerprint}"
    return f"feederloop operator vens provision {_quoted(err.ven_name, 'NAME')} --fingerprint {fingerprint}"


def _quoted(text: str | None, instead: str) -> str:
    return shlex.quote(text) if text and text.isprintable() else instead
