"""What a VEN keeps on disk, and how it goes on after its process has died."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feederloop.clock import SimClock
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.errors import TransportError
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import (
    T0,
    FakeHome,
    Peer,
    after,
    create_report,
    distribute,
    event,
    ids,
    kinds,
    middle,
    only,
    request,
    usual_reply,
)
from ven_client.application import Verdict
from ven_client.client import VenClient
from ven_client.durable import DurableSession
from ven_client.keeping import Keeper
from ven_client.opt import OptDraft
from ven_client.registration import State
from ven_client.settings import VenConfig
from ven_client.state import HomeMemory, SessionState, VenState
from ven_client.statefile import (
    CommitFailed,
    DamagedState,
    StateFile,
    StateInUse,
    UnknownFormat,
    WrongOwner,
)

CONFIG = VenConfig(ven_name="home-1")


class Home(FakeHome):
    """A home without a memory of its own."""

    def memory(self, now: object) -> HomeMemory:
        return HomeMemory()

    def recall(self, memory: HomeMemory, now: object) -> None: ...


def durable(home: Home, config: VenConfig = CONFIG) -> DurableSession:
    return DurableSession(config, home, ids(), middle)


def started(home: Home) -> Peer:
    session = durable(home)
    session.begin(T0)
    peer = Peer(session)
    peer.run(T0)
    return peer


def reborn(
    peer: Peer, path: Path, now: object = None, config: VenConfig = CONFIG, home: Home | None = None
) -> Peer:
    """The same VEN after its process died right after a commit."""
    session = peer.session
    assert isinstance(session, DurableSession)
    file = StateFile(path, CONFIG.ven_name)
    file.commit(VenState(session=session.snapshot(), home=HomeMemory()))
    file.close()
    file = StateFile(path, CONFIG.ven_name)
    again = durable(home or Home(), config)
    Keeper(again, Home(), file).restore(after(minutes=1))
    file.close()
    return Peer(again)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ven.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[StateFile]:
    kept = StateFile(path, "home-1")
    yield kept
    kept.close()


def test_a_restarted_ven_asks_for_events_first_and_does_not_register(path: Path) -> None:
    peer = started(Home())
    again = reborn(peer, path)
    assert again.session.state is State.OPERATIONAL
    sent = again.run(after(minutes=1))
    assert kinds(sent) == ["RequestEvent", "Poll"]
    assert again.session.registration_id == "reg-1"
    assert only(sent, m.Poll) == [m.Poll(ven_id="ven-1")]
    assert again.session.next_send(after(minutes=1)) >= after(minutes=1, seconds=10)  # type: ignore[operator]  # polls


def test_opts_and_offsets_are_kept_and_events_are_not_judged_again(path: Path) -> None:
    home = Home(verdicts={"e1": Verdict(opt_type=OptType.OPT_OUT, description="no")})
    peer = started(home)
    events = (event(startafter=Duration(minutes=10)), event("e2", start=after(hours=2)))
    peer.give(distribute(*events), now=after(minutes=1))
    fresh = Home()
    again = reborn(peer, path, home=fresh)
    assert again.session.events == peer.session.events
    assert [held.start_offset_s for held in again.session.events] == [300, 0]
    assert fresh.holds() == ("e1", "e2")
    again.replies[m.RequestEvent] = distribute(*events, request_id="d9")
    created = only(again.run(after(minutes=1)), m.CreatedEvent)[0]
    assert [(one.opt_type, one.description) for one in created.event_responses or ()] == [
        ("optOut", "no"),
        ("optIn", None),
    ]
    assert fresh.judged == []


def test_an_event_that_was_cancelled_while_the_ven_was_dead_ends(path: Path) -> None:
    peer = started(Home())
    peer.give(distribute(event()), now=after(minutes=1))
    home = Home()
    again = reborn(peer, path, home=home)
    again.run(after(minutes=1))  # the VTN lists nothing any more
    assert home.holds() == ()


def test_report_schedules_go_on_and_unsent_data_is_sent_as_it_was(path: Path) -> None:
    peer = started(Home())
    peer.give(create_report(request(), request("r2", "offer")), now=after(minutes=1))
    peer.session.on_time(after(minutes=10))
    unsent = peer.session.unsent_reports
    assert len(unsent) == 2
    home = Home()
    again = reborn(peer, path, home=home)
    assert again.session.unsent_reports == unsent
    assert again.session.pending_reports == ("r1", "r2")
    sent = again.run(after(minutes=30))
    updates = only(sent, m.UpdateReport)
    assert [report for update in updates for report in update.reports][:2] == list(unsent)
    assert [window.start for key, window in home.windows if key == "r1"] == [
        after(minutes=10),
        after(minutes=20),
    ]
    assert len(again.session.unsent_reports) == 0


def test_what_was_under_way_is_sent_again_until_it_is_answered(path: Path) -> None:
    peer = started(Home())
    session = peer.session
    peer.give(create_report(request()), now=after(minutes=1))
    session.send_opt(
        OptDraft(opt_type=OptType.OPT_OUT, reason="x", availability=(_noon(),)), after(minutes=1)
    )
    cut = session.take(after(minutes=1))
    assert isinstance(cut, m.CreateOpt)
    again = reborn(peer, path)
    sent = again.run(after(minutes=1))
    assert kinds(sent) == ["RequestEvent", "CreateOpt", "Poll"]
    assert sent[1] == cut
    third = reborn(again, path)
    assert "CreateOpt" not in kinds(third.run(after(minutes=1)))
    kept = third.session
    assert isinstance(kept, DurableSession)
    assert [(opt.message, opt.code) for opt in kept.opts] == [(cut, "200")]
    assert kept.opt_code(cut.opt_id) == "200"


def test_the_answer_to_a_report_request_outlives_the_process(path: Path) -> None:
    peer = started(Home())
    session = peer.session
    poll = m.Poll(ven_id="ven-1")
    assert session.take(after(minutes=1)) == poll
    session.on_reply(poll, create_report(request()), after(minutes=1))
    again = reborn(peer, path)
    assert kinds(again.run(after(minutes=1))) == ["RequestEvent", "CreatedReport", "Poll"]


def test_a_failed_message_is_outgoing_only_once(path: Path) -> None:
    peer = started(Home())
    session = peer.session
    session.send_opt(OptDraft(opt_type=OptType.OPT_OUT, reason="x", availability=(_noon(),)), T0)
    message = session.take(T0)
    assert message is not None
    session.on_failure(message, TransportError("cut"), T0)
    assert isinstance(session, DurableSession)
    assert session.snapshot().outgoing == (message,)


def test_a_bootstrap_that_was_cut_goes_on(path: Path) -> None:
    home = Home()
    session = durable(home)
    session.begin(T0)
    peer = Peer(session)
    message = session.take(T0)
    assert isinstance(message, m.CreatePartyRegistration)
    session.on_reply(message, peer._reply(message), T0)
    again = reborn(peer, path)
    sent = again.run(after(minutes=1))
    assert kinds(sent) == ["RequestEvent", "RegisterReport", "Poll"]
    assert again.session.state is State.OPERATIONAL


def test_a_registration_that_was_not_answered_is_begun_again(path: Path, file: StateFile) -> None:
    session = durable(Home())
    session.begin(T0)
    assert isinstance(session.take(T0), m.CreatePartyRegistration)
    keeper = Keeper(session, Home(), file)
    keeper.keep(T0)
    assert not keeper.restore(T0)


def test_a_home_that_offers_something_else_announces_anew(path: Path) -> None:
    class Grown(Home):
        def metadata(self, now: object) -> tuple[m.Report, ...]:
            reports = super().metadata(T0)
            return (*reports, replace(reports[0], report_specifier_id="new"))

    peer = started(Home())
    again = reborn(peer, path, home=Grown())
    sent = again.run(after(minutes=1))
    assert kinds(sent) == ["RequestEvent", "RegisterReport", "Poll"]
    assert len(only(sent, m.RegisterReport)[0].reports) == 4


def test_a_push_ven_that_moved_registers_again_with_its_ids(path: Path) -> None:
    config = replace(CONFIG, push_address="http://127.0.0.1:1/")
    again = reborn(started(Home()), path, config=config)
    sent = only(again.run(after(minutes=1)), m.CreatePartyRegistration)
    assert [(one.registration_id, one.ven_id) for one in sent] == [("reg-1", "ven-1")]


def test_a_cancelled_registration_takes_everything_with_it(path: Path) -> None:
    peer = started(Home())
    peer.give(create_report(request()), now=after(minutes=1))
    peer.session.cancel_registration()
    peer.run(after(minutes=2))
    session = peer.session
    assert isinstance(session, DurableSession)
    assert session.snapshot() == SessionState()


def test_opts_of_the_past_are_forgotten() -> None:
    peer = started(Home())
    session = peer.session
    assert isinstance(session, DurableSession)
    session.send_opt(OptDraft(opt_type=OptType.OPT_OUT, reason="x", availability=(_noon(),)), T0)
    peer.run(after(minutes=1))
    assert len(session.opts) == 1
    peer.run(after(hours=4))
    assert not session.opts


# --- the file ----------------------------------------------------------------------------------------------


def test_only_changes_are_written(file: StateFile) -> None:
    session = started(Home()).session
    assert isinstance(session, DurableSession)
    state = VenState(session=session.snapshot(), home=HomeMemory())
    assert file.load() is None
    file.commit(state)
    file.commit(VenState(session=session.snapshot(), home=HomeMemory()))
    assert file.commits == 1
    assert file.load() == state


def test_a_state_that_shrinks_leaves_nothing_behind(file: StateFile) -> None:
    session = started(Home()).session
    assert isinstance(session, DurableSession)
    file.commit(VenState(session=session.snapshot(), home=HomeMemory()))
    file.commit(VenState(session=SessionState(), home=HomeMemory()))
    assert file.load() is None


def test_unknown_formats_owners_and_damage_are_typed_errors(path: Path, tmp_path: Path) -> None:
    StateFile(path, "home-1").close()
    with pytest.raises(WrongOwner):
        StateFile(path, "home-2")
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UnknownFormat, match="format 99"):
        StateFile(path, "home-1")
    other = tmp_path / "other.sqlite"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(UnknownFormat):
        StateFile(other, "home-1")
    text = tmp_path / "text"
    text.write_text("no database at all, " * 100)
    with pytest.raises(DamagedState):
        StateFile(text, "home-1")
    with pytest.raises(DamagedState):
        StateFile(tmp_path / "nowhere" / "x.sqlite", "home-1")


@pytest.mark.parametrize(("kind", "body"), [("event", b"{}"), ("offer", b"<x/>"), ("later", b"{}")])
def test_damaged_rows_are_typed_errors(path: Path, kind: str, body: bytes) -> None:
    StateFile(path, "home-1").close()
    database = sqlite3.connect(path)
    database.execute("INSERT INTO record VALUES (?, 'k', ?)", (kind, body))
    database.commit()
    database.close()
    file = StateFile(path, "home-1")
    with pytest.raises(DamagedState):
        file.load()
    file.close()


def test_two_processes_cannot_share_the_file(path: Path, file: StateFile) -> None:
    with pytest.raises(StateInUse):
        StateFile(path, "home-1")


def test_a_failed_commit_is_an_error_and_no_state(path: Path, file: StateFile) -> None:
    session = started(Home()).session
    assert isinstance(session, DurableSession)
    file._db.execute("PRAGMA query_only = ON")
    with pytest.raises(CommitFailed):
        file.commit(VenState(session=session.snapshot(), home=HomeMemory()))


def _noon() -> m.Period:
    return m.Period(dtstart=T0 + timedelta(hours=2), duration=Duration(hours=1))


# --- before a message leaves -------------------------------------------------------------------------------


class Recorder:
    """A store that keeps the last state, and a VTN that looks into it at every message."""

    def __init__(self, items: list[m.AnyMessage]) -> None:
        self.state = VenState(session=SessionState(), home=HomeMemory())
        self.items = items
        self.seen: list[str] = []

    def load(self) -> VenState | None:
        return None

    def commit(self, state: VenState) -> None:
        self.state = state

    async def exchange(self, service: object, message: m.AnyMessage) -> m.AnyMessage:
        kept = self.state.session
        self.seen.append(type(message).__name__)
        match message:
            case m.CreatedEvent():
                opts = {e.held.event.descriptor.event_id: e.held.opt_type for e in kept.events}
                for answer in message.event_responses or ():
                    assert opts[answer.qualified_event_id.event_id] == answer.opt_type
            case m.CreatedReport():
                assert {job.request.report_request_id for job in kept.jobs} == set(message.pending)
            case m.UpdateReport():
                assert {id(r) for r in message.reports} <= {id(s.report) for s in kept.unsent}
            case m.CreateOpt():
                assert message in kept.outgoing
                assert message in [opt.message for opt in kept.opts]
            case m.RegisteredReport() | m.RegisterReport():
                assert message in kept.outgoing
        if isinstance(message, m.Poll) and self.items:
            return self.items.pop(0)
        return usual_reply(message)

    async def close(self) -> None: ...


async def test_every_promise_is_on_disk_before_it_leaves() -> None:
    home = Home(verdicts={"e2": Verdict(opt_type=OptType.OPT_OUT)})
    items: list[m.AnyMessage] = [
        m.RegisterReport(request_id="v1", ven_id="ven-1"),
        create_report(request()),
        distribute(event(), event("e2", start=after(hours=2))),
    ]
    store = Recorder(items)
    session = durable(home)
    clock = SimClock(T0)
    client = VenClient(session, store, home, clock, random.Random(1), keeper=Keeper(session, Home(), store))
    task = clock.spawn(client.run(), "ven")
    await clock.run(after(minutes=5))
    session.send_opt(OptDraft(opt_type=OptType.OPT_OUT, reason="economic", availability=(_noon(),)), T0)
    await clock.run(after(minutes=21))
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    promises = {"CreatedEvent", "CreatedReport", "UpdateReport", "CreateOpt", "RegisteredReport"}
    assert promises <= set(store.seen)
    assert store.state.session.unsent == ()


def cancelled_by_the_vtn() -> Peer:
    """A VEN that is to answer the cancellation of its registration."""
    peer = started(Home())
    poll = peer.session.take(after(minutes=1))
    assert isinstance(poll, m.Poll)
    bye = m.CancelPartyRegistration(request_id="bye", registration_id="reg-1", ven_id="ven-1")
    peer.session.on_reply(poll, bye, after(minutes=1))
    return peer


@pytest.mark.parametrize("under_way", [False, True])
def test_the_answer_to_a_cancellation_outlives_the_process_and_goes_first(
    path: Path, under_way: bool
) -> None:
    peer = cancelled_by_the_vtn()
    if under_way:
        assert isinstance(peer.session.take(after(minutes=1)), m.CanceledPartyRegistration)
    again = reborn(peer, path)
    assert again.session.state is State.UNREGISTERED
    again.session.begin(after(minutes=1))  # as a client does where there is no registration
    sent = again.run(after(minutes=1))
    assert kinds(sent)[:2] == ["CanceledPartyRegistration", "CreatePartyRegistration"]
    (farewell,) = only(sent, m.CanceledPartyRegistration)
    assert (farewell.response.request_id, farewell.registration_id) == ("bye", "reg-1")
    assert again.session.registration_id == "reg-1"
    third = reborn(again, path)
    assert "CanceledPartyRegistration" not in kinds(third.run(after(minutes=2)))


def test_nothing_else_outlives_the_registration(path: Path) -> None:
    peer = started(Home())
    session = peer.session
    assert isinstance(session, DurableSession)
    session.send_opt(OptDraft(opt_type=OptType.OPT_OUT, reason="x", availability=(_noon(),)), T0)
    poll = m.Poll(ven_id="ven-1")
    bye = m.CancelPartyRegistration(request_id="bye", registration_id="reg-1", ven_id="ven-1")
    session.on_reply(poll, bye, after(minutes=1))
    assert kinds(session.snapshot().outgoing) == ["CanceledPartyRegistration"]
    assert session.snapshot().registration is None


def test_a_registration_whose_reply_was_not_kept_is_made_anew(path: Path) -> None:
    session = durable(Home())
    session.begin(T0)
    peer = Peer(session)
    assert isinstance(session.take(T0), m.CreatePartyRegistration)
    again = reborn(peer, path)  # the VTN has answered, but nobody knows
    again.session.begin(after(minutes=1))
    sent = again.run(after(minutes=1))
    (create,) = only(sent, m.CreatePartyRegistration)
    assert (create.registration_id, create.ven_name) == (None, "home-1")
    assert kinds(sent)[:2] == ["CreatePartyRegistration", "RegisterReport"]
    assert again.session.state is State.OPERATIONAL
