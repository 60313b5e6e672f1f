"""Several `feederloop vtn` on one PostgreSQL, as machines behind a balancer: their VENs and their operator.

The VENs and the operator are those of :mod:`.kill9_day`; here the VENs come over mutual TLS through the
balancer, and the operator goes to the operator API of any process that is up.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import signal
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from certs.pki import Role
from dso_engine.errors import ExchangeFailed
from feederloop.operator_client import ApiClient, OperatorError
from feederloop.remote_desk import RemoteDesk
from tests.e2e.kill9_child import VENS
from tests.e2e.kill9_homes import Home
from tests.e2e.kill9_ledger import VenLedger
from tests.e2e.kill9_vtn import Died
from tests.e2e.test_programs import PATIENCE_S, TOKEN, Program, program
from tests.e2e.tls_parties import HOST, client, make_parties, mark
from tests.unit.vtn.rig import START, draft, price_signal
from vtn_server import api_models as api
from vtn_server.api_stats_models import StatsOut

AGAIN_S = 0.05
REPLY_S = 10.0
"""How long a VEN waits for a reply, as ours do in the field."""
SETTINGS = """
vens = "vens.toml"
poll_period = "PT1S"
push = false
[tls]
folder = "pki/issued/vtn/localhost"
[limits]
resend_after = "PT1S"
max_deliveries = 10000
[operator]
port = 0
"""


def prepare(folder: Path) -> None:
    """Write what the processes need: certificates, the VENs, the settings."""
    pki = folder / "pki"
    made = make_parties(pki, *VENS)
    made.issue(Role.OPERATOR, "haproxy", datetime.now(UTC))
    vens = (
        f'[[ven]]\nname = "name of {each}"\nven_id = "{each}"\nfingerprint = "{mark(pki, Role.VEN, each)}"\n'
        for each in VENS
    )
    (folder / "vens.toml").write_text("".join(vens), encoding="utf-8")
    (folder / "vtn.toml").write_text(SETTINGS, encoding="utf-8")


class Machine:
    """One process, on an address and a port of its own, which it has again when it is started again.

    Args:
        folder: With what :func:`prepare` has written.
        address: Of loopback.
        db: The store.
        stack: Ends what still runs.
    """

    def __init__(self, folder: Path, address: str, db: str, stack: AsyncExitStack) -> None:
        self._folder, self._address, self._db, self._stack = folder, address, db, stack
        self._lives = itertools.count(1)
        self.port = 0
        self.up = False
        self._lived: list[Program] = []
        self._api = ""

    @property
    def place(self) -> str:
        """Its address and port, as a balancer is told."""
        return f"{self._address}:{self.port}"

    @property
    def _running(self) -> Program:
        return self._lived[-1]

    async def start(self) -> None:
        """Start it, and return when it serves."""
        name = f"vtn-{self._address}-{next(self._lives)}"
        words = ("vtn", "--config", "vtn.toml", "--host", self._address, "--port", str(self.port))
        running = await self._stack.enter_async_context(
            program(self._folder, name, "operator", *words, "--db", self._db, "--log-format", "json")
        )
        found = re.fullmatch(r"https://.*:(\d+)", running.told["vtn"][0])
        assert found is not None
        self._lived.append(running)
        self.port, self._api, self.up = int(found.group(1)), running.told["operator"][0], True

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.up = False
        self._running.process.send_signal(signal.SIGKILL)
        assert await self._running.process.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """End it as an operator would."""
        self.up = False
        assert await self._running.stop() == 0

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged in all its lives."""
        return [line for each in self._lived for line in each.lines()]

    def client(self) -> ApiClient:
        """Return a way to its operator API."""
        return ApiClient(self._api, TOKEN)

    async def served(self) -> int:
        """Return how many messages it has had in this life."""
        stats = await asyncio.to_thread(lambda: self.client().ask(StatsOut, "GET", "stats"))
        return sum(each.count for each in stats.messages_in)

    def desk(self) -> RemoteDesk:
        """Return a way to its operator API, in the terms of events."""
        return RemoteDesk(self._api, TOKEN)


@dataclass
class Site:
    """The processes as one VTN; implements :class:`.kill9_vtn.Answers`.

    Attributes:
        port: That of the balancer.
    """

    machines: list[Machine]
    port: int
    life: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def alive(self, after_life: int) -> int:
        """Return when it is worth trying again: the balancer may know another way."""
        if after_life >= 0:
            await asyncio.sleep(AGAIN_S)
        return self.life

    async def command(self, **what: object) -> Any:
        """Let the operator do something at any process that is up; return the answer.

        Raises:
            Died: if there was none.
        """
        machine = self.chance.choice([each for each in self.machines if each.up])
        try:
            return await _do(machine, what)
        except (ExchangeFailed, OperatorError) as err:
            raise Died from err


async def _do(machine: Machine, what: dict[str, Any]) -> object:
    """Do what the operator of a scripted day wants; as :func:`.kill9_child.do`, over the operator API."""
    desk = machine.desk()
    try:
        match what:
            case {"do": "publish", "event": event_id}:
                later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
                await desk.publish([draft(event_id, values=(0.0,) * 6, start=later, audience=VENS)])
            case {"do": "modify", "event": event_id, "value": value}:
                await desk.modify([(event_id, (price_signal([value] * 6),))])
            case {"do": "look", "event": event_id}:
                found = (await desk.events([event_id])).get(event_id)
                return -1 if found is None else found.modification_number
            case _:
                return await asyncio.to_thread(_ask, machine.client(), what)
    finally:
        await desk.close()
    return None


def _ask(operator: ApiClient, what: dict[str, Any]) -> object:
    match what:
        case {"do": "cancel", "event": event_id}:
            operator.ask(api.EventOut, "POST", "events", event_id, "cancel")
        case {"do": "request", "ven": ven_id, "day": day}:
            wanted = api.ReportCreate(
                report_specifier_id="meter-energy", start=START + timedelta(days=day), duration="PT0S"
            )
            operator.ask(api.ReportOut, "POST", "vens", ven_id, "reports", body=wanted)
        case {"do": "requests", "ven": ven_id}:
            found = operator.ask(api.ReportList, "GET", "reports", query={"ven_id": ven_id})
            return [(each.start - START).days for each in found.reports if each.start is not None]
        case _:
            raise AssertionError(what)
    return None


class BalancedHome(Home):
    """A VEN that goes through the balancer, with its certificate; it counts its answers.

    Args:
        number: Which VEN.
        vtn: What it talks to.
        told: Notes what was answered.
        pki: With the certificates.
    """

    def __init__(self, number: int, vtn: Site, told: VenLedger, pki: Path) -> None:
        super().__init__(number, vtn, told, seed=1)
        self._context: ssl.SSLContext = client(pki, Role.VEN, VENS[number]).context
        self._timeout = aiohttp.ClientTimeout(total=REPLY_S)
        self._changed = asyncio.Condition()
        self.answers = 0
        self.failures = 0

    async def _raw(self, body: bytes, headers: dict[str, str], service: str) -> tuple[int, bytes]:
        url = f"https://{HOST}:{self._vtn.port}/OpenADR2/Simple/2.0b/{service}"
        try:
            async with self._http.post(
                url, data=body, headers=headers, ssl=self._context, timeout=self._timeout
            ) as answer:
                found = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as err:
            self.failures += 1
            raise Died from err
        if found[0] == 503:  # it is to come back
            raise Died
        self.answers += 1
        async with self._changed:
            self._changed.notify_all()
        return found

    async def goes_on(self, answers: int, within_s: float = PATIENCE_S) -> None:
        """Return when it has had so many answers from now on."""
        wanted = self.answers + answers
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: self.answers >= wanted)
