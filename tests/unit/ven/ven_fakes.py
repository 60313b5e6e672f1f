"""A home that does what it is told, events and requests by the yard, and a peer that follows a script."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from schemas.oadr20b import model as m
from schemas.oadr20b.enums import (
    EventStatus,
    OptType,
    ProfileName,
    ReadingType,
    ResponseRequired,
    SignalType,
    TransportName,
)
from schemas.oadr20b.errors import ApplicationError
from schemas.oadr20b.units import WATT
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import HeldEvent, ReportWindow, Verdict
from ven_client.session import Session, State
from ven_client.settings import VenConfig

Kind = TypeVar("Kind", bound=m.Message)

T0 = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
MARKET = "http://feederloop.example/local-market"
FAST = "http://feederloop.example/real-time-price"
SLOT = Duration(minutes=10)
OK = m.EiResponse(code="200", request_id="")


def after(**kwargs: float) -> datetime:
    return T0 + timedelta(**kwargs)


@dataclass
class FakeHome:
    """An application that records what it is asked."""

    verdicts: dict[str, Verdict | ApplicationError] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    told: list[tuple[HeldEvent, ...]] = field(default_factory=list)
    windows: list[tuple[str, ReportWindow]] = field(default_factory=list)
    on_times: list[datetime] = field(default_factory=list)
    silent: bool = False
    period: timedelta | None = None

    def metadata(self, now: datetime) -> tuple[m.Report, ...]:
        rate = m.SamplingRate(min_period=Duration(minutes=1), max_period=SLOT, on_change=False)
        description = m.ReportDescription(
            r_id="p",
            report_type="usage",
            item_base=WATT,
            reading_type=ReadingType.DIRECT_READ,
            sampling_rate=rate,
        )

        def offer(specifier: str, name: str) -> m.Report:
            return m.Report(
                duration=Duration(days=1),
                descriptions=(description,),
                report_request_id="0",
                report_specifier_id=specifier,
                report_name=name,
                created_date_time=now,
            )

        return (
            offer("meter", "METADATA_TELEMETRY_USAGE"),
            offer("offer", "x-METADATA_LOCAL_MARKET_OFFER"),
            offer("past", "METADATA_HISTORY_USAGE"),
        )

    def judge(self, event: m.Event, now: datetime) -> Verdict:
        event_id = event.event.descriptor.event_id
        self.judged.append(event_id)
        verdict = self.verdicts.get(event_id, Verdict(opt_type=OptType.OPT_IN))
        if isinstance(verdict, ApplicationError):
            raise verdict
        return verdict

    def events_changed(self, events: tuple[HeldEvent, ...], now: datetime) -> None:
        self.told.append(events)

    def report(self, request: m.ReportRequest, window: ReportWindow, now: datetime) -> tuple[m.Interval, ...]:
        self.windows.append((request.report_request_id, window))
        if self.silent:
            return ()
        value = m.ReportPayload.of("p", 5.0)
        return (m.Interval(dtstart=window.start, duration=SLOT, payloads=(value,)),)

    def next_wakeup(self, now: datetime) -> datetime | None:
        if self.period is None:
            return None
        return now - (now - T0) % self.period + self.period

    def on_time(self, now: datetime) -> None:
        self.on_times.append(now)

    def holds(self) -> tuple[str, ...]:
        """The ids of the events last told."""
        return tuple(held.event.descriptor.event_id for held in self.told[-1]) if self.told else ()


def event(
    event_id: str = "e1",
    number: int = 0,
    *,
    context: str = MARKET,
    start: datetime | None = None,
    duration: Duration = SLOT,
    value: float = 1.0,
    status: EventStatus = EventStatus.FAR,
    always: bool = True,
    target: m.Target | None = None,
    startafter: Duration | None = None,
    test: str | None = None,
) -> m.Event:
    start = start if start is not None else after(hours=1)
    signal = m.EventSignal(
        intervals=(m.Interval.of_signal(0, duration, value),),
        signal_name="ELECTRICITY_PRICE",
        signal_type=SignalType.PRICE,
        signal_id="s",
    )
    return m.Event(
        event=m.EiEvent(
            descriptor=m.EventDescriptor(
                event_id=event_id,
                modification_number=number,
                market_context=context,
                created_date_time=T0,
                event_status=status,
                test_event=test,
            ),
            active_period=m.ActivePeriod(
                dtstart=start, duration=duration, startafter=startafter, notification=Duration()
            ),
            signals=m.EventSignals(signals=(signal,)),
            target=target if target is not None else m.Target(),
        ),
        response_required=ResponseRequired.ALWAYS if always else ResponseRequired.NEVER,
    )


def distribute(*events: m.Event, request_id: str = "d1", vtn_id: str = "vtn") -> m.DistributeEvent:
    return m.DistributeEvent(response=OK, request_id=request_id, vtn_id=vtn_id, events=events)


def request(
    request_id: str = "r1",
    specifier: str = "meter",
    *,
    back: Duration = SLOT,
    granularity: Duration = SLOT,
    start: datetime | None = T0,
    duration: Duration | None = None,
    r_id: str = "p",
) -> m.ReportRequest:
    interval = m.Period(dtstart=start, duration=duration or Duration()) if start is not None else None
    return m.ReportRequest(
        report_request_id=request_id,
        specifier=m.ReportSpecifier(
            report_specifier_id=specifier,
            granularity=granularity,
            report_back_duration=back,
            report_interval=interval,
            payloads=(m.SpecifierPayload(r_id=r_id, reading_type=ReadingType.NOT_APPLICABLE),),
        ),
    )


def create_report(*requests: m.ReportRequest, ven_id: str | None = "ven-1") -> m.CreateReport:
    return m.CreateReport(request_id="c1", requests=requests, ven_id=ven_id)


def created_registration(
    *, code: str = "200", registration_id: str | None = "reg-1", ven_id: str | None = "ven-1"
) -> m.CreatedPartyRegistration:
    return m.CreatedPartyRegistration(
        response=m.EiResponse(code=code, request_id=""),
        registration_id=registration_id,
        ven_id=ven_id,
        vtn_id="vtn",
        profiles=(m.Profile(name=ProfileName.B, transports=(TransportName.SIMPLE_HTTP,)),),
        poll_frequency=Duration(seconds=10),
    )


NOTHING = m.Response(response=OK)


def usual_reply(message: m.AnyMessage) -> m.AnyMessage:
    """What a VTN with nothing to say answers."""
    match message:
        case m.QueryRegistration():
            return created_registration(registration_id=None, ven_id=None)
        case m.CreatePartyRegistration():
            return created_registration()
        case m.CancelPartyRegistration():
            return m.CanceledPartyRegistration(response=OK, registration_id="reg-1", ven_id="ven-1")
        case m.RegisterReport():
            return m.RegisteredReport(response=OK)
        case m.RequestEvent():
            return distribute()
        case m.UpdateReport():
            return m.UpdatedReport(response=OK)
        case m.CreateOpt():
            return m.CreatedOpt(response=OK, opt_id=message.opt_id)
        case m.CancelOpt():
            return m.CanceledOpt(response=OK, opt_id=message.opt_id)
    return NOTHING


def ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"id{next(numbers)}"


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def session_of(
    home: FakeHome, uniform: Callable[[float, float], float] = middle, **settings: object
) -> Session:
    config = replace(VenConfig(ven_name="home-1"), **settings)  # type: ignore[arg-type]  # names are checked by replace
    return Session(config, home, ids(), uniform)


@dataclass
class Peer:
    """Drives a session with scripted poll answers; everything else gets the usual reply."""

    session: Session
    items: list[m.AnyMessage] = field(default_factory=list)
    sent: list[m.AnyMessage] = field(default_factory=list)
    replies: dict[type[m.Message], m.AnyMessage] = field(default_factory=dict)

    def run(self, now: datetime, limit: int = 1000) -> list[m.AnyMessage]:
        """Let the session do what is due at an instant; return what it sent."""
        first = len(self.sent)
        self.session.on_time(now)
        while (message := self.session.take(now)) is not None:
            self.sent.append(message)
            assert len(self.sent) - first <= limit, "the session does not come to rest"
            self.session.on_reply(message, self._reply(message), now)
        return self.sent[first:]

    def give(self, *items: m.AnyMessage, now: datetime) -> list[m.AnyMessage]:
        """Hand items over at the next polls, which must be due; return what was sent besides polls."""
        self.items.extend(items)
        return [message for message in self.run(now) if not isinstance(message, m.Poll)]

    def _reply(self, message: m.AnyMessage) -> m.AnyMessage:
        if isinstance(message, m.Poll) and self.items:
            return self.items.pop(0)
        return self.replies.get(type(message)) or usual_reply(message)


def operational(home: FakeHome, **settings: object) -> Peer:
    """A session that has gone through its bootstrap at T0."""
    session = session_of(home, **settings)  # type: ignore[arg-type]  # settings by name
    session.begin(T0)
    peer = Peer(session)
    peer.run(T0)
    assert session.state is State.OPERATIONAL
    return peer


def kinds(messages: Iterable[m.AnyMessage]) -> list[str]:
    return [type(message).__name__ for message in messages]


def only(messages: Iterable[m.AnyMessage], kind: type[Kind]) -> list[Kind]:
    return [message for message in messages if isinstance(message, kind)]
