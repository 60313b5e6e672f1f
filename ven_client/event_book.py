"""The events a VEN holds, and its answers to a distribution. Pure: time and chance are arguments.

A distribution is the complete set of events (r50, r62). Event by event, with ``n`` the modification number:

=====================  ==========================================  =========================================
received               what happens                                 answer, if ``always``
=====================  ==========================================  =========================================
unknown                judged and added (r56)                       the verdict
unknown, cancelled     nothing (r60)                                200 optIn
known, higher n        judged again and replaced (r57)              the new verdict
known, equal n         nothing (r12)                                the verdict given before
known, lower n         nothing (r58)                                450 optOut
known, cancelled       ended (r36, r59)                             200 optIn
not in the set         ended: an implied cancellation (r61)         none
=====================  ==========================================  =========================================

``never`` gets no answer (r62). A bad event is answered with its own code and optOut and spoils no other
(r19, r48). An event that was refused or is only a test (r6) is remembered, so that it gets the same answer
again, but the application never sees it (one it opted out of it does see, with that opt); one that ran out
is remembered until the VTN stops listing it (r66). The start is randomised once and keeps its offset until
startafter changes (r30); a randomised event that was cancelled while running ends after a delay of its own
(r65).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired
from schemas.oadr20b.errors import ApplicationError, InvalidData, InvalidValue, OutOfSequence, TargetMismatch
from schemas.oadr20b.model import (
    DistributeEvent,
    EiEvent,
    Event,
    EventResponse,
    QualifiedEventId,
    Target,
)
from ven_client.application import Application, HeldEvent, Verdict
from ven_client.messages import is_success, normal_uri
from ven_client.settings import VenConfig

__all__ = ["EventBook", "EventEntry", "HeldSpan"]

_TAKEN = Verdict(opt_type=OptType.OPT_IN)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSpan:
    """From when to when a held event runs, randomisation included; ``end`` None is open-ended (r47)."""

    market_context: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEntry:
    """One event as the VTN last described it, and what became of it."""

    held: HeldEvent
    verdict: Verdict
    shown: bool
    """Whether the application knows it: neither refused nor a test."""
    span: HeldSpan
    startafter_s: int = 0
    stopping: bool = False
    """Cancelled while running; ``span.end`` is the randomised end."""

    def runs(self, now: datetime) -> bool:
        """Whether the event still counts at an instant; ends are exclusive (r18)."""
        return self.span.end is None or now < self.span.end


class EventBook:
    """The events a VEN holds.

    Args:
        config: Contexts, resources and groups of this VEN.
        application: Judges events and is told of every change.
        uniform: Returns a number between its two arguments at random.
    """

    def __init__(
        self, config: VenConfig, application: Application, uniform: Callable[[float, float], float]
    ) -> None:
        self._config = config
        self._contexts = frozenset(normal_uri(uri) for uri in config.market_contexts)
        self._application = application
        self._uniform = uniform
        self._entries: dict[str, EventEntry] = {}
        self._told: tuple[HeldEvent, ...] = ()
        self._next_end: datetime | None = None

    @property
    def held(self) -> tuple[HeldEvent, ...]:
        """The events the application was last told of."""
        return self._told

    @property
    def spans(self) -> tuple[HeldSpan, ...]:
        """When the events run that the application knows and that had not ended at the last change."""
        return tuple(entry.span for entry in self._entries.values() if entry.shown)

    @property
    def next_end(self) -> datetime | None:
        """The next instant at which a held event runs out."""
        return self._next_end

    def receive(self, message: DistributeEvent, ven_id: str, now: datetime) -> tuple[EventResponse, ...]:
        """Take a complete set of events; tell the application if what is held changed.

        Returns:
            One eventResponse per event that wants one, in the order received (r12, r42).
        """
        answers = []
        for event in message.events:
            verdict = self._take(event, ven_id, now)
            if event.response_required is ResponseRequired.ALWAYS:
                answers.append(_answer(event, verdict, message.request_id))
        listed = {event.event.descriptor.event_id for event in message.events}
        for event_id in tuple(self._entries):
            if event_id not in listed:
                self._end(event_id, now)
        self._tell(now)
        return tuple(answers)

    def expire(self, now: datetime) -> None:
        """Tell the application if held events have run out."""
        if self._next_end is not None and now >= self._next_end:
            self._tell(now)

    def clear(self, now: datetime) -> None:
        """Forget everything (r407)."""
        self._entries.clear()
        self._tell(now)

    def snapshot(self) -> tuple[EventEntry, ...]:
        """Return every event with what became of it, to be kept on disk."""
        return tuple(self._entries.values())

    def restore(self, entries: tuple[EventEntry, ...], now: datetime) -> None:
        """Take back what :meth:`snapshot` gave and tell the application; answers and offsets stay."""
        self._entries = {entry.held.event.descriptor.event_id: entry for entry in entries}
        self._tell(now)

    def _take(self, event: Event, ven_id: str, now: datetime) -> Verdict:
        descriptor = event.event.descriptor
        known = self._entries.get(descriptor.event_id)
        try:
            if known is not None:
                number = known.held.event.descriptor.modification_number
                if descriptor.modification_number < number:
                    raise OutOfSequence(f"modification {number} of {descriptor.event_id} is known")
            if descriptor.event_status is EventStatus.CANCELLED:
                self._end(descriptor.event_id, now)
                return _TAKEN
            if known is not None and descriptor.modification_number == number:
                return known.verdict
        except ApplicationError as err:
            return _refusal(err.code, err.description)
        entry = self._judge(event, known, ven_id, now)
        self._entries[descriptor.event_id] = entry
        return entry.verdict

    def _judge(self, event: Event, known: EventEntry | None, ven_id: str, now: datetime) -> EventEntry:
        test = (event.event.descriptor.test_event or "false").strip().lower() != "false"
        span = HeldSpan(market_context=normal_uri(event.event.descriptor.market_context), start=now, end=now)
        startafter_s = offset_s = 0
        try:
            startafter_s = _startafter_s(event.event)
            if known is not None and known.startafter_s == startafter_s:
                offset_s = known.held.start_offset_s
            elif startafter_s:
                offset_s = round(self._uniform(0, startafter_s))
            span = _span(event.event, span.market_context, offset_s)
            self._check(event.event, ven_id, span.market_context)
            verdict = _TAKEN if test or not _runs_at(span, now) else self._application.judge(event, now)
        except ApplicationError as err:
            verdict = _refusal(err.code, err.description)
        except InvalidValue as err:
            verdict = _refusal(InvalidData.code, str(err))
        if not is_success(verdict.code):
            verdict = replace(verdict, opt_type=OptType.OPT_OUT)  # r48
        held = HeldEvent(
            event=event.event, received_at=now, opt_type=verdict.opt_type, start_offset_s=offset_s
        )
        shown = is_success(verdict.code) and not test
        return EventEntry(held=held, verdict=verdict, shown=shown, span=span, startafter_s=startafter_s)

    def _check(self, event: EiEvent, ven_id: str, context: str) -> None:
        if self._contexts and context not in self._contexts:
            raise TargetMismatch(f"unknown market context {event.descriptor.market_context}")
        target = event.target
        mine = (
            target == Target()
            or ven_id in target.ven_ids
            or not set(self._config.resources).isdisjoint(target.resource_ids)
            or not set(self._config.groups).isdisjoint(target.group_ids)
        )
        if not mine:
            raise TargetMismatch("the target names nothing of this VEN")

    def _end(self, event_id: str, now: datetime) -> None:
        entry = self._entries.get(event_id)
        if entry is None:
            return
        randomised = entry.startafter_s and entry.shown and entry.span.start <= now and entry.runs(now)
        if entry.stopping and entry.runs(now):
            return
        if not randomised:
            del self._entries[event_id]
            return
        end = now + timedelta(seconds=round(self._uniform(0, entry.startafter_s)))
        if entry.span.end is not None:
            end = min(end, entry.span.end)
        self._entries[event_id] = replace(entry, span=replace(entry.span, end=end), stopping=True)

    def _tell(self, now: datetime) -> None:
        for event_id in [key for key, entry in self._entries.items() if entry.stopping]:
            if not self._entries[event_id].runs(now):
                del self._entries[event_id]
        running = [entry for entry in self._entries.values() if entry.shown and entry.runs(now)]
        self._next_end = min((e.span.end for e in running if e.span.end is not None), default=None)
        held = tuple(entry.held for entry in running)
        if held != self._told:
            self._told = held
            self._application.events_changed(held, now)


def _refusal(code: str, description: str) -> Verdict:
    return Verdict(opt_type=OptType.OPT_OUT, code=code, description=description)


def _answer(event: Event, verdict: Verdict, request_id: str) -> EventResponse:
    descriptor = event.event.descriptor
    return EventResponse(
        code=verdict.code,
        description=verdict.description,
        request_id=request_id,
        qualified_event_id=QualifiedEventId(
            event_id=descriptor.event_id, modification_number=descriptor.modification_number
        ),
        opt_type=verdict.opt_type,
    )


def _startafter_s(event: EiEvent) -> int:
    startafter = event.active_period.startafter
    if startafter is None:
        return 0
    start = event.active_period.dtstart
    return max(0, int((startafter.after(start) - start).total_seconds()))


def _span(event: EiEvent, context: str, offset_s: int) -> HeldSpan:
    period = event.active_period
    if period.duration.negative:
        raise InvalidData("the active period has a negative duration")
    try:
        start = period.dtstart + timedelta(seconds=offset_s)
    except OverflowError as err:
        raise InvalidData("the active period lies outside the calendar") from err
    end = None if period.duration.is_zero else period.duration.after(start)
    return HeldSpan(market_context=context, start=start, end=end)


def _runs_at(span: HeldSpan, now: datetime) -> bool:
    return span.end is None or now < span.end
