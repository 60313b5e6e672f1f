"""A VTN that a test kills: HTTP on a free port, operator commands and their answers over a Unix socket.

This process is the nursery: it imports everything once. Each line on stdin is a life, for which it forks:
``{"url": ..., "where": ..., "count": ..., "socket": ...}``. The child connects to the socket and says
``{"port": ..., "pid": ...}``. It kills itself around its COUNT-th commit: ``before`` it, ``inside`` (written,
not committed) or ``after`` (committed, not answered), or ``never``. When it is dead the nursery says so on
stdout. All of it is one JSON object a line.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import signal
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine, event

from certs.envelope import SignaturePolicy
from certs.xmldsig import Signer
from feederloop.clock import WallClock
from schemas.oadr20b.model import Report
from tests.unit.vtn.rig import START, draft, price_signal, wanted
from vtn_server.decision import SharedWrite
from vtn_server.http import serve
from vtn_server.operator import Operator, Provision, ReportRequestDraft, VenId
from vtn_server.peers import ClaimedNames
from vtn_server.push import PushDispatcher, PushLimits
from vtn_server.push_targets import PushTargets
from vtn_server.service import VtnService
from vtn_server.settings import FollowLimits, Identity, VtnSettings
from vtn_server.sqlstore import SqlStore
from vtn_server.state import PeerIdentity

VENS = tuple(VenId(f"ven-{number}") for number in range(5))
PUSHED = VENS[4]
"""It is pushed to."""
SIGNING = VENS[3]
"""It signs what it sends."""
SETTINGS = VtnSettings(
    vtn_id="vtn-1",
    identity=Identity.CLAIMED,
    resend_after_s=0.2,
    max_deliveries=10_000,
    max_push_deliveries=10_000,
    push=True,
    push_targets=PushTargets.loopback(),
    signatures=SignaturePolicy.OPTIONAL,
    follow=FollowLimits(deaf_s=60.0, stale_s=120.0, patience_s=60.0),
)


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

    async def commit(self, writes: Sequence[SharedWrite]) -> None:
        if self._where == "before":
            self._one_less()
        await super().commit(writes)
        if self._where == "after":
            self._one_less()

    async def remember(self, nonce: str, timestamp: datetime) -> bool:
        if self._where == "before":
            self._one_less()
        new = await super().remember(nonce, timestamp)
        if self._where == "after":
            self._one_less()
        return new


def plan(ven_id: VenId, metadata: tuple[Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    """Ask for everything."""
    del ven_id, now
    return tuple(wanted(each.report_specifier_id) for each in metadata)


async def do(operator: Operator, command: dict[str, Any]) -> object:
    """Do what the test's operator wants, as the operator API would."""
    await operator.catch_up()
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


class ShownCertificates:
    """Believes the certificate a header shows, as if it had come over TLS."""

    def identify(self, request: web.BaseRequest) -> PeerIdentity:
        peer = ClaimedNames().identify(request)
        shown = request.headers.get("X-Certificate")
        return peer if shown is None else replace(peer, certificate=base64.b64decode(shown))


def self_signed(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return a key and a certificate for today."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


async def live(url: str, where: str, count: int, socket: str) -> None:
    """Serve until killed."""
    reader, writer = await asyncio.open_unix_connection(socket)
    store = MortalStore(url, where, count)
    service = await VtnService.start(
        SETTINGS,
        store,
        now=lambda: datetime.now(UTC),
        new_id=lambda: uuid.uuid4().hex,
        report_plan=plan,
        signer=Signer(*self_signed("vtn")),
    )
    operator = Operator(service)
    await operator.provision([Provision(ven_id=each, ven_name=f"name of {each}") for each in VENS])
    async with service.alone(lambda: pushing(service)):
        server = await serve(service, peers=ShownCertificates())
        store.arm()
        writer.write(json.dumps({"port": server.port, "pid": os.getpid()}).encode() + b"\n")
        while line := await reader.readline():
            answer = await do(operator, json.loads(line))
            writer.write(json.dumps({"answer": answer}).encode() + b"\n")


@asynccontextmanager
async def pushing(service: VtnService) -> AsyncIterator[None]:
    """Push, while this process is the one that does."""
    limits = PushLimits(back_off_cap_s=1.0)
    dispatcher = PushDispatcher(service, WallClock(), random.Random(1), limits=limits)
    dispatcher.start()
    try:
        yield
    finally:
        await dispatcher.close()


def nursery() -> None:
    """Bring up one life after the other."""
    logging.disable(logging.WARNING)  # refused replays and pushes that wait are what the test is about
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(live(**json.loads(line)))
            except BaseException:  # noqa: BLE001 - whatever it was, it is not what the test is about
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps({"signal": os.WTERMSIG(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    nursery()
