"""What a case of a passive check is, and the list of them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from schemas.oadr20b import model as m
from schemas.oadr20b.rules import Direction, Exchange
from schemas.oadr20b.xmltypes import Duration

__all__ = ["CASES", "DOWN", "MINUTE", "OK", "SLOT", "UP", "Case", "add_case"]

DOWN: Final = Direction.VTN_TO_VEN
UP: Final = Direction.VEN_TO_VTN
MINUTE: Final = Duration(minutes=1)
SLOT: Final = Duration(minutes=10)
OK: Final = m.EiResponse(code="200", request_id="q")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One message and whether it breaks the rule."""

    rule: str
    good: bool
    message: m.AnyMessage
    direction: Direction
    context: Exchange | None = None
    element: etree._Element | None = None


CASES: Final[list[Case]] = []


def add_case(
    rule: str,
    good: bool,
    message: m.AnyMessage,
    context: Exchange | None = None,
    *,
    direction: Direction | None = None,
    element: etree._Element | None = None,
) -> None:
    guess = DOWN if isinstance(message, _FROM_VTN) else UP
    CASES.append(
        Case(
            rule=rule,
            good=good,
            message=message,
            direction=direction or guess,
            context=context,
            element=element,
        )
    )


_FROM_VTN: Final = (
    m.DistributeEvent,
    m.CreateReport,
    m.CancelReport,
    m.RegisteredReport,
    m.UpdatedReport,
    m.CreatedOpt,
    m.CanceledOpt,
    m.CreatedPartyRegistration,
    m.RequestReregistration,
)
