"""Devices over MQTT, against a real broker."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from ven_client.devices import Phase, StaleReading
from ven_client.mqtt_devices import Broker, MqttDevices, MqttTopics

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,
    pytest.mark.skipif(
        MOSQUITTO is None, reason="the MQTT broker mosquitto is not installed (apt: mosquitto)"
    ),
]

TOPICS = MqttTopics.under("home", pv=True, battery=True, switch=True)
PATIENCE_S = 30.0


class Mosquitto:
    """A broker that can be stopped and started again on its port."""

    def __init__(self, config: Path) -> None:
        self._config = config
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        assert MOSQUITTO is not None
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self._config), stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    running = Mosquitto(tmp_path / "mosquitto.conf")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def devices(broker: Mosquitto) -> AsyncIterator[MqttDevices]:
    made = MqttDevices(
        Broker(host="127.0.0.1", port=broker.port),
        TOPICS,
        capacity_kwh=6.0,
        now=lambda: datetime.now(UTC),
        repeat=timedelta(seconds=0.2),
    )
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


def known(devices: MqttDevices) -> dict[str, float | None]:
    return {one.name: one.value for one in devices.quantities(datetime.now(UTC))}


async def publish_until(client: aiomqtt.Client, devices: MqttDevices, **values: str) -> None:
    """Publish as a device does, over and over, until it has arrived: nothing is retained."""
    topics = {getattr(TOPICS, name): text for name, text in values.items()}
    async with asyncio.timeout(PATIENCE_S):
        while any(known(devices)[topic] != float(text) for topic, text in topics.items()):
            for topic, text in topics.items():
                await client.publish(topic, text, qos=1)
            await asyncio.sleep(0.02)


async def test_what_devices_publish_is_read(broker: Mosquitto, devices: MqttDevices) -> None:
    with pytest.raises(StaleReading, match="never"):
        devices.meter_wh(datetime.now(UTC))
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until(
            client,
            devices,
            meter_energy="12345.4",
            meter_power="-1500",
            pv_power="4000",
            battery_power="-500",
            battery_soc="30",
            phase="2",
        )
    now = datetime.now(UTC)
    assert devices.meter_wh(now) == 12345
    assert devices.net_kw(now) == -1.5
    assert devices.load_kw(now) == pytest.approx(2.0)  # -1.5 + 4.0 - 0.5
    assert devices.pv_available_kw(now) == 4.0
    assert devices.battery_kwh(now) == pytest.approx(1.8)
    assert devices.battery_kw(now) == -0.5
    assert devices.phase(now) is Phase.B
    assert not any(one.stale for one in devices.quantities(now))
    late = now + timedelta(seconds=61)
    assert all(one.stale for one in devices.quantities(late))
    with pytest.raises(StaleReading, match="s old"):
        devices.battery_kwh(late)


async def test_what_is_no_number_is_refused(broker: Mosquitto, devices: MqttDevices) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until(client, devices, meter_power="7")
        for bad in ("", "nan", "inf", "x", "\u0663", '{"value": 1}'):
            await client.publish(TOPICS.meter_power, bad, qos=1)
        await until(lambda: devices.refused == 6)
    assert known(devices)[TOPICS.meter_power] == 7.0


async def test_set_points_are_published_changed_and_repeated(broker: Mosquitto, devices: MqttDevices) -> None:
    now = datetime.now(UTC)
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe("home/#", qos=1)
        devices.set_battery_kw(-1.2345, now)
        devices.set_pv_limit_kw(0.5, now)
        devices.set_phase(Phase.C, now)
        devices.set_flexible_kw(1.0, now)
        heard: list[tuple[str, str, bool]] = []
        expected = {
            ("home/battery/set_power_w", "-1234"),
            ("home/pv/set_limit_w", "500"),
            ("home/switch/set_phase", "3"),
        }
        async with asyncio.timeout(PATIENCE_S):
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                heard.append((message.topic.value, message.payload.decode(), message.retain))
                if len(heard) == 6:
                    break
        assert {(topic, text) for topic, text, _ in heard} == expected  # each at once, then once more
        assert not any(retained for _, _, retained in heard)
        devices.set_pv_limit_kw(None, now)
        async with asyncio.timeout(PATIENCE_S):
            async for message in client.messages:
                if message.topic.value == "home/pv/set_limit_w" and message.payload == b"-1":
                    break


async def test_the_connection_comes_back_after_the_broker_was_away(
    broker: Mosquitto, devices: MqttDevices
) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until(client, devices, battery_soc="10")
    await broker.stop()
    devices.set_battery_kw(2.0, datetime.now(UTC))
    await broker.start()
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe(TOPICS.set_battery_power or "", qos=1)
        await publish_until(client, devices, battery_soc="90")
        async with asyncio.timeout(PATIENCE_S):
            async for message in client.messages:
                assert message.payload == b"2000"
                break
