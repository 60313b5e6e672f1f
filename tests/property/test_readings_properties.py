"""Stored readings against a dictionary: the last one written counts, however the rows overlap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, func
from sqlmodel import select

from schemas.oadr20b.model import ResourceStatus
from schemas.oadr20b.xmltypes import Duration
from vtn_server import sqlprune
from vtn_server.blocks import SPAN, block_rows
from vtn_server.decision import AddReadings
from vtn_server.rows import RowForms
from vtn_server.series import Series, series_of
from vtn_server.sqlreadings import all_readings, readings_between
from vtn_server.sqlwrite import write_all
from vtn_server.state import Reading, VenId
from vtn_server.tables import Base, ReadingBlockRow

START = datetime(2026, 3, 29, tzinfo=UTC)
FORMS = RowForms()
Key = tuple[datetime, str, str]

minutes = st.integers(0, 200).map(lambda number: START + timedelta(minutes=number))
odd = st.integers(0, 3 * 3600 * 10**6).map(lambda number: START + timedelta(microseconds=number))
durations = st.sampled_from((None, Duration(minutes=1), Duration(months=1), Duration()))
floats = st.floats(allow_nan=False) | st.none()
statuses = st.none() | st.builds(ResourceStatus, online=st.booleans(), manual_override=st.booleans())


@st.composite
def reports(draw: st.DrawFn) -> tuple[Reading, ...]:
    """Draw what one report brings, of one or two rIDs, perhaps with a start twice."""
    first = Reading(
        ven_id=VenId(draw(st.sampled_from("ab"))),
        report_request_id=draw(st.sampled_from(("r", "ä"))),
        report_specifier_id="meter",
        report_name="TELEMETRY_USAGE",
        r_id="",
        start=START,
        duration=None,
        value=None,
        status=None,
        data_quality=None,
        received_at=draw(odd),
    )
    regular = st.builds(
        lambda start, step, count: tuple(start + number * timedelta(minutes=step) for number in range(count)),
        minutes,
        st.integers(1, 20),
        st.integers(1, 12),
    )
    starts = draw(regular | st.lists(minutes | odd, min_size=1, max_size=6).map(tuple))
    return tuple(
        replace(
            first,
            r_id=draw(st.sampled_from("pq")),
            start=start,
            duration=draw(durations),
            value=draw(floats),
            status=draw(statuses),
            data_quality=draw(st.sampled_from((None, "good"))),
        )
        for start in starts
    )


def key(reading: Reading) -> Key:
    return reading.start, reading.ven_id, reading.r_id


@contextmanager
def tables() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            Base.metadata.create_all(connection)
            yield connection
    finally:
        engine.dispose()


def store(connection: Connection, *commits: tuple[Reading, ...]) -> dict[Key, Reading]:
    """Write reports one after the other; return what should be there."""
    expected: dict[Key, Reading] = {}
    for readings in commits:
        write_all(connection, FORMS, [AddReadings(series=series_of(readings))])
        expected.update((key(each), each) for each in readings)
    return expected


@settings(max_examples=60, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=6), minutes, minutes)
def test_every_window_shows_what_was_written_last(
    commits: list[tuple[Reading, ...]], one: datetime, other: datetime
) -> None:
    with tables() as connection:
        expected = store(connection, *commits)
        for start, end in ((min(one, other), max(one, other)), (START, START + timedelta(days=1))):
            inside = sorted(each for each in expected if start <= each[0] < end)
            found = readings_between(connection, "meter", start, end, None)
            assert found == tuple(expected[each] for each in inside)
            mine = readings_between(connection, "meter", start, end, VenId("a"))
            assert mine == tuple(each for each in found if each.ven_id == "a")
        assert readings_between(connection, "other", START, START + timedelta(days=1), None) == ()
        dumped = list(all_readings(connection))
    assert sorted(dumped, key=key) == [expected[each] for each in sorted(expected)]


@settings(max_examples=30, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=4))
def test_a_report_that_is_sent_again_is_there_once(commits: list[tuple[Reading, ...]]) -> None:
    with tables() as connection:
        count = select(func.count()).select_from(ReadingBlockRow)
        store(connection, *commits)
        before = connection.execute(count).scalar_one()
        expected = store(connection, *commits)
        assert connection.execute(count).scalar_one() == before
        found = readings_between(connection, "meter", START, START + timedelta(days=1), None)
    assert found == tuple(expected[each] for each in sorted(expected))


@settings(max_examples=30, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=5), minutes)
def test_what_is_pruned_is_old_and_what_is_left_is_young(
    commits: list[tuple[Reading, ...]], limit: datetime
) -> None:
    with tables() as connection:
        expected = store(connection, *commits)
        while sqlprune.STEPS[0](connection, limit, None).readings:
            pass
        left = {key(each): each for each in all_readings(connection)}
    for each, reading in expected.items():
        if reading.start >= limit:
            assert left[each] == reading
        if reading.start < limit - SPAN:
            assert each not in left
        if each in left:  # a little longer than it has to, but never what was corrected
            assert left[each] == reading


def test_a_correction_is_not_deleted_before_what_it_corrects() -> None:
    def reading(number: int, value: float) -> Reading:
        return Reading(
            ven_id=VenId("a"),
            report_request_id="r",
            report_specifier_id="meter",
            report_name="TELEMETRY_USAGE",
            r_id="p",
            start=START + timedelta(minutes=number),
            duration=Duration(minutes=1),
            value=value,
            status=None,
            data_quality=None,
            received_at=START,
        )

    with tables() as connection:
        store(connection, tuple(reading(number, 1.0) for number in range(30, 90)), (reading(35, 2.0),))
        sqlprune.STEPS[0](connection, START + timedelta(minutes=59), None)
        found = {each.start: each.value for each in all_readings(connection)}
        assert found[START + timedelta(minutes=35)] == 2.0
        assert sqlprune.STEPS[0](connection, START + timedelta(minutes=61), None).readings == 31
        left = list(all_readings(connection))
    assert [each.start for each in left] == [START + timedelta(minutes=each) for each in range(60, 90)]


@given(reports())
def test_rows_cover_less_than_an_hour_and_hold_a_series_whole(readings: tuple[Reading, ...]) -> None:
    for series in series_of(readings):
        rows = list(block_rows(series))
        assert sum(int(row["count"] or 0) for row in rows) == len(series)
        for row in rows:
            first, last = (datetime.fromisoformat(str(row[name])) for name in ("start", "last"))
            assert timedelta() <= last - first < SPAN
            assert first.hour == last.hour


def test_sixty_minutes_are_one_row_and_the_last_hour_of_all_is_no_trouble() -> None:
    def series(start: datetime, count: int) -> Series:
        (found,) = series_of(
            Reading(
                ven_id=VenId("a"),
                report_request_id="r",
                report_specifier_id="meter",
                report_name="TELEMETRY_USAGE",
                r_id="p",
                start=start + number * timedelta(minutes=1),
                duration=Duration(minutes=1),
                value=0.1 * number,
                status=None,
                data_quality=None,
                received_at=START,
            )
            for number in range(count)
        )
        return found

    (row,) = block_rows(series(START, 60))
    assert (row["layout"], row["count"]) == ("60x60", 60)
    assert len(str(row["body"])) < 1000
    assert [each["count"] for each in block_rows(series(START, 61))] == [60, 1]
    end = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    with tables() as connection:
        last = tuple(series(end, 30).readings())
        store(connection, last)
        assert tuple(all_readings(connection)) == last
        assert readings_between(connection, "meter", end, end + timedelta(minutes=2), None) == last[:2]
        first = datetime(1, 1, 1, tzinfo=UTC)
        assert readings_between(connection, "meter", first, START, None) == ()


@pytest.mark.parametrize("minutes_of_starts", [(0, 50, 55), (0, 59), (58, 59), (0, 30, 59)])
def test_odd_steps_at_the_end_of_the_calendar_are_stored(minutes_of_starts: tuple[int, ...]) -> None:
    """Two more of the first step would lie beyond it, which no VEN must be able to stop a store with."""
    hour = datetime(9999, 12, 31, 23, tzinfo=UTC)
    reading = Reading(
        ven_id=VenId("a"),
        report_request_id="r",
        report_specifier_id="meter",
        report_name="TELEMETRY_USAGE",
        r_id="p",
        start=hour,
        duration=None,
        value=1.0,
        status=None,
        data_quality=None,
        received_at=START,
    )
    written = tuple(replace(reading, start=hour + timedelta(minutes=each)) for each in minutes_of_starts)
    with tables() as connection:
        store(connection, written)
        assert tuple(all_readings(connection)) == written
