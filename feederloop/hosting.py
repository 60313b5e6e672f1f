"""A VTN that can be started, stopped and started again on the same file and port."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from vtn_server.http import HttpServer, serve
from vtn_server.operator import Operator
from vtn_server.peers import ClaimedNames, Peers
from vtn_server.service import VtnService
from vtn_server.settings import ReportPlan, VtnSettings
from vtn_server.sqlstore import SqlStore

__all__ = ["VtnHost"]


class VtnHost:
    """Composes store, service, HTTP server and operator facade.

    Args:
        settings: The VTN's settings.
        database: The SQLite file; made if it is not there.
        now: The protocol's clock.
        report_plan: Which reports to ask of a VEN that announces its metadata.
        seed: Seed of the ids the VTN makes; a restart goes on with other ids.
        host: The address to listen on.
        peers: Tells who asks; plain HTTP, where the venID is believed, if left out.
        tls: The server's context, for https.
    """

    def __init__(
        self,
        *,
        settings: VtnSettings,
        database: Path,
        now: Callable[[], datetime],
        report_plan: ReportPlan,
        seed: int,
        host: str = "127.0.0.1",
        peers: Peers | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._now = now
        self._report_plan = report_plan
        self._seed = seed
        self._host = host
        self._peers = ClaimedNames() if peers is None else peers
        self._tls = tls
        self._starts = 0
        self._port = 0
        self._refused = 0
        self._store: SqlStore | None = None
        self._service: VtnService | None = None
        self._server: HttpServer | None = None
        self._operator: Operator | None = None

    async def start(self) -> None:
        """Load the state and listen; after a stop on the same port as before.

        Raises:
            StoreError, OSError: if the file cannot be opened or the port is taken; nothing is left open then.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._starts += 1
        ids = random.Random(f"{self._seed}/{self._starts}")
        self._store = SqlStore(self._database)
        self._service = await VtnService.start(
            self._settings,
            self._store,
            now=self._now,
            new_id=lambda: f"{ids.getrandbits(64):016x}",
            report_plan=self._report_plan,
        )
        self._operator = Operator(self._service)
        self._server = await serve(
            self._service, peers=self._peers, host=self._host, port=self._port, tls=self._tls
        )
        self._port = self._server.port

    async def stop(self) -> None:
        """Stop listening, finish what is under way, close the file."""
        if self._server is not None:
            await self._server.close()
            self._server = None
        if self._service is not None:
            self._refused += self._service.stats().rejected
            await self._service.close()
            self._service = None
        if self._store is not None:
            await self._store.close()
            self._store = None
        self._operator = None

    @property
    def url(self) -> str:
        """The base address of the VTN that listens.

        Raises:
            RuntimeError: if it does not.
        """
        if self._server is None:
            raise RuntimeError("the VTN is not running")
        return self._server.url

    @property
    def operator(self) -> Operator:
        """The facade of the VTN that runs.

        Raises:
            RuntimeError: if none does.
        """
        if self._operator is None:
            raise RuntimeError("the VTN is not running")
        return self._operator

    @property
    def refused(self) -> int:
        """Requests that ended in an application or HTTP error, over all starts."""
        return self._refused + (self._service.stats().rejected if self._service is not None else 0)
