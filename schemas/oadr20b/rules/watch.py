"""Follows the exchanges between a VEN and its VTN, so that each message is checked with what is around it.

One :class:`Conversation` per VEN, for the time of one registration or longer. It keeps the last distribution,
the last metadata and report requests of the VEN, and the requests that wait for an answer of their own: at
most a handful of messages.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Final

from lxml import etree

from schemas.oadr20b import model as m
from schemas.oadr20b.codec import decode_message
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.rules import Direction, Exchange, PushOrPull, Violation, check, replies_to
from schemas.oadr20b.wire import parse

__all__ = ["Conversation"]

_OPEN: Final = 50
"""Requests of the VTN that may wait for their answers."""


class Conversation:
    """What went between one VEN and its VTN, as far as later messages refer to it.

    Args:
        model: Who opens the exchanges; None is taken from the registration, where it is seen.
    """

    def __init__(self, model: PushOrPull | None = None) -> None:
        self._model = model
        self.ven_id: str | None = None
        """The venID, once the VTN has given one."""
        self._former: m.DistributeEvent | None = None
        self._metadata: tuple[m.Report, ...] | None = None
        self._requests: dict[str, m.ReportRequest] = {}
        self._open: Final[deque[m.AnyMessage]] = deque(maxlen=_OPEN)

    def exchange(self, request: bytes, reply: bytes, at: datetime) -> tuple[Violation, ...]:
        """Return the breaches in a request of the VEN and in the VTN's reply to it.

        Bodies that are no messages are somebody else's business.
        """
        asked = _read(request)
        if asked is None:
            return ()
        element, message = asked
        found = self._from_ven(message, element, at)
        answer = _read(reply)
        if answer is not None:
            found = (*found, *self._from_vtn(answer[1], answer[0], message, at))
        return found

    def pushed(self, request: bytes, reply: bytes, at: datetime) -> tuple[Violation, ...]:
        """Return the breaches in a request of the VTN and in the VEN's reply, which may be empty."""
        asked = _read(request)
        if asked is None:
            return ()
        found = self._from_vtn(asked[1], asked[0], None, at)
        answer = _read(reply)
        if answer is not None:
            found = (*found, *self._from_ven(answer[1], answer[0], at))
        return found

    def _from_ven(
        self, message: m.AnyMessage, element: etree._Element | None, at: datetime
    ) -> tuple[Violation, ...]:
        context = Exchange(
            request=self._answered_by(message),
            model=self._model,
            at=at,
            requests=tuple(self._requests.values()),
        )
        found = check(message, direction=Direction.VEN_TO_VTN, element=element, context=context)
        if isinstance(message, m.RegisterReport):  # what was asked before ends with it (r306)
            self._metadata = message.reports
            self._requests = {}
        elif isinstance(message, m.CreatePartyRegistration):
            self._model = PushOrPull.PUSH if message.http_pull_model is False else PushOrPull.PULL
            if message.registration_id is None:
                self._former, self._metadata, self._requests = None, None, {}
                self._open.clear()
        return found

    def _from_vtn(
        self,
        message: m.AnyMessage,
        element: etree._Element | None,
        request: m.AnyMessage | None,
        at: datetime,
    ) -> tuple[Violation, ...]:
        context = Exchange(
            request=request,
            model=self._model,
            at=at,
            former=self._former,
            metadata=self._metadata,
            requests=tuple(self._requests.values()),
        )
        found = check(message, direction=Direction.VTN_TO_VEN, element=element, context=context)
        if isinstance(message, m.CreatedPartyRegistration):
            self.ven_id = message.ven_id or self.ven_id
        if isinstance(message, m.DistributeEvent):
            refused = message.response is not None and not message.response.code.startswith("2")
            self._former = self._former if refused else message
        if isinstance(message, m.CreateReport | m.RegisteredReport):
            self._requests.update({each.report_request_id: each for each in message.requests})
        if replies_to(message) != (m.Response,) or isinstance(message, m.RequestReregistration):
            self._open.append(message)
        return found

    def _answered_by(self, message: m.AnyMessage) -> m.AnyMessage | None:
        """Return the VTN's request a message of the VEN answers: the latest of its kind and requestID."""
        response = getattr(message, "response", None)
        if not isinstance(response, m.EiResponse):
            return None
        wanted = response.request_id
        if isinstance(message, m.CreatedEvent) and message.event_responses:
            wanted = message.event_responses[0].request_id
        for each in reversed(self._open):
            same = getattr(each, "request_id", "") == wanted
            if same and isinstance(message, replies_to(each)):
                return each
        return None


def _read(body: bytes) -> tuple[etree._Element, m.AnyMessage] | None:
    try:
        element = parse(body)
        return element, decode_message(element)
    except WireError:
        return None
