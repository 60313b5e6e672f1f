"""Facts about messages, as tables: which endpoint each goes to, what answers it, what code it carries."""

from __future__ import annotations

from typing import Final

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.uris import normal_uri

__all__ = ["code_of", "is_success", "normal_uri", "replies_to", "response_of", "service_of"]

_REGISTER: Final = ServiceName.EI_REGISTER_PARTY
_EVENT: Final = ServiceName.EI_EVENT
_REPORT: Final = ServiceName.EI_REPORT
_OPT: Final = ServiceName.EI_OPT

_ROUTES: Final[dict[type[m.Message], tuple[ServiceName, tuple[type[m.Message], ...]]]] = {
    m.QueryRegistration: (_REGISTER, (m.CreatedPartyRegistration,)),
    m.CreatePartyRegistration: (_REGISTER, (m.CreatedPartyRegistration,)),
    m.CancelPartyRegistration: (_REGISTER, (m.CanceledPartyRegistration,)),
    m.CanceledPartyRegistration: (_REGISTER, (m.Response,)),
    m.Response: (_REGISTER, (m.Response,)),  # a pull VEN sends it only to answer oadrRequestReregistration
    m.RequestEvent: (_EVENT, (m.DistributeEvent,)),
    m.CreatedEvent: (_EVENT, (m.Response,)),
    m.RegisterReport: (_REPORT, (m.RegisteredReport,)),
    m.UpdateReport: (_REPORT, (m.UpdatedReport,)),
    m.RegisteredReport: (_REPORT, (m.Response,)),
    m.CreatedReport: (_REPORT, (m.Response,)),
    m.UpdatedReport: (_REPORT, (m.Response,)),
    m.CanceledReport: (_REPORT, (m.Response,)),
    m.CreateOpt: (_OPT, (m.CreatedOpt,)),
    m.CancelOpt: (_OPT, (m.CanceledOpt,)),
    m.Poll: (
        ServiceName.OADR_POLL,
        (
            m.Response,
            m.DistributeEvent,
            m.CreateReport,
            m.RegisterReport,
            m.CancelReport,
            m.UpdateReport,
            m.CancelPartyRegistration,
            m.RequestReregistration,
        ),
    ),
}
"""What a pull VEN sends: the service it goes to (r511) and the replies that fit (section 1.2)."""


def service_of(message: m.AnyMessage) -> ServiceName:
    """Return the service a message of a VEN is posted to.

    Raises:
        KeyError: if a VEN never sends such a message.
    """
    return _ROUTES[type(message)][0]


def replies_to(message: m.AnyMessage) -> tuple[type[m.Message], ...]:
    """Return the types that may answer a message of a VEN; none for what a VEN never sends."""
    return _ROUTES[type(message)][1] if type(message) in _ROUTES else ()


def response_of(message: m.AnyMessage) -> m.EiResponse | None:
    """Return the eiResponse of a message, if its type has one and it is there."""
    match message:
        case (
            m.QueryRegistration()
            | m.CreatePartyRegistration()
            | m.CancelPartyRegistration()
            | m.RequestReregistration()
            | m.RequestEvent()
            | m.RegisterReport()
            | m.CreateReport()
            | m.UpdateReport()
            | m.CancelReport()
            | m.CreateOpt()
            | m.CancelOpt()
            | m.Poll()
        ):
            return None
        case _:
            return message.response


def code_of(message: m.AnyMessage) -> str | None:
    """Return the responseCode of a message, if it has one."""
    response = response_of(message)
    return response.code if response is not None else None


def is_success(code: str | None) -> bool:
    """Whether a responseCode means success; a reply without one is taken as such."""
    return code is None or code.startswith("2")
