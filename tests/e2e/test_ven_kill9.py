"""A VEN killed at random moments against a real VTN: nothing lost, nothing twice, no new registration."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feederloop.hosting import VtnHost
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType, ResponseRequired, SignalType
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.ven_child import NAME, SECOND, value_of
from ven_client.state import VenState
from ven_client.statefile import StateFile
from vtn_server.records import EventDraft
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import Provision, Reading, ReportRequestDraft, VenId

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

KILLS = int(os.environ.get("FEEDERLOOP_VEN_KILLS", "6"))
POINTS = ("", "after:CreatedEvent", "after:UpdateReport", "", "after:Poll", "before:UpdateReport")
"""Where the child kills itself, one after the other; empty is a random moment."""
VEN = VenId("ven-killed")
CONTEXT = "http://feederloop.example/programme"
ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
EVENTS = 3


def _plan(ven_id: VenId, metadata: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    start = now.replace(microsecond=0)
    return (
        ReportRequestDraft(
            report_specifier_id="meter",
            r_ids=("p",),
            granularity=SECOND,
            report_back_duration=SECOND,
            start=start,
        ),
    )


def _draft(number: int, now: datetime) -> EventDraft:
    level = m.EventSignal(
        intervals=(m.Interval.of_signal(0, Duration(hours=1), 500.0),),
        signal_name="LOAD_DISPATCH",
        signal_type=SignalType.SETPOINT,
        signal_id="s",
        item_base=WATT,
    )
    return EventDraft(
        event_id=f"e{number}",
        market_context=CONTEXT,
        dtstart=now + timedelta(hours=2),
        duration=Duration(hours=1),
        signals=(level,),
        audience=(VEN,),
        response_required=ResponseRequired.ALWAYS,
        startafter=Duration(minutes=30),
    )


@pytest.fixture
async def vtn(tmp_path: Path) -> AsyncIterator[VtnHost]:
    host = VtnHost(
        settings=VtnSettings(
            vtn_id="vtn",
            identity=Identity.CLAIMED,
            poll_period=Duration(),
            resend_after_s=1.0,
            max_deliveries=1000,
            validate_outgoing=True,
        ),
        database=tmp_path / "vtn.sqlite",
        now=lambda: datetime.now(UTC),
        report_plan=_plan,
        seed=1,
    )
    await host.start()
    await host.operator.provision((Provision(ven_id=VEN, ven_name=NAME),))
    yield host
    await host.stop()


class Child:
    """The VEN in its process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.sent: list[str] = []
        assert process.stdout is not None
        self._out = process.stdout
        self.ready = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, url: str, state: Path, point: str = "") -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "tests/e2e/ven_child.py"),
            url,
            str(state),
            point,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        child = cls(process)
        await asyncio.wait_for(child.ready.wait(), PATIENCE_S)
        return child

    async def _read(self) -> None:
        while line := await self._out.readline():
            word = line.decode().strip()
            if word == "ready":
                self.ready.set()
            else:
                self.sent.append(word)

    async def die(self) -> list[str]:
        """Wait until it has killed itself, and return what it had begun to send."""
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)
        await self._reading
        return self.sent

    async def kill(self) -> list[str]:
        """Kill it like a power cut, and return what it had begun to send."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self._reading
        return self.sent


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.02)


def _state(path: Path) -> VenState:
    file = StateFile(path, NAME)
    try:
        state = file.load()
    finally:
        file.close()
    assert state is not None
    return state


def _answers(vtn: VtnHost) -> dict[str, OptType]:
    opts = {f"e{n}": vtn.operator.opts(f"e{n}") for n in range(EVENTS)}
    return {event_id: given[VEN].opt_type for event_id, given in opts.items() if VEN in given}


async def test_kill_9_at_random_moments_loses_nothing_and_repeats_nothing(
    vtn: VtnHost, tmp_path: Path
) -> None:
    chance = random.Random(20261124)
    path = tmp_path / "ven.sqlite"
    child = await Child.start(vtn.url, path)
    await _until(lambda: vtn.operator.vens()[0].registered and "CreatedReport" in child.sent)
    registration = vtn.operator.vens()[0].registration
    await _until(lambda: "UpdateReport" in child.sent)
    offsets: dict[str, int] = {}
    opts: dict[str, OptType] = {}
    for number in range(KILLS):
        if number < EVENTS:
            await vtn.operator.publish_events((_draft(number, datetime.now(UTC).replace(microsecond=0)),))
        if POINTS[number % len(POINTS)]:
            sent = await child.die()
        else:
            await asyncio.sleep(chance.uniform(0.0, 0.6))
            sent = await child.kill()
        assert ("CreatePartyRegistration" in sent) is (number == 0)
        if number:
            assert sent[:1] in ([], ["RequestEvent"])
        before = _answers(vtn)
        for entry in _state(path).session.events:
            event_id = entry.held.event.descriptor.event_id
            # what was promised, or may have been, is on disk: neither opt nor offset is drawn again
            assert offsets.setdefault(event_id, entry.held.start_offset_s) == entry.held.start_offset_s
            assert opts.setdefault(event_id, entry.held.opt_type) == entry.held.opt_type
        assert before.items() <= opts.items()
        done = number + 1 == KILLS
        child = await Child.start(vtn.url, path, "" if done else POINTS[(number + 1) % len(POINTS)])
    await _until(lambda: len(_answers(vtn)) == min(EVENTS, KILLS))
    assert opts.items() <= _answers(vtn).items()

    begin = datetime.now(UTC)
    requested = vtn.operator.vens()[0].requests
    assert [one.report_request_id for one in requested] == [requested[0].report_request_id]
    first = min(one.start for one in await _readings(vtn, begin - timedelta(minutes=10), begin))
    last = datetime.now(UTC).replace(microsecond=0)
    async with asyncio.timeout(PATIENCE_S):
        while not (seen := await _readings(vtn, last, last + timedelta(seconds=1))):
            await asyncio.sleep(0.05)
    del seen
    sent = await child.kill()
    assert "CreatePartyRegistration" not in sent
    seen = await _readings(vtn, first, last + timedelta(seconds=1))
    seconds = [first + timedelta(seconds=k) for k in range(int((last - first).total_seconds()) + 1)]
    assert [one.start for one in seen] == seconds  # 0 lost, 0 doubled
    assert [one.value for one in seen] == [value_of(start) for start in seconds]
    assert vtn.operator.vens()[0].registration == registration
    assert vtn.operator.vens()[0].given_up == ()
    assert {one.report_request_id for one in seen} == {requested[0].report_request_id}


async def _readings(vtn: VtnHost, start: datetime, end: datetime) -> tuple[Reading, ...]:
    return await vtn.operator.readings(report_specifier_id="meter", start=start, end=end)
