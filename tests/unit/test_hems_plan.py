"""The home's plan: hand-computed cases, one per erratum, and feasibility of the second programme."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ven_client.hems.baseline import own_bill
from ven_client.hems.model import (
    Battery,
    FlexibleLoad,
    HomeParameters,
    Horizon,
    InvalidHome,
    InvalidPrices,
    MarketLimits,
    PlanFailed,
    RealtimeReserve,
    Series,
    Tariffs,
)
from ven_client.hems.plan import commit, offer, without_market
from ven_client.hems.program import Planner

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
HOME = HomeParameters(
    battery=BATTERY,
    flexible=FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03),
    contract_kw=9.0,
    curvature_c_per_kwh2=5.0,
    reward_curvature_c_per_kwh2=5.0,
    linear_c_per_kwh=0.0,
    tie_break_c_per_kwh=1e-4,
)
NO_BATTERY = replace(HOME, battery=None)
RESERVE = RealtimeReserve(charge_kwh=(0.05,) * 6, discharge_kwh=(0.02,) * 6, flexible_kwh=0.5)
CHEAP, DEAR = 10.0, 20.0


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner()


def horizon(
    gap: Series,
    *,
    e0_kwh: float = 1.8,
    e_end_kwh: float = 1.8,
    charge_budget_kwh: float = 9.0,
    discharge_budget_kwh: float = 9.0,
) -> Horizon:
    """Twelve or so slots with the given gap; state and budgets that bind nothing unless changed."""
    return Horizon(
        load_kwh=tuple(max(0.0, g) for g in gap),
        pv_kwh=tuple(max(0.0, -g) for g in gap),
        e0_kwh=e0_kwh,
        e_end_kwh=e_end_kwh,
        charge_budget_kwh=charge_budget_kwh,
        discharge_budget_kwh=discharge_budget_kwh,
    )


def limits(bid: Series, ask: Series, rebate: float | Series = 0.0) -> MarketLimits:
    rebates = (rebate,) * len(bid) if isinstance(rebate, float) else rebate
    return MarketLimits(bid_c_per_kwh=bid, ask_c_per_kwh=ask, rebate_c_per_kwh=rebates)


def tariffs(supplier: Series, feed_in: float = 8.0) -> Tariffs:
    return Tariffs(supplier_c_per_kwh=supplier, feed_in_c_per_kwh=(feed_in,) * len(supplier))


FLAT_LIMITS = limits((15.0,) * 12, (10.0,) * 12)
FLAT_TARIFFS = tariffs((15.0,) * 12)
TWO_PRICES = (CHEAP,) * 6 + (DEAR,) * 6


def test_cheap_energy_is_stored_for_dear_slots(planner: Planner) -> None:
    """0.1 kWh per slot all along: the six dear slots are served by what six cheap slots bought."""
    plan = offer(planner, HOME, horizon((0.1,) * 12), limits(TWO_PRICES, (5.0,) * 12))
    assert sum(plan.volume_wh) == 1200
    assert plan.battery_kwh[6:] == pytest.approx((0.1,) * 6)
    assert plan.energy_kwh[5] == pytest.approx(2.4)
    assert plan.energy_kwh[-1] == pytest.approx(1.8)
    assert plan.limit_millicent_per_kwh == (10_000,) * 6


def test_surplus_is_stored_only_where_it_is_worth_more_than_sold(planner: Planner) -> None:
    """Surplus first, load later: selling at 10 and buying at 20 loses; selling at 10 and buying at 8 wins."""
    gap = (-0.1,) * 6 + (0.1,) * 6
    keep = offer(planner, HOME, horizon(gap), limits((DEAR,) * 12, (CHEAP,) * 12))
    assert keep.volume_wh == (0,) * 6
    sell = offer(planner, HOME, horizon(gap), limits((CHEAP,) * 6 + (8.0,) * 6, (CHEAP,) * 12))
    assert sell.volume_wh == (-100,) * 6
    assert sell.limit_millicent_per_kwh == (10_000,) * 6


def test_errata_1_stored_energy_stays_in_the_market_range(planner: Planner) -> None:
    plan = offer(planner, HOME, horizon((0.4,) * 12), limits(TWO_PRICES, (5.0,) * 12))
    assert max(plan.energy_kwh) == pytest.approx(3.3)
    assert plan.energy_kwh[5] == pytest.approx(3.3)
    assert min(plan.energy_kwh) >= 0.6


def test_errata_2_cycle_budgets_bind(planner: Planner) -> None:
    day = horizon((0.4,) * 12, charge_budget_kwh=0.25)
    plan = offer(planner, HOME, day, limits(TWO_PRICES, (5.0,) * 12))
    assert sum(max(0.0, -s) for s in plan.battery_kwh) == pytest.approx(0.25)
    day = horizon((0.4,) * 12, discharge_budget_kwh=0.15)
    plan = offer(planner, HOME, day, limits(TWO_PRICES, (5.0,) * 12))
    assert sum(max(0.0, s) for s in plan.battery_kwh) == pytest.approx(0.15)


def test_errata_2_end_target_is_met_when_it_can_be_and_soft_when_it_cannot(planner: Planner) -> None:
    reachable = offer(planner, HOME, horizon((0.1,) * 12, e0_kwh=1.0), FLAT_LIMITS)
    assert reachable.energy_kwh[-1] == pytest.approx(1.8)
    no_budget = offer(planner, HOME, horizon((0.1,) * 12, e0_kwh=1.0, charge_budget_kwh=0.3), FLAT_LIMITS)
    assert no_budget.energy_kwh[-1] == pytest.approx(1.3)


def test_errata_3_grid_energy_is_never_sold(planner: Planner) -> None:
    """Later sales earn 30 and the first purchases cost 5, but only a slot's surplus may be sold."""
    gap = (0.0,) * 6 + (-0.05,) * 6
    plan = offer(planner, HOME, horizon(gap), limits((5.0,) * 6 + (40.0,) * 6, (5.0,) * 6 + (30.0,) * 6))
    grid = [g - s for g, s in zip(gap, plan.battery_kwh, strict=True)]
    assert all(x >= min(0.0, g) - 1e-9 for x, g in zip(grid, gap, strict=True))
    assert plan.battery_kwh == pytest.approx((0.0,) * 12)


def test_errata_3_a_sold_surplus_is_not_replaced_from_the_battery(planner: Planner) -> None:
    """The whole surplus is sold; the battery must not be emptied into the feed-in tariff on top of it."""
    day = horizon((-0.1,) * 6 + (0.0,) * 6, e0_kwh=3.0, e_end_kwh=0.6)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (-100,) * 6, RESERVE)
    assert plan.grid_energy_wh == (-100,) * 6


def test_errata_3_bought_energy_is_not_planned_to_be_resold(planner: Planner) -> None:
    """Feed-in 12 now and a bid of 8 later would pay for giving the purchase back; it is stored instead."""
    day = horizon((0.0,) * 12, e_end_kwh=2.4)
    market = limits((8.0,) * 12, (5.0,) * 12)
    plan = commit(planner, HOME, day, tariffs((15.0,) * 12, 12.0), market, (100,) * 6, RESERVE)
    assert plan.grid_energy_wh == (100,) * 6
    assert plan.energy_kwh[5] == pytest.approx(2.4)


def test_errata_4_no_buying_and_selling_at_once(planner: Planner) -> None:
    """Ask above bid less rebate: a programme without the rule would earn by trading with itself."""
    gap = (-0.2,) * 12
    plan = offer(planner, HOME, horizon(gap, charge_budget_kwh=0.0), limits((12.0,) * 12, (11.0,) * 12, 4.0))
    assert plan.volume_wh == (-200,) * 6
    assert plan.limit_millicent_per_kwh == (11_000,) * 6


def test_errata_5_rebate_moves_the_plan_but_not_the_limit(planner: Planner) -> None:
    """Bids are equal all day; the rebate makes the second hour cheaper, so charging moves there."""
    day = horizon((0.0,) * 18, e0_kwh=0.6, e_end_kwh=1.6)
    rebate = (0.0,) * 6 + (2.0,) * 6 + (0.0,) * 6
    plan = offer(planner, HOME, day, limits((15.0,) * 18, (10.0,) * 18, rebate))
    assert plan.volume_wh == (0,) * 6
    assert plan.energy_kwh[11] == pytest.approx(1.6)
    day = horizon((0.0,) * 12, e0_kwh=0.6, e_end_kwh=1.6)
    plan = offer(planner, HOME, day, limits((15.0,) * 12, (10.0,) * 12, (2.0,) * 6 + (0.0,) * 6))
    assert sum(plan.volume_wh) == pytest.approx(1000, abs=6)
    assert plan.limit_millicent_per_kwh == (15_000,) * 6


def test_errata_6_after_clearing_the_hour_costs_the_tariff_and_later_slots_the_market(
    planner: Planner,
) -> None:
    """The home must refill 1 kWh: at the market's 12 later, not at the supplier's 15 now, nor at 20 later."""
    day = horizon((0.0,) * 12, e0_kwh=0.8, e_end_kwh=1.8)
    market = limits((12.0,) * 12, (10.0,) * 12)
    plan = commit(planner, HOME, day, tariffs((15.0,) * 6 + (DEAR,) * 6), market, (0,) * 6, RESERVE)
    assert plan.grid_energy_wh == (0,) * 6
    dear_market = limits((18.0,) * 12, (10.0,) * 12)
    plan = commit(planner, HOME, day, tariffs((15.0,) * 6 + (DEAR,) * 6), dear_market, (0,) * 6, RESERVE)
    assert sum(plan.grid_energy_wh) == pytest.approx(1000, abs=3)


def test_errata_7_battery_and_contract_are_power_times_slot(planner: Planner) -> None:
    day = horizon((0.2,) * 12, e0_kwh=0.6, e_end_kwh=3.3)
    plan = offer(planner, replace(HOME, contract_kw=2.4), day, FLAT_LIMITS)
    assert max(-s for s in plan.battery_kwh) <= 0.4 - 0.2 + 1e-9
    plan = offer(planner, HOME, day, FLAT_LIMITS)
    assert max(-s for s in plan.battery_kwh) <= 0.5 + 1e-9
    assert plan.energy_kwh[-1] == pytest.approx(3.3)


def test_own_load_beyond_the_contract_is_still_planned(planner: Planner) -> None:
    day = horizon((2.0,) * 12, e0_kwh=0.6, e_end_kwh=0.6)
    assert offer(planner, HOME, day, FLAT_LIMITS).volume_wh == (2000,) * 6


def test_offers_are_rounded_towards_zero(planner: Planner) -> None:
    bought = offer(planner, NO_BATTERY, horizon((0.0109,) * 6), limits((15.0,) * 6, (10.0,) * 6))
    sold = offer(planner, NO_BATTERY, horizon((-0.0109,) * 6), limits((15.0,) * 6, (10.0,) * 6))
    assert bought.volume_wh == (10,) * 6
    assert sold.volume_wh == (-10,) * 6


def test_limits_never_give_away_a_fraction(planner: Planner) -> None:
    """Between two millicents the bid goes down and the ask goes up; a float that is meant whole stays."""
    odd = limits((15.00057,) * 6, (10.00042,) * 6)
    assert offer(planner, NO_BATTERY, horizon((0.1,) * 6), odd).limit_millicent_per_kwh == (15_000,) * 6
    assert offer(planner, NO_BATTERY, horizon((-0.1,) * 6), odd).limit_millicent_per_kwh == (10_001,) * 6
    whole = limits((12.345 * 0.9999999999,) * 6, (10.0,) * 6)
    assert offer(planner, NO_BATTERY, horizon((0.1,) * 6), whole).limit_millicent_per_kwh == (12_345,) * 6


def test_without_battery_the_plan_is_the_gap(planner: Planner) -> None:
    gap = (0.1, -0.2, 0.3, 0.0, -0.05, 0.0614)
    day = horizon(gap)
    plan = commit(planner, NO_BATTERY, day, tariffs((15.0,) * 6), limits((15.0,) * 6, (9.0,) * 6),
                  (50, -200, 0, 0, 0, 0), RESERVE)  # fmt: skip
    assert plan.grid_energy_wh == (100, -200, 300, 0, -50, 61)
    assert plan.battery_kwh == (0.0,) * 6
    assert plan.flexibility_up_w == (180,) * 6
    assert plan.flexibility_down_w == (180,) * 6


def test_cleared_purchase_the_full_battery_cannot_take_is_given_back(planner: Planner) -> None:
    """Real time filled the battery since the offer: 0.3 kWh was bought and there is no room for it."""
    day = horizon((0.0,) * 12, e0_kwh=3.3, e_end_kwh=3.3)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (300, 0, 0, 0, 0, 0), RESERVE)
    assert plan.grid_energy_wh == (0,) * 6
    assert max(plan.energy_kwh) <= 3.3


def test_cleared_sale_that_is_not_there_any_more_is_bought(planner: Planner) -> None:
    """The home sold 200 Wh; production fell out and the battery is empty: the supplier delivers."""
    day = horizon((0.05,) * 12, e0_kwh=0.6, e_end_kwh=0.6)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (-200,) * 6, RESERVE)
    assert min(plan.energy_kwh) >= 0.6
    assert sum(plan.grid_energy_wh) == pytest.approx(300, abs=3)


def test_a_cycle_that_is_all_but_used_is_no_obstacle(planner: Planner) -> None:
    """Above the range with a nanowatt-hour of budget left: found by a property test as 'infeasible'."""
    day = horizon((0.0,) * 5 + (0.1,), e0_kwh=4.0, e_end_kwh=1.0, discharge_budget_kwh=1e-9)
    plan = offer(planner, HOME, day, limits((0.0,) * 6, (0.0,) * 6))
    assert plan.energy_kwh == pytest.approx((4.0,) * 6, abs=2e-6)


@pytest.mark.parametrize("e0_kwh", [5.4, 3.3 + 1e-12, 0.6 - 1e-12, 0.0])
def test_a_battery_outside_the_market_range_is_brought_back(planner: Planner, e0_kwh: float) -> None:
    day = horizon((0.4,) * 12, e0_kwh=e0_kwh)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, RESERVE)
    assert all(0.6 - 1e-9 <= e <= 3.3 + 1e-9 for e in plan.energy_kwh[6:])
    surplus = horizon((-0.4,) * 12, e0_kwh=e0_kwh)
    plan = commit(planner, HOME, surplus, FLAT_TARIFFS, FLAT_LIMITS, (-400,) * 6, RESERVE)
    assert max(plan.energy_kwh) <= max(e0_kwh, 3.3)


def test_flexibility_is_bounded_by_allotment_range_load_and_contract(planner: Planner) -> None:
    """Idle at 1.8 kWh: up 0.05 + 0.03 kWh, down 0.02 + 0.03 kWh a slot, cut by the contract."""
    day = horizon((0.1,) * 12)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, RESERVE)
    assert plan.grid_energy_wh == (100,) * 6
    assert plan.flexibility_up_w == (480,) * 6
    assert plan.flexibility_down_w == (300,) * 6
    tight = commit(planner, replace(HOME, contract_kw=0.9), day, FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, RESERVE)
    assert tight.flexibility_up_w == (300,) * 6
    empty = replace(RESERVE, flexible_kwh=0.01)
    low = commit(planner, HOME, horizon((0.1,) * 12, e0_kwh=0.61, e_end_kwh=0.61), FLAT_TARIFFS,
                 FLAT_LIMITS, (0,) * 6, empty)  # fmt: skip
    assert low.flexibility_down_w == (120,) * 6


def test_flexibility_counts_from_the_start_of_each_slot(planner: Planner) -> None:
    """0.1 kWh leaves the battery per dear slot; the last, from 0.7 to 0.6 kWh, has nothing more to give."""
    day = horizon((0.1,) * 12, e0_kwh=1.2, e_end_kwh=0.6)
    plan = commit(
        planner, HOME, day, tariffs((DEAR,) * 12), limits((CHEAP,) * 12, (5.0,) * 12), (0,) * 6, RESERVE
    )
    assert plan.grid_energy_wh == (0,) * 6
    assert plan.flexibility_down_w == (300,) * 5 + (180,)


def test_own_bill_arbitrates_between_tariffs(planner: Planner) -> None:
    day = horizon((0.1,) * 12)
    plan = own_bill(planner, HOME, day, tariffs(TWO_PRICES, 5.0))
    assert plan.battery_kwh[6:] == pytest.approx((0.1,) * 6)
    assert plan == without_market(
        planner, HOME, day, tariffs(TWO_PRICES, 5.0),
        RealtimeReserve(charge_kwh=(0.0,) * 6, discharge_kwh=(0.0,) * 6, flexible_kwh=0.5),
    )  # fmt: skip


def test_own_bill_leaves_the_battery_alone_at_one_price(planner: Planner) -> None:
    """The tie-break on throughput: nothing is gained by moving energy, so none is moved."""
    assert own_bill(planner, HOME, horizon((0.1,) * 12), FLAT_TARIFFS).battery_kwh == (0.0,) * 12


def test_own_bill_plans_the_last_slots_of_a_day(planner: Planner) -> None:
    plan = own_bill(planner, HOME, horizon((0.1, 0.1)), tariffs((15.0, 15.0)))
    assert plan.grid_energy_wh == (100, 100)
    assert len(plan.flexibility_up_w) == 2


def test_same_input_same_bits_whatever_came_before(planner: Planner) -> None:
    day = horizon((0.1,) * 6 + (-0.3,) * 3 + (0.2,) * 3)
    offer(planner, HOME, horizon((0.3,) * 12, e0_kwh=1.0), FLAT_LIMITS)
    first = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (50,) * 6, RESERVE)
    assert first == commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (50,) * 6, RESERVE)
    assert first == commit(Planner(), HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (50,) * 6, RESERVE)


def test_inputs_that_do_not_fit_are_refused(planner: Planner) -> None:
    with pytest.raises(InvalidHome, match="market hour"):
        offer(planner, HOME, horizon((0.1,) * 5), limits((15.0,) * 5, (9.0,) * 5))
    with pytest.raises(InvalidPrices, match="cover"):
        offer(planner, HOME, horizon((0.1,) * 7), limits((15.0,) * 6, (9.0,) * 6))
    with pytest.raises(InvalidHome, match="cleared"):
        commit(planner, HOME, horizon((0.1,) * 12), FLAT_TARIFFS, FLAT_LIMITS, (0,) * 5, RESERVE)
    short = replace(RESERVE, charge_kwh=())
    with pytest.raises(InvalidHome, match="reserve"):
        commit(planner, HOME, horizon((0.1,) * 12), FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, short)
    with pytest.raises(InvalidPrices, match="exceeds"):
        tariffs((15.0,) * 6, feed_in=15.1)
    with pytest.raises(InvalidHome, match="finite"):
        horizon((float("inf"),) * 6)
    with pytest.raises(InvalidHome, match="nested"):
        replace(BATTERY, e_market_high_kwh=5.5)
    with pytest.raises(InvalidHome, match="curvature"):
        replace(HOME, curvature_c_per_kwh2=0.0)


def test_a_solver_without_optimum_is_a_typed_error(planner: Planner) -> None:
    """Absurd magnitudes leave the solver without an answer; the home says so instead of inventing a plan."""
    day = Horizon(load_kwh=(1e25,) * 6, pv_kwh=(0.0,) * 6, e0_kwh=1.8, e_end_kwh=1.8,
                  charge_budget_kwh=1.0, discharge_budget_kwh=1.0)  # fmt: skip
    with pytest.raises(PlanFailed) as caught:
        offer(planner, HOME, day, limits((15.0,) * 6, (9.0,) * 6))
    assert caught.value.slots == 6
