"""A durable VEN in a process of its own, to be killed: ``python ven_child.py URL STATEFILE [POINT]``.

It prints ``ready`` and then the name of every message before it leaves. At a point such as
``after:UpdateReport`` it kills itself: before the first such message leaves, or after its reply has come and
before it is read. Its opts are drawn by chance and its readings are the second they are about, so whoever
looks on can tell a forgotten opt and a lost reading.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import uuid
from datetime import datetime, timedelta
from pathlib import Path

from feederloop.clock import WallClock
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import OptType, ReadingType, ServiceName
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import HeldEvent, ReportWindow, Verdict
from ven_client.client import VenClient
from ven_client.durable import DurableSession
from ven_client.keeping import Keeper
from ven_client.settings import VenConfig
from ven_client.state import HomeMemory
from ven_client.statefile import StateFile
from ven_client.transport import HttpPull

NAME = "killed"
SECOND = Duration(seconds=1)


def value_of(start: datetime) -> float:
    """The reading of a second."""
    return float(int(start.timestamp()) % 100_000)


class Home:
    """Reports one number per second and accepts events by chance."""

    def metadata(self, now: datetime) -> tuple[m.Report, ...]:
        description = m.ReportDescription(
            r_id="p",
            report_type="usage",
            item_base=WATT,
            reading_type=ReadingType.DIRECT_READ,
            sampling_rate=m.SamplingRate(min_period=SECOND, max_period=SECOND, on_change=False),
        )
        return (
            m.Report(
                duration=Duration(hours=1),
                descriptions=(description,),
                report_request_id="0",
                report_specifier_id="meter",
                report_name="METADATA_TELEMETRY_USAGE",
                created_date_time=now,
            ),
        )

    def judge(self, event: m.Event, now: datetime) -> Verdict:
        return Verdict(opt_type=random.choice((OptType.OPT_IN, OptType.OPT_OUT)))

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None: ...

    def report(self, request: m.ReportRequest, window: ReportWindow, now: datetime) -> tuple[m.Interval, ...]:
        payload = m.ReportPayload.of("p", value_of(window.start))
        return (m.Interval(dtstart=window.start, duration=SECOND, payloads=(payload,)),)

    def next_wakeup(self, now: datetime) -> datetime | None:
        return None

    def on_time(self, now: datetime) -> None: ...

    def memory(self, now: datetime) -> HomeMemory:
        return HomeMemory()

    def recall(self, memory: HomeMemory, now: datetime) -> None: ...


class Told(HttpPull):
    """Says what it sends, and dies at a point."""

    point = ""

    async def exchange(self, service: ServiceName, message: m.AnyMessage) -> m.AnyMessage:
        name = type(message).__name__
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        self._die_at(f"before:{name}")
        reply = await super().exchange(service, message)
        self._die_at(f"after:{name}")
        return reply

    def _die_at(self, point: str) -> None:
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, path: Path, point: str) -> None:
    clock = WallClock()
    home = Home()
    config = VenConfig(ven_name=NAME, idle_poll=timedelta(seconds=0.1), poll_jitter=0.0)
    session = DurableSession(config, home, lambda: uuid.uuid4().hex, random.uniform)
    keeper = Keeper(session, home, StateFile(path, NAME))
    transport = Told(url, now=clock.now)
    transport.point = point
    client = VenClient(
        session, transport, home, clock, random.Random(), keeper=keeper, back_off_cap=timedelta(seconds=0.2)
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await client.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), (*sys.argv, "")[3]))
