"""``feederloop operator vens`` and ``registrations``."""

from __future__ import annotations

from typing import Annotated

import typer

from feederloop.operator_events import BadOption
from feederloop.operator_session import Json, Limit, VenArgument, client_of, show_reply, told
from vtn_server import api_models as api

__all__ = ["registrations_app", "vens_app"]

vens_app = typer.Typer(help="The VENs that are known.", no_args_is_help=True)
registrations_app = typer.Typer(help="End or renew registrations.", no_args_is_help=True)


@vens_app.command("list")
@told
def _list_vens(ctx: typer.Context, limit: Limit = 100, as_json: Json = False) -> None:
    """List the VENs."""
    show_reply(ctx, client_of(ctx).ask(api.VenList, "GET", "vens", query={"limit": limit}), as_json)


@vens_app.command("show")
@told
def _show_ven(ctx: typer.Context, ven_id: VenArgument, as_json: Json = False) -> None:
    """Show a VEN with its registration and what it offers to report."""
    show_reply(ctx, client_of(ctx).ask(api.VenDetail, "GET", "vens", ven_id), as_json)


@vens_app.command("provision")
@told
def _provision_ven(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Its oadrVenName.")],
    ven_id: Annotated[str | None, typer.Option("--id", help="Its venID; made if left out.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Of its certificate, AA:BB:... (10 bytes).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group; again for more.")] = None,
    resource: Annotated[list[str] | None, typer.Option(help="A resourceID; again for more.")] = None,
    context: Annotated[list[str] | None, typer.Option(help="A market context; again for more.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="A VEN with this venID may get another name or certificate.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a VEN known, or change what is known of it."""
    wanted = api.VenIn(
        ven_id=ven_id,
        ven_name=name,
        fingerprint=fingerprint,
        groups=tuple(group or ()),
        resources=tuple(resource or ()),
        market_contexts=tuple(context or ()),
        replace=replace,
    )
    show_reply(ctx, client_of(ctx).ask(api.VenDetail, "POST", "vens", body=wanted), as_json)


@vens_app.command("fingerprint")
@told
def _fingerprint(
    ctx: typer.Context,
    ven_id: VenArgument,
    fingerprint: Annotated[
        str | None, typer.Argument(help="Of its certificate, AA:BB:... (10 bytes).", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="It has no certificate any more.")] = False,
    as_json: Json = False,
) -> None:
    """Enrol a VEN's certificate, or replace it by a new one; the old one is refused at once."""
    if (fingerprint is None) != clear:
        raise BadOption("either a fingerprint or --clear")
    wanted = api.FingerprintIn(fingerprint=fingerprint)
    path = ("vens", ven_id, "fingerprint")
    show_reply(ctx, client_of(ctx).ask(api.VenDetail, "PUT", *path, body=wanted), as_json)


@vens_app.command("remove")
@told
def _remove_ven(ctx: typer.Context, ven_id: VenArgument, as_json: Json = False) -> None:
    """Refuse a VEN from now on; what it did stays on record."""
    show_reply(ctx, client_of(ctx).ask(api.CancelReply, "DELETE", "vens", ven_id), as_json)


@registrations_app.command("cancel")
@told
def _cancel_registration(ctx: typer.Context, ven_id: VenArgument, as_json: Json = False) -> None:
    """End a VEN's registration."""
    path = ("vens", ven_id, "registration", "cancel")
    show_reply(ctx, client_of(ctx).ask(api.CancelReply, "POST", *path), as_json)


@registrations_app.command("reregister")
@told
def _reregister(ctx: typer.Context, ven_id: VenArgument, as_json: Json = False) -> None:
    """Ask a VEN to register again."""
    path = ("vens", ven_id, "registration", "reregister")
    show_reply(ctx, client_of(ctx).ask(api.CancelReply, "POST", *path), as_json)
