"""The settings of ``feederloop ven``; ``ven.toml`` in this folder says what each of them does."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from config.program import FilePath, IsoDuration, Port, ProgramSettings, Section
from config.vtn_settings import Log

__all__ = ["Health", "Home", "Listener", "Polling", "VenProgramSettings"]


class Home(Section):
    """The simulated home behind the VEN."""

    id: Annotated[str, Field(min_length=1)] = "H07"
    homes: int = 50
    scenario: str | None = None
    seed: int = 1


class Polling(Section):
    """How a pull VEN polls; never faster than its VTN asks."""

    idle: IsoDuration = "PT60S"
    fast: IsoDuration = "PT10S"
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.1
    retry: IsoDuration = "PT60S"


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

    vtn: Annotated[str, Field(pattern=r"^https?://[^/]")] = "http://127.0.0.1:8080"
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
    timeout: IsoDuration = "PT10S"
    check_rules: bool = False
    home: Home = Home()
    polling: Polling = Polling()
    listener: Listener = Listener()
    health: Health = Health()
    log: Log = Log()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.ven_id == "" or self.vtn_id == "":
            raise ValueError("an empty ven_id or vtn_id: leave it out instead")
        return self
