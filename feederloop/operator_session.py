"""What all commands of ``feederloop operator`` share: where the API is, and how faults are told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ParamSpec

import typer
from pydantic import ValidationError

from feederloop.operator_client import ApiClient, OperatorError, token_from
from feederloop.operator_events import BadOption
from feederloop.operator_tables import show
from vtn_server import api_models as api

__all__ = ["Json", "Limit", "Session", "VenArgument", "client_of", "show_reply", "told"]

P = ParamSpec("P")

Json = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")]
VenArgument = Annotated[str, typer.Argument(metavar="VENID")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the options before the command say."""

    url: str
    token_file: Path | None
    token: str | None
    as_json: bool

    def client(self) -> ApiClient:
        """Return a caller of the API.

        Raises:
            OperatorError: if there is no token.
        """
        return ApiClient(self.url, token_from(self.token_file, self.token))


def told(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what can go wrong into one line and exit code 1; 2 for what the options say."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except OperatorError as err:
            typer.echo(f"feederloop operator: {err}", err=True)
            raise typer.Exit(code=1) from err
        except BadOption as err:
            typer.echo(f"feederloop operator: {err}", err=True)
            raise typer.Exit(code=2) from err
        except ValidationError as err:
            for each in err.errors(include_url=False, include_input=False):
                where = ".".join(str(part) for part in each["loc"])
                typer.echo(f"feederloop operator: {where or 'request'}: {each['msg']}", err=True)
            raise typer.Exit(code=2) from err

    return run


def client_of(ctx: typer.Context) -> ApiClient:
    """Return the caller of the API that a command was told of."""
    session: Session = ctx.obj
    return session.client()


def show_reply(ctx: typer.Context, reply: api.Model, as_json: bool) -> None:
    """Print a reply."""
    session: Session = ctx.obj
    show(reply, as_json=as_json or session.as_json)
