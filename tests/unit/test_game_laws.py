"""The laws against homes that answer with their exact best response, and against the exact equilibrium."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from dso_engine.game import (
    CAP_MILLICENT,
    TOLERANCE_KW,
    FlowBounds,
    Law,
    Measured,
    Mode,
    PriceState,
    prior_slope_kw_per_c,
    project,
)
from dso_engine.model import FloatArray
from dso_engine.secant import SecantLaw
from dso_engine.thesis_law import ThesisLaw

A = A_R = 5.0
CURVE = 2.0 * (A + A_R)
P_U, P_F = 15.0, 10.0
HOMES, PCCS, SEEDS, STEPS = 50, 6, 100, 60
PER_HOUR = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """Homes of one PCC: the closed form of mechanisms.md 4, vectorised; energies in kWh per slot."""

    x_m: FloatArray
    c0: FloatArray
    lo: FloatArray
    hi: FloatArray
    silent: FloatArray
    """1 where a home keeps its answer to u = 0."""

    def flow_kw(self, u_c: float) -> float:
        x = self._best(u_c) * (1.0 - self.silent) + self._best(0.0) * self.silent
        return float(x.sum()) * PER_HOUR

    def _best(self, u_c: float) -> FloatArray:
        wanted = np.clip(self.x_m, (self.c0 - P_U - u_c) / CURVE, (self.c0 - P_F - u_c) / CURVE)
        return np.clip(wanted, self.lo, self.hi)

    @property
    def slope(self) -> float:
        return prior_slope_kw_per_c(len(self.x_m), A, A_R)


def neighbourhood(
    seed: int, *, b: float = 12.5, silent: float = 0.0
) -> tuple[list[Homes], np.random.Generator]:
    """Fifty homes on six PCCs; 60 % with a battery, half with trades; b is what stored energy is worth."""
    rng = np.random.default_rng(seed)
    gap = rng.uniform(-0.5, 0.1, HOMES)
    error = rng.normal(0.0, 0.05, HOMES)
    battery = rng.random(HOMES) < 0.6
    x_hat = gap - np.where(battery, rng.uniform(-0.2, 0.1, HOMES), 0.0)
    s_lo = np.where(battery, rng.uniform(-0.5, -0.25, HOMES), -0.03)
    s_hi = np.where(battery, rng.uniform(0.05, 0.3, HOMES), 0.03)
    x_m = np.where(rng.random(HOMES) < 0.5, x_hat * rng.uniform(0.0, 1.0, HOMES), 0.0)
    c0 = 2.0 * A * (x_hat + error) + 2.0 * A_R * x_hat + b
    quiet = (rng.random(HOMES) < silent).astype(np.float64)
    pcc = rng.permutation(np.arange(HOMES) % PCCS)
    real = gap + error
    split = [
        Homes(x_m=x_m[i], c0=c0[i], lo=(real - s_hi)[i], hi=(real - s_lo)[i], silent=quiet[i])
        for i in (np.flatnonzero(pcc == p) for p in range(PCCS))
    ]
    return split, rng


def reachable_bound(homes: Homes, direction: int, depth: float) -> FlowBounds:
    """A bound at `depth` of what the price can move; direction -1 needs a negative price."""
    free_kw, far_kw = homes.flow_kw(0.0), homes.flow_kw(60.0 * direction)
    c_kw = free_kw + depth * (far_kw - free_kw)
    return FlowBounds(c_lo_kw=c_kw) if direction < 0 else FlowBounds(c_hi_kw=c_kw)


def exact_flow_kw(homes: Homes, bounds: FlowBounds) -> float:
    """The flow of the equilibrium by bisection of the price to 1e-9 c/kWh."""
    free_kw = homes.flow_kw(0.0)
    violation = bounds.violation_kw(free_kw)
    if violation == 0.0:
        return free_kw
    lo, hi = (-60.0, 0.0) if violation < 0.0 else (0.0, 60.0)
    c_kw = bounds.c_lo_kw if violation < 0.0 else bounds.c_hi_kw
    while hi - lo > 1e-9:
        mid = (lo + hi) / 2.0
        lo, hi = (mid, hi) if homes.flow_kw(mid) > c_kw else (lo, mid)
    return homes.flow_kw((lo + hi) / 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    state: PriceState
    first_rest: int
    """Measurements until the law first left the approach; STEPS + 1 if it never did."""
    end_kw: float
    """True flow under the last price."""
    violation_kw: float
    prices: tuple[int, ...]


def play(
    law: Law, homes: Homes, bounds: FlowBounds, *, noise: float = 0.0, rng: np.random.Generator | None = None
) -> Run:
    state = law.start(slope_kw_per_c=homes.slope)
    first, prices = STEPS + 1, [state.u_millicent]
    for k in range(STEPS):
        flow_kw = homes.flow_kw(state.u_c_per_kwh)
        seen_kw = flow_kw * (1.0 + noise * rng.normal()) if rng is not None else flow_kw
        state = law.step(state, Measured(flow_kw=seen_kw, bounds=bounds))
        prices.append(state.u_millicent)
        if first > STEPS and state.mode is not Mode.APPROACH:
            first = k + 1
    end_kw = homes.flow_kw(state.u_c_per_kwh)
    violation = abs(bounds.violation_kw(end_kw))
    return Run(state=state, first_rest=first, end_kw=end_kw, violation_kw=violation, prices=tuple(prices))


CASES = [(-1, 0.0), (-1, 12.5), (1, 12.5)]


@pytest.mark.parametrize(("direction", "b"), CASES)
def test_secant_reaches_the_exact_equilibrium(direction: int, b: float) -> None:
    slots: list[int] = []
    for seed in range(SEEDS):
        split, rng = neighbourhood(seed, b=b)
        steps = []
        for homes in split:
            bounds = reachable_bound(homes, direction, rng.uniform(0.1, 0.9))
            run = play(SecantLaw(), homes, bounds)
            assert run.state.mode is Mode.HOLD
            assert run.violation_kw == 0.0, "ends on the safe side"
            assert abs(run.end_kw - exact_flow_kw(homes, bounds)) <= TOLERANCE_KW + 1e-6
            assert run.state.u_millicent * direction >= 0
            steps.append(run.first_rest)
        slots.append(max(steps))
    assert np.mean(slots) <= 10.0
    assert max(slots) <= 15


def test_secant_with_silent_homes() -> None:
    slots = []
    for seed in range(SEEDS):
        split, rng = neighbourhood(seed, silent=0.1)
        runs = [play(SecantLaw(), h, reachable_bound(h, -1, rng.uniform(0.1, 0.9))) for h in split]
        assert all(r.violation_kw == 0.0 and r.state.mode is Mode.HOLD for r in runs)
        slots.append(max(r.first_rest for r in runs))
    assert np.mean(slots) <= 10.0
    assert max(slots) <= 15


@pytest.mark.parametrize("told", [0.0, 0.02])
def test_secant_with_noise_ends_near_the_bound(told: float) -> None:
    residual, slots = [], []
    for seed in range(SEEDS):
        split, rng = neighbourhood(seed)
        steps = []
        for homes in split:
            bounds = reachable_bound(homes, -1, rng.uniform(0.1, 0.9))
            run = play(SecantLaw(noise_fraction=told), homes, bounds, noise=0.02, rng=rng)
            residual.append(run.violation_kw)
            steps.append(run.first_rest)
            assert abs(run.end_kw - exact_flow_kw(homes, bounds)) <= 3.0 * TOLERANCE_KW
        slots.append(max(steps))
    assert np.mean(residual) <= 0.05
    assert np.percentile(residual, 95) <= TOLERANCE_KW
    assert np.mean(slots) <= 10.0
    assert max(slots) <= 15


def two_bounds(homes: Homes) -> FlowBounds:
    free_kw = homes.flow_kw(0.0)
    return FlowBounds(c_lo_kw=free_kw - 0.01, c_hi_kw=free_kw + 5.0)


@pytest.mark.parametrize("law", [SecantLaw(), ThesisLaw()])
def test_inactive_bounds_leave_the_price_at_zero(law: Law) -> None:
    for homes in neighbourhood(3)[0]:
        run = play(law, homes, two_bounds(homes))
        assert set(run.prices) == {0}
        assert run.first_rest == 1
        assert run.state.approach_steps == 0


@pytest.mark.parametrize("direction", [-1, 1])
def test_infeasible_bound_saturates_and_does_not_wind_up(direction: int) -> None:
    homes = neighbourhood(1)[0][0]
    law = SecantLaw()
    best_kw = homes.flow_kw(60.0 * direction)
    bounds = FlowBounds(c_lo_kw=best_kw + 3.0) if direction < 0 else FlowBounds(c_hi_kw=best_kw - 3.0)
    run = play(law, homes, bounds)
    assert run.state.saturated
    assert run.first_rest <= 8
    assert abs(run.violation_kw - 3.0) <= 0.1, "everything the homes can do is used"
    assert abs(run.state.u_millicent) < CAP_MILLICENT, "the price is not pushed where it buys nothing"
    # The next slot is harmless: reset, and the price is zero from the first step on.
    calm = play(law, homes, FlowBounds(c_lo_kw=homes.flow_kw(0.0) - 1.0))
    assert set(calm.prices) == {0}
    # In the same slot the bound becomes reachable (curtailment moved it): the law comes back without delay.
    state, easier = run.state, reachable_bound(homes, direction, 0.5)
    for _ in range(13):
        state = law.step(state, Measured(flow_kw=homes.flow_kw(state.u_c_per_kwh), bounds=easier))
        if state.mode is Mode.HOLD:
            break
    assert state.mode is Mode.HOLD
    assert abs(easier.violation_kw(homes.flow_kw(state.u_c_per_kwh))) <= TOLERANCE_KW


def test_moved_bound_keeps_what_is_known() -> None:
    """Feedback tightens the bound in the middle of the search: fewer steps than from the start."""
    saved = []
    for seed in range(30):
        homes = neighbourhood(seed)[0][0]
        law = SecantLaw()
        first, second = reachable_bound(homes, -1, 0.45), reachable_bound(homes, -1, 0.5)
        state: PriceState = law.start(slope_kw_per_c=homes.slope)
        for _ in range(15):
            state = law.step(state, Measured(flow_kw=homes.flow_kw(state.u_c_per_kwh), bounds=first))
        moved = 0
        while True:
            state = law.step(state, Measured(flow_kw=homes.flow_kw(state.u_c_per_kwh), bounds=second))
            moved += 1
            if second.violation_kw(homes.flow_kw(state.u_c_per_kwh)) == 0.0 or moved > 20:
                break
        saved.append(play(law, homes, second).first_rest - moved)
    assert np.mean(saved) > 0.0
    assert min(saved) >= -3


def test_bound_that_vanishes_takes_the_price_to_zero_at_once() -> None:
    homes = neighbourhood(0)[0][0]
    law = SecantLaw()
    state = play(law, homes, reachable_bound(homes, -1, 0.6)).state
    assert state.u_millicent < 0
    state = law.step(state, Measured(flow_kw=homes.flow_kw(state.u_c_per_kwh), bounds=FlowBounds()))
    assert state.u_millicent == 0
    state = law.step(state, Measured(flow_kw=homes.flow_kw(0.0), bounds=FlowBounds()))
    assert (state.u_millicent, state.mode) == (0, Mode.HOLD)


def test_hold_counts_and_changes_nothing() -> None:
    homes = neighbourhood(5)[0][2]
    run = play(SecantLaw(), homes, reachable_bound(homes, -1, 0.4))
    assert run.state.steps == STEPS
    assert run.state.approach_steps == run.first_rest - 1
    late = run.prices[run.first_rest + 5 :]
    assert len(set(late)) == 1, "the price rests, nothing is published"


def test_hold_follows_a_drift() -> None:
    """The uncontrolled flow drifts 0.05 kW a step: the integral keeps it within tolerance of the bound."""
    homes = neighbourhood(7)[0][1]
    law, bounds = SecantLaw(), reachable_bound(homes, -1, 0.4)
    state: PriceState = play(law, homes, bounds).state
    for k in range(40):
        flow_kw = homes.flow_kw(state.u_c_per_kwh) - 0.05 * min(k, 20)
        state = law.step(state, Measured(flow_kw=flow_kw, bounds=bounds))
    assert abs(bounds.violation_kw(homes.flow_kw(state.u_c_per_kwh) - 1.0)) == 0.0


@pytest.mark.parametrize(("law", "limit_kw"), [(SecantLaw(), 0.35), (ThesisLaw(), 1.0)])
def test_ten_second_loop_with_projection(law: Law, limit_kw: float) -> None:
    """Homes catch up inside the slot (6.23) with at most 3 kW of battery; the law sees the projected flow."""
    worst = []
    for seed in range(15):
        split, rng = neighbourhood(seed)
        for homes in split:
            bounds = reachable_bound(homes, -1, rng.uniform(0.1, 0.6))
            state: PriceState = law.start(slope_kw_per_c=homes.slope)
            done_kwh, dt_h = 0.0, 10.0 / 3600.0
            free_kw = homes.flow_kw(0.0)
            for k in range(STEPS):
                left_h = (STEPS - k) * dt_h
                target_kwh = homes.flow_kw(state.u_c_per_kwh) / PER_HOUR
                p_kw = float(np.clip((target_kwh - done_kwh) / left_h, free_kw - 24.0, free_kw + 24.0))
                seen = project(e_done_kwh=done_kwh, p_kw=p_kw, remaining_h=left_h)
                state = law.step(state, Measured(flow_kw=seen, bounds=bounds))
                done_kwh += p_kw * dt_h
            worst.append(abs(bounds.violation_kw(done_kwh * PER_HOUR)))
    assert max(worst) <= limit_kw


def test_thesis_law_converges_to_the_equilibrium_within_a_slot() -> None:
    slots = []
    for seed in range(20):
        split, rng = neighbourhood(seed)
        for direction in (-1, 1):
            steps = []
            for homes in split:
                bounds = reachable_bound(homes, direction, rng.uniform(0.1, 0.9))
                run = play(ThesisLaw(), homes, bounds)
                assert run.state.mode is Mode.HOLD
                assert run.violation_kw == 0.0
                assert abs(run.end_kw - exact_flow_kw(homes, bounds)) <= 1.5 * TOLERANCE_KW + 1e-6
                steps.append(run.first_rest)
            slots.append(max(steps))
    assert max(slots) <= STEPS
    assert np.mean(slots) <= 40.0


def test_thesis_law_saturates_on_an_infeasible_bound() -> None:
    homes = neighbourhood(1)[0][0]
    law = ThesisLaw()
    run = play(law, homes, FlowBounds(c_lo_kw=homes.flow_kw(-60.0) + 3.0))
    assert run.state.saturated
    assert run.first_rest <= 55
    assert law.start(slope_kw_per_c=homes.slope).u_millicent == 0


def test_thesis_law_as_printed_ends_at_the_opposite_bound() -> None:
    """Errata 18: x0 = Proj_C(K (sigma - lambda)), K = I in c, one PCC in the mean per home."""
    homes = neighbourhood(0)[0][0]
    n = len(homes.c0)
    free = homes.flow_kw(0.0) / PER_HOUR / n
    far = homes.flow_kw(-60.0) / PER_HOUR / n
    c_lo, c_hi = free + 0.3 * (far - free), free + 0.6 * (far - free)

    def iterate(printed: bool) -> float:
        sigma, lam, eps, gamma = free, 0.0, 5.0, 1.0
        for _ in range(4000):
            a = homes.flow_kw(lam) / PER_HOUR / n
            x0 = min(max(sigma - lam if printed else sigma + gamma * lam, c_lo), c_hi)
            sigma_w = (sigma + eps * a) / (1.0 + eps)
            lam += eps * (2.0 * a - x0) - eps * sigma_w
            sigma = sigma_w
        return homes.flow_kw(lam) / PER_HOUR / n

    assert iterate(printed=False) == pytest.approx(c_lo, abs=1e-6)
    assert iterate(printed=True) == pytest.approx(c_hi, abs=1e-6)


def test_homes_that_change_in_the_middle_of_a_search() -> None:
    """A cloud: 2 kW less export after three steps, back after ten. The bracket is stale both times."""
    for seed in range(30):
        homes = neighbourhood(seed)[0][0]
        law, bounds = SecantLaw(), reachable_bound(homes, -1, 0.5)
        state: PriceState = law.start(slope_kw_per_c=homes.slope)
        for k in range(30):
            shift_kw = 2.0 if 3 <= k < 10 else 0.0
            state = law.step(
                state, Measured(flow_kw=homes.flow_kw(state.u_c_per_kwh) + shift_kw, bounds=bounds)
            )
        assert state.mode is Mode.HOLD
        assert bounds.violation_kw(homes.flow_kw(state.u_c_per_kwh)) == 0.0
