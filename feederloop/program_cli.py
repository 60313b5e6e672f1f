"""``feederloop vtn``, ``ven`` and ``dso``: options to settings, settings to programs."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer

from config.dso_settings import DsoProgramSettings
from config.program import ProgramSettings, SettingsError, effective, load
from config.ven_settings import VenProgramSettings
from config.vtn_settings import VtnProgramSettings
from feederloop.process import run_loop

__all__ = ["dso_app", "ven_app", "vtn_app"]

S = TypeVar("S", bound=ProgramSettings)

_REFUSED: Final = 2
_FAILED: Final = 1

Config = Annotated[Path | None, typer.Option(help="Settings file (TOML).", dir_okay=False)]
Check = Annotated[bool, typer.Option("--check-config", help="Print the settings in effect, and end.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as retention.readings=P2Y."),
]
Plain = Annotated[bool | None, typer.Option("--plain", help="HTTP without TLS, on this machine only.")]
Anywhere = Annotated[bool | None, typer.Option("--plain-anywhere", help="HTTP without TLS, anywhere.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option(help="text, json, or auto.")]
Certs = Annotated[
    Path | None, typer.Option(help="Folder with certificate and key, as `feederloop certs issue` makes it.")
]
Certificate = Annotated[Path | None, typer.Option(help="Certificate with its chain (PEM), and --key.")]
Key = Annotated[Path | None, typer.Option(help="Private key of --certificate.")]
Trust = Annotated[Path | None, typer.Option(help="Roots that are trusted (PEM).")]
Crl = Annotated[Path | None, typer.Option(help="Revocation lists (PEM).")]
TlsProfile = Annotated[str | None, typer.Option(help="modern or certification.")]
Db = Annotated[str | None, typer.Option(help="Store: sqlite:///file or postgresql://...")]

vtn_app = typer.Typer(invoke_without_command=True, add_completion=False)
ven_app = typer.Typer(add_completion=False)
dso_app = typer.Typer(add_completion=False)


def _options(given: dict[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """Return what was said on the command line, nested as the settings are."""
    found: dict[str, Any] = {}
    pairs = [(key, value) for key, value in given.items() if value is not None]
    for text in assignments or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set takes KEY=VALUE, not {text!r}")
        pairs.append((key.strip(), _value(value.strip())))
    for key, value in pairs:
        *path, name = key.split(".")
        table = found
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{key}: {part} is no table")
        table[name] = value
    return found


def _value(text: str) -> object:
    """Return a value as TOML has it; what is none is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _load(cls: type[S], config: Path | None, given: dict[str, Any], assignments: list[str] | None) -> S:
    try:
        return load(cls, config, _options(given, assignments))
    except SettingsError as err:
        _refuse(str(err))


def _refuse(reason: str) -> NoReturn:
    typer.echo(f"feederloop: {reason}", err=True)
    raise typer.Exit(code=_REFUSED)


def _tls_options(
    certs: Path | None,
    certificate: Path | None,
    key: Path | None,
    trust: Path | None,
    crl: Path | None,
    profile: str | None,
) -> dict[str, Any]:
    """Return the options of ``[tls]`` by their settings; the same for both programs."""
    return {
        "tls.folder": certs,
        "tls.certificate": None if certificate is None else (certificate,),
        "tls.key": None if key is None else (key,),
        "tls.trust": trust,
        "tls.crl": crl,
        "tls.profile": profile,
    }


def _show(settings: ProgramSettings, check: Callable[[], tuple[str, ...]]) -> None:
    """Print the settings in effect; what keeps the program from its work is told, and exit code 2."""
    typer.echo(effective(settings), nl=False)
    try:
        faults = check()
    except SettingsError as err:
        _refuse(str(err))
    if faults:
        _refuse("; ".join(faults))


def _run(work: Coroutine[Any, Any, int], refusals: tuple[type[Exception], ...]) -> None:
    """Run a program; what keeps it from running is one line, not a stack trace."""
    try:
        code = run_loop(work)
    except refusals as err:
        _refuse(str(err))
    except KeyboardInterrupt:
        code = _FAILED
    if code:
        raise typer.Exit(code=code)


# --- vtn ---------------------------------------------------------------------------------------------------


@vtn_app.callback()
def _vtn(
    ctx: typer.Context,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    db: Db = None,
    workers: Annotated[int | None, typer.Option(help="Processes on this port; needs PostgreSQL.")] = None,
    prefix: Annotated[str | None, typer.Option(help="What stands before /OpenADR2/...")] = None,
    vtn_id: Annotated[str | None, typer.Option(help="The vtnID.")] = None,
    vens: Annotated[Path | None, typer.Option(help="File of the VENs known in advance.")] = None,
    open_enrolment: Annotated[bool | None, typer.Option(help="Let unknown VENs register.")] = None,
    push: Annotated[bool | None, typer.Option(help="Let push VENs register.")] = None,
    market_base: Annotated[str | None, typer.Option(help="Base of the market contexts.")] = None,
    operator_port: Annotated[int | None, typer.Option(help="Port of the operator API.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Token of the operator API.")] = None,
    certs: Certs = None,
    certificate: Certificate = None,
    key: Key = None,
    trust: Trust = None,
    crl: Crl = None,
    tls_profile: TlsProfile = None,
    plain: Plain = None,
    plain_anywhere: Anywhere = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    assignments: Set = None,
    check_config: Check = False,
) -> None:
    """Run the VTN, until SIGTERM or SIGINT. Every setting is also a variable, VTN_PORT or VTN_LOG__LEVEL."""
    given = {
        "host": host,
        "port": port,
        "db": db,
        "workers": workers,
        "prefix": prefix,
        "vtn_id": vtn_id,
        "vens": vens,
        "open_enrolment": open_enrolment,
        "push": push,
        "market_base": market_base,
        "operator.port": operator_port,
        "operator.token_file": token_file,
        **_tls_options(certs, certificate, key, trust, crl, tls_profile),
        "plain": plain,
        "plain_anywhere": plain_anywhere,
        "log.level": log_level,
        "log.format": log_format,
    }
    if ctx.invoked_subcommand is not None:
        ctx.obj = (config, given, assignments)
        return
    settings = _load(VtnProgramSettings, config, given, assignments)
    if check_config:
        from feederloop.signing_key import vtn_key
        from feederloop.vtn_transport import vtn_transport

        _show(settings, lambda: (vtn_key(settings), vtn_transport(settings).faults)[1])
        return
    from feederloop.logs import setup_logs
    from feederloop.vtn_program import run_vtn
    from feederloop.vtn_workers import run_workers
    from vtn_server.store import StoreError

    setup_logs(settings.log.level, settings.log.format)
    run = run_vtn if settings.workers == 1 else run_workers
    _run(run(settings, typer.echo), (SettingsError, StoreError, OSError))


def _store_settings(ctx: typer.Context, config: Path | None, db: str | None) -> VtnProgramSettings:
    """Return the settings of a command about the store: its own options before those of ``vtn``."""
    outer, given, assignments = ctx.obj
    return _load(VtnProgramSettings, config or outer, given | ({} if db is None else {"db": db}), assignments)


@vtn_app.command()
def backup(
    ctx: typer.Context,
    target: Annotated[Path, typer.Argument(help="File to write; it must not be there yet.")],
    config: Config = None,
    db: Db = None,
    portable: Annotated[bool, typer.Option("--portable", help="A dump that any store can read.")] = False,
) -> None:
    """Copy the store to a file. The VTN may be running."""
    from vtn_server import maintenance
    from vtn_server.store import StoreError

    settings = _store_settings(ctx, config, db)
    try:
        counts = maintenance.backup(settings.db, target, portable=portable)
    except (StoreError, OSError) as err:
        _refuse(str(err))
    typer.echo(f"{target}: {_told(counts)}")


@vtn_app.command()
def restore(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    config: Config = None,
    db: Db = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the store holds.")] = False,
) -> None:
    """Put a backup into the store. The VTN must not be running."""
    from vtn_server import maintenance
    from vtn_server.store import StoreError

    settings = _store_settings(ctx, config, db)
    try:
        counts = maintenance.restore(source, settings.db, replace=replace)
    except (StoreError, OSError) as err:
        _refuse(str(err))
    typer.echo(f"restored {_told(counts)}")


@vtn_app.command()
def prune(
    ctx: typer.Context,
    config: Config = None,
    db: Db = None,
    readings: Annotated[str | None, typer.Option(help="Keep report data this long, e.g. P2Y.")] = None,
    events: Annotated[str | None, typer.Option(help="Keep events that are over this long.")] = None,
) -> None:
    """Delete report data and finished events older than the settings say. The VTN must not be running."""
    from feederloop.vtn_retention import prune_store
    from vtn_server.store import StoreError

    outer, given, assignments = ctx.obj
    given = given | {"retention.readings": readings, "retention.events": events}
    ctx.obj = (outer, {key: value for key, value in given.items() if value is not None}, assignments)
    settings = _store_settings(ctx, config, db)
    try:
        gone = asyncio.run(prune_store(settings))
    except (SettingsError, StoreError, OSError) as err:
        _refuse(str(err))
    typer.echo(f"deleted {gone.readings} readings, {gone.events} events, {gone.opts} answers")


def _told(counts: object) -> str:
    names = ("vens", "events", "opts", "readings")
    return ", ".join(f"{getattr(counts, name)} {name}" for name in names)


# --- ven ---------------------------------------------------------------------------------------------------


@ven_app.command()
def _ven(
    config: Config = None,
    vtn: Annotated[str | None, typer.Option(help="The VTN's address, https://host:port.")] = None,
    name: Annotated[str | None, typer.Option(help="oadrVenName.")] = None,
    push: Annotated[
        bool | None, typer.Option("--push/--pull", help="The VTN posts to us, or we poll.")
    ] = None,
    home: Annotated[str | None, typer.Option(help="The home of the neighbourhood, such as H07.")] = None,
    state: Annotated[Path | None, typer.Option(help="File in which its state survives.")] = None,
    listen_host: Annotated[str | None, typer.Option(help="Where a push VEN listens.")] = None,
    listen_port: Annotated[int | None, typer.Option(help="Port of it; 0 takes a free one.")] = None,
    address: Annotated[str | None, typer.Option(help="What a push VEN tells the VTN to post to.")] = None,
    market_base: Annotated[str | None, typer.Option(help="Base of the market contexts.")] = None,
    health_port: Annotated[int | None, typer.Option(help="Port of the health endpoint.")] = None,
    certs: Certs = None,
    certificate: Certificate = None,
    key: Key = None,
    trust: Trust = None,
    crl: Crl = None,
    tls_profile: TlsProfile = None,
    vtn_fingerprint: Annotated[
        list[str] | None, typer.Option(help="The VTN's certificate, and no other; may be repeated.")
    ] = None,
    plain: Plain = None,
    plain_anywhere: Anywhere = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    assignments: Set = None,
    check_config: Check = False,
) -> None:
    """Run a VEN with its home, until SIGTERM or SIGINT. Every setting is also a variable, VEN_VTN."""
    given = {
        "vtn": vtn,
        "name": name,
        "push": push,
        "home.id": home,
        "state": state,
        "listener.host": listen_host,
        "listener.port": listen_port,
        "listener.address": address,
        "market_base": market_base,
        "health.port": health_port,
        **_tls_options(certs, certificate, key, trust, crl, tls_profile),
        "tls.vtn_fingerprint": tuple(vtn_fingerprint) if vtn_fingerprint else None,
        "plain": plain,
        "plain_anywhere": plain_anywhere,
        "log.level": log_level,
        "log.format": log_format,
    }
    settings = _load(VenProgramSettings, config, given, assignments)
    if check_config:
        from feederloop.ven_security import check_ven_config

        _show(settings, lambda: check_ven_config(settings))
        return
    from dso_engine.errors import EngineError
    from feederloop.logs import setup_logs
    from feederloop.simulation.profiles import ProfileError
    from feederloop.simulation.scenario import ScenarioError
    from feederloop.ven_program import run_ven
    from ven_client.statefile import StateError

    setup_logs(settings.log.level, settings.log.format)
    refusals = (SettingsError, ScenarioError, ProfileError, EngineError, StateError, OSError)
    _run(run_ven(settings, typer.echo), refusals)


# --- dso ---------------------------------------------------------------------------------------------------


@dso_app.command()
def _dso(
    config: Config = None,
    network: Annotated[Path | None, typer.Option(help="The network file.")] = None,
    homes: Annotated[Path | None, typer.Option(help="File of the homes and their VENs.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder for records and status.")] = None,
    vtn: Annotated[str | None, typer.Option(help="The VTN's operator API, http://host:port.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Token of the operator API.")] = None,
    telemetry: Annotated[str | None, typer.Option(help="Kind of telemetry: csv, parquet or mqtt.")] = None,
    meters: Annotated[Path | None, typer.Option(help="File or folder of the PCC meters.")] = None,
    market_base: Annotated[str | None, typer.Option(help="Base of the market contexts.")] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    assignments: Set = None,
    check_config: Check = False,
) -> None:
    """Run the engine of a feeder on the wall clock until SIGTERM or SIGINT. Variables: DSO_...."""
    given = {
        "network": network,
        "homes": homes,
        "state": state,
        "vtn.url": vtn,
        "vtn.token_file": token_file,
        "telemetry.kind": telemetry,
        "telemetry.path": meters,
        "market_base": market_base,
        "log.level": log_level,
        "log.format": log_format,
    }
    settings = _load(DsoProgramSettings, config, given, assignments)
    from dso_engine.errors import EngineError
    from feederloop.dso_program import check_dso_config, run_dso

    if check_config:
        _show(settings, lambda: check_dso_config(settings))
        return
    from feederloop.logs import setup_logs

    setup_logs(settings.log.level, settings.log.format)
    _run(run_dso(settings, typer.echo), (SettingsError, EngineError, OSError))
