"""The servers of :mod:`bench.signed_poll`, one a process: ``ours`` and ``openleadr``."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench.signed_poll import HOST, files_of, signer_of
from certs.envelope import SignaturePolicy
from certs.files import pem, read_certificates
from certs.keys import fingerprint
from certs.pki import Role
from certs.tls import ServerTls
from vtn_server.http import serve
from vtn_server.operator import Operator
from vtn_server.peers import TlsPeers
from vtn_server.service import VtnService
from vtn_server.settings import VtnSettings
from vtn_server.sqlstore import SqlStore
from vtn_server.state import Provision, VenId


def now() -> datetime:
    """The wall's time."""
    return datetime.now(UTC)


def marks(folder: Path, kind: str, vens: int) -> dict[str, str]:
    """The fingerprint of each VEN."""
    names = [f"ven-{number}" for number in range(vens)]
    own = {name: files_of(folder, Role.VEN, name, kind).own[0] for name in names}
    return {name: fingerprint(read_certificates(each.certificate)[0]) for name, each in own.items()}


async def ours(folder: Path, kind: str, vens: int, stack: AsyncExitStack) -> str:
    """Start our VTN; return its address."""
    files = files_of(folder, Role.VTN, "localhost", kind)
    database = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signed-poll-"))) / "vtn.sqlite"
    store = SqlStore(database)
    stack.push_async_callback(store.close)
    service = await VtnService.start(
        VtnSettings(vtn_id="vtn-1", signatures=SignaturePolicy.REQUIRED),
        store,
        now=now,
        new_id=lambda: secrets.token_hex(8),
        signer=signer_of(files.own[0]),
    )
    stack.push_async_callback(service.close)
    await Operator(service).provision(
        [
            Provision(ven_id=VenId(name), ven_name=name, fingerprint=mark)
            for name, mark in marks(folder, kind, vens).items()
        ]
    )
    tls = ServerTls(files, now())
    server = await serve(service, peers=TlsPeers(tls, now), tls=tls.context)
    stack.push_async_callback(server.close)
    return server.url


async def openleadr(folder: Path, kind: str, vens: int, stack: AsyncExitStack) -> str:
    """Start openleadr's VTN with the same certificates; return its address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openleadr import OpenADRServer
    files = files_of(folder, Role.VTN, "localhost", kind)
    own = files.own[0]
    leaf = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signed-poll-"))) / "leaf.pem"
    leaf.write_bytes(pem(read_certificates(own.certificate)[0]))
    known = marks(folder, kind, vens)

    async def lookup(ven_id: str) -> dict[str, str] | None:
        if ven_id not in known:
            return None
        return {"ven_id": ven_id, "ven_name": ven_id, "fingerprint": known[ven_id], "registration_id": "r"}

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    server = OpenADRServer(
        vtn_id="vtn-1",
        cert=str(leaf),
        key=str(own.key),
        http_cert=str(own.certificate),
        http_key=str(own.key),
        http_ca_file=str(files.trust),
        http_host=HOST,
        http_port=port,
        ven_lookup=lookup,
        show_server_cert_domain=False,
    )
    await server.run()
    stack.push_async_callback(server.stop)
    return f"https://{HOST}:{port}"


async def main() -> None:
    """Start the server that the command line names, and serve until terminated."""
    who, kind, folder, vens = sys.argv[1:5]
    start: dict[str, Callable[[Path, str, int, AsyncExitStack], Awaitable[str]]] = {
        "ours": ours,
        "openleadr": openleadr,
    }
    async with AsyncExitStack() as stack:
        url = await start[who](Path(folder), kind, int(vens), stack)
        sys.stdout.write(f"listens at {url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
