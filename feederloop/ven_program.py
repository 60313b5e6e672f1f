"""``feederloop ven``: a VEN with its home that runs until it is told to stop.

Exit codes: 0 after SIGTERM or SIGINT, 2 if it could not start or its state could not be written.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from dso_engine.gateway_messages import Contexts
from feederloop.clock import WallClock
from feederloop.process import VERSION, length, stop_signal
from feederloop.tls_sides import expiring, kept_fresh, own_fingerprints, wall_clock
from feederloop.transport_security import PLAIN_WARNING
from feederloop.ven_home import VenHome, ven_home
from feederloop.ven_mail import ven_key, ven_mail
from feederloop.ven_security import VenSecurity, check_ven_config, ven_security
from schemas.oadr20b.rules import PushOrPull
from ven_client.binding import HomeApplication
from ven_client.client import VenClient
from ven_client.durable import DurableSession
from ven_client.keeping import Keeper
from ven_client.listener import Listener, listen
from ven_client.mail import Mail
from ven_client.ports import Clock
from ven_client.rulewatch import RuleWatch
from ven_client.session import State
from ven_client.settings import VenConfig
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
        fingerprint: Of its certificate, for the VTN's operator; None without TLS.
    """

    client: VenClient
    home: VenHome
    task: asyncio.Task[None]
    address: str | None
    health_url: str | None
    fingerprint: str | None


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
        say(f"ven: {settings.name}\nvtn: {settings.vtn_url}\nhome: {settings.home.id}")
        say(f"certificate: {ven.fingerprint or 'none'}")
        say(f"push: {ven.address or 'off'}\nhealth: {ven.health_url or 'off'}")
        _LOG.info("%s runs against %s, version %s", settings.name, settings.vtn_url, VERSION)
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
async def running_ven(settings: VenProgramSettings, clock: Clock | None = None) -> AsyncIterator[RunningVen]:
    """Hold a VEN that runs.

    Args:
        settings: What the program was told.
        clock: The time; the wall's if left out. Certificates live in that of the wall in any case.

    Raises:
        SettingsError, StateError, OSError: see :func:`run_ven`.
    """
    security = ven_security(settings)
    if security is None:
        _LOG.warning(PLAIN_WARNING)
    else:
        for line in (*check_ven_config(settings), *expiring(security.files, wall_clock())):
            _LOG.warning("%s", line)
    clock = SteadyClock() if clock is None else clock
    home = ven_home(settings, clock.now)
    async with AsyncExitStack() as stack:
        listener = file = mail = None
        watch = _rule_watch(settings, clock)
        if settings.state is not None:
            file = StateFile(settings.state, settings.name)
            stack.callback(file.close)
        key = ven_key(settings)
        if key is not None:
            mail = ven_mail(settings, key, file, clock.now)
        if security is not None:
            await stack.enter_async_context(kept_fresh(*security.sides, *(() if key is None else (key,))))
        if settings.push:
            listener = await _listen(settings, security, mail, watch)
            stack.push_async_callback(listener.close)
        contexts = Contexts(base=settings.market_base)
        config = _config(settings, home, listener, signs=mail is not None)
        application = HomeApplication(
            home.manager,
            local_market=contexts.market,
            switch_id=home.switch_id,
            realtime_context=contexts.price,
            day_ahead_market=contexts.day_ahead if settings.market.day_ahead else None,
        )
        rng = random.Random()
        session = DurableSession(config, application, lambda: secrets.token_hex(8), rng.uniform)
        keeper = None
        if file is not None:
            keeper = Keeper(session, home.memory(application), file)
        transport = HttpPull(
            settings.vtn_url,
            now=clock.now,
            timeout_s=length(settings.timeout).total_seconds(),
            observer=watch,
            tls=None if security is None else security.client,
            vtn=None if security is None else security.vtn,
            mail=mail,
        )
        stack.push_async_callback(transport.close)
        client = VenClient(session, transport, application, clock, rng, keeper=keeper)
        if listener is not None:
            listener.attach(client)
        health_url = await _start_health(client, home, clock, settings, stack)
        works = [client.run()] if home.connection is None else [client.run(), home.connection()]
        task = asyncio.create_task(_together(works), name="ven")
        stack.push_async_callback(_end, task)
        yield RunningVen(
            client=client,
            home=home,
            task=task,
            address=config.push_address,
            health_url=health_url,
            fingerprint=None if security is None else own_fingerprints(security.files)[0],
        )


async def _listen(
    settings: VenProgramSettings, security: VenSecurity | None, mail: Mail | None, watch: RuleWatch | None
) -> Listener:
    server = None if security is None else security.server
    return await listen(
        host=settings.listener.host,
        port=settings.listener.port,
        tls=None if server is None else server.context,
        vtn=None if security is None else security.poster,
        mail=mail,
        observer=None if watch is None else watch.incoming,
    )


def _rule_watch(settings: VenProgramSettings, clock: Clock) -> RuleWatch | None:
    if not settings.check_rules:
        return None
    return RuleWatch(PushOrPull.PUSH if settings.push else PushOrPull.PULL, now=clock.now)


async def _together(works: list[Coroutine[Any, Any, None]]) -> None:
    """Run all until one ends; whatever it ends with goes up."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _config(
    settings: VenProgramSettings, home: VenHome, listener: Listener | None, *, signs: bool
) -> VenConfig:
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
            resources=() if home.switch_id is None else (home.switch_id,),
            groups=settings.groups,
            market_contexts=settings.market_contexts,
            xml_signature=signs,
            push_address=None if listener is None else settings.listener.address or listener.url,
            idle_poll=length(polling.idle),
            fast_poll=length(polling.fast),
            poll_jitter=polling.jitter,
            registration_retry=length(polling.retry),
            fast_contexts=(Contexts(base=settings.market_base).price,),
        )
    except ValueError as err:
        raise SettingsError(str(err)) from err


async def _start_health(
    client: VenClient, home: VenHome, clock: Clock, settings: VenProgramSettings, stack: AsyncExitStack
) -> str | None:
    """Serve ``/health``: the process lives; and ``/ready``: it is registered and through the bootstrap."""
    port, session = settings.health.port, client.session
    if port is None:
        return None

    async def health(request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok")

    async def ready(request: web.Request) -> web.Response:
        del request
        is_ready = session.state is State.OPERATIONAL
        told = {
            "ready": is_ready,
            "version": VERSION,
            "state": session.state.value,
            "ven_id": session.ven_id,
            "trouble": client.link.trouble,
            "reason": client.link.reason,
            "stale": [one.name for one in home.quantities(clock.now()) if one.stale]
            if home.quantities
            else [],
        }
        return web.json_response(told, status=200 if is_ready else 503)

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, _LOOPBACK, port).start()
    return f"http://{_LOOPBACK}:{runner.addresses[0][1]}"
