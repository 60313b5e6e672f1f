"""``feederloop operator``: what an operator does with a VTN that runs, through its operator API."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from feederloop.operator_events import BadOption, Wanted, event_of, instant
from feederloop.operator_session import Json, Limit, Session, VenArgument, client_of, show_reply, told
from feederloop.operator_vens import registrations_app, vens_app
from feederloop.process import VERSION
from vtn_server import api_models as api
from vtn_server.api_openapi import document_text
from vtn_server.api_stats_models import StatsOut

__all__ = ["operator_app"]

operator_app = typer.Typer(
    help="Events, VENs and reports of a VTN that runs.", no_args_is_help=True, add_completion=False
)
_events = typer.Typer(help="Publish, change and follow events.", no_args_is_help=True)
_reports = typer.Typer(help="Ask VENs for data.", no_args_is_help=True)
operator_app.add_typer(_events, name="events")
operator_app.add_typer(vens_app, name="vens")
operator_app.add_typer(_reports, name="reports")
operator_app.add_typer(registrations_app, name="registrations")

EventArgument = Annotated[str, typer.Argument(metavar="EVENTID")]


@operator_app.callback()
def _operator(
    ctx: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="FEEDERLOOP_OPERATOR_URL", help="The operator API.")
    ] = "http://127.0.0.1:8081",
    token_file: Annotated[
        Path | None, typer.Option(envvar="VTN_OPERATOR__TOKEN_FILE", help="File with the token.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="VTN_OPERATOR__TOKEN", hidden=True)] = None,
    as_json: Json = False,
) -> None:
    """Events, VENs and reports of a VTN that runs. The token: --token-file, or VTN_OPERATOR__TOKEN."""
    ctx.obj = Session(url=url, token_file=token_file, token=token, as_json=as_json)


# --- events ------------------------------------------------------------------------------------------------


@_events.command("list")
@told
def _list_events(ctx: typer.Context, limit: Limit = 100, as_json: Json = False) -> None:
    """List the events that are not long over, by start."""
    show_reply(ctx, client_of(ctx).ask(api.EventList, "GET", "events", query={"limit": limit}), as_json)


@_events.command("show")
@told
def _show_event(ctx: typer.Context, event_id: EventArgument, as_json: Json = False) -> None:
    """Show an event with its versions, deliveries and opts."""
    show_reply(ctx, client_of(ctx).ask(api.EventDetail, "GET", "events", event_id), as_json)


@_events.command("create")
@told
def _create_event(
    ctx: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(help="The event as JSON, see docs/operating.md; - for stdin.", allow_dash=True),
    ] = None,
    simple: Annotated[
        list[float] | None, typer.Option(help="SIMPLE level 0 to 3; again per interval.")
    ] = None,
    price: Annotated[
        list[float] | None, typer.Option(help="ELECTRICITY_PRICE, EUR/kWh; again per interval.")
    ] = None,
    relative: Annotated[bool, typer.Option("--relative", help="The price is added to the tariff.")] = False,
    dispatch_w: Annotated[
        list[float] | None, typer.Option(help="LOAD_DISPATCH set point, W; again per interval.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The market context.")] = None,
    start: Annotated[str, typer.Option(help="2026-05-16T10:00:00Z, now, or +PT10M.")] = "now",
    duration: Annotated[str, typer.Option(help="Such as PT1H; PT0S is open-ended.")] = "PT1H",
    ven: Annotated[list[str] | None, typer.Option(help="A venID it is for; again for more.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group it is for; again for more.")] = None,
    all_vens: Annotated[bool, typer.Option("--all", help="It is for all VENs.")] = False,
    event_id: Annotated[str | None, typer.Option("--id", help="Its eventID; made if left out.")] = None,
    priority: Annotated[int, typer.Option(min=0, help="1 is highest, 0 is lowest.")] = 0,
    never: Annotated[bool, typer.Option("--no-answer", help="VENs shall not answer.")] = False,
    test: Annotated[bool, typer.Option("--test", help="A test event.")] = False,
    comment: Annotated[str | None, typer.Option(help="vtnComment.")] = None,
    as_json: Json = False,
) -> None:
    """Publish an event: --simple, --price or --dispatch-w, or a --file with everything."""
    if file is not None:
        if simple or price or dispatch_w or ven or group or all_vens:
            raise BadOption("either a file or options")
        wanted = api.EventCreate.model_validate(_read_json(file))
    elif context is None:
        raise BadOption("--context: which market context?")
    else:
        wanted = event_of(
            Wanted(
                market_context=context,
                duration=duration,
                start=instant(start, datetime.now(UTC)),
                levels=tuple(simple or ()),
                prices_eur_per_kwh=tuple(price or ()),
                relative=relative,
                dispatch_w=tuple(dispatch_w or ()),
                ven_ids=tuple(ven or ()),
                groups=tuple(group or ()),
                all_vens=all_vens,
                event_id=event_id,
                priority=priority,
                never=never,
                test=test,
                comment=comment,
            )
        )
    show_reply(ctx, client_of(ctx).ask(api.EventOut, "POST", "events", body=wanted), as_json)


def _read_json(file: Path) -> object:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as err:
        raise BadOption(f"{file}: {err}") from err


@_events.command("modify")
@told
def _modify_event(
    ctx: typer.Context,
    event_id: EventArgument,
    value: Annotated[
        list[float] | None, typer.Option(help="New value; again per interval, the elapsed ones as they were.")
    ] = None,
    signal: Annotated[str | None, typer.Option(help="Which signal, if there are several.")] = None,
    file: Annotated[
        Path | None, typer.Option(help='JSON with "signals" or "values"; - for stdin.', allow_dash=True)
    ] = None,
    as_json: Json = False,
) -> None:
    """Change values of an event that have not elapsed."""
    client = client_of(ctx)
    if (file is None) == (not value):
        raise BadOption("either --value or --file")
    if file is not None:
        change = api.EventModify.model_validate(_read_json(file))
    else:
        known = client.ask(api.EventDetail, "GET", "events", event_id).signals
        if signal is None and len(known) > 1:
            raise BadOption(f"--signal: one of {', '.join(each.id for each in known)}")
        values = api.SignalValues(signal_id=signal or known[0].id, values=tuple(value or ()))
        change = api.EventModify(values=(values,))
    show_reply(ctx, client.ask(api.EventOut, "PATCH", "events", event_id, body=change), as_json)


@_events.command("cancel")
@told
def _cancel_event(ctx: typer.Context, event_id: EventArgument, as_json: Json = False) -> None:
    """Cancel an event."""
    show_reply(ctx, client_of(ctx).ask(api.EventOut, "POST", "events", event_id, "cancel"), as_json)


# --- reports, opts, counters -------------------------------------------------------------------------------


@_reports.command("list")
@told
def _list_reports(
    ctx: typer.Context,
    ven: Annotated[str | None, typer.Option(help="Only those to this VEN.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List the report requests."""
    query = {"ven_id": ven, "limit": limit}
    show_reply(ctx, client_of(ctx).ask(api.ReportList, "GET", "reports", query=query), as_json)


@_reports.command("request")
@told
def _request_report(
    ctx: typer.Context,
    ven_id: VenArgument,
    specifier: Annotated[str, typer.Argument(help="reportSpecifierID, see `vens show`.")],
    r_id: Annotated[list[str] | None, typer.Option(help="An rID; again for more; all if left out.")] = None,
    granularity: Annotated[str, typer.Option(help="Length of an interval.")] = "PT10M",
    every: Annotated[str, typer.Option(help="How often a report comes; PT0S is once, at once.")] = "PT10M",
    start: Annotated[str, typer.Option(help="2026-05-16T10:00:00Z, now, or +PT10M.")] = "now",
    duration: Annotated[str, typer.Option(help="PT0S is for ever; once: all history.")] = "PT0S",
    as_json: Json = False,
) -> None:
    """Ask a VEN for a report."""
    wanted = api.ReportCreate(
        report_specifier_id=specifier,
        r_ids=tuple(r_id or ()),
        granularity=granularity,
        report_back=every,
        start=instant(start, datetime.now(UTC)),
        duration=duration,
    )
    show_reply(
        ctx, client_of(ctx).ask(api.ReportOut, "POST", "vens", ven_id, "reports", body=wanted), as_json
    )


@_reports.command("cancel")
@told
def _cancel_report(
    ctx: typer.Context,
    ven_id: VenArgument,
    report_request_id: Annotated[str, typer.Argument(metavar="REPORTREQUESTID")],
    as_json: Json = False,
) -> None:
    """Ask a VEN to stop a report."""
    path = ("vens", ven_id, "reports", report_request_id, "cancel")
    show_reply(ctx, client_of(ctx).ask(api.ReportOut, "POST", *path), as_json)


@_reports.command("data")
@told
def _readings(
    ctx: typer.Context,
    specifier: Annotated[str, typer.Argument(help="reportSpecifierID.")],
    ven: Annotated[str | None, typer.Option(help="Only of this VEN.")] = None,
    since: Annotated[
        str | None, typer.Option(help="First instant; a day before the last if left out.")
    ] = None,
    until: Annotated[str, typer.Option(help="Behind the last instant.")] = "now",
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List what VENs reported, by start."""
    end = instant(until, datetime.now(UTC))
    start = instant(since, end) if since is not None else end - timedelta(days=1)
    query = {
        "report_specifier_id": specifier,
        "ven_id": ven,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "limit": limit,
    }
    show_reply(ctx, client_of(ctx).ask(api.ReadingList, "GET", "readings", query=query), as_json)


@operator_app.command("opts")
@told
def _opts(
    ctx: typer.Context,
    ven: Annotated[str | None, typer.Option(help="Only of this VEN.")] = None,
    event: Annotated[str | None, typer.Option(help="Only to this event.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List the VENs' answers to events and their availability schedules."""
    query = {"ven_id": ven, "event_id": event, "limit": limit}
    show_reply(ctx, client_of(ctx).ask(api.OptList, "GET", "opts", query=query), as_json)


@operator_app.command("openapi")
def _openapi() -> None:
    """Print the OpenAPI document of the operator API."""
    typer.echo(document_text(VERSION), nl=False)


@operator_app.command("stats")
@told
def _stats(ctx: typer.Context, as_json: Json = False) -> None:
    """Count what went through the VTN since it started."""
    show_reply(ctx, client_of(ctx).ask(StatsOut, "GET", "stats"), as_json)
