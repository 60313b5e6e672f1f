"""A VTN that pushes and its VENs, on loopback sockets in simulated time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from datetime import timedelta

from feederloop.clock import SimClock
from schemas.oadr20b import wire
from tests.unit.ven.ven_fakes import T0, FakeHome
from tests.unit.vtn.rig import MemoryStore
from ven_client.client import VenClient
from ven_client.listener import Incoming, Listener, listen
from ven_client.session import Session
from ven_client.settings import VenConfig
from ven_client.transport import HttpPull
from vtn_server.http import HttpServer, serve
from vtn_server.operator import Operator, VenView
from vtn_server.peers import ClaimedNames
from vtn_server.push import PushDispatcher, PushLimits
from vtn_server.push_targets import PushTargets
from vtn_server.service import Exchange, VtnService
from vtn_server.settings import Identity, ReportPlan, VtnSettings, no_reports
from vtn_server.state import Provision, VenId
from vtn_server.store import Store

SETTINGS = VtnSettings(
    vtn_id="vtn-1",
    identity=Identity.CLAIMED,
    push=True,
    push_targets=PushTargets.loopback(),
    validate_outgoing=True,
)


class Vtn:
    """A VTN that can be stopped and started again on the same store and port."""

    def __init__(self, clock: SimClock, store: Store | None = None, settings: VtnSettings = SETTINGS) -> None:
        self.clock = clock
        self.store = store or MemoryStore()
        self.settings = settings
        self.plan: ReportPlan = no_reports
        self.exchanges: list[Exchange] = []
        self.limits = PushLimits(timeout_s=5.0)
        self._ids = itertools.count(1)
        self._port = 0
        self.service: VtnService
        self.operator: Operator
        self.server: HttpServer
        self.dispatcher: PushDispatcher

    async def start(self) -> Vtn:
        self.service = await VtnService.start(
            self.settings,
            self.store,
            now=self.clock.now,
            new_id=lambda: f"id-{next(self._ids)}",
            report_plan=self.plan,
            on_exchange=self.exchanges.append,
        )
        self.operator = Operator(self.service)
        self.server = await serve(self.service, peers=ClaimedNames(), port=self._port)
        self._port = self.server.port
        self.dispatcher = PushDispatcher(
            self.service, self.clock, random.Random(3), limits=self.limits, spawn=self.clock.spawn
        )
        self.dispatcher.start()
        return self

    async def stop(self) -> None:
        await self.dispatcher.close()
        await self.server.close()
        await self.service.close()

    async def announce(self, *names: str) -> None:
        await self.operator.provision(
            [Provision(ven_id=VenId(f"ven-{name}"), ven_name=name) for name in names]
        )

    def view(self, name: str) -> VenView:
        return next(each for each in self.operator.vens() if each.ven_name == name)

    def sent(self, kind: str) -> int:
        return dict(self.service.stats().messages_out).get(kind, 0)

    def received(self, kind: str) -> int:
        return dict(self.service.stats().messages_in).get(kind, 0)


class Home:
    """One VEN: pushed to, or polling."""

    def __init__(self, name: str, home: FakeHome, client: VenClient, listener: Listener | None) -> None:
        self.name = name
        self.ven_id = VenId(f"ven-{name}")
        self.home = home
        self.client = client
        self.listener = listener
        self.incoming: list[Incoming] = []
        self.task: asyncio.Task[None] | None = None

    @property
    def session(self) -> Session:
        return self.client.session

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        if self.listener is not None:
            await self.listener.close()
        await self.client.close()


class Street:
    """A clock, a VTN, and the homes that were opened."""

    def __init__(self, vtn: Vtn) -> None:
        self.vtn = vtn
        self.clock = vtn.clock
        self.homes: list[Home] = []

    async def open(self, name: str, *, push: bool = True, port: int = 0, **settings: object) -> Home:
        log: list[Incoming] = []
        listener = await listen(port=port, prefix=f"/{name}", observer=log.append) if push else None
        config = VenConfig(
            ven_name=name,
            push_address=None if listener is None else listener.url + "/",
            **settings,  # type: ignore[arg-type]  # names are checked by the dataclass
        )
        seed = len(self.homes) + 1
        ids = itertools.count(1)
        home = FakeHome()
        session = Session(config, home, lambda: f"{name}-{next(ids)}", random.Random(seed).uniform)
        transport = HttpPull(self.vtn.server.url, now=self.clock.now)
        client = VenClient(session, transport, home, self.clock, random.Random(seed), key=name)
        if listener is not None:
            listener.attach(client)
        opened = Home(name, home, client, listener)
        opened.incoming = log
        opened.task = self.clock.spawn(client.run(), name)
        self.homes.append(opened)
        return opened

    async def until(self, **kwargs: float) -> None:
        """Let time pass up to T0 plus something."""
        await self.clock.run(T0 + timedelta(**kwargs))

    async def close(self) -> None:
        for each in self.homes:
            await each.close()
        await self.vtn.stop()


def kinds_of(exchanges: Sequence[Exchange], ven_id: str) -> list[str]:
    """Return the message names of what a VEN sent or was sent, in order."""
    return [type(wire.read(each.request)).__name__ for each in exchanges if each.ven_id == ven_id]
