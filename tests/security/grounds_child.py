"""The servers that are attacked, in their own process: ``python -m tests.security.grounds_child FOLDER``.

Four VTNs over mutual TLS, which differ in their settings, and the listener of a push VEN:

========== ===============================================================================================
``plain``  signatures optional; alice and bob are registered there without
``signed`` signatures required
``open``   open enrolment for four VENs at most
``slow``   half a second for everything, few connections
``ven``    alice as a push VEN; signatures required
========== ===============================================================================================

It is told what to do by a word a line, and answers each with a line of JSON, until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from certs.connections import ConnectionLimits
from certs.envelope import SignaturePolicy
from certs.keys import fingerprint
from tests.e2e.tls_parties import wall
from tests.security.cast import PKI, VEN_IDS, certificate_of
from tests.security_rig import SETTINGS, TlsVen, TlsVtn
from tests.unit.vtn.rig import ALICE, BOB, draft, wanted
from vtn_server.settings import VtnSettings
from vtn_server.sqlstore import open_store
from vtn_server.state import Provision, VenId

SLOW_S: Final = 0.5
SLOW_CONNECTIONS: Final = 24
OPEN_VENS: Final = 4
"""VENs there may be at ``open``, beside those that are provisioned."""
_TIGHT: Final = ConnectionLimits(
    connections=SLOW_CONNECTIONS,
    per_address=SLOW_CONNECTIONS,
    handshake_s=SLOW_S,
    head_s=SLOW_S,
    write_s=SLOW_S,
)
_VTNS: Final[dict[str, VtnSettings]] = {
    "plain": replace(SETTINGS, signatures=SignaturePolicy.OPTIONAL),
    "signed": replace(SETTINGS, signatures=SignaturePolicy.REQUIRED),
    "open": replace(
        SETTINGS,
        signatures=SignaturePolicy.OFF,
        open_enrolment=True,
        max_vens=len(VEN_IDS) + OPEN_VENS,
    ),
    "slow": replace(
        SETTINGS, signatures=SignaturePolicy.OFF, connection_limits=_TIGHT, read_timeout_s=SLOW_S
    ),
}


class LastLines(logging.Handler):
    """Keeps what was logged, one line a record, as the text format of the programs does."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(self.format(record))

    def taken(self) -> list[str]:
        """Return the lines since the last time."""
        lines, self.lines = self.lines, []
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Everything that runs."""

    folder: Path
    vtns: dict[str, TlsVtn]
    databases: dict[str, str]
    ven: TlsVen
    log: LastLines

    def ports(self) -> dict[str, int]:
        """Where everything listens."""
        found = {name: each.server.port for name, each in self.vtns.items()}
        return found | {"ven": int(self.ven.vtn.url.rsplit(":", 1)[1])}

    def state(self) -> dict[str, str]:
        """Everything that a refused attack must leave as it is; nonces apart, since one may be spent."""
        found: dict[str, str] = {}
        for name, vtn in self.vtns.items():
            rows, nonces = _rows(self.databases[name])
            found[name] = "\n".join((repr(vtn.state()), *rows))
            found[f"{name} nonces"] = str(nonces)
        return found | {"ven": repr(self.ven.ven.seen)}


def _rows(database: str) -> tuple[list[str], int]:
    if database.startswith("postgresql"):
        return [], 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        lines = [line for line in connection.iterdump() if line.startswith("INSERT")]
    ordinary = [line for line in lines if not line.startswith('INSERT INTO "nonces"')]
    return ordinary, len(lines) - len(ordinary)


# --- commands ----------------------------------------------------------------------------------------------


async def _events(grounds: Grounds) -> list[str]:
    """Publish an event for alice and one for bob; return their ids."""
    start = wall().replace(microsecond=0) + timedelta(days=1)
    await grounds.vtns["plain"].operator.publish_events(
        [
            replace(draft(f"event-{name}", audience=(ven_id,)), dtstart=start)
            for name, ven_id in (("alice", ALICE), ("bob", BOB))
        ]
    )
    return ["event-alice", "event-bob"]


async def _report(grounds: Grounds) -> list[str]:
    """Ask bob for a report; return the reportRequestID."""
    return list(await grounds.vtns["plain"].operator.request_reports(BOB, [wanted()]))


async def _restart(grounds: Grounds) -> dict[str, int]:
    """Stop the VTN that wants signatures and start it anew, on the same store and port."""
    await grounds.vtns["signed"].restart()
    return grounds.ports()


async def _views(grounds: Grounds) -> list[str]:
    """Return what the operator sees of the VENs at ``open``."""
    return [repr(each) for each in grounds.vtns["open"].operator.vens()]


async def _log(grounds: Grounds) -> list[str]:
    return grounds.log.taken()


async def _state(grounds: Grounds) -> dict[str, str]:
    return grounds.state()


async def _stats(grounds: Grounds) -> dict[str, dict[str, int]]:
    return {name: dict(each.service.stats().closed) for name, each in grounds.vtns.items()}


_COMMANDS: Final[dict[str, Callable[[Grounds], Awaitable[object]]]] = {
    "events": _events,
    "report": _report,
    "restart": _restart,
    "views": _views,
    "log": _log,
    "state": _state,
    "stats": _stats,
}


# --- the process -------------------------------------------------------------------------------------------


async def _start(folder: Path, only: str | None, database: str | None) -> Grounds:
    log = LastLines()
    logging.getLogger().addHandler(log)
    logging.getLogger().setLevel(logging.INFO)
    provisions = [
        Provision(ven_id=VenId(ven_id), ven_name=name, fingerprint=fingerprint(certificate_of(folder, name)))
        for name, ven_id in VEN_IDS.items()
    ]
    vtns: dict[str, TlsVtn] = {}
    databases: dict[str, str] = {}
    for name, settings in _VTNS.items():
        if only not in (None, name):
            continue
        url = databases[name] = database or str(folder / f"{name}.sqlite")
        vtns[name] = await TlsVtn(folder / PKI, partial(open_store, url), settings).start()
        known = vtns[name].operator.known()
        await vtns[name].operator.provision([each for each in provisions if each.ven_id not in known])
    ven = await TlsVen(folder / PKI, "alice").start()
    return Grounds(folder=folder, vtns=vtns, databases=databases, ven=ven, log=log)


async def _run(folder: Path, only: str | None, database: str | None) -> None:
    grounds = await _start(folder, only, database)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say(grounds.ports())
    while line := await reader.readline():
        _say(await _COMMANDS[line.decode().strip()](grounds))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    arguments = [*sys.argv[1:], None, None]
    asyncio.run(_run(Path(str(arguments[0])), arguments[1], arguments[2]))
