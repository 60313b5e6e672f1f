"""A command group whose larger commands are imported when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click.core import Command, Context  # typer's own copy of click, which has no public name

__all__ = ["LazyGroup"]

_ELSEWHERE: Final = {
    "bench": ("feederloop.bench_cli", "bench_app"),
    "certs": ("feederloop.certs_cli", "certs_app"),
    "dso": ("feederloop.program_cli", "dso_app"),
    "fleet": ("feederloop.fleet_cli", "fleet_app"),
    "market": ("feederloop.market_cli", "market_app"),
    "metrics": ("feederloop.metrics_cli", "metrics_app"),
    "network": ("feederloop.network_cli", "network_app"),
    "operator": ("feederloop.operator_cli", "operator_app"),
    "statements": ("feederloop.statements_cli", "statements_app"),
    "study": ("feederloop.study_cli", "study_app"),
    "ven": ("feederloop.program_cli", "ven_app"),
    "vtn": ("feederloop.program_cli", "vtn_app"),
}
"""Commands with the module and the typer application that are behind them."""


class LazyGroup(TyperGroup):
    """The commands of ``feederloop``."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of all commands."""
        return sorted((*super().list_commands(ctx), *_ELSEWHERE))

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return a command, imported now if it is one of the larger ones."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name]
        command = typer.main.get_command(getattr(import_module(module), name))
        command.name = cmd_name
        return command
