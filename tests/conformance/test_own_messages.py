"""Our own messages keep every rule: a VTN and a VEN in memory, a whole scripted hour, all bytes checked.

The VEN is the session with a scripted home; its messages go through the codec to the service and back. Each
exchange is seen by the check the live servers run.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.rules.watch import Conversation
from schemas.oadr20b.xmltypes import Duration
from tests.unit.ven.ven_fakes import NOTHING, FakeHome, create_report, created_registration, ids, request
from tests.unit.vtn.rig import ALICE, PT10M, SETTINGS, START, MemoryStore, Rig, draft, price_signal
from ven_client.messages import service_of
from ven_client.opt import OptDraft
from ven_client.rulewatch import RuleWatch
from ven_client.session import Session, State
from ven_client.settings import VenConfig
from ven_client.transport import Exchange
from vtn_server.operator import ReportRequestDraft, VenId
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import PeerIdentity

CHECKED = VtnSettings(
    vtn_id="vtn-1",
    identity=Identity.CLAIMED,
    poll_period=SETTINGS.poll_period,
    validate_outgoing=True,
    check_rules=True,
)


def plan(ven_id: VenId, offered: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    del ven_id
    return tuple(
        ReportRequestDraft(
            report_specifier_id=each.report_specifier_id,
            r_ids=tuple(line.r_id for line in each.descriptions),
            granularity=PT10M,
            report_back_duration=PT10M,
            start=now,
        )
        for each in offered
    )


class Pair:
    """A VEN and its VTN, joined in memory, on one clock that a test moves."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        chance = random.Random(1)
        config = VenConfig(ven_name="alice", resources=("battery-a",), query_first=True)
        self.session = Session(config, FakeHome(), ids(), chance.uniform)
        self.watch = RuleWatch()
        self.seen: Counter[str] = Counter()
        self.session.begin(rig.now)

    async def run(self, minutes: float) -> None:
        """Let the two talk until an instant."""
        end = self.rig.now + timedelta(minutes=minutes)
        while (due := self.session.next_due(self.rig.now)) is not None and due <= end:
            self.rig.now = max(self.rig.now, due)
            self.session.on_time(self.rig.now)
            while (message := self.session.take(self.rig.now)) is not None:
                await self._exchange(message)
        self.rig.now = end

    async def _exchange(self, message: m.AnyMessage) -> None:
        service, body = service_of(message), wire.write(message)
        status, reply = await self.rig.service.handle(body, PeerIdentity(connection="c"), service)
        assert status == 200
        exchange = Exchange(
            sent_at=self.rig.now, service=service, request=body, response=reply, http_status=status
        )
        self.watch(exchange)
        answer = wire.read(reply)
        self.seen.update((type(message).__name__, type(answer).__name__))
        self.session.on_reply(message, answer, self.rig.now)


@pytest.fixture
async def pair() -> Pair:
    return Pair(await Rig(MemoryStore(), CHECKED, plan).start())


async def hour(pair: Pair) -> None:
    """Play one of everything."""
    operator, session = pair.rig.operator, pair.session
    await pair.run(1)
    assert session.state is State.OPERATIONAL
    start = pair.rig.now + timedelta(minutes=5)
    late = draft("late", start=start, startafter=Duration(minutes=2), ramp_up=Duration(minutes=4))
    never = draft("never", start=start, required=ResponseRequired.NEVER, priority=2)
    await operator.publish_events([late, never, draft("gone")])
    await pair.run(2)
    await operator.modify_event("never", signals=(price_signal((0.9, 0.2, 0.3, 0.4, 0.5, 0.6)),))
    await operator.cancel_event("gone")
    await pair.run(10)
    away = m.Period(dtstart=pair.rig.now, duration=Duration(hours=1))
    opt_id = session.send_opt(
        OptDraft(opt_type=OptType.OPT_OUT, reason="economic", availability=(away,)), pair.rig.now
    )
    of_event = m.QualifiedEventId(event_id="late", modification_number=0)
    session.send_opt(
        OptDraft(opt_type=OptType.OPT_OUT, reason="emergency", qualified_event_id=of_event), pair.rig.now
    )
    await pair.run(5)
    session.cancel_opt(opt_id)
    (view,) = [each for each in operator.vens() if each.ven_id == ALICE]
    await operator.cancel_reports(ALICE, (view.requests[0].report_request_id,))
    await operator.request_reregistration(ALICE)
    await pair.run(30)
    await operator.cancel_registration(ALICE)
    await pair.run(15)
    assert session.state is State.OPERATIONAL  # it registered anew
    session.cancel_registration()
    await pair.run(5)


async def test_no_rule_is_broken_in_either_direction(pair: Pair) -> None:
    await hour(pair)
    assert pair.watch.violations == ()
    assert pair.rig.service.stats().rule_violations == ()
    assert pair.rig.service.stats().application_errors == ()
    assert set(pair.seen) == {
        "QueryRegistration",
        "CreatePartyRegistration",
        "CreatedPartyRegistration",
        "CancelPartyRegistration",
        "CanceledPartyRegistration",
        "RequestReregistration",
        "RegisterReport",
        "RegisteredReport",
        "CreateReport",
        "CreatedReport",
        "UpdateReport",
        "UpdatedReport",
        "CancelReport",
        "CanceledReport",
        "Poll",
        "Response",
        "RequestEvent",
        "DistributeEvent",
        "CreatedEvent",
        "CreateOpt",
        "CreatedOpt",
        "CancelOpt",
        "CanceledOpt",
    }


async def test_the_watch_sees_what_is_wrong(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    await pair.run(1)
    wrong: list[Callable[[bytes], bytes]] = [
        lambda body: body.replace(b' ei:schemaVersion="2.0b"', b""),  # r509
        lambda body: body.replace(b":00Z<", b":00<"),  # r1
    ]
    poll = wire.write(m.Poll(ven_id=ALICE))
    report = m.UpdateReport(
        request_id="u",
        reports=(
            m.Report(
                report_request_id="none",
                report_specifier_id="none",
                dtstart=START,
                created_date_time=START,
            ),
        ),
        ven_id=ALICE,
    )
    with caplog.at_level(logging.WARNING):
        for body, change in zip((poll, wire.write(report)), wrong, strict=True):
            service = service_of(wire.read(body))
            status, _ = await pair.rig.service.handle(change(body), PeerIdentity(), service)
            assert status == 200
    found = dict(pair.rig.service.stats().rule_violations)
    assert found == {"1": 2, "313": 2, "509": 1}
    assert "r509 oadrPoll/@schemaVersion" in caplog.text


def test_a_conversation_remembers_what_an_answer_refers_to() -> None:
    conversation = Conversation()
    poll, at = m.Poll(ven_id="ven-1"), START

    def seen(request: m.AnyMessage, reply: m.AnyMessage) -> set[str]:
        return {each.rule for each in conversation.exchange(wire.write(request), wire.write(reply), at)}

    assert seen(m.QueryRegistration(request_id="q"), created_registration()) == {"404"}
    assert conversation.ven_id == "ven-1"
    assert seen(poll, create_report(request())) == set()
    said = m.EiResponse(code="200", request_id="c1")
    assert seen(m.CreatedReport(response=said, ven_id="ven-1"), NOTHING) == {"329"}
    assert seen(m.CreatedReport(response=said, pending=("r1",), ven_id="ven-1"), NOTHING) == set()
    assert seen(poll, m.RequestReregistration(ven_id="ven-1")) == set()


async def test_nothing_is_counted_unless_it_is_wanted() -> None:
    rig = await Rig(MemoryStore(), SETTINGS).start()
    await rig.bootstrap("alice")
    body = wire.write(m.Poll(ven_id=ALICE)).replace(b' ei:schemaVersion="2.0b"', b"")
    status, _ = await rig.service.handle(body, PeerIdentity(), service_of(m.Poll(ven_id=ALICE)))
    assert status == 200
    assert rig.service.stats().rule_violations == ()
