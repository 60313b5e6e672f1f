"""The settings of ``feederloop vtn``; ``vtn.toml`` in this folder says what each of them does."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from config.program import FilePath, IsoDuration, Port, ProgramSettings, Section, StoreUrl

__all__ = ["Limits", "Log", "OperatorApi", "Retention", "VtnProgramSettings", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Limits(Section):
    """What a peer may ask for, and how often the VTN tries."""

    max_bytes: Annotated[int, Field(ge=10_000, le=100_000_000)] = 1_000_000
    read_timeout: IsoDuration = "PT10S"
    resend_after: IsoDuration = "PT30S"
    max_deliveries: Annotated[int, Field(ge=1)] = 5
    max_push_deliveries: Annotated[int, Field(ge=1)] = 12
    max_requests: Annotated[int, Field(ge=1)] = 1000
    idle_timeout: IsoDuration = "PT75S"
    validate_outgoing: bool = False
    check_rules: bool = False
    accept_bare_root: bool = False
    wrong_method_status: Literal[405, 501] = 501


class Retention(Section):
    """How long what is finished is kept; not set is for ever."""

    readings: IsoDuration | None = None
    events: IsoDuration | None = None
    every: IsoDuration = "P1D"


class OperatorApi(Section):
    """The operator API; it is off without a token."""

    host: str = "127.0.0.1"
    port: Port = 8081
    token: SecretStr | None = None
    token_file: FilePath | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not is_loopback(self.host):
            raise ValueError("the operator API listens on a loopback address only")
        if self.token is not None and self.token_file is not None:
            raise ValueError("either token or token_file")
        return self


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


class VtnProgramSettings(ProgramSettings):
    """Everything the VTN program can be told."""

    model_config = SettingsConfigDict(env_prefix="VTN_")

    vtn_id: Annotated[str, Field(min_length=1)] = "Feederloop_VTN"
    host: str = "127.0.0.1"
    port: Port = 8080
    prefix: str = ""
    plain: bool = False
    plain_anywhere: bool = False
    db: StoreUrl = "sqlite:///vtn.sqlite"
    vens: FilePath | None = None
    open_enrolment: bool = False
    push: bool = True
    poll_period: IsoDuration = "PT10S"
    market_base: Annotated[str, Field(min_length=1)] = "http://feederloop.example"
    market_contexts: tuple[str, ...] = ()
    ask_reports: Literal["none", "loop"] = "none"
    limits: Limits = Limits()
    retention: Retention = Retention()
    operator: OperatorApi = OperatorApi()
    log: Log = Log()
