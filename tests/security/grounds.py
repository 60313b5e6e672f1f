"""The grounds attacks take place on: the child with the servers, honest neighbours, and what is measured.

::

    with grounds(folder) as ground:
        before = ground.state()
        with ground.watching() as seen:
            answer = ground.tap("plain", "alice").post(b"<!DOCTYPE x>")
        assert ground.state() == before
        seen.slowest_ms, seen.grown_mb, seen.seconds
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from certs.tls import CertificateFiles
from schemas.oadr20b import model as m
from schemas.oadr20b import wire
from schemas.oadr20b.enums import OptType, ServiceName
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.tls_parties import wall
from tests.security.cast import VEN_IDS, Credentials, context, credentials, make_cast
from tests.security.wire_tap import PATH, XML, Tap
from tests.security_rig import signed_by, signer_of
from tests.unit.vtn.rig import ALICE, BOB, metadata, opted, said
from ven_client.messages import service_of

T = TypeVar("T", bound=m.AnyMessage)

_PAUSE_S: Final = 0.01
_LONGEST_S: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What an attack did to the server and to a neighbour of the attacker.

    Attributes:
        seconds: How long it took.
        grown_mb: By how much the server's memory was larger at the worst moment than at the beginning.
        slowest_ms: The longest a poll of another VEN took meanwhile.
        polls: How many polls that was.
    """

    seconds: float = 0.0
    grown_mb: float = 0.0
    slowest_ms: float = 0.0
    polls: int = 0


class _Watch:
    """Polls as bob, on one connection, without a pause worth the name, and takes the time.

    Args:
        tap: Bob at the door.
    """

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._body = wire.write(m.Poll(ven_id=BOB))
        self._client: http.client.HTTPConnection | None = None
        self.stop = threading.Event()
        self.polls: list[tuple[float, float]] = []
        self.refused: list[int] = []

    def run(self) -> None:
        """Poll until told to stop."""
        while not self.stop.is_set():
            began = time.perf_counter()
            status = self.once()
            self.polls.append((began, time.perf_counter() - began))
            if status != 200:
                self.refused.append(status)
            self.stop.wait(_PAUSE_S)

    def once(self) -> int:
        """Poll; connect anew if the connection was ended while it was idle."""
        for _ in range(2):
            if self._client is None:
                self._client = self._tap.client()
            try:
                self._client.request("POST", PATH + ServiceName.OADR_POLL.value, self._body, dict(XML))
                response = self._client.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                self.close()
                continue
            return response.status
        return 0

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None


class Ground:
    """The servers in their process; made by :func:`grounds`."""

    def __init__(self, folder: Path, child: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._child = child
        self._ports: dict[str, int] = json.loads(self._line())
        self._watch: _Watch | None = None
        self.bobs: dict[str, str] = {}
        """Ids that are bob's: ``registration``, ``report``, ``opt``, ``event``."""

    # --- the child -----------------------------------------------------------------------------------------

    def _line(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, f"the servers ended with {self._child.poll()}"
        return line

    def ask(self, command: str) -> object:
        """Tell the child to do something; return what it answers."""
        assert self._child.stdin is not None
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()
        return json.loads(self._line())

    def state(self) -> dict[str, str]:
        """Everything that a refused attack must leave as it is, by server."""
        found = self.ask("state")
        assert isinstance(found, dict)
        return found

    def lines(self) -> list[str]:
        """What the servers have logged since the last time."""
        found = self.ask("log")
        assert isinstance(found, list)
        return found

    def close(self) -> None:
        """End bob's connection."""
        if self._watch is not None:
            self._watch.close()

    @property
    def is_up(self) -> bool:
        """Whether the servers' process lives."""
        return self._child.poll() is None

    # --- people --------------------------------------------------------------------------------------------

    def tap(self, server: str, who: str | None = "alice", shown: Credentials | None = None) -> Tap:
        """Return somebody at the door of a server: with a VEN's certificate, with any other, or with none."""
        if shown is None and who is not None:
            shown = credentials(self.folder, who)
        return Tap(self._ports[server], context(self.folder, shown))

    def signed(
        self, who: str, message: m.AnyMessage, *, ahead_s: float = 0.0, nonce: str | None = None
    ) -> bytes:
        """Return a message with the signature of a VEN, as made some seconds from now."""
        own = credentials(self.folder, who)
        signer = signer_of(CertificateFiles(certificate=own.certificate, key=own.key))
        return signed_by(signer, message, wall() + timedelta(seconds=ahead_s), nonce or _nonce())

    # --- measuring -----------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[Seen]:
        """Measure what goes on meanwhile; bob polls all the time, and is always answered."""
        seen = Seen()
        watch = self._watch or _Watch(self.tap("plain", "bob"))
        self._watch = watch
        watch.stop.clear()
        rest = self._memory_mb("VmRSS")
        self._forget_peak()
        thread = threading.Thread(target=watch.run, daemon=True)
        watch.polls.clear()
        watch.refused.clear()
        thread.start()
        began = time.perf_counter()
        try:
            yield seen
        finally:
            ended = time.perf_counter()
            watch.stop.set()
            thread.join(_LONGEST_S)
            seen.seconds = ended - began
            during = [took for start, took in watch.polls if start < ended]
            seen.polls = len(during)
            seen.slowest_ms = 1000 * max(during, default=0.0)
            seen.grown_mb = max(0.0, self._memory_mb("VmHWM") - rest)
        assert not watch.refused, watch.refused
        assert seen.polls, "no poll was made meanwhile"

    def _memory_mb(self, name: str) -> float:
        for line in Path(f"/proc/{self._child.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(name)

    def _forget_peak(self) -> None:
        Path(f"/proc/{self._child.pid}/clear_refs").write_text("5")


_NUMBERS = iter(range(1, 1 << 40))


def _nonce() -> str:
    return f"attack-{os.getpid()}-{next(_NUMBERS)}"


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[Ground]:
    """Run the servers on a folder with a cast; see the child for the arguments."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.security.grounds_child", str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    ground = Ground(folder, child)
    try:
        yield ground
    finally:
        ground.close()
        assert child.stdin is not None
        child.kill()  # there is nothing to put in order
        child.wait()
        child.stdin.close()
        assert child.stdout is not None
        child.stdout.close()


@contextmanager
def grounds(folder: Path) -> Iterator[Ground]:
    """Run the servers with everybody registered, and nothing left to be said to them."""
    make_cast(folder)
    with process(folder) as ground:
        for name, ven_id in (("alice", ALICE), ("bob", BOB)):
            ground.bobs["registration"] = _join(ground, name, ven_id)  # bob's in the end
        for name in ("rita", "edith"):
            _join(ground, name, VEN_IDS[name], server="signed")
        _belongings(ground)
        yield ground


def tell(ground: Ground, name: str, message: m.AnyMessage, expect: type[T], server: str = "plain") -> T:
    """Send a message, signed where that is required; return the answer, which must be of a type."""
    body = ground.signed(name, message) if server == "signed" else wire.write(message)
    answer = ground.tap(server, name).post(body, service_of(message))
    assert answer.status == 200, answer
    reply = wire.read(answer.body)
    assert isinstance(reply, expect), reply
    return reply


def _join(ground: Ground, name: str, ven_id: str, server: str = "plain") -> str:
    """Do what a pull VEN does after power-up; return the registrationID."""
    say = partial(tell, ground, name, server=server)
    created = say(
        m.CreatePartyRegistration(request_id="r", ven_name=name, http_pull_model=True),
        m.CreatedPartyRegistration,
    )
    assert isinstance(created, m.CreatedPartyRegistration)
    say(m.RegisterReport(request_id="r1", reports=(metadata(),), ven_id=ven_id), m.RegisteredReport)
    ours = say(m.Poll(ven_id=ven_id), m.RegisterReport)
    assert isinstance(ours, m.RegisterReport)
    say(m.RegisteredReport(response=said(ours.request_id), ven_id=ven_id), m.Response)
    say(m.RequestEvent(request_id="r2", ven_id=ven_id), m.DistributeEvent)
    say(m.Poll(ven_id=ven_id), m.Response)
    assert created.registration_id is not None
    return created.registration_id


def _belongings(ground: Ground) -> None:
    """Give alice and bob an event each, and bob a report request and a schedule."""
    ground.ask("events")
    for name, ven_id in (("alice", ALICE), ("bob", BOB)):
        sent = tell(ground, name, m.Poll(ven_id=ven_id), m.DistributeEvent)
        tell(ground, name, opted(sent, ven_id), m.Response)
        tell(ground, name, m.RequestEvent(request_id="r3", ven_id=ven_id), m.DistributeEvent)
        tell(ground, name, m.Poll(ven_id=ven_id), m.DistributeEvent)  # from another connection, so once more
    ground.bobs["event"] = "event-bob"
    (ground.bobs["report"],) = ground.ask("report")  # type: ignore[misc]  # JSON
    asked = tell(ground, "bob", m.Poll(ven_id=BOB), m.CreateReport)
    accepted = m.CreatedReport(response=said(asked.request_id), pending=(ground.bobs["report"],), ven_id=BOB)
    tell(ground, "bob", accepted, m.Response)
    ground.bobs["opt"] = "opt-bob"
    tell(ground, "bob", schedule(BOB, "opt-bob"), m.CreatedOpt)
    tell(ground, "bob", m.Poll(ven_id=BOB), m.Response)
    tell(ground, "alice", m.Poll(ven_id=ALICE), m.Response)


def schedule(ven_id: str, opt_id: str) -> m.CreateOpt:
    """Return an opt-out for an hour."""
    now = wall().replace(microsecond=0)
    return m.CreateOpt(
        opt_id=opt_id,
        opt_type=OptType.OPT_OUT,
        opt_reason="notParticipating",
        ven_id=ven_id,
        availability=(m.Period(dtstart=now, duration=Duration(hours=1)),),
        created_date_time=now,
        request_id="o",
        target=m.Target(ven_ids=(ven_id,)),
    )
