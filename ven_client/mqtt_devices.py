"""A home's devices over MQTT: what they publish is read, what the home wants is published to them.

Every topic carries one number as text. Powers are in W and follow the signs of :mod:`ven_client.devices`
(import and discharge positive). ``docs/devices.md`` lists the topics. Needs the extra ``mqtt``.

* A value that is missing or too old raises :class:`ven_client.devices.StaleReading`: the home then does
  nothing rather than act on a guess, and its report has a gap.
* Set points are sent at once and repeated every ``repeat``, with QoS 1 and not retained, so a device can fall
  back by itself when they stop coming, and one that starts does not act on a set point of yesterday.
* The connection is made again after it was lost, with a growing pause.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import aiomqtt

from ven_client.devices import Phase, StaleReading
from ven_client.readings import Quantity, Readings

__all__ = ["Broker", "MqttDevices", "MqttTopics"]

_LOG = logging.getLogger(__name__)
_W: Final = 1000.0
_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTopics:
    """Where each quantity is found; None is a device the home does not have.

    Attributes:
        meter_energy: Read: register of the grid meter, all import less all export, Wh.
        meter_power: Read: present exchange with the grid, W.
        pv_power: Read: present production, W, or better what the PV could produce without a limit.
        battery_power: Read: present power of the battery, W.
        battery_soc: Read: state of charge, percent of the capacity.
        phase: Read: phase of the transfer switch, 1, 2 or 3.
        set_battery_power: Written: power the battery shall run at, W.
        set_pv_limit: Written: highest production, W; -1 lifts the limit.
        set_phase: Written: phase to connect to.
    """

    meter_energy: str
    meter_power: str
    pv_power: str | None = None
    battery_power: str | None = None
    battery_soc: str | None = None
    phase: str | None = None
    set_battery_power: str | None = None
    set_pv_limit: str | None = None
    set_phase: str | None = None

    @classmethod
    def under(cls, prefix: str, *, pv: bool, battery: bool, switch: bool) -> MqttTopics:
        """Return the default topics of a home, ``<prefix>/meter/energy_wh`` and so on."""

        def of(owned: bool, topic: str) -> str | None:
            return f"{prefix}/{topic}" if owned else None

        return cls(
            meter_energy=f"{prefix}/meter/energy_wh",
            meter_power=f"{prefix}/meter/power_w",
            pv_power=of(pv, "pv/power_w"),
            battery_power=of(battery, "battery/power_w"),
            battery_soc=of(battery, "battery/soc_pct"),
            phase=of(switch, "switch/phase"),
            set_battery_power=of(battery, "battery/set_power_w"),
            set_pv_limit=of(pv, "pv/set_limit_w"),
            set_phase=of(switch, "switch/set_phase"),
        )

    @property
    def read(self) -> tuple[str, ...]:
        """All topics that are read."""
        topics = (
            self.meter_energy,
            self.meter_power,
            self.pv_power,
            self.battery_power,
            self.battery_soc,
            self.phase,
        )
        return tuple(topic for topic in topics if topic is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """How the broker is reached."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None


class MqttDevices:
    """Implements :class:`ven_client.devices.Devices`; :meth:`run` keeps the connection.

    Args:
        broker: The broker.
        topics: Where the quantities are.
        capacity_kwh: Capacity of the battery, 0 without one: turns the state of charge into energy.
        now: The time, for the age of values.
        stale_after: A value older than this is not acted on.
        repeat: How often set points are repeated.
        identifier: MQTT client id; a random one if left out.

    Raises:
        ValueError: if there is a battery without the topics it needs.
    """

    def __init__(
        self,
        broker: Broker,
        topics: MqttTopics,
        *,
        capacity_kwh: float,
        now: Callable[[], datetime],
        stale_after: timedelta = timedelta(seconds=60),
        repeat: timedelta = timedelta(seconds=30),
        identifier: str | None = None,
    ) -> None:
        if capacity_kwh and None in (topics.battery_soc, topics.battery_power, topics.set_battery_power):
            raise ValueError("a battery needs topics for its state of charge, its power and its set point")
        self._broker, self._topics, self._capacity_kwh = broker, topics, capacity_kwh
        self._now, self._repeat, self._identifier = now, repeat, identifier
        self._readings = Readings(topics.read, stale_after)
        for topic in (topics.meter_power, topics.pv_power, topics.battery_power):
            if topic is not None:
                self._readings.keep_past(topic)
        self._wanted: dict[str, str] = {}
        self._sent: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.refused = 0
        """Messages that were no finite number."""

    def quantities(self, now: datetime) -> tuple[Quantity, ...]:
        """Return every quantity with its age; stale ones are flagged."""
        return self._readings.quantities(now)

    # --- the connection ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected until cancelled."""
        pause_s = 1.0
        while True:
            try:
                async with self._client() as client:
                    pause_s = 1.0
                    await self._serve(client)
            except aiomqtt.MqttError as err:
                _LOG.warning("the MQTT broker %s:%d: %s", self._broker.host, self._broker.port, err)
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            identifier=self._identifier,
            tls_context=broker.tls,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        await client.subscribe([(topic, 1) for topic in self._topics.read])
        self._sent.clear()
        self._changed.set()
        writing = asyncio.ensure_future(self._write(client))
        try:
            async for message in client.messages:
                self._take(message.topic.value, message.payload)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, client: aiomqtt.Client) -> None:
        while True:
            try:
                async with asyncio.timeout(self._repeat.total_seconds()):
                    await self._changed.wait()
            except TimeoutError:
                self._sent.clear()
            self._changed.clear()
            for topic, text in tuple(self._wanted.items()):
                if self._sent.get(topic) != text:
                    await client.publish(topic, text, qos=1)
                    self._sent[topic] = text

    def _take(self, topic: str, payload: object) -> None:
        try:
            text = payload.decode("ascii") if isinstance(payload, bytes | bytearray) else str(payload)
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            self._readings.put(topic, value, self._now())
        else:
            self.refused += 1
            _LOG.warning("%s: %.40r is no number", topic, payload)

    def _want(self, topic: str | None, text: str) -> None:
        if topic is not None and self._wanted.get(topic) != text:
            self._wanted[topic] = text
            self._changed.set()

    def _watts(self, topic: str | None, now: datetime) -> float:
        return self._readings.value(topic, now) if topic is not None else 0.0

    # --- Devices -------------------------------------------------------------------------------------------

    def meter_wh(self, now: datetime) -> int:
        """See :class:`ven_client.devices.Devices`."""
        return round(self._readings.value(self._topics.meter_energy, now))

    def mean_w(self, start: datetime, end: datetime) -> int | None:
        """See :class:`ven_client.devices.Devices`."""
        mean = self._readings.mean(self._topics.meter_power, start, end)
        return None if mean is None else round(mean)

    def mean_load_kw(self, start: datetime, end: datetime) -> float | None:
        """See :class:`ven_client.live_forecast.Measuring`."""
        topics = (self._topics.meter_power, self._topics.pv_power, self._topics.battery_power)
        means = [self._readings.mean(topic, start, end) for topic in topics if topic is not None]
        known = [mean for mean in means if mean is not None]
        return sum(known) / _W if len(known) == len(means) else None

    def mean_pv_kw(self, start: datetime, end: datetime) -> float | None:
        """See :class:`ven_client.live_forecast.Measuring`; 0 without PV."""
        if self._topics.pv_power is None:
            return 0.0
        mean = self._readings.mean(self._topics.pv_power, start, end)
        return None if mean is None else mean / _W

    def net_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        return self._readings.value(self._topics.meter_power, now) / _W

    def load_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`: what is metered plus what PV and battery give."""
        given = self._watts(self._topics.pv_power, now) + self._watts(self._topics.battery_power, now)
        return self.net_kw(now) + given / _W

    def pv_available_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        return self._watts(self._topics.pv_power, now) / _W

    def battery_kwh(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        return self._watts(self._topics.battery_soc, now) / 100.0 * self._capacity_kwh

    def battery_kw(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`."""
        return self._watts(self._topics.battery_power, now) / _W

    def flexible_kwh(self, now: datetime) -> float:
        """See :class:`ven_client.devices.Devices`; there is none over MQTT yet."""
        del now
        return 0.0

    def phase(self, now: datetime) -> Phase:
        """See :class:`ven_client.devices.Devices`; phase A without a switch."""
        if self._topics.phase is None:
            return Phase.A
        value = self._readings.value(self._topics.phase, now)
        if value not in tuple(Phase):
            raise StaleReading(f"the switch says phase {value}")
        return Phase(int(value))

    def set_battery_kw(self, kw: float, now: datetime) -> None:
        """See :class:`ven_client.devices.Devices`."""
        del now
        self._want(self._topics.set_battery_power, str(round(kw * _W)))

    def set_flexible_kw(self, kw: float, now: datetime) -> None:
        """See :class:`ven_client.devices.Devices`; does nothing."""
        del kw, now

    def set_pv_limit_kw(self, limit_kw: float | None, now: datetime) -> None:
        """See :class:`ven_client.devices.Devices`."""
        del now
        self._want(self._topics.set_pv_limit, "-1" if limit_kw is None else str(math.floor(limit_kw * _W)))

    def set_phase(self, phase: Phase, now: datetime) -> None:
        """See :class:`ven_client.devices.Devices`."""
        del now
        self._want(self._topics.set_phase, str(int(phase)))
