"""``feederloop certs``: the certificates of a utility, in one command each.

What the commands print is for people; private keys are written to files with mode 0600 and never printed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

__all__ = ["certs_app"]

certs_app = typer.Typer(
    help="Certificates: an authority of your own, what it has issued, and what a peer would refuse.",
    no_args_is_help=True,
)

P = ParamSpec("P")
R = TypeVar("R")

PkiFolder = Annotated[Path, typer.Option("--pki", help="Folder of the authority.")]
NameArgument = Annotated[str, typer.Argument(help="venID, host name or person.")]
Days = Annotated[int, typer.Option(min=1, help="Validity in days.")]
_PKI = Path("pki")


class RoleName(StrEnum):
    """What a certificate is for."""

    VTN = "vtn"
    VEN = "ven"
    OPERATOR = "operator"


class Kinds(StrEnum):
    """Kinds of keys to issue."""

    BOTH = "both"
    RSA = "rsa"
    EC = "ec"


def _now() -> datetime:
    return datetime.now(UTC)


def _plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of the PKI into one line and exit code 2."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from certs.files import PkiError

        try:
            return command(*args, **kwargs)
        except (PkiError, OSError) as err:
            typer.echo(f"feederloop certs: {err}", err=True)
            raise typer.Exit(code=2) from err

    return run


@certs_app.command()
@_plainly
def init(
    pki: PkiFolder = _PKI,
    name: Annotated[str, typer.Option(help="Name of the authority.")] = "feederloop",
    rsa_bits: Annotated[int, typer.Option(min=2048, help="Size of RSA keys.")] = 2048,
) -> None:
    """Make an authority: a root and an issuing CA, each with RSA and with P-256."""
    from certs.pki import Pki

    authority = Pki(pki, rsa_bits=rsa_bits)
    authority.init(_now(), name=name)
    typer.echo(f"Authority in {pki}. Peers trust {authority.trust_path}.")
    typer.echo("Move ca/*/root.key to a safe place: they are not needed for daily work.")


@certs_app.command()
@_plainly
def issue(
    role: RoleName,
    name: NameArgument,
    host: Annotated[list[str] | None, typer.Option(help="Host name or IP address; may be repeated.")] = None,
    kind: Annotated[Kinds, typer.Option(help="Kind of key.")] = Kinds.BOTH,
    days: Days = 825,
    pki: PkiFolder = _PKI,
) -> None:
    """Issue certificates for a VTN, a VEN or an operator."""
    from certs.pki import KeyKind, Pki, Role

    kinds = tuple(KeyKind) if kind is Kinds.BOTH else (KeyKind(kind.value),)
    validity = timedelta(days=days)
    for each in Pki(pki).issue(
        Role(role.value), name, _now(), kinds=kinds, hosts=host or (), validity=validity
    ):
        typer.echo(f"{each.path}  {each.fingerprint}")


@certs_app.command()
@_plainly
def fingerprint(
    files: Annotated[list[Path], typer.Argument(help="PEM files, or folders with ec.pem or rsa.pem.")],
) -> None:
    """Print the OpenADR fingerprint of the first certificate of each file."""
    from certs.files import certificate_paths, read_certificates
    from certs.keys import fingerprint as of

    for path in (each for file in files for each in certificate_paths(file)):
        typer.echo(f"{of(read_certificates(path)[0])}  {path}")


@certs_app.command("import")
@_plainly
def import_(
    files: Annotated[list[Path], typer.Argument(help="PEM or PKCS#12 files of one party.")],
    name: Annotated[str, typer.Option(help="Name of the files to write.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("certificates"),
    password_file: Annotated[Path | None, typer.Option(help="File with the password.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is what.")] = False,
) -> None:
    """Sort an existing bundle into key, certificate, chain and roots, and install it."""
    from certs.bundle import read_bundle
    from certs.files import PkiError

    password = password_file.read_bytes().rstrip(b"\r\n") if password_file else None
    bundle = read_bundle((path.read_bytes() for path in files), password)
    for line in bundle.report(_now()):
        typer.echo(line)
    fault = bundle.fault()
    if fault is not None:
        raise PkiError(fault)
    if not dry_run:
        for path in bundle.install(out, name):
            typer.echo(f"wrote {path}")


@certs_app.command("list")
@_plainly
def list_(pki: PkiFolder = _PKI, warn_days: Annotated[int, typer.Option(min=0)] = 60) -> None:
    """List what was issued, with its expiry."""
    from certs.pki import Pki

    now = _now()
    for each in Pki(pki).list():
        days = (each.not_after - now).days
        note = "expires soon" if days <= warn_days else ""
        note = "EXPIRED" if each.not_after < now else note
        note = "revoked" if each.revoked else note
        state = "current" if each.key_path else "rotated"
        typer.echo(
            f"{each.role.value:<9} {each.name:<24} {each.kind.value:<4} {each.fingerprint}  "
            f"{each.not_after:%Y-%m-%d}  {days:>5} d  {state}  {note}".rstrip()
        )


@certs_app.command()
@_plainly
def rotate(
    role: RoleName,
    name: NameArgument,
    days: Days = 825,
    revoke_old: Annotated[bool, typer.Option("--revoke-old", help="Revoke the old ones at once.")] = False,
    pki: PkiFolder = _PKI,
) -> None:
    """Replace the certificates of a party by ones with new keys."""
    from certs.pki import Pki, Role

    validity = timedelta(days=days)
    for each in Pki(pki).rotate(Role(role.value), name, _now(), validity=validity, revoke_old=revoke_old):
        typer.echo(f"{each.path}  {each.fingerprint}")


@certs_app.command()
@_plainly
def revoke(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="ROLE NAME or ROLE/NAME for everything of a party, fingerprints, or certificate files; "
            "none renews the lists."
        ),
    ] = None,
    crl_days: Annotated[int, typer.Option(min=1, help="Validity of the lists in days.")] = 30,
    pki: PkiFolder = _PKI,
) -> None:
    """Put certificates on the revocation lists, or only renew the lists."""
    from certs.pki import Pki
    from certs.selection import select

    authority = Pki(pki)
    chosen = select(authority.list(), what) if what else ()
    certificates = [one.certificate for one in chosen]
    authority.revoke(certificates, _now(), crl_validity=timedelta(days=crl_days))
    for one in chosen:
        typer.echo(f"revoked {one.role.value} {one.name} {one.kind.value} {one.fingerprint}")
    typer.echo(f"lists in {authority.crl_path} are valid for {crl_days} days")


@certs_app.command()
@_plainly
def check(
    file: Annotated[
        Path, typer.Argument(help="Certificate, followed by its chain; or a folder with ec.pem or rsa.pem.")
    ],
    trust: Annotated[Path, typer.Option(help="Roots the other side trusts.")] = _PKI / "trust.pem",
    crl: Annotated[
        Path | None, typer.Option(help="Revocation lists; crl.pem beside the roots if left out.")
    ] = None,
    server: Annotated[bool, typer.Option("--server", help="As a TLS server, not as a client.")] = False,
    host: Annotated[str | None, typer.Option(help="Name under which the server is addressed.")] = None,
) -> None:
    """Say why a certificate would be refused; exit code 1 if it would."""
    from certs.chain import Purpose, refusals
    from certs.crl import load_crls, read_crls
    from certs.files import certificate_paths, read_certificates
    from certs.keys import fingerprint as of

    chains = [read_certificates(path) for path in certificate_paths(file)]
    roots = read_certificates(trust)
    if crl is None and trust.with_name("crl.pem").exists():  # as the programs do
        crl = trust.with_name("crl.pem")
    revoked = load_crls(read_crls(crl.read_bytes())) if crl is not None else None
    if revoked is None:
        typer.echo(f"no revocation list was looked at: no crl.pem beside {trust}, and no --crl")
    purpose = Purpose.SERVER if server else Purpose.CLIENT
    refused = False
    for leaf, *others in chains:
        typer.echo(f"{leaf.subject.rfc4514_string()}  {of(leaf)}")
        reasons = refusals(leaf, others, roots, _now(), purpose=purpose, host=host, revoked=revoked)
        for reason in reasons:
            typer.echo(f"refused: {reason}")
        if not reasons:
            typer.echo("accepted" if revoked is not None else "accepted, unless it is revoked")
        refused = refused or bool(reasons)
    if refused:
        raise typer.Exit(code=1)
