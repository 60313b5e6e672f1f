"""A VTN that runs already, by its URL: its VENs, and what an operator may tell it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from certs.tls import CertificateFiles, ClientTls, TlsError, TlsFiles
from certs.xmldsig import Signer
from feederloop.bench.grounds import client_of
from feederloop.bench.load import BenchError, BenchVen, ProcessClock
from feederloop.bench.messages import R_ID, SPECIFIER
from feederloop.bench.model import Contestant, Transport
from feederloop.bench.server import Server
from feederloop.operator_client import ApiClient, OperatorError
from schemas.oadr20b.enums import SignalName, SignalType
from schemas.oadr20b.simple_http import PATH
from schemas.oadr20b.units import ItemKind
from vtn_server import api_models as api

__all__ = ["RemoteServer", "RemoteVtn"]

M = TypeVar("M", bound=api.Model)
_INTERVALS: Final = 6
_CONTEXT: Final = "http://feederloop.example/benchmark"
_SPREAD_S: Final = 0.3
"""Of several processes of one VTN the others know what one was told some milliseconds later."""
_LEAST_CPU_MS: Final = 1e-3
"""No server reads and answers a request in less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteVtn:
    """A VTN that runs already.

    Attributes:
        url: Its base address, without ``/OpenADR2/...``.
        names: The venNames it knows; it gives them their venIDs.
        folders: Of each, the folder in ``issued/ven`` of the authority.
        certs: The folder of the authority that issued the VENs' certificates.
        pids: Its processes, where they are on this machine.
        operator: Its operator API, where it is one of ours and may be told what to do.
    """

    url: str
    names: tuple[str, ...]
    folders: tuple[str, ...]
    certs: Path | None
    pids: tuple[int, ...]
    operator: ApiClient | None

    @classmethod
    def of(
        cls,
        url: str,
        vens: Sequence[str],
        *,
        certs: Path | None = None,
        pids: Sequence[int] = (),
        operator: ApiClient | None = None,
    ) -> Self:
        """Return one as the command line names it.

        Args:
            url: Its address, also with the path that VENs are told.
            vens: Each ``venName``, or ``venName=FOLDER`` where the folder of its certificate is called
                otherwise.
            certs: As in the class.
            pids: As in the class.
            operator: As in the class.

        Raises:
            BenchError: if that is no VTN that could be measured.
        """
        base = url.rstrip("/").removesuffix(PATH.rstrip("/")).rstrip("/")
        try:
            parts = urlsplit(base)
            scheme, host = parts.scheme, parts.hostname
            _ = parts.port
        except ValueError as err:
            raise BenchError(f"{url} is no address of a VTN: {err}") from err
        if scheme not in ("http", "https") or not host:
            raise BenchError(f"{url} is no address of a VTN: http://127.0.0.1:8080 is one")
        if not vens:
            raise BenchError("a VTN at a URL needs the names of VENs that it knows: --ven NAME")
        if (scheme == "https") != (certs is not None):
            raise BenchError("https needs certificates, --certs FOLDER, and http takes none")
        pairs = [(name, folder or name) for name, _, folder in (each.partition("=") for each in vens)]
        names = tuple(name for name, _ in pairs)
        if len(set(names)) < len(names):
            raise BenchError("a VEN is named twice: each sends over a connection of its own")
        folders = tuple(folder for _, folder in pairs)
        return cls(url=base, names=names, folders=folders, certs=certs, pids=tuple(pids), operator=operator)

    def transport(self, asked: Sequence[Transport]) -> Transport:
        """Return how its messages travel.

        Args:
            asked: What the command line says; nothing is what certificates suggest.

        Raises:
            BenchError: if that does not go with its address.
        """
        if len(asked) > 1:
            raise BenchError("a VTN at a URL has one transport")
        suggested = Transport.PLAIN if self.certs is None else Transport.TLS
        found = asked[0] if asked else suggested
        if (found is Transport.PLAIN) != (self.certs is None):
            raise BenchError("--over plain goes with http, the others with https and --certs FOLDER")
        return found

    def server(self, transport: Transport) -> RemoteServer:
        """Return it as somebody to measure, with a connection for each VEN.

        Raises:
            BenchError: if certificates cannot be read, or a process is not there.
        """
        clock = ProcessClock(*self.pids) if self.pids else None
        secured = [
            (None, None) if self.certs is None else _secured(self.certs, folder, transport)
            for folder in self.folders
        ]
        pairs = zip(self.names, secured, strict=True)
        return RemoteServer(
            who=Contestant.REMOTE,
            transport=transport,
            url=self.url,
            clock=clock,
            seats=[BenchVen.connect(name, self.url, *keys) for name, keys in pairs],
            operator=self.operator,
        )

    def check_clock(self, cpu_ms: Sequence[float]) -> None:
        """Look whether the processes are those that answered.

        Args:
            cpu_ms: What they took per message, of everything that was measured.

        Raises:
            BenchError: if they did nothing meanwhile.
        """
        if self.pids and cpu_ms and max(cpu_ms) < _LEAST_CPU_MS:
            named = ", ".join(map(str, self.pids))
            raise BenchError(
                f"process {named} did nothing while the VTN answered, so it is not the VTN; "
                "of one with --workers name each worker: its log has their numbers"
            )


def _secured(certs: Path, folder: str, transport: Transport) -> tuple[ClientTls, Signer | None]:
    base = certs / "issued" / "ven" / folder
    own = CertificateFiles(certificate=base / f"{transport.key}.pem", key=base / f"{transport.key}.key")
    try:
        return client_of(TlsFiles(own=(own,), trust=certs / "trust.pem"), signed=transport.signed)
    except (TlsError, OSError, ValueError) as err:
        raise BenchError(
            f"{folder}: {err}; where its folder has another name than the VEN: --ven NAME=FOLDER"
        ) from err


@dataclass(slots=True, kw_only=True)
class RemoteServer(Server):
    """Any VTN of profile 2.0b by its URL, which knows the VENs already.

    Attributes:
        seats: A VEN's name with what it connects with.
        operator: Publishes events and asks for reports, where there is one.
        event_id: Of the one event; no two runs share one.
        asked: The report requests of this run, each with its VEN.
    """

    seats: Sequence[BenchVen]
    operator: ApiClient | None = None
    event_id: str = field(default_factory=lambda: f"benchmark-{secrets.token_hex(4)}")
    published: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def start(self) -> None:
        """Register the VENs.

        Raises:
            BenchError: if the VTN does not go along.
        """
        self.vens.extend(self.seats)
        self.can_publish = self.operator is not None
        for ven in self.vens:
            # A VTN that was measured before has the readings of that time; what comes now shall be new to it.
            ven.minute = 60 * secrets.randbelow(8_000)
        await self.join()

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber.

        Raises:
            BenchError: if it cannot be told to.
        """
        values = tuple(0.01 * (secrets.randbelow(1_000) + k) for k in range(_INTERVALS))
        if self.published:
            change = api.EventModify(values=(api.SignalValues(signal_id="price", values=values),))
            told = await self._told(api.EventOut, "PATCH", "events", self.event_id, body=change)
            return told.modification_number
        signal = api.SignalModel(
            name=SignalName.ELECTRICITY_PRICE,
            type=SignalType.PRICE,
            id="price",
            unit=api.UnitModel(kind=ItemKind.CURRENCY_PER_KWH, units="EUR"),
            intervals=tuple(api.IntervalModel(duration="PT10M", value=each) for each in values),
        )
        event = api.EventCreate(
            event_id=self.event_id,
            market_context=_CONTEXT,
            start=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=12),
            duration="PT1H",
            signals=(signal,),
            ven_ids=tuple(ven.ven_id for ven in self.vens),
        )
        told = await self._told(api.EventOut, "POST", "events", body=event)
        self.published = True
        return told.modification_number

    async def ask(self) -> None:
        """Want reports of all VENs, where it can be told to.

        Raises:
            BenchError: if it refuses.
        """
        if self.operator is None:
            return
        wanted = api.ReportCreate(
            report_specifier_id=SPECIFIER,
            r_ids=(R_ID,),
            granularity="PT1M",
            report_back="PT1H",
            start=datetime(2024, 1, 1, tzinfo=UTC),
        )
        paths = [("vens", ven.ven_id, "reports") for ven in self.vens]
        told = await asyncio.gather(
            *(self._told(api.ReportOut, "POST", *path, body=wanted) for path in paths)
        )
        self.asked = [(each.ven_id, each.report_request_id) for each in told]

    async def close(self) -> None:
        """Take back what was published and asked for; end the connections."""
        with suppress(BenchError):
            if self.published:
                await self._told(api.EventOut, "POST", "events", self.event_id, "cancel")
            paths = [("vens", ven_id, "reports", request, "cancel") for ven_id, request in self.asked]
            await asyncio.gather(*(self._told(api.ReportOut, "POST", *path) for path in paths))
        await Server.close(self)

    async def _told(self, answers: type[M], method: str, *path: str, body: api.Model | None = None) -> M:
        if self.operator is None:
            raise BenchError("this VTN takes no commands")
        try:
            told = await asyncio.to_thread(self.operator.ask, answers, method, *path, body=body)
        except OperatorError as err:
            raise BenchError(f"the operator API: {err}") from err
        await asyncio.sleep(_SPREAD_S)
        return told
