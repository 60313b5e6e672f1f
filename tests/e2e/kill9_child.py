"""A VTN that a test kills: HTTP on a free port, operator commands on stdin, answers on stdout.

``python -m tests.e2e.kill9_child URL [WHERE COUNT]``. With WHERE it kills itself around its COUNT-th commit:
``before`` it, ``inside`` (written, not committed) or ``after`` (committed, not answered). All of it is one
JSON object a line; the first line out is ``{"port": ...}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event

from schemas.oadr20b.model import Report
from tests.unit.vtn.rig import START, draft, price_signal, wanted
from vtn_server.decision import Write
from vtn_server.http import serve
from vtn_server.operator import Operator, Provision, ReportRequestDraft, VenId
from vtn_server.service import VtnService
from vtn_server.settings import VtnSettings
from vtn_server.sqlstore import SqlStore

VENS = tuple(VenId(f"ven-{number}") for number in range(5))
SETTINGS = VtnSettings(vtn_id="vtn-1", resend_after_s=0.2, max_deliveries=10_000)


class MortalStore(SqlStore):
    """A store that ends the process, as the power cut would, around one of its commits."""

    def __init__(self, url: str, where: str, count: int) -> None:
        super().__init__(url)
        self._where = where
        self._left = count

    def arm(self) -> None:
        """Begin to count."""
        if self._where == "inside":
            event.listen(Engine, "commit", lambda connection: self._one_less())

    def _one_less(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def commit(self, writes: Sequence[Write]) -> None:
        if self._where == "before":
            self._one_less()
        await super().commit(writes)
        if self._where == "after":
            self._one_less()


def plan(ven_id: VenId, metadata: tuple[Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    """Ask for everything."""
    del ven_id, now
    return tuple(wanted(each.report_specifier_id) for each in metadata)


async def do(operator: Operator, command: dict[str, Any]) -> object:
    """Do what the test's operator wants."""
    match command:
        case {"do": "publish", "event": event_id}:
            later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
            await operator.publish_events([draft(event_id, values=(0.0,) * 6, start=later, audience=VENS)])
        case {"do": "modify", "event": event_id, "value": value}:
            await operator.modify_event(event_id, signals=(price_signal([value] * 6),))
        case {"do": "cancel", "event": event_id}:
            await operator.cancel_event(event_id)
        case {"do": "look", "event": event_id}:
            record = operator.event(event_id)
            return -1 if record is None else record.modification_number
        case {"do": "request", "ven": ven_id, "day": day}:
            start = START + timedelta(days=day)
            await operator.request_reports(VenId(ven_id), [replace(wanted(), start=start)])
        case {"do": "requests", "ven": ven_id}:
            (view,) = (each for each in operator.vens() if each.ven_id == ven_id)
            periods = (each.request.specifier.report_interval for each in view.requests)
            return [(each.dtstart - START).days for each in periods if each is not None]
    return None


async def main(url: str, where: str = "never", count: str = "0") -> None:
    """Serve until killed or until stdin ends."""
    store = MortalStore(url, where, int(count))
    service = await VtnService.start(
        SETTINGS,
        store,
        now=lambda: datetime.now(UTC),
        new_id=lambda: uuid.uuid4().hex,
        report_plan=plan,
    )
    operator = Operator(service)
    await operator.provision([Provision(ven_id=each, ven_name=f"name of {each}") for each in VENS])
    server = await serve(service)
    store.arm()
    say({"port": server.port})
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        say({"answer": await do(operator, json.loads(line))})
    await server.close()
    await service.close()
    await store.close()


def say(what: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
