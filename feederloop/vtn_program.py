"""``feederloop vtn``: a VTN that serves until it is told to stop.

Exit codes: 0 after SIGTERM or SIGINT, 1 if the store failed while serving (a supervisor starts it anew), 2 if
it could not start.
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
from pathlib import Path
from typing import Final

from yarl import URL

from certs.connections import ConnectionLimits
from config.program import without_password
from config.settings import SettingsError
from config.vtn_settings import OperatorApi, VtnProgramSettings
from dso_engine.gateway_messages import Contexts, report_requests
from feederloop.clock import WallClock
from feederloop.process import VERSION, length, starting, stop_signal
from feederloop.provisioning import read_provisions
from feederloop.signing_key import vtn_key, vtn_signatures
from feederloop.tls_sides import kept_fresh
from feederloop.vtn_limits import push_limits, within_files
from feederloop.vtn_retention import pruning, retention_of
from feederloop.vtn_transport import VtnTransport, vtn_transport
from schemas.oadr20b.errors import ApplicationError
from schemas.oadr20b.model import Report
from schemas.oadr20b.xmltypes import Duration
from ven_client.slots import slot_start
from vtn_server.api import serve_api
from vtn_server.api_desk import Desk
from vtn_server.http import serve, serve_health
from vtn_server.operator import Operator
from vtn_server.push import PushDispatcher
from vtn_server.service import VtnService
from vtn_server.settings import ReportPlan, VtnSettings, no_reports
from vtn_server.sqlstore import open_store
from vtn_server.state import Provision, ReportRequestDraft, VenId
from vtn_server.store import Store

__all__ = ["Place", "RunningVtn", "operator_token", "run_vtn", "running_vtn"]

_LOG: Final = logging.getLogger(__name__)
_ANYWHERE: Final = ("0.0.0.0", "::")
_KEPT_IN_MEMORY: Final = timedelta(days=2)
_LOOK: Final = 1.0
"""How often to look whether the store has failed, s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a process among several on the same ports of one machine.

    Attributes:
        number: From 1 on.
        own_api_port: The port on which this one alone serves the operator API, for its metrics.
    """

    number: int
    own_api_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVtn:
    """A VTN that serves.

    Attributes:
        url: The base address, which a VEN is told.
        api_url: That of the operator API; None where it is off.
        own_api_url: That of the operator API of this process alone, one of several, for its metrics.
        health_url: That of the health endpoint of its own; None where it is off.
        fingerprints: Those of the VTN's certificates, which a VEN may pin.
        host: The host its certificate names, if there is one.
    """

    service: VtnService
    operator: Operator
    url: str
    api_url: str | None
    own_api_url: str | None = None
    health_url: str | None = None
    fingerprints: tuple[str, ...] = ()
    host: str | None = None

    def told_url(self) -> str:
        """Return the address to tell a VEN: nobody reaches ``0.0.0.0``, nor does a certificate name it."""
        url = URL(self.url)
        if self.host is None or url.host not in _ANYWHERE:
            return self.url
        return str(url.with_host(self.host))

    def banner(self, contexts: Contexts) -> str:
        """Return what the program prints at its start: what a VEN must be told."""
        lines = [
            f"vtn: {self.told_url()}",
            f"vtn_id: {self.service.settings.vtn_id}",
            *(f"fingerprint: {each}" for each in self.fingerprints),
            *(f"market_context: {each}" for each in contexts.all),
            f"operator: {self.api_url or 'off, there is no token'}",
            f"health: {self.health_url or 'off'}",
        ]
        return "\n".join(lines)


async def run_vtn(
    settings: VtnProgramSettings,
    say: Callable[[str], None],
    *,
    stop: asyncio.Event | None = None,
    place: Place | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: What the program was told.
        say: Prints what somebody who starts it by hand wants to know.
        stop: Set when it shall end; SIGTERM and SIGINT, if left out.
        place: Its place among several processes.

    Raises:
        SettingsError: if the settings do not allow to start.
        StoreError: if the store cannot be opened.
        OSError: if an address is taken.
    """
    stop = stop or stop_signal()
    async with AsyncExitStack() as stack:
        with starting():
            vtn = await stack.enter_async_context(running_vtn(settings, place))
        say(vtn.banner(Contexts(base=settings.market_base)))
        _LOG.info("serving at %s, version %s", vtn.url, VERSION)
        while not (stop.is_set() or vtn.service.is_broken):
            try:
                async with asyncio.timeout(_LOOK):
                    await stop.wait()
            except TimeoutError:
                continue
        failed = vtn.service.is_broken
        _LOG.info("stopping%s", ": the store failed" if failed else "")
    _LOG.info("stopped")
    return 1 if failed else 0


@asynccontextmanager
async def running_vtn(settings: VtnProgramSettings, place: Place | None = None) -> AsyncIterator[RunningVtn]:
    """Hold a VTN that serves; at the end requests under way are finished and the store is closed.

    Raises:
        SettingsError, StoreError, OSError: see :func:`run_vtn`.
    """
    settings = within_files(settings)
    transport = vtn_transport(settings)
    for fault in transport.faults:
        _LOG.error("our own certificate: %s", fault)
    key = vtn_key(settings)
    token = operator_token(settings.operator)
    known = () if settings.vens is None else read_provisions(settings.vens)
    clock = WallClock()
    async with AsyncExitStack() as stack:
        store = open_store(settings.db)
        stack.push_async_callback(store.close)
        service = await VtnService.start(
            vtn_settings(settings, transport),
            store,
            now=clock.now,
            new_id=lambda: secrets.token_hex(8),
            report_plan=_report_plan(settings),
            signer=None if key is None else key.signer,
        )
        if key is not None:
            key.renewed = service.mail.renew
        stack.push_async_callback(service.close)
        operator = Operator(service)
        await _provision(operator, known)
        await stack.enter_async_context(
            service.alone(lambda: _duties(service, store, settings, transport, clock))
        )
        desk = Desk(
            operator=operator,
            now=clock.now,
            new_id=lambda: secrets.token_hex(8),
            vtn_id=settings.vtn_id,
            version=VERSION,
        )
        api_url, own_api_url = await _start_api(desk, token, settings.operator, place, stack)
        await stack.enter_async_context(kept_fresh(*transport.sides(), *(() if key is None else (key,))))
        health_url = await _start_health(service, settings, transport, place, stack)
        url = await _start_http(service, settings, transport, place, stack)
        _LOG.info("store %s, %d VENs known", without_password(settings.db), len(operator.vens()))
        yield RunningVtn(
            service=service,
            operator=operator,
            url=url,
            api_url=api_url,
            own_api_url=own_api_url,
            health_url=health_url,
            fingerprints=transport.fingerprints,
            host=transport.host,
        )


@asynccontextmanager
async def _duties(
    service: VtnService,
    store: Store,
    settings: VtnProgramSettings,
    transport: VtnTransport,
    clock: WallClock,
) -> AsyncIterator[None]:
    """Hold what one process does for all: pushes, and the end of what is old."""
    async with pruning(store, settings, clock.now):
        if not settings.push:
            yield
            return
        dispatcher = PushDispatcher(
            service, clock, random.Random(), limits=push_limits(settings), tls=transport.push
        )
        dispatcher.start()
        try:
            yield
        finally:
            await dispatcher.close()


async def _start_http(
    service: VtnService,
    settings: VtnProgramSettings,
    transport: VtnTransport,
    place: Place | None,
    stack: AsyncExitStack,
) -> str:
    server = await serve(
        service,
        peers=transport.peers,
        host=settings.host,
        port=settings.port,
        prefix=settings.prefix,
        tls=transport.context,
        exempt=transport.exempt,
        alarms=transport.alarms,
        shared=place is not None,
    )
    stack.push_async_callback(server.close)
    return server.url


async def _start_health(
    service: VtnService,
    settings: VtnProgramSettings,
    transport: VtnTransport,
    place: Place | None,
    stack: AsyncExitStack,
) -> str | None:
    if settings.health.port is None:
        return None
    port, shared = settings.health.port, place is not None
    health = await serve_health(service, transport.alarms, port=port, shared=shared)
    stack.push_async_callback(health.close)
    return health.url


async def _start_api(
    desk: Desk, token: str | None, api: OperatorApi, place: Place | None, stack: AsyncExitStack
) -> tuple[str | None, str | None]:
    """Serve the operator API; of one of several processes also on a port of its own, the next ones."""
    if token is None:
        return None, None
    server = await serve_api(desk, token, host=api.host, port=api.port, shared=place is not None)
    stack.push_async_callback(server.close)
    if place is None:
        return server.url, None
    own = await serve_api(desk, token, host=api.host, port=place.own_api_port)
    stack.push_async_callback(own.close)
    return server.url, own.url


def vtn_settings(settings: VtnProgramSettings, transport: VtnTransport) -> VtnSettings:
    """Return the plain values the VTN is composed with."""
    limits = settings.limits
    return VtnSettings(
        vtn_id=settings.vtn_id,
        identity=transport.identity,
        poll_period=Duration.parse(settings.poll_period),
        open_enrolment=settings.open_enrolment,
        market_contexts=settings.market_contexts,
        resend_after_s=length(limits.resend_after).total_seconds(),
        max_deliveries=limits.max_deliveries,
        max_push_deliveries=limits.max_push_deliveries,
        max_requests=limits.max_requests,
        max_bytes_at_once=max(limits.max_bytes_at_once, limits.max_bytes),
        max_events=limits.max_events,
        keep_completed=min(_KEPT_IN_MEMORY, retention_of(settings).events or _KEPT_IN_MEMORY),
        max_vens=limits.max_vens,
        connection_limits=ConnectionLimits(
            connections=limits.connections,
            per_address=limits.connections_per_address,
            handshake_s=length(limits.handshake_timeout).total_seconds(),
            head_s=length(limits.head_timeout).total_seconds(),
            write_s=length(limits.write_timeout).total_seconds(),
        ),
        idle_timeout_s=length(limits.idle_timeout).total_seconds(),
        push=settings.push,
        push_targets=transport.targets,
        max_bytes=limits.max_bytes,
        read_timeout_s=length(limits.read_timeout).total_seconds(),
        validate_outgoing=limits.validate_outgoing,
        check_rules=limits.check_rules,
        accept_bare_root=limits.accept_bare_root,
        wrong_method_status=limits.wrong_method_status,
        signatures=vtn_signatures(settings),
        signature_window=length(settings.signature.window),
    )


def operator_token(api: OperatorApi) -> str | None:
    """Return the token of the operator API, None where it is off.

    Raises:
        SettingsError: if its file cannot be read or the token is too short to be one.
    """
    if api.token is not None:
        return _checked(api.token.get_secret_value(), "operator.token")
    if api.token_file is None:
        return None
    return _checked(_first_line(api.token_file), str(api.token_file))


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path}: {err}") from err
    return lines[0].strip() if lines else ""


def _checked(token: str, where: str) -> str:
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(f"{where}: a token is 16 or more printable ASCII characters without spaces")
    return token


def _report_plan(settings: VtnProgramSettings) -> ReportPlan:
    if settings.ask_reports == "none":
        return no_reports

    def plan(ven_id: VenId, metadata: tuple[Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
        del ven_id
        return report_requests(metadata, slot_start(now))

    return plan


async def _provision(operator: Operator, known: tuple[Provision, ...]) -> None:
    """Make the VENs of the file known. One that the operator removed stays removed."""
    removed = frozenset(operator.removed())
    for each in known:
        if each.ven_id in removed:
            _LOG.warning("%s of the file was removed by the operator and stays so", each.ven_id)
        view = operator.ven(each.ven_id)
        former = None if view is None else view.provision.fingerprint
        if None not in (former, each.fingerprint) and former != each.fingerprint:
            _LOG.warning("the file changes the certificate of %s: it was %s", each.ven_id, former)
    try:
        await operator.provision(
            [each for each in known if each.ven_id not in removed], replace_identity=True
        )
    except ApplicationError as err:
        raise SettingsError(f"the file of VENs does not fit the store: {err.description}") from err
