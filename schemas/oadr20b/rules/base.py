"""What a check of a rule takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from lxml import etree

from schemas.oadr20b.model import AnyMessage, DistributeEvent, Report, ReportRequest

__all__ = ["NO_EXCHANGE", "Direction", "Exchange", "Finding", "PushOrPull", "Rule", "Subject", "Violation"]


class Direction(StrEnum):
    """Which way a message went."""

    VTN_TO_VEN = "VTN to VEN"
    VEN_TO_VTN = "VEN to VTN"


class PushOrPull(StrEnum):
    """Who opens the exchanges between a VTN and a VEN."""

    PULL = "pull"
    PUSH = "push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is known around a message; a rule that needs what is None finds nothing.

    Attributes:
        request: What the message answers, in the same HTTP exchange or later by an exchange of its own.
        model: Push or pull.
        at: When the message was sent.
        former: The distribution that the same VEN got before.
        metadata: What the source of the reports announced.
        requests: The report requests in force at the source.
    """

    request: AnyMessage | None = None
    model: PushOrPull | None = None
    at: datetime | None = None
    former: DistributeEvent | None = None
    metadata: tuple[Report, ...] | None = None
    requests: tuple[ReportRequest, ...] | None = None


NO_EXCHANGE: Final = Exchange()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One message under examination.

    Attributes:
        element: The root as it came over the wire, for what the dataclasses do not keep.
    """

    message: AnyMessage
    direction: Direction
    element: etree._Element | None
    exchange: Exchange


Finding: TypeAlias = tuple[str, str]
"""The path of an element below the message, and what is wrong there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One breach of a rule.

    Attributes:
        rule: The official number, or our own where the fault is the schema's business.
        path: Where, as element names with positions from 1.
        text: What is wrong, in words.
    """

    rule: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"r{self.rule} {self.path}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule that can be asserted on messages.

    Attributes:
        number: The official number; with a letter in front our own.
        messages: The types it is about; empty is all of them.
        direction: The way it is about; None is both.
        check: Yields the findings.
    """

    number: str
    check: Callable[[Subject], Iterator[Finding]]
    messages: tuple[type[AnyMessage], ...] = ()
    direction: Direction | None = None
