"""From settings to the source of the measurements of a feeder."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from config.dso_settings import MqttSection, TelemetrySection
from config.settings import SettingsError
from dso_engine.feeder import Network
from dso_engine.model import Pcc, PccReading
from feederloop.telemetry.board import Plausible, TelemetryState
from feederloop.telemetry.csv_tail import CsvTail

__all__ = ["Meters", "first_line", "meter_names", "opened_meters"]


class Meters(Protocol):
    """A :class:`dso_engine.ports.TelemetrySource` that says how it is."""

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC that has one."""
        ...

    def state(self) -> TelemetryState:
        """Return the counts and ages."""
        ...


def meter_names(settings: TelemetrySection, network: Network) -> dict[str, Pcc]:
    """Return the PCC behind each name the source uses.

    Raises:
        SettingsError: if a name is for a PCC the network lacks, or a name or PCC comes twice or is missing.
    """
    known = {str(pcc.id): pcc for pcc in network.pccs}
    if not settings.pccs:
        return known
    names: dict[str, Pcc] = {}
    for text in settings.pccs:
        name, _, pcc_id = text.rpartition("=")
        pcc = known.get(pcc_id.strip())
        if pcc is None:
            raise SettingsError(f"telemetry.pccs: the network has {', '.join(known)}, no {pcc_id}")
        if name.strip() in names or pcc in names.values():
            raise SettingsError(f"telemetry.pccs: {text} comes twice")
        names[name.strip()] = pcc
    if missing := [pcc_id for pcc_id, pcc in known.items() if pcc not in names.values()]:
        raise SettingsError(f"telemetry.pccs: no meter for {', '.join(missing)}")
    return names


@asynccontextmanager
async def opened_meters(
    settings: TelemetrySection, network: Network, now: Callable[[], datetime]
) -> AsyncIterator[Meters]:
    """Hold the source that the settings name.

    Raises:
        SettingsError: if they do not fit, or an extra is not installed.
    """
    names = meter_names(settings, network)
    plausible = Plausible(
        max_kw=settings.max_kw,
        max_kvar=settings.max_kvar,
        v_low_v=settings.v_low_v,
        v_high_v=settings.v_high_v,
    )
    if settings.kind == "mqtt":
        async with _mqtt(settings.mqtt, names, plausible, now) as meters:
            yield meters
        return
    assert settings.path is not None  # the settings see to it
    if settings.kind == "parquet":
        try:
            from feederloop.telemetry.parquet_files import ParquetFiles
        except ImportError as err:
            raise SettingsError("telemetry of kind parquet needs feederloop[parquet]") from err
        yield ParquetFiles(settings.path, names, plausible)
        return
    tail = CsvTail(settings.path, names, plausible)
    try:
        yield tail
    finally:
        await tail.close()


@asynccontextmanager
async def _mqtt(
    settings: MqttSection, names: dict[str, Pcc], plausible: Plausible, now: Callable[[], datetime]
) -> AsyncIterator[Meters]:
    try:
        from feederloop.telemetry.mqtt_meters import MeterBroker, MqttMeters
    except ImportError as err:
        raise SettingsError("telemetry of kind mqtt needs feederloop[mqtt]") from err
    broker = MeterBroker(
        host=settings.host,
        port=settings.port,
        username=settings.username,
        password=_password(settings),
        tls=ssl.create_default_context() if settings.tls else None,
        prefix=settings.prefix.rstrip("/"),
    )
    meters = MqttMeters(broker, names, plausible, now=now)
    receiving = asyncio.create_task(meters.run(), name="meters")
    try:
        yield meters
    finally:
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving


def _password(settings: MqttSection) -> str | None:
    if settings.password is not None:
        return settings.password.get_secret_value()
    return None if settings.password_file is None else first_line(settings.password_file)


def first_line(path: Path) -> str:
    """Return the first line of a file that holds a secret.

    Raises:
        SettingsError: if it cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"{path}: {err}") from err
    if not lines or not lines[0].strip():
        raise SettingsError(f"{path}: nothing in its first line")
    return lines[0].strip()
