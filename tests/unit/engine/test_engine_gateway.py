"""The gateway over a real VTN on a memory store: what VENs say becomes orders, phases, answers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import inf

import pytest

from dso_engine.gateway import OpenAdrGateway
from dso_engine.gateway_messages import Contexts, report_requests
from dso_engine.market import Side, sequence_number
from dso_engine.model import SLOT, HomeId, Pcc, Phase
from dso_engine.ports import Delivery, HourResult, SlotOrder
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType
from schemas.oadr20b.xmltypes import Duration
from tests.unit.vtn.rig import (
    ALICE,
    BOB,
    PT10M,
    SETTINGS,
    START,
    MemoryStore,
    Rig,
    ids_of,
    metadata,
    opted,
    said,
)
from vtn_server.state import ReportRequestDraft, VenId

A, B = HomeId("H01"), HomeId("H02")
HOUR = START + timedelta(hours=2)
SLOT0 = START + SLOT
PCC = Pcc(feeder=1, phase=Phase.B)
SPECIFIERS: Mapping[str, tuple[str, ...]] = {
    "offer": ("volume", "limit-price"),
    "commitment": ("grid-energy", "flexibility-up", "flexibility-down"),
    "meter-energy": ("energy",),
    "switch": ("phase",),
}


class Desk:
    """A VTN, a gateway on it and two homes that have registered; alice has a switch."""

    def __init__(self) -> None:
        self.rig = Rig(MemoryStore(), SETTINGS, self._plan)
        self.gateway = OpenAdrGateway(
            operator=lambda: self.rig.operator,
            vens={A: ALICE, B: BOB},
            switches={A: "switch-a"},
            contexts=Contexts(),
            seed=7,
            clock=self,
        )
        self._requests: dict[tuple[VenId, str], str] = {}
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return self.rig.now

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        raise AssertionError("the gateway does not sleep")

    @staticmethod
    def _plan(ven: VenId, reports: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
        del ven, now
        return report_requests(reports, START)

    async def start(self) -> Desk:
        await self.rig.start()
        for name in ("alice", "bob"):
            reports = tuple(metadata(s, ids) for s, ids in SPECIFIERS.items())
            ven = await self.rig.bootstrap(name, reports)
            created = await self.rig.poll(ven, m.CreateReport)
            for request in created.requests:
                self._requests[ven, request.specifier.report_specifier_id] = request.report_request_id
            answer = m.CreatedReport(response=said(created.request_id), ven_id=ven)
            await self.rig.send(answer, m.Response)
        return self

    async def report(
        self,
        ven: VenId,
        specifier: str,
        start: datetime,
        *rows: dict[str, float | m.ResourceStatus],
        code: str = "200",
    ) -> None:
        """Send one report of ten-minute rows."""
        intervals = tuple(
            m.Interval(
                dtstart=start + k * SLOT,
                duration=PT10M,
                payloads=tuple(
                    m.ReportPayload.of(r_id, value)
                    if isinstance(value, float)
                    else m.ReportPayload(r_id=r_id, payload=value)
                    for r_id, value in row.items()
                ),
            )
            for k, row in enumerate(rows)
        )
        report = m.Report(
            dtstart=start,
            duration=Duration.of(len(rows) * SLOT),
            intervals=intervals,
            report_request_id=self._requests[ven, specifier],
            report_specifier_id=specifier,
            report_name="TELEMETRY_USAGE",
            created_date_time=self.rig.now,
        )
        message = m.UpdateReport(request_id=f"u{next(self._numbers)}", reports=(report,), ven_id=ven)
        await self.rig.send(message, m.UpdatedReport, code)

    async def offer(
        self, ven: VenId, *rows: tuple[float, float], hour: datetime = HOUR, code: str = "200"
    ) -> None:
        """Send an offer: volume and limit price per slot."""
        named: Sequence[dict[str, float | m.ResourceStatus]] = [
            {"volume": volume, "limit-price": price} for volume, price in rows
        ]
        await self.report(ven, "offer", hour, *named, code=code)

    async def drain(self, ven: VenId, opt: OptType = OptType.OPT_IN) -> list[str]:
        """Fetch events and answer those that want it; return their ids."""
        sent = await self.rig.poll(ven, m.DistributeEvent)
        answer = opted(sent, ven, opt)
        if answer.event_responses:
            await self.rig.send(answer, m.Response)
        return ids_of(sent)


@pytest.fixture
async def desk() -> Desk:
    return await Desk().start()


def brief(orders: Sequence[SlotOrder]) -> list[tuple[str, datetime, Side, int, int]]:
    return [(o.order.home, o.slot, o.order.side, o.order.price_millicent, o.order.volume_wh) for o in orders]


# --- market ------------------------------------------------------------------------------------------------


async def test_orders_come_from_readings(desk: Desk) -> None:
    await desk.offer(ALICE, (120.0, 0.123456), (0.0, 0.2), (-50.0, 0.1))
    await desk.offer(BOB, (-7.0, 0.12345499))
    orders = await desk.gateway.orders(HOUR)
    assert brief(orders) == [
        (A, HOUR, Side.BUY, 12_346, 120),  # rounded to 1e-5 EUR/kWh
        (A, HOUR + 2 * SLOT, Side.SELL, 10_000, 50),  # a slot without volume is no order
        (B, HOUR, Side.SELL, 12_345, 7),
    ]
    assert [o.order.seq for o in orders] == [sequence_number(o.slot, o.order.home, 7) for o in orders]
    assert await desk.gateway.orders(HOUR + timedelta(hours=1)) == ()


async def test_the_last_offer_before_the_gate_counts_and_none_after_it(desk: Desk) -> None:
    await desk.offer(ALICE, (100.0, 0.12))
    await desk.offer(ALICE, (90.0, 0.12))
    desk.rig.now = HOUR - timedelta(minutes=75)
    await desk.offer(ALICE, (80.0, 0.12), code="454")
    await desk.offer(BOB, (80.0, 0.12), code="454")
    assert brief(await desk.gateway.orders(HOUR)) == [(A, HOUR, Side.BUY, 12_000, 90)]


async def test_an_offer_nobody_can_mean_spoils_nothing_for_the_others(desk: Desk) -> None:
    await desk.offer(ALICE, (inf, 0.12), (1e12, 0.12), (10.0, inf), (10.0, 1e12), (-inf, 0.12), (0.4, 0.1))
    await desk.offer(BOB, (5.0, 0.12))
    assert brief(await desk.gateway.orders(HOUR)) == [(B, HOUR, Side.BUY, 12_000, 5)]


async def test_a_volume_without_price_is_no_order(desk: Desk) -> None:
    await desk.report(ALICE, "offer", HOUR, {"volume": 10.0})
    assert await desk.gateway.orders(HOUR) == ()


async def test_results_go_to_their_homes_and_acceptance_counts_before_the_hour_only(desk: Desk) -> None:
    results = [HourResult(home=h, price_millicent=(1,) * 6, volume_wh=(0,) * 6) for h in (A, B)]
    await desk.gateway.publish_results(HOUR, results)
    assert await desk.drain(ALICE) == [f"mkt-20180516T1200Z-{ALICE}"]
    assert desk.gateway.accepted(HOUR) == {A}
    desk.rig.now = HOUR
    await desk.drain(BOB)
    assert desk.gateway.accepted(HOUR) == {A}, "silence until the hour starts refuses"


async def test_opt_out_refuses(desk: Desk) -> None:
    await desk.gateway.publish_results(
        HOUR, [HourResult(home=A, price_millicent=(1,) * 6, volume_wh=(0,) * 6)]
    )
    await desk.drain(ALICE, OptType.OPT_OUT)
    assert desk.gateway.accepted(HOUR) == frozenset()


async def test_no_results_no_message(desk: Desk) -> None:
    await desk.gateway.publish_results(HOUR, [])
    assert desk.rig.operator.events() == ()


async def test_commitments(desk: Desk) -> None:
    full: dict[str, float | m.ResourceStatus] = {
        "grid-energy": -120.0,
        "flexibility-up": 900.4,
        "flexibility-down": -3.0,
    }
    await desk.report(ALICE, "commitment", HOUR, full, {"flexibility-up": 1.0}, {"grid-energy": inf})
    await desk.report(BOB, "commitment", HOUR, {"grid-energy": 5.0})
    found = await desk.gateway.commitments(HOUR)
    assert [(c.home, c.slot, c.grid_energy_wh, c.up_w, c.down_w) for c in found] == [
        (A, HOUR, -120, 900, 0),
        (B, HOUR, 5, 0, 0),
    ]


async def test_an_absent_home_makes_no_orders(desk: Desk) -> None:
    await desk.offer(ALICE, (100.0, 0.12))
    schedule = m.CreateOpt(
        opt_id="o1",
        opt_type=OptType.OPT_OUT,
        opt_reason="economic",
        ven_id=ALICE,
        availability=(m.Period(dtstart=HOUR, duration=Duration(hours=1)),),
        created_date_time=desk.rig.now,
        request_id="o",
        target=m.Target(ven_ids=(ALICE,)),
    )
    await desk.rig.send(schedule, m.CreatedOpt)
    assert desk.gateway.absent(HOUR) == {A}
    assert desk.gateway.absent(HOUR + timedelta(hours=1)) == frozenset()
    assert await desk.gateway.orders(HOUR) == ()


# --- phases ------------------------------------------------------------------------------------------------


def at_phase(value: float) -> m.ResourceStatus:
    return m.ResourceStatus(
        online=True,
        manual_override=False,
        load_control_state=m.LoadControlState(set_point=m.LoadControlValue(current=value)),
    )


async def test_phases_are_published_once_and_then_modified(desk: Desk) -> None:
    plan = (Phase.B,) * 6
    await desk.gateway.publish_phases(HOUR, {A: plan})
    assert await desk.drain(ALICE) == [f"phase-20180516T1200Z-{ALICE}"]
    await desk.gateway.publish_phases(HOUR, {A: plan})
    event = desk.rig.operator.event(f"phase-20180516T1200Z-{ALICE}")
    assert event is not None
    assert event.modification_number == 0
    desk.rig.now = HOUR + timedelta(minutes=18)
    await desk.gateway.publish_phases(HOUR, {A: (Phase.B,) * 2 + (Phase.C,) * 4})
    event = desk.rig.operator.event(event.event_id)
    assert event is not None
    assert event.modification_number == 1
    assert [i.signal_value for i in event.signals[0].intervals] == [2.0, 2.0, 3.0, 3.0, 3.0, 3.0]


async def test_opting_out_of_a_phase_command(desk: Desk) -> None:
    await desk.gateway.publish_phases(HOUR, {A: (Phase.B,) * 6})
    assert desk.gateway.phase_opt_outs(HOUR) == frozenset()
    await desk.drain(ALICE, OptType.OPT_OUT)
    assert desk.gateway.phase_opt_outs(HOUR) == {A}


async def test_the_newest_confirmed_phase_wins(desk: Desk) -> None:
    assert await desk.gateway.confirmed_phases(START) == {}
    await desk.report(ALICE, "switch", START + SLOT, {"phase": at_phase(3.0)})
    await desk.report(ALICE, "switch", START, {"phase": at_phase(2.0)})  # older, sent again later
    now = START + 2 * SLOT
    assert await desk.gateway.confirmed_phases(now) == {A: Phase.C}
    nonsense: list[dict[str, float | m.ResourceStatus]] = [{"phase": at_phase(v)} for v in (0.0, 4.0, inf)]
    await desk.report(ALICE, "switch", now, *nonsense)
    online = m.ResourceStatus(online=True, manual_override=False)
    await desk.report(ALICE, "switch", now + 3 * SLOT, {"phase": online})
    assert await desk.gateway.confirmed_phases(now + 4 * SLOT) == {A: Phase.C}


# --- metering ----------------------------------------------------------------------------------------------


async def test_metered_energy_of_one_slot(desk: Desk) -> None:
    await desk.report(ALICE, "meter-energy", START, {"energy": 10.0}, {"energy": -20.0})
    await desk.report(BOB, "meter-energy", START + SLOT, {"energy": inf})
    assert await desk.gateway.metered_wh(START) == {A: 10}
    assert await desk.gateway.metered_wh(START + SLOT) == {A: -20}


# --- price -------------------------------------------------------------------------------------------------


async def test_delivery_record_follows_the_current_version(desk: Desk) -> None:
    gateway, rig = desk.gateway, desk.rig
    assert gateway.delivery(SLOT0, PCC) is None
    await gateway.open_prices(SLOT0, {PCC: (A, B), Pcc(feeder=2, phase=Phase.A): ()})
    assert len(rig.operator.events()) == 1, "a PCC without homes has no price"
    opened = rig.now
    assert gateway.delivery(SLOT0, PCC) == Delivery(published_at=opened, fetched_by_all_at=None)
    rig.wait(5)
    await desk.drain(ALICE)
    assert gateway.delivery(SLOT0, PCC) == Delivery(published_at=opened, fetched_by_all_at=None)
    rig.wait(5)
    await desk.drain(BOB)
    assert gateway.delivery(SLOT0, PCC) == Delivery(published_at=opened, fetched_by_all_at=rig.now)
    rig.now = SLOT0 + timedelta(seconds=20)
    await gateway.set_prices(SLOT0, {PCC: -5_000})
    assert gateway.delivery(SLOT0, PCC) == Delivery(published_at=rig.now, fetched_by_all_at=None)
    await desk.drain(BOB)
    rig.wait(7)
    await desk.drain(ALICE)
    assert gateway.delivery(SLOT0, PCC) == Delivery(
        published_at=rig.now - timedelta(seconds=7), fetched_by_all_at=rig.now
    )


async def test_the_price_at_the_end_is_the_last_version(desk: Desk) -> None:
    gateway, other = desk.gateway, Pcc(feeder=2, phase=Phase.A)
    await gateway.open_prices(SLOT0, {PCC: (A,), other: (B,)})
    assert gateway.price_at_end(SLOT0) == {A: 0, B: 0}
    desk.rig.now = SLOT0 + timedelta(seconds=20)
    for u in (-5_000, -12_345):
        desk.rig.wait(10)
        await gateway.set_prices(SLOT0, {PCC: u})
    assert gateway.price_at_end(SLOT0) == {A: -12_345, B: 0}
    assert gateway.price_at_end(SLOT0 + SLOT) == {}


async def test_curtailment_is_one_event_that_is_tightened(desk: Desk) -> None:
    desk.rig.now = SLOT0 + timedelta(seconds=90, microseconds=123_456)  # a wall clock is never round
    await desk.gateway.curtail(SLOT0, PCC, {A: 1_500, B: 1_500})
    desk.rig.wait(20)
    await desk.gateway.curtail(SLOT0, PCC, {A: 1_000, B: 1_000})
    (event,) = desk.rig.operator.events()
    assert event.dtstart == SLOT0 + timedelta(seconds=90)
    assert event.audience == (ALICE, BOB)
    assert event.modification_number == 1
    assert [i.signal_value for i in event.signals[0].intervals] == [1_000.0]
    assert event.dtstart + event.duration.timedelta() == SLOT0 + SLOT
