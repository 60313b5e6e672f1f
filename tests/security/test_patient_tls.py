"""Connections over TLS that are idle between requests are not slow readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from certs.connections import Closed, ConnectionLimits
from certs.pki import Role
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from tests.e2e.tls_parties import HOST, client
from tests.security.wire_tap import request
from tests.security_rig import SETTINGS, TlsVtn, parties
from tests.unit.vtn.rig import ALICE, MemoryStore

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]

POLL = request(body=wire.write(m.Poll(ven_id=ALICE)))


async def test_idle_is_not_slow(tmp_path: Path) -> None:
    """Asyncio says of the empty buffer of a TLS connection that it is full, if it may hold nothing."""
    parties(tmp_path / "pki")
    limits = ConnectionLimits(write_s=0.2)
    vtn = await TlsVtn(tmp_path / "pki", MemoryStore, replace(SETTINGS, connection_limits=limits)).start()
    tls = client(tmp_path / "pki", Role.VEN, "alice").context
    reader, writer = await asyncio.open_connection(
        HOST, vtn.server.port, ssl=tls, server_hostname="localhost"
    )
    for _ in range(3):
        for piece in (POLL[:100], POLL[100:]):
            writer.write(piece)
            await asyncio.sleep(0.4)  # longer than an answer may take to be read
        assert (await reader.readline()).startswith(b"HTTP/1.1 403")  # it is not signed
        while (await reader.readline()).strip():
            pass
    assert dict(vtn.service.stats().closed).get(Closed.SLOW_READER, 0) == 0
    writer.close()
    await writer.wait_closed()
    await vtn.close()
