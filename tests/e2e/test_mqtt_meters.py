"""PCC meters over MQTT, against a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from dso_engine.model import PccReading
from feederloop.telemetry.board import Fault
from feederloop.telemetry.mqtt_meters import MeterBroker, MqttMeters
from tests.e2e.test_mqtt_devices import MOSQUITTO, Mosquitto
from tests.unit.telemetry.telemetry_kit import METERS, PLAUSIBLE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,
    pytest.mark.skipif(
        MOSQUITTO is None, reason="the MQTT broker mosquitto is not installed (apt: mosquitto)"
    ),
]

PATIENCE_S = 30.0
START = datetime.now(UTC)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    running = Mosquitto(tmp_path / "mosquitto.conf")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def meters(broker: Mosquitto) -> AsyncIterator[MqttMeters]:
    made = MqttMeters(
        MeterBroker(host="127.0.0.1", port=broker.port),
        METERS,
        PLAUSIBLE,
        now=lambda: START + timedelta(seconds=100),
        first_pause_s=0.1,
    )
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def payload(second: float, p_kw: float, **other: object) -> str:
    when = (START + timedelta(seconds=second)).isoformat()
    return json.dumps({"time": when, "p_kw": p_kw, "q_kvar": 0.5, "v_v": 231.0, **other})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def publish_until_heard(client: aiomqtt.Client, meters: MqttMeters, name: str, text: str) -> None:
    """Publish over and over: who subscribes later than this hears nothing of it."""
    before = meters.state().taken
    async with asyncio.timeout(PATIENCE_S):
        while meters.state().taken == before:
            await client.publish(f"feeder/{name}", text, qos=1)
            await asyncio.sleep(0.02)


async def read(meters: MqttMeters) -> dict[str, PccReading]:
    return {str(reading.pcc.id): reading for reading in await meters.read(START)}


async def test_readings_come_from_topics_and_bad_ones_are_counted(
    broker: Mosquitto, meters: MqttMeters
) -> None:
    assert await read(meters) == {}
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until_heard(client, meters, "F1-A", payload(0, -12.5))
        for name, text in (
            ("F1-A", ""),
            ("F1-A", "12.5"),
            ("F1-A", "[1]"),
            ("F1-A", "{" * 2000),
            ("F1-A", " " * 5000),
            ("F1-A", payload(1, float("nan"))),
            ("F1-A", payload(1, -12_500.0)),
            ("F1-A", payload(-1, -11.0)),
            ("F1-A", payload(106, -11.0)),
            ("F9-A", payload(1, 1.0)),
            ("F1-A", json.dumps({"p_kw": 1, "q_kvar": 0, "v_v": 230})),
        ):
            await client.publish(f"feeder/{name}", text, qos=1)
        await client.publish("feeder/F2-C", payload(2, 3.0, pcc="F1-A", comment="x"), qos=1)
        await until(lambda: sum(count for _, count in meters.state().refused) == 11)
        await until(lambda: meters.state().taken == 2)
    found = await read(meters)
    assert {name: (r.p_kw, r.taken_at) for name, r in found.items()} == {
        "F1-A": (-12.5, START),
        "F2-C": (3.0, START + timedelta(seconds=2)),  # the topic says whose it is
    }
    assert dict(meters.state().refused) == {
        Fault.UNREADABLE: 6,
        Fault.NO_NUMBER: 1,
        Fault.ABSURD: 1,
        Fault.LATE: 1,
        Fault.FUTURE: 1,
        Fault.UNKNOWN_PCC: 1,
    }


async def test_a_reading_the_broker_kept_is_as_old_as_it_is(broker: Mosquitto) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.publish("feeder/F1-A", payload(-86_400, 5.0), qos=1, retain=True)
    late = MqttMeters(MeterBroker(host="127.0.0.1", port=broker.port), METERS, PLAUSIBLE, now=lambda: START)
    task = asyncio.create_task(late.run())
    await until(lambda: late.state().taken == 1)
    assert (await read(late))["F1-A"].taken_at == START - timedelta(days=1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_after_the_broker_was_away_readings_go_on_and_were_old_meanwhile(
    broker: Mosquitto, meters: MqttMeters
) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until_heard(client, meters, "F1-A", payload(0, 1.0))
    await broker.stop()
    assert (await read(meters))["F1-A"].taken_at == START
    await broker.start()
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        await publish_until_heard(client, meters, "F1-A", payload(10, 2.0))
    assert (await read(meters))["F1-A"].p_kw == 2.0
