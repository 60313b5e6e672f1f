"""``feederloop ven`` with real devices: an event becomes a set point at the broker, the reading a report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import pytest

from config.program import load
from config.settings import SettingsError
from config.ven_settings import VenProgramSettings
from dso_engine.gateway_messages import Contexts
from feederloop.hosting import VtnHost
from feederloop.ven_home import ven_home
from feederloop.ven_program import RunningVen, running_ven
from schemas.oadr20b import model as m
from schemas.oadr20b.enums import ResponseRequired, SignalType
from schemas.oadr20b.units import EUR_PER_KWH
from schemas.oadr20b.xmltypes import Duration
from tests.e2e.test_mqtt_devices import MOSQUITTO, PATIENCE_S, Mosquitto
from ven_client.session import State
from ven_client.slots import SLOT
from ven_client.statefile import StateFile
from vtn_server.records import EventDraft
from vtn_server.settings import Identity, VtnSettings
from vtn_server.state import Provision, ReportRequestDraft, VenId

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.enable_socket,
    pytest.mark.skipif(
        MOSQUITTO is None, reason="the MQTT broker mosquitto is not installed (apt: mosquitto)"
    ),
]

START = datetime(2026, 5, 12, 10, 18, tzinfo=UTC)
EDGE = datetime(2026, 5, 12, 10, 30, tzinfo=UTC)
VEN = VenId("ven-1")
STEP = timedelta(seconds=20)


class ManualClock:
    """Time that moves when the test says so, and waits until whoever it woke sleeps again."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._sleepers: dict[asyncio.Future[None], datetime] = {}

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        del rank, key
        if when <= self._now:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        self._sleepers[wake] = when
        try:
            await wake
        finally:
            del self._sleepers[wake]

    async def quiet(self) -> None:
        """Return when somebody sleeps and nobody is due."""
        await until(lambda: any(not wake.done() for wake in self._sleepers))

    async def step(self, by: timedelta) -> None:
        self._now += by
        for wake, when in self._sleepers.items():
            if when <= self._now and not wake.done():
                wake.set_result(None)
        await self.quiet()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


class House:
    """A battery that does what it is told, a load of 1 kW, PV of 0.4 kW, and a meter; over MQTT."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.set_w: list[int] = []
        self.energy_wh = 5000.0
        self.count = 0

    @property
    def battery_w(self) -> int:
        return self.set_w[-1] if self.set_w else 0

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with aiomqtt.Client("127.0.0.1", self._port) as self._client:
            await self._client.subscribe("cellar/set", qos=1)
            task = asyncio.create_task(self._obey())
            yield
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _obey(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.set_w.append(int(message.payload))

    async def live(self, ven: RunningVen, clock: ManualClock) -> None:
        """Let one step pass: publish what there is, until the VEN has heard it, then move the clock."""
        net_w = 1000 - 400 - self.battery_w
        self.energy_wh += net_w * STEP.total_seconds() / 3600
        self.count += 1
        said = {
            "home/meter/energy_wh": self.energy_wh,
            "home/meter/power_w": net_w,
            "home/pv/power_w": 400,
            "home/battery/power_w": self.battery_w,
            "home/battery/soc_pct": 60 + 1e-6 * self.count,  # always another, to be seen
        }
        await clock.step(STEP)
        assert ven.home.quantities is not None
        heard = ven.home.quantities
        async with asyncio.timeout(PATIENCE_S):
            while {one.name: one.value for one in heard(clock.now())} != said:
                for topic, value in said.items():
                    await self._client.publish(topic, f"{value:.6f}", qos=1)
                await asyncio.sleep(0.002)
                said = {topic: float(f"{value:.6f}") for topic, value in said.items()}


def settings(port: int, url: str, folder: Path) -> VenProgramSettings:
    options = {
        "vtn": url,
        "name": "home",
        "plain": True,
        "state": folder / "ven.state",
        "home": {"id": "H12"},
        "devices": {
            "kind": "mqtt",
            "broker": f"mqtt://127.0.0.1:{port}",
            "prefix": "home",
            "pv": True,
            "battery_kwh": 6.0,
            "battery_kw": 3.0,
            "topics": {"set_battery_power": "cellar/set"},
        },
    }
    return load(VenProgramSettings, None, options, {})


def plan(ven_id: VenId, metadata: tuple[m.Report, ...], now: datetime) -> tuple[ReportRequestDraft, ...]:
    del ven_id, metadata, now
    rhythms = (("storage", ("stored-energy", "battery-power"), 10), ("meter-power", ("power",), 1))
    return tuple(
        ReportRequestDraft(
            report_specifier_id=specifier,
            r_ids=r_ids,
            granularity=Duration(minutes=minutes),
            report_back_duration=Duration(minutes=10),
            start=EDGE - SLOT,
        )
        for specifier, r_ids, minutes in rhythms
    )


def price() -> EventDraft:
    """A real-time price on top of the tariff, so high that a battery discharges."""
    signal = m.EventSignal(
        intervals=(m.Interval.of_signal(0, Duration(minutes=10), 0.5),),
        signal_name="ELECTRICITY_PRICE",
        signal_type=SignalType.PRICE_RELATIVE,
        signal_id="price",
        item_base=EUR_PER_KWH,
    )
    return EventDraft(
        event_id="e1",
        market_context=Contexts().price,
        dtstart=EDGE,
        duration=Duration(minutes=10),
        signals=(signal,),
        audience=(VEN,),
        response_required=ResponseRequired.ALWAYS,
    )


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    running = Mosquitto(tmp_path / "mosquitto.conf")
    await running.start()
    yield running
    await running.stop()


async def test_from_event_to_set_point_to_report_and_over_a_restart(
    broker: Mosquitto, tmp_path: Path
) -> None:
    clock = ManualClock(START)
    host = VtnHost(
        settings=VtnSettings(vtn_id="VTN", identity=Identity.CLAIMED),
        database=tmp_path / "vtn.sqlite",
        now=clock.now,
        report_plan=plan,
        seed=1,
    )
    await host.start()
    await host.operator.provision([Provision(ven_id=VEN, ven_name="home")])
    house, told = House(broker.port), settings(broker.port, host.url, tmp_path)
    async with house.at_work():
        async with running_ven(told, clock) as ven:
            while clock.now() < EDGE - 12 * STEP:
                await house.live(ven, clock)
            assert ven.client.session.state is State.OPERATIONAL
            await host.operator.publish_events([price()])
            while clock.now() < EDGE:
                await house.live(ven, clock)
            await until(lambda: len(ven.client.session.events) == 1)  # a reply may be on its way
            await until(lambda: house.battery_w > 0)
            discharge_w = house.battery_w
            while clock.now() < EDGE + SLOT + 6 * STEP:
                await house.live(ven, clock)
            assert discharge_w in house.set_w
        readings = await host.operator.readings(
            report_specifier_id="storage", start=EDGE, end=EDGE + SLOT, ven_id=VEN
        )
        found = {each.r_id: each.value for each in readings}
        assert found["battery-power"] == discharge_w
        assert found["stored-energy"] == pytest.approx(3600, abs=1)
        minutes = await host.operator.readings(
            report_specifier_id="meter-power", start=EDGE, end=EDGE + SLOT, ven_id=VEN
        )
        assert [each.value for each in minutes][1:] == [600 - discharge_w] * 9
        # What was measured is kept, and so is the registration.
        async with running_ven(told, clock) as ven:
            await clock.quiet()
            await house.live(ven, clock)
            assert ven.client.session.state is State.OPERATIONAL
            assert ven.client.session.ven_id == VEN
            assert ven.home.stale(clock.now()) == ()
        assert dict(host.operator.stats().messages_in)["CreatePartyRegistration"] == 1
    file = StateFile(tmp_path / "ven.state", "home")
    state = file.load()
    file.close()
    assert state is not None
    measured = {one.slot: one for one in state.home.measured}
    assert measured[EDGE].load_kwh == pytest.approx(1.0 / 6)
    assert measured[EDGE].pv_kwh == pytest.approx(0.4 / 6)
    await host.stop()


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ({"credentials": "gone"}, "credentials gone"),
        ({"topics": {"phase": "x"}}, r"topics\.phase"),
        ({"broker": "mqtts://127.0.0.1", "ca": "gone.pem"}, r"gone\.pem"),
        ({"broker": "mqtt://127.0.0.1:99999"}, "99999"),
    ],
)
def test_devices_that_cannot_be_reached_this_way(devices: dict[str, object], told: str) -> None:
    options = {"devices": {"kind": "mqtt", **devices}}
    with pytest.raises(SettingsError, match=told):
        ven_home(load(VenProgramSettings, None, options, {}), lambda: START)
