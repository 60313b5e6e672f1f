"""What a VEN answers to the messages a VTN hands over in reply to polls. Pure.

An item that is wrong is answered in the reply type that fits it, with a 4xx code (section 1.10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import ApplicationError, ComplianceError, InvalidId
from ven_client.event_book import EventBook
from ven_client.messages import is_success
from ven_client.report_book import ReportBook

__all__ = ["Identity", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the two parties are, as the registration says."""

    ven_id: str
    vtn_id: str | None
    registration_id: str | None


def answer(
    item: m.AnyMessage, who: Identity, events: EventBook, reports: ReportBook, now: datetime
) -> tuple[m.AnyMessage, ...]:
    """Act on an item and return the messages that answer it.

    Cancelling the registration and registering again are the session's business: here they are only checked
    and answered.
    """
    match item:
        case m.DistributeEvent():
            return _created_event(item, who, events, now)
        case m.RegisterReport():
            response = _checked(item.request_id, who, item.ven_id, None)
            return (m.RegisteredReport(response=response, ven_id=who.ven_id),)
        case m.CreateReport():
            response = _checked(
                item.request_id, who, item.ven_id, lambda: reports.request(item.requests, now)
            )
            return (m.CreatedReport(response=response, pending=reports.pending, ven_id=who.ven_id),)
        case m.CancelReport():
            response = _checked(
                item.request_id,
                who,
                item.ven_id,
                lambda: reports.cancel(item.report_request_ids, item.report_to_follow, now),
            )
            return (m.CanceledReport(response=response, pending=reports.pending, ven_id=who.ven_id),)
        case m.UpdateReport():
            response = _checked(item.request_id, who, item.ven_id, lambda: _never_asked(item))
            return (m.UpdatedReport(response=response, ven_id=who.ven_id),)
        case m.CancelPartyRegistration():
            response = _checked(item.request_id, who, item.ven_id, lambda: _registration(item, who))
            return (
                m.CanceledPartyRegistration(
                    response=response, registration_id=item.registration_id, ven_id=who.ven_id
                ),
            )
        case m.RequestReregistration():
            return (m.Response(response=_checked("", who, item.ven_id, None), ven_id=who.ven_id),)
        case (
            m.RequestEvent()
            | m.QueryRegistration()
            | m.CreatePartyRegistration()
            | m.CreateOpt()
            | m.CancelOpt()
            | m.Poll()
        ):
            request_id = "" if isinstance(item, m.Poll) else item.request_id
            response = m.EiResponse(
                code=ComplianceError.code,
                description="only a VEN sends this (r23, r401)",
                request_id=request_id,
            )
            return (m.Response(response=response, ven_id=who.ven_id),)
        case _:
            return ()


def _created_event(
    message: m.DistributeEvent, who: Identity, events: EventBook, now: datetime
) -> tuple[m.AnyMessage, ...]:
    if message.response is not None and not is_success(message.response.code):
        return ()
    if who.vtn_id is not None and message.vtn_id != who.vtn_id:
        # the whole message is wrong: an error, and no eventResponses (r25, r35)
        response = m.EiResponse(
            code=InvalidId.code, description=f"unknown vtnID {message.vtn_id}", request_id=message.request_id
        )
        return (m.CreatedEvent(response=response, ven_id=who.ven_id),)
    responses = events.receive(message, who.ven_id, now)
    if not responses:
        return ()
    response = m.EiResponse(code="200", request_id="")  # empty beside eventResponses (r42)
    return (m.CreatedEvent(response=response, event_responses=responses, ven_id=who.ven_id),)


def _checked(
    request_id: str, who: Identity, ven_id: str | None, act: Callable[[], None] | None
) -> m.EiResponse:
    """Return the outcome of acting on a message that may carry a venID (r304, r400)."""
    try:
        if ven_id is not None and ven_id != who.ven_id:
            raise InvalidId(f"unknown venID {ven_id}")
        if act is not None:
            act()
    except ApplicationError as err:
        return m.EiResponse(code=err.code, description=err.description, request_id=request_id)
    return m.EiResponse(code="200", description="OK", request_id=request_id)


def _never_asked(update: m.UpdateReport) -> None:
    if update.reports:
        raise InvalidId("this VEN has not asked for reports")


def _registration(item: m.CancelPartyRegistration, who: Identity) -> None:
    if item.registration_id != who.registration_id:
        raise InvalidId(f"unknown registrationID {item.registration_id}")
