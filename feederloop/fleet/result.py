"""What one slot of one feeder came to, and what a fleet's run came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = [
    "Condition",
    "FeederWorst",
    "FleetRun",
    "SlotResult",
    "Summary",
    "summarise",
    "summary_rows",
    "worst_of",
]


class Condition(StrEnum):
    """How a feeder stands to its limits at the end of a slot."""

    CALM = "calm"
    NEAR = "near"
    """An arming threshold is reached, no limit is exceeded."""
    BROKEN = "broken"
    """An operating limit is exceeded."""
    UNSOLVED = "unsolved"
    """A power flow found no solution, or the model of record did not confirm the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotResult:
    """One slot of one feeder; all numbers of the network are 0 where it is unsolved.

    Attributes:
        feeder: Its number in the fleet.
        slot: Start of the slot, UTC.
        homes: How many homes it has.
        condition: At the end of the slot.
        armed: Whether the real-time price was armed.
        traded_wh: Energy traded in the auction.
        price_bid_millicent: What buyers pay, 1e-5 EUR/kWh; None if nothing matched.
        switch_operations: Transfer switches that moved.
        price_rounds: Rounds of price, measurement and export bounds, 0 where none was needed.
        prices_set: PCCs with a price that is not zero at the end.
        price_low_millicent: Lowest price of a PCC, 1e-5 EUR/kWh.
        price_high_millicent: Highest price of a PCC.
        curtailed_kw: Production cut by export bounds.
        broken_before: Limits exceeded at u = 0.
        broken_after: Limits exceeded at the end.
        v_low_before: Lowest phase voltage at u = 0 over nominal, minus one.
        v_high_before: Highest.
        v_low: Lowest phase voltage at the end over nominal, minus one.
        v_high: Highest.
        vuf_pct: Largest voltage unbalance factor at the end, per cent.
        line_loading: Highest phase or neutral current over its rating.
        transformer_loading: Over its rating.
        import_kw: Through the transformer, + import.
        relief_feasible: Whether the homes can keep all limits; None where no bounds were needed.
        verified: Whether the model of record confirmed everything that was accepted.
        fault: What went wrong, if anything did.
    """

    feeder: int
    slot: datetime
    homes: int
    condition: Condition
    armed: bool = False
    traded_wh: int = 0
    price_bid_millicent: int | None = None
    switch_operations: int = 0
    price_rounds: int = 0
    prices_set: int = 0
    price_low_millicent: int = 0
    price_high_millicent: int = 0
    curtailed_kw: float = 0.0
    broken_before: int = 0
    broken_after: int = 0
    v_low_before: float = 0.0
    v_high_before: float = 0.0
    v_low: float = 0.0
    v_high: float = 0.0
    vuf_pct: float = 0.0
    line_loading: float = 0.0
    transformer_loading: float = 0.0
    import_kw: float = 0.0
    relief_feasible: bool | None = None
    verified: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRun:
    """A whole run.

    Attributes:
        results: By slot, then feeder: the same for any number of workers and any size of block.
        setup_cpu_s: Processor time of building models, on all workers together.
        slot_cpu_s: Processor time of the slots.
        wall_s: From the first order to the last result.
        moved: How often a block went to another worker, because its own was lost or busy.
    """

    results: tuple[SlotResult, ...]
    setup_cpu_s: float
    slot_cpu_s: float
    wall_s: float
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures over all feeders and slots; nothing in it depends on the machine."""

    feeders: int
    homes: int
    slots: int
    armed: int
    """Feeder slots with the price armed."""
    priced: int
    """Feeder slots with a price that is not zero."""
    curtailed: int
    """Feeder slots with exports bounded."""
    broken_before: int
    """Feeder slots with a limit exceeded at u = 0."""
    broken_after: int
    """Feeder slots with a limit exceeded at the end."""
    unsolved: int
    unverified: int
    """Feeder slots of which something was not confirmed by the model of record; no price was set there."""
    v_low: float
    """Lowest phase voltage over nominal, minus one, at the end of a slot."""
    v_high: float
    vuf_pct: float
    transformer_loading: float
    traded_kwh: float
    curtailed_kwh: float
    switch_operations: int
    price_rounds_mean: float
    """Of the slots with bounds."""


def summarise(results: Sequence[SlotResult]) -> Summary:
    """Return the figures of some results.

    Args:
        results: At least one.
    """
    solved = [each for each in results if each.condition is not Condition.UNSOLVED]
    rounds = [each.price_rounds for each in results if each.price_rounds]
    return Summary(
        feeders=len({each.feeder for each in results}),
        homes=sum(homes for _, homes in {(each.feeder, each.homes) for each in results}),
        slots=len({each.slot for each in results}),
        armed=sum(each.armed for each in results),
        priced=sum(each.prices_set > 0 for each in results),
        curtailed=sum(each.curtailed_kw > 0.0 for each in results),
        broken_before=sum(each.broken_before > 0 for each in results),
        broken_after=sum(each.condition is Condition.BROKEN for each in results),
        unsolved=len(results) - len(solved),
        unverified=sum(not each.verified for each in results),
        v_low=min((each.v_low for each in solved), default=0.0),
        v_high=max((each.v_high for each in solved), default=0.0),
        vuf_pct=max((each.vuf_pct for each in solved), default=0.0),
        transformer_loading=max((each.transformer_loading for each in solved), default=0.0),
        traded_kwh=sum(each.traded_wh for each in results) / 1000.0,
        curtailed_kwh=sum(each.curtailed_kw for each in results) / 6.0,
        switch_operations=sum(each.switch_operations for each in results),
        price_rounds_mean=sum(rounds) / len(rounds) if rounds else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederWorst:
    """Worst values of one feeder over its solved slots, as in `SlotResult`."""

    feeder: int
    homes: int
    v_low_before: float
    v_high_before: float
    v_low: float
    v_high: float
    vuf_pct: float
    line_loading: float
    transformer_loading: float
    broken_before: int
    """Slots with a limit exceeded at u = 0."""
    broken_after: int
    unsolved: int
    """Slots that were not solved."""
    solved: int


def worst_of(results: Sequence[SlotResult]) -> tuple[FeederWorst, ...]:
    """Return the worst values of every feeder, in the order of their numbers."""
    by_feeder: dict[int, list[SlotResult]] = {}
    for each in results:
        by_feeder.setdefault(each.feeder, []).append(each)
    return tuple(_worst(number, by_feeder[number]) for number in sorted(by_feeder))


def _worst(number: int, results: Sequence[SlotResult]) -> FeederWorst:
    solved = [each for each in results if each.condition is not Condition.UNSOLVED]
    return FeederWorst(
        feeder=number,
        homes=results[0].homes,
        v_low_before=min((each.v_low_before for each in solved), default=0.0),
        v_high_before=max((each.v_high_before for each in solved), default=0.0),
        v_low=min((each.v_low for each in solved), default=0.0),
        v_high=max((each.v_high for each in solved), default=0.0),
        vuf_pct=max((each.vuf_pct for each in solved), default=0.0),
        line_loading=max((each.line_loading for each in solved), default=0.0),
        transformer_loading=max((each.transformer_loading for each in solved), default=0.0),
        broken_before=sum(each.broken_before > 0 for each in solved),
        broken_after=sum(each.broken_after > 0 for each in solved),
        unsolved=len(results) - len(solved),
        solved=len(solved),
    )


def summary_rows(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Return labels and values for people."""
    total = summary.feeders * summary.slots

    def of_all(count: int) -> str:
        return f"{count} of {total}"

    return (
        ("Feeders, homes, slots", f"{summary.feeders}, {summary.homes}, {summary.slots}"),
        ("Feeder slots with the price armed", of_all(summary.armed)),
        ("... with a price set", of_all(summary.priced)),
        ("... with exports bounded", of_all(summary.curtailed)),
        ("... with a limit broken at price zero", of_all(summary.broken_before)),
        ("... with a limit broken at the end", of_all(summary.broken_after)),
        ("... not solved", of_all(summary.unsolved)),
        ("... not confirmed by pandapower", of_all(summary.unverified)),
        ("Lowest, highest voltage", f"{100.0 * summary.v_low:+.2f} %, {100.0 * summary.v_high:+.2f} %"),
        ("Highest voltage unbalance (VUF)", f"{summary.vuf_pct:.2f} %"),
        ("Highest transformer loading", f"{100.0 * summary.transformer_loading:.0f} %"),
        ("Traded between homes", f"{summary.traded_kwh:,.1f} kWh"),
        ("Curtailed", f"{summary.curtailed_kwh:,.1f} kWh"),
        ("Switching operations", f"{summary.switch_operations:,}"),
        ("Rounds where the price was needed, mean", f"{summary.price_rounds_mean:.1f}"),
    )
