"""The settings of ``feederloop ven``; ``ven.toml`` in this folder says what each of them does."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from config.program import FilePath, Port, ProgramSettings, Section, Wait
from config.settings import Preferences
from config.signature_settings import Signature
from config.tariff_settings import TariffChoice
from config.tls_settings import VenTls
from config.vtn_settings import Log

__all__ = [
    "DeviceSettings",
    "Health",
    "Home",
    "Listener",
    "MarketSection",
    "Polling",
    "Topics",
    "VenProgramSettings",
]


Topic = Annotated[str, Field(min_length=1, pattern=r"^[^+#\x00]*$")]

_DEFAULT_VTN: Final = "127.0.0.1:8080"


class Home(Section):
    """The home behind the VEN: its prices and costs, and its devices where they are simulated."""

    id: Annotated[str, Field(min_length=1)] = "H07"
    homes: int = 50
    scenario: str | None = None
    seed: int = 1


class MarketSection(Section):
    """Which markets the home takes part in besides the intraday one."""

    day_ahead: bool = False


class Topics(Section):
    """Topics with other names than the default ones; see docs/devices.md for what each carries."""

    meter_energy: Topic | None = None
    meter_power: Topic | None = None
    pv_power: Topic | None = None
    battery_power: Topic | None = None
    battery_soc: Topic | None = None
    phase: Topic | None = None
    set_battery_power: Topic | None = None
    set_pv_limit: Topic | None = None
    set_phase: Topic | None = None


class DeviceSettings(Section):
    """The devices of the home: simulated ones, or real ones over MQTT, and which of them there are."""

    kind: Literal["simulated", "mqtt"] = "simulated"
    broker: Annotated[str, Field(pattern=r"^mqtts?://[^/@]+$")] = "mqtt://127.0.0.1:1883"
    credentials: FilePath | None = None
    ca: FilePath | None = None
    prefix: str = ""
    pv: bool = False
    switch: bool = False
    battery_kwh: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    battery_kw: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    stale_after: Wait = "PT60S"
    repeat: Wait = "PT30S"
    topics: Topics = Topics()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.battery_kwh > 0) != (self.battery_kw > 0):
            raise ValueError("a battery has a capacity and a power")
        return self


class Polling(Section):
    """How a pull VEN polls; never faster than its VTN asks."""

    idle: Wait = "PT60S"
    fast: Wait = "PT10S"
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    retry: Wait = "PT60S"


class Listener(Section):
    """Where a push VEN listens, and the address it tells its VTN; empty is where it listens."""

    host: str = "127.0.0.1"
    port: Port = 0
    address: str = ""


class Health(Section):
    """The health endpoint; not set is none. It listens on loopback."""

    port: Port | None = None


class VenProgramSettings(ProgramSettings):
    """Everything the VEN program can be told."""

    model_config = SettingsConfigDict(env_prefix="VEN_")

    vtn: Annotated[str, Field(pattern=r"^https?://[^/]")] | None = None
    name: Annotated[str, Field(min_length=1)] = "home-07"
    ven_id: str | None = None
    vtn_id: str | None = None
    push: bool = False
    plain: bool = False
    plain_anywhere: bool = False
    market_base: Annotated[str, Field(min_length=1)] = "http://feederloop.example"
    market_contexts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    state: FilePath | None = None
    timeout: Wait = "PT10S"
    check_rules: bool = False
    tls: VenTls = VenTls()
    signature: Signature = Signature()
    home: Home = Home()
    market: MarketSection = MarketSection()
    tariff: TariffChoice = TariffChoice()
    preferences: Preferences = Preferences()
    devices: DeviceSettings = DeviceSettings()
    polling: Polling = Polling()
    listener: Listener = Listener()
    health: Health = Health()
    log: Log = Log()

    @property
    def vtn_url(self) -> str:
        """The VTN's address; by default one on this machine."""
        if self.vtn is not None:
            return self.vtn
        return f"{'http' if self.plain or self.plain_anywhere else 'https'}://{_DEFAULT_VTN}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ven_id == "" or self.vtn_id == "":
            raise ValueError("an empty ven_id or vtn_id: leave it out instead")
        return self
