"""XML signatures at a live VTN with mutual TLS: who must sign, what is refused, and that it stays refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree

from certs.envelope import SignaturePolicy
from certs.pki import Role
from certs.xmldsig import is_signed
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import wall
from tests.security_rig import OK, SETTINGS, Hand, TlsVtn, parties, verified
from tests.unit.vtn.rig import ALICE, BOB, MemoryStore, draft
from vtn_server.operator import Operator
from vtn_server.settings import VtnSettings
from vtn_server.sqlstore import open_store
from vtn_server.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

OFF, OPTIONAL, REQUIRED = (replace(SETTINGS, signatures=each) for each in SignaturePolicy)
POLL = m.Poll(ven_id=ALICE)
QUERY = m.QueryRegistration(request_id="q")

Make = Callable[..., Awaitable[TlsVtn]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority that tests only read."""
    found = tmp_path_factory.mktemp("signed") / "pki"
    parties(found)
    return found


@pytest.fixture
async def make(folder: Path) -> AsyncIterator[Make]:
    """Starts VTNs, and ends them."""
    made: list[TlsVtn] = []

    async def start(settings: VtnSettings, store: Callable[[], Store] = MemoryStore) -> TlsVtn:
        made.append(await TlsVtn(folder, store, settings).start())
        return made[-1]

    yield start
    for each in made:
        await each.close()


def create(*, xml_signature: bool = True, registration: str | None = None) -> m.CreatePartyRegistration:
    return m.CreatePartyRegistration(
        request_id="r",
        ven_name="alice",
        ven_id=None if registration is None else ALICE,
        registration_id=registration,
        http_pull_model=True,
        xml_signature=xml_signature,
    )


async def register(
    hand: Hand, *, signed: bool = True, xml_signature: bool = True
) -> m.CreatedPartyRegistration:
    """Register alice."""
    status, body = await hand.send(create(xml_signature=xml_signature), signed=signed)
    assert status == 200
    assert is_signed(wire.parse(body)) is signed
    reply = wire.read(body)
    assert isinstance(reply, m.CreatedPartyRegistration)
    assert reply.response.code == "200"
    return reply


def from_vtn(vtn: TlsVtn, body: bytes) -> m.AnyMessage:
    return verified(vtn.folder, Role.VTN, "localhost", body)


async def refused(vtn: TlsVtn, hand: Hand, body: bytes, service: ServiceName = ServiceName.OADR_POLL) -> None:
    """Send a body that must be refused without a word, and change nothing."""
    before, count = vtn.state(), vtn.refused()
    assert await hand.post(body, service) == (403, b"")
    assert vtn.state() == before
    assert vtn.refused() == count + 1


# --- who must sign -----------------------------------------------------------------------------------------


async def test_required_takes_what_is_signed_and_signs_what_it_answers(make: Make) -> None:
    vtn = await make(REQUIRED)
    alice = vtn.hand("alice")
    await register(alice)
    status, body = await alice.send(POLL)
    assert status == 200
    assert isinstance(from_vtn(vtn, body), m.RegisterReport)
    status, body = await alice.send(m.Poll(ven_id="nobody"))
    assert isinstance(from_vtn(vtn, body), m.Response)  # refusals are signed, too


async def test_required_refuses_what_is_not_signed(make: Make) -> None:
    vtn = await make(REQUIRED)
    alice = vtn.hand("alice")
    party, poll = ServiceName.EI_REGISTER_PARTY, ServiceName.OADR_POLL
    await refused(vtn, alice, wire.write(create()), party)
    await refused(vtn, alice, wire.write(QUERY), party)
    await register(alice)
    await refused(vtn, alice, wire.write(POLL), poll)
    assert (await alice.post(b"<", poll))[0] == 406


@pytest.mark.parametrize("settings", [OFF, OPTIONAL])
async def test_nobody_has_to_sign_elsewhere(make: Make, settings: VtnSettings) -> None:
    vtn = await make(settings)
    alice = vtn.hand("alice")
    await register(alice, signed=False, xml_signature=False)
    status, body = await alice.send(POLL, signed=False)
    assert (status, is_signed(wire.parse(body))) == (200, False)


async def test_off_looks_at_no_signature_and_writes_none(make: Make) -> None:
    vtn = await make(OFF)
    alice = vtn.hand("alice")
    bodies = (alice.signed(create()), alice.signed(create()).replace(b"alice", b"alicf"))
    answers = [await alice.post(each, ServiceName.EI_REGISTER_PARTY) for each in bodies]
    assert [status for status, _ in answers] == [200, 200]
    assert not any(is_signed(wire.parse(body)) for _, body in answers)


async def test_a_ven_that_signed_its_registration_is_held_to_it(make: Make) -> None:
    vtn = await make(OPTIONAL)
    alice = vtn.hand("alice")
    created = await register(alice)
    ours = created.registration_id
    party, event = ServiceName.EI_REGISTER_PARTY, ServiceName.EI_EVENT
    await refused(vtn, alice, wire.write(POLL))
    await refused(vtn, alice, wire.write(m.RequestEvent(request_id="e", ven_id=ALICE)), event)
    await refused(
        vtn, alice, wire.write(create(xml_signature=False)), party
    )  # no way back without a signature
    await refused(vtn, alice, wire.write(create(xml_signature=False, registration=ours)), party)
    cancel = m.CancelPartyRegistration(request_id="c", registration_id=ours or "", ven_id=ALICE)
    await refused(vtn, alice, wire.write(cancel), party)
    status, body = await alice.send(create(xml_signature=False, registration=ours))
    assert status == 200
    assert isinstance(from_vtn(vtn, body), m.CreatedPartyRegistration)
    assert (await alice.send(POLL, signed=False))[0] == 200  # a signature has released it


async def test_after_the_registration_has_ended_nothing_is_left_of_it(make: Make) -> None:
    vtn = await make(OPTIONAL)
    alice = vtn.hand("alice")
    created = await register(alice)
    ours = created.registration_id or ""
    cancel = m.CancelPartyRegistration(request_id="c", registration_id=ours, ven_id=ALICE)
    assert (await alice.send(cancel))[0] == 200
    await register(alice, signed=False, xml_signature=False)


async def test_an_unsigned_word_about_signatures_binds_nobody(make: Make) -> None:
    vtn = await make(OPTIONAL)
    alice = vtn.hand("alice")
    await register(alice, signed=False, xml_signature=True)
    assert (await alice.send(POLL, signed=False))[0] == 200
    ven = vtn.service.memory.ven(ALICE)
    assert ven is not None
    assert ven.registration is not None
    assert (ven.registration.xml_signature, ven.registration.signs) == (True, False)


@pytest.mark.parametrize("settings", [OPTIONAL, REQUIRED])
async def test_a_ven_that_says_no_but_signs_gets_signed_replies(make: Make, settings: VtnSettings) -> None:
    """As openleadr's does."""
    vtn = await make(settings)
    alice = vtn.hand("alice")
    await register(alice, xml_signature=False)
    _, body = await alice.send(POLL)
    assert isinstance(from_vtn(vtn, body), m.RegisterReport)


async def test_a_registration_says_what_the_vtn_does_about_signatures(make: Make) -> None:
    for settings, told in ((OFF, None), (OPTIONAL, "optional"), (REQUIRED, "required")):
        vtn = await make(settings)
        _, body = await vtn.hand("alice").send(QUERY)
        reply = wire.read(body)
        assert isinstance(reply, m.CreatedPartyRegistration)
        info = m.Info(key="oadrXmlSignature", value=told or "")
        service = m.ServiceInfo(name=ServiceName.EI_REGISTER_PARTY, infos=(info,))
        assert reply.service_infos == (None if told is None else (service,))


async def test_events_that_were_encoded_before_are_signed_with_the_rest(make: Make) -> None:
    """The same event, spliced into an unsigned reply and into a signed one."""
    vtn = await make(OPTIONAL)
    start = wall().replace(microsecond=0) + timedelta(hours=1)
    alice, bob = vtn.hand("alice"), vtn.hand("bob")
    await register(alice)
    assert (await bob.send(replace(create(xml_signature=False), ven_name="bob"), signed=False))[0] == 200
    await vtn.operator.publish_events([replace(draft("e", audience=(ALICE, BOB)), dtstart=start)])
    _, plain = await bob.send(m.RequestEvent(request_id="x", ven_id=BOB), signed=False)
    _, sealed = await alice.send(m.RequestEvent(request_id="x", ven_id=ALICE))
    told = from_vtn(vtn, sealed)
    unsigned = wire.read(plain)
    assert isinstance(told, m.DistributeEvent)
    assert isinstance(unsigned, m.DistributeEvent)
    assert told.events == unsigned.events
    assert [each.event.descriptor.event_id for each in told.events] == ["e"]


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.fixture
async def vtn(make: Make) -> TlsVtn:
    """A VTN that leaves it to the VENs, at which alice signs."""
    running = await make(OPTIONAL)
    await register(running.hand("alice"))
    return running


async def test_what_was_changed_after_signing(vtn: TlsVtn) -> None:
    alice = vtn.hand("alice")
    body = alice.signed(POLL)
    await refused(vtn, alice, body.replace(ALICE.encode(), BOB.encode()))
    await refused(vtn, alice, alice.signed(POLL, nonce="n-a").replace(b"n-a", b"n-b"))
    assert (await alice.post(body))[0] == 200


@pytest.mark.parametrize("off_s", [-305, 305])
async def test_stale_and_future_ones(vtn: TlsVtn, off_s: int) -> None:
    alice = vtn.hand("alice")
    await refused(vtn, alice, alice.signed(POLL, at=wall() + timedelta(seconds=off_s)))
    within = timedelta(seconds=off_s * 0.9)
    assert (await alice.post(alice.signed(POLL, at=wall() + within)))[0] == 200


async def test_bobs_signature_in_alices_connection(vtn: TlsVtn) -> None:
    """A genuine message of a genuine VEN, brought by another one; and one for the other by the other."""
    alice, bob = vtn.hand("alice"), vtn.hand("bob")
    await refused(vtn, alice, bob.signed(POLL))
    await refused(vtn, alice, bob.signed(m.Poll(ven_id=BOB)))
    status, body = await bob.send(POLL)  # bob signs, in his own connection, as alice
    reply = from_vtn(vtn, body)
    assert isinstance(reply, m.Response)
    assert (status, reply.response.code) == (200, "463")


async def test_a_signed_object_that_was_moved(vtn: TlsVtn) -> None:
    alice = vtn.hand("alice")
    root = wire.parse_unvalidated(alice.signed(POLL))
    forged = wire.parse_unvalidated(wire.write(m.Poll(ven_id=ALICE)))[0]
    holder = next(root.iter("{http://www.w3.org/2000/09/xmldsig#}Object"))
    holder.append(root[1])
    root.append(forged)
    before = vtn.state()
    status, reply = await alice.post(etree.tostring(root))
    assert status in (403, 406)
    assert reply == b""
    assert vtn.state() == before


async def test_a_message_that_was_accepted_before(vtn: TlsVtn) -> None:
    alice = vtn.hand("alice")
    body = alice.signed(POLL)
    assert (await alice.post(body))[0] == 200
    await refused(vtn, alice, body)
    await refused(vtn, vtn.hand("alice"), body)  # nor on another connection
    nonce = alice.signed(m.RequestEvent(request_id="x", ven_id=ALICE), nonce="mine")
    assert (await alice.post(nonce, ServiceName.EI_EVENT))[0] == 200
    await refused(vtn, alice, alice.signed(POLL, nonce="mine"))


async def test_bob_cannot_use_up_alices_nonces(vtn: TlsVtn) -> None:
    alice, bob = vtn.hand("alice"), vtn.hand("bob")
    assert (await bob.post(bob.signed(POLL, nonce="same")))[0] == 200
    assert (await alice.post(alice.signed(POLL, nonce="same")))[0] == 200


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_replay_after_a_restart(
    make: Make, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(tmp_path / "vtn.sqlite") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    vtn = await make(REQUIRED, lambda: open_store(url))
    alice = vtn.hand("alice")
    await register(alice)
    body = alice.signed(POLL)
    assert (await alice.post(body))[0] == 200
    await vtn.restart()
    alice = vtn.hand("alice")
    await refused(vtn, alice, body)
    assert (await alice.send(POLL))[0] == 200


async def test_a_replay_at_another_server_of_the_same_database(make: Make, postgres_url: str) -> None:
    first = await make(REQUIRED, lambda: open_store(postgres_url))
    await register(first.hand("alice"))
    second = await make(REQUIRED, lambda: open_store(postgres_url))
    alice = first.hand("alice")
    body = alice.signed(POLL)
    assert (await alice.post(body))[0] == 200
    await Operator(second.service).catch_up()  # so that nothing else changes meanwhile
    await refused(second, second.hand("alice"), body)


async def test_a_vtn_whose_store_fails_answers_nothing_that_is_signed(make: Make) -> None:
    store = MemoryStore()
    vtn = await make(REQUIRED, lambda: store)
    alice = vtn.hand("alice")
    await register(alice)
    store.fail = True
    assert (await alice.send(POLL))[0] == 503
    store.fail = False
    assert (await alice.send(m.CreatedEvent(response=OK, ven_id=ALICE)))[0] == 503
    assert vtn.service.is_broken
