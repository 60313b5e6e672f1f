"""``feederloop ven``: a VEN with a simulated home that runs until it is told to stop.

Exit codes: 0 after SIGTERM or SIGINT, 2 if it could not start or its state could not be written.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from aiohttp import web

from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from dso_engine.gateway_messages import Contexts
from feederloop.clock import WallClock
from feederloop.process import VERSION, stop_signal
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.transport_security import PLAIN_WARNING, tls_context
from feederloop.wall_home import wall_household
from schemas.oadr20b.rules import PushOrPull
from schemas.oadr20b.xmltypes import Duration
from ven_client.binding import HomeApplication
from ven_client.client import VenClient
from ven_client.durable import DurableSession
from ven_client.keeping import Keeper
from ven_client.listener import Listener, listen
from ven_client.rulewatch import RuleWatch
from ven_client.session import State
from ven_client.settings import VenConfig
from ven_client.simulated_memory import SimulatedMemory
from ven_client.statefile import StateFile
from ven_client.transport import HttpPull

__all__ = ["RunningVen", "SteadyClock", "run_ven", "running_ven"]

_LOG: Final = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
"""How often to look where the session stands, for the log."""
_LOOPBACK: Final = "127.0.0.1"


class SteadyClock(WallClock):
    """The wall's time, but it never runs backwards: devices refuse that."""

    def __init__(self) -> None:
        self._last = super().now()

    def now(self) -> datetime:
        """Return the present instant, or the last one where the clock was set back."""
        self._last = max(self._last, super().now())
        return self._last


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVen:
    """A VEN that runs.

    Attributes:
        task: Ends only by an error.
        address: Where the VTN posts to; None for a pull VEN.
        health_url: Where the health endpoint is; None without.
    """

    client: VenClient
    task: asyncio.Task[None]
    address: str | None
    health_url: str | None


async def run_ven(settings: VenProgramSettings, say: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: What the program was told.
        say: Prints what somebody who starts it by hand wants to know.

    Raises:
        SettingsError: if the settings do not allow to start.
        StateError: if the state on disk cannot be used, or no longer be written.
        OSError: if an address is taken.
    """
    stop = stop_signal()
    async with running_ven(settings) as ven:
        say(f"ven: {settings.name}\nvtn: {settings.vtn}\nhome: {settings.home.id}")
        say(f"push: {ven.address or 'off'}\nhealth: {ven.health_url or 'off'}")
        _LOG.info("%s runs against %s, version %s", settings.name, settings.vtn, VERSION)
        waiting = asyncio.create_task(stop.wait())
        state = State.UNREGISTERED
        while not (stop.is_set() or ven.task.done()):
            await asyncio.wait((ven.task, waiting), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if ven.client.session.state is not state:
                state = ven.client.session.state
                _LOG.info("%s is %s, venID %s", settings.name, state.value, ven.client.session.ven_id)
        waiting.cancel()
        if ven.task.done():
            ven.task.result()  # whatever it is, it goes up
        _LOG.info("stopping")
    _LOG.info("stopped")
    return 0


@asynccontextmanager
async def running_ven(settings: VenProgramSettings) -> AsyncIterator[RunningVen]:
    """Hold a VEN that runs.

    Raises:
        SettingsError, StateError, OSError: see :func:`run_ven`.
    """
    tls = tls_context(settings)
    if tls is None:
        _LOG.warning(PLAIN_WARNING)
    clock = SteadyClock()
    home = wall_household(
        settings.home.id,
        clock.now(),
        homes=settings.home.homes,
        scenario=settings.home.scenario,
        seed=settings.home.seed,
    )
    async with AsyncExitStack() as stack:
        listener = None
        if settings.push:
            listener = await listen(host=settings.listener.host, port=settings.listener.port, tls=tls)
            stack.push_async_callback(listener.close)
        contexts = Contexts(base=settings.market_base)
        config = _config(settings, home, listener)
        application = HomeApplication(
            home.manager,
            local_market=contexts.market,
            switch_id=config.resources[0] if config.resources else None,
            realtime_context=contexts.price,
        )
        rng = random.Random()
        session = DurableSession(config, application, lambda: secrets.token_hex(8), rng.uniform)
        keeper = None
        if settings.state is not None:
            file = StateFile(settings.state, settings.name)
            stack.callback(file.close)
            keeper = Keeper(session, SimulatedMemory(application, home.devices), file)
        transport = HttpPull(
            settings.vtn,
            now=clock.now,
            timeout_s=_length(settings.timeout).total_seconds(),
            observer=_rule_watch(settings),
            tls=tls,
        )
        stack.push_async_callback(transport.close)
        client = VenClient(session, transport, application, clock, rng, keeper=keeper)
        if listener is not None:
            listener.attach(client)
        health_url = await _start_health(session, settings, stack)
        task = asyncio.create_task(client.run(), name="ven")
        stack.push_async_callback(_end, task)
        yield RunningVen(client=client, task=task, address=config.push_address, health_url=health_url)


def _rule_watch(settings: VenProgramSettings) -> RuleWatch | None:
    if not settings.check_rules:
        return None
    return RuleWatch(PushOrPull.PUSH if settings.push else PushOrPull.PULL)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _config(settings: VenProgramSettings, home: SimulatedHousehold, listener: Listener | None) -> VenConfig:
    """Return what the VEN is told at installation.

    Raises:
        SettingsError: if a value does not fit.
    """
    polling = settings.polling
    try:
        return VenConfig(
            ven_name=settings.name,
            ven_id=settings.ven_id,
            vtn_id=settings.vtn_id,
            resources=(f"switch-{home.spec.home}",) if home.spec.has_switch else (),
            groups=settings.groups,
            market_contexts=settings.market_contexts,
            push_address=None if listener is None else settings.listener.address or listener.url,
            idle_poll=_length(polling.idle),
            fast_poll=_length(polling.fast),
            poll_jitter=polling.jitter,
            registration_retry=_length(polling.retry),
            fast_contexts=(Contexts(base=settings.market_base).price,),
        )
    except ValueError as err:
        raise SettingsError(str(err)) from err


def _length(text: str) -> timedelta:
    """Return a duration of the settings without years and months.

    Raises:
        SettingsError: if it has them.
    """
    found = Duration.parse(text)
    if found.years or found.months:
        raise SettingsError(f"{text}: years and months are no time to wait")
    return timedelta(days=found.days, hours=found.hours, minutes=found.minutes, seconds=found.seconds)


async def _start_health(
    session: DurableSession, settings: VenProgramSettings, stack: AsyncExitStack
) -> str | None:
    """Serve ``/health``: the process lives; and ``/ready``: it is registered and through the bootstrap."""
    port = settings.health.port
    if port is None:
        return None

    async def health(request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok")

    async def ready(request: web.Request) -> web.Response:
        del request
        is_ready = session.state is State.OPERATIONAL
        told = {"ready": is_ready, "version": VERSION, "state": session.state.value, "ven_id": session.ven_id}
        return web.json_response(told, status=200 if is_ready else 503)

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, _LOOPBACK, port).start()
    return f"http://{_LOOPBACK}:{runner.addresses[0][1]}"
