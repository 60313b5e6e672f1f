"""Properties of the laws over random homes, bounds and disturbances."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from dso_engine.game import CAP_MILLICENT, TOLERANCE_KW, Aim, FlowBounds, Law, Measured, Mode, PriceState
from dso_engine.model import Limits
from dso_engine.secant import SecantLaw, SecantState
from dso_engine.thesis_law import ThesisLaw
from dso_engine.trigger import Stress, TriggerState, advance

P_U, P_F, CURVE = 15.0, 10.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    x_hat: float
    x_m: float
    room_down: float
    room_up: float
    worth: float

    def answer_kw(self, u_c: float) -> float:
        c0 = CURVE * self.x_hat + self.worth
        x = min(max(self.x_m, (c0 - P_U - u_c) / CURVE), (c0 - P_F - u_c) / CURVE)
        return 6.0 * min(max(x, self.x_hat - self.room_down), self.x_hat + self.room_up)


homes = st.lists(
    st.builds(
        Home,
        x_hat=st.floats(-0.6, 0.3),
        x_m=st.floats(-0.6, 0.3),
        room_down=st.floats(0.0, 0.5),
        room_up=st.floats(0.0, 0.5),
        worth=st.floats(0.0, 20.0),
    ),
    min_size=1,
    max_size=12,
)
laws: st.SearchStrategy[Law] = st.sampled_from([SecantLaw(), SecantLaw(noise_fraction=0.02), ThesisLaw()])


def flow_kw(group: list[Home], u_c: float) -> float:
    return sum(h.answer_kw(u_c) for h in group)


@settings(max_examples=150, deadline=None)
@given(group=homes, centre=st.floats(-25.0, 15.0), width=st.floats(0.0, 20.0))
def test_secant_ends_at_the_equilibrium_or_says_it_cannot(
    group: list[Home], centre: float, width: float
) -> None:
    """Held within tolerance of the equilibrium, or flagged with all the price can buy already bought."""
    law, bounds = SecantLaw(), FlowBounds(c_lo_kw=centre - width / 2.0, c_hi_kw=centre + width / 2.0)
    state: PriceState = law.start(slope_kw_per_c=0.3 * len(group))
    settled = 0
    for k in range(60):
        state = law.step(state, Measured(flow_kw=flow_kw(group, state.u_c_per_kwh), bounds=bounds))
        if state.mode is Mode.APPROACH:
            settled = k + 1
    assert settled <= 25
    end_kw = flow_kw(group, state.u_c_per_kwh)
    violation = bounds.violation_kw(end_kw)
    if state.mode is Mode.HOLD:
        assert abs(violation) <= TOLERANCE_KW
        beyond = Aim(bounds=bounds, margin_kw=0.0).beyond_kw(state.u_millicent, end_kw)
        assert beyond <= TOLERANCE_KW
    else:
        assert state.mode is Mode.SATURATED
        most_kw = flow_kw(group, -60.0 if violation < 0.0 else 60.0)
        assert abs(violation) > 0.0
        assert abs(end_kw - most_kw) <= 0.1


@settings(max_examples=100, deadline=None)
@given(
    law=laws,
    slope=st.floats(0.0, 10.0),
    seen=st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-100.0, 100.0), st.floats(0.0, 50.0)),
        min_size=1,
        max_size=40,
    ),
)
def test_price_stays_on_the_grid_and_inside_the_cap(
    law: Law, slope: float, seen: list[tuple[float, float, float]]
) -> None:
    """Whatever is measured and however the bounds jump."""
    state = law.start(slope_kw_per_c=slope)
    for k, (flow, centre, width) in enumerate(seen):
        bounds = FlowBounds(c_lo_kw=centre - width, c_hi_kw=centre + width)
        state = law.step(state, Measured(flow_kw=flow, bounds=bounds))
        assert isinstance(state.u_millicent, int)
        assert abs(state.u_millicent) <= CAP_MILLICENT
        assert state.steps == k + 1
        assert state.approach_steps <= state.steps


@settings(max_examples=60, deadline=None)
@given(
    seen=st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-100.0, 100.0), st.floats(0.0, 50.0)),
        min_size=1,
        max_size=40,
    )
)
def test_bracket_is_ordered_whatever_is_measured(seen: list[tuple[float, float, float]]) -> None:
    law = SecantLaw()
    state: SecantState = law.start(slope_kw_per_c=1.0)
    for flow, centre, width in seen:
        bounds = FlowBounds(c_lo_kw=centre - width, c_hi_kw=centre + width)
        state = law.step(state, Measured(flow_kw=flow, bounds=bounds))
        if state.mode is Mode.APPROACH and state.low is not None and state.high is not None:
            assert state.low.u_millicent < state.u_millicent < state.high.u_millicent


@settings(max_examples=100, deadline=None)
@given(
    flows=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    prices=st.tuples(st.integers(-60_000, 60_000), st.integers(-60_000, 60_000)),
    lo=st.floats(-50, 20),
    width=st.floats(0.0, 30.0),
)
def test_gap_is_monotone(
    flows: tuple[float, float], prices: tuple[int, int], lo: float, width: float
) -> None:
    """Along any non-increasing A(u) the gap never rises with the price."""
    aim = Aim(bounds=FlowBounds(c_lo_kw=lo, c_hi_kw=lo + width), margin_kw=0.15)
    (u_low, u_high), (f_low, f_high) = sorted(prices), sorted(flows)
    if u_low != u_high:
        assert aim.gap_kw(u_low, f_high) >= aim.gap_kw(u_high, f_low)


@settings(max_examples=60, deadline=None)
@given(
    slots=st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 1.5), st.booleans()), min_size=3, max_size=30)
)
def test_release_needs_two_calm_slots(slots: list[tuple[float, float, bool]]) -> None:
    limits, state = Limits(), TriggerState.ARMED
    calm: list[bool] = []
    for v_dev, i_load, zero in slots:
        was = state.armed
        state = advance(state, (Stress(v_dev=v_dev, i_load=i_load),), price_was_zero=zero, limits=limits)
        calm.append(v_dev < limits.release_v and i_load < limits.release_i and zero)
        if v_dev >= limits.arm_v or i_load >= limits.arm_i:
            assert state.armed
        if was and not state.armed:
            assert calm[-2:] == [True, True]
