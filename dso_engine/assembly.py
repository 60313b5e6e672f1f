"""An engine from its parts: the same for a simulated day and for a feeder on the wall clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dso_engine.control import ControlSettings, RealtimePrice
from dso_engine.day_ahead import DayAheadMarket
from dso_engine.feeder import Network
from dso_engine.fixed_point import FixedPoint
from dso_engine.guard import Guard
from dso_engine.hourly import HourBook, HourlyMarket, TariffMillicent
from dso_engine.knowledge import MAX_AGE, Knowledge
from dso_engine.loop import Engine, RunPeriod
from dso_engine.nowcast import Nowcast
from dso_engine.pandapower_flow import PandapowerFlow
from dso_engine.phase_planner import PhasePlanner
from dso_engine.ports import Clock, Customer, DayAheadExchange, HomeExchange, Recorder, TelemetrySource
from dso_engine.resumption import Resumption

__all__ = ["EngineParts", "assemble_engine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What an engine is made of.

    Attributes:
        network: The network as the DSO believes it to be.
        tariff: Prices outside the market, by slot.
        book: Where results and commitments are kept.
        control: Limits and law of the real-time price.
        mu_kw2: Cost of one switching operation, kW2.
        step: Period of the ticks.
        lead: How long before a slot its price is published.
        max_age: How old a meter reading may be.
        guard: What becomes of an expected error; None: it ends the run.
        resumes: Whether to take up what an engine before this one has begun.
        day_ahead: The homes in the day-ahead market; None where there is none.
        lacks_hour: See :class:`dso_engine.hourly.HourlyMarket`.
        lacks_block: See :class:`dso_engine.day_ahead.DayAheadMarket`.
        priced: Whether there is a real-time price; without it market and phases remain.
    """

    clock: Clock
    exchange: HomeExchange
    telemetry: TelemetrySource
    recorder: Recorder
    network: Network
    customers: Sequence[Customer]
    tariff: Mapping[datetime, TariffMillicent]
    book: HourBook
    control: ControlSettings
    mu_kw2: float
    period: RunPeriod
    step: timedelta
    lead: timedelta
    max_age: timedelta = MAX_AGE
    guard: Guard | None = None
    resumes: bool = False
    day_ahead: DayAheadExchange | None = None
    lacks_hour: Callable[[datetime], bool] | None = None
    lacks_block: Callable[[datetime], bool] | None = None
    priced: bool = True


def assemble_engine(parts: EngineParts) -> Engine:
    """Return the engine; nothing of it runs yet."""
    exchange, book, recorder = parts.exchange, parts.book, parts.recorder
    market = HourlyMarket(
        exchange=exchange, book=book, recorder=recorder, tariff=parts.tariff, lacks=parts.lacks_hour
    )
    nowcast = Nowcast(exchange=exchange, book=book, customers=parts.customers)
    phases = PhasePlanner(
        network=parts.network,
        customers=parts.customers,
        exchange=exchange,
        book=book,
        nowcast=nowcast,
        recorder=recorder,
        mu_kw2=parts.mu_kw2,
    )
    price = _price(parts, nowcast, phases) if parts.priced else None
    day_ahead = None
    if parts.day_ahead is not None:
        day_ahead = DayAheadMarket(
            exchange=parts.day_ahead,
            book=book,
            recorder=recorder,
            tariff=parts.tariff,
            lacks=parts.lacks_block,
        )
    resumption = Resumption(
        exchange=exchange, book=book, market=market, phases=phases, price=price, day_ahead=day_ahead
    )
    return Engine(
        clock=parts.clock,
        market=market,
        phases=phases,
        price=price,
        period=parts.period,
        step=parts.step,
        lead=parts.lead,
        guard=parts.guard,
        resumption=resumption if parts.resumes else None,
        day_ahead=day_ahead,
    )


def _price(parts: EngineParts, nowcast: Nowcast, phases: PhasePlanner) -> RealtimePrice:
    knowledge = Knowledge(
        record=PandapowerFlow(parts.network),
        search=FixedPoint(parts.network),
        customers=parts.customers,
        exchange=parts.exchange,
        telemetry=parts.telemetry,
        book=parts.book,
        nowcast=nowcast,
        max_age=parts.max_age,
    )
    return RealtimePrice(
        knowledge=knowledge,
        customers=parts.customers,
        exchange=parts.exchange,
        planner=phases,
        recorder=parts.recorder,
        settings=parts.control,
    )
