"""The VENs of a run: each home's client, started, stopped and started anew in simulated time."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from dso_engine.gateway_messages import Contexts
from dso_engine.model import HomeId
from feederloop.clock import Rank, SimClock
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.simulation.street_certificates import StreetCertificates
from ven_client.binding import HomeApplication
from ven_client.client import VenClient
from ven_client.ports import Transport
from ven_client.session import Session
from ven_client.settings import VenConfig
from ven_client.stats import ClientStats
from ven_client.transport import Exchange, HttpPull

__all__ = ["FleetOfVens", "Link"]

Link = Callable[[HomeId, Transport], Transport]
"""Puts something between a VEN and its HTTP transport, such as a line that loses replies."""

_BOOT: Final = timedelta(minutes=2)
"""From start to the first message, so that homes stay idle until the first slot of the run."""
_PATIENCE_S: Final = 120.0
"""Simulated time waits for every exchange, so a slow machine must not look like a lost reply."""
_SPREAD_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A VEN that was started and not yet stopped."""

    client: VenClient
    task: asyncio.Task[None]


class FleetOfVens:
    """Starts and stops the VENs of all homes.

    Args:
        clock: Simulated time.
        url: Returns the VTN's address; a function, because the VTN starts later.
        seed: Seed of ids, jitter and boot times.
        contexts: Market contexts the VENs are configured with.
        switches: The resourceID of each transfer switch.
        logged: The home whose messages are kept.
        certificates: For mutual TLS; None is plain HTTP.
        link: What lies between the VENs and the VTN besides HTTP.
        day_ahead: Whether the homes offer hourly blocks the day before.
    """

    def __init__(
        self,
        *,
        clock: SimClock,
        url: Callable[[], str],
        seed: int,
        contexts: Contexts,
        switches: Mapping[HomeId, str],
        logged: HomeId | None = None,
        certificates: StreetCertificates | None = None,
        link: Link | None = None,
        day_ahead: bool = False,
    ) -> None:
        self._clock = clock
        self._url = url
        self._seed = seed
        self._contexts = contexts
        self._switches = dict(switches)
        self._logged = logged
        self._certificates = certificates
        self._link = link
        self._day_ahead_market = contexts.day_ahead if day_ahead else None
        self._running: dict[HomeId, _Running] = {}
        self._starts: dict[HomeId, int] = {}
        self._transports: list[HttpPull] = []
        self._exchanges: list[Exchange] = []

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The messages of the logged home so far."""
        return tuple(self._exchanges)

    def stats(self) -> tuple[ClientStats, ...]:
        """Return the counts of every VEN ever started, in the order of their starts."""
        return tuple(transport.stats() for transport in self._transports)

    @property
    def running(self) -> tuple[HomeId, ...]:
        """The homes whose VEN runs, in the order of their starts."""
        return tuple(self._running)

    def client(self, home: HomeId) -> VenClient:
        """Return the VEN of a home that runs.

        Raises:
            KeyError: if none does.
        """
        return self._running[home].client

    def start(self, household: SimulatedHousehold) -> None:
        """Start the VEN of a home. It remembers nothing of a former one; the home and its plans stay.

        Raises:
            ValueError: if the home's VEN runs already.
        """
        home = household.spec.home
        if home in self._running:
            raise ValueError(f"the VEN of {home} runs already")
        starts = self._starts[home] = self._starts.get(home, 0) + 1
        key = f"{self._seed}/{home}" if starts == 1 else f"{self._seed}/{home}/{starts}"
        digest = hashlib.sha256(key.encode()).digest()
        rng, ids = random.Random(digest), random.Random(digest + b"ids")
        switch = self._switches.get(home)
        application = HomeApplication(
            household.manager,
            local_market=self._contexts.market,
            switch_id=switch,
            realtime_context=self._contexts.price,
            day_ahead_market=self._day_ahead_market,
        )
        config = VenConfig(
            ven_name=str(home),
            ven_id=None,
            resources=() if switch is None else (switch,),
            market_contexts=self._contexts.all,
            fast_contexts=(self._contexts.price,),
        )
        session = Session(config, application, lambda: f"{ids.getrandbits(64):016x}", rng.uniform)
        tls, vtn = (None, None) if self._certificates is None else self._certificates.client(home)
        http = HttpPull(
            self._url(),
            now=self._clock.now,
            timeout_s=_PATIENCE_S,
            tls=tls,
            vtn=vtn,
            observer=self._exchanges.append if home == self._logged else None,
        )
        self._transports.append(http)
        transport = http if self._link is None else self._link(home, http)
        client = VenClient(session, transport, application, self._clock, rng, rank=Rank.VEN, key=str(home))
        delay = timedelta(milliseconds=int(rng.uniform(0, _SPREAD_MS)))
        task = self._clock.spawn(self._boot(client, delay), f"ven-{home}")
        self._running[home] = _Running(client=client, task=task)

    async def stop(self, home: HomeId) -> None:
        """End the VEN of a home as a power cut would: what it was about to say is lost.

        Raises:
            KeyError: if none runs.
        """
        running = self._running.pop(home)
        running.task.cancel()
        await asyncio.wait((running.task,))
        await running.client.close()

    async def close(self) -> None:
        """Close the connections of all VENs that run."""
        for running in self._running.values():
            await running.client.close()

    async def _boot(self, client: VenClient, delay: timedelta) -> None:
        when = self._clock.now() + _BOOT + delay
        await self._clock.sleep_until(when, Rank.VEN, "boot")
        await client.run()
