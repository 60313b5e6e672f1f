"""Cases of events, signals and the answers to them, and makers of events that keep every rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import EventStatus, OptType, SignalType
from schemas.oadr20b.rules import Exchange, PushOrPull
from schemas.oadr20b.units import EUR_PER_KWH, WATT
from schemas.oadr20b.xmltypes import Duration
from tests.conformance.passive_case import MINUTE, SLOT, add_case
from tests.unit.ven.ven_fakes import T0, after, distribute, event

__all__ = ["fill", "priced", "simple", "steps", "with_signal"]


def signal_of(at: m.Event) -> m.EventSignal:
    return at.event.signals.signals[0]


def with_signals(at: m.Event, *signals: m.EventSignal, baseline: m.EventBaseline | None = None) -> m.Event:
    return replace(at, event=replace(at.event, signals=m.EventSignals(signals=signals, baseline=baseline)))


def with_signal(at: m.Event, **changes: object) -> m.Event:
    return with_signals(at, replace(signal_of(at), **changes))  # type: ignore[arg-type]  # fields by name


def with_descriptor(at: m.Event, **changes: object) -> m.Event:
    descriptor = replace(at.event.descriptor, **changes)  # type: ignore[arg-type]  # fields by name
    return replace(at, event=replace(at.event, descriptor=descriptor))


def with_target(at: m.Event, target: m.Target) -> m.Event:
    return replace(at, event=replace(at.event, target=target))


def priced(**changes: object) -> m.Event:
    """An event with a price that keeps every rule."""
    return with_signal(event(**changes), item_base=EUR_PER_KWH)  # type: ignore[arg-type]  # arguments by name


def steps(*values: float, length: Duration = MINUTE) -> tuple[m.Interval, ...]:
    return tuple(m.Interval.of_signal(uid, length, value) for uid, value in enumerate(values))


def simple(*values: float, status: EventStatus = EventStatus.FAR, current: float | None = None) -> m.Event:
    at = event(duration=Duration(minutes=len(values)), status=status)
    return with_signal(
        at,
        intervals=steps(*values),
        signal_name="SIMPLE",
        signal_type=SignalType.LEVEL,
        current_value=current,
    )


def baseline(*uids: str, whole: Duration | None = None, length: Duration | None = MINUTE) -> m.Event:
    payload = m.SignalPayload(payload=m.PayloadFloat(value=1.0))
    intervals = tuple(m.Interval(duration=length, uid=uid, payloads=(payload,)) for uid in uids)
    line = m.EventBaseline(
        dtstart=T0,
        duration=whole or Duration(minutes=len(uids)),
        intervals=intervals,
        baseline_id="b",
        baseline_name="yesterday",
    )
    return with_signals(priced(), signal_of(priced()), baseline=line)


def _events() -> None:
    good = priced()
    add_case("2", True, distribute(simple(1.0, 2.0)))
    intervals = signal_of(simple(1.0, 2.0)).intervals
    for uids in (("1", "2"), ("0", None), ("0", "0")):
        wrong = tuple(replace(each, uid=uid) for each, uid in zip(intervals, uids, strict=True))
        add_case("2", False, distribute(with_signal(simple(1.0, 2.0), intervals=wrong)))
    former = Exchange(former=distribute(good))
    raised = with_signal(good, intervals=steps(0.7, length=SLOT))
    add_case("5", True, distribute(with_descriptor(raised, modification_number=1)), former)
    add_case("5", True, distribute(with_descriptor(good, event_status=EventStatus.NEAR)), former)
    add_case("5", False, distribute(raised), former)
    add_case("5", False, distribute(with_descriptor(good, modification_number=1)), former)
    later = Exchange(former=distribute(with_descriptor(good, modification_number=3)))
    add_case("5", False, distribute(with_descriptor(raised, modification_number=2)), later)
    add_case("8", True, distribute(simple(1.0, 2.0)))
    add_case("8", True, distribute(priced(duration=Duration())))
    add_case("8", False, distribute(with_signal(good, intervals=steps(0.1, length=MINUTE))))
    add_case("9", True, distribute(simple(0.0, 1.0, 2.0, 3.0)))
    add_case("9", False, distribute(simple(4.0)))
    add_case("9", False, distribute(simple(0.5)))
    cancelled = with_descriptor(good, event_status=EventStatus.CANCELLED)
    add_case("10", True, distribute(with_descriptor(cancelled, modification_number=1)), former)
    add_case("10", False, distribute(cancelled), former)
    add_case(
        "10",
        False,
        distribute(with_descriptor(good, modification_number=1)),
        Exchange(former=distribute(cancelled)),
    )
    add_case("14", True, distribute(simple(2.0, current=0.0)))
    add_case("14", True, distribute(simple(2.0, status=EventStatus.ACTIVE, current=2.0)))
    add_case("14", False, distribute(simple(2.0, current=2.0)))
    _order()
    running = with_signal(simple(1.0, 2.0, status=EventStatus.ACTIVE), current_value=2.0)
    add_case("29", True, distribute(running), Exchange(at=after(minutes=61)))
    add_case("29", False, distribute(running), Exchange(at=after(minutes=60)))
    add_case("29", False, distribute(running), Exchange(at=after(seconds=3659)))
    asked = m.RequestEvent(request_id="q", ven_id="v")
    add_case("40", True, distribute(good), Exchange(request=asked))
    add_case("40", True, replace(distribute(good), response=None), Exchange(model=PushOrPull.PUSH))
    add_case("40", False, replace(distribute(good), response=None), Exchange(request=asked))
    add_case("40", False, replace(distribute(good), response=None), Exchange(request=m.Poll(ven_id="v")))
    add_case("41", True, distribute(good))
    add_case("41", False, distribute(good, request_id=""))
    add_case("63", True, distribute(with_target(good, m.Target(ven_ids=("v",)))))
    add_case("63", False, distribute(with_target(good, m.Target(ven_ids=("v", "w")))))
    add_case("105", True, distribute(good))
    bare = replace(good.event.active_period, notification=None)
    add_case("105", False, distribute(replace(good, event=replace(good.event, active_period=bare))))
    add_case("115", True, distribute(good, priced(event_id="e2")))
    other = with_descriptor(priced(event_id="e2"), created_date_time=after(seconds=1))
    add_case("115", False, distribute(good, other))
    old = with_descriptor(raised, modification_number=1, created_date_time=T0 - timedelta(days=1))
    add_case("115", False, distribute(old), former)


def _order() -> None:
    def at(event_id: str, status: EventStatus, priority: int, minute: int) -> m.Event:
        made = priced(event_id=event_id, status=status, start=after(minutes=minute))
        return with_descriptor(made, priority=priority)

    active = EventStatus.ACTIVE
    first, second, last = at("a", active, 1, 0), at("b", active, 2, 0), at("c", active, 0, 0)
    near, far = at("d", EventStatus.NEAR, 1, 30), at("e", EventStatus.FAR, 1, 40)
    gone = at("f", EventStatus.CANCELLED, 0, 90)
    add_case("15", True, distribute(first, gone, second, last, near, far))
    for wrong in ((second, first), (last, first), (near, first), (far, near), (gone, last, second)):
        add_case("15", False, distribute(*wrong))


def _signals() -> None:
    good = priced()
    two = replace(signal_of(good).intervals[0], payloads=signal_of(good).intervals[0].payloads * 2)
    status = m.SignalPayload(payload=m.ResourceStatus(online=True, manual_override=False))
    add_case("100", True, distribute(good))
    add_case("100", False, distribute(with_signal(good, intervals=(two,))))
    add_case("100", False, distribute(with_signal(good, intervals=(replace(two, payloads=(status,)),))))
    add_case("101", True, distribute(baseline("0", "1")))
    add_case("101", False, distribute(baseline("0", "2")))
    add_case("102", True, distribute(baseline("0", "1")))
    add_case("102", False, distribute(baseline("0", "1", whole=SLOT)))
    add_case("102", False, distribute(baseline("0", length=None)))
    timeless = replace(signal_of(good).intervals[0], duration=None)
    add_case("102", False, distribute(with_signal(good, intervals=(timeless,))))
    dated = replace(signal_of(good).intervals[0], dtstart=T0)
    add_case("103", True, distribute(good))
    add_case("103", False, distribute(with_signal(good, intervals=(dated,))))
    _table(good)
    both = (signal_of(good), replace(signal_of(good), signal_id="t"))
    add_case("107", True, distribute(with_signals(good, *both)))
    add_case("107", False, distribute(with_signals(good, both[0], both[0])))
    add_case(
        "111",
        True,
        distribute(with_signal(good, target=m.Target(end_device_assets=("Thermostat", "x-pump")))),
    )
    for target in (
        m.Target(),
        m.Target(end_device_assets=("Toaster",)),
        m.Target(end_device_assets=("Thermostat",), resource_ids=("r",)),
    ):
        add_case("111", False, distribute(with_signal(good, target=target)))
    add_case("116", True, distribute(simple(1.0)))
    add_case("116", False, distribute(with_signal(simple(1.0), signal_type=SignalType.DELTA)))


def _table(good: m.Event) -> None:
    def load(kind: SignalType, value: float, **changes: object) -> m.DistributeEvent:
        intervals = steps(value, length=SLOT)
        return distribute(
            with_signal(good, signal_name="LOAD_DISPATCH", signal_type=kind, intervals=intervals, **changes)
        )

    add_case("104", True, distribute(good))
    add_case("104", True, load(SignalType.LEVEL, -10.0, item_base=WATT))
    add_case("104", True, distribute(with_signal(good, signal_name="x-mine", item_base=None)))
    add_case("104", False, load(SignalType.LEVEL, 11.0, item_base=WATT))
    add_case("104", False, load(SignalType.LEVEL, 0.5, item_base=WATT))
    add_case("104", False, load(SignalType.SETPOINT, 1.0, item_base=EUR_PER_KWH))
    add_case("104", False, load(SignalType.MULTIPLIER, 1.0, item_base=WATT))
    add_case("104", False, load(SignalType.PRICE, 1.0, item_base=WATT))
    add_case("104", False, distribute(with_signal(good, item_base=None)))
    charge = with_signal(good, signal_name="CHARGE_STATE", signal_type=SignalType.MULTIPLIER, item_base=None)
    add_case("104", True, distribute(with_signal(charge, intervals=steps(0.5, length=SLOT))))
    add_case("104", False, distribute(with_signal(charge, intervals=steps(1.5, length=SLOT))))


# --- answers to events -------------------------------------------------------------------------------------


def answer_to(sent: m.DistributeEvent, **changes: object) -> m.EventResponse:
    descriptor = sent.events[0].event.descriptor
    made = m.EventResponse(
        code="200",
        request_id=sent.request_id,
        qualified_event_id=m.QualifiedEventId(
            event_id=descriptor.event_id, modification_number=descriptor.modification_number
        ),
        opt_type=OptType.OPT_IN,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def created(*answers: m.EventResponse, code: str = "200", request_id: str = "") -> m.CreatedEvent:
    return m.CreatedEvent(
        response=m.EiResponse(code=code, request_id=request_id),
        event_responses=answers or None,
        ven_id="v",
    )


def _answers() -> None:
    sent = distribute(priced())
    around = Exchange(request=sent)
    add_case("35", True, created(answer_to(sent)), around)
    add_case("35", True, created(code="452", request_id="d1"), around)
    add_case("35", False, created(), around)
    add_case("42", True, created(answer_to(sent)), around)
    add_case("42", False, created(answer_to(sent, request_id="other")), around)
    add_case("42", False, created(answer_to(sent), request_id="d1"), around)
    unknown = m.QualifiedEventId(event_id="e1", modification_number=7)
    add_case("42", False, created(answer_to(sent, qualified_event_id=unknown)), around)
    add_case("48", True, created(answer_to(sent, code="460", opt_type=OptType.OPT_OUT)), around)
    add_case("48", False, created(answer_to(sent, code="460")), around)


def fill() -> None:
    """Add the cases of this file to the list."""
    for each in (_events, _signals, _answers):
        each()
