"""CPU per message through the VTN's service, without sockets.

Run: ``python -m bench.vtn_messages``.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import ResponseRequired, ServiceName
from tests.unit.vtn.rig import (
    ALICE,
    PROVISIONS,
    START,
    MemoryStore,
    Rig,
    draft,
    metadata,
    opted,
    price_signal,
    update,
    wanted,
)
from vtn_server.settings import Identity, VtnSettings
from vtn_server.sqlstore import SqlStore
from vtn_server.state import PeerIdentity, VenId
from vtn_server.store import Store

SETTINGS = VtnSettings(vtn_id="vtn-1", identity=Identity.CLAIMED)
VENS = tuple(VenId(f"ven-{i:02}") for i in range(50))
PEER = PeerIdentity(connection="c")


async def measure(name: str, rig: Rig, bodies: list[bytes], service: ServiceName) -> None:
    """Print CPU and wall time per message."""
    cpu, wall = time.process_time(), time.perf_counter()
    for body in bodies:
        status, _ = await rig.service.handle(body, PEER, service)
        assert status == 200
    count = len(bodies)
    cpu_us = (time.process_time() - cpu) / count * 1e6
    wall_us = (time.perf_counter() - wall) / count * 1e6
    sys.stdout.write(f"{name:<44} {cpu_us:8.1f} us CPU  {wall_us:8.1f} us wall\n")


async def run(store: Store, label: str) -> None:
    """Measure the four common messages on one store."""
    rig = Rig(store, SETTINGS)
    await rig.start([replace(PROVISIONS[1], ven_id=each, ven_name=each) for each in (*VENS, ALICE)])
    await rig.bootstrap(ALICE, (metadata(),))
    (request_id,) = await rig.operator.request_reports(ALICE, [wanted()])
    await rig.accept_reports(ALICE)
    for each in VENS:
        await rig.bootstrap(each)
    poll = wire.write(m.Poll(ven_id=ALICE))
    await measure(f"{label}: empty poll", rig, [poll] * 5000, ServiceName.OADR_POLL)

    await rig.operator.publish_events([draft("price", required=ResponseRequired.NEVER, audience=VENS)])
    polls = [wire.write(m.Poll(ven_id=each)) for each in VENS]
    for value in itertools.count(1):
        await rig.operator.modify_event("price", signals=(price_signal([float(value)] * 6),))
        if value < 3:
            for body in polls:
                await rig.service.handle(body, PEER, ServiceName.OADR_POLL)
            continue
        name = f"{label}: poll with one new 6-interval event"
        await measure(name + ", 50 VENs", rig, polls, ServiceName.OADR_POLL)
        break

    drafts = [draft(f"mkt-{each}", audience=(each,)) for each in VENS]
    await rig.operator.publish_events(drafts)
    await measure(f"{label}: poll with an event of its own", rig, polls, ServiceName.OADR_POLL)
    answers = []
    for each in VENS:
        sent = await rig.send(m.RequestEvent(request_id="1", ven_id=each), m.DistributeEvent)
        answers.append(wire.write(opted(sent, each)))
    await measure(f"{label}: createdEvent", rig, answers, ServiceName.EI_EVENT)

    reports = [
        wire.write(update(ALICE, request_id, [1.0] * 10, start=START + i * timedelta(minutes=100)))
        for i in range(300)
    ]
    await measure(f"{label}: updateReport, 10 intervals", rig, reports, ServiceName.EI_REPORT)
    await store.close()


def main() -> None:
    """Measure on both stores."""
    asyncio.run(run(MemoryStore(), "memory"))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(SqlStore(Path(folder) / "vtn.sqlite"), "sqlite"))


if __name__ == "__main__":
    main()
