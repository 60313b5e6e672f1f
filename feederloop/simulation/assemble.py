"""From what a run left behind to its result: numbers for people, JSON and plots.

Floats are rounded to a micro-unit, far below what anybody reads and far above the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise

from dso_engine.metrics import Metrics, summarise
from dso_engine.model import SLOTS_PER_HOUR, FloatArray, Limits, PccId
from dso_engine.records import (
    ArmRecord,
    CurtailRecord,
    DayAheadRecord,
    MarketRecord,
    PhaseRecord,
    StepRecord,
)
from dso_engine.settlement import HomeStatement, to_eur
from dso_engine.slot_figures import run_series
from feederloop.simulation.homes import SimulatedHousehold
from feederloop.simulation.outcome import RunOutcome
from feederloop.simulation.plant import SlotView
from feederloop.simulation.result import (
    CurtailResult,
    DayAheadBlock,
    DayAheadSummary,
    GridSeries,
    HomeResult,
    MarketSlot,
    MessageCounts,
    PhaseSlot,
    PriceStep,
    RunResult,
    Summary,
)
from feederloop.simulation.run import RunOptions
from feederloop.simulation.scenario import Scenario
from feederloop.simulation.uncontrolled import Uncontrolled
from ven_client.stats import ClientStats

__all__ = ["assemble"]


def assemble(
    scenario: Scenario,
    options: RunOptions,
    limits: Limits,
    uncontrolled: Uncontrolled,
    outcome: RunOutcome | None,
) -> RunResult:
    """Return the result of a run; without an outcome only the comparison.

    Args:
        scenario: The neighbourhood.
        options: What was played.
        limits: Of the network.
        uncontrolled: The same slots without control.
        outcome: The controlled run.
    """
    result = RunResult(
        version=version("feederloop"),
        network=scenario.network.name,
        scenario=scenario.name,
        day=scenario.options.day.isoformat(),
        seed=scenario.options.seed,
        law=options.law,
        model_error=options.model_error,
        slots=tuple(view.slot for view in uncontrolled.views),
        pccs=tuple(str(pcc.id) for pcc in scenario.network.pccs),
        v_nominal_v=_r(limits.v_nominal_v),
        v_band_pct=_r(100.0 * limits.v_band),
        with_control=None,
        without_control=_summary(
            uncontrolled.metrics,
            uncontrolled.views,
            0,
            sum(uncontrolled.bills_eur),
            uncontrolled.stored_change_kwh,
        ),
        grid=None,
        grid_uncontrolled=_series(uncontrolled.views, limits),
    )
    return result if outcome is None else _with_control(result, scenario, limits, uncontrolled, outcome)


def _with_control(
    result: RunResult, scenario: Scenario, limits: Limits, uncontrolled: Uncontrolled, outcome: RunOutcome
) -> RunResult:
    counted = frozenset(outcome.slots)
    records = tuple(r for r in outcome.records if r.slot in counted)
    accounts = outcome.accounts
    market = tuple(_market(r) for r in records if isinstance(r, MarketRecord))
    steps = tuple(_step(r) for r in records if isinstance(r, StepRecord))
    plans = {r.slot: r for r in records if isinstance(r, PhaseRecord)}  # the last plan of a slot counts
    stored = sum(last - first for first, last in outcome.stored_kwh)
    return replace(
        result,
        with_control=_summary(
            summarise(run_series([view.state for view in outcome.views]), limits),
            outcome.views,
            sum(outcome.curtailed_wh),
            to_eur(accounts.homes_pay),
            stored,
        ),
        grid=_series(outcome.views, limits),
        market=market,
        traded_kwh=_r(sum(m.traded_wh for m in market) / 1000.0),
        day_ahead=_day_ahead(outcome),
        phases=tuple(
            PhaseSlot(
                slot=slot,
                phases=tuple((str(home), phase.name) for home, phase in plans[slot].phases),
                operations=plans[slot].operations,
            )
            for slot in sorted(plans)
        ),
        switch_operations=_operations(outcome.views),
        armed_slots=tuple(r.slot for r in records if isinstance(r, ArmRecord) and r.armed),
        steps=steps,
        price_changes=_price_changes(steps),
        curtailments=tuple(_curtailment(r) for r in records if isinstance(r, CurtailRecord)),
        homes=tuple(
            _home(household, statement, uncontrolled.bills_eur[k], k, outcome)
            for k, (household, statement) in enumerate(
                zip(outcome.households, _in_order(outcome, accounts.homes), strict=True)
            )
        ),
        supplier_receives_eur=to_eur(accounts.supplier_receives),
        dso_receives_eur=to_eur(accounts.dso_receives),
        homes_pay_eur=to_eur(accounts.homes_pay),
        market_surplus_eur=to_eur(accounts.market_surplus),
        balance_units=accounts.balance,
        messages=_messages(outcome),
    )


def _summary(
    metrics: Metrics, views: Sequence[SlotView], curtailed_wh: int, bills_eur: float, stored_kwh: float
) -> Summary:
    return Summary(
        imported_kwh=_r(metrics.imported_kwh),
        exported_kwh=_r(metrics.exported_kwh),
        peak_p_kw=_r(metrics.peak_p_kw),
        peak_s_kva=_r(metrics.peak_s_kva),
        par=None if metrics.par is None else _r(metrics.par),
        v_high_pct=_rs(metrics.v_high_pct),
        v_low_pct=_rs(metrics.v_low_pct),
        vuf_pct=_r(metrics.vuf_pct),
        line_loss_kwh=_r(metrics.line_loss_kwh),
        neutral_loss_kwh=_r(metrics.neutral_loss_kwh),
        transformer_loss_kwh=_r(metrics.transformer_loss_kwh),
        slots_beyond_voltage_limit=metrics.slots_beyond_voltage_limit,
        slots_with_violations=sum(1 for view in views if view.violations),
        curtailed_kwh=_r(curtailed_wh / 1000.0),
        bills_eur=_r(bills_eur),
        stored_change_kwh=_r(stored_kwh),
    )


def _series(views: Sequence[SlotView], limits: Limits) -> GridSeries:
    def deviation(v_v: FloatArray) -> tuple[float, ...]:
        return tuple(_r(100.0 * (float(v) / limits.v_nominal_v - 1.0)) for v in v_v)

    states = [view.state for view in views]
    return GridSeries(
        v_max_pct=tuple(deviation(s.v_v.max(axis=0)) for s in states),
        v_min_pct=tuple(deviation(s.v_v.min(axis=0)) for s in states),
        vuf_pct=_rs(float(s.vuf_pct.max()) for s in states),
        pcc_p_kw=tuple(_rs(float(p) for p in s.pcc_p_kw.ravel()) for s in states),
        transformer_loading_pct=_rs(s.transformer_loading_pct for s in states),
        line_loss_kw=_rs(s.line_loss_kw for s in states),
        neutral_loss_kw=_rs(s.neutral_loss_kw for s in states),
        transformer_loss_kw=_rs(s.transformer_loss_kw for s in states),
        violations=tuple(len(view.violations) for view in views),
    )


def _market(record: MarketRecord) -> MarketSlot:
    clearing = record.clearing
    bought = sum(t.volume_wh for t in clearing.trades if t.side.value == "buy")
    sold = sum(t.volume_wh for t in clearing.trades if t.side.value == "sell")
    return MarketSlot(
        slot=record.slot,
        orders=record.orders,
        status=clearing.status.value,
        traded_wh=clearing.traded_wh,
        bought_wh=bought,
        sold_wh=sold,
        bid_price_millicent=clearing.bid_price_millicent,
        ask_price_millicent=clearing.ask_price_millicent,
    )


def _day_ahead(outcome: RunOutcome) -> DayAheadSummary | None:
    """Return the day-ahead market, of which there is a record if it was held."""
    blocks = tuple(
        DayAheadBlock(
            hour=record.slot,
            orders=record.orders,
            refused=len(record.refused),
            status=record.clearing.status.value,
            traded_wh=SLOTS_PER_HOUR * record.clearing.traded_wh,
            bid_price_millicent=record.clearing.bid_price_millicent,
            ask_price_millicent=record.clearing.ask_price_millicent,
        )
        for record in outcome.records
        if isinstance(record, DayAheadRecord)
    )
    if not blocks:
        return None
    per_slot_wh = {block.hour: block.traded_wh // SLOTS_PER_HOUR for block in blocks}
    traded_wh = sum(per_slot_wh.get(slot.replace(minute=0), 0) for slot in outcome.slots)
    return DayAheadSummary(blocks=blocks, traded_kwh=_r(traded_wh / 1000.0))


def _step(record: StepRecord) -> PriceStep:
    return PriceStep(
        slot=record.slot,
        at=record.at,
        pcc=str(record.pcc.id),
        p_kw=_r(record.p_kw),
        projected_kw=_r(record.projected_kw),
        c_lo_kw=None if record.c_lo_kw is None else _r(record.c_lo_kw),
        c_hi_kw=None if record.c_hi_kw is None else _r(record.c_hi_kw),
        u_millicent=record.u_millicent,
        stepped=record.stepped,
        mode=record.mode,
    )


def _price_changes(steps: Sequence[PriceStep]) -> int:
    """How often a price was published that differs from the one before in its slot, which starts at zero."""
    last: dict[tuple[str, str], int] = {}
    changes = 0
    for step in steps:
        key = (str(PccId(step.pcc)), step.slot.isoformat())
        changes += step.u_millicent != last.get(key, 0)
        last[key] = step.u_millicent
    return changes


def _curtailment(record: CurtailRecord) -> CurtailResult:
    return CurtailResult(
        slot=record.slot,
        at=record.at,
        pcc=str(record.pcc.id),
        homes=tuple(str(home) for home, _ in record.export_w),
        export_w=max(w for _, w in record.export_w),
    )


def _operations(views: Sequence[SlotView]) -> int:
    """How many transfer switches really moved at the edges between the slots."""
    return int(sum((before.phase != after.phase).sum() for before, after in pairwise(views)))


def _in_order(outcome: RunOutcome, statements: Sequence[HomeStatement]) -> list[HomeStatement]:
    by_home = {statement.home: statement for statement in statements}
    return [by_home[household.spec.home] for household in outcome.households]


def _home(
    household: SimulatedHousehold, statement: HomeStatement, bill_before: float, k: int, outcome: RunOutcome
) -> HomeResult:
    spec, lines = household.spec, statement.lines
    low, high = outcome.battery_range_kwh[k]
    return HomeResult(
        home=str(spec.home),
        pv_kwp=spec.pv_kwp,
        battery=spec.has_battery,
        switch=spec.has_switch,
        metered_wh=outcome.metered_wh[k],
        plant_wh=outcome.plant_wh[k],
        curtailed_wh=outcome.curtailed_wh[k],
        battery_min_kwh=_r(low),
        battery_max_kwh=_r(high),
        bill_eur=to_eur(statement.bill),
        bill_uncontrolled_eur=_r(bill_before),
        market_eur=to_eur(lines.market),
        supplier_eur=to_eur(lines.supplier),
        feed_in_eur=to_eur(lines.feed_in),
        real_time_price_eur=to_eur(lines.real_time_price),
        reward_eur=to_eur(lines.reward),
        rebate_eur=to_eur(lines.rebate),
        refusal_eur=to_eur(lines.refusal),
    )


def _messages(outcome: RunOutcome) -> MessageCounts:
    stats = outcome.client_stats
    return MessageCounts(
        sent_by_vens=_sum(stats, "sent"),
        received_by_vens=_sum(stats, "received"),
        application_errors=sum(n for _, n in _sum(stats, "application_errors")),
        http_errors=sum(n for _, n in _sum(stats, "http_errors")),
        rejected=outcome.refused_by_vtn + sum(each.failures for each in stats),
    )


def _sum(stats: Sequence[ClientStats], name: str) -> tuple[tuple[str, int], ...]:
    total: dict[str, int] = {}
    for each in stats:
        for key, count in getattr(each, name):
            total[key] = total.get(key, 0) + count
    return tuple(sorted(total.items()))


def _r(value: float) -> float:
    return round(float(value), 6)


def _rs(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(_r(value) for value in values)
