"""Date-times and durations, by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.xmltypes import Duration, format_datetime, parse_datetime


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-05-16T10:20:30Z", "2018-05-16T10:20:30"),
        ("2018-05-16T10:20:30", "2018-05-16T10:20:30"),  # no Z: read as UTC
        ("2018-05-16T10:20:30.999999999Z", "2018-05-16T10:20:30"),  # fractions are dropped, not rounded
        ("2018-05-16T10:20:30.Z", "2018-05-16T10:20:30"),
        ("  2018-05-16T10:20:30Z\n", "2018-05-16T10:20:30"),
        ("2018-05-16T24:00:00Z", "2018-05-17T00:00:00"),
        ("2018-12-31T24:00:00Z", "2019-01-01T00:00:00"),
        ("2020-02-29T00:00:00Z", "2020-02-29T00:00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"),
    ],
)
def test_date_times_that_are_read(text: str, expected: str) -> None:
    assert parse_datetime(text) == at(expected)
    assert parse_datetime(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00Z",  # no year 0
        "-0001-01-01T00:00:00Z",
        "9999-12-31T24:00:00Z",  # the year 10000
        "12018-05-16T00:00:00Z",
        "2019-02-29T00:00:00Z",
        "2018-13-01T00:00:00Z",
        "2018-05-16T24:00:01Z",
        "2018-05-16T25:00:00Z",
        "2018-05-16T10:60:00Z",
        "2018-05-16T10:20:60Z",
        "2018-05-16T10:20:30+00:00",  # offsets are forbidden (r1)
        "2018-05-16T10:20:30+02:00",
        "2018-05-16 10:20:30Z",
        "2018-05-16",
        "٢٠١٨-05-16T10:20:30Z",
        "",
    ],
)
def test_date_times_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_datetime(text)


def test_date_times_are_written_in_utc_with_a_z_and_whole_seconds() -> None:
    when = datetime(2018, 5, 16, 1, 2, 3, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_datetime(when) == "2018-05-15T23:02:03Z"
    assert format_datetime(at("0033-01-01")) == "0033-01-01T00:00:00Z"


def test_date_times_without_zone_or_outside_the_calendar_are_not_written() -> None:
    with pytest.raises(InvalidValue):
        format_datetime(datetime(2018, 5, 16))  # noqa: DTZ001  # that is the case under test
    with pytest.raises(InvalidValue):
        format_datetime(datetime.min.replace(tzinfo=timezone(timedelta(hours=1))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1Y2M3DT4H5M6S", Duration(years=1, months=2, days=3, hours=4, minutes=5, seconds=6)),
        ("P5M", Duration(months=5)),
        ("PT5M", Duration(minutes=5)),
        ("P1D5M", Duration(days=1, minutes=5)),  # the schema lets the T be left out
        ("P1M2M", Duration(months=1, minutes=2)),
        ("5W", Duration(days=35)),  # the schema's own form of weeks
        ("0W", Duration()),
        ("P", Duration()),
        ("PT", Duration()),
        ("PT0S", Duration()),
        ("PT0M", Duration()),
        ("P0D", Duration()),
        ("-P", Duration()),
        ("-PT0S", Duration()),
        ("+PT10M", Duration(minutes=10)),
        ("-PT10M", Duration(negative=True, minutes=10)),
        ("PT90M", Duration(minutes=90)),  # kept as it was said
        ("PT007S", Duration(seconds=7)),
        ("P" + "0" * 10_000 + "7D", Duration(days=7)),
        ("P999999999D", Duration(days=999_999_999)),
    ],
)
def test_durations_that_are_read(text: str, expected: Duration) -> None:
    assert Duration.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "5M",
            "P1W",
            "PT1.5S",
            "P-1D",
            "--P1D",
            "PT1S1M",
            "P1D1Y",
            "P5WT1S",
            "-5W",
            "P٣D",
            "p1d",
            "P 1D",
        ),
        *("P1000000000D", "9999999999W", "142857143W", "P" + "9" * 5000 + "D"),
    ],
)
def test_durations_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Duration.parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration(), "PT0S"),
        (Duration(minutes=10), "PT10M"),
        (Duration(hours=1), "PT1H"),
        (Duration(days=7), "P7D"),
        (Duration(months=5, minutes=5), "P5MT5M"),
        (Duration(negative=True, seconds=1), "-PT1S"),
        (Duration(years=1, months=2, days=3, hours=4, minutes=5, seconds=6), "P1Y2M3DT4H5M6S"),
    ],
)
def test_durations_are_written_in_one_form(duration: Duration, text: str) -> None:
    assert str(duration) == text


@pytest.mark.parametrize("part", [-1, 10**9])
def test_parts_out_of_range_are_refused(part: int) -> None:
    with pytest.raises(InvalidValue):
        Duration(days=part)


def test_timedelta_there_and_back() -> None:
    delta = timedelta(days=1, hours=2, minutes=3, seconds=4)
    assert Duration.of(delta) == Duration(days=1, hours=2, minutes=3, seconds=4)
    assert Duration.of(-delta).timedelta() == -delta
    assert Duration.of(timedelta()) == Duration()
    with pytest.raises(InvalidValue):
        Duration.of(timedelta(microseconds=1))


@pytest.mark.parametrize("duration", [Duration(months=1), Duration(years=1, seconds=1)])
def test_months_and_years_have_no_fixed_length(duration: Duration) -> None:
    with pytest.raises(InvalidValue):
        duration.timedelta()


def test_too_long_a_length_is_a_typed_error() -> None:
    with pytest.raises(InvalidValue):
        Duration(days=999_999_999, hours=999_999_999).timedelta()


@pytest.mark.parametrize(
    ("start", "text", "expected"),
    [
        ("2018-01-31T10:00:00", "P1M", "2018-02-28T10:00:00"),  # the end of a shorter month
        ("2020-01-31T10:00:00", "P1M", "2020-02-29T10:00:00"),
        ("2018-01-31T10:00:00", "P2M", "2018-03-31T10:00:00"),  # in one go, not by way of February
        ("2020-02-29T00:00:00", "P1Y", "2021-02-28T00:00:00"),
        ("2020-02-29T00:00:00", "P4Y", "2024-02-29T00:00:00"),
        ("2018-12-15T00:00:00", "P1M", "2019-01-15T00:00:00"),
        ("2018-01-15T00:00:00", "-P1M", "2017-12-15T00:00:00"),
        ("2018-03-31T00:00:00", "-P1M", "2018-02-28T00:00:00"),
        ("2018-01-31T00:00:00", "P1M1D", "2018-03-01T00:00:00"),  # months first, then days
        ("2018-05-16T23:55:00", "PT10M", "2018-05-17T00:05:00"),
        ("2018-05-16T00:05:00", "-PT10M", "2018-05-15T23:55:00"),
        ("2018-03-25T00:30:00", "P1D", "2018-03-26T00:30:00"),  # no summer time in UTC
        ("2018-05-16T00:00:00", "5W", "2018-06-20T00:00:00"),
        ("2018-05-16T00:00:00", "PT0S", "2018-05-16T00:00:00"),
    ],
)
def test_calendar_arithmetic(start: str, text: str, expected: str) -> None:
    assert Duration.parse(text).after(at(start)) == at(expected)


@pytest.mark.parametrize("text", ["P8000Y", "-P2018Y", "P999999999M", "P999999999D", "-P999999999D"])
def test_arithmetic_outside_the_calendar_is_a_typed_error(text: str) -> None:
    with pytest.raises(InvalidValue):
        Duration.parse(text).after(at("2018-05-16"))
