"""The settings of ``feederloop dso``; ``dso.toml`` in this folder says what each of them does."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from config.program import FilePath, Port, ProgramSettings, Section, Wait, WaitOrNone, duration_s
from config.tariff_settings import MOST_EUR_PER_KWH, TariffChoice
from config.vtn_settings import Log, is_loopback

__all__ = [
    "ControlSection",
    "CostSection",
    "DsoProgramSettings",
    "LimitSection",
    "MarketSection",
    "MqttSection",
    "RebateSection",
    "SettlementSection",
    "TariffSection",
    "TelemetrySection",
    "VtnSection",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[int, Field(gt=0, le=600)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise ValueError(f"no time zone {name}") from err
    return name


TimeZone = Annotated[str, AfterValidator(_zone)]
"""A name of the tz database."""


class VtnSection(Section):
    """The operator API of the VTN, through which the engine talks to the homes."""

    url: Annotated[str, Field(pattern=r"^https?://[^/]")] = "http://127.0.0.1:8081"
    token: SecretStr | None = None
    token_file: FilePath | None = None
    plain_anywhere: bool = False
    timeout: Wait = "PT10S"
    clock_warn: Wait = "PT2S"
    clock_refuse: Wait = "PT30S"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("either token or token_file is needed")
        if duration_s(self.clock_warn) > duration_s(self.clock_refuse):
            raise ValueError("clock_warn must not be longer than clock_refuse")
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not (is_loopback(parts.hostname or "") or self.plain_anywhere):
            raise ValueError(
                f"plain HTTP to {parts.hostname} leaves this machine: https, a tunnel, or plain_anywhere"
            )
        return self


class MqttSection(Section):
    """The broker the meters publish to."""

    host: str = "127.0.0.1"
    port: Port = 1883
    tls: bool = False
    username: str | None = None
    password: SecretStr | None = None
    password_file: FilePath | None = None
    prefix: Annotated[str, Field(pattern=r"^[^+#]+$")] = "feeder"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("either password or password_file")
        return self


class TelemetrySection(Section):
    """Where the PCC meters are read, and what is believed of them."""

    kind: Literal["csv", "parquet", "mqtt"] = "csv"
    path: FilePath | None = None
    pccs: tuple[Annotated[str, Field(pattern=r"^[^=/]+=[^=]+$")], ...] = ()
    max_age: Wait = "PT30S"
    max_kw: Positive = 500.0
    max_kvar: Positive = 500.0
    v_low_v: NotNegative = 115.0
    v_high_v: Positive = 300.0
    mqtt: MqttSection = MqttSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind != "mqtt" and self.path is None:
            raise ValueError(f"telemetry of kind {self.kind} needs a path")
        if self.v_low_v >= self.v_high_v:
            raise ValueError("v_low_v must lie below v_high_v")
        return self


class MarketSection(Section):
    """Which markets there are besides the intraday one."""

    day_ahead: bool = False


class LimitSection(Section):
    """Operating limits; thermal ratings are in the network file. Fractions of nominal voltage and rating."""

    v_band: Fraction = 0.10
    guard_voltage: NotNegative = 0.0125
    guard_current: NotNegative = 0.03
    arm_voltage: Fraction = 0.08
    release_voltage: Fraction = 0.075
    arm_current: Fraction = 0.70
    release_current: Fraction = 0.65

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.release_voltage > self.arm_voltage or self.release_current > self.arm_current:
            raise ValueError("a release level must not lie above its arming level")
        if self.guard_voltage >= self.v_band:
            raise ValueError("guard_voltage leaves nothing of v_band")
        return self


class ControlSection(Section):
    """The real-time price and the phases."""

    law: Literal["secant", "thesis"] = "secant"
    step_s: Seconds = 10
    publish_before_s: Annotated[int, Field(ge=90, le=599)] = 90
    max_price_eur_per_kwh: Annotated[float, Field(gt=0, le=MOST_EUR_PER_KWH)] = 0.60
    phase_mu_kw2: NotNegative = 0.25


class CostSection(Section):
    """What the engine believes homes' deviations cost them; start of the search of a price."""

    curvature_c_per_kwh2: Positive = 5.0
    reward_curvature_c_per_kwh2: NotNegative = 5.0


class TariffSection(TariffChoice):
    """Prices outside the market, by local hour of ``timezone``; its days are those of the bills."""

    timezone: TimeZone = "Etc/GMT-1"


class RebateSection(Section):
    """What the DSO pays buyers on the local market while much is produced; zero pays none."""

    max_eur_per_kwh: Annotated[float, Field(ge=0, le=MOST_EUR_PER_KWH)] = 0.0
    production: tuple[NotNegative, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.production) not in (0, 24):
            raise ValueError(f"production has 24 values, one for each local hour, not {len(self.production)}")
        if self.max_eur_per_kwh and not any(self.production):
            raise ValueError("a rebate follows the production that is expected: production is needed")
        return self


class SettlementSection(Section):
    """When hours are settled, and what keeping to a commitment brings."""

    after: WaitOrNone = "PT15M"
    late_readings: WaitOrNone = "P2D"
    start: AwareDatetime | None = None
    reward_percent: NotNegative = 5.0
    rebate: RebateSection = RebateSection()


class DsoProgramSettings(ProgramSettings):
    """Everything the DSO program can be told."""

    model_config = SettingsConfigDict(env_prefix="DSO_")

    network: FilePath
    homes: FilePath
    state: FilePath
    market_base: Annotated[str, Field(min_length=1)] = "http://feederloop.example"
    seed: Annotated[int, Field(ge=0)] = 1
    vtn: VtnSection
    telemetry: TelemetrySection
    market: MarketSection = MarketSection()
    limits: LimitSection = LimitSection()
    control: ControlSection = ControlSection()
    costs: CostSection = CostSection()
    tariff: TariffSection = TariffSection()
    settlement: SettlementSection = SettlementSection()
    log: Log = Log()
