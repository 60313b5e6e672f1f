"""The reply that carries an application error, for each kind of request (r517)."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.oadr20b import model as m
from schemas.oadr20b.errors import ApplicationError
from vtn_server.decision import failed
from vtn_server.registration import profiles

__all__ = [
    "Refusal",
    "refuse_cancel_opt",
    "refuse_cancel_party",
    "refuse_cancel_report",
    "refuse_create_opt",
    "refuse_create_party",
    "refuse_create_report",
    "refuse_register_report",
    "refuse_request_event",
    "refuse_update_report",
    "refuse_with_response",
    "request_id_of",
    "ven_id_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An application error and what its reply needs.

    Attributes:
        fresh_id: For a reply that must have a requestID of its own (r41).
    """

    error: ApplicationError
    vtn_id: str
    fresh_id: str

    def answer(self, request_id: str) -> m.EiResponse:
        """Return the eiResponse."""
        return failed(self.error, request_id)


def request_id_of(message: m.AnyMessage) -> str:
    """Return the requestID to echo; empty where the message has none (r207, r303)."""
    match message:
        case m.Poll() | m.RequestReregistration():
            return ""
        case m.Response() | m.CreatedEvent() | m.CreatedReport() | m.CanceledReport():
            return message.response.request_id
        case m.RegisteredReport() | m.UpdatedReport() | m.CreatedOpt() | m.CanceledOpt():
            return message.response.request_id
        case m.CreatedPartyRegistration() | m.CanceledPartyRegistration():
            return message.response.request_id
    return message.request_id


def ven_id_of(message: m.AnyMessage) -> str | None:
    """Return the venID of a message; None where it has none."""
    match message:
        case m.QueryRegistration() | m.DistributeEvent() | m.CreatedOpt() | m.CanceledOpt():
            return None
    return message.ven_id


def refuse_with_response(message: m.AnyMessage, refusal: Refusal) -> m.Response:
    """Refuse with an oadrResponse."""
    return m.Response(response=refusal.answer(request_id_of(message)), ven_id=ven_id_of(message))


def refuse_create_party(
    message: m.CreatePartyRegistration | m.QueryRegistration, refusal: Refusal
) -> m.CreatedPartyRegistration:
    """Refuse a registration: no ids."""
    return m.CreatedPartyRegistration(
        response=refusal.answer(message.request_id), vtn_id=refusal.vtn_id, profiles=profiles()
    )


def refuse_cancel_party(message: m.CancelPartyRegistration, refusal: Refusal) -> m.CanceledPartyRegistration:
    """Refuse a cancellation."""
    return m.CanceledPartyRegistration(
        response=refusal.answer(message.request_id),
        registration_id=message.registration_id,
        ven_id=message.ven_id,
    )


def refuse_register_report(message: m.RegisterReport, refusal: Refusal) -> m.RegisteredReport:
    """Refuse metadata."""
    return m.RegisteredReport(response=refusal.answer(message.request_id), ven_id=message.ven_id)


def refuse_create_report(message: m.CreateReport, refusal: Refusal) -> m.CreatedReport:
    """Refuse a report request."""
    return m.CreatedReport(response=refusal.answer(message.request_id), ven_id=message.ven_id)


def refuse_update_report(message: m.UpdateReport, refusal: Refusal) -> m.UpdatedReport:
    """Refuse report data."""
    return m.UpdatedReport(response=refusal.answer(message.request_id), ven_id=message.ven_id)


def refuse_cancel_report(message: m.CancelReport, refusal: Refusal) -> m.CanceledReport:
    """Refuse to cancel a report."""
    return m.CanceledReport(response=refusal.answer(message.request_id), ven_id=message.ven_id)


def refuse_request_event(message: m.RequestEvent, refusal: Refusal) -> m.DistributeEvent:
    """Refuse to list events."""
    return m.DistributeEvent(
        response=refusal.answer(message.request_id), request_id=refusal.fresh_id, vtn_id=refusal.vtn_id
    )


def refuse_create_opt(message: m.CreateOpt, refusal: Refusal) -> m.CreatedOpt:
    """Refuse an opt."""
    return m.CreatedOpt(response=refusal.answer(message.request_id), opt_id=message.opt_id)


def refuse_cancel_opt(message: m.CancelOpt, refusal: Refusal) -> m.CanceledOpt:
    """Refuse to cancel an opt."""
    return m.CanceledOpt(response=refusal.answer(message.request_id), opt_id=message.opt_id)
