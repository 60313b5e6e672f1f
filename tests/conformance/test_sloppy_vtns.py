"""What real VTNs send, as bytes to our VEN: it answers, keeps what it holds, and goes on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.errors import SchemaViolation
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    MARKET,
    OK,
    FakeHome,
    Peer,
    after,
    create_report,
    created_registration,
    distribute,
    event,
    kinds,
    only,
    operational,
    request,
    session_of,
)
from ven_client.session import State

Answer = tuple[str, int, str, OptType]


class Vtn:
    """A VTN that writes its messages in ways of its own."""

    def __init__(self, **settings: object) -> None:
        self.home = FakeHome()
        self.peer = operational(self.home, **settings)
        self._minutes = 0

    def give(self, *bodies: bytes | m.AnyMessage) -> list[m.AnyMessage]:
        """Let the VEN fetch some bodies; return what it sent besides polls."""
        self._minutes += 1
        items = [wire.read(each if isinstance(each, bytes) else wire.write(each)) for each in bodies]
        sent = self.peer.give(*items, now=after(minutes=self._minutes))
        assert self.peer.session.state is State.OPERATIONAL
        return sent

    def answers(self, body: bytes | m.AnyMessage) -> list[Answer]:
        """Return what the VEN says to a set of events."""
        (created,) = only(self.give(body), m.CreatedEvent)
        return [
            (
                each.qualified_event_id.event_id,
                each.qualified_event_id.modification_number,
                each.code,
                each.opt_type,
            )
            for each in created.event_responses or ()
        ]


@pytest.fixture
def vtn() -> Vtn:
    return Vtn()


SET = wire.write(distribute(event("0010")))
IN = [("0010", 0, "200", OptType.OPT_IN)]
STRANGE = {
    "as it should be": SET,
    "unknown prefixes": SET.replace(b"oadr:", b"p7:").replace(b"xmlns:oadr", b"xmlns:p7"),
    "prefixes swapped": re.sub(
        rb"\b(ei|emix)\b(?=[:=])", lambda hit: b"emix" if hit[1] == b"ei" else b"ei", SET
    ),
    "fractions": SET.replace(b":00Z", b":00.125Z"),
    "no Z": SET.replace(b":00Z", b":00"),
    "white space": SET.replace(b"><", b">\n   <"),
    "no uid": re.sub(rb"<xcal:uid>.*?</xcal:uid>", b"", SET),
    "no context": SET.replace(MARKET.encode(), b""),
    "zeros before numbers": SET.replace(b"modificationNumber>0<", b"modificationNumber>000<"),
}


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_a_set_in_unusual_xml_is_taken_and_ids_keep_their_zeros(vtn: Vtn, body: bytes) -> None:
    assert vtn.answers(body) == IN
    assert vtn.home.holds() == ("0010",)


def test_an_empty_market_context_is_not_one_of_ours() -> None:
    vtn = Vtn(market_contexts=(MARKET,))
    assert vtn.answers(STRANGE["no context"]) == [("0010", 0, "462", OptType.OPT_OUT)]
    assert vtn.home.holds() == ()


def test_an_offset_is_refused_with_a_clear_reason() -> None:
    with pytest.raises(SchemaViolation, match=r"rule 1: times are UTC and end with Z"):
        wire.read(SET.replace(b":00Z", b":00+00:00"))


def test_an_interval_without_duration_is_the_applications_business(vtn: Vtn) -> None:
    body = re.sub(
        rb"(<(?:strm|ei):interval[^>]*>)<xcal:duration>.*?</xcal:duration>(?=<xcal:uid>)", rb"\1", SET
    )
    assert body != SET
    assert vtn.answers(body) == IN


def test_one_request_id_for_everything(vtn: Vtn) -> None:
    first = vtn.give(distribute(event("a"), request_id="same"))
    second = vtn.give(distribute(event("a"), event("b"), request_id="same"))
    assert vtn.home.holds() == ("a", "b")
    assert [len(each.event_responses or ()) for each in only([*first, *second], m.CreatedEvent)] == [1, 2]
    for k in range(2):
        (answer,) = only(vtn.give(create_report(request(f"r{k}"))), m.CreatedReport)
        assert answer.response.code == "200"
    assert vtn.peer.session.pending_reports == ("r0", "r1")


def test_a_report_that_is_asked_for_again_is_made_once(vtn: Vtn) -> None:
    for _ in range(3):
        (answer,) = only(vtn.give(create_report(request("r1"))), m.CreatedReport)
        assert (answer.response.code, answer.pending) == ("200", ("r1",))
    vtn.home.windows.clear()
    vtn.peer.run(after(minutes=10))
    assert [each for each, _ in vtn.home.windows] == ["r1"]


def test_an_event_that_comes_twice_in_a_set_is_held_once(vtn: Vtn) -> None:
    assert vtn.answers(distribute(event("a"), event("a"))) == [("a", 0, "200", OptType.OPT_IN)] * 2
    assert vtn.home.holds() == ("a",)


def test_an_older_set_that_comes_late_changes_no_event(vtn: Vtn) -> None:
    vtn.answers(distribute(event("a", 2)))
    assert vtn.answers(distribute(event("a", 1))) == [("a", 1, "450", OptType.OPT_OUT)]
    (held,) = vtn.peer.session.events
    assert held.event.descriptor.modification_number == 2


def test_a_set_that_says_it_failed_cancels_nothing(vtn: Vtn) -> None:
    vtn.answers(distribute(event("a")))
    failed = replace(distribute(), response=m.EiResponse(code="469", request_id=""))
    assert vtn.give(failed) == []
    assert vtn.home.holds() == ("a",)
    assert vtn.give(distribute()) == []
    assert vtn.home.holds() == ()  # a set without events is an implied cancellation (r61)


def test_answers_nobody_waits_for_are_passed_over(vtn: Vtn) -> None:
    vtn.answers(distribute(event("a")))
    strays: tuple[m.AnyMessage, ...] = (
        m.UpdatedReport(response=OK),
        m.RegisteredReport(response=OK),
        m.CreatedOpt(response=OK, opt_id="x"),
        m.CanceledOpt(response=OK, opt_id="x"),
        m.CanceledReport(response=OK),
    )
    assert vtn.give(*strays) == []
    assert vtn.home.holds() == ("a",)


def test_a_registration_reply_with_the_least_the_schema_asks_for() -> None:
    home = FakeHome()
    session = session_of(home)
    session.begin(after())
    peer = Peer(session)
    bare = replace(created_registration(), poll_frequency=None)
    peer.replies[m.CreatePartyRegistration] = wire.read(wire.write(bare))
    assert kinds(peer.run(after()))[:2] == ["CreatePartyRegistration", "RegisterReport"]
    assert session.state is State.OPERATIONAL
    assert session.next_send(after()) == after(minutes=1)  # its own idle period


def test_a_duration_of_many_spellings_is_the_same_nothing(vtn: Vtn) -> None:
    open_ended = wire.write(distribute(event("0010", duration=Duration())))
    for text in (b"PT0M", b"P0D", b"PT0H0M0S"):
        assert vtn.answers(open_ended.replace(b"PT0S", text)) == IN
        (held,) = vtn.peer.session.events
        assert held.event.active_period.duration.is_zero
