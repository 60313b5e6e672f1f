"""EiOpt: availability schedules, and the opt of one event. Pure.

A schedule of the whole VEN supersedes all its schedules of the same kind and market context; one with
resources supersedes those resources (r203, r205). optIn and optOut sets are independent.

Source: OpenADR 2.0b rules 200 to 211.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from schemas.oadr20b.enums import OptType, ResponseRequired
from schemas.oadr20b.errors import (
    ComplianceError,
    InvalidData,
    InvalidId,
    InvalidValue,
    NotAllowed,
    OutOfSequence,
    TargetMismatch,
)
from schemas.oadr20b.model import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt, Period, QualifiedEventId
from vtn_server.decision import Context, Decision, SaveOpt, World, ok
from vtn_server.limits import Limit, LimitReached
from vtn_server.records import EventOpt
from vtn_server.state import Schedule, Ven, takes_part

__all__ = ["MOST_PERIODS", "MOST_SCHEDULES", "cancel_opt", "create_opt", "in_force"]

_KEEP_OPT_IDS: Final = 1000
MOST_SCHEDULES: Final = 500
MOST_PERIODS: Final = 5000
"""Periods of all schedules of one VEN."""
"""More would only be a way to fill our memory."""


def create_opt(message: CreateOpt, ven: Ven, world: World, ctx: Context) -> Decision:
    """Take a schedule or the opt of an event.

    Raises:
        ComplianceError: if it is neither or both (r206).
        InvalidData: if a period of it has no end in the calendar.
        LimitReached: if the VEN has too many schedules.
        TargetMismatch: if it names resources that are not the VEN's or not the event's, or a market context
            that is not the VEN's.
        InvalidId, OutOfSequence, NotAllowed: if the event is unknown, another version, or wants no answer.
    """
    market_context = message.market_context or None  # an empty element is what some peers write for none
    known = ven.provision.resources
    if known and not set(message.target.resource_ids) <= set(known):
        raise TargetMismatch("a resource of the target is not the VEN's")
    if message.qualified_event_id is not None:
        if message.availability is not None or market_context is not None:
            raise ComplianceError("the opt of an event has no schedule and no market context (r206)")
        return _event_opt(message, message.qualified_event_id, ven, world, ctx)
    if not message.availability:
        raise ComplianceError("an opt has a schedule or an event (r206)")
    if market_context is not None and not takes_part(ven.provision, market_context):
        raise TargetMismatch(f"{market_context} is not a market context of the VEN")
    _check_periods(message.availability)
    schedule = Schedule(
        opt_id=message.opt_id,
        opt_type=message.opt_type,
        opt_reason=message.opt_reason,
        market_context=market_context,
        availability=message.availability,
        target=message.target,
        device_class=message.device_class,
        created_at=message.created_date_time,
    )
    if schedule in ven.schedules:  # a retry
        return Decision(reply=_created(message))
    periods = len(schedule.availability) + sum(len(each.availability) for each in ven.schedules)
    if len(ven.schedules) >= MOST_SCHEDULES or periods > MOST_PERIODS:
        raise LimitReached(Limit.SCHEDULES, f"more than {MOST_SCHEDULES} schedules or {MOST_PERIODS} periods")
    kept = tuple(each for former in ven.schedules for each in _superseded(former, schedule))
    ids = (*(each for each in ven.opt_ids if each != message.opt_id), message.opt_id)[-_KEEP_OPT_IDS:]
    after = replace(ven, schedules=(*kept, schedule), opt_ids=ids)
    return Decision(reply=_created(message), ven=after, notices=(f"{message.opt_type} schedule",))


def _check_periods(periods: tuple[Period, ...]) -> None:
    """Check that every period has an end we can compute.

    Raises:
        InvalidData: if one has not, or runs backwards.
    """
    try:
        for period in periods:
            period.duration.after(period.dtstart)
    except InvalidValue as err:
        raise InvalidData(str(err)) from err
    if any(period.duration.negative for period in periods):
        raise InvalidData("a period runs backwards")


def _created(message: CreateOpt) -> CreatedOpt:
    return CreatedOpt(response=ok(message.request_id), opt_id=message.opt_id)


def _superseded(former: Schedule, new: Schedule) -> tuple[Schedule, ...]:
    """Return what remains of a former schedule (r203)."""
    if (former.opt_type, former.market_context) != (new.opt_type, new.market_context):
        return (former,)
    resources = new.target.resource_ids
    if not resources:
        return ()
    if not former.target.resource_ids:
        return (former,)
    rest = tuple(each for each in former.target.resource_ids if each not in resources)
    return (replace(former, target=replace(former.target, resource_ids=rest)),) if rest else ()


def _event_opt(
    message: CreateOpt, qualified: QualifiedEventId, ven: Ven, world: World, ctx: Context
) -> Decision:
    record = world.event(qualified.event_id)
    if record is None or ven.ven_id not in record.audience:
        raise InvalidId(f"no event {qualified.event_id}")
    if record.draft.response_required == ResponseRequired.NEVER:
        raise NotAllowed(f"event {record.event_id} wants no opt (r206)")
    if qualified.modification_number != record.modification_number:
        raise OutOfSequence(f"event {record.event_id} is at {record.modification_number}")
    of_event = record.draft.target.resource_ids
    if of_event and not set(message.target.resource_ids) <= set(of_event):
        raise TargetMismatch("the opt goes beyond the event's targets (r206)")
    opt = EventOpt(
        opt_type=message.opt_type,
        code="200",
        modification_number=record.modification_number,
        at=ctx.now,
        qualified=True,
    )
    write = SaveOpt(event_id=record.event_id, ven_id=ven.ven_id, opt=opt)
    return Decision(
        reply=_created(message), writes=(write,), notices=(f"{opt.opt_type} of {record.event_id}",)
    )


def cancel_opt(message: CancelOpt, ven: Ven, world: World, ctx: Context) -> Decision:
    """Cancel every schedule with an optID (r204); no error where it was superseded (r211).

    Raises:
        InvalidId: for an optID the VEN never used for a schedule (r208).
    """
    del world, ctx
    if message.opt_id not in ven.opt_ids:
        raise InvalidId(f"no opt {message.opt_id}")
    after = replace(
        ven,
        schedules=tuple(each for each in ven.schedules if each.opt_id != message.opt_id),
    )
    reply = CanceledOpt(response=ok(message.request_id), opt_id=message.opt_id)
    changed = None if after.schedules == ven.schedules else after
    return Decision(reply=reply, ven=changed, notices=() if changed is None else ("schedule cancelled",))


def in_force(ven: Ven, opt_type: OptType, now: datetime) -> tuple[Schedule, ...]:
    """Return the VEN's schedules of one kind that cover an instant (r210: duration zero is open-ended)."""
    return tuple(
        schedule
        for schedule in ven.schedules
        if schedule.opt_type == opt_type
        and any(
            period.dtstart <= now and (period.duration.is_zero or now < period.duration.after(period.dtstart))
            for period in schedule.availability
        )
    )
