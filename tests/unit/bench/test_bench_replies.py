"""The check of replies: good ones pass, and each kind of wrong one is caught by its body."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from feederloop.bench.load import BenchError, ProcessClock
from feederloop.bench.messages import answer_to, metadata, registration, report, said
from feederloop.bench.model import Kind
from feederloop.bench.replies import Expected, fault
from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, ResponseRequired
from schemas.oadr20b.model import (
    AnyMessage,
    DistributeEvent,
    EiResponse,
    Response,
    UpdatedReport,
)
from tests.unit.vtn.rig import START, draft
from vtn_server.event import publish, wire_event

VEN = "ven-000"
EMPTY = Expected(kind=Kind.EMPTY_POLL, ven_id=VEN)


def wrong(expected: Expected, message: AnyMessage) -> str:
    return fault(expected, 200, wire.write(message)) or ""


def test_a_good_reply_passes() -> None:
    assert wrong(EMPTY, Response(response=said(""), ven_id=VEN)) == ""
    assert wrong(EMPTY, Response(response=said(""))) == ""
    done = UpdatedReport(response=said("1"), ven_id=VEN)
    assert wrong(Expected(kind=Kind.REPORT_60, ven_id=VEN), done) == ""


def test_a_status_is_not_enough_and_a_wrong_one_too_much() -> None:
    assert fault(EMPTY, 503, wire.write(Response(response=said("")))) == "status 503"
    assert "not XML" in (fault(EMPTY, 200, b"") or "")
    assert "not an oadrResponse" in (fault(EMPTY, 200, b"<html/>") or "")


def test_another_message_is_caught() -> None:
    assert "not an oadrResponse" in wrong(EMPTY, UpdatedReport(response=said("1"), ven_id=VEN))


def test_an_error_in_a_good_status_is_caught() -> None:
    assert wrong(EMPTY, Response(response=EiResponse(code="452", request_id=""))) == "responseCode 452"


def test_a_reply_for_somebody_else_is_caught() -> None:
    assert wrong(EMPTY, Response(response=said(""), ven_id="ven-001")) == "for ven-001, not ven-000"


def test_a_missing_signature_is_caught() -> None:
    assert wrong(replace(EMPTY, signed=True), Response(response=said(""))) == "not signed"


def distribution(*event_ids: str, intervals: int = 6) -> DistributeEvent:
    values = [0.1] * intervals
    records = [publish(draft(each, values=values), START) for each in event_ids]
    events = tuple(wire_event(each, EventStatus.FAR, START) for each in records)
    return DistributeEvent(response=said(""), request_id="d", vtn_id="vtn", events=events)


EVENT = Expected(kind=Kind.EVENT_POLL, ven_id=VEN, version=0)


def test_the_one_event_passes() -> None:
    assert wrong(EVENT, distribution("e")) == ""


def test_an_empty_answer_where_an_event_was_due_is_caught() -> None:
    assert "not an oadrDistributeEvent" in wrong(EVENT, Response(response=said("")))
    assert wrong(EVENT, distribution()) == "0 events, not one"


def test_an_event_too_many_an_old_version_and_a_lost_interval_are_caught() -> None:
    assert wrong(EVENT, distribution("e", "f")) == "2 events, not one"
    assert wrong(replace(EVENT, version=3), distribution("e")) == "modificationNumber 0, not 3"
    assert wrong(EVENT, distribution("e", intervals=5)) == "5 intervals, not 6"


def test_the_messages_are_valid() -> None:
    for message in (metadata(VEN), registration(VEN, signed=True), report(VEN, "r", 7, 60)):
        assert wire.read(wire.write(message)) == message


def test_no_two_reports_say_the_same() -> None:
    first, second = report(VEN, "r", 0, 60).reports[0], report(VEN, "r", 60, 60).reports[0]
    assert first.intervals is not None
    assert second.intervals is not None
    assert first.intervals[-1].dtstart is not None
    assert second.dtstart == first.intervals[-1].dtstart + timedelta(minutes=1)


def test_an_event_that_wants_no_answer_gets_none() -> None:
    sent = distribution("e")
    answer = answer_to(sent, VEN)
    assert answer is not None
    assert answer.event_responses is not None
    assert [each.qualified_event_id.event_id for each in answer.event_responses] == ["e"]
    quiet = tuple(replace(each, response_required=ResponseRequired.NEVER) for each in sent.events)
    assert answer_to(replace(sent, events=quiet), VEN) is None


# --- CPU ---------------------------------------------------------------------------------------------------


def test_the_clock_of_a_process_is_that_of_its_cpu() -> None:
    clock = ProcessClock(os.getpid())
    before_s, own_s = clock.now_s(), time.process_time()
    while time.process_time() - own_s < 0.05:
        pass
    used_s = clock.now_s() - before_s
    assert 0.05 <= used_s <= time.process_time() - own_s + 0.05


def test_a_process_that_is_not_there_is_refused() -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        ProcessClock(2**22 + 1)
