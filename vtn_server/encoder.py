"""Replies to bytes. An event is encoded once per version, status and createdDateTime, then spliced.

Answers that all is well, which differ in ids only, are spliced, too (:mod:`vtn_server.frames`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Final

from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.model import CreatedPartyRegistration, Response, UpdatedReport
from schemas.oadr20b.wire import write
from vtn_server import event as rules
from vtn_server.decision import OK_NO_ID, Distribution, Listed, Reply, ok
from vtn_server.event_text import EventTexts
from vtn_server.frames import FIRST, SECOND, THIRD, Frame
from vtn_server.records import EventRecord

__all__ = ["Encoder"]

_END: Final = b"</oadr:oadrDistributeEvent>"
_GOOD: Final = (OK_NO_ID.code, OK_NO_ID.description)
_MARKED: Final = ok(FIRST)
_KEPT_EVENTS: Final = 2048
_KEPT_EMPTY: Final = 100_000

_Key = tuple[str, int, EventStatus, datetime]


class Encoder:
    """Encodes replies and keeps what is likely to be sent again; one per VTN."""

    def __init__(self) -> None:
        self._texts = EventTexts()
        self._events: OrderedDict[_Key, bytes] = OrderedDict()
        self._nothing: dict[str | None, bytes] = {}
        self._heads: dict[str, tuple[Frame, bytes]] = {}
        self._answers: dict[type, Frame] = {}
        self._offers: dict[CreatedPartyRegistration, Frame] = {}

    def encode(self, reply: Reply) -> bytes:
        """Return a reply as a body.

        Raises:
            InvalidValue: if a value cannot be written.
        """
        if isinstance(reply, Distribution):
            return self._distribution(reply)
        if isinstance(reply, Response) and reply.response is OK_NO_ID:
            return self._empty(reply)
        if isinstance(reply, Response | UpdatedReport):
            return self._good(reply)
        if isinstance(reply, CreatedPartyRegistration):
            return self._registered(reply)
        return write(reply)

    def prepare(self, record: EventRecord, now: datetime) -> None:
        """Encode an event before anybody asks for it.

        Raises:
            InvalidValue: if a value cannot be written.
        """
        self._event(Listed(record=record, status=rules.status(record, now)), rules.changed_at(record, now))

    def _empty(self, reply: Response) -> bytes:
        body = self._nothing.get(reply.ven_id)
        if body is None:
            if len(self._nothing) >= _KEPT_EMPTY:
                self._nothing.clear()
            body = self._nothing[reply.ven_id] = write(reply)
        return body

    def _distribution(self, reply: Distribution) -> bytes:
        head, tail = self._around(reply)
        return b"".join((head, *(self._event(each, reply.created_at) for each in reply.listed), tail))

    def _around(self, reply: Distribution) -> tuple[bytes, bytes]:
        """Return what stands before the events and after them."""
        response = reply.response
        if (response.code, response.description) != _GOOD:
            return _cut(write(reply.empty()))
        around = self._heads.get(reply.vtn_id)
        if around is None:
            marked = replace(reply, response=ok(FIRST), request_id=SECOND)
            head, tail = _cut(write(marked.empty()))
            around = self._heads[reply.vtn_id] = Frame.of(head), tail
        frame, tail = around
        return frame.filled(response.request_id, reply.request_id), tail

    def _good(self, reply: Response | UpdatedReport) -> bytes:
        """Return an answer that says nothing but that all is well, where it is one; else any other."""
        kind, asked = type(reply), reply.response.request_id
        if reply.ven_id is None or reply != kind(response=ok(asked), ven_id=reply.ven_id):
            return write(reply)
        frame = self._answers.get(kind)
        if frame is None:
            frame = self._answers[kind] = Frame.of(write(kind(response=ok(FIRST), ven_id=SECOND)))
        return frame.filled(asked, reply.ven_id)

    def _registered(self, reply: CreatedPartyRegistration) -> bytes:
        """Return the answer to a registration that was taken; but for their ids all of these are alike."""
        asked, registration_id, ven_id = reply.response.request_id, reply.registration_id, reply.ven_id
        if registration_id is None or ven_id is None or reply.response != ok(asked):
            return write(reply)
        marked = replace(reply, response=_MARKED, registration_id=SECOND, ven_id=THIRD)
        frame = self._offers.get(marked)
        if frame is None:
            frame = self._offers[marked] = Frame.of(write(marked), (FIRST, SECOND, THIRD))
        return frame.filled(asked, registration_id, ven_id)

    def _event(self, listed: Listed, created_at: datetime) -> bytes:
        record = listed.record
        key = (record.event_id, record.modification_number, listed.status, created_at)
        body = self._events.get(key)
        if body is None:
            body = self._events[key] = self._texts.of(record, listed.status, created_at)
            if len(self._events) > _KEPT_EVENTS:
                self._events.popitem(last=False)
        return body


def _cut(body: bytes) -> tuple[bytes, bytes]:
    """Return a distribution without events as what stands before them and after them."""
    head, end, tail = body.rpartition(_END)
    if not end:
        raise InvalidValue("a distribution without its end tag")
    return head, end + tail
