"""Many events at once over the operator API: what a program that runs programmes asks for."""

from __future__ import annotations

from vtn_server import api_batch_models as batch
from vtn_server import api_forms as forms
from vtn_server import event as rules
from vtn_server.api_desk import Call, Desk, NotFound
from vtn_server.api_handlers import audience_of, check_wire, new_signals

__all__ = ["absences", "create_events", "modify_events", "query_events"]


async def create_events(desk: Desk, call: Call) -> batch.EventBatchOut:
    """Publish events, all or none."""
    now, enrolled = desk.now(), desk.operator.enrolled()
    drafts = []
    for wanted in call.sent(batch.EventBatch).events:
        draft = forms.draft_of(
            wanted,
            wanted.event_id or f"op-{desk.new_id()}",
            wanted.start or now.replace(microsecond=0),
            audience_of(wanted, enrolled),
        )
        check_wire(desk, rules.publish(draft, now), now)
        drafts.append(draft)
    records = await desk.operator.publish_events(drafts)
    return batch.EventBatchOut(events=tuple(forms.event_out(each, now) for each in records))


async def modify_events(desk: Desk, call: Call) -> batch.EventBatchOut:
    """Change values of events, all or none."""
    now = desk.now()
    changes = []
    for change in call.sent(batch.EventChanges).changes:
        record = desk.operator.event(change.event_id)
        if record is None:
            raise NotFound(f"no event {change.event_id} that is not long over")
        signals = new_signals(record, change)
        check_wire(desk, rules.modify(record, signals, now), now)
        changes.append((record.event_id, signals))
    records = await desk.operator.modify_events(changes)
    return batch.EventBatchOut(events=tuple(forms.event_out(each, now) for each in records))


async def query_events(desk: Desk, call: Call) -> batch.EventStates:
    """Return events with deliveries and answers."""
    now, operator = desk.now(), desk.operator
    records = await operator.stored_events(call.sent(batch.EventQuery).event_ids)
    answers = await operator.stored_opts([each.event_id for each in records])
    return batch.EventStates(
        events=tuple(
            batch.EventState(
                **dict(forms.event_out(record, now)),
                version_at=record.modified_at,
                deliveries=tuple(
                    batch.DeliveryState(
                        ven_id=ven_id, modification_number=each.modification_number, at=each.at
                    )
                    for ven_id, each in sorted(operator.fetched(record.event_id).items())
                ),
                opts=tuple(
                    forms.opt_out(record.event_id, ven_id, each)
                    for ven_id, each in sorted(answers[record.event_id].items())
                ),
            )
            for record in records
        )
    )


async def absences(desk: Desk, call: Call) -> batch.AbsenceList:
    """Return who has opted out of an instant."""
    at = call.asked(batch.AbsenceQuery).at or desk.now()
    return batch.AbsenceList(at=at, ven_ids=tuple(sorted(desk.operator.schedules(at))))
