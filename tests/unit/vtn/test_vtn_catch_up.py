"""What a VTN process has not heard of yet from the others on its PostgreSQL, or may have missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import text

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from tests.unit.vtn.process_rig import Gate, all_caught_up, cut_lines, follower_of, processes
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    SETTINGS,
    draft,
    metadata,
    opted,
    price_signal,
    said,
    wanted,
)
from tests.unit.vtn.test_vtn_opt import schedule
from tests.unit.vtn.test_vtn_schema import raw
from vtn_server.decision import SaveOpt, SharedWrite
from vtn_server.sqlstore import SqlStore
from vtn_server.store import Line, Note

# --- what has not been heard of ----------------------------------------------------------------------------


async def test_an_empty_poll_may_be_late_and_nothing_else(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await b.operator.catch_up()
        gate = Gate(b)
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        before = b.store.commits
        await b.poll(ALICE, m.Response)
        assert b.store.commits == before
        answering = asyncio.create_task(b.send(opted(sent, ALICE), m.Response))
        asking = asyncio.create_task(
            b.send(m.RequestEvent(request_id="r", ven_id=BOB), m.DistributeEvent, "463")
        )
        cancelling = asyncio.create_task(b.operator.cancel_event("e"))
        done, _ = await asyncio.wait({answering, asking, cancelling}, timeout=0.1)
        assert not done
        gate.opened.set()
        await asyncio.gather(answering, asking, cancelling)
        await all_caught_up(a, b)
        assert a.operator.opts("e") == b.operator.opts("e")
        assert a.operator.opts("e")[ALICE].opt_type == OptType.OPT_IN


async def test_an_opt_given_to_one_is_not_written_over_by_another(postgres_url: str) -> None:
    """What oadrCreateOpt said of an event holds against a later oadrCreatedEvent (r206)."""
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        await b.operator.catch_up()
        gate = Gate(b)
        version = m.QualifiedEventId(event_id="e", modification_number=0)
        out = replace(schedule("o"), availability=None, market_context=None, qualified_event_id=version)
        await a.send(out, m.CreatedOpt)
        answering = asyncio.create_task(b.send(opted(sent, ALICE, OptType.OPT_IN), m.Response))
        done, _ = await asyncio.wait({answering}, timeout=0.1)
        assert not done
        gate.opened.set()
        await answering
        await all_caught_up(a, b)
        for rig in (a, b):
            opt = rig.operator.opts("e")[ALICE]
            assert (opt.opt_type, opt.qualified) == (OptType.OPT_OUT, True)


async def test_an_answer_to_a_version_that_was_changed_elsewhere_is_refused(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        await b.operator.catch_up()
        gate = Gate(b)
        await a.operator.modify_event("e", signals=(price_signal([7.0] * 6),))
        answering = asyncio.create_task(b.send(opted(sent, ALICE), m.Response, "450"))
        done, _ = await asyncio.wait({answering}, timeout=0.1)
        assert not done
        gate.opened.set()
        await answering
        await all_caught_up(a, b)
        assert a.operator.opts("e") == b.operator.opts("e") == {}


async def test_an_answer_to_what_was_not_heard_of_counts(postgres_url: str) -> None:
    """It would change nothing, and be answered 200, if it were taken for a repeated one."""
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice", (metadata(),))
        await b.operator.catch_up()
        gate = Gate(b)
        (request_id,) = await a.operator.request_reports(ALICE, [wanted()])
        asked = await a.poll(ALICE, m.CreateReport)
        answer = m.CreatedReport(response=said(asked.request_id), pending=(request_id,), ven_id=ALICE)
        answering = asyncio.create_task(b.send(answer, m.Response))
        done, _ = await asyncio.wait({answering}, timeout=0.1)
        assert not done
        gate.opened.set()
        await answering
        await all_caught_up(a, b)
        for rig in (a, b):
            view = rig.operator.ven(ALICE)
            assert view is not None
            assert view.pending == 0
            assert [each.acknowledged for each in view.requests] == [True]


async def test_a_ven_may_say_everything_to_another_process(postgres_url: str) -> None:
    """Each message goes to the process that did not get the one before."""
    async with processes(postgres_url, 2) as rigs:
        turns = [rigs[number % 2] for number in range(20)]
        registered = await turns[0].register("alice")
        ven_id = registered.ven_id or ""
        await turns[1].send(
            m.RegisterReport(request_id="r1", reports=(metadata(),), ven_id=ven_id), m.RegisteredReport
        )
        await turns[1].operator.catch_up()
        ours = await turns[1].poll(ven_id, m.RegisterReport)
        await turns[2].send(
            m.RegisteredReport(response=m.EiResponse(code="200", request_id=ours.request_id), ven_id=ven_id),
            m.Response,
        )
        await turns[3].operator.request_reregistration(ALICE)
        await turns[4].operator.catch_up()
        await turns[4].poll(ven_id, m.RequestReregistration)
        message = m.CreatePartyRegistration(
            request_id="r0", ven_id=ven_id, registration_id=registered.registration_id, http_pull_model=True
        )
        again = await turns[5].send(message, m.CreatedPartyRegistration)
        assert again.registration_id == registered.registration_id
        await all_caught_up(*rigs)
        for rig in rigs:
            (view,) = (each for each in rig.operator.vens() if each.ven_id == ALICE)
            assert (view.pending, view.registered, view.given_up) == (0, True, ())


async def test_a_process_that_hears_nothing_answers_nothing(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await b.operator.catch_up()
        follower_of(b)._current_at -= follower_of(b).limits.stale_s + 1.0
        assert (await b.post(m.Poll(ven_id=ALICE)))[0] == 503
        await b.operator.catch_up()
        assert (await b.post(m.Poll(ven_id=ALICE)))[0] == 200
        assert not b.service.is_broken


async def test_an_answer_whose_note_is_still_to_come_is_read_with_its_ven(postgres_url: str) -> None:
    """A note is read after later commits: of what those changed nothing may be missing beside its version."""
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        await b.operator.catch_up()
        follower = follower_of(b)
        take = follower._take
        notes: list[Note] = []
        both = asyncio.Event()

        async def later(note: Note) -> None:
            """Read the first note when both commits are there, and the second one never."""
            notes.append(note)
            if len(notes) == 1:
                await both.wait()
                await take(note)

        follower._take = later  # type: ignore[method-assign]  # as if it were slow
        await a.send(schedule("o"), m.CreatedOpt)
        async with asyncio.timeout(20):
            while not notes:
                await asyncio.sleep(0.01)  # the database has to tell
        await a.send(opted(sent, ALICE), m.Response)
        both.set()
        await b.operator.catch_up()
        assert b.service.memory.ven(ALICE) == a.service.memory.ven(ALICE)
        assert b.operator.opts("e") == a.operator.opts("e") != {}


async def test_our_own_answer_counts_although_another_commit_is_heard_of_first(postgres_url: str) -> None:
    """A process that was busy for a moment hears of what came after its commit before it takes that over."""
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        store = a.store
        assert isinstance(store, SqlStore)
        commit = store.commit

        async def busy(writes: Sequence[SharedWrite]) -> None:
            """Return when another process has gone on, and that is known here."""
            await commit(writes)
            if any(isinstance(each, SaveOpt) for each in writes):
                store.commit = commit  # type: ignore[method-assign]
                await b.operator.catch_up()
                await b.operator.request_reregistration(ALICE)
                await a.operator.catch_up()

        store.commit = busy  # type: ignore[method-assign]  # as if the process had stopped there
        await a.send(opted(sent, ALICE), m.Response)
        await all_caught_up(a, b)
        assert a.operator.opts("e") == b.operator.opts("e") != {}


# --- lines -------------------------------------------------------------------------------------------------


async def test_nothing_is_lost_while_the_line_is(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await all_caught_up(a, b)
        assert cut_lines(postgres_url) == 2
        await a.operator.publish_events([draft("e")])
        await a.send(schedule("s"), m.CreatedOpt)
        await a.poll(ALICE, m.DistributeEvent)
        await all_caught_up(a, b)
        assert a.service.memory.vens() == b.service.memory.vens()
        assert a.operator.events() == b.operator.events()
        assert a.operator.fetched("e") == b.operator.fetched("e") != {}
        await b.poll(ALICE, m.Response)


async def test_an_answer_to_what_was_over_by_then_is_not_lost_with_the_line(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        sent = await a.poll(ALICE, m.DistributeEvent)
        await b.operator.catch_up()
        follower = follower_of(b)
        opened = asyncio.Event()
        inner = follower._sharing.open_line

        async def open_line() -> Line:
            await opened.wait()
            return await inner()

        follower._sharing.open_line = open_line  # type: ignore[method-assign]  # as if it took its time
        cut_lines(postgres_url)
        await a.send(opted(sent, ALICE), m.Response)
        record = b.operator.event("e")
        assert record is not None
        assert record.over_at is not None
        for rig in (a, b):
            rig.now = record.over_at
        await b.operator.publish_events([draft("later", start=record.over_at)])  # which looks what is over
        opened.set()
        await all_caught_up(a, b)
        assert b.operator.opts("e") == a.operator.opts("e") != {}


async def test_a_database_that_lost_the_deliveries_gets_them_again(postgres_url: str) -> None:
    async with processes(postgres_url, 2) as (a, b):
        await a.bootstrap("alice")
        await a.operator.publish_events([draft("e")])
        for number in range(2):  # so that versions are ahead of those of new rows
            await a.poll(ALICE, m.DistributeEvent)
            a.wait(SETTINGS.resend_after_s * (1 + number))
        await all_caught_up(a, b)
        with raw(postgres_url) as connection:
            connection.execute(text("DELETE FROM deliveries"))
        cut_lines(postgres_url)
        await all_caught_up(a, b)
        await b.poll(ALICE, m.DistributeEvent)
        await a.operator.catch_up()
        assert a.service.memory.delivery_versions() == {ALICE: 1}


async def test_one_leads_and_another_takes_over(postgres_url: str) -> None:
    held: list[str] = []
    changed = asyncio.Condition()

    @asynccontextmanager
    async def duties(name: str) -> AsyncIterator[None]:
        async with changed:
            held.append(name)
            changed.notify_all()
        yield
        held.remove(name)

    async with processes(postgres_url, 2) as (a, b):
        followers = {"a": follower_of(a), "b": follower_of(b)}
        async with followers["a"].leading(lambda: duties("a")), followers["b"].leading(lambda: duties("b")):
            async with asyncio.timeout(10), changed:
                await changed.wait_for(lambda: len(held) == 1)
            first = held[0]
            await followers[first].close()  # as if it had died
            async with asyncio.timeout(10), changed:
                await changed.wait_for(lambda: held and held[-1] != first)
            assert first not in held
