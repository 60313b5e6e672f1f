"""A home to test with, the events it gets, and a session that only keeps time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from schemas.oadr20b import wire
from schemas.oadr20b.enums import EventStatus, OptType, ResponseRequired, SignalType
from schemas.oadr20b.model import (
    ActivePeriod,
    DistributeEvent,
    EiEvent,
    Event,
    EventDescriptor,
    EventSignal,
    EventSignals,
    Interval,
    Period,
    ReportRequest,
    ReportSpecifier,
    SpecifierPayload,
    Target,
)
from schemas.oadr20b.units import EUR_PER_KWH, WATT, WATT_HOUR, ItemBase
from schemas.oadr20b.xmltypes import Duration
from ven_client.application import HeldEvent, ReportWindow, Verdict
from ven_client.binding import HomeApplication
from ven_client.devices import SimulatedHome
from ven_client.forecast import Known, Persistence, Profile
from ven_client.hems.model import Battery, FlexibleLoad, HomeParameters
from ven_client.hems.program import Planner
from ven_client.home import HomeManager
from ven_client.planning import PriceSheet
from ven_client.slots import DAY, HOUR, SLOT

MIDNIGHT = datetime(2018, 5, 15, 23, tzinfo=UTC)
"""Start of the local day 2018-05-16."""
MARKET = "http://feederloop.example/local-market"
SWITCH = "switch-H01"
TEN = Duration(minutes=10)

BATTERY = Battery(
    capacity_kwh=6.0,
    power_kw=3.0,
    e_market_low_kwh=0.6,
    e_market_high_kwh=3.3,
    e_low_kwh=0.6,
    e_high_kwh=5.4,
    e_start_kwh=1.8,
    market_cycle_kwh=2.7,
    realtime_cycle_kwh=2.7,
)
FLEXIBLE = FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03)
PARAMETERS = HomeParameters(
    battery=BATTERY,
    flexible=FLEXIBLE,
    contract_kw=9.0,
    curvature_c_per_kwh2=5.0,
    reward_curvature_c_per_kwh2=5.0,
    linear_c_per_kwh=5.0,
    tie_break_c_per_kwh=1e-4,
)
SHEET = PriceSheet(
    supplier_c_per_kwh=tuple(20.0 if 17 * 6 <= k < 23 * 6 else 15.0 for k in range(144)),
    feed_in_c_per_kwh=(10.0,) * 144,
    bid_c_per_kwh=tuple(18.0 if 17 * 6 <= k < 23 * 6 else 13.5 for k in range(144)),
    ask_c_per_kwh=(11.0,) * 144,
    rebate_c_per_kwh=(0.0,) * 144,
)


def at(hour: float) -> datetime:
    """An instant of the local day."""
    return MIDNIGHT + timedelta(hours=hour)


def profile(kw: Callable[[int], float], days: int = 4) -> Profile:
    """The same day over and over, from two days before the test's day; kw of the slot of the day."""
    return Profile(start=MIDNIGHT - 2 * DAY, step_s=600, kw=tuple(kw(k % 144) for k in range(144 * days)))


@cache
def planner() -> Planner:
    """One planner for all tests: programmes are compiled once."""
    return Planner()


def noon_sun(k: int) -> float:
    """Production of the slot k of a day, kW: 4 kW from 9 to 15 local time."""
    return 4.0 if 54 <= k < 90 else 0.0


@dataclass(slots=True, kw_only=True)
class Rig:
    """A home with its application, driven as a session would."""

    devices: SimulatedHome
    home: HomeManager
    app: HomeApplication
    now: datetime
    held: dict[str, HeldEvent] = field(default_factory=dict)

    def run(self, until: datetime) -> None:
        """Let time pass: wake the application whenever it wants, up to and including ``until``."""
        while (wakeup := self.app.next_wakeup(self.now)) is not None and wakeup <= until:
            assert wakeup > self.now
            self.now = wakeup
            self.app.on_time(wakeup)
        self.now = until

    def receive(self, *events: Event) -> tuple[Verdict, ...]:
        """Judge events as they come over the wire and hold those that are no error."""
        verdicts = []
        for event in over_the_wire(events):
            verdict = self.app.judge(event, self.now)
            verdicts.append(verdict)
            if verdict.code == "200":
                self.held[event.event.descriptor.event_id] = HeldEvent(
                    event=event.event, received_at=self.now, opt_type=verdict.opt_type
                )
        self.app.events_changed(tuple(self.held.values()), self.now)
        return tuple(verdicts)

    def drop(self, event_id: str) -> None:
        """An event was cancelled or is over."""
        del self.held[event_id]
        self.app.events_changed(tuple(self.held.values()), self.now)

    def report(self, specifier: str, back: timedelta, r_ids: Sequence[str] = ()) -> tuple[Interval, ...]:
        """The report that is due now."""
        window = ReportWindow(start=self.now - back, end=self.now, due=self.now)
        return self.app.report(request(specifier, r_ids or r_ids_of(self, specifier)), window, self.now)


def make_rig(
    *,
    start: datetime = MIDNIGHT,
    load: Profile | None = None,
    pv: Profile | None = None,
    parameters: HomeParameters = PARAMETERS,
    switch: bool = True,
) -> Rig:
    """A home with 1 kW of load; battery and flexible load as the parameters say."""
    load = load if load is not None else profile(lambda k: 1.0)
    devices = SimulatedHome(
        start=start, load=load, pv=pv, battery=parameters.battery, flexible=parameters.flexible
    )
    home = HomeManager(
        parameters=parameters,
        devices=devices,
        planner=planner(),
        forecaster=Persistence(load=load, pv=pv),
        nowcast=Known(load=load, pv=pv),
        prices=SHEET,
        mean_pv_kwh_day=tuple(noon_sun(k) / 6 for k in range(144)),
        has_pv=pv is not None,
        has_switch=switch,
    )
    app = HomeApplication(home, local_market=MARKET, switch_id=SWITCH if switch else None)
    app.on_time(start)
    return Rig(devices=devices, home=home, app=app, now=start)


def no_devices() -> HomeParameters:
    """Parameters of a home that can move nothing."""
    return replace(PARAMETERS, battery=None, flexible=None)


# --- messages ----------------------------------------------------------------------------------------------


def signal(
    name: str, kind: SignalType, base: ItemBase | None, values: Sequence[float], duration: Duration = TEN
) -> EventSignal:
    """A signal of equal intervals."""
    intervals = tuple(Interval.of_signal(uid, duration, value) for uid, value in enumerate(values))
    return EventSignal(
        intervals=intervals, signal_name=name, signal_type=kind, signal_id=f"{name}-{kind}", item_base=base
    )


def event(
    event_id: str,
    start: datetime,
    length: timedelta,
    *signals: EventSignal,
    target: Target | None = None,
    number: int = 0,
    always: bool = True,
) -> Event:
    """An event of a distribution."""
    return Event(
        event=EiEvent(
            descriptor=EventDescriptor(
                event_id=event_id,
                modification_number=number,
                priority=1,
                market_context=MARKET,
                created_date_time=start,
                event_status=EventStatus.FAR,
            ),
            active_period=ActivePeriod(dtstart=start, duration=Duration.of(length), notification=Duration()),
            signals=EventSignals(signals=signals),
            target=target if target is not None else Target(),
        ),
        response_required=ResponseRequired.ALWAYS if always else ResponseRequired.NEVER,
    )


def result_event(hour: datetime, prices_eur: Sequence[float], volumes_wh: Sequence[float]) -> Event:
    """A market result."""
    return event(
        "mkt",
        hour,
        HOUR,
        signal("ELECTRICITY_PRICE", SignalType.PRICE, EUR_PER_KWH, prices_eur),
        signal("x-COMMITTED_ENERGY", SignalType.SETPOINT, WATT_HOUR, volumes_wh),
    )


def price_event(slot: datetime, price_eur: float, number: int = 0) -> Event:
    """A real-time price for a slot."""
    price = signal("ELECTRICITY_PRICE", SignalType.PRICE_RELATIVE, EUR_PER_KWH, (price_eur,))
    return event(f"rtc-{slot:%H%M}", slot, SLOT, price, number=number, always=False)


def bound_event(start: datetime, length: timedelta, bound_w: float) -> Event:
    """An export bound."""
    bound = signal("LOAD_DISPATCH", SignalType.SETPOINT, WATT, (bound_w,), Duration.of(length))
    return event(f"cut-{start:%H%M}", start, length, bound)


def phase_event(hour: datetime, phases: Sequence[float], resource: str = SWITCH) -> Event:
    """A phase command."""
    phase = signal("x-PHASE_ALLOCATION", SignalType.SETPOINT, None, phases)
    return event("phase", hour, HOUR, phase, target=Target(resource_ids=(resource,)))


def over_the_wire(events: Sequence[Event]) -> tuple[Event, ...]:
    """Events as they arrive: written, checked against the official schema and read."""
    sent = DistributeEvent(request_id="r", vtn_id="vtn", events=tuple(events))
    got = wire.read(wire.write(sent))
    assert isinstance(got, DistributeEvent)
    assert got == sent
    return got.events


def request(specifier: str, r_ids: Sequence[str]) -> ReportRequest:
    """A periodic request; its times do not matter to the application."""
    return ReportRequest(
        report_request_id="rr",
        specifier=ReportSpecifier(
            report_specifier_id=specifier,
            granularity=TEN,
            report_back_duration=TEN,
            report_interval=Period(dtstart=MIDNIGHT, duration=Duration()),
            payloads=tuple(SpecifierPayload(r_id=r_id, reading_type="x-notApplicable") for r_id in r_ids),
        ),
    )


def r_ids_of(rig: Rig, specifier: str) -> tuple[str, ...]:
    """All rIDs the application announces under a specifier."""
    reports = {report.report_specifier_id: report for report in rig.app.metadata(rig.now)}
    return tuple(description.r_id for description in reports[specifier].descriptions)


OPT_IN, OPT_OUT = OptType.OPT_IN, OptType.OPT_OUT
