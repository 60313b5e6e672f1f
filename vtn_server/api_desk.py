"""What a handler of the operator API gets: the VTN behind it, and a request that was checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import Field

from vtn_server import api_models as api
from vtn_server.operator import Operator

__all__ = ["Call", "Desk", "Limited", "NotFound", "OptQuery", "ReadingQuery", "ReportQuery"]

_LIMIT = Annotated[int, Field(ge=1, le=10_000)]
M = TypeVar("M", bound=api.Model)


class NotFound(Exception):
    """The path names something that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the handlers work with.

    Attributes:
        now: The protocol's clock.
        new_id: Makes ids that are unique in this VTN.
    """

    operator: Operator
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    vtn_id: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, checked against its route."""

    path: Mapping[str, str]
    query: api.Model | None
    body: api.Model | None

    def asked(self, cls: type[M]) -> M:
        """Return the query."""
        assert isinstance(self.query, cls)
        return self.query

    def sent(self, cls: type[M]) -> M:
        """Return the body."""
        assert isinstance(self.body, cls)
        return self.body


class Limited(api.Model):
    """How many entries at most; the reply says how many there are."""

    limit: _LIMIT = 100


class ReportQuery(Limited):
    """Which report requests."""

    ven_id: str | None = None


class OptQuery(Limited):
    """Which opts."""

    ven_id: str | None = None
    event_id: str | None = None


class ReadingQuery(Limited):
    """Which readings; without times those of the last day."""

    report_specifier_id: str
    ven_id: str | None = None
    start: Annotated[api.Moment | None, Field(description="The first instant.")] = None
    end: Annotated[api.Moment | None, Field(description="Behind the last instant.")] = None
    received_since: Annotated[api.Moment | None, Field(description="Only what came since then.")] = None
    distinct: Annotated[
        bool, Field(description="Of readings of a VEN and rID that say the same only the newest.")
    ] = False
