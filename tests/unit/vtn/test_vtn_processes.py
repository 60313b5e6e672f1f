"""Several VTN processes on one PostgreSQL decide about the same things at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ServiceName
from schemas.oadr20b.errors import NotAllowed
from tests.unit.vtn.process_rig import all_caught_up, processes
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    SETTINGS,
    START,
    Rig,
    draft,
    price_signal,
)
from tests.unit.vtn.test_vtn_opt import schedule
from vtn_server.books import Tries
from vtn_server.operator import Provision, VenId
from vtn_server.settings import Identity
from vtn_server.state import PeerIdentity
from vtn_server.store import StoreConflict


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> list[StoreConflict]:
    """The conflicts after which something was decided again."""
    seen: list[StoreConflict] = []
    inner = Tries.conflict

    async def conflict(self: Tries, err: StoreConflict) -> None:
        seen.append(err)
        await inner(self, err)

    monkeypatch.setattr(Tries, "conflict", conflict)
    return seen


async def code_of(rig: Rig, message: m.CreatePartyRegistration, peer: PeerIdentity) -> str:
    _, body = await rig.service.handle(wire.write(message), peer, ServiceName.EI_REGISTER_PARTY)
    reply = wire.read(body)
    assert isinstance(reply, m.CreatedPartyRegistration)
    return reply.response.code


# --- conflicts ---------------------------------------------------------------------------------------------


async def test_two_decisions_on_one_ven_both_count(postgres_url: str, conflicts: list[StoreConflict]) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await b.operator.catch_up()
        await asyncio.gather(
            a.send(schedule("a", context="http://a.example"), m.CreatedOpt),
            b.send(schedule("b", context="http://b.example"), m.CreatedOpt),
        )
        assert len(conflicts) == 1
        await all_caught_up(a, b)
        for rig in (a, b):
            assert {each.opt_id for each in rig.operator.schedules(START)[ALICE]} == {"a", "b"}
        assert a.service.memory.vens() == b.service.memory.vens()


async def test_a_storm_on_one_ven_resolves(postgres_url: str, conflicts: list[StoreConflict]) -> None:
    names = [f"o{number}" for number in range(45)]
    async with processes(postgres_url, 3) as rigs:
        await rigs[0].bootstrap("alice")
        await asyncio.gather(
            *(
                rigs[index % 3].send(
                    schedule(name, context=f"http://{name}.example"), m.CreatedOpt, connection=name
                )
                for index, name in enumerate(names)
            ),
            *(rig.operator.request_reregistration(ALICE) for rig in rigs),
        )
        await all_caught_up(*rigs)
        for rig in rigs:
            ven = rig.service.memory.ven(ALICE)
            assert ven is not None
            assert sorted(each.opt_id for each in ven.schedules) == sorted(names)
            assert len(ven.outbox) == 3
            assert "503" not in dict(rig.operator.stats().http_errors)
    assert conflicts  # else it was none


async def test_what_shares_a_transaction_with_a_conflict_is_not_spoiled(
    postgres_url: str, conflicts: list[StoreConflict]
) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.bootstrap("bob")
        await b.operator.catch_up()
        before = b.store.commits
        await asyncio.gather(
            a.send(schedule("a", context="http://a.example"), m.CreatedOpt),
            *(
                b.send(
                    replace(schedule(f"b{ven_id}", context="http://b.example"), ven_id=ven_id), m.CreatedOpt
                )
                for ven_id in (ALICE, BOB)
            ),
        )
        assert len(conflicts) == 1
        assert b.store.commits - before <= 3


async def test_an_event_changed_by_two_has_both_versions(
    postgres_url: str, conflicts: list[StoreConflict]
) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.operator.publish_events([draft("e")])
        await b.operator.catch_up()
        await asyncio.gather(
            a.operator.modify_event("e", signals=(price_signal([7.0] * 6),)),
            b.operator.modify_event("e", signals=(price_signal([8.0] * 6),)),
        )
        assert len(conflicts) == 1
        await all_caught_up(a, b)
        record = a.operator.event("e")
        assert record is not None
        assert record == b.operator.event("e") == await a.operator.stored_event("e")
        values = [each.signals[0].intervals[0].signal_value for each in record.versions]
        assert [each.modification_number for each in record.versions] == [0, 1, 2]
        assert sorted(value for value in values if value is not None) == [0.1, 7.0, 8.0]


async def test_an_event_id_is_given_once(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        results = await asyncio.gather(
            a.operator.publish_events([draft("e")]),
            b.operator.publish_events([draft("e", values=(9.0,))]),
            return_exceptions=True,
        )
        assert {type(each) for each in results} == {tuple, NotAllowed}
        await all_caught_up(a, b)
        assert a.operator.events() == b.operator.events()


# --- who is who --------------------------------------------------------------------------------------------


async def test_one_name_is_one_ven(postgres_url: str) -> None:
    settings = replace(SETTINGS, open_enrolment=True)
    async with processes(postgres_url, 3, settings) as rigs:
        replies = await asyncio.gather(*(rig.register("carol") for rig in rigs))
        assert len({each.ven_id for each in replies}) == 1
        await all_caught_up(*rigs)
        for rig in rigs:
            assert rig.service.memory.ven_count() == 3


async def test_one_certificate_is_one_vens(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await b.operator.catch_up()
        results = await asyncio.gather(
            a.operator.set_fingerprint(ALICE, "AA:AA"),
            b.operator.set_fingerprint(BOB, "aa:aa"),
            return_exceptions=True,
        )
        assert {type(each) for each in results} == {type(None), NotAllowed}
        await all_caught_up(a, b)
        holders = {rig.service.memory.ven_with("AA:AA") for rig in (a, b)}
        assert len(holders) == 1
        stored = [each for each in a.service.memory.vens() if each.provision.fingerprint is not None]
        assert set(stored) == holders


async def test_the_first_certificate_is_pinned_once(postgres_url: str) -> None:
    settings = replace(SETTINGS, open_enrolment=True, identity=Identity.CERTIFICATE)
    message = m.CreatePartyRegistration(request_id="r", http_pull_model=True)
    async with processes(postgres_url, 2, settings) as (a, b):
        codes = await asyncio.gather(
            *(
                code_of(rig, replace(message, ven_name=name), PeerIdentity(fingerprint="BB:BB"))
                for rig, name in ((a, "alice"), (b, "bob"))
            )
        )
        assert sorted(codes) == ["200", "463"]
        await all_caught_up(a, b)
        assert a.service.memory.vens() == b.service.memory.vens()
        registered = [each for each in a.service.memory.vens() if each.registration is not None]
        assert a.service.memory.ven_with("BB:BB") in registered
        assert len(registered) == 1


async def test_a_certificate_that_was_not_pinned_after_all_is_nobodys(postgres_url: str) -> None:
    settings = replace(SETTINGS, open_enrolment=True, identity=Identity.CERTIFICATE)
    message = m.CreatePartyRegistration(request_id="r", http_pull_model=True, ven_name="alice")
    async with processes(postgres_url, 2, settings) as rigs:
        peers = (PeerIdentity(fingerprint="AA:AA"), PeerIdentity(fingerprint="BB:BB"))
        codes = await asyncio.gather(
            *(code_of(rig, message, peer) for rig, peer in zip(rigs, peers, strict=True))
        )
        assert sorted(codes) == ["200", "463"]
        loser = codes.index("463")
        assert await code_of(rigs[loser], replace(message, ven_name="bob"), peers[loser]) == "200"


async def test_a_name_that_moved_is_heard_of(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.operator.remove(ALICE)
        await a.operator.provision([Provision(ven_id=VenId("ven-new"), ven_name="alice")])
        assert (await b.register("alice")).ven_id == "ven-new"  # an unknown name is looked up first
        await b.operator.catch_up()
        assert b.operator.removed() == (ALICE,)
