"""Demand charge in the plan, customers' preferences, noisy forecasts and kinds of tariffs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from config.settings import Tariff, load_neighbourhood
from feederloop.simulation.homes import forecaster_of, parameters_of, price_sheet
from feederloop.simulation.scenario import ScenarioOptions, load_scenario
from tests.unit.test_hems_plan import (
    BATTERY,
    CHEAP,
    DEAR,
    FLAT_LIMITS,
    FLAT_TARIFFS,
    HOME,
    RESERVE,
    TWO_PRICES,
    horizon,
    limits,
    tariffs,
)
from tests.unit.test_hems_respond import STATE
from ven_client.forecast import Known, Persistence, Profile
from ven_client.hems.model import FlexibleLoad, Horizon, InvalidHome, PeakCharge
from ven_client.hems.plan import commit, offer, without_market
from ven_client.hems.preferences import Preferences, preferred
from ven_client.hems.program import Planner
from ven_client.hems.respond import respond
from ven_client.instructions import Change, Programme, ProgrammeKind, Step
from ven_client.noisy_forecast import Noisy, noise_factors
from ven_client.programmes import planned_peak
from ven_client.slots import SLOT

NOON = datetime(2018, 5, 16, 11, tzinfo=UTC)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner()


# --- demand charge -----------------------------------------------------------------------------------------


def peak(day: Horizon, c_per_kw: float, reached_kw: float = 0.0, last: int = 12) -> Horizon:
    holds = tuple(k < last for k in range(day.slots))
    return replace(day, peak=PeakCharge(c_per_kw=c_per_kw, reached_kw=reached_kw, holds=holds))


SPIKE = (0.1,) * 4 + (0.5,) + (0.1,) * 7
"""One slot of 3 kW among slots of 0.6 kW."""


def imports(day: Horizon, battery_kwh: tuple[float, ...]) -> list[float]:
    """Mean import per slot, kW."""
    return [6 * (d - p - s) for d, p, s in zip(day.load_kwh, day.pv_kwh, battery_kwh, strict=True)]


def test_a_demand_charge_shaves_the_peak_in_the_plan(planner: Planner) -> None:
    """Energy costs the same all day, so only the charge moves the battery: 1.6 kWh over 12 slots is flat."""
    day = horizon(SPIKE)
    flat = offer(planner, HOME, day, FLAT_LIMITS)
    assert flat.battery_kwh == pytest.approx((0.0,) * 12)
    shaved = offer(planner, HOME, peak(day, 100.0), FLAT_LIMITS)
    assert max(imports(day, shaved.battery_kwh)) == pytest.approx(6 * 1.6 / 12)
    assert shaved.energy_kwh[-1] == pytest.approx(1.8)


def test_what_was_reached_already_costs_nothing_more(planner: Planner) -> None:
    day = horizon(SPIKE)
    partly = offer(planner, HOME, peak(day, 100.0, reached_kw=1.8), FLAT_LIMITS)
    assert max(imports(day, partly.battery_kwh)) == pytest.approx(1.8)
    wholly = offer(planner, HOME, peak(day, 100.0, reached_kw=3.0), FLAT_LIMITS)
    assert wholly.battery_kwh == pytest.approx((0.0,) * 12)


def test_a_charge_counts_only_where_it_holds(planner: Planner) -> None:
    day = horizon(SPIKE)
    before = offer(planner, HOME, peak(day, 100.0, reached_kw=0.6, last=4), FLAT_LIMITS)
    assert max(imports(day, before.battery_kwh)) == pytest.approx(3.0)


def test_a_charge_is_weighed_against_the_price_of_energy(planner: Planner) -> None:
    """Energy at 10 instead of 20 saves about 6 c and lifts the peak: worth it at 0.01 c/kW only."""
    day, market = horizon((0.1,) * 12), limits(TWO_PRICES, (5.0,) * 12)
    free = offer(planner, HOME, day, market)
    cheap = offer(planner, HOME, peak(day, 0.01, reached_kw=0.6), market)
    assert sum(cheap.battery_kwh[6:]) == pytest.approx(sum(free.battery_kwh[6:]))
    dear = offer(planner, HOME, peak(day, 100.0, reached_kw=0.6), market)
    assert max(imports(day, dear.battery_kwh)) == pytest.approx(0.6)


def test_a_charge_holds_for_commitments_and_purchases_are_kept(planner: Planner) -> None:
    """Of 1.6 kWh, 0.3 are bought for the first slot: kept, and the spike stays below them (1.8 kW)."""
    day = peak(horizon(SPIKE), 100.0)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (300, 0, 0, 0, 0, 0), RESERVE)
    assert plan.grid_energy_wh[0] == 300
    assert max(plan.grid_energy_wh) == 300
    alone = without_market(planner, HOME, day, FLAT_TARIFFS, RESERVE)
    assert max(alone.grid_energy_wh) == pytest.approx(133, abs=1)


def test_a_charge_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidHome, match="negative"):
        PeakCharge(c_per_kw=-1.0, reached_kw=0.0, holds=())
    with pytest.raises(InvalidHome, match="cover"):
        replace(horizon(SPIKE), peak=PeakCharge(c_per_kw=1.0, reached_kw=0.0, holds=(True,)))


def charge(value: int, first: int, last: int) -> Programme:
    step = Step(start=NOON + first * SLOT, end=NOON + last * SLOT, value=value)
    return Programme(kind=ProgrammeKind.PEAK, change=Change.SET, steps=(step,))


def test_programmes_become_a_charge_of_the_horizon() -> None:
    assert planned_peak((), NOON, 12, 1.0) is None
    found = planned_peak((charge(5_000, 2, 4), charge(2_000, 3, 5)), NOON, 6, 1.5)
    assert found == PeakCharge(c_per_kw=7.0, reached_kw=1.5, holds=(False, False, True, True, True, False))
    assert planned_peak((charge(5_000, 20, 30),), NOON, 6, 0.0) is None, "none holds in the horizon"


# --- preferences -------------------------------------------------------------------------------------------


def test_no_wishes_change_nothing() -> None:
    assert preferred(HOME, Preferences()) == HOME


def test_a_reserve_is_kept_by_plan_and_price(planner: Planner) -> None:
    home = preferred(HOME, Preferences(reserve_kwh=1.5))
    day = horizon((0.1,) * 12, e0_kwh=1.8, e_end_kwh=0.6)
    market = limits((DEAR,) * 6 + (CHEAP,) * 6, (5.0,) * 12)
    assert min(offer(planner, HOME, day, market).energy_kwh) == pytest.approx(0.6)
    assert min(offer(planner, home, day, market).energy_kwh) == pytest.approx(1.5)
    state = replace(STATE, e0_kwh=1.6)
    assert state.e0_kwh - respond(home, state, 40.0).battery_kwh == pytest.approx(1.5)
    assert state.e0_kwh - respond(HOME, state, 40.0).battery_kwh < 1.5
    assert preferred(HOME, Preferences(reserve_kwh=4.0)).battery == replace(
        BATTERY, e_low_kwh=4.0, e_market_low_kwh=4.0, e_market_high_kwh=4.0, e_start_kwh=4.0
    )
    with pytest.raises(InvalidHome, match="more than the battery"):
        preferred(HOME, Preferences(reserve_kwh=5.5))


def test_hours_without_discharge(planner: Planner) -> None:
    """The dear hour is barred: the plan does not discharge in it, though that is what the battery is for."""
    day = replace(horizon((0.1,) * 12), no_discharge=(False,) * 6 + (True,) * 6)
    plan = offer(planner, HOME, day, limits(TWO_PRICES, (5.0,) * 12))
    assert max(plan.battery_kwh[6:]) <= 1e-9
    state = replace(STATE, s_hat_kwh=0.0, may_discharge=False)
    assert respond(HOME, state, 40.0).battery_kwh == 0.0
    assert respond(HOME, state, -40.0).battery_kwh < -0.1, "charging is not barred"
    assert respond(HOME, replace(state, may_discharge=True), 40.0).battery_kwh > 0.1
    above = replace(state, e0_kwh=5.6)
    assert respond(HOME, above, 0.0).battery_kwh == pytest.approx(0.2), "a battery above its range must"
    barred = replace(horizon((0.1,) * 12), no_discharge=(True,) * 12)
    said = commit(planner, HOME, barred, FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, RESERVE)
    assert said.flexibility_down_w == (180,) * 6, "the flexible load only"
    with pytest.raises(InvalidHome, match="cover"):
        replace(horizon(SPIKE), no_discharge=(True,))


def test_a_battery_above_the_range_waits_for_hours_in_which_it_may_discharge(planner: Planner) -> None:
    day = replace(horizon((0.4,) * 12, e0_kwh=4.0), no_discharge=(True,) * 6 + (False,) * 6)
    plan = commit(planner, HOME, day, FLAT_TARIFFS, FLAT_LIMITS, (0,) * 6, RESERVE)
    assert plan.energy_kwh[5] == pytest.approx(4.0)
    assert plan.energy_kwh[-1] <= 3.3 + 1e-6


def test_comfort_shifts_less() -> None:
    """Marginal 2 a w s = -0.2: 0.02 kWh at weight 1, 0.01 kWh at weight 2; the battery is as before."""
    home = replace(
        HOME, flexible=FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.03), reward_curvature_c_per_kwh2=0.0
    )
    fussy = preferred(home, Preferences(comfort_weight=2.0))
    assert respond(home, STATE, -15.2).flexible_kwh == pytest.approx(-0.02)
    assert respond(fussy, STATE, -15.2).flexible_kwh == pytest.approx(-0.01)
    assert respond(fussy, STATE, -15.2).battery_kwh == pytest.approx(respond(home, STATE, -15.2).battery_kwh)


@pytest.mark.parametrize("weight", [0.25, 1.0, 3.0])
def test_the_weighted_response_is_the_best_of_a_grid(weight: float) -> None:
    home = replace(
        HOME,
        flexible=FlexibleLoad(energy_kwh=1.0, slot_limit_kwh=0.1),
        linear_c_per_kwh=2.0,
        comfort_weight=weight,
    )
    b, load = np.meshgrid(np.linspace(-0.5, 0.5, 501), np.linspace(-0.1, 0.1, 201))

    def cost_c(s_b: np.ndarray, s_l: np.ndarray, u: float) -> np.ndarray:
        x, off = STATE.r_kwh - s_b - s_l, s_b - STATE.s_hat_kwh
        y = x - STATE.x_m_kwh
        bill = np.where(y >= 0, STATE.price_up_c_per_kwh * y, STATE.price_down_c_per_kwh * y)
        wear = 5.0 * off**2 + 2.0 * np.abs(off) + weight * (5.0 * s_l**2 + 2.0 * np.abs(s_l))
        return np.asarray(wear + bill + 5.0 * (x - STATE.x_hat_kwh) ** 2 + u * x)

    for u in (-30.0, -14.0, -5.0, 0.0, 12.0):
        mine = respond(home, STATE, u)
        found = cost_c(np.array(mine.battery_kwh), np.array(mine.flexible_kwh), u)
        assert float(found) <= float(cost_c(b, load, u).min()) + 1e-9


def test_wishes_out_of_range_are_refused() -> None:
    for weight in (0.0, float("nan")):
        with pytest.raises(InvalidHome, match="weight"):
            Preferences(comfort_weight=weight)
    with pytest.raises(InvalidHome, match="reserve"):
        Preferences(reserve_kwh=-1.0)
    with pytest.raises(InvalidHome, match="hours"):
        Preferences(no_discharge_hours=(24,))


def test_preferences_come_from_the_configuration() -> None:
    settings = load_neighbourhood()
    wishes = settings.preferences.model_copy(
        update={"comfort_weight": 2.0, "reserve_soc": 0.25, "no_discharge_hours": (0, 1)}
    )
    found = load_scenario(ScenarioOptions(), settings.model_copy(update={"preferences": wishes}))
    spec = next(home for home in found.homes if home.has_battery)
    home = parameters_of(found, spec)
    assert (home.comfort_weight, home.no_discharge_hours) == (2.0, (0, 1))
    assert home.battery is not None
    assert home.battery.e_low_kwh == pytest.approx(1.5)
    plain = parameters_of(load_scenario(ScenarioOptions()), spec)
    assert plain.battery is not None
    assert plain.battery.e_low_kwh == pytest.approx(0.6)


# --- forecasts ---------------------------------------------------------------------------------------------


def test_noise_depends_on_its_arguments_only() -> None:
    load = Profile(start=NOON - timedelta(days=1), step_s=600, kw=tuple(float(k % 7) for k in range(288)))
    perfect = Known(load=load, pv=load)
    noisy = Noisy(of=perfect, seed=3, sigma=0.1)
    assert noisy.load_kwh(NOON, NOON) == noisy.load_kwh(NOON, NOON - timedelta(hours=5))
    assert Noisy(of=perfect, seed=3, sigma=0.0).load_kwh(NOON, NOON) == perfect.load_kwh(NOON, NOON)
    assert noisy.load_kwh(NOON, NOON) != Noisy(of=perfect, seed=4, sigma=0.1).load_kwh(NOON, NOON)
    assert Noisy(of=Known(load=load, pv=None), seed=3, sigma=0.1).pv_kwh(NOON, NOON) == 0.0
    factors = np.array([noise_factors(3, NOON + k * SLOT, 0.1) for k in range(2000)])
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    assert factors.std() == pytest.approx(0.1, abs=0.01)
    assert min(noise_factors(5, NOON + k * SLOT, 3.0)[0] for k in range(50)) == 0.0


def test_the_market_forecast_is_chosen_in_the_configuration() -> None:
    settings = load_neighbourhood()
    assert settings.market.forecast == "persistence"
    scenario = load_scenario(ScenarioOptions())
    load = Profile(start=scenario.midnight, step_s=600, kw=(1.0,) * 144)
    found = forecaster_of(scenario, scenario.homes[0], load, None)
    assert found == Noisy(
        of=Persistence(load=load, pv=None),
        seed=scenario.homes[0].noise_seed,
        sigma=settings.market.forecast_noise,
    )
    exact = settings.market.model_copy(update={"forecast": "perfect", "forecast_noise": 0.0})
    knowing = load_scenario(ScenarioOptions(), settings.model_copy(update={"market": exact}))
    sure = forecaster_of(knowing, knowing.homes[0], load, None)
    assert sure == Noisy(of=Known(load=load, pv=None), seed=knowing.homes[0].noise_seed, sigma=0.0)


# --- tariffs -----------------------------------------------------------------------------------------------


def test_three_kinds_of_tariff_are_data() -> None:
    flat = Tariff(supplier=0.15, feed_in=0.1)
    assert {flat.supplier_at(hour) for hour in range(24)} == {0.15}
    use = Tariff(supplier=0.15, supplier_peak=0.2, peak_from_hour=17, peak_to_hour=23, feed_in=0.1)
    assert [use.supplier_at(hour) for hour in (16, 17, 22, 23)] == [0.15, 0.2, 0.2, 0.15]
    prices = tuple(0.1 + 0.01 * hour for hour in range(24))
    dynamic = Tariff(supplier=0.15, hourly=prices, feed_in=0.1)
    assert tuple(dynamic.supplier_at(hour) for hour in range(24)) == prices


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"supplier_peak": 0.2}, "a peak needs"),
        ({"supplier_peak": 0.2, "peak_from_hour": 9, "peak_to_hour": 8}, "end after"),
        ({"hourly": (0.2,) * 23}, "24"),
        ({"hourly": (0.2,) * 24, "supplier_peak": 0.2, "peak_from_hour": 8, "peak_to_hour": 9}, "not both"),
        ({"hourly": (0.09,) + (0.2,) * 23}, "feed-in"),
        ({"supplier": 0.05}, "feed-in"),
    ],
)
def test_a_tariff_that_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Tariff.model_validate({"supplier": 0.15, "feed_in": 0.1} | wrong)


def test_a_dynamic_tariff_reaches_the_homes() -> None:
    settings = load_neighbourhood()
    prices = tuple(0.12 + 0.005 * hour for hour in range(24))
    changed = settings.model_copy(update={"tariff": Tariff(supplier=0.15, hourly=prices, feed_in=0.1)})
    scenario = load_scenario(ScenarioOptions(), changed)
    sheet = price_sheet(scenario, scenario.homes[0])
    assert sheet.supplier_c_per_kwh[::6] == pytest.approx([100.0 * price for price in prices])
    assert tariffs(sheet.supplier_c_per_kwh)
