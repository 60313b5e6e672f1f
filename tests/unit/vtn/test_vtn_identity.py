"""Who may speak for a VEN where certificates prove it: enrolment, binding, rotation; nothing by default."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.errors import ApplicationError, InvalidId, NotAllowed
from tests.unit.vtn.rig import ALICE, BOB, PROVISIONS, MemoryStore, Rig, draft
from tests.unit.vtn.test_vtn_service import SPECIMENS
from vtn_server.decision import Context, Decision, World
from vtn_server.dispatch import TABLE, Needs
from vtn_server.refusal_log import enrol_command, log_refusal
from vtn_server.registration import NotEnrolled
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import PeerIdentity, Provision, Ven, VenId

A = "AA:AA:AA:AA:AA:AA:AA:AA:AA:01"
B = "BB:BB:BB:BB:BB:BB:BB:BB:BB:02"
C = "CC:CC:CC:CC:CC:CC:CC:CC:CC:03"
STRICT = VtnSettings(vtn_id="vtn-1", validate_outgoing=True)
OPEN = replace(STRICT, open_enrolment=True, max_vens=3)
ENROLLED = (replace(PROVISIONS[0], fingerprint=A), replace(PROVISIONS[1], fingerprint=B))


def peer(fingerprint: str | None, connection: str = "c") -> PeerIdentity:
    return PeerIdentity(fingerprint=fingerprint, connection=connection)


async def told(rig: Rig, message: m.AnyMessage, fingerprint: str | None) -> str:
    """Return the code of the answer."""
    status, body = await rig.service.handle(
        wire.write(message), peer(fingerprint), TABLE[type(message)].services[0]
    )
    assert status == 200
    return str(getattr(wire.read(body), "response").code)  # noqa: B009 - replies of many types


async def decided(rig: Rig, message: m.AnyMessage, fingerprint: str | None) -> str:
    """Return the code with which the table refuses a message, valid or not; 200 where it does not."""
    try:
        await rig.service.take_reply(message, peer(fingerprint))
    except ApplicationError as err:
        return err.code
    return "200"


def registers(name: str = "alice", ven_id: str | None = None) -> m.CreatePartyRegistration:
    return m.CreatePartyRegistration(request_id="r", ven_name=name, ven_id=ven_id, http_pull_model=True)


async def strict(
    settings: VtnSettings = STRICT,
    provisions: tuple[Provision, ...] = ENROLLED,
    store: MemoryStore | None = None,
) -> Rig:
    return await Rig(store or MemoryStore(), settings).start(provisions)


# --- nothing by default ------------------------------------------------------------------------------------


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace every handler of the table by one that says it was called."""
    names: list[str] = []

    def spy(message: m.AnyMessage, ven: Ven | None, world: World, ctx: Context) -> Decision:
        names.append(type(message).__name__)
        return Decision(reply=m.Response(response=m.EiResponse(code="200", request_id="")))

    for cls, row in tuple(TABLE.items()):
        if row.handler is not None:
            monkeypatch.setitem(TABLE, cls, replace(row, handler=spy))
    return names


def test_a_certificate_is_what_counts_unless_somebody_says_otherwise() -> None:
    assert VtnSettings(vtn_id="v").identity is Identity.CERTIFICATE


@pytest.mark.parametrize("fingerprint", [None, B, C], ids=["none", "another VEN's", "nobody's"])
async def test_no_row_runs_a_handler_for_whom_it_must_not(called: list[str], fingerprint: str | None) -> None:
    rig = await strict()
    before = rig.service.memory.vens()
    for message in SPECIMENS:  # all about ALICE, or about nobody
        code = await decided(rig, message, fingerprint)
        nobody_asks = TABLE[type(message)].needs is Needs.NOBODY
        assert code == "463" or (nobody_asks and fingerprint is not None) or code == "459"
    anybody = {cls.__name__ for cls, row in TABLE.items() if row.needs is Needs.NOBODY and row.handler}
    assert anybody == {"QueryRegistration"}  # a row added here is a hole added here
    assert set(called) == (set() if fingerprint is None else anybody)
    assert rig.service.memory.vens() == before
    assert rig.service.stats().commits == 1  # that of the provisioning


async def test_every_row_with_a_handler_is_asked_for_the_right_peer(called: list[str]) -> None:
    """The walk above would pass if nothing were ever called."""
    rig = await strict()
    ven = rig.service.memory.ven(ALICE)
    assert ven is not None
    assert await told(rig, registers(), A) == "200"
    assert called == ["CreatePartyRegistration"]


async def test_a_peer_without_certificate_is_told_463_whatever_it_sends() -> None:
    rig = await strict()
    for message in (m.QueryRegistration(request_id="q"), registers(), m.Poll(ven_id=ALICE)):
        assert await told(rig, message, None) == "463"
    assert dict(rig.service.stats().application_errors) == {"463": 3}


# --- one VEN, one certificate ------------------------------------------------------------------------------


async def test_an_enrolled_ven_registers_with_its_certificate_only() -> None:
    rig = await strict()
    assert await told(rig, registers(), B) == "463"
    assert await told(rig, registers(), C) == "463"
    assert await told(rig, registers(), A.lower()) == "200"
    assert await told(rig, m.Poll(ven_id=ALICE), B) == "463"
    ven = rig.service.memory.ven(ALICE)
    assert ven is not None
    assert ven.registration is not None


async def test_a_ven_without_certificate_is_refused_and_the_log_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = await strict(provisions=(PROVISIONS[0],))
    with caplog.at_level(logging.WARNING, "vtn_server.refusal_log"):
        assert await told(rig, registers(), C) == "463"
        assert await told(rig, registers("dora"), C) == "463"
    assert f"feederloop operator vens fingerprint ven-alice {C}" in caplog.text
    assert f"feederloop operator vens provision dora --fingerprint {C}" in caplog.text
    await rig.operator.set_fingerprint(ALICE, C)
    assert await told(rig, registers(), C) == "200"


async def test_a_peer_with_another_certificate_hears_less_than_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = await strict()
    with caplog.at_level(logging.WARNING, "vtn_server.refusal_log"):
        _, body = await rig.service.handle(
            wire.write(registers()), peer(B), TABLE[type(registers())].services[0]
        )
    assert b"463" in body
    assert b"ven-alice" not in body
    assert f"the certificate is not that of ven-alice; its certificate is {B}" in caplog.text


@pytest.mark.parametrize("stray", ["nobody", "two\nlines\x9b", "x" * 5000])
def test_the_log_says_who_was_refused_and_why_in_one_bounded_line(
    stray: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vtn_server.refusal_log"):
        log_refusal(InvalidId(f"no venID {stray}"), m.Poll(ven_id=VenId(stray)), peer(C))
    (line,) = caplog.messages
    assert line.startswith("answered Poll of ")
    assert f"certificate {C} with 452: no venID {stray[:3]}" in line
    assert line.isprintable()
    assert len(line) < 600


async def test_the_log_names_the_ven_of_a_refused_message(caplog: pytest.LogCaptureFixture) -> None:
    rig = await strict()
    with caplog.at_level(logging.INFO, "vtn_server.refusal_log"):
        assert await told(rig, registers(), A) == "200"
        assert caplog.messages == []
        stray = m.CancelPartyRegistration(request_id="q", registration_id="r-1", ven_id=ALICE)
        assert await told(rig, stray, A) == "452"
    assert caplog.messages == [
        f"answered CancelPartyRegistration of ven-alice, certificate {A} with 452: "
        "registration r-1 is not in force"
    ]


@pytest.mark.parametrize("name", ["x; rm -rf /", "two\nlines", "", None])
def test_the_command_in_the_log_is_fit_for_a_shell_whatever_the_name_is(name: str | None) -> None:
    command = enrol_command(NotEnrolled(None, name), A)
    assert "\n" not in command
    assert "; rm" not in command.replace("'x; rm -rf /'", "")


async def test_two_vens_cannot_be_given_one_certificate() -> None:
    rig = await strict()
    with pytest.raises(NotAllowed, match="ven-alice"):
        await rig.operator.provision((Provision(ven_id=VenId("c"), ven_name="carol", fingerprint=A.lower()),))
    with pytest.raises(NotAllowed, match="twice"):
        await rig.operator.provision(
            (
                Provision(ven_id=VenId("c"), ven_name="carol", fingerprint=C),
                Provision(ven_id=VenId("d"), ven_name="dora", fingerprint=C.lower()),
            )
        )
    with pytest.raises(NotAllowed, match="ven-alice"):
        await rig.operator.set_fingerprint(BOB, A)
    assert [each.ven_id for each in rig.operator.vens()] == [ALICE, BOB]


# --- rotation ----------------------------------------------------------------------------------------------


async def test_a_replaced_certificate_is_refused_at_once_and_the_new_one_goes_on() -> None:
    store = MemoryStore()
    rig = await strict(store=store)
    assert await told(rig, registers(), A) == "200"
    await rig.operator.publish_events([draft("e1")])
    await rig.operator.set_fingerprint(ALICE, C.lower())
    for again in (rig, await strict(provisions=(), store=store)):  # and after a restart
        assert await told(again, m.RequestEvent(request_id="q", ven_id=ALICE), A) == "463"
        assert await told(again, m.RequestEvent(request_id="q", ven_id=ALICE), C) == "200"
    await rig.operator.set_fingerprint(BOB, A)  # it is nobody's now
    assert rig.operator.vens()[1].provision.fingerprint == A


async def test_a_certificate_that_is_taken_away() -> None:
    rig = await strict()
    assert await told(rig, registers(), A) == "200"
    await rig.operator.set_fingerprint(ALICE, None)
    assert await told(rig, m.Poll(ven_id=ALICE), A) == "463"
    with pytest.raises(InvalidId):
        await rig.operator.set_fingerprint(VenId("nobody"), A)
    await rig.operator.remove(ALICE)
    with pytest.raises(InvalidId):
        await rig.operator.set_fingerprint(ALICE, A)


async def test_what_is_said_of_a_ven_without_its_certificate_leaves_it_its_certificate() -> None:
    rig = await strict()
    await rig.operator.provision((replace(PROVISIONS[0], groups=("street",)),))
    assert rig.operator.vens()[0].provision == replace(ENROLLED[0], groups=("street",))


@pytest.mark.parametrize(
    "other", [{"ven_name": "anna"}, {"fingerprint": C}, {"ven_name": "anna", "fingerprint": C}]
)
async def test_a_known_ven_gets_another_identity_only_if_that_is_wanted(other: dict[str, str]) -> None:
    rig = await strict()
    assert await told(rig, registers(), A) == "200"
    wanted = replace(ENROLLED[0], **other)  # type: ignore[arg-type]  # names and fingerprints are text
    before = rig.operator.vens()
    with pytest.raises(NotAllowed, match="ven-alice"):
        await rig.operator.provision((Provision(ven_id=VenId("c"), ven_name="carol"), wanted))
    assert rig.operator.vens() == before  # nor is the new one known: all or none
    assert await told(rig, m.RequestEvent(request_id="q", ven_id=ALICE), A) == "200"
    await rig.operator.provision((wanted,), replace_identity=True)
    assert rig.operator.vens()[0].provision == wanted


async def test_the_same_identity_a_first_certificate_and_a_removed_ven_are_no_replacement() -> None:
    rig = await strict(provisions=PROVISIONS)
    await rig.operator.provision((replace(PROVISIONS[0], fingerprint=A),))  # its first
    await rig.operator.provision((replace(PROVISIONS[0], fingerprint=A.lower(), groups=("g",)),))
    assert rig.operator.vens()[0].provision == replace(PROVISIONS[0], fingerprint=A, groups=("g",))
    await rig.operator.remove(ALICE)
    await rig.operator.provision((Provision(ven_id=ALICE, ven_name="anna", fingerprint=C),))
    assert rig.operator.vens()[0].ven_name == "anna"


# --- open enrolment ----------------------------------------------------------------------------------------


async def test_the_first_certificate_is_pinned_for_good() -> None:
    store = MemoryStore()
    rig = await strict(OPEN, (PROVISIONS[0],), store)
    assert await told(rig, m.Poll(ven_id=ALICE), A) == "463"  # registering is what pins
    assert await told(rig, registers(), A) == "200"
    assert await told(rig, registers(), C) == "463"
    assert await told(rig, registers("alice", ALICE), C) == "463"
    again = await strict(OPEN, (PROVISIONS[0],), store)
    assert await told(again, registers(), C) == "463"
    assert await told(again, registers(), A) == "200"


async def test_a_registration_that_is_refused_pins_nothing() -> None:
    rig = await strict(OPEN, (PROVISIONS[0],))
    xmpp = replace(registers(), http_pull_model=False, transport_address=None)
    assert await told(rig, xmpp, C) == "469"
    assert await told(rig, registers(), A) == "200"


async def test_a_bound_certificate_becomes_no_other_vens() -> None:
    rig = await strict(OPEN, ENROLLED)
    assert await told(rig, registers("mallory"), A) == "463"
    await rig.operator.remove(ALICE)
    assert (
        await told(rig, registers("mallory"), A) == "463"
    )  # a removed VEN does not come back by another name
    assert await told(rig, registers("mallory"), C) == "200"
    await rig.operator.provision((Provision(ven_id=VenId("d"), ven_name="dora", fingerprint=A),))
    assert await told(rig, registers("dora"), A) == "200"  # unless an operator wants it


async def test_two_names_at_once_cannot_share_a_certificate() -> None:
    rig = await strict(OPEN, PROVISIONS)
    codes = await asyncio.gather(*(told(rig, registers(name), C) for name in ("alice", "bob", "carol")))
    assert sorted(codes) == ["200", "463", "463"]


async def test_a_flood_of_registrations_ends() -> None:
    rig = await strict(OPEN, ENROLLED)
    codes = [await told(rig, registers(f"ven {i}"), f"DD:{i:02}") for i in range(5)]
    assert codes == ["200", "469", "469", "469", "469"]
    assert await told(rig, registers("alice"), A) == "200"
    assert rig.service.memory.ven_count() == 3
