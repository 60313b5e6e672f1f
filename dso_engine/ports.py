"""What the engine's loop asks of the world around it.

The loop knows homes, PCCs, slots and prices. That these travel as OpenADR messages is the gateway's business,
and where the measurements come from is the telemetry source's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Protocol

from dso_engine.intake import Arrival
from dso_engine.market import Order
from dso_engine.model import Commitment, HomeId, Pcc, PccReading, Phase
from dso_engine.records import EngineRecord

__all__ = [
    "BlockOrder",
    "Clock",
    "Customer",
    "DayAheadExchange",
    "DayResult",
    "Delivery",
    "HomeExchange",
    "HourResult",
    "OpenPrice",
    "Recorder",
    "SlotOrder",
    "TelemetrySource",
]


class Clock(Protocol):
    """Time for the loop."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        ...

    async def sleep_until(self, when: datetime, rank: int, key: str) -> None:
        """Return when the instant has come."""
        ...


class TelemetrySource(Protocol):
    """Meters of the network at the points of common coupling, not the homes' word."""

    async def read(self, now: datetime) -> tuple[PccReading, ...]:
        """Return the newest reading of every PCC; each says when it was taken."""
        ...


class Recorder(Protocol):
    """Takes note of what the engine does."""

    def record(self, record: EngineRecord) -> None:
        """Take one record; must not fail and must not wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """What the DSO knows of a home besides where it is connected."""

    home: HomeId
    pv_kwp: float
    """Rated power of its PV by the connection agreement, 0 without."""
    has_switch: bool
    contract_kva: float = inf
    """Largest exchange by the connection agreement; what anybody says beyond it is cut to it. Infinite where
    there is no agreement on record."""
    participates: bool = True
    """Whether it has a VEN that can be told anything; if not, its flow is taken as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotOrder:
    """An order and the slot it is for."""

    slot: datetime
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class HourResult:
    """What one home is told about an hour: price and committed energy for each of the six slots."""

    home: HomeId
    price_millicent: tuple[int, ...]
    volume_wh: tuple[int, ...]
    """Signed, + buy, - sell; 0 where nothing was traded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrder:
    """An order for an hourly block as it came in; its volume is the energy of one slot."""

    hour: datetime
    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResult:
    """What one home is told about a delivery day: price and committed energy for each of its 24 blocks."""

    home: HomeId
    price_millicent: tuple[int, ...]
    volume_wh: tuple[int, ...]
    """Energy of each of the six slots of the block. Signed, + buy, - sell; 0 where nothing was traded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far the current version of a price has come."""

    published_at: datetime
    fetched_by_all_at: datetime | None
    """When the last of the homes fetched it; None while one has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPrice:
    """A real-time price as it stands with the homes."""

    homes: tuple[HomeId, ...]
    u_millicent: int
    curtailed: bool
    """Whether exports behind the PCC are bounded in this slot."""


class HomeExchange(Protocol):
    """The homes, as far as the engine can talk to them.

    Every method raises :class:`dso_engine.errors.ExchangeFailed` where the homes' server is out of reach or
    refuses; what was asked may then have happened or not, and may be asked again.
    """

    async def orders(self, hour: datetime, of: frozenset[HomeId] | None = None) -> tuple[SlotOrder, ...]:
        """Return all orders that are in for the delivery hour, of homes that are there and can be told.

        Args:
            hour: Start of the hour.
            of: Instead those of these homes, whatever has become of them since.
        """
        ...

    async def reachable(self) -> frozenset[HomeId]:
        """Return the homes that can be told anything."""
        ...

    async def publish_results(self, hour: datetime, results: Sequence[HourResult]) -> None:
        """Tell every home that made an offer what came of it, all or none.

        A home that was told already hears nothing. If one cannot be told any more, nobody is, for the volumes
        of the others would not balance.
        """
        ...

    async def results(self, hour: datetime) -> tuple[HourResult, ...]:
        """Return what the homes were told about an hour."""
        ...

    async def accepted(self, hour: datetime) -> frozenset[HomeId]:
        """Return the homes that opted in to their result."""
        ...

    async def commitments(self, hour: datetime) -> tuple[Commitment, ...]:
        """Return the commitments that are in for the hour."""
        ...

    async def publish_phases(self, hour: datetime, plan: Mapping[HomeId, tuple[Phase, ...]]) -> None:
        """Command the phases of six slots; homes whose plan is unchanged hear nothing."""
        ...

    async def phase_plans(self, hour: datetime) -> Mapping[HomeId, tuple[Phase, ...]]:
        """Return the phases that are commanded for an hour."""
        ...

    async def phase_opt_outs(self, hour: datetime) -> frozenset[HomeId]:
        """Return the homes that declined to switch in this hour."""
        ...

    async def confirmed_phases(self, now: datetime) -> Mapping[HomeId, Phase]:
        """Return the last confirmed phase of every home that has reported one."""
        ...

    async def metered_wh(self, slot: datetime) -> Mapping[HomeId, int]:
        """Return the metered net energy of a slot, as far as reported."""
        ...

    async def open_prices(self, slot: datetime, audience: Mapping[Pcc, tuple[HomeId, ...]]) -> None:
        """Publish the real-time price 0 for a coming slot to the homes behind each PCC.

        A price that is published already stays as it is.
        """
        ...

    async def prices(self, slot: datetime) -> Mapping[Pcc, OpenPrice]:
        """Return the prices of a slot, however long ago, as they stand or stood in the end."""
        ...

    async def set_prices(self, slot: datetime, prices_millicent: Mapping[Pcc, int]) -> None:
        """Publish a new version of the prices that change, all in one transaction."""
        ...

    async def deliveries(self, slot: datetime, pccs: Sequence[Pcc]) -> Mapping[Pcc, Delivery]:
        """Return how far the current version of each price has come, where there is one."""
        ...

    async def curtail(self, slot: datetime, pcc: Pcc, export_w: Mapping[HomeId, int]) -> None:
        """Bound the export of homes for the rest of the slot; a second call tightens or loosens it."""
        ...

    async def absent(self, now: datetime) -> frozenset[HomeId]:
        """Return the homes whose opt-out schedule is in force."""
        ...


class DayAheadExchange(Protocol):
    """The homes in the day-ahead market; errors are those of :class:`HomeExchange`."""

    async def day_ahead_orders(
        self, midnight: datetime, of: frozenset[HomeId] | None = None
    ) -> tuple[BlockOrder, ...]:
        """Return all orders that came in for the delivery day, good or not, of homes that can be told.

        Args:
            midnight: Start of the day.
            of: Instead those of these homes, whatever has become of them since.
        """
        ...

    async def publish_day_ahead(self, midnight: datetime, results: Sequence[DayResult]) -> None:
        """Tell every home that made an offer what it holds; as :meth:`HomeExchange.publish_results`."""
        ...

    async def day_ahead_results(self, midnight: datetime) -> tuple[DayResult, ...]:
        """Return what the homes were told about a delivery day."""
        ...
