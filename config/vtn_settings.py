"""The settings of ``feederloop vtn``; ``vtn.toml`` in this folder says what each of them does."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from config.program import (
    FilePath,
    IsoDuration,
    Port,
    ProgramSettings,
    Section,
    StoreUrl,
    Wait,
    WaitOrNone,
)
from config.signature_settings import Signature
from config.tls_settings import Tls

__all__ = [
    "Health",
    "Limits",
    "Log",
    "OperatorApi",
    "Proxy",
    "PushTo",
    "Retention",
    "VtnProgramSettings",
    "is_loopback",
]


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An IP address, or a network such as 10.20.0.0/16."""


class Proxy(Section):
    """A proxy that ends TLS; without addresses there is none."""

    addresses: tuple[Network, ...] = ()
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "X-SSL-Client-Cert"
    verify_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")] = "X-SSL-Client-Verify"


class PushTo(Section):
    """Where push VENs may listen: public addresses, or where networks are listed, those."""

    networks: tuple[Network, ...] = ()
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = ()


class Health(Section):
    """The health endpoint of its own; not set is none. It listens on loopback."""

    port: Port | None = None


class Limits(Section):
    """What a peer may ask for, and how often the VTN tries."""

    max_bytes: Annotated[int, Field(ge=10_000, le=100_000_000)] = 1_000_000
    read_timeout: Wait = "PT10S"
    resend_after: Wait = "PT30S"
    max_deliveries: Annotated[int, Field(ge=1)] = 5
    max_push_deliveries: Annotated[int, Field(ge=1)] = 12
    max_requests: Annotated[int, Field(ge=1)] = 1000
    max_bytes_at_once: Annotated[int, Field(ge=10_000)] = 64_000_000
    max_events: Annotated[int, Field(ge=1)] = 50_000
    max_vens: Annotated[int, Field(ge=1)] = 10_000
    connections: Annotated[int, Field(ge=1)] = 2000
    push_exchanges: Annotated[int, Field(ge=2)] = 128
    push_slow_exchanges: Annotated[int, Field(ge=0)] = 1000
    push_kept: Annotated[int, Field(ge=0)] = 2000
    push_keep_alive: WaitOrNone = "PT70S"
    connections_per_address: Annotated[int, Field(ge=1)] = 200
    handshake_timeout: Wait = "PT10S"
    head_timeout: Wait = "PT10S"
    write_timeout: Wait = "PT30S"
    idle_timeout: Wait = "PT75S"
    validate_outgoing: bool = False
    check_rules: bool = False
    accept_bare_root: bool = False
    wrong_method_status: Literal[405, 501] = 501


class Retention(Section):
    """How long what is finished is kept; not set is for ever."""

    readings: IsoDuration | None = None
    events: IsoDuration | None = None
    every: Wait = "P1D"


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
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    prefix: str = ""
    plain: bool = False
    plain_anywhere: bool = False
    db: StoreUrl = "sqlite:///vtn.sqlite"
    vens: FilePath | None = None
    open_enrolment: bool = False
    push: bool = True
    poll_period: Wait = "PT10S"
    market_base: Annotated[str, Field(min_length=1)] = "http://feederloop.example"
    market_contexts: tuple[str, ...] = ()
    ask_reports: Literal["none", "loop"] = "none"
    tls: Tls = Tls()
    signature: Signature = Signature()
    proxy: Proxy = Proxy()
    push_to: PushTo = PushTo()
    limits: Limits = Limits()
    retention: Retention = Retention()
    operator: OperatorApi = OperatorApi()
    health: Health = Health()
    log: Log = Log()

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if self.proxy.addresses and self.plain:
            raise ValueError("plain is HTTP without any TLS; behind a proxy leave it out")
        return self
