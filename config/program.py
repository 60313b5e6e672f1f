"""How the settings of a program are put together: options, environment, file, defaults, in this order.

A typo is an error wherever it stands: in an option, in the file, in a variable of the program's prefix.
Relative paths in a file are meant from that file's folder; those of options and variables from where the
program was started.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from config.settings import SettingsError

__all__ = [
    "Anchored",
    "FilePath",
    "IsoDuration",
    "Port",
    "ProgramSettings",
    "Section",
    "SettingsError",
    "StoreUrl",
    "Wait",
    "WaitOrNone",
    "duration_s",
    "effective",
    "load",
    "without_password",
]

S = TypeVar("S", bound="ProgramSettings")

_ISO: Final = re.compile(
    r"P(?!$)(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})D)?"
    r"(?:T(?!$)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)
_PART_S: Final = (365 * 86_400, 30 * 86_400, 86_400, 3600, 60, 1)
"""A year, a month and so on; what is kept for years need not be kept to the day."""
_LONGEST_YEARS: Final = 1000
"""Longer than that, an instant before it is none of the calendar."""
_SQLITE: Final = "sqlite:///"
_PASSWORD: Final = re.compile(r"(://[^:/@]*):.*@")


class Anchored:
    """Marks a text that is a path, or a SQLite URL with one: relative ones count from the settings file."""

    @staticmethod
    def at(folder: Path, text: str) -> str:
        """Return the text with its path made absolute."""
        if text.startswith(_SQLITE):
            return _SQLITE + str(folder / text.removeprefix(_SQLITE))
        return text if "://" in text else str(folder / text)


def _parts(text: str) -> tuple[int, ...]:
    """Return years, months, days, hours, minutes and seconds."""
    found = _ISO.fullmatch(text)
    if found is None:
        raise ValueError("not an ISO 8601 duration such as PT10S, PT1H or P30D")
    return tuple(int(part or 0) for part in found.groups())


def duration_s(text: str) -> int:
    """Return the length of a duration of the settings in seconds, a year as 365 days and a month as 30.

    Raises:
        ValueError: if it is none.
    """
    return sum(count * each_s for count, each_s in zip(_parts(text), _PART_S, strict=True))


def _iso(text: str) -> str:
    if duration_s(text) > _LONGEST_YEARS * _PART_S[0]:
        raise ValueError(f"longer than {_LONGEST_YEARS} years")
    return text


def _fixed(text: str) -> str:
    years, months, *_ = _parts(text)
    if years or months:
        raise ValueError(f"{text}: years and months differ in length; days, hours, minutes, seconds only")
    return text


def _some(text: str) -> str:
    if not duration_s(text):
        raise ValueError("must be longer than zero")
    return text


IsoDuration = Annotated[str, AfterValidator(_iso)]
"""A duration as text; whole numbers, not negative, at most a thousand years."""
WaitOrNone = Annotated[IsoDuration, AfterValidator(_fixed)]
"""One of a fixed length, without years and months; also zero."""
Wait = Annotated[WaitOrNone, AfterValidator(_some)]
"""One of a fixed length, longer than zero."""
FilePath = Annotated[Path, Anchored()]
StoreUrl = Annotated[str, Field(min_length=1), Anchored()]
Port = Annotated[int, Field(ge=0, le=65535)]
"""0 takes a free one."""


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProgramSettings(BaseSettings):
    """Base of a program's settings; its subclasses name their prefix in ``model_config``."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_nested_delimiter="__", nested_model_default_partial_update=True
    )


def load(
    cls: type[S],
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> S:
    """Return the settings of a program.

    Args:
        cls: The model.
        file: A TOML file; None for none.
        options: Values of the command line, nested as the model is; they win.
        environment: The variables, ``os.environ`` if left out; only names are checked here.

    Raises:
        SettingsError: if the file cannot be read, or a key or value does not fit.
    """
    prefix = str(cls.model_config.get("env_prefix", ""))
    known = os.environ if environment is None else environment
    unknown = sorted(
        name
        for name in known
        if name.startswith(prefix)
        and name.removeprefix(prefix).split("__")[0].lower() not in cls.model_fields
    )
    if unknown:
        raise SettingsError(f"no such setting: {', '.join(unknown)} (environment)")
    tables = {} if file is None else _read(cls, file)

    class Loaded(cls):  # type: ignore[valid-type,misc]  # the sources can be told to a class only
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del env_settings, dotenv_settings, file_secret_settings
            variables = EnvSettingsSource(settings_cls)
            if environment is not None:
                variables.env_vars = {name.lower(): value for name, value in environment.items()}
            return init_settings, variables, InitSettingsSource(settings_cls, tables)

    try:
        found = Loaded(**(options or {}))
    except (ValidationError, SourceError) as err:
        raise SettingsError(_told(err)) from err
    return cls.model_construct(**{name: getattr(found, name) for name in cls.model_fields})


def _told(err: ValidationError | SourceError) -> str:
    """Return what is wrong, a line each, without the values: one of them may be a secret."""
    if isinstance(err, SourceError):
        return str(err)
    lines = []
    for fault in err.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in fault["loc"])
        message = "no such setting" if fault["type"] == "extra_forbidden" else fault["msg"]
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)


def _read(cls: type[BaseModel], file: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise SettingsError(f"{file}: {err}") from err
    return _anchored(cls, tables, file.resolve().parent)


def _anchored(cls: type[BaseModel], table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a table with its paths made absolute."""
    found = dict(table)
    for name, value in table.items():
        field = cls.model_fields.get(name)
        if field is None:
            continue
        kind = field.annotation
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            found[name] = _anchored(kind, value, folder)
        elif not _is_anchored(field.metadata, kind):
            continue
        elif isinstance(value, str):
            found[name] = Anchored.at(folder, value)
        elif isinstance(value, list):
            found[name] = [Anchored.at(folder, each) if isinstance(each, str) else each for each in value]
    return found


def _is_anchored(metadata: list[Any], kind: object) -> bool:
    inner = [mark for arg in getattr(kind, "__args__", ()) for mark in getattr(arg, "__metadata__", ())]
    return any(isinstance(mark, Anchored) for mark in (*metadata, *inner))


# --- showing -----------------------------------------------------------------------------------------------


def effective(settings: ProgramSettings) -> str:
    """Return the settings as TOML. Secrets are only said to be set, passwords in URLs are left out."""
    return "\n".join(_lines(settings)) + "\n"


def _lines(model: BaseModel, path: str = "") -> Iterator[str]:
    values = [(name, getattr(model, name)) for name in type(model).model_fields]
    for name, value in values:
        if isinstance(value, SecretStr):
            yield f"# {name} is set"
        elif value is None:
            yield f"# {name} is not set"
        elif not isinstance(value, BaseModel):
            yield f"{name} = {_toml(value)}"
    for name, value in values:
        if isinstance(value, BaseModel):
            inner = f"{path}{name}"
            yield ""
            yield f"[{inner}]"
            yield from _lines(value, f"{inner}.")


def _toml(value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return json.dumps(without_password(str(value)), ensure_ascii=False)


def without_password(url: str) -> str:
    """Return a URL without the password in it."""
    return _PASSWORD.sub(r"\1:***@", url)
