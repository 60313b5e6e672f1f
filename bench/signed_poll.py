"""What a signed poll costs a VTN, the whole request: mutual TLS, HTTP, signature, nonce, answer, signature.

Run: ``python -m bench.signed_poll [--rounds N] [--vens N]``.

Two servers, each with RSA-2048 and with P-256, each in a process of its own: ours with required signatures
and its store on disk, and openleadr's with its signatures on. The same signed polls go to all of them over
as many kept-alive connections as there are VENs, each with a certificate of its own. The servers take turns
in every round, so that whatever else the machine does falls on all of them. The figure is the CPU time of
the server's process per message, all threads, median of the rounds.

Nonces that come in at the same time share a transaction. With fewer VENs at once each message bears more of
one, down to a whole one: ``--vens 1`` shows that, the busy server is the default.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certs.files import read_certificates
from certs.pki import KeyKind, Pki, Role
from certs.tls import CertificateFiles, ClientTls, TlsFiles
from certs.xmldsig import Signer
from schemas.oadr20b import wire
from schemas.oadr20b.codec import encode_message
from schemas.oadr20b.model import (
    AnyMessage,
    CreatePartyRegistration,
    EiResponse,
    Poll,
    RegisteredReport,
    RegisterReport,
)

HOST: Final = "127.0.0.1"
XML: Final = {"Content-Type": "application/xml"}
KINDS: Final = (("rsa", "RSA-2048"), ("ec", "P-256"))
TARGETS: Final = {"rsa": 100.0, "ec": 3.5}


def files_of(folder: Path, role: Role, name: str, kind: str) -> TlsFiles:
    """The TLS files of a party."""
    base = folder / "issued" / role.value / name
    own = CertificateFiles(certificate=base / f"{kind}.pem", key=base / f"{kind}.key")
    return TlsFiles(own=(own,), trust=folder / "trust.pem")


def signer_of(own: CertificateFiles) -> Signer:
    """What signs with the key of a party."""
    key = load_pem_private_key(own.key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return Signer(key, read_certificates(own.certificate)[0])


def make_parties(folder: Path, vens: int) -> None:
    """An authority, a VTN and some VENs, with both kinds of keys."""
    now, both = datetime.now(UTC), [KeyKind.RSA, KeyKind.EC]
    pki = Pki(folder)
    pki.init(now)
    pki.issue(Role.VTN, "localhost", now, kinds=both, hosts=[HOST])
    for number in range(vens):
        pki.issue(Role.VEN, f"ven-{number}", now, kinds=both)


@dataclass(frozen=True, slots=True)
class Ven:
    """One VEN with its connection."""

    ven_id: str
    signer: Signer
    http: aiohttp.ClientSession

    async def send(self, url: str, service: str, message: AnyMessage) -> None:
        """Send a signed message and take a signed answer."""
        payload = encode_message(message)
        self.signer.sign(payload, datetime.now(UTC), secrets.token_hex(16))
        path = f"{url}/OpenADR2/Simple/2.0b/{service}"
        async with self.http.post(path, data=wire.serialise(payload), headers=XML) as answer:
            body = await answer.read()
            if answer.status != 200 or b"<ds:SignatureValue>" not in body:
                raise RuntimeError(f"{path}: status {answer.status}: {body[:300]!r}")


class Server:
    """A server in a process of its own, and the connections of its VENs."""

    def __init__(self, folder: Path, who: str, kind: str, vens: int) -> None:
        words = [sys.executable, "-m", "bench.signed_servers", who, kind, str(folder), str(vens)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._clock = (~self._process.pid << 3) | 2  # CPU time of a process, see clock_getcpuclockid(3)
        self._folder, self._kind, self._count = folder, kind, vens
        self.who = who
        self.kind = kind
        self.url = ""
        self.samples: list[float] = []
        self.vens: list[Ven] = []

    async def start(self) -> None:
        """Wait until it listens, and bring its VENs to where there is nothing left to fetch."""
        assert self._process.stdout is not None
        while not self.url:
            line = await asyncio.to_thread(self._process.stdout.readline)
            if not line:
                raise RuntimeError(f"the server of {self.who} ended")
            if line.startswith("listens at "):
                self.url = line.removeprefix("listens at ").strip()
        now = datetime.now(UTC)
        for number in range(self._count):
            own = files_of(self._folder, Role.VEN, f"ven-{number}", self._kind)
            connector = aiohttp.TCPConnector(ssl=ClientTls(own, now).context, limit=1, keepalive_timeout=600)
            http = aiohttp.ClientSession(connector=connector, skip_auto_headers=("Accept-Encoding",))
            self.vens.append(Ven(f"ven-{number}", signer_of(own.own[0]), http))
        if self.who == "ours":
            await asyncio.gather(*(self._join(ven) for ven in self.vens))

    async def _join(self, ven: Ven) -> None:
        create = CreatePartyRegistration(
            request_id="r", ven_name=ven.ven_id, xml_signature=True, http_pull_model=True
        )
        await ven.send(self.url, "EiRegisterParty", create)
        await ven.send(self.url, "EiReport", RegisterReport(request_id="m", ven_id=ven.ven_id))
        await ven.send(self.url, "OadrPoll", Poll(ven_id=ven.ven_id))
        done = RegisteredReport(response=EiResponse(code="200", request_id=""), ven_id=ven.ven_id)
        await ven.send(self.url, "EiReport", done)

    async def round(self, messages: int) -> float:
        """Send polls from all VENs at once; return the CPU time per message, in microseconds."""
        start = time.clock_gettime(self._clock)
        each = messages // len(self.vens)
        await asyncio.gather(*(self._polls(ven, each) for ven in self.vens))
        return (time.clock_gettime(self._clock) - start) / (each * len(self.vens)) * 1e6

    async def _polls(self, ven: Ven, count: int) -> None:
        poll = Poll(ven_id=ven.ven_id)
        for _ in range(count):
            await ven.send(self.url, "OadrPoll", poll)

    async def close(self) -> None:
        """End the connections and the process."""
        for ven in self.vens:
            await ven.http.close()
        self._process.terminate()
        self._process.wait(20)


async def run(rounds: int, vens: int) -> bool:
    """Measure and print; return whether the targets are met."""
    with tempfile.TemporaryDirectory(prefix="signed-poll-") as place:
        folder = Path(place) / "pki"
        make_parties(folder, vens)
        servers = [Server(folder, who, kind, vens) for kind, _ in KINDS for who in ("ours", "openleadr")]
        try:
            for server in servers:
                await server.start()
                await server.round(vens)  # caches, connections
            for _ in range(rounds):
                for server in servers:
                    slow = (server.who, server.kind) == ("openleadr", "rsa")
                    server.samples.append(await server.round(2 * vens if slow else 20 * vens))
        finally:
            for server in servers:
                await server.close()
    return _print(servers, rounds, vens)


def _print(servers: list[Server], rounds: int, vens: int) -> bool:
    sys.stdout.write(f"CPU of the server's process per signed poll, us; {rounds} rounds, {vens} VENs\n")
    sys.stdout.write(f"{'':<10}{'ours':>10}{'openleadr':>12}{'ratio':>9}{'lowest':>9}{'target':>9}\n")
    good = True
    for kind, label in KINDS:
        ours, theirs = (
            next(s for s in servers if (s.who, s.kind) == (who, kind)) for who in ("ours", "openleadr")
        )
        ratios = [b / a for a, b in zip(ours.samples, theirs.samples, strict=True)]
        ratio = statistics.median(ratios)
        good = good and ratio >= TARGETS[kind]
        mine, other = statistics.median(ours.samples), statistics.median(theirs.samples)
        line = f"{label:<10}{mine:>10.0f}{other:>12.0f}{ratio:>9.1f}{min(ratios):>9.1f}{TARGETS[kind]:>9.1f}"
        sys.stdout.write(line + "\n")
    return good


def main() -> None:
    """Measure; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--vens", type=int, default=16)
    given = parser.parse_args()
    sys.exit(0 if asyncio.run(run(given.rounds, given.vens)) else 1)


if __name__ == "__main__":
    main()
