"""Tightening of a PCC's bounds when the network answers worse than its model.

The bounds come from a model (mechanisms.md 9). When the flows obey them and the estimate still breaks a
limit, the model was too kind, and the bound is tightened in proportion to what is exceeded. Voltage rise
and current grow about linearly with the flow, so a limit exceeded by 2 % asks for about 2 % less flow: that
is one full step of the integral.

Anti-windup: the integral stands still while the flow does not yet obey its bound or the price is saturated
(then the bound is not what is missing), is never negative (feedback only tightens) and never exceeds a
share of the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from dso_engine.game import FlowBounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightening:
    """What feedback has taken from the bounds of one PCC, kW >= 0 per direction."""

    export_kw: float = 0.0
    import_kw: float = 0.0

    def apply(self, bounds: FlowBounds) -> FlowBounds:
        """The tightened bounds; where both sides would cross, both become the middle of the crossing."""
        lo_kw = bounds.c_lo_kw + self.export_kw
        hi_kw = bounds.c_hi_kw - self.import_kw
        if lo_kw > hi_kw:
            lo_kw = hi_kw = (lo_kw + hi_kw) / 2.0
        return FlowBounds(c_lo_kw=lo_kw, c_hi_kw=hi_kw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The integral term.

    Attributes:
        gain: Share of the proportional correction made per step.
        relax_below: Stress ratio under which a tightening is taken back; the gap to 1 is a dead zone. The
            default is the voltage limit less its guard band (0.095 / 0.10), where the model aims.
        max_share: Largest tightening as a share of the bound's magnitude.
    """

    gain: float = 0.5
    relax_below: float = 0.95
    max_share: float = 0.5

    def step(
        self,
        tightened_kw: float,
        *,
        bound_kw: float,
        stress_ratio: float,
        obeys: bool,
        saturated: bool,
    ) -> float:
        """Tightening of one bound after one more estimate, kW.

        Args:
            tightened_kw: So far, kW.
            bound_kw: That bound before feedback, kW; an infinite one is left alone.
            stress_ratio: Worst deviation or loading over its limit in this direction; 1 is at the limit.
            obeys: Whether the measured flow obeys the tightened bound (within the law's tolerance).
            saturated: Whether the price of the PCC is exhausted.
        """
        if not isfinite(bound_kw) or not obeys or saturated:
            return tightened_kw
        if stress_ratio > 1.0:
            change_kw = self.gain * (stress_ratio - 1.0) * abs(bound_kw)
        elif stress_ratio < self.relax_below:
            change_kw = self.gain * (stress_ratio - self.relax_below) * abs(bound_kw)
        else:
            return tightened_kw
        return min(max(tightened_kw + change_kw, 0.0), self.max_share * abs(bound_kw))
