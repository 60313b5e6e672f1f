"""What each operation of the operator API does, over the facade of the VTN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from schemas.oadr20b import wire
from schemas.oadr20b.errors import InvalidId, NotAllowed, TargetMismatch
from schemas.oadr20b.model import DistributeEvent, EventSignal
from vtn_server import api_forms as forms
from vtn_server import api_models as api
from vtn_server import event as rules
from vtn_server.api_desk import Call, Desk, Limited, NotFound, OptQuery, ReadingQuery, ReportQuery
from vtn_server.api_signal_forms import signal_of, signal_out
from vtn_server.operator import VenView
from vtn_server.records import EventRecord
from vtn_server.state import Provision, Reading, VenId, takes_part

__all__ = [
    "audience_of",
    "cancel_event",
    "cancel_registration",
    "cancel_report",
    "check_wire",
    "create_event",
    "list_events",
    "list_opts",
    "list_reports",
    "list_vens",
    "modify_event",
    "new_signals",
    "provision_ven",
    "readings",
    "remove_ven",
    "request_report",
    "reregister",
    "set_fingerprint",
    "show_event",
    "show_ven",
]


_LARGEST_EVENT: Final = 200_000
"""Bytes; a VEN gets all its events in one message, and reads a million at most."""


# --- events ------------------------------------------------------------------------------------------------


async def list_events(desk: Desk, call: Call) -> api.EventList:
    """Return the events by start."""
    now, events = desk.now(), desk.operator.events()
    some = events[: call.asked(Limited).limit]
    return api.EventList(events=tuple(forms.event_out(each, now) for each in some), total=len(events))


async def create_event(desk: Desk, call: Call) -> api.EventOut:
    """Publish an event."""
    wanted = call.sent(api.EventCreate)
    now = desk.now()
    draft = forms.draft_of(
        wanted,
        wanted.event_id or f"op-{desk.new_id()}",
        wanted.start or now.replace(microsecond=0),
        audience_of(wanted, desk.operator.enrolled()),
    )
    check_wire(desk, rules.publish(draft, now), now)
    (record,) = await desk.operator.publish_events((draft,))
    return forms.event_out(record, now)


def check_wire(desk: Desk, record: EventRecord, now: datetime) -> None:
    """Check that an event can be told to a VEN; if not, no VEN of its audience would hear anything more.

    Raises:
        WireError: if it does not become a valid message.
    """
    event = rules.wire_event(record, rules.status(record, now), now)
    wire.parse(
        wire.write(DistributeEvent(request_id="check", vtn_id=desk.vtn_id, events=(event,))),
        max_bytes=_LARGEST_EVENT,
    )


def audience_of(wanted: api.EventCreate, enrolled: Mapping[VenId, Provision]) -> tuple[VenId, ...]:
    """Return the VENs an event is for: those it names, and those of its groups that take part in its market.

    Raises:
        InvalidId: if a VEN is unknown or nobody is in a group.
        TargetMismatch: if none of the groups' VENs takes part in the market context.
    """
    named, groups = dict.fromkeys(VenId(each) for each in wanted.ven_ids), frozenset(wanted.groups)
    stray = named.keys() - enrolled.keys()
    if not (groups or wanted.all_vens) and not stray:
        return tuple(named)
    empty = groups.difference(*(each.groups for each in enrolled.values()))
    if stray or empty or not enrolled:
        raise InvalidId(f"nobody behind {', '.join(sorted(stray | empty)) or 'this VTN'}")
    audience = tuple(
        ven_id
        for ven_id, provision in enrolled.items()
        if ven_id in named
        or (
            takes_part(provision, wanted.market_context)
            and (wanted.all_vens or not groups.isdisjoint(provision.groups))
        )
    )
    if not audience:
        raise TargetMismatch(f"nobody of them takes part in {wanted.market_context}")
    return audience


async def _event(desk: Desk, call: Call) -> EventRecord:
    record = await desk.operator.stored_event(call.path["event_id"])
    if record is None:
        raise NotFound(f"no event {call.path['event_id']}")
    return record


async def _open_event(desk: Desk, call: Call) -> EventRecord:
    record = await _event(desk, call)
    if desk.operator.event(record.event_id) is None:
        raise NotAllowed(f"event {record.event_id} is long over")
    return record


async def show_event(desk: Desk, call: Call) -> api.EventDetail:
    """Return an event with its history."""
    record = await _event(desk, call)
    fetched, opts = desk.operator.fetched(record.event_id), desk.operator.opts(record.event_id)
    return api.EventDetail(
        **dict(forms.event_out(record, desk.now())),
        deliveries=tuple(
            api.DeliveryOut(ven_id=ven_id, modification_number=each.modification_number, at=each.at)
            for ven_id, each in sorted(fetched.items())
        ),
        opts=tuple(forms.opt_out(record.event_id, ven_id, each) for ven_id, each in sorted(opts.items())),
        versions=tuple(
            api.VersionOut(
                modification_number=each.modification_number,
                at=each.at,
                cancelled=each.cancelled,
                signals=tuple(signal_out(signal) for signal in each.signals),
            )
            for each in record.versions
        ),
    )


def new_signals(record: EventRecord, change: api.EventModify) -> tuple[EventSignal, ...]:
    """Return the signals of an event after a change.

    Raises:
        InvalidData: if the change does not fit the event.
    """
    if change.signals:
        return tuple(signal_of(each) for each in change.signals)
    return forms.with_values(record, change.values)


async def modify_event(desk: Desk, call: Call) -> api.EventOut:
    """Change values of an event."""
    record, change = await _open_event(desk, call), call.sent(api.EventModify)
    signals = new_signals(record, change)
    check_wire(desk, rules.modify(record, signals, desk.now()), desk.now())
    return forms.event_out(await desk.operator.modify_event(record.event_id, signals=signals), desk.now())


async def cancel_event(desk: Desk, call: Call) -> api.EventOut:
    """Cancel an event."""
    record = await _open_event(desk, call)
    return forms.event_out(await desk.operator.cancel_event(record.event_id), desk.now())


# --- VENs --------------------------------------------------------------------------------------------------


def _ven(desk: Desk, call: Call) -> VenView:
    view = desk.operator.ven(call.path["ven_id"])
    if view is None:
        raise NotFound(f"no VEN {call.path['ven_id']}")
    return view


async def list_vens(desk: Desk, call: Call) -> api.VenList:
    """Return the VENs by venID."""
    vens = desk.operator.vens()
    some = vens[: call.asked(Limited).limit]
    return api.VenList(vens=tuple(forms.ven_out(each) for each in some), total=len(vens))


async def show_ven(desk: Desk, call: Call) -> api.VenDetail:
    """Return a VEN with what it offers."""
    return forms.ven_detail(_ven(desk, call))


async def provision_ven(desk: Desk, call: Call) -> api.VenDetail:
    """Make a VEN known."""
    wanted = call.sent(api.VenIn)
    ven_id = VenId(wanted.ven_id or f"ven-{desk.new_id()}")
    fingerprint = wanted.fingerprint
    provision = Provision(
        ven_id=ven_id,
        ven_name=wanted.ven_name,
        fingerprint=None if fingerprint is None else fingerprint.upper(),
        resources=wanted.resources,
        groups=wanted.groups,
        market_contexts=wanted.market_contexts,
    )
    await desk.operator.provision((provision,), replace_identity=wanted.replace)
    view = desk.operator.ven(ven_id)
    assert view is not None
    return forms.ven_detail(view)


async def set_fingerprint(desk: Desk, call: Call) -> api.VenDetail:
    """Give a VEN another certificate, or take its certificate away."""
    view, wanted = _ven(desk, call), call.sent(api.FingerprintIn)
    await desk.operator.set_fingerprint(view.ven_id, wanted.fingerprint)
    return forms.ven_detail(_ven(desk, call))


async def remove_ven(desk: Desk, call: Call) -> api.CancelReply:
    """Refuse a VEN from now on."""
    view = _ven(desk, call)
    await desk.operator.remove(view.ven_id)
    return api.CancelReply(ven_id=view.ven_id, asked="nothing: it is refused from now on (463)")


async def cancel_registration(desk: Desk, call: Call) -> api.CancelReply:
    """End a VEN's registration."""
    view = _ven(desk, call)
    await desk.operator.cancel_registration(view.ven_id)
    return api.CancelReply(ven_id=view.ven_id, asked="oadrCancelPartyRegistration")


async def reregister(desk: Desk, call: Call) -> api.CancelReply:
    """Ask a VEN to register again."""
    view = _ven(desk, call)
    await desk.operator.request_reregistration(view.ven_id)
    return api.CancelReply(ven_id=view.ven_id, asked="oadrRequestReregistration")


# --- reports and opts --------------------------------------------------------------------------------------


async def list_reports(desk: Desk, call: Call) -> api.ReportList:
    """Return the report requests by VEN."""
    asked = call.asked(ReportQuery)
    found = [
        forms.report_out(view.ven_id, each)
        for view in desk.operator.vens()
        if asked.ven_id in (None, view.ven_id)
        for each in view.requests
    ]
    return api.ReportList(reports=tuple(found[: asked.limit]), total=len(found))


async def request_report(desk: Desk, call: Call) -> api.ReportOut:
    """Ask a VEN for a report."""
    view, wanted = _ven(desk, call), call.sent(api.ReportCreate)
    start = wanted.start or desk.now()
    draft = forms.report_draft_of(wanted, view.metadata, start.replace(microsecond=0))
    (request_id,) = await desk.operator.request_reports(view.ven_id, (draft,))
    return _requested(desk, call, request_id)


async def cancel_report(desk: Desk, call: Call) -> api.ReportOut:
    """Ask a VEN to stop a report."""
    request_id = call.path["report_request_id"]
    view = _ven(desk, call)
    _requested(desk, call, request_id)
    await desk.operator.cancel_reports(view.ven_id, (request_id,))
    return _requested(desk, call, request_id)


def _requested(desk: Desk, call: Call, request_id: str) -> api.ReportOut:
    view = _ven(desk, call)
    for each in view.requests:
        if each.report_request_id == request_id:
            return forms.report_out(view.ven_id, each)
    raise NotFound(f"no report request {request_id} to {view.ven_id}")


async def readings(desk: Desk, call: Call) -> api.ReadingList:
    """Return what was reported."""
    asked = call.asked(ReadingQuery)
    end = asked.end or desk.now()
    found = await desk.operator.readings(
        report_specifier_id=asked.report_specifier_id,
        start=asked.start or end - timedelta(days=1),
        end=end,
        ven_id=None if asked.ven_id is None else VenId(asked.ven_id),
    )
    if asked.received_since is not None:
        since = asked.received_since
        found = tuple(each for each in found if each.received_at >= since)
    if asked.distinct:
        found = _distinct(found)
    return api.ReadingList(
        readings=tuple(forms.reading_out(each) for each in found[: asked.limit]), total=len(found)
    )


def _distinct(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """Return of readings of a VEN and rID that say the same the newest, by start."""
    last = {(each.ven_id, each.r_id, each.value, each.status): k for k, each in enumerate(readings)}
    return tuple(readings[k] for k in sorted(last.values()))


async def list_opts(desk: Desk, call: Call) -> api.OptList:
    """Return answers to events, and schedules."""
    asked = call.asked(OptQuery)
    answers = [
        forms.opt_out(record.event_id, ven_id, opt)
        for record in desk.operator.events()
        if asked.event_id in (None, record.event_id)
        for ven_id, opt in desk.operator.opts(record.event_id).items()
        if asked.ven_id in (None, ven_id)
    ]
    answers.sort(key=lambda each: each.at, reverse=True)
    schedules = [
        forms.schedule_out(view.ven_id, each)
        for view in desk.operator.vens()
        if asked.event_id is None and asked.ven_id in (None, view.ven_id)
        for each in view.schedules
    ]
    left = max(0, asked.limit - len(answers))
    return api.OptList(
        events=tuple(answers[: asked.limit]),
        schedules=tuple(schedules[:left]),
        total=len(answers) + len(schedules),
    )
