"""Which message may come to which service, from whom, and who answers it with what.

Rules:

1. Every message type has a row. What only a VTN sends is answered 453.
2. The endpoint comes first: a message at another service than its own is answered 453.
3. Then the sender: the venID must be one we know (452), the peer must be allowed to speak for it (463), and
   it must be registered where the row says so (463). Nothing is allowed by default: a row without a handler
   refuses, and :func:`known` refuses to run a handler without a VEN.
4. An error is answered with HTTP 200 in the reply type of the row (r517, section 9.1.5).

Source: OpenADR 2.0b section 8.6, rules 500 to 517; the standard's table of messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, Never, TypeVar, cast

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import NotRegistered
from vtn_server import distribute, opt, poll, readings, registration, report
from vtn_server.decision import Context, Decision, World
from vtn_server.replies import (
    Refusal,
    refuse_cancel_opt,
    refuse_cancel_party,
    refuse_cancel_report,
    refuse_create_opt,
    refuse_create_party,
    refuse_create_report,
    refuse_register_report,
    refuse_request_event,
    refuse_update_report,
    refuse_with_response,
)
from vtn_server.state import Ven

__all__ = ["TABLE", "Handler", "Needs", "Row", "row_of"]

M_contra = TypeVar("M_contra", bound=m.AnyMessage, contravariant=True)
M = TypeVar("M", bound=m.AnyMessage)

Handler = Callable[[M, Ven | None, World, Context], Decision]


class Needs(Enum):
    """Whom a message must come from."""

    NOBODY = auto()
    """Anybody: the message does not say who asks."""
    PROVISIONED = auto()
    """A VEN that may register."""
    KNOWN = auto()
    """A VEN we know, registered or not."""
    REGISTERED = auto()
    """A registered VEN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Generic[M_contra]):
    """What holds for one message type.

    Attributes:
        handler: None for what a VTN does not take.
        refusal: Makes the reply of an application error.
    """

    services: tuple[ServiceName, ...]
    needs: Needs
    handler: Callable[[M_contra, Ven | None, World, Context], Decision] | None
    refusal: Callable[[M_contra, Refusal], m.AnyMessage]


def known(handler: Callable[[M, Ven, World, Context], Decision]) -> Handler[M]:
    """Return a handler that serves nobody but a known VEN."""

    def guarded(message: M, ven: Ven | None, world: World, ctx: Context) -> Decision:
        if ven is None:
            raise NotRegistered("who is this?")
        return handler(message, ven, world, ctx)

    return guarded


def _query(message: m.QueryRegistration, ven: Ven | None, world: World, ctx: Context) -> Decision:
    del ven
    return registration.query(message, world, ctx)


_EVENT: Final = (ServiceName.EI_EVENT,)
_REPORT: Final = (ServiceName.EI_REPORT,)
_OPT: Final = (ServiceName.EI_OPT,)
_PARTY: Final = (ServiceName.EI_REGISTER_PARTY,)
_POLL: Final = (ServiceName.OADR_POLL,)
_ANY: Final = (*_PARTY, *_EVENT, *_REPORT, *_OPT, *_POLL)


def _row(
    services: tuple[ServiceName, ...],
    needs: Needs,
    handler: Handler[M],
    refusal: Callable[[M, Refusal], m.AnyMessage],
) -> Row[M]:
    return Row(services=services, needs=needs, handler=handler, refusal=refusal)


_VTN_ONLY: Final[Row[m.AnyMessage]] = Row(
    services=_ANY, needs=Needs.NOBODY, handler=None, refusal=refuse_with_response
)
_REG: Final = Needs.REGISTERED

TABLE: Final[dict[type[m.AnyMessage], Row[Never]]] = {
    # EiRegisterParty
    m.QueryRegistration: _row(_PARTY, Needs.NOBODY, _query, refuse_create_party),
    m.CreatePartyRegistration: _row(
        _PARTY, Needs.PROVISIONED, known(registration.create), refuse_create_party
    ),
    m.CancelPartyRegistration: _row(_PARTY, Needs.KNOWN, known(registration.cancel), refuse_cancel_party),
    m.CanceledPartyRegistration: _row(
        _PARTY, Needs.KNOWN, known(registration.canceled), refuse_with_response
    ),
    m.Response: _row(_ANY, _REG, known(registration.response), refuse_with_response),
    # EiReport
    m.RegisterReport: _row(_REPORT, _REG, known(report.register_report), refuse_register_report),
    m.RegisteredReport: _row(_REPORT, _REG, known(report.registered_report), refuse_with_response),
    m.CreateReport: _row(_REPORT, _REG, known(report.create_report), refuse_create_report),
    m.CreatedReport: _row(_REPORT, _REG, known(report.created_report), refuse_with_response),
    m.UpdateReport: _row(_REPORT, _REG, known(readings.update_report), refuse_update_report),
    m.UpdatedReport: _row(_REPORT, _REG, known(report.updated_report), refuse_with_response),
    m.CancelReport: _row(_REPORT, _REG, known(report.cancel_report), refuse_cancel_report),
    m.CanceledReport: _row(_REPORT, _REG, known(report.canceled_report), refuse_with_response),
    # EiEvent
    m.RequestEvent: _row(_EVENT, _REG, known(distribute.request_event), refuse_request_event),
    m.CreatedEvent: _row(_EVENT, _REG, known(distribute.created_event), refuse_with_response),
    # EiOpt
    m.CreateOpt: _row(_OPT, _REG, known(opt.create_opt), refuse_create_opt),
    m.CancelOpt: _row(_OPT, _REG, known(opt.cancel_opt), refuse_cancel_opt),
    # OadrPoll
    m.Poll: _row(_POLL, _REG, known(poll.poll), refuse_with_response),
    # what only a VTN sends
    m.DistributeEvent: _VTN_ONLY,
    m.CreatedPartyRegistration: _VTN_ONLY,
    m.RequestReregistration: _VTN_ONLY,
    m.CreatedOpt: _VTN_ONLY,
    m.CanceledOpt: _VTN_ONLY,
}
"""One row per message of the standard."""


def row_of(message: M) -> Row[M]:
    """Return the row of a message."""
    return cast(Row[M], TABLE[cast(type[m.AnyMessage], type(message))])
