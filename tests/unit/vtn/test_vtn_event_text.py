"""Events that are filled into a form are, byte for byte, what the codec writes for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.oadr20b.codec import encode_element
from schemas.oadr20b.enums import EventStatus
from schemas.oadr20b.model import DistributeEvent
from schemas.oadr20b.values import Element
from schemas.oadr20b.wire import read, write
from tests.unit.vtn.rig import START, draft, price_signal
from vtn_server import event as rules
from vtn_server import event_text
from vtn_server.event import wire_event
from vtn_server.event_text import EventTexts
from vtn_server.records import EventDraft, EventRecord

SECOND = timedelta(seconds=1)
BEFORE = START - timedelta(days=1)
VALUES = st.tuples(*(st.floats(-1e6, 1e6, allow_nan=False),) * 3)
WORDS = st.one_of(
    st.none(),
    st.sampled_from(("7000000.5", "4123456789 1911-01-01T00:00:00Z", "100 %", "%b%s", "<&>", "7000001.5")),
    st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=8),
)


def changed(record: EventRecord, values: tuple[float, ...], now: datetime) -> EventRecord:
    return rules.modify(record, (price_signal(values),), now)


def whole(record: EventRecord, status: EventStatus, created_at: datetime) -> bytes:
    return event_text.event_text(wire_event(record, status, created_at))


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5), WORDS, st.booleans())
@example([(7000000.5, 7000001.5, 7000002.5), (1.0, 7000000.5, 2.0)], "7000000.5", True)
@example([(1.0, 2.0, 3.0), (3.0, 2.0, 1.0)], "%b", False)
def test_every_version_is_what_the_codec_writes(
    versions: list[tuple[float, ...]], comment: str | None, ends: bool
) -> None:
    texts = EventTexts()
    wanted = replace(draft("e", values=(0.0, 0.0, 0.0), start=START), comment=comment)
    record = rules.publish(wanted, BEFORE)
    for number, values in enumerate(versions):
        record = changed(record, values, BEFORE + number * SECOND)
        for status in (EventStatus.FAR, EventStatus.ACTIVE):
            for created_at in (record.modified_at, START):
                assert texts.of(record, status, created_at) == whole(record, status, created_at)
    if ends:
        record = rules.cancel(record, BEFORE + 10 * SECOND)
        assert texts.of(record, EventStatus.CANCELLED, START) == whole(record, EventStatus.CANCELLED, START)


def test_an_event_that_changes_is_encoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []

    def counted(value: object, tag: str) -> Element:
        encoded.append(value)
        return encode_element(value, tag)

    monkeypatch.setattr(event_text, "encode_element", counted)
    texts, record = EventTexts(), rules.publish(draft("e", values=(1.0, 2.0), start=START), BEFORE)
    texts.of(record, EventStatus.FAR, BEFORE)
    for number in range(10):
        record = changed(record, (float(number), 7.0), BEFORE + number * SECOND)
        body = texts.of(record, EventStatus.FAR, record.modified_at)
        assert f"<ei:value>{float(number)!r}</ei:value>".encode() in body
    assert len(encoded) == 2  # the first version, and the form of all others


def test_events_of_one_name_do_not_share_a_form() -> None:
    """An operator may make an event anew once the old one has left memory."""
    texts = EventTexts()

    def made(comment: str, values: tuple[float, ...]) -> EventRecord:
        wanted = replace(draft("e", values=values, start=START), comment=comment)
        return changed(rules.publish(wanted, BEFORE), tuple(each + 1.0 for each in values), BEFORE + SECOND)

    for record in (made("one", (1.0, 2.0)), made("two", (1.0, 2.0)), made("two", (1.0, 2.0, 3.0))):
        assert texts.of(record, EventStatus.FAR, BEFORE) == whole(record, EventStatus.FAR, BEFORE)


def test_signals_of_another_length_are_written_whole() -> None:
    texts, record = EventTexts(), rules.publish(draft("e", values=(1.0, 2.0), start=START), BEFORE)
    record = changed(record, (3.0, 4.0), BEFORE)
    texts.of(record, EventStatus.FAR, BEFORE)
    longer = replace(record.versions[-1], signals=(price_signal((1.0, 2.0, 3.0)),))
    odd = EventRecord(draft=record.draft, versions=(*record.versions, longer))
    assert texts.of(odd, EventStatus.FAR, BEFORE) == whole(odd, EventStatus.FAR, BEFORE)


def test_the_number_of_forms_is_bounded() -> None:
    texts = EventTexts(kept=3)

    def named(name: str) -> EventDraft:
        return draft(name, values=(1.0,), start=START)

    for number in range(6):
        record = changed(rules.publish(named(f"e{number}"), BEFORE), (2.0,), BEFORE)
        assert texts.of(record, EventStatus.FAR, BEFORE) == whole(record, EventStatus.FAR, BEFORE)
    assert len(texts) == 3


def test_what_is_filled_is_valid_in_a_message() -> None:
    texts, record = EventTexts(), rules.publish(draft("e", values=(1.0, 2.0), start=START), BEFORE)
    record = changed(record, (3.0, 4.0), BEFORE)
    event = wire_event(record, EventStatus.FAR, BEFORE)
    sent = DistributeEvent(request_id="r", vtn_id="v", events=(event,))
    body = write(sent)
    assert texts.of(record, EventStatus.FAR, BEFORE) in body
    assert read(body) == sent
