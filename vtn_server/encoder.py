"""Replies to bytes. An event is encoded once per version, status and createdDateTime, then spliced.

Answers that all is well, which differ in ids only, are spliced, too (:mod:`vtn_server.frames`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Final

from lxml import etree

from schemas.oadr20b.codec import encode_element
from schemas.oadr20b.declare import clark
from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.model import Response, UpdatedReport
from schemas.oadr20b.wire import write
from vtn_server.decision import OK_NO_ID, Distribution, Listed, Reply, ok
from vtn_server.event import wire_event
from vtn_server.frames import FIRST, SECOND, Frame

__all__ = ["Encoder"]

_EVENT: Final = clark("oadr:oadrEvent")
_END: Final = b"</oadr:oadrDistributeEvent>"
_KEPT_EVENTS: Final = 2048
_KEPT_EMPTY: Final = 100_000

_Key = tuple[str, int, EventStatus, datetime]


class Encoder:
    """Encodes replies and keeps what is likely to be sent again; one per VTN."""

    def __init__(self) -> None:
        self._events: OrderedDict[_Key, bytes] = OrderedDict()
        self._nothing: dict[str | None, bytes] = {}
        self._heads: dict[str, Frame] = {}
        self._answers: dict[type, Frame] = {}

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
        return write(reply)

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
        if reply.response != ok(reply.response.request_id):
            return _cut(write(reply.empty()))
        frame = self._heads.get(reply.vtn_id)
        if frame is None:
            marked = replace(reply, response=ok(FIRST), request_id=SECOND)
            frame = self._heads[reply.vtn_id] = Frame.of(write(marked.empty()))
        return _cut(frame.filled(reply.response.request_id, reply.request_id))

    def _good(self, reply: Response | UpdatedReport) -> bytes:
        """Return an answer that says nothing but that all is well, where it is one; else any other."""
        kind, asked = type(reply), reply.response.request_id
        if reply.ven_id is None or reply != kind(response=ok(asked), ven_id=reply.ven_id):
            return write(reply)
        frame = self._answers.get(kind)
        if frame is None:
            frame = self._answers[kind] = Frame.of(write(kind(response=ok(FIRST), ven_id=SECOND)))
        return frame.filled(asked, reply.ven_id)

    def _event(self, listed: Listed, created_at: datetime) -> bytes:
        record = listed.record
        key = (record.event_id, record.modification_number, listed.status, created_at)
        body = self._events.get(key)
        if body is None:
            element = encode_element(wire_event(record, listed.status, created_at), _EVENT)
            body = self._events[key] = _without_declarations(etree.tostring(element), element)
            if len(self._events) > _KEPT_EVENTS:
                self._events.popitem(last=False)
        return body


def _cut(body: bytes) -> tuple[bytes, bytes]:
    """Return a distribution without events as what stands before them and after them."""
    head, end, tail = body.rpartition(_END)
    if not end:
        raise InvalidValue("a distribution without its end tag")
    return head, end + tail


def _without_declarations(body: bytes, element: etree._Element) -> bytes:
    """Return an element's text without the namespaces that the message's root declares already."""
    bare = etree.tostring(etree.Element(_EVENT, nsmap=element.nsmap))
    prefix = bare.removesuffix(b"/>")
    return b"<oadr:oadrEvent" + body[len(prefix) :] if body.startswith(prefix) else body
