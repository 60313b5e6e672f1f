"""What is not an attack, or only in its number: without it the refusals of the suite would prove little."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from tests.e2e.tls_parties import HOST
from tests.security.attack import verdict
from tests.security.attacks_signature import from_vtn, to_ven
from tests.security.cast import MALLORY, VEN_IDS
from tests.security.grounds import Ground, tell
from tests.security.grounds_child import OPEN_VENS
from tests.unit.vtn.rig import ALICE

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

SLOWEST_MS = 5000.0
PARTY = ServiceName.EI_REGISTER_PARTY


def registration(name: str) -> bytes:
    return wire.write(m.CreatePartyRegistration(request_id="r", ven_name=name, http_pull_model=True))


# --- what the forgeries are made of is accepted ----------------------------------------------------------


@pytest.mark.parametrize("who", ["rita", "edith"])
def test_signed_polls_are_answered(ground: Ground, who: str) -> None:
    tap = ground.tap("signed", who)
    for _ in range(2):  # the second is one of a known shape
        assert verdict(tap.post(ground.signed(who, m.Poll(ven_id=VEN_IDS[who])))) == "200/200"


def test_signed_pushes_are_taken_once(ground: Ground) -> None:
    before = ground.state()
    body = from_vtn(ground, m.RequestReregistration(ven_id=ALICE), nonce="taken-once")
    shown = to_ven(ground, body, PARTY)
    assert shown.status == 200
    assert ground.state()["ven"] != before["ven"]
    taken = ground.state()
    assert verdict(to_ven(ground, body, PARTY)) == "403"
    assert ground.state() == taken


@pytest.mark.parametrize("ahead_s", [-240.0, 240.0])
def test_a_clock_may_be_off(ground: Ground, ahead_s: float) -> None:
    body = ground.signed("edith", m.Poll(ven_id=VEN_IDS["edith"]), ahead_s=ahead_s)
    assert verdict(ground.tap("signed", "edith").post(body)) == "200/200"


def test_a_schema_that_is_named_is_not_fetched(ground: Ground) -> None:
    with socket.create_server((HOST, 0)) as ear:
        ear.setblocking(False)
        place = f'xsi:schemaLocation="urn:x http://{HOST}:{ear.getsockname()[1]}/x.xsd"'
        space = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        body = wire.write(m.Poll(ven_id=ALICE)).replace(
            b"<oadr:oadrPayload ", f"<oadr:oadrPayload {space} {place} ".encode()
        )
        assert verdict(ground.tap("plain").post(body)) == "200/200"
        with pytest.raises(BlockingIOError):
            ear.accept()


# --- many ------------------------------------------------------------------------------------------------


def test_a_flood_of_registrations_of_strangers(ground: Ground) -> None:
    """Nobody announced them: nothing is remembered of any of them."""
    before = ground.state()
    tap = ground.tap("plain", MALLORY)
    with ground.watching() as seen:
        found = {verdict(tap.post(registration(f"flood-{number}"), PARTY)) for number in range(150)}
    assert found == {"200/463"}
    assert ground.state() == before
    assert seen.slowest_ms < SLOWEST_MS
    assert seen.grown_mb < 30


def test_a_flood_of_registrations_of_one_ven(ground: Ground) -> None:
    """It is her right; the store holds one registration afterwards, and bob is served."""
    sizes = []
    with ground.watching() as seen:
        for _ in range(2):
            for _ in range(40):
                tell(
                    ground,
                    "alice",
                    m.CreatePartyRegistration(request_id="r", ven_name="alice", http_pull_model=True),
                    m.CreatedPartyRegistration,
                )
            sizes.append(len(ground.state()["plain"]))
    assert abs(sizes[1] - sizes[0]) < 100
    assert seen.slowest_ms < SLOWEST_MS
    assert seen.grown_mb < 30


def test_open_enrolment_has_an_end(ground: Ground) -> None:
    """As many VENs as there may be, one for each certificate, whatever names they invent."""
    first = ground.tap("open", "new-0")
    assert verdict(first.post(registration("new-0"), PARTY)) == "200/200"
    again = {verdict(first.post(registration(f"also-{number}"), PARTY)) for number in range(20)}
    assert again == {"200/463"}
    others = [
        verdict(ground.tap("open", f"new-{number}").post(registration(f"new-{number}"), PARTY))
        for number in range(1, 12)
    ]
    assert others.count("200/200") == OPEN_VENS - 1
    assert set(others) == {"200/200", "200/469"}
    views = ground.ask("views")
    assert isinstance(views, list)
    assert len(views) == len(VEN_IDS) + OPEN_VENS


# --- elsewhere in time -----------------------------------------------------------------------------------


def test_a_replay_after_a_restart(ground: Ground) -> None:
    body = ground.signed("edith", m.Poll(ven_id=VEN_IDS["edith"]))
    assert ground.tap("signed", "edith").post(body).status == 200
    ground.ask("restart")
    before = ground.state()
    assert verdict(ground.tap("signed", "edith").post(body)) == "403"
    assert ground.state() == before


def test_many_idle_connections_of_others(ground: Ground) -> None:
    """Some hundred that say nothing, at the usual limits: nobody notices."""

    def held() -> Iterator[socket.socket]:
        tap = ground.tap("plain", MALLORY)
        for _ in range(100):
            yield tap.connect()

    with ground.watching() as seen:
        connections = list(held())
    assert seen.slowest_ms < SLOWEST_MS
    assert seen.grown_mb < 60
    for each in connections:
        with closing(each):
            pass
