"""Times a home has opted out of: no offers, no results, no phases, no prices; only hard export bounds. Pure.

1. An hour that shares an instant with an absence gets no offer; a market result, phase command or programme
   that does is declined with optOut. A result that was accepted before stands: the others' trades rest on it.
2. The steps of phases, prices and programmes that were accepted are cut by the absence.
3. An export bound is the network's last resort (signals.md) and is obeyed all the same.

Source: signals.md, "Real-time price" (an optOut schedule); 2.0b rules 200 to 211.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from schemas.oadr20b.enums import OptReason, OptType
from schemas.oadr20b.model import Period
from schemas.oadr20b.xmltypes import Duration
from ven_client.instructions import (
    DayAheadResult,
    ExportBound,
    Instruction,
    MarketResult,
    PhasePlan,
    PricePath,
    Programmes,
    Span,
)
from ven_client.opt import OptDraft
from ven_client.slots import HOUR
from ven_client.state import AbsenceKept

__all__ = ["Absences", "OptSender"]


class OptSender(Protocol):
    """What sends opts: a session."""

    def send_opt(self, opt: OptDraft, now: datetime) -> str:
        """Queue an opt and return its optID."""
        ...

    def cancel_opt(self, opt_id: str) -> None:
        """Queue the cancellation of a schedule."""
        ...


class Absences:
    """The times one home has opted out of."""

    def __init__(self) -> None:
        self._kept: tuple[AbsenceKept, ...] = ()

    @property
    def spans(self) -> tuple[Span, ...]:
        """All of them."""
        return tuple(Span(start=one.start, end=one.end) for one in self._kept)

    def add(self, period: Period, sender: OptSender, now: datetime) -> str:
        """Send a schedule with this time and all others that are not over, and keep it.

        A schedule of the whole VEN supersedes its former ones (r203), so each one says everything.

        Returns:
            The optID.

        Raises:
            NotRegistered: if there is no registration.
            ValueError: if the period has more than a start and a duration (r200).
            InvalidValue: if its duration cannot be added to its start.
        """
        end = None if period.duration.is_zero else period.duration.after(period.dtstart)
        former = tuple(one for one in self._kept if one.end is None or one.end > now)
        draft = OptDraft(
            opt_type=OptType.OPT_OUT,
            reason=OptReason.NOT_PARTICIPATING,
            availability=(*(_period(one) for one in former), period),
        )
        opt_id = sender.send_opt(draft, now)
        new = AbsenceKept(opt_id=opt_id, start=period.dtstart, end=end)
        self._kept = (*(replace(one, opt_id=opt_id) for one in former), new)
        return opt_id

    def cancel(self, sender: OptSender) -> None:
        """Take everything back that is not over.

        Raises:
            NotRegistered: if there is no registration.
        """
        for opt_id in dict.fromkeys(one.opt_id for one in self._kept):
            sender.cancel_opt(opt_id)
        self._kept = ()

    def covers(self, start: datetime, end: datetime) -> bool:
        """Whether an absence shares an instant with [start, end)."""
        return any(span.overlaps(start, end) for span in self.spans)

    def decline(self, instruction: Instruction) -> bool:
        """Whether what an event asks falls into an absence and must be declined."""
        match instruction:
            case MarketResult(hour=hour):
                return self.covers(hour, hour + HOUR)
            case PhasePlan(steps=steps):
                return any(self.covers(step.start, step.end) for step in steps)
            case Programmes(parts=parts):
                return any(self.covers(step.start, step.end) for part in parts for step in part.steps)
            case PricePath() | ExportBound():
                return False  # a price wants no answer, and has no effect in the absence
            case DayAheadResult():
                return False  # was offered before the absence, and stands

    def kept(self, now: datetime) -> tuple[AbsenceKept, ...]:
        """Return those that are not over, to be kept on disk."""
        return tuple(one for one in self._kept if one.end is None or one.end > now)

    def recall(self, kept: tuple[AbsenceKept, ...]) -> None:
        """Take back what :meth:`kept` gave."""
        self._kept = kept


def _period(kept: AbsenceKept) -> Period:
    length = Duration() if kept.end is None else Duration.of(kept.end - kept.start)
    return Period(dtstart=kept.start, duration=length)
