"""Checks of what every message must keep: times, envelope, direction, version, echo, type of reply.

Source: OpenADR 2.0b rules 1, 23, 45, 51, 207, 303, 401, 500, 508, 509, 517; section 1.1 of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from lxml import etree

from schemas.oadr20b import model as m
from schemas.oadr20b.declare import clark
from schemas.oadr20b.rules.base import Direction, Finding, PushOrPull, Rule, Subject
from schemas.oadr20b.rules.walk import name_of

__all__ = ["RULES", "replies_to"]

_UTC: Final = re.compile(r"\+?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_WHOLE: Final = re.compile(
    r"[+-]?P(?=.)(\d+Y)?(\d+M)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?|[+-]?P\d+W", re.ASCII
)
_TIMES: Final = tuple(
    clark(name) for name in ("xcal:date-time", "ei:createdDateTime", "ei:modificationDateTime")
)
_LENGTHS: Final = tuple(
    clark(name) for name in ("xcal:duration", "xcal:startafter", "oadr:oadrMinPeriod", "oadr:oadrMaxPeriod")
)
_XSI: Final = "{http://www.w3.org/2001/XMLSchema-instance}"
_SCHEMA_LOCATIONS: Final = (f"{_XSI}schemaLocation", f"{_XSI}noNamespaceSchemaLocation")
_PAYLOAD: Final = clark("oadr:oadrPayload")
_SIGNED: Final = clark("oadr:oadrSignedObject")
_SIGNATURE: Final = "{http://www.w3.org/2000/09/xmldsig#}Signature"

_TO_A_POLL: Final = (
    m.Response,
    m.DistributeEvent,
    m.CreateReport,
    m.RegisterReport,
    m.CancelReport,
    m.UpdateReport,
    m.CancelPartyRegistration,
    m.RequestReregistration,
)
_REPLIES: Final[dict[type[m.AnyMessage], tuple[type[m.AnyMessage], ...]]] = {
    m.QueryRegistration: (m.CreatedPartyRegistration,),
    m.CreatePartyRegistration: (m.CreatedPartyRegistration,),
    m.CancelPartyRegistration: (m.CanceledPartyRegistration,),
    m.RegisterReport: (m.RegisteredReport,),
    m.CreateReport: (m.CreatedReport,),
    m.UpdateReport: (m.UpdatedReport,),
    m.CancelReport: (m.CanceledReport,),
    m.RequestEvent: (m.DistributeEvent,),
    m.DistributeEvent: (m.CreatedEvent,),
    m.CreateOpt: (m.CreatedOpt,),
    m.CancelOpt: (m.CanceledOpt,),
    m.Poll: _TO_A_POLL,
}
_ONLY_VEN: Final = {
    m.RequestEvent: "23",
    m.QueryRegistration: "401",
    m.CreatePartyRegistration: "401",
    m.Poll: "51",
}
"""Requests that go from a VEN to a VTN only, with the rule that says so."""


def replies_to(request: m.AnyMessage) -> tuple[type[m.AnyMessage], ...]:
    """Return the types that may answer a message (section 1.2): oadrResponse where no other is named."""
    return _REPLIES.get(type(request), (m.Response,))


# --- on the element ----------------------------------------------------------------------------------------


def _path(element: etree._Element) -> str:
    steps = [element, *element.iterancestors()]
    names = [etree.QName(step).localname for step in steps]
    below = [name for name in reversed(names) if name not in ("oadrPayload", "oadrSignedObject")]
    return "/".join(below) or names[0]


def _times(s: Subject) -> Iterator[Finding]:
    if s.element is None:
        return
    for element in s.element.iter(*_TIMES):
        text = (element.text or "").strip()
        if not _UTC.fullmatch(text):
            yield _path(element), f"{text[:40]!r} is not UTC with a literal Z"
    for element in s.element.iter(*_LENGTHS):
        text = (element.text or "").strip()
        if len(element) == 0 and not _WHOLE.fullmatch(text):
            yield _path(element), f"{text[:40]!r} is not a duration in whole numbers"


def _no_schema_location(s: Subject) -> Iterator[Finding]:
    if s.element is None:
        return
    for element in s.element.iter(etree.Element):
        for name in _SCHEMA_LOCATIONS:
            if element.get(name) is not None:
                yield _path(element), "schemaLocation has no place in a message"


def _wrapped(s: Subject) -> Iterator[Finding]:
    if s.element is None:
        return
    if s.element.tag != _PAYLOAD:
        yield etree.QName(s.element).localname, "the root is oadrPayload"
        return
    signed = s.element.findall(_SIGNED)
    if len(signed) != 1:
        yield "oadrPayload", f"{len(signed)} oadrSignedObject"
    for each in signed:
        messages = [child for child in each if isinstance(child.tag, str)]
        if len(messages) != 1:
            yield "oadrPayload/oadrSignedObject", f"{len(messages)} messages"


def _signature_first(s: Subject) -> Iterator[Finding]:
    if s.element is None:
        return
    tags = [child.tag for child in s.element if isinstance(child.tag, str)]
    if _SIGNATURE in tags and tags.index(_SIGNATURE) != 0:
        yield "oadrPayload/Signature", "the signature stands before the signed object"


def _plain_document(s: Subject) -> Iterator[Finding]:
    if s.element is None:
        return
    if s.element.getroottree().docinfo.doctype:
        yield "oadrPayload", "a document type declaration"
    if next(s.element.iter(etree.ProcessingInstruction), None) is not None:
        yield "oadrPayload", "a processing instruction"


# --- on the message ----------------------------------------------------------------------------------------


def _only_from_ven(s: Subject, number: str) -> Iterator[Finding]:
    if _ONLY_VEN.get(type(s.message)) == number and s.direction is Direction.VTN_TO_VEN:
        yield name_of(s.message), "only a VEN sends this"


def _request_event_from_ven(s: Subject) -> Iterator[Finding]:
    yield from _only_from_ven(s, "23")


def _registration_directions(s: Subject) -> Iterator[Finding]:
    yield from _only_from_ven(s, "401")
    if s.direction is Direction.VEN_TO_VTN and isinstance(
        s.message, m.RequestReregistration | m.CreatedPartyRegistration
    ):
        yield name_of(s.message), "only a VTN sends this"


def _polls_are_of_pull_vens(s: Subject) -> Iterator[Finding]:
    yield from _only_from_ven(s, "51")
    if s.exchange.model is PushOrPull.PUSH:
        yield "oadrPoll", "a VEN that is pushed to does not poll"


def _ven_id(s: Subject) -> Iterator[Finding]:
    match s.message:
        case m.QueryRegistration() | m.CreatePartyRegistration():  # G10
            return
        case m.DistributeEvent() | m.CreatedOpt() | m.CanceledOpt():
            return  # these go the other way and have no such element
    if not s.message.ven_id:
        yield f"{name_of(s.message)}/venID", "a VEN always says who it is"


def _version(s: Subject) -> Iterator[Finding]:
    if s.message.schema_version != "2.0b":
        yield f"{name_of(s.message)}/@schemaVersion", f"{s.message.schema_version!r} instead of '2.0b'"


def _echo(s: Subject, requests: tuple[type[m.AnyMessage], ...]) -> Iterator[Finding]:
    request = s.exchange.request
    if not isinstance(request, requests):
        return
    asked = getattr(request, "request_id", "")
    response = getattr(s.message, "response", None)
    if asked and isinstance(response, m.EiResponse) and response.request_id != asked:
        yield f"{name_of(s.message)}/eiResponse/requestID", f"{response.request_id!r} answers {asked!r}"


def _echo_opt(s: Subject) -> Iterator[Finding]:
    yield from _echo(s, (m.CreateOpt, m.CancelOpt))


def _echo_report(s: Subject) -> Iterator[Finding]:
    yield from _echo(s, (m.RegisterReport, m.CreateReport, m.UpdateReport, m.CancelReport))


def _answer_to_poll(s: Subject) -> Iterator[Finding]:
    if isinstance(s.exchange.request, m.Poll) and not isinstance(s.message, _TO_A_POLL):
        yield name_of(s.message), "is no answer to a poll"


def _fitting_reply(s: Subject) -> Iterator[Finding]:
    request = s.exchange.request
    if request is None or isinstance(request, m.Poll):
        return
    if not isinstance(s.message, replies_to(request)):
        yield name_of(s.message), f"is no answer to {name_of(request)}"


RULES: Final = (
    Rule(number="1", check=_times),
    Rule(number="23", check=_request_event_from_ven, messages=(m.RequestEvent,)),
    Rule(number="45", check=_no_schema_location),
    Rule(number="51", check=_polls_are_of_pull_vens, messages=(m.Poll,)),
    Rule(number="207", check=_echo_opt, messages=(m.CreatedOpt, m.CanceledOpt)),
    Rule(
        number="303",
        check=_echo_report,
        messages=(m.RegisteredReport, m.CreatedReport, m.UpdatedReport, m.CanceledReport),
    ),
    Rule(
        number="401",
        check=_registration_directions,
        messages=(
            m.QueryRegistration,
            m.CreatePartyRegistration,
            m.RequestReregistration,
            m.CreatedPartyRegistration,
        ),
    ),
    Rule(number="500", check=_answer_to_poll, direction=Direction.VTN_TO_VEN),
    Rule(number="508", check=_ven_id, direction=Direction.VEN_TO_VTN),
    Rule(number="509", check=_version),
    Rule(number="517", check=_fitting_reply, direction=Direction.VTN_TO_VEN),
    Rule(number="X2", check=_wrapped),
    Rule(number="X3", check=_signature_first),
    Rule(number="X4", check=_plain_document),
)
"""The checks of this file, by number."""
