"""Rules of EiRegisterParty and of everything (3.5), on both sides."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.codec import MESSAGE_TYPES, encode_message
from schemas.oadr20b.enums import ServiceName, SignalType
from schemas.oadr20b.units import EUR_PER_KWH, WATT, ItemBase
from tests.conformance.passive_cases import CASES
from tests.conformance.passive_events import steps, with_signal
from tests.unit.ven.ven_fakes import (
    SLOT,
    T0,
    FakeHome,
    Peer,
    after,
    distribute,
    event,
    kinds,
    only,
    operational,
    session_of,
)
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    SETTINGS,
    MemoryStore,
    Rig,
    draft,
    ids_of,
    metadata,
    opted,
    update,
    wanted,
)
from ven_client.event_book import EventBook
from ven_client.messages import normal_uri
from ven_client.session import State
from ven_client.settings import VenConfig
from ven_client.signals import understand
from vtn_server.state import PeerIdentity, Provision

UNKNOWN = m.Response(response=m.EiResponse(code="463", request_id=""))
CANCEL = m.CancelPartyRegistration(request_id="x", registration_id="reg-1", ven_id="ven-1")


@pytest.fixture
async def rig() -> Rig:
    return await Rig(MemoryStore()).start()


@pytest.fixture
def home() -> FakeHome:
    return FakeHome()


@pytest.fixture
def peer(home: FakeHome) -> Peer:
    return operational(home, poll_jitter=0.0)


def create(**changes: object) -> m.CreatePartyRegistration:
    made = m.CreatePartyRegistration(request_id="q", ven_name="alice", http_pull_model=True)
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


async def test_rule_400_a_vtn_checks_every_id(rig: Rig) -> None:
    ours = (await rig.register("alice")).registration_id
    for wrong in (
        create(registration_id="none", ven_id=ALICE),
        create(registration_id=ours, ven_id="nobody"),
        create(ven_id="nobody"),
    ):
        await rig.send(wrong, m.CreatedPartyRegistration, "452")
    cancel = m.CancelPartyRegistration(request_id="q", registration_id="none", ven_id=ALICE)
    await rig.send(cancel, m.CanceledPartyRegistration, "452")


@pytest.mark.parametrize("wrong", [replace(CANCEL, registration_id="x"), replace(CANCEL, ven_id="x")])
def test_rule_400_a_ven_checks_every_id(peer: Peer, wrong: m.CancelPartyRegistration) -> None:
    sent = peer.give(wrong, now=after(minutes=1))
    assert only(sent, m.CanceledPartyRegistration)[0].response.code == "452"
    assert peer.session.state is State.OPERATIONAL


def test_rule_401_an_unregistered_ven_registers_when_it_boots(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    assert isinstance(session.take(T0), m.CreatePartyRegistration)


async def test_rule_401_a_vtn_takes_no_request_of_its_own_kind(rig: Rig) -> None:
    await rig.send(m.RequestReregistration(ven_id=ALICE), m.Response, "453")


def test_rule_402_ids_go_out_on_re_registration_only(home: FakeHome) -> None:
    peer = operational(home, poll_jitter=0.0)
    peer.give(m.RequestReregistration(ven_id="ven-1"), now=after(minutes=1))
    first, second = only(peer.sent, m.CreatePartyRegistration)
    assert (first.registration_id, first.ven_id) == (None, None)
    assert (second.registration_id, second.ven_id) == ("reg-1", "ven-1")
    peer.replies[m.Poll] = UNKNOWN  # lost: what was granted must not leak into a new registration
    peer.run(after(minutes=3))
    third = only(peer.sent, m.CreatePartyRegistration)[-1]
    assert (third.registration_id, third.ven_id) == (None, None)


async def test_rule_402_a_preconfigured_ven_id_is_checked(rig: Rig) -> None:
    reply = await rig.send(create(ven_id=ALICE), m.CreatedPartyRegistration)
    assert reply.ven_id == ALICE
    await rig.send(create(registration_id=reply.registration_id), m.CreatedPartyRegistration, "459")


async def test_rule_403_rule_404_what_a_vtn_tells(rig: Rig) -> None:
    told = await rig.send(m.QueryRegistration(request_id="q"), m.CreatedPartyRegistration)
    assert (told.registration_id, told.ven_id, told.vtn_id) == (None, None, "vtn-1")
    assert told.profiles
    granted = await rig.register("alice")
    assert granted.profiles == told.profiles
    assert granted.registration_id
    assert granted.ven_id == ALICE
    assert granted.poll_frequency == SETTINGS.poll_period


def test_rule_405_the_order_of_the_bootstrap(home: FakeHome) -> None:
    session = session_of(home)
    session.begin(T0)
    peer = Peer(session, items=[m.RegisterReport(request_id="v", ven_id="ven-1")])
    assert kinds(peer.run(T0)) == [
        "CreatePartyRegistration",
        "RegisterReport",
        "Poll",
        "RegisteredReport",
        "RequestEvent",
        "Poll",
    ]


def test_rule_405_an_unregistered_ven_ignores_what_a_vtn_sends(home: FakeHome) -> None:
    session = session_of(home, push_address="http://home.example")
    reply = session.receive(distribute(event()), T0)
    assert isinstance(reply, m.Response)
    assert reply.response.code == "463"
    assert home.told == []


async def test_rule_406_a_new_registration_wipes(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    (key,) = await rig.operator.request_reports(ALICE, (wanted(),))
    await rig.register("alice")
    (view,) = [each for each in rig.operator.vens() if each.ven_id == ALICE]
    assert (view.metadata, view.requests) == ((), ())
    await rig.send(update(ALICE, key, (1.0,)), m.UpdatedReport, "452")
    await rig.poll(ALICE, m.RegisterReport)  # the exchange of metadata begins anew


async def test_rule_407_rule_517_a_cancelled_registration_is_forgotten(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    ours = (await rig.register("alice")).registration_id or ""
    cancel = m.CancelPartyRegistration(request_id="q", registration_id=ours, ven_id=ALICE)
    await rig.send(cancel, m.CanceledPartyRegistration)
    await rig.send(m.Poll(ven_id=ALICE), m.Response, "463")
    (view,) = [each for each in rig.operator.vens() if each.ven_id == ALICE]
    assert (view.registered, view.metadata) == (False, ())


def test_rule_407_a_cancelled_ven_forgets_the_vtn(peer: Peer, home: FakeHome) -> None:
    peer.give(distribute(event()), now=after(minutes=1))
    assert home.holds() == ("e1",)
    peer.items.append(CANCEL)
    (answer,) = only(peer.run(after(minutes=2)), m.CanceledPartyRegistration)
    assert answer.response.code == "200"
    assert (home.holds(), peer.session.registration_id) == ((), None)
    assert peer.session.pending_reports == ()


# --- polls -------------------------------------------------------------------------------------------------


async def test_rule_500_rule_501_one_item_per_poll_until_there_is_none(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    await rig.operator.request_reports(ALICE, (wanted(),))
    await rig.operator.request_reregistration(ALICE)
    await rig.operator.publish_events([draft("e")])
    await rig.poll(ALICE, m.CreateReport)
    await rig.poll(ALICE, m.RequestReregistration)
    sent = await rig.poll(ALICE, m.DistributeEvent)
    await rig.send(opted(sent, ALICE), m.Response)
    await rig.poll(ALICE, m.Response)


def test_rule_500_a_ven_drains_at_once_and_keeps_the_period(peer: Peer) -> None:
    peer.items.extend([distribute(event("a")), distribute(event("a"), event("b"))])
    assert kinds(peer.run(after(minutes=1))).count("Poll") == 3
    assert peer.session.next_send(after(minutes=1)) == after(minutes=2)
    slow = operational(FakeHome(), poll_jitter=0.0, idle_poll=timedelta(seconds=1))
    assert slow.session.next_send(T0) == after(seconds=10)  # what the VTN asked for


async def test_rule_502_the_set_is_told_when_it_changes(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.poll(ALICE, m.Response)
    await rig.operator.publish_events([draft("e")])
    sent = await rig.poll(ALICE, m.DistributeEvent)
    assert ids_of(sent) == ["e"]
    await rig.send(opted(sent, ALICE), m.Response)
    await rig.poll(ALICE, m.Response)


async def test_rule_508_a_message_without_a_ven_id_is_refused(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.send(m.UpdateReport(request_id="q"), m.UpdatedReport, "459")


def test_rule_508_a_ven_always_says_who_it_is(home: FakeHome) -> None:
    cancel = m.CancelReport(request_id="c", report_request_ids=("none",), report_to_follow=False)
    peer = operational(home, poll_jitter=0.0)
    peer.give(distribute(event()), cancel, m.RequestReregistration(ven_id="ven-1"), now=after(minutes=1))
    first, *rest = peer.sent
    assert isinstance(first, m.CreatePartyRegistration)
    assert len(rest) > 6
    assert {getattr(message, "ven_id", None) for message in rest} == {"ven-1"}


def test_rule_509_every_message_says_its_version() -> None:
    seen = set()
    for case in CASES:
        if case.good:
            text = wire.write(case.message)
            assert text.count(b'ei:schemaVersion="2.0b"') >= 1
            seen.add(type(case.message))
    assert seen <= set(MESSAGE_TYPES)
    assert m.Poll in seen


@pytest.mark.parametrize("push", [False, True])
async def test_rule_038_push_vens_register_where_the_settings_say_so(push: bool) -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, push=push)).start()
    address = create(http_pull_model=False, transport_address="http://home.example:8080")
    await rig.send(address, m.CreatedPartyRegistration, "200" if push else "469")
    await rig.send(m.Poll(ven_id=ALICE), m.Response, "459" if push else "463")


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("SIMPLE", SignalType.LEVEL, None),
        ("ELECTRICITY_PRICE", SignalType.PRICE, EUR_PER_KWH),
        ("LOAD_DISPATCH", SignalType.SETPOINT, WATT),
    ],
)
def test_rule_510_the_least_a_ven_can_do(name: str, kind: SignalType, unit: ItemBase | None) -> None:
    made = with_signal(
        event(), signal_name=name, signal_type=kind, item_base=unit, intervals=steps(1.0, length=SLOT)
    )
    assert understand(made.event) is not None


async def test_rule_510_the_least_a_vtn_can_do(rig: Rig) -> None:
    await rig.bootstrap("alice", (metadata(),))
    aimed = replace(draft("e"), target=m.Target(ven_ids=(ALICE,), resource_ids=("battery-a",)))
    await rig.operator.publish_events([aimed])
    (sent,) = (await rig.poll(ALICE, m.DistributeEvent)).events
    assert sent.event.target == aimed.target


@pytest.mark.parametrize("lenient", [False, True])
async def test_g4_a_bare_root_is_taken_only_if_the_settings_say_so(lenient: bool) -> None:
    rig = await Rig(MemoryStore(), replace(SETTINGS, accept_bare_root=lenient)).start()
    await rig.bootstrap("alice")
    bare = etree.tostring(encode_message(m.Poll(ven_id=ALICE))[0][0])
    status, reply = await rig.service.handle(bare, PeerIdentity(), ServiceName.OADR_POLL)
    assert status == (200 if lenient else 406)
    if lenient:
        assert isinstance(wire.read(reply), m.Response)
    status, _ = await rig.service.handle(b"<a/>", PeerIdentity(), ServiceName.OADR_POLL)
    assert status == 406


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("HTTP://MarketContext1", "http://marketcontext1", True),
        ("http://a.example/Path", "http://a.example/path", False),
        ("http://a.example/", "http://a.example", True),
    ],
)
def test_rule_512_market_contexts_are_compared_normalised(one: str, other: str, same: bool) -> None:
    assert (normal_uri(one) == normal_uri(other)) is same
    config = VenConfig(ven_name="h", market_contexts=(one,))
    book = EventBook(config, FakeHome(), lambda low, high: low)
    (answer,) = book.receive(distribute(event(context=other)), "ven-1", T0)
    assert answer.code == ("200" if same else "462")


async def test_rule_512_ids_are_case_sensitive(rig: Rig) -> None:
    await rig.bootstrap("alice")
    await rig.send(m.Poll(ven_id=ALICE.upper()), m.Response, "452")


@pytest.mark.parametrize(
    ("request_of", "reply"),
    [
        (m.Poll(ven_id=ALICE), m.Response),
        (m.RequestEvent(request_id="q", ven_id=ALICE), m.DistributeEvent),
        (m.UpdateReport(request_id="q", ven_id=ALICE), m.UpdatedReport),
        (m.RegisterReport(request_id="q", ven_id=ALICE), m.RegisteredReport),
        (m.CancelOpt(request_id="q", opt_id="o", ven_id=ALICE), m.CanceledOpt),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_rule_517_unregistered_is_463_in_the_fitting_reply(
    rig: Rig, request_of: m.AnyMessage, reply: type[m.AnyMessage]
) -> None:
    await rig.send(request_of, reply, "463")


async def test_rule_517_a_certificate_speaks_for_its_own_ven() -> None:
    provisions = (
        Provision(ven_id=ALICE, ven_name="alice", fingerprint="AA:01"),
        Provision(ven_id=BOB, ven_name="bob", fingerprint="BB:02"),
    )
    rig = await Rig(MemoryStore()).start(provisions)
    body = wire.write(create())
    for fingerprint, code in (("BB:02", b"463"), ("aa:01", b"200")):
        peer = PeerIdentity(fingerprint=fingerprint)
        status, reply = await rig.service.handle(body, peer, ServiceName.EI_REGISTER_PARTY)
        assert status == 200
        assert b">" + code + b"<" in reply


def test_rule_517_a_ven_that_is_not_known_registers_anew(peer: Peer) -> None:
    peer.replies[m.Poll] = UNKNOWN
    assert kinds(peer.run(after(minutes=1)))[:2] == ["Poll", "CreatePartyRegistration"]
