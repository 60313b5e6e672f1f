"""The home behind ``feederloop ven``: simulated devices, or real ones over MQTT."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from config.settings import Neighbourhood, SettingsError, load_neighbourhood
from config.ven_settings import DeviceSettings, VenProgramSettings
from feederloop.process import length
from feederloop.simulation.homes import mean_pv_kwh, parameters_of, price_sheet
from feederloop.simulation.scenario import HomeSpec, Scenario
from feederloop.wall_home import wall_household, wall_scenario
from ven_client.binding import HomeApplication
from ven_client.hems.model import HomeParameters, InvalidHome
from ven_client.hems.program import Planner
from ven_client.home import HomeManager
from ven_client.live_forecast import LiveForecast, LiveNowcast
from ven_client.live_memory import LiveMemory
from ven_client.readings import Quantity
from ven_client.simulated_memory import SimulatedMemory
from ven_client.state import Remembering

if TYPE_CHECKING:  # needs the extra mqtt
    from ven_client.mqtt_devices import Broker, MqttTopics

__all__ = ["VenHome", "ven_home"]

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class VenHome:
    """A home, whatever its devices are.

    Attributes:
        manager: Runs them.
        switch_id: The resourceID of the transfer switch; None without one.
        memory: Returns what keeps the home over a restart, given the application.
        connection: Keeps the connection to real devices until cancelled; None for simulated ones.
        quantities: Returns what real devices have said so far, with its age; None for simulated ones.
    """

    manager: HomeManager
    switch_id: str | None
    memory: Callable[[HomeApplication], Remembering]
    connection: Callable[[], Coroutine[Any, Any, None]] | None = None
    quantities: Callable[[datetime], tuple[Quantity, ...]] | None = None

    def stale(self, now: datetime) -> tuple[str, ...]:
        """Return the names of what real devices have not said, or not lately; none of simulated ones."""
        quantities = () if self.quantities is None else self.quantities(now)
        return tuple(one.name for one in quantities if one.stale)


def ven_home(settings: VenProgramSettings, now: Callable[[], datetime]) -> VenHome:
    """Return the home that the settings describe.

    Args:
        settings: What the program was told.
        now: The clock.

    Raises:
        SettingsError: if its devices cannot be reached this way, or a preference does not fit its battery.
        ScenarioError, InvalidFeeder, ProfileError: see :func:`feederloop.wall_home.wall_household`.
    """
    build = _simulated if settings.devices.kind == "simulated" else _over_mqtt
    try:
        return build(settings, now)
    except InvalidHome as err:
        raise SettingsError(f"preferences: {err}") from err


def _neighbourhood(settings: VenProgramSettings) -> Neighbourhood:
    """Return the parameters of the neighbourhood with this home's tariff and preferences."""
    own = {"tariff": settings.tariff.tariff(), "preferences": settings.preferences}
    return load_neighbourhood().model_copy(update=own)


def _switch_id(settings: VenProgramSettings, has_switch: bool) -> str | None:
    return f"switch-{settings.home.id}" if has_switch else None


def _simulated(settings: VenProgramSettings, now: Callable[[], datetime]) -> VenHome:
    home = settings.home
    found = wall_household(
        home.id,
        now(),
        homes=home.homes,
        scenario=home.scenario,
        seed=home.seed,
        parameters=_neighbourhood(settings),
    )
    return VenHome(
        manager=found.manager,
        switch_id=_switch_id(settings, found.spec.has_switch),
        memory=lambda application: SimulatedMemory(application, found.devices),
    )


def _over_mqtt(settings: VenProgramSettings, now: Callable[[], datetime]) -> VenHome:
    try:
        from ven_client.mqtt_devices import MqttDevices
    except ImportError as err:
        raise SettingsError("devices.kind = mqtt needs the package aiomqtt: feederloop[mqtt]") from err
    given, home = settings.devices, settings.home
    devices = MqttDevices(
        _broker(given),
        _topics(settings),
        capacity_kwh=given.battery_kwh,
        now=now,
        stale_after=length(given.stale_after),
        repeat=length(given.repeat),
    )
    forecast = LiveForecast(devices)
    scenario, spec = wall_scenario(
        home.id,
        now(),
        homes=home.homes,
        scenario=home.scenario,
        seed=home.seed,
        parameters=_neighbourhood(settings),
    )
    manager = HomeManager(
        parameters=_parameters(scenario, spec, given),
        devices=devices,
        planner=Planner(),
        forecaster=forecast,
        nowcast=LiveNowcast(devices),
        prices=price_sheet(scenario, spec),
        mean_pv_kwh_day=mean_pv_kwh(scenario),
        has_pv=given.pv,
        has_switch=given.switch,
    )
    return VenHome(
        manager=manager,
        switch_id=_switch_id(settings, given.switch),
        memory=lambda application: LiveMemory(application, forecast),
        connection=devices.run,
        quantities=devices.quantities,
    )


def _parameters(scenario: Scenario, spec: HomeSpec, given: DeviceSettings) -> HomeParameters:
    """Return devices and costs: the neighbourhood's, with the battery that is there, and nothing to shift."""
    size = {"capacity_kwh": given.battery_kwh, "power_kw": given.battery_kw}
    battery = scenario.parameters.battery.model_copy(update=size)
    owned = replace(scenario, parameters=scenario.parameters.model_copy(update={"battery": battery}))
    return replace(parameters_of(owned, replace(spec, has_battery=given.battery_kwh > 0)), flexible=None)


def _topics(settings: VenProgramSettings) -> MqttTopics:
    from ven_client.mqtt_devices import MqttTopics

    given = settings.devices
    default = MqttTopics.under(
        given.prefix.rstrip("/") or f"feederloop/{settings.home.id}",
        pv=given.pv,
        battery=given.battery_kwh > 0,
        switch=given.switch,
    )
    named = given.topics.model_dump(exclude_none=True)
    absent = next((name for name in named if getattr(default, name) is None), None)
    if absent is not None:
        raise SettingsError(
            f"devices.topics.{absent}: the home has no such device by pv, switch, battery_kwh"
        )
    return replace(default, **named)


def _broker(given: DeviceSettings) -> Broker:
    from ven_client.mqtt_devices import Broker

    url = urlsplit(given.broker)
    username, password = _credentials(given.credentials)
    return Broker(
        host=url.hostname or "",
        port=_port(given.broker),
        username=username,
        password=password,
        tls=_broker_tls(given) if url.scheme == "mqtts" else None,
    )


def _port(broker: str) -> int:
    url = urlsplit(broker)
    try:
        return url.port or _PORTS[url.scheme]
    except ValueError as err:
        raise SettingsError(f"devices.broker {broker}: {err}") from err


def _broker_tls(given: DeviceSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=given.ca)
    except (OSError, ssl.SSLError) as err:
        raise SettingsError(f"devices.ca {given.ca}: {err}") from err


def _credentials(path: Path | None) -> tuple[str | None, str | None]:
    """Return user name and password; the file's text is never part of an error."""
    if path is None:
        return None, None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError(f"devices.credentials {path}: {type(err).__name__}") from err
    if len(lines) != 2 or not all(lines):
        raise SettingsError(f"devices.credentials {path}: two lines are needed, user name and password")
    return lines[0], lines[1]
