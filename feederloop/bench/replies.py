"""Whether a reply is what it has to be: read from its body, never from the status alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from feederloop.bench.model import Kind
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.wire import parse_unvalidated

__all__ = ["Expected", "fault"]

_REPLIES: Final = {
    Kind.EMPTY_POLL: "oadrResponse",
    Kind.EVENT_POLL: "oadrDistributeEvent",
    Kind.REQUEST_EVENT: "oadrDistributeEvent",
    Kind.CREATED_EVENT: "oadrResponse",
    Kind.REPORT_1: "oadrUpdatedReport",
    Kind.REPORT_60: "oadrUpdatedReport",
    Kind.REGISTRATION: "oadrCreatedPartyRegistration",
}
_INTERVALS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a reply has to be.

    Attributes:
        ven_id: Whom it must be for, where it says so.
        version: The modificationNumber of the one event in it, where it holds events.
        signed: Whether it carries a signature.
    """

    kind: Kind
    ven_id: str
    version: int | None = None
    signed: bool = False


def fault(expected: Expected, status: int, body: bytes) -> str | None:
    """Return what is wrong with a reply; None if nothing is."""
    if status != 200:
        return f"status {status}"
    try:
        root = parse_unvalidated(body)
    except WireError as err:
        return f"not XML: {err}"
    signed = next(root.iter("{*}oadrSignedObject"), None)
    message = None if signed is None else next(signed.iterchildren(etree.Element), None)
    if message is None or etree.QName(message).localname != _REPLIES[expected.kind]:
        return f"not an {_REPLIES[expected.kind]}: {body[:300]!r}"
    if _text(message, "responseCode") != "200":
        told = _text(message, "responseDescription")
        return f"responseCode {_text(message, 'responseCode')}" + (f": {told}" if told else "")
    if _text(message, "venID") not in (None, expected.ven_id):
        return f"for {_text(message, 'venID')}, not {expected.ven_id}"
    if expected.signed and next(root.iter("{*}SignatureValue"), None) is None:
        return "not signed"
    if expected.kind is Kind.REGISTRATION and not _text(message, "registrationID"):
        return "no registrationID"
    return _event_fault(message, expected.version)


def _event_fault(message: etree._Element, version: int | None) -> str | None:
    if version is None:
        return None
    events = list(message.iter("{*}oadrEvent"))
    if len(events) != 1:
        return f"{len(events)} events, not one"
    found = _text(events[0], "modificationNumber")
    if found != str(version):
        return f"modificationNumber {found}, not {version}"
    intervals = sum(1 for _ in events[0].iter("{*}interval"))
    return None if intervals == _INTERVALS else f"{intervals} intervals, not {_INTERVALS}"


def _text(element: etree._Element, name: str) -> str | None:
    found = next(element.iter(f"{{*}}{name}"), None)
    return None if found is None else found.text
