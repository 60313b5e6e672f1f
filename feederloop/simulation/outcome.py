"""What a run shows on its way and leaves behind, before it is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dso_engine.records import ArmRecord, EngineRecord, MarketRecord
from dso_engine.settlement import DayAccounts
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.simulation.plant import SlotView
from feederloop.simulation.watch import Watch
from ven_client.stats import ClientStats
from ven_client.transport import Exchange

__all__ = ["RunOutcome", "SlotProgress", "Tape", "Traffic", "outcome_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotProgress:
    """What a progress bar shows after each slot."""

    slot: datetime
    counted: bool
    """False while warming up."""
    market: MarketRecord | None
    armed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went over the wire."""

    client_stats: tuple[ClientStats, ...]
    refused_by_vtn: int
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunOutcome:
    """What a run left behind, before it is put into words."""

    slots: tuple[datetime, ...]
    views: tuple[SlotView, ...]
    records: tuple[EngineRecord, ...]
    accounts: DayAccounts
    households: tuple[SimulatedHousehold, ...]
    plant_wh: tuple[int, ...]
    """Net energy of each home over the counted slots, by the plant."""
    metered_wh: tuple[int, ...]
    """The same as it was settled: by the meters, or what stands in for a reading that never came."""
    curtailed_wh: tuple[int, ...]
    battery_range_kwh: tuple[tuple[float, float], ...]
    """Lowest and highest stored energy seen at slot edges."""
    stored_kwh: tuple[tuple[float, float], ...]
    """Stored energy of each home at the start and at the end of the counted slots."""
    client_stats: tuple[ClientStats, ...]
    refused_by_vtn: int
    exchanges: tuple[Exchange, ...]


class Tape:
    """The engine's recorder."""

    def __init__(self) -> None:
        self.records: list[EngineRecord] = []

    def record(self, record: EngineRecord) -> None:
        """Take one record."""
        self.records.append(record)

    def market(self, slot: datetime) -> MarketRecord | None:
        """Return the auction of a slot."""
        return next(
            (r for r in reversed(self.records) if isinstance(r, MarketRecord) and r.slot == slot), None
        )

    def armed(self, slot: datetime) -> bool:
        """Whether the price was armed for a slot."""
        return any(isinstance(r, ArmRecord) and r.slot == slot and r.armed for r in reversed(self.records))


def outcome_of(
    *,
    slots: tuple[datetime, ...],
    end: datetime,
    watch: Watch,
    tape: Tape,
    accounts: DayAccounts,
    households: tuple[SimulatedHousehold, ...],
    traffic: Traffic,
) -> RunOutcome:
    """Return what a run leaves behind.

    Args:
        slots: The counted slots.
        end: End of the last one.
        watch: What was seen of the plant.
        tape: What the engine did.
        accounts: Of the counted slots.
        households: The homes, in the order of the watch.
        traffic: What went over the wire.
    """
    first = slots[0]
    return RunOutcome(
        slots=slots,
        views=tuple(watch.views),
        records=tuple(tape.records),
        accounts=accounts,
        households=households,
        plant_wh=_difference(watch.registers, first, end),
        metered_wh=_metered(accounts, households),
        curtailed_wh=_difference(watch.curtailed, first, end),
        battery_range_kwh=tuple(zip(watch.low_kwh, watch.high_kwh, strict=True)),
        stored_kwh=tuple(zip(watch.levels[first], watch.levels[end], strict=True)),
        client_stats=traffic.client_stats,
        refused_by_vtn=traffic.refused_by_vtn,
        exchanges=traffic.exchanges,
    )


def _metered(accounts: DayAccounts, households: Sequence[SimulatedHousehold]) -> tuple[int, ...]:
    totals = {home.home: sum(slot.facts.metered_wh for slot in home.slots) for home in accounts.homes}
    return tuple(totals[household.spec.home] for household in households)


def _difference(
    registers: Mapping[datetime, tuple[int, ...]], first: datetime, last: datetime
) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(registers[first], registers[last], strict=True))
