"""openleadr's VTN as a contestant, with the handlers a deployment would write, and nothing kept on disk."""

from __future__ import annotations

import socket
import warnings
from contextlib import AsyncExitStack, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from certs.files import pem, read_certificates
from feederloop.bench.grounds import HOST, VTN_ID, Grounds, now
from feederloop.bench.messages import R_ID
from feederloop.bench.model import Transport

__all__ = ["OpenleadrServer"]

_EVENT = "benchmark"


class OpenleadrServer:
    """openleadr 0.5.36.

    Args:
        server: The ``OpenADRServer``.
        url: Its base address.
        names: Its VENs.
    """

    def __init__(self, server: Any, url: str, names: tuple[str, ...]) -> None:  # noqa: ANN401 - untyped library
        self._server = server
        self._names = names
        self._version = -1
        self.url = url

    @classmethod
    async def start(cls, grounds: Grounds, folder: Path, stack: AsyncExitStack) -> OpenleadrServer:
        """Start the server."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from openleadr import OpenADRServer
        with socket.socket() as probe:  # it wants a port number; one that was free a moment ago
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        plain = grounds.transport is Transport.PLAIN
        secured = {} if plain else _secured(grounds, folder)
        with (folder / "openleadr.txt").open("w") as said, redirect_stdout(said):
            server = OpenADRServer(vtn_id=VTN_ID, http_host=HOST, http_port=port, **secured)
            server.add_handler("on_create_party_registration", _register)
            server.add_handler("on_register_report", _register_report)
            await server.run()
        stack.push_async_callback(server.stop)
        return cls(server, f"{'http' if plain else 'https'}://{HOST}:{port}", grounds.names)

    async def ask(self) -> None:
        """Do nothing: its requests for reports come with the answer to the announcement."""

    async def publish(self) -> int:
        """Give all VENs a new version of the event; return its modificationNumber."""
        from openleadr import utils

        self._version += 1
        for name in self._names:
            if not self._version:
                self._add(name)
                continue
            (event,) = self._server.events[name]
            for k, interval in enumerate(event.event_signals[0].intervals):
                utils.setmember(interval, "signal_payload", 0.01 * (self._version + k + 1))
            utils.increment_event_modification_number(event)
            self._server.events_updated[name] = True
        return self._version

    def _add(self, name: str) -> None:
        start = now().replace(microsecond=0) + timedelta(hours=12)
        ten = timedelta(minutes=10)
        self._server.add_event(
            ven_id=name,
            event_id=f"{_EVENT}-{name}",
            signal_name="ELECTRICITY_PRICE",
            signal_type="price",
            intervals=[
                {"dtstart": start + k * ten, "duration": ten, "signal_payload": 0.01 * (k + 1)}
                for k in range(6)
            ],
            callback=_answered,
            market_context="http://feederloop.example/benchmark",
        )


def _secured(grounds: Grounds, folder: Path) -> dict[str, Any]:
    """Return openleadr's arguments for mutual TLS, and for signatures where the transport has them."""
    files = grounds.vtn_files
    own = files.own[0]
    marks = {name: grounds.mark(name) for name in grounds.names}

    async def lookup(ven_id: str) -> dict[str, str | None] | None:
        if ven_id not in marks:
            return None
        return {"ven_id": ven_id, "ven_name": ven_id, "fingerprint": marks[ven_id], "registration_id": "r"}

    found: dict[str, Any] = {
        "http_cert": str(own.certificate),
        "http_key": str(own.key),
        "http_ca_file": str(files.trust),
        "ven_lookup": lookup,
        "show_server_cert_domain": False,
        "verify_message_signatures": grounds.transport.signed,
    }
    if grounds.transport.signed:
        leaf = folder / "leaf.pem"  # it signs with a file of one certificate
        leaf.write_bytes(pem(read_certificates(own.certificate)[0]))
        found |= {"cert": str(leaf), "key": str(own.key)}
    return found


async def _register(info: dict[str, Any]) -> tuple[str, str]:
    return info["ven_name"], "r"


async def _register_report(report: dict[str, Any]) -> list[tuple[str, object, timedelta]]:
    del report
    return [(R_ID, _take, timedelta(minutes=1))]


async def _take(data: list[tuple[datetime, float]]) -> None:
    """Take readings, and keep none of them: a deployment would write its own store here."""
    del data


async def _answered(ven_id: str, event_id: str, opt_type: str) -> None:
    del ven_id, event_id, opt_type
