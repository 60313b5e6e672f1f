"""What the operator API tells of the VTN's counters, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vtn_server.api_parts import Model

__all__ = ["Counter", "LevelOut", "StatsOut"]


class Counter(Model):
    """How often something happened."""

    name: str
    count: int


class LevelOut(Model):
    """How full something bounded is."""

    name: str
    now: Annotated[int | None, Field(description="How much is taken; null for a bound of each VEN.")]
    most: Annotated[int, Field(description="Its bound.")]
    reached: Annotated[int, Field(description="How often that was reached since the start.")]


class StatsOut(Model):
    """What went through the VTN since it started."""

    version: str
    vtn_id: str
    messages_in: tuple[Counter, ...]
    messages_out: tuple[Counter, ...]
    application_errors: tuple[Counter, ...]
    peer_errors: tuple[Counter, ...]
    http_errors: tuple[Counter, ...]
    closed_connections: tuple[Counter, ...]
    rule_violations: Annotated[
        tuple[Counter, ...], Field(description="By rule; empty unless check_rules is on.")
    ]
    bytes_in: int
    bytes_out: int
    commits: int
    vens: Annotated[int, Field(description="VENs that are known.")]
    registered_vens: int
    events: Annotated[int, Field(description="Events that are not long over.")]
    pending_items: Annotated[int, Field(description="Messages that wait for VENs, events apart.")]
    given_up_items: Annotated[int, Field(description="Messages VENs never answered, or refused.")]
    unanswered_events: Annotated[int, Field(description="Answers to events that are waited for no more.")]
    levels: Annotated[tuple[LevelOut, ...], Field(description="What is bounded, and how full it is.")] = ()
