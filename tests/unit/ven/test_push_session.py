"""The session of a push VEN: no polls, synchronous replies, and what follows from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import ApplicationError, NotRecognised, TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    OK,
    T0,
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
from ven_client.receiving import SERVICES, check_service, refusal
from ven_client.session import State
from ven_client.settings import VenConfig

ADDRESS = "http://home-1.example:8081/ven"
VTN_METADATA = m.RegisterReport(request_id="v1", ven_id="ven-1")
CANCEL = m.CancelPartyRegistration(request_id="v2", registration_id="reg-1", ven_id="ven-1")


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, push_address=ADDRESS)


def code_and_kind(reply: m.AnyMessage | None) -> tuple[str, str]:
    assert reply is not None
    response = getattr(reply, "response", None)
    assert isinstance(response, m.EiResponse)
    return type(reply).__name__, response.code


# --- bootstrap ----------------------------------------------------------------------------------------------


def test_r402_a_push_ven_says_where_it_listens(peer: Peer) -> None:
    (registration,) = only(peer.sent, m.CreatePartyRegistration)
    assert registration.http_pull_model is False
    assert registration.transport_address == ADDRESS


def test_r500_it_never_polls(peer: Peer) -> None:
    assert kinds(peer.sent) == ["CreatePartyRegistration", "RegisterReport", "RequestEvent"]
    assert peer.session.next_due(T0) is None
    assert peer.run(after(days=1)) == []


def test_a_report_only_ven_is_operational_after_its_metadata(home: FakeHome) -> None:
    peer = operational(home, push_address=ADDRESS, report_only=True)
    assert kinds(peer.sent) == ["CreatePartyRegistration", "RegisterReport"]


@pytest.mark.parametrize("kind", [m.RegisterReport, m.RequestEvent])
def test_a_refused_bootstrap_message_does_not_stop_it(home: FakeHome, kind: type[m.Message]) -> None:
    session = session_of(home, push_address=ADDRESS)
    session.begin(T0)
    for _ in range(10):
        message = session.take(T0)
        if message is None:
            break
        if isinstance(message, kind):
            session.on_failure(message, TransportError("HTTP status 404", 404), T0)
        else:
            Peer(session).session.on_reply(message, _usual(message), T0)
    assert session.state is State.OPERATIONAL


def _usual(message: m.AnyMessage) -> m.AnyMessage:
    match message:
        case m.CreatePartyRegistration():
            return created_registration()
        case m.RegisterReport():
            return m.RegisteredReport(response=OK)
    return distribute()


def test_an_address_must_be_a_url() -> None:
    with pytest.raises(ValueError, match="push_address"):
        VenConfig(ven_name="x", push_address="home-1:8081")


# --- what the VTN posts -------------------------------------------------------------------------------------


def test_events_get_an_empty_answer_and_opts_of_their_own(peer: Peer, home: FakeHome) -> None:
    assert peer.session.receive(distribute(event()), after(minutes=1)) is None
    assert home.holds() == ("e1",)
    (created,) = peer.run(after(minutes=1))
    assert isinstance(created, m.CreatedEvent)
    assert created.event_responses is not None
    assert created.event_responses[0].request_id == "d1"


def test_r35_a_wrong_vtn_id(peer: Peer, home: FakeHome) -> None:
    assert peer.session.receive(distribute(event(), vtn_id="other"), T0) is None
    (created,) = peer.run(T0)
    assert code_and_kind(created) == ("CreatedEvent", "452")
    assert home.told == []


def test_metadata_of_the_vtn(peer: Peer) -> None:
    assert code_and_kind(peer.session.receive(VTN_METADATA, T0)) == ("RegisteredReport", "200")
    assert peer.run(T0) == []


def test_a_request_is_acknowledged_then_served(peer: Peer) -> None:
    once = request(back=Duration())
    reply = peer.session.receive(create_report(once), T0)
    assert code_and_kind(reply) == ("CreatedReport", "200")
    assert kinds(peer.run(T0)) == ["UpdateReport"]


def test_periodic_data_needs_no_poll(peer: Peer) -> None:
    peer.session.receive(create_report(request()), T0)
    assert peer.session.next_due(T0) == after(minutes=10)
    assert kinds(peer.run(after(minutes=10))) == ["UpdateReport"]
    cancel = m.CancelReport(request_id="x", report_request_ids=("r1",), report_to_follow=False)
    assert code_and_kind(peer.session.receive(cancel, after(minutes=11))) == ("CanceledReport", "200")
    assert peer.session.next_due(after(minutes=11)) is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (m.RegisterReport(request_id="x", ven_id="ven-2"), "RegisteredReport"),
        (create_report(request(), ven_id="ven-2"), "CreatedReport"),
        (m.RequestReregistration(ven_id="ven-2"), "Response"),
        (m.CancelPartyRegistration(request_id="x", registration_id="reg-1", ven_id="ven-2"), "Canceled"),
        (m.CancelPartyRegistration(request_id="x", registration_id="reg-9", ven_id="ven-1"), "Canceled"),
    ],
)
def test_wrong_ids_are_452_and_change_nothing(peer: Peer, message: m.AnyMessage, kind: str) -> None:
    found, code = code_and_kind(peer.session.receive(message, T0))
    assert found.startswith(kind)
    assert code == "452"
    assert peer.session.state is State.OPERATIONAL
    assert peer.run(T0) == []


def test_reregistration_on_demand(peer: Peer) -> None:
    reply = peer.session.receive(m.RequestReregistration(ven_id="ven-1"), T0)
    assert code_and_kind(reply) == ("Response", "200")
    (registration,) = peer.run(T0)
    assert isinstance(registration, m.CreatePartyRegistration)
    assert (registration.registration_id, registration.ven_id) == ("reg-1", "ven-1")
    assert registration.http_pull_model is False


def test_r407_cancellation_by_the_vtn(peer: Peer, home: FakeHome) -> None:
    peer.session.receive(distribute(event()), T0)
    reply = peer.session.receive(CANCEL, T0)
    assert code_and_kind(reply) == ("CanceledPartyRegistration", "200")
    assert peer.session.state is State.UNREGISTERED
    assert peer.run(T0) == []  # the answer has gone with the exchange
    assert home.holds() == ()
    assert peer.session.next_due(T0) == after(minutes=10)


def test_r405_an_unregistered_ven_refuses(home: FakeHome) -> None:
    session = session_of(home, push_address=ADDRESS)
    assert code_and_kind(session.receive(VTN_METADATA, T0)) == ("RegisteredReport", "463")
    assert code_and_kind(session.receive(create_report(request()), T0)) == ("CreatedReport", "463")
    assert code_and_kind(session.receive(distribute(event()), T0)) == ("Response", "463")
    assert home.told == []
    assert session.take(T0) is None


@pytest.mark.parametrize("message", [m.RequestEvent(request_id="x", ven_id="ven-1"), m.Poll(ven_id="ven-1")])
def test_what_only_a_ven_sends(peer: Peer, message: m.AnyMessage) -> None:
    assert code_and_kind(peer.session.receive(message, T0)) == ("Response", "459")


def test_a_late_answer_is_taken_in_silence(peer: Peer) -> None:
    assert peer.session.receive(m.Response(response=OK), T0) is None
    assert peer.run(T0) == []


def test_a_cancellation_that_crosses_a_registration(peer: Peer) -> None:
    peer.session.receive(m.RequestReregistration(ven_id="ven-1"), T0)
    under_way = peer.session.take(T0)
    assert under_way is not None
    peer.session.receive(CANCEL, T0)
    peer.session.on_reply(under_way, created_registration(), T0)
    assert peer.session.state is State.UNREGISTERED
    assert peer.session.registration_id is None


def test_a_cancellation_from_both_sides(peer: Peer) -> None:
    peer.session.cancel_registration()
    under_way = peer.session.take(T0)
    assert under_way is not None
    peer.session.receive(CANCEL, T0)
    peer.session.on_reply(under_way, m.CanceledPartyRegistration(response=OK), T0 + timedelta(seconds=1))
    assert peer.session.state is State.UNREGISTERED


# --- tables -------------------------------------------------------------------------------------------------


def test_services_of_a_push_ven() -> None:
    assert {ServiceName.EI_EVENT, ServiceName.EI_REPORT, ServiceName.EI_REGISTER_PARTY} == SERVICES


@pytest.mark.parametrize(
    ("message", "service", "kind"),
    [
        (distribute(), ServiceName.EI_REPORT, "Response"),
        (VTN_METADATA, ServiceName.EI_EVENT, "RegisteredReport"),
        (create_report(request()), ServiceName.EI_EVENT, "CreatedReport"),
        (
            m.CancelReport(request_id="x", report_request_ids=("r1",), report_to_follow=False),
            ServiceName.EI_EVENT,
            "CanceledReport",
        ),
        (m.UpdateReport(request_id="x"), ServiceName.EI_EVENT, "UpdatedReport"),
        (CANCEL, ServiceName.EI_REPORT, "CanceledPartyRegistration"),
    ],
)
def test_the_wrong_service(message: m.AnyMessage, service: ServiceName, kind: str) -> None:
    with pytest.raises(NotRecognised) as caught:
        check_service(message, service)
    error: ApplicationError = caught.value
    assert code_and_kind(refusal(message, error, "ven-1")) == (kind, "453")


def test_a_response_may_come_to_any_service() -> None:
    for service in SERVICES:
        check_service(m.Response(response=OK), service)
