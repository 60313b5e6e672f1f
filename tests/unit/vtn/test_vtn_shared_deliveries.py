"""Deliveries of events, and the rules of connections, over several VTN processes on one PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ResponseRequired
from tests.unit.vtn.process_rig import Gate, all_caught_up, processes
from tests.unit.vtn.rig import (
    ALICE,
    SETTINGS,
    draft,
    ids_of,
)

NEVER = ResponseRequired.NEVER


# --- deliveries --------------------------------------------------------------------------------------------


async def test_a_set_is_delivered_by_one_process(postgres_url: str) -> None:
    async with processes(postgres_url, 3) as rigs:
        a, b, c = rigs
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e1"), draft("e2")])
        await all_caught_up(*rigs)
        for rig in rigs:
            gate = Gate(rig)
            gate.opened.set()
        answers = await asyncio.gather(
            *(rig.post(m.Poll(ven_id=ALICE), connection=str(index)) for index, rig in enumerate(rigs))
        )
        assert sum(b"oadrDistributeEvent" in body for _, body in answers) == 1
        await all_caught_up(*rigs)
        for rig in rigs:
            await rig.poll(ALICE, m.Response)
            assert {
                ven_id: each.modification_number for ven_id, each in rig.operator.fetched("e1").items()
            } == {ALICE: 0}
        assert a.operator.fetched("e1") == b.operator.fetched("e1") == c.operator.fetched("e1")


async def test_an_unanswered_event_is_sent_so_often_in_all(postgres_url: str) -> None:
    settings = replace(SETTINGS, max_deliveries=3)
    async with processes(postgres_url, 2, settings) as rigs:
        await rigs[0].bootstrap("alice")
        await rigs[0].operator.publish_events([draft("e")])
        for number in range(3):
            await all_caught_up(*rigs)
            await rigs[number % 2].poll(ALICE, m.DistributeEvent)
            await all_caught_up(*rigs)
            for rig in rigs:
                await rig.poll(ALICE, m.Response)
                rig.wait(SETTINGS.resend_after_s)
        for rig in rigs:
            await rig.poll(ALICE, m.Response)
            view = rig.operator.ven(ALICE)
            assert view is not None
            assert view.unanswered_events == ("e",)


async def test_a_set_that_was_heard_by_one_is_done_for_all(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e", required=NEVER)])
        await a.poll(ALICE, m.DistributeEvent, connection="one")
        await a.poll(ALICE, m.Response, connection="one")
        await b.operator.catch_up()
        await b.poll(ALICE, m.Response, connection="two")
        await b.poll(ALICE, m.Response, connection="three")


async def test_a_set_that_may_be_lost_is_sent_once_more_by_whoever_is_asked(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e", required=NEVER)])
        await a.poll(ALICE, m.DistributeEvent, connection="one")
        await b.operator.catch_up()
        await b.poll(ALICE, m.DistributeEvent, connection="one")  # of its own: another process's is another
        await all_caught_up(a, b)
        await a.poll(ALICE, m.Response, connection="two")
        await b.poll(ALICE, m.Response, connection="three")


async def test_a_registration_begins_anew_everywhere(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e", required=NEVER)])
        await a.poll(ALICE, m.DistributeEvent)
        await a.poll(ALICE, m.Response)
        await b.register("alice")
        await all_caught_up(a, b)
        await b.poll(ALICE, m.RegisterReport)
        await a.operator.catch_up()
        assert ids_of(await a.poll(ALICE, m.DistributeEvent)) == ["e"]
