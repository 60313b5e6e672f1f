"""What a push VEN takes from its VTN, at which service, and how it refuses. Pure tables.

Source: OpenADR 2.0b sections 9.1.2 and 9.1.5, rules 405, 500, 511, 517.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import ApplicationError, NotRecognised
from ven_client.messages import response_of

__all__ = ["SERVICES", "check_service", "is_logical_reply", "refusal"]

_REPORT: Final = ServiceName.EI_REPORT
_PARTY: Final = ServiceName.EI_REGISTER_PARTY

_HOMES: Final[dict[type[m.Message], ServiceName]] = {
    m.DistributeEvent: ServiceName.EI_EVENT,
    m.RegisterReport: _REPORT,
    m.RegisteredReport: _REPORT,
    m.CreateReport: _REPORT,
    m.CreatedReport: _REPORT,
    m.UpdateReport: _REPORT,
    m.UpdatedReport: _REPORT,
    m.CancelReport: _REPORT,
    m.CanceledReport: _REPORT,
    m.CancelPartyRegistration: _PARTY,
    m.CanceledPartyRegistration: _PARTY,
    m.RequestReregistration: _PARTY,
}
"""The service of a VEN that each message of a VTN is posted to; an oadrResponse may come to any."""

SERVICES: Final = frozenset(_HOMES.values())
"""The services a push VEN has: no polls, and no opts, which only a VTN takes."""

_REFUSALS: Final[dict[type[m.Message], Callable[[m.EiResponse, str | None], m.AnyMessage]]] = {
    m.RegisterReport: lambda response, ven_id: m.RegisteredReport(response=response, ven_id=ven_id),
    m.CreateReport: lambda response, ven_id: m.CreatedReport(response=response, ven_id=ven_id),
    m.UpdateReport: lambda response, ven_id: m.UpdatedReport(response=response, ven_id=ven_id),
    m.CancelReport: lambda response, ven_id: m.CanceledReport(response=response, ven_id=ven_id),
    m.CancelPartyRegistration: lambda response, ven_id: m.CanceledPartyRegistration(
        response=response, ven_id=ven_id
    ),
}


def check_service(message: m.AnyMessage, service: ServiceName) -> None:
    """Check that a message came to its own service.

    Raises:
        NotRecognised: if it did not.
    """
    home = _HOMES.get(type(message), service)
    if home is not service:
        raise NotRecognised(f"{type(message).__name__} does not belong to {service}")


def is_logical_reply(message: m.AnyMessage) -> bool:
    """Whether a message answers an earlier one, and so is answered with an oadrResponse at most."""
    return not isinstance(message, m.DistributeEvent) and response_of(message) is not None


def refusal(message: m.AnyMessage, error: ApplicationError, ven_id: str | None) -> m.AnyMessage:
    """Return the reply that refuses a message, in the type that fits it (r517)."""
    own = response_of(message)
    request_id = getattr(message, "request_id", "") if own is None else own.request_id
    response = m.EiResponse(code=error.code, description=error.description, request_id=request_id)
    make = _REFUSALS.get(type(message))
    return m.Response(response=response, ven_id=ven_id) if make is None else make(response, ven_id)
