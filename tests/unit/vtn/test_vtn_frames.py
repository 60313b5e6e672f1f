"""Replies that are spliced say byte for byte what the codec would write, whatever the ids are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.oadr20b.errors import InvalidValue
from schemas.oadr20b.model import (
    CreatedPartyRegistration,
    EiResponse,
    Poll,
    RequestEvent,
    Response,
    UpdatedReport,
)
from schemas.oadr20b.wire import read, write
from schemas.oadr20b.xmltypes import Duration
from vtn_server.decision import Distribution, ok
from vtn_server.encoder import Encoder
from vtn_server.frames import FIRST, SECOND, Frame
from vtn_server.known_polls import KnownPolls
from vtn_server.registration import profiles

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32), max_size=12)
NOW = datetime(2018, 5, 16, 10, tzinfo=UTC)


@given(asked=IDS, ven_id=IDS)
def test_good_answers(asked: str, ven_id: str) -> None:
    encoder = Encoder()
    for kind in (Response, UpdatedReport):
        reply = kind(response=ok(asked), ven_id=ven_id)
        assert read(encoder.encode(reply)) == read(write(reply)) == reply


@given(asked=IDS, own=IDS)
def test_heads_of_distributions(asked: str, own: str) -> None:
    reply = Distribution(response=ok(asked), request_id=own, vtn_id="<vtn>", listed=(), created_at=NOW)
    assert read(Encoder().encode(reply)) == reply.message()


@pytest.mark.parametrize(("code", "description"), [("454", "OK"), ("200", None), ("200", "fine")])
def test_a_head_that_says_anything_else_is_written_whole(code: str, description: str | None) -> None:
    said = EiResponse(code=code, description=description, request_id="a")
    sent = Distribution(response=said, request_id="b", vtn_id="v", listed=(), created_at=NOW)
    encoder = Encoder()
    encoder.encode(replace(sent, response=ok("a")))
    assert read(encoder.encode(sent)) == sent.message()


def test_usual_ids_give_the_very_bytes_of_the_codec() -> None:
    reply = Response(response=ok("report-7"), ven_id="ven-1")
    assert Encoder().encode(reply) == write(reply)
    sent = Distribution(response=ok("a"), request_id="b", vtn_id="v", listed=(), created_at=NOW)
    assert Encoder().encode(sent) == write(sent.message())


def test_one_encoder_serves_many_with_ids_of_their_own() -> None:
    encoder = Encoder()
    for number in range(3):
        reply = Response(response=ok(f"r{number}"), ven_id=f"v{number}")
        assert read(encoder.encode(reply)) == reply


@pytest.mark.parametrize(
    "reply",
    [
        Response(response=EiResponse(code="452", description="no", request_id="r"), ven_id="v"),
        Response(response=EiResponse(code="200", request_id="r"), ven_id="v"),
        Response(response=ok("r")),
        UpdatedReport(response=EiResponse(code="454", description="late", request_id="r"), ven_id="v"),
    ],
)
def test_any_other_answer_is_written_whole(reply: Response | UpdatedReport) -> None:
    encoder = Encoder()
    encoder.encode(Response(response=ok("1"), ven_id="2"))
    assert read(encoder.encode(reply)) == reply


def test_an_id_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidValue, match="XML"):
        Encoder().encode(Response(response=ok("\x00"), ven_id="v"))


def test_a_frame_needs_both_ids() -> None:
    with pytest.raises(InvalidValue, match="ids"):
        Frame.of(f"<a>{SECOND}{FIRST}</a>".encode())


# --- polls that were read before ---------------------------------------------------------------------------


def test_a_poll_is_known_by_its_bytes_only() -> None:
    known, poll = KnownPolls(), Poll(ven_id="ven-1")
    body = write(poll)
    assert known.find(body) is None
    known.learn(body, poll)
    assert known.find(body) == poll
    assert known.find(body + b" ") is None


def test_nothing_but_a_short_poll_is_learned() -> None:
    known = KnownPolls()
    other = RequestEvent(request_id="1", ven_id="v")
    known.learn(write(other), other)
    assert known.find(write(other)) is None
    long = Poll(ven_id="v" * 1000)
    known.learn(write(long), long)
    assert known.find(write(long)) is None


def test_the_oldest_makes_room() -> None:
    known, polls = KnownPolls(most=2), [Poll(ven_id=f"v{k}") for k in range(3)]
    for each in polls:
        known.learn(write(each), each)
    assert [known.find(write(each)) for each in polls] == [None, *polls[1:]]


@given(asked=IDS, registration_id=IDS, ven_id=IDS)
def test_answers_to_registrations(asked: str, registration_id: str, ven_id: str) -> None:
    encoder = Encoder()
    for poll_frequency in (Duration(seconds=10), Duration(minutes=1)):
        reply = CreatedPartyRegistration(
            response=ok(asked),
            registration_id=registration_id,
            ven_id=ven_id,
            vtn_id="<vtn>",
            profiles=profiles(),
            poll_frequency=poll_frequency,
        )
        assert read(encoder.encode(reply)) == read(write(reply)) == reply
        queried = replace(reply, registration_id=None, ven_id=None)
        assert encoder.encode(queried) == write(queried)


def test_a_registration_that_failed_is_written_whole() -> None:
    refused = EiResponse(code="452", description="no", request_id="r")
    reply = CreatedPartyRegistration(
        response=refused, registration_id="a", ven_id="b", vtn_id="v", profiles=profiles()
    )
    assert Encoder().encode(reply) == write(reply)
    usual = replace(reply, response=ok("r"))
    assert Encoder().encode(usual) == write(usual)
