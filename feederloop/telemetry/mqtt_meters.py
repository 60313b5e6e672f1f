"""PCC meters over MQTT: one topic per PCC, a JSON object as payload.

``<prefix>/<name of the meter>``, for example ``feeder/F1-A``::

    {"time": "2026-05-16T10:00:10Z", "p_kw": 12.5, "q_kvar": 1.2, "v_v": 231.4}

The time is part of the payload because a broker may keep a message: without it a retained reading of
yesterday would look new. Other names in the object are ignored. The connection is made again after it was
lost, with a growing pause; meanwhile readings grow old. Needs the extra ``mqtt``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import aiomqtt

from dso_engine.model import Pcc, PccReading
from feederloop.telemetry.board import Board, Fault, Plausible, TelemetryState
from feederloop.telemetry.report import FaultLog

__all__ = ["MeterBroker", "MqttMeters"]

_LOG: Final = logging.getLogger(__name__)
_LONGEST_PAUSE_S: Final = 60.0
_LARGEST: Final = 4096
"""Bytes of a payload that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBroker:
    """Where the meters publish.

    Attributes:
        prefix: Topic above the meters' names.
        tls: For a connection with TLS.
    """

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    prefix: str = "feeder"


class MqttMeters:
    """Implements :class:`dso_engine.ports.TelemetrySource`; :meth:`run` must run beside it.

    Args:
        broker: Where the meters publish.
        meters: The PCC behind each meter's name.
        plausible: What is believed.
        now: The present instant.
        first_pause_s: Before the first try to connect again; it doubles with each.
    """

    def __init__(
        self,
        broker: MeterBroker,
        meters: Mapping[str, Pcc],
        plausible: Plausible,
        *,
        now: Callable[[], datetime],
        first_pause_s: float = 1.0,
    ) -> None:
        self._broker = broker
        self._board = Board(meters, plausible)
        self._faults = FaultLog(_LOG)
        self._now = now
        self._first_pause_s = first_pause_s

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC."""
        del now
        return self._board.newest()

    def state(self) -> TelemetryState:
        """Return the counts and ages."""
        return self._board.state()

    async def run(self) -> None:
        """Receive until cancelled."""
        pause_s = self._first_pause_s
        while True:
            try:
                async with self._client() as client:
                    await client.subscribe(f"{self._broker.prefix}/+", qos=1)
                    _LOG.info("MQTT: connected to %s:%d", self._broker.host, self._broker.port)
                    pause_s = self._first_pause_s
                    async for message in client.messages:
                        self._take(message.topic.value, message.payload)
            except aiomqtt.MqttError as err:
                _LOG.warning("MQTT: %s; again in %.0f s", err, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            tls_context=broker.tls,
        )

    def _take(self, topic: str, payload: object) -> None:
        now = self._now()
        fields = _fields(payload)
        if fields is None:
            fault: Fault | None = self._board.refuse(Fault.UNREADABLE)
        else:
            fault = self._board.put({**fields, "pcc": topic.rsplit("/", 1)[-1]}, now)
        if fault is not None:
            self._faults.note(fault, payload, topic, now)


def _fields(payload: object) -> dict[str, object] | None:
    """Return the object a payload is; None where it is none."""
    if not isinstance(payload, bytes | bytearray | str) or len(payload) > _LARGEST:
        return None
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
