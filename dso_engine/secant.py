"""The recommended law: a safeguarded secant search on the broadcast price, per PCC (mechanisms.md 4.3).

It looks for the zero of `Aim.gap_kw`, a non-increasing function of the price, from measured aggregates only:

1. Bracket. Of the samples kept, the highest price whose gap is positive and the lowest whose gap is
   negative enclose the zero, for any homes with strongly convex costs. Signs are taken against the bounds
   of now, so a bound that moves re-sorts what is known instead of throwing it away. Where samples
   contradict each other the homes have changed (or noise was seen), and only the newest counts.
2. Step. The secant through the last two measurements; the chord of the bracket where that secant leaves the
   bracket; the middle at every fourth bracketed step, which bounds the worst case. Without a bracket the
   step grows at most `growth` times, so a flat stretch (homes on a kink of their tariff) is crossed in a
   few steps.
3. Kink. A step never crosses u = 0 without stopping there: headroom is not pursued with a price.
4. Hold. On the safe side of the bound and within the tolerance the price rests; else it moves by a share of
   the secant step (integral), which averages measurement noise. Where the homes have nothing left, the
   price goes back to where the flow stopped moving and rests there: a flow within tolerance is no reason to
   drive the price to its cap. A large gap starts the approach again, from this measurement and the known
   slope.
5. Saturated. At the cap, or where the flow has not moved over a stretch of price wider than any tariff
   kink, and the bound is still violated. The price then rests (no wind-up); where the flow was flat it goes
   back to the start of the stretch, which buys the same flow. It leaves this mode when the violation is
   gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import copysign, isfinite
from typing import Final

from dso_engine.game import (
    CAP_MILLICENT,
    MILLICENT_PER_CENT,
    TOLERANCE_KW,
    Aim,
    Measured,
    Mode,
    PriceState,
    to_grid,
)

_MIN_SLOPE: Final = 0.02
"""Smallest |dA/du| used in a step, kW per c/kWh: a step stays finite; the growth limit is what really
bounds it."""
_FLAT_KW: Final = 0.03
"""Changes of flow below this count as none, kW."""
_MIN_DU_MILLICENT: Final = 5
"""Changes of price below this give no slope, and a bracket this narrow holds no equilibrium any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A flow measured under a published price."""

    u_millicent: int
    flow_kw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SecantState(PriceState):
    """Memory of the search in one slot.

    Attributes:
        slope_kw_per_c: Magnitude of dA/du, from the last pair of measurements that showed one, else the
            prior.
        previous: The measurement before the newest.
        low: Sample at the highest price known to be too low.
        high: Sample at the lowest price known to be too high.
        bracketed_steps: Steps taken with both ends known.
        stretch: First sample of the present stretch of price along which the flow has not moved.
        stretch_steps: Steps along that stretch.
        resting: The hold has found that no price improves on a flow that is within tolerance.
    """

    slope_kw_per_c: float
    previous: Sample | None = None
    low: Sample | None = None
    high: Sample | None = None
    bracketed_steps: int = 0
    stretch: Sample | None = None
    stretch_steps: int = 0
    resting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SecantLaw:
    """Parameters of the secant law; implements `dso_engine.game.Law`.

    Attributes:
        tolerance_kw: Largest deviation from an active bound that ends the search, kW. The search aims half
            of it inside the bound, and the hold moves on to the safe side.
        noise_fraction: One sigma of the measured flow as a fraction of it.
        cap_millicent: Price cap, 1e-5 EUR/kWh.
        hold_gain: Share of the secant step taken while holding.
        growth: Largest ratio of two steps while no bracket is known.
        first_step_c: Largest first step, c/kWh.
        flat_span_c: Stretch of price without effect that means saturation, c/kWh. Must exceed the supplier's
            highest tariff: a home without reserve may sit still until the price has paid for its feed-in and
            its tariff.
        bisect_every: Bracketed steps between two bisections.
    """

    tolerance_kw: float = TOLERANCE_KW
    noise_fraction: float = 0.0
    cap_millicent: int = CAP_MILLICENT
    hold_gain: float = 0.5
    growth: float = 4.0
    first_step_c: float = 10.0
    flat_span_c: float = 25.0
    bisect_every: int = 4

    def start(self, *, slope_kw_per_c: float) -> SecantState:
        """See `dso_engine.game.Law.start`."""
        return SecantState(slope_kw_per_c=max(abs(slope_kw_per_c), _MIN_SLOPE))

    def step(self, state: PriceState, measured: Measured) -> SecantState:
        """See `dso_engine.game.Law.step`."""
        if not isinstance(state, SecantState):
            raise TypeError(f"state of another law: {type(state).__name__}")
        return _Step.of(self, state, measured).next_state()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One step: the law, the state with this measurement counted, the measurement against the aim."""

    law: SecantLaw
    state: SecantState
    aim: Aim
    now: Sample
    gap_kw: float
    noise_kw: float

    @classmethod
    def of(cls, law: SecantLaw, state: SecantState, measured: Measured) -> _Step:
        aim = Aim(bounds=measured.bounds, margin_kw=law.tolerance_kw / 2.0)
        now = Sample(u_millicent=state.u_millicent, flow_kw=measured.flow_kw)
        return cls(
            law=law,
            state=replace(state, steps=state.steps + 1),
            aim=aim,
            now=now,
            gap_kw=aim.gap_kw(now.u_millicent, now.flow_kw),
            noise_kw=law.noise_fraction * abs(now.flow_kw),
        )

    @property
    def violation_kw(self) -> float:
        return self.aim.bounds.violation_kw(self.now.flow_kw)

    @property
    def settled(self) -> bool:
        """Within tolerance of the equilibrium, on either side of the bound."""
        deviation = max(abs(self.violation_kw), self.aim.beyond_kw(self.now.u_millicent, self.now.flow_kw))
        return deviation <= self.law.tolerance_kw + self.noise_kw

    def next_state(self) -> SecantState:
        if self.state.mode is Mode.SATURATED:
            pushing = self.violation_kw * self.now.u_millicent >= 0.0
            if pushing and abs(self.violation_kw) > self.law.tolerance_kw:
                return self.state
            return self._restarted().next_state()
        if self.state.mode is Mode.HOLD:
            far_kw = 4.0 * self.law.tolerance_kw + 3.0 * self.noise_kw
            return self._restarted().next_state() if abs(self.gap_kw) > far_kw else self._hold()
        if self.settled:
            return self._hold()
        return self._approach()

    def _restarted(self) -> _Step:
        """The same measurement at the beginning of a search; only the slope is kept."""
        fresh = replace(
            self.state,
            mode=Mode.APPROACH,
            previous=None,
            low=None,
            high=None,
            bracketed_steps=0,
            stretch=None,
            stretch_steps=0,
            resting=False,
        )
        return replace(self, state=fresh)

    # -- hold

    def _hold(self) -> SecantState:
        stretch, stretch_steps = self._stretch()
        held = replace(
            self.state,
            mode=Mode.HOLD,
            slope_kw_per_c=self._slope(),
            previous=self.now,
            stretch=stretch,
            stretch_steps=stretch_steps,
            resting=self.state.resting and self.settled,
        )
        if held.resting:
            return held
        over_kw = self.aim.beyond_kw(self.now.u_millicent, self.now.flow_kw)
        if self.violation_kw == 0.0 and over_kw <= self.law.tolerance_kw + 2.0 * self.noise_kw:
            return held
        span_c = abs(self.now.u_millicent - stretch.u_millicent) / MILLICENT_PER_CENT
        if stretch_steps >= 2 and span_c >= self.law.flat_span_c:
            back = replace(held, u_millicent=stretch.u_millicent)
            return replace(back, resting=True) if self.settled else replace(back, mode=Mode.SATURATED)
        change_c = self.law.hold_gain * self.gap_kw / held.slope_kw_per_c
        most_c = self.law.first_step_c / 4.0
        before = self.state.previous
        if before is not None and abs(self.now.flow_kw - before.flow_kw) <= _FLAT_KW:
            # The last move bought nothing (homes on a kink): twice as far.
            last_c = abs(self.now.u_millicent - before.u_millicent) / MILLICENT_PER_CENT
            change_c = copysign(max(2.0 * last_c, abs(change_c)), change_c)
        target = self.now.u_millicent / MILLICENT_PER_CENT + min(max(change_c, -most_c), most_c)
        u = self._not_across_zero(to_grid(target, self.law.cap_millicent))
        if u == self.now.u_millicent and abs(u) == self.law.cap_millicent and not self.settled:
            return replace(held, mode=Mode.SATURATED)
        return replace(held, u_millicent=u)

    # -- approach

    def _approach(self) -> SecantState:
        low, high = self._bracket()
        stretch, stretch_steps = self._stretch()
        state = replace(
            self.state,
            approach_steps=self.state.approach_steps + 1,
            slope_kw_per_c=self._slope(),
            previous=self.now,
            low=low,
            high=high,
            stretch=stretch,
            stretch_steps=stretch_steps,
        )
        if low is not None and high is not None:
            u = self._inside(low, high, state.slope_kw_per_c, state.bracketed_steps)
            return replace(state, u_millicent=u, bracketed_steps=state.bracketed_steps + 1)
        if self.violation_kw != 0.0:
            span = abs(self.now.u_millicent - stretch.u_millicent) / MILLICENT_PER_CENT
            if stretch_steps >= 2 and span >= self.law.flat_span_c:
                return replace(state, mode=Mode.SATURATED, u_millicent=stretch.u_millicent)
            if (
                abs(self.now.u_millicent) == self.law.cap_millicent
                and self.gap_kw * self.now.u_millicent > 0.0
            ):
                return replace(state, mode=Mode.SATURATED)
        return replace(state, u_millicent=self._outward(state.slope_kw_per_c))

    def _bracket(self) -> tuple[Sample | None, Sample | None]:
        """Ends of the bracket by the bounds of now; the newest measurement wins where two disagree."""
        low = self.now if self.gap_kw > 0.0 else None
        high = self.now if self.gap_kw < 0.0 else None
        for old in (self.state.low, self.state.high):
            if old is None:
                continue
            gap_kw = self.aim.gap_kw(old.u_millicent, old.flow_kw)
            if gap_kw > 0.0 and (low is None or old.u_millicent > low.u_millicent):
                low = old
            elif gap_kw < 0.0 and (high is None or old.u_millicent < high.u_millicent):
                high = old
        if low is not None and high is not None and high.u_millicent - low.u_millicent < _MIN_DU_MILLICENT:
            # Noise or drift has squeezed the bracket empty: only what was seen last still counts.
            low, high = (self.now, None) if self.gap_kw > 0.0 else (None, self.now)
        return low, high

    def _slope(self) -> float:
        """Magnitude of dA/du from the last two measurements if they show one, else what was known."""
        before = self.state.previous
        if before is None:
            return self.state.slope_kw_per_c
        du = self.now.u_millicent - before.u_millicent
        df_kw = self.now.flow_kw - before.flow_kw
        if (
            abs(du) < _MIN_DU_MILLICENT
            or df_kw * du >= 0.0
            or abs(df_kw) <= max(_FLAT_KW, 2.0 * self.noise_kw)
        ):
            return self.state.slope_kw_per_c
        return max(-df_kw * MILLICENT_PER_CENT / du, _MIN_SLOPE)

    def _stretch(self) -> tuple[Sample, int]:
        """The stretch of price without effect that the newest measurement belongs to, and its steps."""
        first = self.state.stretch
        if first is None:
            return self.now, 0
        moved = abs(self.now.flow_kw - first.flow_kw) > max(_FLAT_KW, 2.0 * self.noise_kw)
        backwards = (self.now.u_millicent - first.u_millicent) * self.gap_kw < 0.0
        return (self.now, 0) if moved or backwards else (first, self.state.stretch_steps + 1)

    def _outward(self, slope_kw_per_c: float) -> int:
        """Next price while only one side is known."""
        before = self.state.previous
        here_c = self.now.u_millicent / MILLICENT_PER_CENT
        most_c = self.law.first_step_c
        if not isfinite(self.gap_kw):
            return 0  # the price serves no bound: zero is where to look next
        want_c = self.gap_kw / slope_kw_per_c
        if before is not None and before.u_millicent != self.now.u_millicent:
            last_c = abs(self.now.u_millicent - before.u_millicent) / MILLICENT_PER_CENT
            most_c = max(self.law.growth * last_c, 1.0)
            if abs(self.now.flow_kw - before.flow_kw) <= max(_FLAT_KW, 2.0 * self.noise_kw):
                want_c = copysign(most_c, want_c)  # a flat step shows no slope: go on as fast as allowed
        target = here_c + min(max(want_c, -most_c), most_c)
        return self._not_across_zero(to_grid(target, self.law.cap_millicent))

    def _inside(self, low: Sample, high: Sample, slope_kw_per_c: float, bracketed_steps: int) -> int:
        """Next price between the ends of the bracket."""
        if low.u_millicent < 0 < high.u_millicent:
            return 0
        width = high.u_millicent - low.u_millicent
        if bracketed_steps % self.law.bisect_every == self.law.bisect_every - 1:
            return low.u_millicent + width // 2
        target = self.now.u_millicent + self.gap_kw * MILLICENT_PER_CENT / slope_kw_per_c
        if not low.u_millicent < target < high.u_millicent:
            gap_low = self.aim.gap_kw(low.u_millicent, low.flow_kw)
            gap_high = self.aim.gap_kw(high.u_millicent, high.flow_kw)
            share = gap_low / (gap_low - gap_high) if isfinite(gap_low - gap_high) else 0.5
            target = low.u_millicent + share * width
        # Both ends are known already: asking again there, or one grid point beside, teaches nothing.
        edge = max(width // 50, 1)
        return min(max(round(target), low.u_millicent + edge), high.u_millicent - edge)

    def _not_across_zero(self, u_millicent: int) -> int:
        return 0 if u_millicent * self.now.u_millicent < 0 else u_millicent
