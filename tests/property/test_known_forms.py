"""Bodies whose form is known: what is found is what the whole way reads, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.errors import WireError
from schemas.oadr20b.model import (
    AnyMessage,
    CreatedEvent,
    CreatePartyRegistration,
    EiResponse,
    EventResponse,
    Interval,
    Poll,
    QualifiedEventId,
    Report,
    ReportPayload,
    RequestEvent,
    ResourceStatus,
    UpdateReport,
)
from schemas.oadr20b.wire import read, write
from schemas.oadr20b.xmltypes import Duration
from vtn_server.known_forms import COUNT_NAMES, ID_NAMES, NUMBER_NAMES, TIME_NAMES, KnownForms

START = datetime(2026, 3, 29, tzinfo=UTC)
TEN = timedelta(minutes=10)
XSD = "{http://www.w3.org/2001/XMLSchema}"


def interval(number: int, value: float = 1.5) -> Interval:
    return Interval(
        dtstart=START + number * TEN, duration=Duration(minutes=10), payloads=(ReportPayload.of("p", value),)
    )


def report(*intervals: Interval, request_id: str = "a", name: str | None = "TELEMETRY_USAGE") -> UpdateReport:
    data = Report(
        dtstart=START,
        duration=Duration(minutes=30),
        intervals=intervals,
        report_request_id="r",
        report_specifier_id="s",
        report_name=name,
        created_date_time=START,
    )
    return UpdateReport(request_id=request_id, reports=(data,), ven_id="v")


def answers(*events: tuple[str, int], request_id: str = "a", opt: OptType = OptType.OPT_IN) -> CreatedEvent:
    said = EiResponse(code="200", description="OK", request_id=request_id)
    given = tuple(
        EventResponse(
            code="200",
            request_id=request_id,
            qualified_event_id=QualifiedEventId(event_id=event_id, modification_number=number),
            opt_type=opt,
        )
        for event_id, number in events
    )
    return CreatedEvent(response=said, event_responses=given, ven_id="v")


USUAL = report(interval(0), interval(1), interval(2))
BODY = write(USUAL)


class Knower:
    """The forms of some bodies, and how often the whole way was gone."""

    def __init__(self, *bodies: bytes, max_bytes: int = wire.MAX_BYTES) -> None:
        self.reads = 0
        self.known = KnownForms(self._read, max_bytes=max_bytes)
        for body in bodies:
            for _ in range(2):
                self.known.learn(body, read(body))

    def _read(self, body: bytes) -> AnyMessage:
        self.reads += 1
        return read(body)


def whole_way(body: bytes) -> AnyMessage | None:
    try:
        return read(body)
    except WireError:
        return None


# --- what is known, and that it is right -------------------------------------------------------------------


def test_a_report_is_known_from_its_second_time_on() -> None:
    knower = Knower()
    knower.known.learn(BODY, USUAL)
    assert knower.known.find(BODY) is None
    knower.known.learn(BODY, USUAL)
    later = report(interval(3, -7.0), interval(4, 0.25), interval(5), request_id="other")
    assert knower.known.find(write(later)) == later
    assert knower.reads == 1  # the probe


@pytest.mark.parametrize(
    "message",
    [
        report(interval(0)),
        report(*(interval(number) for number in range(60))),
        report(replace(interval(0), uid="0"), replace(interval(1), dtstart=None)),
        report(Interval(payloads=(ReportPayload.of("p", 1.0, "Quality Good - Non Specific"),)), name=None),
        report(Interval(payloads=(ReportPayload.of("p", 1.0), ReportPayload.of("q", 2.0)))),
        replace(USUAL, reports=(*USUAL.reports, *USUAL.reports)),
        CreatePartyRegistration(request_id="r", ven_name="alice", xml_signature=False, http_pull_model=True),
        CreatePartyRegistration(request_id="r", ven_id="v", registration_id="7", xml_signature=True),
    ],
)
def test_forms_of_many_kinds(message: UpdateReport | CreatePartyRegistration) -> None:
    knower = Knower(write(message))
    other = replace(message, request_id="b", ven_id="w")
    assert knower.known.find(write(other)) == (other if message.ven_id is not None else None)
    same = replace(message, request_id="c")
    assert knower.known.find(write(same)) == same


def test_what_is_fixed_belongs_to_the_form() -> None:
    status = Interval(
        payloads=(ReportPayload(r_id="p", payload=ResourceStatus(online=True, manual_override=False)),)
    )
    for message, other in (
        (report(interval(0)), report(replace(interval(0), duration=Duration(minutes=1)))),
        (report(interval(0)), report(interval(0), name="HISTORY_USAGE")),
        (
            report(status),
            report(
                replace(
                    status,
                    payloads=(
                        ReportPayload(r_id="p", payload=ResourceStatus(online=False, manual_override=False)),
                    ),
                )
            ),
        ),
    ):
        knower = Knower(write(message))
        assert knower.known.find(write(message)) == message
        assert knower.known.find(write(other)) is None
        both = Knower(write(message), write(other))
        assert both.known.find(write(message)) == message
        assert both.known.find(write(other)) == other


TEXTS = st.one_of(
    st.sampled_from(
        (
            "", " ", "7", "07", "-0", "1.", ".5", "1e5", "INF", "NaN", "-INF", "+1", "1_0", "1,2", "0x1",
            "1" * 16, "a b",
            "2026-03-29T00:00:00Z", "2026-02-29T00:00:00Z", "2026-03-29T24:00:00Z", "2026-03-29T23:59:60Z",
            "0000-01-01T00:00:00Z", "2026-03-29T00:00:00", "2026-03-29T00:00:00.5Z", "20260329T000000Z",
            "2026-03-29T00:00:00+01:00", "2026-03-29T00:00:00Z,2026-03-29T00:00:00Z", "-2026-03-29T00:00:00Z",
            "&amp;", "&lt;x", "a]]>b", "a>b", "<!--x-->", "<x/>", "<![CDATA[x]]>", "ä", "\t", "\r\n", "\x00",
            "</ei:rID><ei:rID>", "mark3here", "7000003.5", "PT10M", "x" * 300,
        )
    ),
    st.text(max_size=8),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,17}(\.[0-9]{1,17})?", fullmatch=True),
)  # fmt: skip
BODIES = (
    BODY,
    write(
        CreatePartyRegistration(request_id="r", ven_name="alice", xml_signature=False, http_pull_model=True)
    ),
    write(answers(("e1", 0), ("e2", 12))),
    write(RequestEvent(request_id="a", ven_id="v", reply_limit=3)),
)
KNOWER = Knower(*BODIES)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(BODIES), st.data())
def test_any_text_in_any_place_means_what_the_whole_way_says(body: bytes, data: st.DataObject) -> None:
    pieces = re.split(r"(?<=>)([^<>]*)(?=</)", body.decode())
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(pieces) // 2 - 1))
        pieces[2 * place + 1] = data.draw(TEXTS)
    changed = "".join(pieces).encode("utf-8", "replace")
    found = KNOWER.known.find(changed)
    assert found is None or found == whole_way(changed)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(BODIES), st.integers(0, 10_000), st.binary(max_size=3), st.integers(0, 3))
@example(BODY, 0, b"\xef\xbb\xbf", 0)
def test_any_other_bytes_mean_what_the_whole_way_says(
    body: bytes, place: int, inserted: bytes, dropped: int
) -> None:
    at = place % len(body)
    changed = body[:at] + inserted + body[at + dropped :]
    found = KNOWER.known.find(changed)
    assert found is None or found == whole_way(changed)


numbers = st.decimals(min_value=-(10**6), max_value=10**6, places=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.datetimes(timezones=st.just(UTC)), numbers), min_size=3, max_size=3))
def test_plain_times_and_numbers_are_found_and_equal(content: Sequence[tuple[datetime, float]]) -> None:
    intervals = (
        replace(interval(0, float(value)), dtstart=start.replace(microsecond=0)) for start, value in content
    )
    body = write(report(*intervals))
    found = KNOWER.known.find(body)
    assert found == read(body)


def test_what_a_ven_says_of_events_is_known() -> None:
    knower = Knower(write(answers(("e1", 0), ("e2", 12))), write(RequestEvent(request_id="a", ven_id="v")))
    for other in (
        answers(("another", 7), ("e/2:x", 999_999_999), request_id="b"),
        replace(answers(("e1", 0), ("e1", 0)), ven_id="w"),
        RequestEvent(request_id="b", ven_id="w"),
    ):
        assert repr(knower.known.find(write(other))) == repr(other)  # 7.0 is not 7
    for unlike in (
        answers(("e1", 0)),
        answers(("e1", 0), ("e2", 12), opt=OptType.OPT_OUT),
        answers(("e1", 0), ("e2", 1_000_000_000)),  # ten digits: the whole way knows how many there may be
        answers(("e 1", 0), ("e2", 12)),
        answers(("", 0), ("e2", 12)),
        RequestEvent(request_id="b", ven_id="w", reply_limit=1),
    ):
        assert knower.known.find(write(unlike)) is None


@pytest.mark.parametrize("number", ["07", "+7", "7.0", "-0", "7 ", "4294967296", "", "1,2", "x"])
def test_only_the_plainest_of_numbers_are_known(number: str) -> None:
    body = write(answers(("e1", 7)))
    changed = body.replace(b"Number>7<", f"Number>{number}<".encode())
    assert changed != body
    found = Knower(body).known.find(changed)
    assert found == (answers(("e1", 7)) if number == "07" else None)
    assert found is None or found == whole_way(changed)


counts = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 10**9))
plain_ids = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(st.tuples(plain_ids, counts), st.tuples(plain_ids, counts), plain_ids, plain_ids)
def test_answers_are_found_and_equal(
    one: tuple[str, int], two: tuple[str, int], request_id: str, ven_id: str
) -> None:
    body = write(replace(answers(one, two, request_id=request_id), ven_id=ven_id))
    found = KNOWER.known.find(body)
    assert found is None or found == read(body)
    easy = not set("<>&") & set(one[0] + two[0] + request_id + ven_id) and max(one[1], two[1]) < 10**9
    assert (found is not None) == easy


# --- what is not learned, and bounds -----------------------------------------------------------------------


def test_what_is_not_plain_is_not_learned() -> None:
    def spoiled(change: Callable[[str], str]) -> bytes:
        return change(BODY.decode()).encode()

    for body in (
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID><!-- p -->p", 1)),
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID><![CDATA[p]]>", 1)),
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID>&#112;", 1)),
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID>p>", 1)),
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID><?x y?>p", 1)),
        spoiled(lambda text: text.replace("<ei:rID>p", "<ei:rID>ä", 1)),
        spoiled(lambda text: text.replace("T00:00:00Z", "T00:00:00.0Z", 1)),
        spoiled(lambda text: text.replace(">1.5<", ">1.5e0<", 1)),
    ):
        assert whole_way(body) is not None
        assert len(Knower(body).known) == 0
    assert len(Knower(write(Poll(ven_id="v"))).known) == 0


def test_a_text_that_is_a_mark_elsewhere_is_not_learned() -> None:
    for uid, known in (("mark0here", 0), ("mark99here", 1)):  # the requestID is the text number 0
        marked = report(replace(interval(0), uid=uid))
        assert len(Knower(write(marked)).known) == known


def test_bodies_that_are_too_long_are_not_looked_at() -> None:
    knower = Knower(BODY, max_bytes=len(BODY) - 1)
    assert len(knower.known) == 0
    shorter = Knower(BODY, max_bytes=len(BODY))
    assert shorter.known.find(BODY) == USUAL
    longer = report(interval(0), interval(1), interval(2), request_id="longer")
    assert shorter.known.find(write(longer)) is None


def test_memory_is_bounded_and_the_oldest_form_goes() -> None:
    reports = [write(report(*(interval(number) for number in range(count)))) for count in range(50, 105)]
    knower = Knower(*reports)
    assert knower.known.find(reports[0]) is None
    assert knower.known.find(reports[-1]) == read(reports[-1])
    assert 10 < len(knower.known) < len(reports)
    assert len(knower.known._cuts) == len(knower.known)
    assert knower.known._size <= 1_000_000


def test_a_form_that_is_used_stays() -> None:
    reports = [write(report(*(interval(number) for number in range(count)))) for count in range(50, 105)]
    knower = Knower(BODY)
    for body in reports:
        assert knower.known.find(BODY) == USUAL
        for _ in range(2):
            knower.known.learn(body, read(body))
    assert knower.known.find(reports[0]) is None


# --- the schema --------------------------------------------------------------------------------------------


def test_the_schema_takes_any_text_for_an_id_and_judges_times_and_numbers_by_themselves() -> None:
    """The names stand for elements of these types wherever the profile has them."""
    kinds: dict[str, set[str]] = {}
    for path in wire.schema_path().parent.glob("oadr_*.xsd"):
        if path.name in ("oadr_greenbutton.xsd", "oadr_atom.xsd"):
            continue  # refused before anything is validated
        root = etree.parse(path).getroot()
        for element in root.iter(f"{XSD}element"):
            kinds.setdefault(element.get("name", ""), set()).add(element.get("type", ""))
        for constraint in ("key", "keyref", "unique"):
            assert next(root.iter(f"{XSD}{constraint}"), None) is None
    assert all(kinds[name] == {"xs:string"} for name in ID_NAMES)
    assert all(kinds[name] == {"xcal:DateTimeType"} for name in TIME_NAMES)
    assert all(kinds[name] == {"xs:float"} for name in NUMBER_NAMES)
    assert all(kinds[name] == {"xs:unsignedInt"} for name in COUNT_NAMES)
